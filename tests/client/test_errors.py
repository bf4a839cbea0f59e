"""Each refusal as its own error, with the server's sentence."""

from __future__ import annotations

import pytest

from client import errors
from tests.client.conftest import Answer, Driver, Server


def refusal(code: str, **more: object) -> dict[str, object]:
    return {"error": {"code": code, "message": "the server's sentence", **more}, "request_id": "r9"}


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "malformed", errors.BadRequest),
        (401, "not_authenticated", errors.Unauthorised),
        (403, "not_allowed", errors.Unauthorised),
        (404, "unknown_task", errors.NotFound),
        (408, "body_timeout", errors.BadRequest),
        (409, "task_conflict", errors.Refused),
        (413, "too_large", errors.TooLarge),
        (415, "unsupported_media", errors.BadRequest),
        (422, "invalid_field", errors.BadRequest),
        (422, "prompt_refused", errors.Refused),
        (429, "overloaded", errors.Overloaded),
        (500, "internal", errors.Unavailable),
        (503, "not_ready", errors.Unavailable),
        (504, "deadline_exceeded", errors.Deadline),
    ],
)
def test_each_status_has_its_error(
    server: Server, drive: Driver, status: int, code: str, kind: type[errors.ClientError]
) -> None:
    server.say(Answer(status, refusal(code)))
    with pytest.raises(errors.ClientError) as found:
        drive(server.url, lambda c: c.remove("x"), admin_url=server.url)
    assert type(found.value) is kind
    assert str(found.value) == "the server's sentence"
    assert found.value.told == errors.Told(status, "r9")


def test_a_refused_prompt_carries_reason_and_details(server: Server, drive: Driver) -> None:
    body = refusal("prompt_refused", reason="wrong_shape", details={"tensor": "w"})
    server.say(Answer(422, body))
    with pytest.raises(errors.Refused) as found:
        drive(server.url, lambda c: c.graft("x", b"1"), admin_url=server.url)
    assert found.value.reason == "wrong_shape"
    assert found.value.details == {"tensor": "w"}


def test_a_conflict_without_a_reason_gives_its_code(server: Server, drive: Driver) -> None:
    server.say(Answer(409, refusal("task_conflict")))
    with pytest.raises(errors.Refused) as found:
        drive(server.url, lambda c: c.graft("x", b"1"), admin_url=server.url)
    assert found.value.reason == "task_conflict"


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("Wed, 21 Oct 2015 07:28:00 GMT", None), ("-1", None)]
)
def test_overloaded_says_when_to_come_back(
    server: Server, drive: Driver, header: str, seconds: float | None
) -> None:
    server.say(Answer(429, refusal("overloaded"), {"retry-after": header}))
    with pytest.raises(errors.Overloaded) as found:
        drive(server.url, lambda c: c.score(1, [2]), timeout_s=0.5)
    assert found.value.retry_after_s == seconds


def test_an_error_page_of_a_proxy_still_names_the_call(server: Server, drive: Driver) -> None:
    server.say(Answer(502, b"<html>Bad Gateway</html>"))
    with pytest.raises(errors.Unavailable, match=r"DELETE /v1/tasks/x answered 502"):
        drive(server.url, lambda c: c.remove("x"), admin_url=server.url)


def test_no_server_is_unavailable(server: Server, drive: Driver) -> None:
    with pytest.raises(errors.Unavailable, match="nothing answers at"):
        drive("http://127.0.0.1:1", lambda c: c.score(1, [2]), timeout_s=0.2)


def test_a_silent_server_is_a_deadline(server: Server, drive: Driver) -> None:
    server.say(Answer(delay_s=0.5))
    with pytest.raises(errors.Deadline):
        drive(server.url, lambda c: c.score(1, [2]), timeout_s=0.1)


def test_a_server_that_hangs_up_is_unavailable(drive: Driver) -> None:
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            connection, _ = listener.accept()
            connection.recv(65536)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(errors.Unavailable, match="broke"):
            drive(url, lambda c: c.remove("x"), admin_url=url)
        thread.join()


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "", "http://", "http://[::1"])
def test_an_address_that_is_none_is_refused_at_once(drive: Driver, url: str) -> None:
    with pytest.raises(errors.BadRequest, match="expected one like http://"):
        drive(url, lambda c: c.tasks())


@pytest.mark.parametrize("token", ["a\nb", "schlüssel"])
def test_a_token_that_no_header_can_hold_is_refused_and_not_quoted(
    server: Server, drive: Driver, token: str
) -> None:
    with pytest.raises(errors.BadRequest) as found:
        drive(server.url, lambda c: c.workers(), admin_url=server.url, token=token)
    assert token not in str(found.value)
