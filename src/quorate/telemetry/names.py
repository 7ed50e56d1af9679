"""The one table of names: what spans and metrics are called. Alert rules and the runbook are tested against it.

The GenAI names follow OpenTelemetry's conventions for generative AI, which are in Development: they live in a
repository of their own (semantic-conventions-genai, read in November 2026, after v0.1.0), and the Python package of
conventions keeps a copy that it calls deprecated. So they stand here, and a change of theirs is a change of this file.
"""

from dataclasses import dataclass
from typing import Final, Literal

# Attributes of OpenTelemetry.
OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
FIRST_CHUNK_S: Final = "gen_ai.response.time_to_first_chunk"
ERROR_TYPE: Final = "error.type"
SERVICE_NAME: Final = "service.name"
SERVICE_INSTANCE: Final = "service.instance.id"
CHAT: Final = "chat"
OTHER_ERROR: Final = "_OTHER"
"""What the conventions call an error whose class is not known."""

# Attributes of ours.
REQUEST: Final = "quorate.request.id"
RUN: Final = "quorate.run.id"
OUTCOME: Final = "quorate.run.outcome"
DECISION: Final = "quorate.decision"
DECIDED_BY: Final = "quorate.decision.by"
DECIDE_S: Final = "quorate.decide_s"
BRANCH: Final = "quorate.branch"
ENDED: Final = "quorate.ended"
WHY: Final = "quorate.why"
QUEUE_S: Final = "quorate.queue_s"
ABANDONED: Final = "quorate.abandoned"
WASTED: Final = "quorate.wasted"
CALLS: Final = "quorate.usage.calls"
CUT_CALLS: Final = "quorate.usage.cut_calls"
USED_TOKENS: Final = "quorate.usage.tokens"
NOT_COUNTED_TOKENS: Final = "quorate.usage.wasted_tokens"
COST_USD: Final = "quorate.usage.cost_usd"
ESTIMATED: Final = "quorate.usage.estimated"
UNLISTED: Final = "quorate.spans.unlisted"

OTHER: Final = "other"
"""What a label says in place of a value that no config names."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's name and shape.

    Attributes:
        name: as Prometheus shows it; of a histogram without `_bucket`, `_sum`, `_count`.
        kind: "counter", "histogram" or "gauge".
        help: one sentence for people.
        labels: names of its labels.
        merge: how the gauges of several workers become one.
    """

    name: str
    kind: Literal["counter", "histogram", "gauge"]
    help: str
    labels: tuple[str, ...] = ()
    merge: Literal["sum", "max", "min"] = "sum"


DECISIONS = Metric(
    "quorate_decisions_total",
    "counter",
    "Decisions, by what was decided, the check that decided, and the mode.",
    ("decision", "by", "mode"),
)
CHECKS = Metric(
    "quorate_check_outcomes_total",
    "counter",
    "What checks said; an observed check that would have refused says would_refuse.",
    ("check", "outcome", "mode"),
)
REQUESTS = Metric("quorate_requests_total", "counter", "Requests that were answered.", ("route", "status"))
REJECTED = Metric("quorate_rejected_total", "counter", "Requests answered 429, by what ran out.", ("reason",))
CLIENTS_GONE = Metric("quorate_clients_gone_total", "counter", "Clients that left before the end.", ("stage",))
MODEL_CALLS = Metric("quorate_model_calls_total", "counter", "Requests sent to models.", ("branch",))
CALLS_CUT = Metric("quorate_model_calls_cut_total", "counter", "Calls cut by a cancel before their end.", ("branch",))
TOKENS = Metric(
    "quorate_tokens_total",
    "counter",
    "Tokens read and written by models; counted by the server, or estimated by us.",
    ("branch", "direction", "counted"),
)
WASTED_TOKENS = Metric(
    "quorate_wasted_tokens_total", "counter", "Tokens spent on branches that did not count.", ("branch", "direction")
)
COST = Metric("quorate_cost_usd_total", "counter", "Money spent on models, in US dollars.", ("branch",))
WASTED_COST = Metric(
    "quorate_wasted_cost_usd_total", "counter", "Money spent on branches that did not count.", ("branch",)
)
STORE_ROWS = Metric("quorate_store_rows_total", "counter", "Records written to the store.")
STORE_FAILURES = Metric("quorate_store_failures_total", "counter", "Commits that the store refused.")
RELOADS = Metric("quorate_config_reloads_total", "counter", "Reloads of the config.", ("result",))
LOST = Metric("quorate_telemetry_lost_total", "counter", "Log lines and traces that found no room.", ("what",))

DECIDE = Metric("quorate_decide_seconds", "histogram", "From the request to the decision.", ("decision",))
HELD = Metric("quorate_held_seconds", "histogram", "From the answer's first delta to its release or its end.")
REQUEST_TIME = Metric("quorate_request_seconds", "histogram", "From the request to the last byte.", ("route",))
CHECK_TIME = Metric("quorate_check_seconds", "histogram", "From a check's start to its end.", ("check",))
COMMIT = Metric("quorate_store_commit_seconds", "histogram", "One commit of the store.")

RUNNING = Metric("quorate_requests_running", "gauge", "Requests at work.")
QUEUED = Metric("quorate_requests_queued", "gauge", "Requests that wait for room to run.")
QUEUE_LIMIT = Metric("quorate_requests_queue_limit", "gauge", "The most requests that may wait.")
UPSTREAM_LIMIT = Metric("quorate_upstream_limit", "gauge", "Calls that may run towards it at once.", ("upstream",))
UPSTREAM_RUNNING = Metric("quorate_upstream_running", "gauge", "Calls that run towards it.", ("upstream",))
UPSTREAM_QUEUED = Metric("quorate_upstream_queued", "gauge", "Calls that wait for it.", ("upstream",))
BREAKER = Metric(
    "quorate_breaker_open", "gauge", "1 where its breaker is open, 0.5 half open, 0 closed.", ("upstream",), "max"
)
STORE_UP = Metric("quorate_store_up", "gauge", "1 while the last commit went through in every worker.", (), "min")
STORE_QUEUED = Metric("quorate_store_queued", "gauge", "Records that wait to be written.")
CONFIG_VERSION = Metric("quorate_config_version", "gauge", "Version that every worker has at least.", (), "min")
CONFIG_NEWEST = Metric("quorate_config_newest_version", "gauge", "The newest version of any worker.", (), "max")
WASTE_BUDGET = Metric("quorate_waste_budget_ratio", "gauge", "Share of tokens that may be wasted.", (), "max")
ABANDONED_TASKS = Metric("quorate_abandoned_tasks", "gauge", "Tasks that ignored their cancel and still run.")
WORKERS = Metric("quorate_workers", "gauge", "Workers that run, and that died without a word.", ("state",))

METRICS: Final = tuple(value for value in tuple(globals().values()) if isinstance(value, Metric))
"""Every metric there is."""
