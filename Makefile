# Everything that is needed is set up by the first command that needs it.
# On Windows, or without make, run the plain commands in the README.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo serve test check lint bench clients peers clean

demo: .venv/run
	@$(BIN)/quorate demo

serve: .venv/serve
	@$(BIN)/quorate serve

test: .venv/dev
	@$(BIN)/python -m pytest

check: test lint

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: .venv/dev
	$(BIN)/python -m benchmarks.frontdoor

clients: .venv-clients/.complete

.venv-clients/.complete: tests/clients/requirements.txt tests/clients/package.json scripts/python_version.py
	@$(PYTHON) scripts/python_version.py
	@command -v npm >/dev/null || { echo 'the JavaScript client needs node and npm (>= 20)'; exit 1; }
	@rm -f $@
	@$(PYTHON) -m venv .venv-clients
	@.venv-clients/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --requirement $<
	@cp tests/clients/package.json .venv-clients/
	@npm install --prefix .venv-clients --no-audit --no-fund --no-package-lock --silent
	@touch $@

peers: .venv-peers/.complete

.venv-peers/.complete: benchmarks/peers/requirements.txt scripts/python_version.py
	@$(PYTHON) scripts/python_version.py
	@rm -f $@
	@$(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --requirement $<
	@touch $@

.venv/python:
	@$(PYTHON) scripts/python_version.py
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/run: .venv/python pyproject.toml constraints.txt
	@$(PIP) --editable .
	@touch $@

.venv/serve: .venv/python pyproject.toml constraints.txt
	@$(PIP) --editable '.[service]'
	@touch $@ .venv/run

.venv/dev: .venv/python pyproject.toml constraints.txt
	@$(PIP) --editable '.[dev]'
	@touch $@ .venv/run .venv/serve

clean:
	rm -rf .venv .venv-clients .venv-peers build dist
