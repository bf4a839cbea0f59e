"""The README's story against real processes, on a small log in the form of MovieLens.

Two of its lines differ: nothing is downloaded, and the recipe trains two epochs.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.readme import ROOT, Told, read_story, run_story
from tests.small_movielens import write_log, write_recipe

SCORE = "curl -s 127.0.0.1:8000/v1/score"
_CURL = '''#!{python}
"""Enough of curl for the README, where there is none."""
import sys
import httpx
given = dict(zip(sys.argv, sys.argv[1:]))
name, _, value = given.get("-H", "").partition(": ")
url = "http://" + next(a for a in sys.argv[1:] if a.startswith("127"))
try:
    if "-d" in given:
        answer = httpx.post(url, content=given["-d"], headers={{name: value}})
    else:
        answer = httpx.get(url)
except httpx.TransportError:
    sys.exit(7)
if "-sf" in sys.argv and answer.status_code >= 400:
    sys.exit(22)
print(answer.text, end="")
'''


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    folder = tmp_path_factory.mktemp("story")
    write_log(folder / "data" / "movielens")
    write_recipe(folder / "movielens.toml")
    commands = read_story((ROOT / "README.md").read_text(encoding="utf-8"))
    commands.remove("taskgraft data get movielens")
    commands[commands.index("taskgraft train movielens")] += ".toml"
    if shutil.which("curl") is None:
        commands.insert(0, _curl_in(folder))
    return run_story(commands, folder)


def _curl_in(folder: Path) -> str:
    import sys

    tool = folder / "bin" / "curl"
    tool.parent.mkdir()
    tool.write_text(_CURL.format(python=sys.executable), encoding="utf-8")
    tool.chmod(0o755)
    return f'export PATH="$PATH:{tool.parent}"'


def scored(told: Told, number: int) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(told.output(SCORE, number))
    return answer


def test_every_command_of_the_readme_works(told: Told) -> None:
    assert told.code == 0, f"{told.commands[len(told.outputs) - 1]}\n{told.errors}"
    assert len(told.outputs) == len(told.commands)


def test_an_event_is_seen_by_the_next_score(told: Told) -> None:
    before, after = scored(told, 0), scored(told, 1)
    assert before["degraded"] == after["degraded"] == "none"
    assert before["scores"]["like"] != after["scores"]["like"]


def test_a_grafted_task_is_scored_and_the_old_scores_are_the_same_text(told: Told) -> None:
    before, after = told.output(SCORE, 1), told.output(SCORE, 2)
    assert set(json.loads(before)["scores"]) == {"like", "love"}
    assert set(json.loads(after)["scores"]) == {"like", "love", "dislike"}
    for task in ("like", "love"):
        array = re.compile(rf'"{task}":(\[[^\]]*\])')
        assert array.findall(before)[0] == array.findall(after)[0]


def test_a_removed_task_is_gone_and_on_record(told: Told) -> None:
    assert set(scored(told, 3)["scores"]) == {"like", "love"}
    assert "graft" in told.output("taskgraft tasks history")


def test_the_ranking_puts_the_highest_weighted_sum_first(told: Told) -> None:
    rows = re.findall(r"(?m)^ *(?:50|100|181)\s.*?([\d.]+)\s*$", told.output("taskgraft score"))
    assert len(rows) == 3
    assert [float(row) for row in rows] == sorted(map(float, rows), reverse=True)


def test_the_python_example_prints_the_scores_of_its_items(told: Told) -> None:
    assert re.match(r"\[[\d.e-]+, [\d.e-]+, [\d.e-]+\] \d+\n", told.outputs[-1])


def test_no_traceback_reaches_the_user(told: Told) -> None:
    assert "Traceback" not in told.errors
