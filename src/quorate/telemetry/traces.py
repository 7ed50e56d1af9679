"""OpenTelemetry spans: one for each run and one for each branch, made of its timeline once the run has ended.

While a run is at work nothing is done for them. At its end the timeline is handed to a thread, which makes the spans
with their times and gives them to the exporter; so spans cannot be passed on to upstreams. Needs the extra `otel`.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from quorate.engine import Run, Timeline
from quorate.engine import Span as Part
from quorate.engine.clock import now, wall_s
from quorate.errors import UsageError
from quorate.events import Event, Failed
from quorate.telemetry import names
from quorate.telemetry.log import request_id
from quorate.telemetry.writer import Writer

_missing: ImportError | None = None
try:
    import requests
    from opentelemetry.context import Context
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as error:
    _missing = error

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

LIMIT = 2000
"""The most ended runs that may wait for the thread; beyond it their spans are lost, and counted."""
MAX_SPANS = 1000
"""The most spans of one run, nested ones included; the root says how many are left out."""
MAX_TEXT = 200
"""The most characters of a reason or a name."""
MAX_HEADER = 512
"""The longest header of a caller that is read."""
PATIENCE_S = 10.0
EXPORT_TIMEOUT_S = 5.0
_ADMISSIONS = frozenset(("admit", "refuse", "escalate"))

_parent: ContextVar["Context | None"] = ContextVar("quorate_trace_parent", default=None)


@dataclass(frozen=True, slots=True)
class ModelCall:
    """What a branch calls, where it calls a model.

    Attributes:
        model: the name that is asked for.
        provider: one of the conventions' names, such as "openai"; for any compatible server that too.
        operation: one of the conventions' names.
        remote: False where the model runs in this process.
    """

    model: str
    provider: str = "openai"
    operation: str = names.CHAT
    remote: bool = True


@dataclass(slots=True)
class _Ended:
    """What the thread needs of a run."""

    timeline: Timeline
    attributes: dict[str, str | float]
    failed: str | None
    errors: dict[str, str]
    offset_s: float
    parent: "Context | None"
    left: int = field(default=MAX_SPANS - 1)
    unlisted: int = 0


def incoming(carrier: Mapping[str, str]) -> "Context | None":
    """Read a caller's W3C trace context.

    Args:
        carrier: headers; names in lower case, or a mapping that does not mind. Untrusted: what is malformed or long
            is as if it were not there.

    Returns:
        The caller's context, or None where there is none or OpenTelemetry is not installed.
    """
    trace, state = carrier.get("traceparent"), carrier.get("tracestate")
    if _missing is not None or trace is None or len(trace) > MAX_HEADER:
        return None
    headers = {"traceparent": trace}
    if state is not None and len(state) <= MAX_HEADER:
        headers["tracestate"] = state
    found = TraceContextTextMapPropagator().extract(headers, Context())
    return found or None


@contextmanager
def following(carrier: Mapping[str, str]) -> Iterator[None]:
    """Make the runs started in this block children of the caller's span, as its headers name it."""
    token = _parent.set(incoming(carrier))
    try:
        yield
    finally:
        _parent.reset(token)


