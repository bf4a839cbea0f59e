"""Results files keep their form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.machine import describe_machine
from benchmarks.results import Figure, read_results, write_results

FIGURE = Figure(name="a/b", value=1.5, unit="s", goal="<= 2", holds=True, command="make it")


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    write_results("some", {"cores": 2}, [FIGURE], {"seeds": "0"}, tmp_path)
    found = read_results("some", tmp_path)
    assert found.figures == (FIGURE,)
    assert found.machine == {"cores": 2}
    assert found.notes == {"seeds": "0"}


def test_a_file_holds_the_machine_and_seven_keys_per_figure(tmp_path: Path) -> None:
    path = write_results("some", {"cores": 2}, [FIGURE], folder=tmp_path)
    document = json.loads(path.read_text())
    assert set(document) == {"machine", "figures"}
    assert list(document["figures"][0]) == [
        *("name", "value", "unit", "spread", "goal", "holds", "command")
    ]


def test_a_missing_file_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="run the benchmark that writes it"):
        read_results("none", tmp_path)


def test_a_file_of_another_form_is_named(tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text('{"machine": {}, "figures": [{"name": "x"}]}')
    with pytest.raises(ValueError, match=r"odd\.json is not a results file: figures\.0\.value"):
        read_results("odd", tmp_path)


def test_the_machine_is_described_without_its_name() -> None:
    facts = describe_machine(("torch", "no-such-package"))
    assert 0 <= float(facts["stolen_share"]) <= 1
    assert facts["no-such-package"] == "absent"
    assert str(facts["torch"]).startswith("2.")
    assert "hostname" not in facts
    assert int(facts["cores"]) >= 1
