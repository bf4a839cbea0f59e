"""Metrics: bounded labels, one registry per object."""

from __future__ import annotations

import asyncio

import pytest

from service.errors import DeadlineExceeded, InvalidField
from service.metrics import Metrics


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"taskgraft_{name}", labels)


def fail(metrics: Metrics, failure: BaseException) -> None:
    """A score request of one task."""
    with metrics.scoring() as counted:
        counted.tasks = ["click"]
        raise failure


def test_two_services_in_one_process_do_not_share_figures() -> None:
    one, other = Metrics(), Metrics()
    one.scored(["click"], 5, "none")
    assert value(one, "scored_rows_total") == 5
    assert value(other, "scored_rows_total") == 0


def test_requests_are_counted_by_route_and_class_of_status() -> None:
    metrics = Metrics()
    record = metrics.request("/v1/score")
    for status in (200, 202, 422, 499, 503):
        record(status, 0.01, None)
    for label, count in (("2xx", 2), ("4xx", 2), ("5xx", 1)):
        assert value(metrics, "requests_total", route="/v1/score", status=label) == count
    assert value(metrics, "request_seconds_count", route="/v1/score") == 5


def test_refusals_are_counted_by_route_and_code() -> None:
    metrics = Metrics()
    metrics.request("/v1/score")(429, 0.01, "overloaded")
    assert value(metrics, "refusals_total", route="/v1/score", code="overloaded") == 1


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (InvalidField("items", "no"), "refused"),
        (DeadlineExceeded("late"), "late"),
        (RuntimeError(), "failed"),
    ],
)
def test_a_request_that_fails_counts_for_its_tasks_by_outcome(
    failure: Exception, outcome: str
) -> None:
    metrics = Metrics()
    metrics.serve_tasks(["click", "like"], 1)
    with pytest.raises(type(failure)):
        fail(metrics, failure)
    assert value(metrics, "task_requests_total", task="click", outcome=outcome) == 1
    assert value(metrics, "task_requests_total", task="click", outcome="scored") == 0
    assert value(metrics, "task_request_seconds_count", task="click") == 1
    assert value(metrics, "task_request_seconds_count", task="like") == 0


def test_a_caller_who_left_counts_for_no_task() -> None:
    metrics = Metrics()
    metrics.serve_tasks(["click"], 1)
    with pytest.raises(asyncio.CancelledError):
        fail(metrics, asyncio.CancelledError())
    assert value(metrics, "task_request_seconds_count", task="click") == 0


def test_a_stage_is_timed_also_when_it_fails() -> None:
    metrics = Metrics()
    with pytest.raises(KeyError), metrics.stage("run"):
        raise KeyError
    assert value(metrics, "stage_seconds_count", stage="run") == 1


def test_only_live_tasks_have_series() -> None:
    metrics = Metrics()
    metrics.serve_tasks(["click"], 3)
    metrics.scored(["click", "typed by a caller"], 5, "none")
    assert value(metrics, "task_scored_rows_total", task="click") == 5
    assert value(metrics, "task_scored_rows_total", task="typed by a caller") is None
    assert value(metrics, "generation") == 3
    assert value(metrics, "worker_generation", worker="0") == 3
    assert value(metrics, "tasks_resident") == 1


def test_a_removed_task_takes_its_series_along() -> None:
    metrics = Metrics()
    metrics.serve_tasks(["click", "like"], 1)
    metrics.scored(["click", "like"], 5, "none")
    metrics.serve_tasks(["click"], 2)
    metrics.scored(["like"], 5, "none")  # a request that began before the removal
    assert value(metrics, "task_scored_rows_total", task="like") is None
    assert value(metrics, "task_scored_rows_total", task="click") == 5


def test_a_task_that_stays_keeps_its_count() -> None:
    metrics = Metrics()
    metrics.serve_tasks(["click"], 1)
    metrics.scored(["click"], 5, "none")
    metrics.serve_tasks(["click", "like"], 2)
    assert value(metrics, "task_scored_rows_total", task="click") == 5


def test_the_tier_of_each_answer_is_counted() -> None:
    metrics = Metrics()
    metrics.scored([], 1, "no_history")
    assert value(metrics, "degraded_total", tier="no_history") == 1


def test_grafts_are_counted_by_outcome_and_reason() -> None:
    metrics = Metrics()
    metrics.grafted(0.01)
    metrics.refused("non_finite")
    assert value(metrics, "grafts_total", outcome="accepted", reason="") == 1
    assert value(metrics, "grafts_total", outcome="refused", reason="non_finite") == 1


def test_a_scraper_gets_the_form_it_asks_for() -> None:
    metrics = Metrics()
    plain, plain_type = metrics.exposition(None)
    assert plain_type.startswith("text/plain")
    assert b"# HELP taskgraft_requests_total" in plain
    openmetrics, kind = metrics.exposition("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert openmetrics.endswith(b"# EOF\n")