class Traces:
    """An observer that makes spans of runs that have ended.

    Reasons are cut to `MAX_TEXT` characters and never become names. A nested run becomes part of the run it is
    nested in; one that outlives that, left to the reaper, has no spans. Nothing here is global: other users of
    OpenTelemetry in the process keep their provider.

    Args:
        exporter: where finished spans go, in batches, from a thread.
        calls: what a branch calls, by its name without `#2`; None where it calls no model.
        ratio: share of the traces that is kept; a caller's own choice goes first.

    Raises:
        UsageError: OpenTelemetry is not installed.
    """

    def __init__(
        self,
        exporter: "SpanExporter",
        *,
        calls: Callable[[str], ModelCall | None] = lambda branch: None,
        ratio: float = 1.0,
    ) -> None:
        _needed()
        self._calls = calls
        resource = Resource.create({names.SERVICE_NAME: "quorate", names.SERVICE_INSTANCE: str(uuid.uuid4())})
        self._provider = TracerProvider(
            sampler=ParentBasedTraceIdRatio(ratio), resource=resource, shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("quorate")
        self._writer = Writer(self._build, name="quorate-traces", limit=LIMIT, patience_s=PATIENCE_S)

    @property
    def lost(self) -> int:
        """How many runs left no spans, because there was no room or they could not be made."""
        return self._writer.lost

    @property
    def error(self) -> Exception | None:
        """The last thing that went wrong with making spans, or None."""
        return self._writer.error

    def close(self) -> None:
        """Make and send what waits. Blocks for it, for seconds where the collector does not answer."""
        self._writer.close()
        self._provider.shutdown()

    def event(self, run: Run[Any], event: Event, /) -> None:
        """Nothing is done while a run is at work."""

    def ended(self, run: Run[Any], /) -> None:
        """Hand the timeline over. A nested one goes with the run it is nested in."""
        timeline, decision = run.timeline, run.decision
        if timeline.parent is not None:
            return
        attributes: dict[str, str | float] = {names.OUTCOME: run.outcome}
        asked = request_id.get()
        if asked is not None:
            attributes[names.REQUEST] = _text(asked)
        if decision is not None:
            attributes[names.WHY] = _text(decision.why)
            if isinstance(decision.value, str) and decision.value in _ADMISSIONS:
                attributes[names.DECISION] = decision.value
            if decision.by is not None:
                attributes[names.DECIDED_BY] = _text(decision.by)
        failed = type(run.error).__name__ if run.error is not None else None
        errors = {name: type(end.error).__name__ for name, end in run.ended.items() if isinstance(end, Failed)}
        self._writer.put(_Ended(timeline, attributes, failed, errors, wall_s() - now(), _parent.get()))

    def _build(self, runs: list[_Ended]) -> None:
        for run in runs:
            root = self._run(run, run.timeline, run.parent)
            if not root.is_recording():
                continue
            if run.unlisted:
                root.set_attribute(names.UNLISTED, run.unlisted)
            root.set_attributes(run.attributes)
            if run.failed is not None:
                root.set_attribute(names.ERROR_TYPE, run.failed)
                root.set_status(Status(StatusCode.ERROR))
            root.end(_ns(run, run.timeline, run.timeline.ended_s))

    def _run(self, run: _Ended, timeline: Timeline, parent: "Context | None") -> "Span":
        """The span of a run, not ended yet, and below it those of its branches, ended."""
        used, wasted = timeline.usage, timeline.wasted
        attributes: dict[str, str | float] = {
            names.RUN: timeline.run_id,
            names.USED_TOKENS: used.tokens,
            names.NOT_COUNTED_TOKENS: wasted.tokens,
            names.COST_USD: used.cost_usd,
            names.ESTIMATED: used.estimated,
        }
        if timeline.decided_s is not None:
            attributes[names.DECIDE_S] = timeline.decided_s
        span = self._tracer.start_span(
            "run", parent or Context(), attributes=attributes, start_time=_ns(run, timeline, 0.0)
        )
        below = set_span_in_context(span, Context())
        for part in timeline if span.is_recording() else ():
            self._branch(run, timeline, part, parent=below)
        return span

    def _branch(self, run: _Ended, timeline: Timeline, part: Part, *, parent: "Context") -> None:
        if run.left <= 0:
            run.unlisted += 1
            return
        run.left -= 1
        call = self._calls(part.branch.partition("#")[0])
        name = _text(part.branch if call is None else f"{call.operation} {call.model}")
        began_s = part.queued_s if part.started_s is None else part.started_s
        span = self._tracer.start_span(
            name,
            parent,
            kind=SpanKind.CLIENT if call is not None and call.remote else SpanKind.INTERNAL,
            attributes=_attributes(part, call, began_s),
            start_time=_ns(run, timeline, began_s),
        )
        if part.ended == "failed":
            known = run.errors.get(part.branch) if timeline is run.timeline else None
            span.set_attribute(names.ERROR_TYPE, known or names.OTHER_ERROR)
            span.set_status(Status(StatusCode.ERROR, _text(part.why)))
        below = set_span_in_context(span, Context())
        for child in part.children:
            if run.left <= 0:
                run.unlisted += 1
                continue
            run.left -= 1
            self._run(run, child, below).end(_ns(run, child, child.ended_s))
        span.end(_ns(run, timeline, timeline.ended_s if part.ended_s is None else part.ended_s))


def _text(text: str) -> str:
    """Anybody's text, cut, and without the half characters that would cost the exporter its whole batch."""
    return text[:MAX_TEXT].encode("utf-8", "replace").decode()


def _attributes(part: Part, call: ModelCall | None, began_s: float) -> dict[str, str | float]:
    usage = part.usage
    attributes: dict[str, str | float] = {
        names.BRANCH: _text(part.branch),
        names.ENDED: part.ended or "running",
        names.QUEUE_S: began_s - part.queued_s,
    }
    if part.why:
        attributes[names.WHY] = _text(part.why)
    if part.abandoned:
        attributes[names.ABANDONED] = True
    if part.wasted:
        attributes[names.WASTED] = True
    if usage.calls or usage.tokens:
        attributes[names.CALLS] = usage.calls
        attributes[names.CUT_CALLS] = usage.cut_calls
        attributes[names.COST_USD] = usage.cost_usd
        attributes[names.ESTIMATED] = usage.estimated
    if call is None:
        # Usage rolls up: only the branch that makes the call says its tokens by the conventions' names.
        attributes[names.USED_TOKENS] = usage.tokens
        return attributes
    attributes[names.OPERATION] = call.operation
    attributes[names.PROVIDER] = call.provider
    attributes[names.REQUEST_MODEL] = call.model
    attributes[names.INPUT_TOKENS] = usage.input_tokens
    attributes[names.OUTPUT_TOKENS] = usage.output_tokens
    if part.first_s is not None:
        attributes[names.FIRST_CHUNK_S] = part.first_s - began_s
    return attributes


def _ns(run: _Ended, timeline: Timeline, at_s: float | None) -> int:
    """A time of a timeline as nanoseconds since 1970."""
    return int((run.offset_s + timeline.start_s + (at_s or 0.0)) * 1e9)


def _needed() -> None:
    if _missing is not None:
        raise UsageError(
            f"traces need OpenTelemetry (no module {_missing.name}): pip install 'quorate[otel]'"
        ) from _missing


def open_traces(
    endpoint: str | None = None,
    *,
    calls: Callable[[str], ModelCall | None] = lambda branch: None,
    ratio: float = 1.0,
) -> Traces:
    """Traces that go to a collector by OTLP over HTTP.

    Args:
        endpoint: URL with its path, such as `http://collector:4318/v1/traces`; None leaves it to the environment's
            `OTEL_EXPORTER_OTLP_*`. Headers, certificates and compression are read from there in any case.
        calls: see `Traces`.
        ratio: see `Traces`.

    Raises:
        UsageError: OpenTelemetry is not installed.
    """
    _needed()
    session = requests.Session()
    session.max_redirects = 0  # Headers may hold a key.
    return Traces(OTLPSpanExporter(endpoint, session=session, timeout=EXPORT_TIMEOUT_S), calls=calls, ratio=ratio)
