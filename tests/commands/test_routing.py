"""`taskgraft tasks route` and `drift` against a running service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from client import Client
from commands.task_forms import tasks
from service.parts import open_parts
from tests.live_server import SECRET, live_server, settings_for_tests
from tests.service.test_registry import renamed
from tests.service.tiny import BUNDLE


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[str]:
    """The admin port of a service whose task has two versions."""
    settings = settings_for_tests(
        bundle=BUNDLE,
        feature_store=f"embedded:{tmp_path / 'features'}",
        task_store=str(tmp_path / "tasks"),
    )
    with live_server(open_parts, settings) as live:
        with Client(live.public, admin_url=live.admin, token=SECRET) as client:
            for shift in (0.0, 1.0):
                client.graft("share", renamed("share", shift), activate=shift == 0)
        yield live.admin


def run(admin: str, verb: str, *options: str) -> str:
    arguments = (verb, "share", *options, "--admin-url", admin, "--token", SECRET)
    done = CliRunner(env={"COLUMNS": "200"}).invoke(tasks, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def shown(admin: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(admin, "route", "--json"))
    return found


def test_a_canary_is_put_shown_and_taken_away(admin: str) -> None:
    told = run(admin, "route", "--canary", "2", "--percent", "2.5", "--max-psi", "0.2")
    assert "version 2 for 2.5 % of users" in told
    assert "psi at most 0.2, after 1000 rows" in told
    guard = {"max_psi": 0.2, "min_overlap": None, "min_rows": 1000}
    assert shown(admin)["canary"] == {"version": 2, "percent": 2.5}
    assert (shown(admin)["stable"], shown(admin)["guard"]) == (1, guard)
    run(admin, "route", "--alone")
    assert (shown(admin)["stable"], shown(admin)["canary"]) == (1, None)


def test_drift_is_a_row_per_version(admin: str) -> None:
    run(admin, "route", "--stable", "2", "--shadow", "1")
    (row,) = json.loads(run(admin, "drift", "--json"))["versions"]
    assert (row["version"], row["roles"], row["rows"]) == (1, ["shadow"], 0)
    assert "from version 2" in run(admin, "drift")


def test_half_a_canary_is_misuse() -> None:
    done = CliRunner().invoke(tasks, ["route", "share", "--canary", "2"])
    assert done.exit_code == 2
    assert "--percent" in done.output
