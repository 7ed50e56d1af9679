"""Metrics: what the service does is counted, label values come from config alone, and the text is Prometheus'."""

import math
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from judging import FLAG, PASS, POLICY, Rule, Speaker, check
from quorate.apps.frontdoor import FrontDoor
from quorate.errors import UsageError
from quorate.events import Usage
from quorate.telemetry import names
from quorate.telemetry.metrics import MAX_NAMES, Metrics

Key = tuple[str, tuple[tuple[str, str], ...]]


def scraped(metrics: Metrics) -> dict[Key, float]:
    """Every sample, by name and labels, as Prometheus' own parser reads them."""
    text = metrics.exposition().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return scraped(metrics).get((name, tuple(sorted(labels.items()))))


def known() -> Metrics:
    metrics = Metrics()
    metrics.know(
        checks=["scope", "threat"], branches=["scope", "threat", "answer"], upstreams=["main"], routes=["/v1/checks"]
    )
    return metrics


def test_decisions_count_by_check_and_mode() -> None:
    """What was decided, by whom, and how long it took and was held."""
    metrics = known()
    metrics.decided(decision="refuse", by="threat", decide_s=0.2, held_s=0.15)
    metrics.decided(decision="refuse", by="threat", decide_s=0.3)
    metrics.decided(decision="admit", by=None, decide_s=0.01, mode="observe")
    assert value(metrics, "quorate_decisions_total", decision="refuse", by="threat", mode="enforce") == 2
    assert value(metrics, "quorate_decisions_total", decision="admit", by="none", mode="observe") == 1
    assert value(metrics, "quorate_decide_seconds_count", decision="refuse") == 2
    assert value(metrics, "quorate_decide_seconds_sum", decision="refuse") == 0.5
    assert value(metrics, "quorate_decide_seconds_bucket", decision="refuse", le="0.25") == 1
    assert value(metrics, "quorate_held_seconds_count") == 1


def test_checks_count_by_outcome_and_an_observed_one_apart() -> None:
    """A would-refuse is an outcome of its own; known checks start at zero, so that their first failure has a rate."""
    metrics = known()
    assert value(metrics, "quorate_check_outcomes_total", check="scope", outcome="failed", mode="enforce") == 0
    metrics.check("threat", "flag", elapsed_s=0.1)
    metrics.check("scope", "would_refuse", elapsed_s=0.1, mode="observe")
    assert value(metrics, "quorate_check_outcomes_total", check="threat", outcome="flag", mode="enforce") == 1
    assert value(metrics, "quorate_check_outcomes_total", check="scope", outcome="would_refuse", mode="observe") == 1
    assert value(metrics, "quorate_check_seconds_count", check="scope") == 1


def test_usage_counts_tokens_money_cuts_and_waste() -> None:
    """Reported and estimated tokens are never mixed; a retry counts as the branch it retries."""
    metrics = known()
    cut = Usage(2, 100, 20, 0.5, estimated=True, cut_calls=1)
    metrics.usage("answer#2", cut, wasted=cut)
    metrics.usage("answer", Usage(1, 10, 5, 0.25))
    assert value(metrics, "quorate_model_calls_total", branch="answer") == 3
    assert value(metrics, "quorate_model_calls_cut_total", branch="answer") == 1
    assert value(metrics, "quorate_tokens_total", branch="answer", direction="input", counted="estimated") == 100
    assert value(metrics, "quorate_tokens_total", branch="answer", direction="output", counted="reported") == 5
    assert value(metrics, "quorate_wasted_tokens_total", branch="answer", direction="output") == 20
    assert value(metrics, "quorate_cost_usd_total", branch="answer") == 0.75
    assert value(metrics, "quorate_wasted_cost_usd_total", branch="answer") == 0.5


async def test_a_run_is_counted_from_its_timeline() -> None:
    """What the branches of a refused message spent is counted, and the answer's share as wasted."""
    metrics = known()
    checks = [check("scope", Rule(PASS, 0.2)), check("threat", Rule(FLAG, 0.1))]
    async with FrontDoor(checks, Speaker(("Hello",)), policy=POLICY).respond("Hi") as response:
        async for _ in response:
            pass
    timeline = response.run.timeline
    metrics.spent(timeline)
    seen = scraped(metrics)
    tokens = sum(count for (name, _), count in seen.items() if name == "quorate_tokens_total")
    wasted = sum(count for (name, _), count in seen.items() if name == "quorate_wasted_tokens_total")
    assert (tokens, wasted) == (timeline.usage.tokens, timeline.wasted.tokens) and wasted > 0


