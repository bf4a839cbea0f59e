"""Buckets of seconds: the same series that the client library's own histogram would show."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from service.durations import Durations

BOUNDS = (0.001, 0.25, 1, 5)


def exposed(registry: CollectorRegistry) -> list[str]:
    lines = generate_latest(registry).decode().splitlines()
    return sorted(line for line in lines if "_created" not in line)


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.floats(0, 10) | st.sampled_from(BOUNDS))))
def test_the_series_are_those_of_the_client_librarys_histogram(
    observed: list[tuple[str, float]],
) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    durations: Collector = Durations("took_seconds", "Time.", "route", BOUNDS)
    ours.register(durations)
    histogram = Histogram("took_seconds", "Time.", ["route"], buckets=BOUNDS, registry=theirs)
    assert isinstance(durations, Durations)
    for route, seconds in observed:
        durations.of(route).observe(seconds)
        histogram.labels(route).observe(seconds)
    assert exposed(ours) == exposed(theirs)
