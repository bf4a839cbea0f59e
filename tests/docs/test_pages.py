"""The pages that go on from one another, run against real processes on a small log.

Their commands run as they stand but for two: nothing is downloaded, and the recipe trains two
epochs.
"""

from __future__ import annotations

import json
import re
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import ALL, DOCS, Block, blocks
from tests.docs.shell import Told, run_page
from tests.docs.shown import missing_lines
from tests.small_movielens import write_log, write_recipe

SCORE = "curl -s 127.0.0.1:8000/v1/score"
INSTEAD = {
    "taskgraft data get movielens": "true",
    "taskgraft train movielens": "taskgraft train movielens.toml",
    "taskgraft train movielens --seed 1 --out runs/next": (
        "taskgraft train movielens.toml --seed 1 --out runs/next"
    ),
}
WALK = ("tour.md", "new-task.md", "operations.md")
pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the pages call curl")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("walk")
    write_log(made / "data" / "movielens")
    write_recipe(made / "movielens.toml")
    return made


@pytest.fixture(scope="module")
def tour(folder: Path, tools: Path) -> Told:
    return run_page(list(blocks(DOCS / "tour.md")), folder, tools, INSTEAD)


@pytest.fixture(scope="module")
def new_task(tour: Told, folder: Path, tools: Path) -> Told:
    assert tour.code == 0, tour.reached
    return run_page(list(blocks(DOCS / "new-task.md")), folder, tools, INSTEAD)


@pytest.fixture(scope="module")
def operations(new_task: Told, folder: Path, tools: Path) -> Told:
    assert new_task.code == 0, new_task.reached
    return run_page(list(blocks(DOCS / "operations.md")), folder, tools, INSTEAD)


def check(told: Told) -> None:
    """Everything ran, quietly, and printed what the page shows."""
    assert told.code == 0, f"{told.reached}\n{told.errors}"
    assert len(told.outputs) == len(told.steps)
    assert "Traceback" not in told.errors
    page = [block for block in ALL if block.page == told.steps[0].block.page]
    for block, below in pairwise(page):
        if below.kind in ("text", "json") and block.kind == "sh":
            assert missing_lines(below, told.output_of(block)) == [], _place(below)


def _place(block: Block) -> str:
    return f"{block.page}:{block.line} shows what was not printed"


def scored(told: Told, number: int) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(told.output(SCORE, number))
    return answer


def test_the_tour_runs_and_shows_what_is_printed(tour: Told) -> None:
    check(tour)


def test_a_new_task_goes_to_production_as_its_page_says(new_task: Told) -> None:
    check(new_task)


def test_operations_run_as_their_page_says(operations: Told) -> None:
    check(operations)


def test_an_event_is_seen_by_the_next_score(tour: Told) -> None:
    before, after = scored(tour, 0), scored(tour, 1)
    assert before["degraded"] == after["degraded"] == "none"
    assert before["scores"]["like"] != after["scores"]["like"]


def test_a_grafted_task_is_scored_and_the_old_scores_are_the_same_text(tour: Told) -> None:
    before, after = tour.output(SCORE, 1), tour.output(SCORE, 2)
    assert set(json.loads(before)["scores"]) == {"like", "love"}
    assert set(json.loads(after)["scores"]) == {"like", "love", "dislike"}
    for task in ("like", "love"):
        array = re.compile(rf'"{task}":(\[[^\]]*\])')
        assert array.findall(before)[0] == array.findall(after)[0]


def test_a_removed_task_is_gone_and_on_record(tour: Told) -> None:
    assert set(scored(tour, 3)["scores"]) == {"like", "love"}
    assert "graft" in tour.output("taskgraft tasks history")


def test_the_ranking_puts_the_highest_weighted_sum_first(tour: Told) -> None:
    rows = re.findall(r"(?m)^ *(?:50|100|181)\s.*?([\d.]+)\s*$", tour.output("taskgraft score"))
    assert len(rows) == 3
    assert [float(row) for row in rows] == sorted(map(float, rows), reverse=True)


def test_a_restored_task_store_serves_the_task_again(operations: Told) -> None:
    assert re.search(r"dislike +prompt", operations.output("taskgraft tasks list"))


def test_the_readme_shows_no_command_that_does_not_run() -> None:
    run = {command for block in ALL if block.page != "README.md" for command in block.commands}
    shown = [command for block in ALL if block.page == "README.md" for command in block.commands]
    make = {command for command in shown if command.startswith("make ")}
    assert set(shown) - run - make == set()
