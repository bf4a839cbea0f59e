from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from service.tallies import Tally


def told(tally: Tally) -> str:
    registry = CollectorRegistry()
    registry.register(tally)
    return generate_latest(registry).decode()


def test_a_tally_is_a_counter_by_labels() -> None:
    tally = Tally("seen", "What was seen.", "kind", "where")
    tally.of("fox", "wood").add()
    tally.of("fox", "wood").add(2)
    tally.of("hare", "field").add()
    text = told(tally)
    assert "# TYPE seen_total counter" in text
    assert 'seen_total{kind="fox",where="wood"} 3.0' in text
    assert 'seen_total{kind="hare",where="field"} 1.0' in text


def test_without_labels_it_is_there_before_anything_is_counted() -> None:
    assert "seen_total 0.0" in told(Tally("seen", "What was seen."))
    assert "seen_total{" not in told(Tally("seen", "What was seen.", "kind"))
