"""Alert rules and dashboard against the metrics that the code has."""

from __future__ import annotations

import re

import pytest

from tests.docker.files import alert_expressions, dashboard, panel_expressions, read_yaml
from tests.service.test_metrics_document import used_in_every_way
from tests.service_process import ROOT

EXPRESSIONS = [*alert_expressions(), *panel_expressions()]
OF_PROMETHEUS = {"job", "instance", "le"}
_NAME = r"taskgraft_[a-z_]+"


def told() -> dict[str, set[str]]:
    """Every series that /metrics has once each thing happened, and its labels."""
    found: dict[str, set[str]] = {}
    for family in used_in_every_way().registry.collect():
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_name_and_label_is_one_the_service_tells(expression: str) -> None:
    known = told()
    names = re.findall(rf"\b{_NAME}\b", expression)
    assert set(names) <= known.keys()
    for name, selector in re.findall(rf"\b({_NAME})\{{([^}}]*)\}}", expression):
        assert set(re.findall(r"(\w+)(?:=~|!=|=)", selector)) <= known[name] | OF_PROMETHEUS
    grouped = {label for group in re.findall(r"\b(?:by|ignoring|on) \(([^)]*)\)", expression)
               for label in group.split(", ")}  # fmt: skip
    labels = {label for name in names for label in known[name]}
    assert grouped <= labels | OF_PROMETHEUS


def test_the_values_they_ask_for_are_ones_the_code_writes() -> None:
    given = re.findall(r'(\w+)(?:=~|!=|=)"([^"$]+)"', "\n".join(EXPRESSIONS))
    asked = {(label, value) for label, values in given for value in values.split("|")}
    source = "".join(
        path.read_text(encoding="utf-8") for path in sorted((ROOT / "service").rglob("*.py"))
    )
    for label, value in asked - {("job", "taskgraft")}:
        written = re.sub(r"^\d(?=xx$)", "{n}", value)
        assert f'"{written}"' in source, f"{label}={value}"


def test_a_name_that_nobody_tells_is_found() -> None:
    with pytest.raises(AssertionError):
        test_every_name_and_label_is_one_the_service_tells("taskgraft_made_up_total > 0")


def test_every_metric_but_the_obvious_is_on_the_dashboard() -> None:
    shown = "\n".join(panel_expressions())
    families = {re.sub("_(total|bucket|sum|count|created)$", "", name) for name in told()}
    assert [name for name in sorted(families) if name not in shown] == []


def test_every_alert_says_what_happened_and_what_it_means() -> None:
    (rules,) = read_yaml(ROOT / "monitoring" / "alerts.yaml")
    for rule in rules["groups"][0]["rules"]:
        assert {"summary", "description"} <= rule["annotations"].keys(), rule["alert"]
        assert rule["labels"]["severity"] in {"page", "ticket"}, rule["alert"]


def test_every_alert_has_a_test_that_it_fires() -> None:
    (tests,) = read_yaml(ROOT / "monitoring" / "alerts.test.yaml")
    (rules,) = read_yaml(ROOT / "monitoring" / "alerts.yaml")
    fired = re.findall(r'alertname="(\w+)"', str(tests["tests"][1]["promql_expr_test"]))
    assert fired == [rule["alert"] for rule in rules["groups"][0]["rules"]]


def test_the_panels_stand_side_by_side() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        mine = {(x, y) for x in range(at["x"], at["x"] + at["w"])
                for y in range(at["y"], at["y"] + at["h"])}  # fmt: skip
        assert not mine & cells, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        cells |= mine
