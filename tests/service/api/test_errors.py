"""The one table: every error of the service has a status, and every refusal one form."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pytest
from structlog.testing import capture_logs

from contract.errors import PromptMisfit
from service import errors
from service.api.errors import problem_of

# Met at start alone.
WITHOUT_STATUS = {errors.ConfigError, errors.WorkerFailed}
EXAMPLES = {
    errors.InvalidField: errors.InvalidField("user_id", "no"),
    errors.UnknownTask: errors.UnknownTask(["a"]),
    errors.Overloaded: errors.Overloaded("full", 1.2),
    errors.TooManyFailures: errors.TooManyFailures("wait", 6.0),
    errors.NotConverged: errors.NotConverged("one is behind", [{"id": "a"}]),
    errors.TaskRejected: errors.TaskRejected("slow", "too slow"),
}


def all_errors(of: type[errors.ServiceError]) -> Iterator[type[errors.ServiceError]]:
    for kind in of.__subclasses__():
        yield kind
        yield from all_errors(kind)


@pytest.mark.parametrize("kind", sorted(all_errors(errors.ServiceError), key=str))
def test_every_error_of_the_service_has_its_status(kind: type[errors.ServiceError]) -> None:
    problem = problem_of(EXAMPLES.get(kind) or kind("a sentence"))
    assert (problem.status == 500) is (kind in WITHOUT_STATUS)


def test_an_unknown_error_is_logged_in_full_and_told_in_one_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    problem = problem_of(RuntimeError("secret"))
    assert problem.status == 500
    assert "secret" not in problem.message
    assert "secret" in capsys.readouterr().out


def test_a_known_refusal_is_one_line_and_overload_is_none() -> None:
    with capture_logs() as lines:
        problem_of(errors.DeadlineExceeded("late"))
        problem_of(errors.Overloaded("full", 1.0))
    assert [(line["log_level"], line["status"]) for line in lines] == [("info", 504)]


def test_a_caller_is_told_when_to_come_back_in_whole_seconds() -> None:
    assert problem_of(errors.Overloaded("full", 1.2)).headers["Retry-After"] == "2"
    assert problem_of(errors.Overloaded("full", 0.01)).headers["Retry-After"] == "1"


def test_a_refusal_can_always_be_written() -> None:
    """Details quote what was found in a file or a request, which may be anything."""
    err = PromptMisfit(
        "malformed",
        "odd \ud800",
        name="\udfff",
        number=float("nan"),
        huge=10**30,
        nested={"a": [(1, b"x"), {2: None}]},
        long="x" * 5000,
    )
    document = orjson.loads(problem_of(err).told("r-1")[1])
    assert document["request_id"] == "r-1"
    details = document["error"]["details"]
    assert details["name"] == "?"
    assert details["number"] is None
    assert details["huge"] == str(10**30)
    assert details["nested"] == {"a": [[1, "b'x'"], {"2": None}]}
    assert len(details["long"]) == 1000
