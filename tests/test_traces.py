"""Spans: one for each run and branch, made of the timeline, with the conventions' names and the caller's parent."""

import gzip
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from judging import FLAG, PASS, POLICY, Rule, Say, Speaker, check
from quorate.apps.frontdoor import FrontDoor
from quorate.engine import fan_out, observers, spend
from quorate.engine.clock import sleep
from quorate.errors import ModelUnavailable
from quorate.events import Usage, branch
from quorate.merges import Collect
from quorate.telemetry import request_id
from quorate.telemetry.traces import ModelCall, Traces, following, open_traces
from quorate.testing import run_virtual

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HOSTILE = ("\x1b[31mred", 'a"\r\nb', "\ud800\udfff\udc00", "x" * 100_000, "\x00", "日本")
CALLS = {"answer": ModelCall("big-1"), "threat": ModelCall("small-1", provider="local", remote=False)}


@contextmanager
def tracing(observer: Any) -> Iterator[None]:
    token = observers.set((observer,))
    try:
        yield
    finally:
        observers.reset(token)


async def door(source: str, threat: Say) -> None:
    checks = [check("scope", Rule(PASS, 0.2)), check("threat", Rule(threat, 0.1))]
    async with FrontDoor(checks, Speaker(("Hello",)), policy=POLICY).respond(source) as response:
        async for _ in response:
            pass


def spans(source: str, threat: Say, headers: Mapping[str, str] | None = None, ratio: float = 1.0) -> list[ReadableSpan]:
    """The spans that one message through the front door leaves."""
    exporter = InMemorySpanExporter()
    made = Traces(exporter, calls=CALLS.get, ratio=ratio)
    with tracing(made), following(headers or {}):
        run_virtual(door(source, threat))
    made.close()
    assert (made.lost, made.error) == (0, None)
    return list(exporter.get_finished_spans())


def by_branch(found: list[ReadableSpan]) -> dict[Any, ReadableSpan]:
    return {(span.attributes or {}).get("quorate.branch"): span for span in found}


def attribute(span: ReadableSpan, name: str) -> Any:
    return (span.attributes or {}).get(name)


def seconds(span: ReadableSpan) -> float:
    return round(((span.end_time or 0) - (span.start_time or 0)) / 1e9, 3)


def test_a_run_is_a_span_with_one_for_each_branch_below() -> None:
    """Each says how it ended and why, and lasts as long as the timeline says."""
    found = by_branch(spans("Hi", FLAG))
    root = found.pop(None)
    assert set(found) == {"scope", "threat", "answer"} and root.parent is None and root.context is not None
    for span in found.values():
        assert span.parent is not None and span.context is not None
        assert (span.parent.span_id, span.context.trace_id) == (root.context.span_id, root.context.trace_id)
    ends = {name: (attribute(span, "quorate.ended"), attribute(span, "quorate.why")) for name, span in found.items()}
    assert ends == {
        "threat": ("answered", None),
        "scope": ("cancelled", "blocked by threat"),
        "answer": ("cancelled", "blocked by threat"),
    }
    assert (attribute(root, "quorate.decision"), attribute(root, "quorate.decision.by")) == ("refuse", "threat")
    assert attribute(root, "quorate.run.outcome") == "done" and attribute(root, "quorate.decide_s") == 0.1
    assert seconds(root) == seconds(found["threat"]) == 0.1
    assert all(span.status.status_code is StatusCode.UNSET for span in (root, *found.values()))


def test_a_model_call_carries_the_conventions_names() -> None:
    """Operation, provider, model and tokens; a model in this process is no client call; other branches have none."""
    found = by_branch(spans("Hi", PASS))
    answer, threat, scope = found["answer"], found["threat"], found["scope"]
    assert (answer.name, answer.kind) == ("chat big-1", SpanKind.CLIENT)
    assert (threat.name, threat.kind) == ("chat small-1", SpanKind.INTERNAL)
    assert (scope.name, scope.kind) == ("scope", SpanKind.INTERNAL)
    said = {name: attribute(answer, f"gen_ai.{name}") for name in ("operation.name", "provider.name", "request.model")}
    assert said == {"operation.name": "chat", "provider.name": "openai", "request.model": "big-1"}
    assert attribute(answer, "gen_ai.usage.output_tokens") > 0
    assert attribute(answer, "quorate.usage.estimated") in (True, False)
    assert attribute(answer, "gen_ai.response.time_to_first_chunk") == 0.1
    assert attribute(scope, "gen_ai.operation.name") is None


def test_a_failure_is_an_error_with_its_class() -> None:
    """A branch that broke has the error status, and `error.type` is its class, never its text."""
    threat = by_branch(spans("Hi", ModelUnavailable("secret")))["threat"]
    assert threat.status.status_code is StatusCode.ERROR
    assert (attribute(threat, "error.type"), attribute(threat, "quorate.ended")) == ("ModelUnavailable", "failed")


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_reasons_are_bounded_values(text: str) -> None:
    """What an error says is cut, is valid text, and is never a key."""
    found = spans(text[:1000], ModelUnavailable(text))
    keys = {key for span in found for key in span.attributes or {}}
    assert all(key.startswith(("quorate.", "gen_ai.", "error.type")) and key.isascii() for key in keys)
    why = attribute(by_branch(found)["threat"], "quorate.why")
    assert 0 < len(why) <= 200 and why.encode() and not any(text in span.name for span in found)


