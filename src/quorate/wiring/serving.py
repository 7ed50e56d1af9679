"""An app for a service: built beside running requests, and closed by whoever opened it."""

import tomllib
from pathlib import Path

from quorate.engine import StopFlag, in_thread
from quorate.errors import ConfigError
from quorate.settings import ServiceTable, Settings, check_settings
from quorate.wiring.app import App
from quorate.wiring.builder import Builder


def parsed(text: str, source: Path, *, observe: bool = False) -> Settings:
    """Settings from a config's text; `source` is where relative paths start and what errors name.

    Args:
        text: the whole file.
        source: its path.
        observe: enforce nothing, whatever the text says.

    Raises:
        ConfigError: it has mistakes; all of them are listed.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(source), [f"is not TOML: {error}"]) from error
    if observe:
        raw["mode"] = "observe"
    return check_settings(raw, source=source)


async def open_app(settings: Settings, base: Path) -> App:
    """Build an app off the event loop and open its session; close that with `close_app`.

    Raises:
        ConfigError: a file that the config names has mistakes.
    """

    def build(_stop: StopFlag) -> App:
        return Builder(settings, base).app()

    app = await in_thread(build, lane="long")
    await app.session.__aenter__()
    return app


async def close_app(app: App) -> None:
    """Close what `open_app` opened; what still runs on it breaks."""
    await app.session.__aexit__(None, None, None)


def store_url(table: ServiceTable, base: Path) -> str:
    """The store's URL; a relative SQLite path starts at the config's folder."""
    kind, _, rest = table.store.partition(":///")
    if kind != "sqlite" or rest.startswith("/"):
        return table.store
    return f"sqlite:///{(base / rest).resolve()}"
