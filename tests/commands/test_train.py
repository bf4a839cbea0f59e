"""train, evaluate, tune and export: what they leave on disk and what they tell a program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from commands import export, served, train
from commands.configuration import find_task, load_config
from commands.failures import Misuse
from commands.screen import Screen
from contract.bundle import open_bundle
from contract.prompt import read_prompt
from tests.commands.report.reading import Reader, stands_alone
from tests.small_movielens import write_log, write_recipe
from training.errors import ConfigError

SCREEN = Screen(as_json=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a configuration and a trained backbone."""
    folder = tmp_path_factory.mktemp("home")
    write_log(folder / "data" / "movielens")
    write_recipe(folder / "movielens.toml")
    train.train(
        Screen(as_json=True),
        str(folder / "movielens.toml"),
        folder / "data",
        (folder / "run", 3),
        resume=False,
    )
    return folder


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def tuned(home: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    places = (home / "data", home / "prompt")
    train.tune(SCREEN, home / "run" / "backbone", (None, None), places, compare=False)
    return told(capsys)


def test_the_seed_of_the_command_is_the_one_used(home: Path) -> None:
    card = json.loads((home / "run" / "backbone" / "checkpoint.json").read_text("utf-8"))
    assert card["seed"] == 3


@pytest.mark.parametrize("split", ["valid", "test"])
def test_evaluate_gives_the_figures_of_a_split(
    home: Path, capsys: pytest.CaptureFixture[str], split: str
) -> None:
    train.evaluate(SCREEN, home / "run" / "backbone", home / "data", split, None)
    document = told(capsys)
    assert document["split"] == split
    assert set(document["metrics"]) == {"like", "love"}
    assert document["report"] == (home / "run" / f"backbone-{split}.html").as_posix()
    page = Reader(Path(document["report"]).read_text("utf-8"))
    assert page.row("result", "like")[3] == f"{document['metrics']['like']['auc']:.4f}"


def test_a_run_leaves_a_report_beside_what_it_wrote(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stands_alone((home / "run" / "backbone.html").read_text("utf-8"))
    report = Path(tuned(home, capsys)["report"])
    assert report == home / "prompt.html"
    assert stands_alone(report.read_text("utf-8"))


def test_a_report_that_cannot_be_written_stops_nobody(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = home / "run" / "backbone-test.html"
    taken.unlink(missing_ok=True)
    taken.mkdir()
    train.evaluate(SCREEN, home / "run" / "backbone", home / "data", "test", None)
    taken.rmdir()
    assert told(capsys)["report"] is None


def test_evaluate_knows_two_splits(home: Path) -> None:
    with pytest.raises(Misuse, match="valid, test"):
        train.evaluate(SCREEN, home / "run" / "backbone", home / "data", "train", None)


def test_tune_finds_the_only_new_task_and_counts_what_it_trained(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = tuned(home, capsys)
    assert document["task"] == "dislike"
    assert 0 < document["share"] < 1
    assert document["compared"] > 0
    train.evaluate(SCREEN, home / "run" / "backbone", home / "data", "test", home / "prompt")
    assert told(capsys)["metrics"]["dislike"] == document["metrics"]["test"]


def test_what_is_exported_opens_and_fits_together(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backbone, bundle = home / "run" / "backbone", home / "bundle"
    export.export(SCREEN, backbone, bundle, home / "data")
    document = told(capsys)
    opened = open_bundle(bundle)
    assert document["fingerprint"] == opened.manifest.fingerprint
    assert document["parity"] <= opened.manifest.tolerance
    tuned(home, capsys)
    places = (home / "data", home / "dislike.safetensors")
    export.prompt(SCREEN, backbone, bundle, home / "prompt", places)
    prompt = read_prompt((home / "dislike.safetensors").read_bytes())
    assert told(capsys)["sha256"] == prompt.sha256
    prompt.check_fits(opened.manifest)


def test_a_bundle_is_measured_with_the_figures_of_its_checkpoint(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backbone, bundle = home / "run" / "backbone", home / "run" / "bundle"
    export.export(SCREEN, backbone, bundle, home / "data")
    capsys.readouterr()
    train.evaluate(SCREEN, backbone, home / "data", "valid", None)
    expected = told(capsys)["metrics"]
    served.evaluate(SCREEN, bundle, [], (home / "data", None), "valid")
    found = told(capsys)["metrics"]
    assert list(found) == list(expected)
    for task, metrics in found.items():
        for name in ("auc", "gauc", "logloss", "calibration_error"):
            assert metrics[name] == pytest.approx(expected[task][name], abs=1e-5), name


def test_a_calibrated_export_tells_the_error_before_and_after(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = (home / "movielens.toml").read_text(encoding="utf-8")
    longer = home / "longer.toml"
    longer.write_text(recipe.replace("epochs = 2", "epochs = 12"), encoding="utf-8")
    train.train(SCREEN, str(longer), home / "data", (home / "longer", None), resume=False)
    backbone, bundle = home / "longer" / "backbone", home / "longer" / "bundle"
    capsys.readouterr()
    export.export(SCREEN, backbone, bundle, home / "data", calibrate=True)
    document = told(capsys)
    assert set(document["calibration"]) == {"like", "love"}
    manifest = open_bundle(bundle).manifest
    served.evaluate(SCREEN, bundle, [], (home / "data", None), "test")
    measured = told(capsys)["metrics"]
    for task in manifest.tasks:
        after = document["calibration"][task.name]["after"]
        assert task.metrics["calibration_error"] == after
        assert measured[task.name]["calibration_error"] == pytest.approx(after, abs=1e-5)
        assert f"calibrated {task.name}" in manifest.provenance
    places = (home / "data", home / "longer" / "prompt")
    train.tune(SCREEN, backbone, (None, None), places, compare=False)
    capsys.readouterr()
    places = (home / "data", home / "calibrated.safetensors")
    export.prompt(SCREEN, backbone, bundle, home / "longer" / "prompt", places, calibrate=True)
    after = told(capsys)["calibration"]["dislike"]["after"]
    header = read_prompt((home / "calibrated.safetensors").read_bytes()).header
    assert header.metrics["calibration_error"] == after
    assert "calibrated dislike" in header.provenance


def test_a_bundle_alone_needs_a_configuration(home: Path) -> None:
    bundle = home / "bundle"
    with pytest.raises(Misuse, match="--config"):
        served.evaluate(SCREEN, bundle, [], (home / "data", None), "test")


def test_a_recipe_is_known_by_its_name() -> None:
    assert load_config("movielens").name == "movielens"


def test_a_name_that_is_no_recipe_is_read_as_a_file() -> None:
    with pytest.raises(ConfigError, match=r"cannot read nothing"):
        load_config("nothing")


def test_a_task_that_is_not_new_cannot_be_tuned() -> None:
    with pytest.raises(Misuse, match="dislike"):
        find_task(load_config("movielens"), "like")
