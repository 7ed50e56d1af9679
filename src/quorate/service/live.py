"""The config in force: requests begin and end on the same one, and a new one is swapped in whole."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from quorate.apps.answer import Answerer, Effects
from quorate.apps.relay import RelayAnswer
from quorate.service.limits import Allowance
from quorate.service.wire import Asked, BadRequest
from quorate.settings import ServiceTable
from quorate.wiring import App
from quorate.wiring.serving import close_app

BUILT_IN = "quorate"
"""The model's name where the built-in answer replies."""


@dataclass(slots=True, eq=False)
class Live:
    """An open app with its version.

    Attributes:
        app: what the config describes.
        digest: of the config's text and mode.
        version: its number in the store.
        users: requests that run on it.
        allowance: of a key that has no bounds of its own.
    """

    app: App
    digest: str
    version: int
    users: int = 0
    allowance: Allowance = field(init=False)

    def __post_init__(self) -> None:
        self.allowance = Allowance(**self.limits.keys.model_dump())

    @property
    def limits(self) -> ServiceTable:
        """The `[service]` table."""
        return self.app.settings.service

    @property
    def names(self) -> list[str]:
        """The models that callers may ask for."""
        upstream = self.app.settings.upstream
        return list(upstream.models) if upstream is not None else [BUILT_IN]

    def answerer(self, asked: Asked) -> Answerer | None:
        """Who answers this request: the upstream, or None for the door's own.

        Raises:
            BadRequest: there is no such model.
        """
        upstream, relay = self.app.settings.upstream, self.app.relay
        if upstream is None or relay is None:
            return None
        name = upstream.models.get(asked.model)
        if name is None:
            raise BadRequest(
                f"the model {asked.model[:100]!r} is not served here; there are {', '.join(self.names)}",
                param="model",
                code="model_not_found",
                status=404,
            )
        effects: Effects = "none" if upstream.effects == "none" and asked.acts is None else "unknown"

        def body(numbers: Sequence[int]) -> bytes:
            return asked.body(name, numbers, canary=self.app.canary)

        return RelayAnswer(relay, body, stream=asked.stream, effects=effects, windowing=self.app.windowing)


@dataclass(slots=True)
class Configs:
    """The config in force, and older ones that requests still run on.

    Attributes:
        live: in force.
        old: replaced, with requests on them.
    """

    live: Live
    old: list[Live] = field(default_factory=list)

    @contextmanager
    def use(self) -> Iterator[Live]:
        """The config in force, kept open while the block runs."""
        live = self.live
        live.users += 1
        try:
            yield live
        finally:
            live.users -= 1

    def swap(self, live: Live) -> None:
        """Put another in force; the last one is closed by `tidy` once nobody uses it."""
        self.old.append(self.live)
        self.live = live

    async def tidy(self) -> None:
        """Close what nobody uses any more."""
        for live in [live for live in self.old if not live.users]:
            self.old.remove(live)
            await close_app(live.app)

    async def close(self) -> None:
        """Close all of them."""
        for live in (*self.old, self.live):
            await close_app(live.app)
