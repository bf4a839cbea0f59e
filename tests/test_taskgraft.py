"""The command as a process: what it prints where, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from service.settings import Settings

ROOT = Path(__file__).parents[1]
VERBS = ("train", "evaluate", "tune", "export", "serve", "score", "inspect", "demo")
NOUNS = {
    "data": ("get", "describe"),
    "tasks": ("list", "graft", "rollback", "route", "drift", "remove", "history"),
    "features": ("load",),
    "tokens": ("new",),
}


def run(*arguments: str, blocked: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the command; blocked packages are as good as not installed."""
    block = f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))"
    code = f"{block}; import taskgraft; taskgraft.main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def sentence_of(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on stderr."""
    assert done.stderr.startswith("error: "), done.stderr
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_help_names_every_verb() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in (*VERBS, *NOUNS))


@pytest.mark.parametrize("noun", NOUNS)
def test_help_of_a_noun_names_its_verbs(noun: str) -> None:
    done = run(noun, "--help")
    assert all(verb in done.stdout for verb in NOUNS[noun])


def test_without_arguments_there_is_help() -> None:
    assert run().stdout == run("--help").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("grow",),
        ("train",),
        ("train", "movielens", "--no-such-option"),
        ("score", "1"),
        ("tasks",),
        ("serve", "x", "--port", "many"),
        ("export", "backbone", "bundle", "--prompt", "prompt", "--config", "movielens"),
        ("tokens", "new", "me", "--scope", "everything"),
        ("tokens", "new", "me", "--scope", "graft", "--days", "0"),
        ("train", "no-such.toml"),
    ],
)
def test_misuse_is_a_sentence_and_ends_with_2(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    sentence_of(done)
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("inspect", "no/such/file"), "no/such/file"),
        (("inspect", "docs"), "no bundle"),
        (("inspect", "README.md"), "no safetensors file"),
        (("serve", "docs"), "no bundle"),
        (("evaluate", "docs"), "docs"),
        (("score", "1", "2", "--url", "http://127.0.0.1:1"), "nothing answers"),
        (("score", "1", "2", "--url", "nowhere"), "expected one like"),
        (("tasks", "graft", "x", "README.md", "--admin-url", "http://127.0.0.1:1"), "nothing"),
    ],
)
def test_a_failure_is_a_sentence_and_ends_with_1(arguments: tuple[str, ...], said: str) -> None:
    done = run(*arguments)
    assert said in sentence_of(done)
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize(
    ("arguments", "blocked", "extra"),
    [
        (("train", "movielens"), "torch", "training"),
        (("export", "a", "b"), "onnx", "export"),
        (("serve", "a"), "onnxruntime", "cpu"),
        (("serve", "--help"), "pydantic_settings", "service"),
        (("score", "1", "2"), "httpx", "client"),
        (("inspect", "tests/golden/tiny/bundle", "--html", "x.html"), "markupsafe", "training"),
        (("inspect", "tests/golden/tiny/bundle", "--measure"), "onnxruntime", "cpu"),
    ],
)
def test_a_missing_package_names_the_extra_to_install(
    arguments: tuple[str, ...], blocked: str, extra: str
) -> None:
    done = run(*arguments, blocked=(blocked,))
    assert f".[{extra}]" in sentence_of(done)
    assert done.returncode == 1


def test_serve_gets_to_its_bundle_without_any_learning_package() -> None:
    done = run("serve", "docs", blocked=("torch", "onnx", "polars", "sklearn", "httpx"))
    assert "no bundle" in sentence_of(done)


def test_inspect_needs_neither_learning_nor_templates() -> None:
    blocked = ("torch", "onnx", "onnxruntime", "polars", "jinja2", "markupsafe")
    done = run("inspect", "tests/golden/tiny/bundle", blocked=blocked)
    assert done.returncode == 0, done.stderr
    assert "backbone.onnx" in done.stdout


def test_help_of_serve_lists_every_variable_with_its_meaning() -> None:
    done = run("serve", "--help")
    assert done.returncode == 0
    text = " ".join(done.stdout.split())
    for name, field in Settings.model_fields.items():
        assert f"TASKGRAFT_{name.upper()} " in text
        assert " ".join((field.description or "no description").split()) in text


def test_json_is_all_that_reaches_stdout() -> None:
    done = run("tokens", "new", "me", "--scope", "read", "--json")
    made = json.loads(done.stdout)
    assert made["admin_tokens"].startswith("me:read:")
    assert made["token"] not in made["admin_tokens"]


def test_a_new_token_is_two_lines_a_shell_can_take() -> None:
    lines = run("tokens", "new", "me", "--scope", "graft").stdout.splitlines()
    assert [line.split("=")[0] for line in lines] == [
        "export TASKGRAFT_TOKEN",
        "export TASKGRAFT_ADMIN_TOKENS",
    ]


def test_ctrl_c_ends_a_command_with_130_and_without_a_traceback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        command = [sys.executable, "-m", "taskgraft", "tasks", "list", "--url", url]
        waiting = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        connection, _ = silent.accept()  # the command is now waiting for an answer
        waiting.send_signal(signal.SIGINT)
        _, errors = waiting.communicate(timeout=30)
        connection.close()
    assert waiting.returncode == 130
    assert "Traceback" not in errors
