"""Alert rules and runbook: every name in them exists, each page has its entry, and Prometheus takes the queries."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from quorate.telemetry.names import METRICS

ROOT = Path(__file__).parents[1]
RULES = ROOT / "deploy" / "alerts.yml"
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"^```promql\n(.*?)^```", RUNBOOK, re.MULTILINE | re.DOTALL)
LABELS = {
    name: {*metric.labels, *(("le",) if name.endswith("_bucket") else ())}
    for metric in METRICS
    for name in (
        [metric.name + end for end in ("_bucket", "_sum", "_count")] if metric.kind == "histogram" else [metric.name]
    )
}
PROMTOOL = shutil.which("promtool")


def alerts() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


EXPRESSIONS = [*(rule["expr"] for rule in alerts()), *QUERIES]


@pytest.mark.parametrize("query", EXPRESSIONS, ids=range(len(EXPRESSIONS)))
def test_every_name_in_a_query_exists(query: str) -> None:
    """Metrics, and the labels that they are filtered and grouped by, are those of the table."""
    used = re.findall(r"(quorate_\w+)(?:\{([^}]*)\})?", query)
    assert used and {name for name, _ in used} <= set(LABELS)
    for name, filters in used:
        assert set(re.findall(r"(\w+)\s*(?:=|!=|=~|!~)\s*\"", filters)) <= LABELS[name]
    shared = set.union(*(LABELS[name] for name, _ in used))
    assert {label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")} <= shared


def test_every_metric_that_a_text_names_exists() -> None:
    """No name in the prose of the runbook, or in the rules' tests, is of the past."""
    tested = (ROOT / "deploy" / "alerts_test.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"quorate_\w+", RUNBOOK + tested)) <= {*LABELS, *(metric.name for metric in METRICS)}


def test_each_page_has_its_entry() -> None:
    """Six alerts, each with a section that says what it means, how to see it, what to do first and how to end it."""
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))
    assert len(alerts()) == 6 and [rule["alert"] for rule in alerts()] == list(sections)
    for rule in alerts():
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"
        told = re.findall(r"^\*\*([^*]+)\.\*\*", sections[rule["alert"]], re.MULTILINE)
        assert told == ["What it means", "How to see it", "What to do first", "How to end it"]
        assert "```promql\n" in sections[rule["alert"]]


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: apt-get install prometheus")
def test_prometheus_takes_the_rules_and_they_fire_when_they_should(tmp_path: Path) -> None:
    """`promtool` parses every rule and every query of the runbook, and the rules' own tests pass."""
    queries = {"groups": [{"name": "q", "rules": [{"record": f"q:{n}", "expr": q} for n, q in enumerate(QUERIES)]}]}
    (tmp_path / "queries.yml").write_text(yaml.safe_dump(queries), encoding="utf-8")
    for command in (
        ["check", "rules", str(RULES)],
        ["check", "rules", str(tmp_path / "queries.yml")],
        ["test", "rules", str(RULES.with_name("alerts_test.yml"))],
    ):
        done = subprocess.run([str(PROMTOOL), *command], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
