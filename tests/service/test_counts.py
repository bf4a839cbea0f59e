from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from service.counts import Counts


def told(counts: Counts) -> str:
    registry = CollectorRegistry()
    registry.register(counts)
    return generate_latest(registry).decode()


def test_counts_are_a_counter_by_labels() -> None:
    counts = Counts("seen", "What was seen.", "kind", "where")
    counts.of("fox", "wood").add()
    counts.of("fox", "wood").add(2)
    counts.of("hare", "field").add()
    text = told(counts)
    assert "# TYPE seen_total counter" in text
    assert 'seen_total{kind="fox",where="wood"} 3.0' in text
    assert 'seen_total{kind="hare",where="field"} 1.0' in text


def test_without_labels_it_is_there_before_anything_is_counted() -> None:
    assert "seen_total 0.0" in told(Counts("seen", "What was seen."))
    assert "seen_total{" not in told(Counts("seen", "What was seen.", "kind"))
