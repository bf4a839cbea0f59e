"""tune --all-tasks: every task known from earlier, on a new backbone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from commands import export, retune, train
from commands.failures import CommandError, Misuse
from commands.screen import Screen
from contract.bundle import open_bundle
from contract.prompt import read_prompt
from tests.small_movielens import write_log, write_recipe
from training.checkpoint import read_prompt_card
from training.errors import TrainingError
from training.tune import tune

SCREEN = Screen(as_json=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two backbones of one configuration, the second exported; a prompt tuned on the first."""
    folder = tmp_path_factory.mktemp("home")
    write_log(folder / "data" / "movielens")
    write_recipe(folder / "movielens.toml")
    given, data = str(folder / "movielens.toml"), folder / "data"
    for run, seed in (("old", 1), ("new", 2)):
        train.train(SCREEN, given, data, (folder / run, seed), resume=False)
    text = (folder / "movielens.toml").read_text(encoding="utf-8")
    extra = '\n[[tasks]]\nname = "awful"\nlabel = "rating <= 1"\nnew = true\n'
    (folder / "more.toml").write_text(text + extra, encoding="utf-8")
    for task in ("dislike", "awful"):
        wanted = (str(folder / "more.toml"), task)
        places = (data, folder / "old" / "prompts" / task)
        train.tune(SCREEN, folder / "old" / "backbone", wanted, places, compare=False)
    export.export(SCREEN, folder / "new" / "backbone", folder / "new" / "bundle", data)
    return folder


def tune_all(home: Path, earlier: Path | None, out: Path) -> dict[str, dict[str, object]]:
    retune.tune_all(SCREEN, home / "new" / "backbone", (None, earlier), (home / "data", out, None))
    report = json.loads((out / retune.REPORT_FILE).read_text("utf-8"))
    return {one["task"]: one for one in report["tasks"]}


def test_what_was_tuned_before_is_tuned_again_as_it_was(home: Path, tmp_path: Path) -> None:
    """Also a task that the new backbone's configuration does not know."""
    earlier, out = home / "old" / "prompts", tmp_path / "prompts"
    done = tune_all(home, earlier, out)
    assert set(done) == {"dislike", "awful"}
    manifest = open_bundle(home / "new" / "bundle").manifest
    for task, one in done.items():
        prompt = read_prompt((out / f"{task}.safetensors").read_bytes())
        prompt.check_fits(manifest)
        assert prompt.sha256 == one["sha256"]
        before, now = read_prompt_card(earlier / task), read_prompt_card(out / task)
        assert (now.label, now.config) == (before.label, before.config)
        assert one["auc_before"] == before.metrics["test"].auc


def test_without_earlier_prompts_the_configurations_new_tasks_are_tuned(
    home: Path, tmp_path: Path
) -> None:
    assert set(tune_all(home, None, tmp_path)) == {"dislike"}


def test_a_task_that_fails_keeps_no_other_back(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object, **named: object) -> object:
        task = given[2]
        if getattr(task, "name", "") == "awful":
            raise TrainingError("the loss is no longer finite")
        return tune(*given, **named)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr("commands.retune.tune", fail)
    with pytest.raises(CommandError, match="awful could not be tuned"):
        tune_all(home, home / "old" / "prompts", tmp_path)
    report = json.loads((tmp_path / retune.REPORT_FILE).read_text("utf-8"))
    assert [bool(one["failed"]) for one in report["tasks"]] == [False, True]
    assert (tmp_path / "dislike.safetensors").is_file()


def test_the_bundle_comes_first(home: Path, tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="taskgraft export"):
        retune.tune_all(
            SCREEN, home / "old" / "backbone", (None, None), (home / "data", tmp_path, None)
        )
