"""Open what a config describes, and close it again."""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path

from threadpoolctl import threadpool_limits

from quorate.engine import Observer, observers
from quorate.errors import ConfigError
from quorate.models import Model
from quorate.settings import Company, ModelTable, Settings, load_settings
from quorate.wiring.app import App
from quorate.wiring.builder import Builder

_OVERRIDE = "llm"


def example_config() -> Path:
    """The config of the example company, from the installed package or from a checkout."""
    shipped = Path(str(resources.files("quorate"))) / "examples" / "lantern" / "quorate.toml"
    checkout = Path(__file__).resolve().parents[3] / "examples" / "lantern" / "quorate.toml"
    found = next((path for path in (shipped, checkout) if path.is_file()), None)
    if found is None:
        raise ConfigError("example company", ["it is not installed; give a config with --config FILE"])
    return found


def with_model(settings: Settings, *, base_url: str, model: str) -> Settings:
    """The same settings with every check and the answer given to one model at one address.

    Its key is read from QUORATE_API_KEY, or else OPENAI_API_KEY.

    Raises:
        ConfigError: the address is not an http(s) address.
    """
    key = "QUORATE_API_KEY" if os.environ.get("QUORATE_API_KEY") else "OPENAI_API_KEY"
    raw = settings.model_dump(exclude_unset=True)
    raw["models"] = {_OVERRIDE: {"base_url": base_url, "model": model, "api_key_env": key}}
    for check in raw["checks"].values():
        check.update(models=[_OVERRIDE], flags=None, voters={}, head_start_ms=0)
    raw["answer"] = {**raw.get("answer", {}), "model": _OVERRIDE}
    try:
        return Settings.model_validate(raw)
    except ValueError as error:
        found = f"found {base_url!r} and {model!r}; allowed are an http:// or https:// address and a model's name"
        raise ConfigError("--base-url, --model", [found]) from error


@asynccontextmanager
async def open_models(tables: Mapping[str, ModelTable], base: Path) -> AsyncIterator[Mapping[str, Model]]:
    """Open models by name, with their policies, for work that needs no checks; they are closed after the block."""
    nobody = Company(name="-", description="-")
    builder = Builder(Settings.model_construct(version=1, company=nobody, checks={}, models=dict(tables)), base)
    async with builder.session:
        yield builder.models()


@asynccontextmanager
async def load(
    config: Path | str | None = None, *, settings: Settings | None = None, watch: Sequence[Observer] = ()
) -> AsyncIterator[App]:
    """Open everything that a config describes, and close it after the block.

    Inside the block numpy's linear algebra uses one thread a call, in the whole process.

    Args:
        config: a `quorate.toml`; without one, the example company's.
        settings: settings to use in place of the file's; relative paths still start from its folder.
        watch: observers of every run started inside the block.

    Raises:
        ConfigError: the config, or a file it names, has mistakes.
    """
    path = Path(config) if config is not None else example_config()
    chosen = settings if settings is not None else load_settings(path)
    builder = Builder(chosen, path.parent)
    token = observers.set((*observers.get(), *watch))
    try:
        # The products are small: to share one out to threads costs several times what it takes.
        with threadpool_limits(limits=1, user_api="blas"):
            async with builder.session:
                yield builder.app()
    finally:
        observers.reset(token)
