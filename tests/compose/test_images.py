"""What the images hold, and what they refuse."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.compose.stack import SERVICE, TINY, build, docker

MOST_BYTES = 350_000_000
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    build("service", SERVICE)


def inside(program: str) -> str:
    return docker("run", "--rm", "--entrypoint", "sh", SERVICE, "-c", program)


def test_the_service_image_is_small() -> None:
    assert int(docker("image", "inspect", SERVICE, "--format", "{{.Size}}")) < MOST_BYTES


def test_it_holds_nothing_that_learns_installs_or_compiles() -> None:
    packages = inside("ls /venv/lib/python3*/site-packages /usr/local/lib/python3*/site-packages")
    found = {line.split("-")[0].lower() for line in packages.splitlines()}
    assert not found & {"torch", "onnx", "polars", "scikit_learn", "scipy", "pip", "setuptools"}
    assert inside("ls /app").split() == [
        "__pycache__", "client", "commands", "contract", "service", "taskgraft.py"
    ]  # fmt: skip
    assert inside("for tool in pip gcc cc make; do command -v $tool; done; true") == ""


def test_it_runs_as_nobody_in_particular() -> None:
    config = json.loads(docker("image", "inspect", SERVICE, "--format", "{{json .Config}}"))
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"][0] == "python", "exec form, so that a signal arrives"


def test_it_has_every_verb_of_serving() -> None:
    made = docker("run", "--rm", SERVICE, "tokens", "new", "me", "--scope", "graft", "--json")
    assert json.loads(made)["token"].startswith("tg_")
    assert "TASKGRAFT_WORKERS" in docker("run", "--rm", SERVICE, "serve", "--help")
    assert "graft" in docker("run", "--rm", SERVICE, "tasks", "--help")


def test_onnxruntime_tells_nobody() -> None:
    """Its builds since 1.29 report every session, unless this is set."""
    assert inside("echo $ORT_DISABLE_TELEMETRY") == "1"


def test_a_device_that_is_not_there_is_refused() -> None:
    run = subprocess.run(
        ["docker", "run", "--rm", "--tmpfs", "/state:uid=10001", "-v", f"{TINY}/bundle:/bundle:ro",
         "-e", "TASKGRAFT_PROVIDERS=cuda", SERVICE],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].startswith("error: none of the providers cuda")