def test_the_callers_trace_goes_on() -> None:
    """A W3C traceparent makes the run a child of the caller's span, and its choice to keep none is kept."""
    sampled = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "vendor=1"}
    root = by_branch(spans("Hi", PASS, sampled, ratio=0.0))[None]
    assert root.parent is not None and root.context is not None
    assert f"{root.context.trace_id:032x}" == TRACE and f"{root.parent.span_id:016x}" == CALLER
    assert root.context.trace_state["vendor"] == "1"
    assert spans("Hi", PASS, {"traceparent": f"00-{TRACE}-{CALLER}-00"}) == []
    assert spans("Hi", PASS, ratio=0.0) == []


@pytest.mark.parametrize(
    "header", ["", "00", "zz", f"00-{'0' * 32}-{CALLER}-01", f"ff-{TRACE}-{CALLER}-01", "9" * 100_000, "\ud800", "\x00"]
)
def test_a_malformed_traceparent_is_as_none(header: str) -> None:
    """A caller cannot break a trace, only miss it."""
    root = by_branch(spans("Hi", PASS, {"traceparent": header, "tracestate": header}))[None]
    assert root.parent is None


def test_nested_runs_hang_below_their_branch() -> None:
    """A run inside a branch is its child, at its own time; the request's id stands at the root."""
    exporter = InMemorySpanExporter()
    made = Traces(exporter)

    async def leaf() -> None:
        await sleep(1.0)
        spend(Usage(calls=1, input_tokens=7, estimated=True))

    async def inner() -> None:
        await sleep(2.0)
        async with fan_out([branch("leaf", leaf), branch("leaf#2", leaf)], Collect[None](2)) as run:
            await run.decided()

    async def main() -> None:
        async with fan_out([branch("outer", inner)], Collect[None](1)) as run:
            await run.decided()

    asked = request_id.set("req-9")
    with tracing(made):
        run_virtual(main())
    request_id.reset(asked)
    made.close()
    found = exporter.get_finished_spans()
    outer = next(span for span in found if span.name == "outer")
    root = next(span for span in found if span.parent is None)
    nested = next(span for span in found if span.name == "run" and span is not root)
    leaves = [span for span in found if span.name.startswith("leaf")]
    assert nested.parent == outer.context and all(span.parent == nested.context for span in leaves)
    assert (seconds(root), seconds(outer), seconds(nested), seconds(leaves[0])) == (3.0, 3.0, 1.0, 1.0)
    assert round(((nested.start_time or 0) - (root.start_time or 0)) / 1e9, 3) == 2.0
    assert attribute(root, "quorate.request.id") == "req-9" and attribute(root, "quorate.usage.tokens") == 14
    assert attribute(outer, "quorate.usage.estimated") is True and attribute(outer, "gen_ai.usage.input_tokens") is None


def test_a_run_of_thousands_has_a_bounded_trace() -> None:
    """Spans beyond the bound are left out, and the root says how many."""
    exporter = InMemorySpanExporter()
    made = Traces(exporter)

    async def main() -> None:
        many = [branch(f"b{number}", lambda: sleep(0)) for number in range(1500)]
        async with fan_out(many, Collect[None](1500)) as run:
            await run.decided()

    with tracing(made):
        run_virtual(main())
    made.close()
    found = exporter.get_finished_spans()
    [root] = [span for span in found if span.parent is None]
    assert len(found) == 1000 and attribute(root, "quorate.spans.unlisted") == 501


def test_without_the_library_the_error_says_how_to_get_it() -> None:
    """Asking for traces names the pip command; a caller's header is left alone, and the rest of telemetry works."""
    code = (
        "import sys\nsys.modules['opentelemetry'] = None\n"
        "from quorate.errors import UsageError\nfrom quorate.telemetry.traces import following, incoming, open_traces\n"
        f"assert incoming({{'traceparent': '00-{TRACE}-{CALLER}-01'}}) is None\n"
        "with following({}): pass\n"
        "try: open_traces()\nexcept UsageError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("traces need OpenTelemetry") and "pip install 'quorate[otel]'" in done.stdout


@pytest.mark.sockets
async def test_spans_reach_a_collector_over_a_socket() -> None:
    """OTLP over HTTP: a collector reads every span of a run, with the service's name."""
    bodies: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            bodies.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            assert self.path == "/v1/traces"
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        made = open_traces(f"http://127.0.0.1:{server.server_port}/v1/traces", calls=CALLS.get)
        with tracing(made):
            await door("\ud800 Hi", ModelUnavailable("\ud800"))
        made.close()
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
    assert (made.lost, made.error) == (0, None)
    sent = [ExportTraceServiceRequest.FromString(body) for body in bodies]
    resources = [resource for request in sent for resource in request.resource_spans]
    found = [span.name for resource in resources for scope in resource.scope_spans for span in scope.spans]
    assert sorted(found) == ["chat big-1", "chat small-1", "run", "scope"]
    assert {a.value.string_value for a in resources[0].resource.attributes if a.key == "service.name"} == {"quorate"}