def test_the_service_counts_the_rest() -> None:
    """Requests, 429s, clients that leave, reloads, commits and losses."""
    metrics = known()
    metrics.responded(route="/v1/checks", status=200, elapsed_s=1.0)
    metrics.rejected("queue")
    metrics.client_gone("held")
    metrics.reloaded("rejected")
    metrics.committed(5, 0.002)
    metrics.store_failed()
    metrics.losses("log", lambda: 7)
    assert value(metrics, "quorate_requests_total", route="/v1/checks", status="200") == 1
    assert value(metrics, "quorate_request_seconds_count", route="/v1/checks") == 1
    assert value(metrics, "quorate_rejected_total", reason="queue") == 1
    assert value(metrics, "quorate_rejected_total", reason="rate") == 0
    assert value(metrics, "quorate_clients_gone_total", stage="held") == 1
    assert value(metrics, "quorate_config_reloads_total", result="rejected") == 1
    assert value(metrics, "quorate_store_rows_total") == 5
    assert value(metrics, "quorate_store_commit_seconds_count") == 1
    assert value(metrics, "quorate_store_failures_total") == 1
    assert value(metrics, "quorate_telemetry_lost_total", what="log") == 7


def test_gauges_are_read_when_scraped() -> None:
    """A gauge is asked at each scrape; one that raises is missing and counted, and breaks no other."""
    metrics = known()
    running = 3.0
    metrics.gauge(names.RUNNING, lambda: running)
    metrics.gauge(names.UPSTREAM_LIMIT, lambda: {"main": 8.0, "stranger": 1.0, "another": 2.0})
    metrics.gauge(names.STORE_UP, lambda: 1 / 0)
    assert value(metrics, "quorate_requests_running") == 3
    running = 4.0
    assert value(metrics, "quorate_requests_running") == 4
    assert value(metrics, "quorate_upstream_limit", upstream="main") == 8
    assert value(metrics, "quorate_upstream_limit", upstream="other") == 3
    assert value(metrics, "quorate_store_up") is None and metrics.failures > 0
    assert value(metrics, "quorate_telemetry_lost_total", what="metrics") != 0
    with pytest.raises(UsageError, match="counter, not a gauge"):
        metrics.gauge(names.REJECTED, lambda: 1.0)


@pytest.mark.parametrize("text", ['a"\n# HELP x\nx 1', "\ud800", "x" * 100_000, "\x00", "", "__name__"])
def test_what_config_does_not_name_is_other(text: str) -> None:
    """No caller's text becomes a label, so series are bounded."""
    metrics = known()
    metrics.decided(decision=text, by=text, decide_s=0, mode=text)
    metrics.check(text, text, elapsed_s=0, mode=text)
    metrics.usage(text, Usage(1, 1, 1))
    metrics.responded(route=text, status=10**9, elapsed_s=0)
    metrics.rejected(text)
    metrics.client_gone(text)
    metrics.reloaded(text)
    told = {label for _, labels in scraped(metrics) for _, label in labels}
    assert text not in told - {"other"} and "other" in told
    assert value(metrics, "quorate_requests_total", route="other", status="other") == 1


def test_hostile_names_of_a_config_are_escaped_and_bounded() -> None:
    """A config's names may hold anything; beyond a number of them they are not told apart."""
    metrics = Metrics()
    metrics.know(checks=['a"\n# HELP x', "\ud800"])
    metrics.check('a"\n# HELP x', "pass", elapsed_s=0)
    metrics.check("\ud800", "pass", elapsed_s=0)
    assert value(metrics, "quorate_check_outcomes_total", check='a"\n# HELP x', outcome="pass", mode="enforce") == 1
    metrics.know(checks=(f"check-{number}" for number in range(10_000)))
    told = {dict(labels)["check"] for name, labels in scraped(metrics) if name == "quorate_check_outcomes_total"}
    assert len(told) <= MAX_NAMES


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf, 0.0])
def test_odd_times_break_no_histogram(seconds: float) -> None:
    """Whatever a clock says, counts stay whole and a NaN does not stay in the sum."""
    metrics = known()
    metrics.check("scope", "pass", elapsed_s=seconds)
    assert value(metrics, "quorate_check_seconds_count", check="scope") == 1
    assert not math.isnan(value(metrics, "quorate_check_seconds_sum", check="scope") or 0.0)


def test_every_metric_of_the_table_is_registered() -> None:
    """The registry and the table hold the same names, each with its help."""
    metrics = known()
    families: dict[str, Any] = {family.name: family for family in metrics.registry.collect()}
    assert set(families) == {metric.name.removesuffix("_total") for metric in names.METRICS}
    assert all(family.documentation for family in families.values())
    assert all(metric.name.startswith("quorate_") and metric.name.isascii() for metric in names.METRICS)
    assert all(metric.name.endswith("_total") == (metric.kind == "counter") for metric in names.METRICS)
    metrics.close()
    metrics.close()
