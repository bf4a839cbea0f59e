"""A foreseeable failure is one sentence and an exit code."""

from __future__ import annotations

import pytest

from client.errors import Unavailable
from commands.failures import FAILED, INTERRUPTED, MISUSED, Failure, Misuse, explain
from contract.errors import CorruptBundle
from export.errors import ParityError
from service.errors import ConfigError as ServiceConfigError
from service.errors import StoreUnavailable
from training.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CorruptBundle("sentence"), FAILED),
        (DataError("sentence"), FAILED),
        (ParityError("sentence", 0.1), FAILED),
        (StoreUnavailable("sentence"), FAILED),
        (Unavailable("sentence"), FAILED),
        (ConfigError("sentence"), MISUSED),
        (ServiceConfigError("sentence"), MISUSED),
        (Misuse("sentence"), MISUSED),
    ],
)
def test_every_tree_of_errors_is_known(error: Exception, code: int) -> None:
    assert explain(error) == Failure("sentence", code)


def test_a_missing_package_names_the_extra_that_brings_it() -> None:
    failure = explain(ModuleNotFoundError("No module named 'torch'", name="torch"))
    assert failure is not None
    assert failure.code == FAILED
    assert "torch" in failure.sentence
    assert ".[training]" in failure.sentence


def test_a_module_nobody_knows_is_a_fault_of_ours() -> None:
    assert explain(ModuleNotFoundError("No module named 'x'", name="training.x")) is None


def test_a_file_that_is_not_there_is_named() -> None:
    failure = explain(FileNotFoundError(2, "No such file or directory", "a/b.toml"))
    assert failure == Failure("a/b.toml: no such file or directory", FAILED)


def test_ctrl_c_is_no_failure_of_the_command() -> None:
    assert explain(KeyboardInterrupt()) == Failure("stopped", INTERRUPTED)


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), ZeroDivisionError()])
def test_what_nobody_foresaw_keeps_its_traceback(error: Exception) -> None:
    assert explain(error) is None
