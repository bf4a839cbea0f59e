"""Tokens: made, configured, presented, refused."""

from __future__ import annotations

import hashlib
from itertools import count

import pytest

from service.auth import Token, authenticate, authorise, new_token, read_token
from service.errors import ConfigError, NotAllowed, NotAuthenticated

SECRET, TOKEN = new_token("ann", ["read"])


def test_a_new_token_is_accepted_after_a_trip_through_its_line() -> None:
    configured = read_token(TOKEN.line())
    assert authenticate(f"Bearer {SECRET}", [configured]) == TOKEN


def test_the_secret_is_kept_as_a_hash_only() -> None:
    assert SECRET not in TOKEN.line()
    assert TOKEN.digest == hashlib.sha256(SECRET.encode()).hexdigest()


def test_two_new_tokens_differ() -> None:
    assert new_token("ann", ["read"])[0] != SECRET


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", f"Basic {SECRET}", SECRET, f"Bearer {SECRET}x", "Bearer \xff"],
    ids=count(),
)
def test_anything_but_the_token_is_refused(header: str | None) -> None:
    with pytest.raises(NotAuthenticated, match="expected a known token"):
        authenticate(header, [TOKEN])


def test_the_digest_itself_opens_nothing() -> None:
    with pytest.raises(NotAuthenticated):
        authenticate(f"Bearer {TOKEN.digest}", [TOKEN])


def test_the_scheme_may_be_written_in_any_case() -> None:
    assert authenticate(f"bearer {SECRET}", [TOKEN]) is TOKEN


def test_without_tokens_nobody_enters_and_the_answer_says_how_to_begin() -> None:
    with pytest.raises(NotAuthenticated, match=r"taskgraft tokens new .* TASKGRAFT_ADMIN_TOKENS"):
        authenticate(f"Bearer {SECRET}", [])


def test_a_token_ends_with_its_expiry() -> None:
    secret, token = new_token("bob", ["read"], expires_s=1000)
    assert authenticate(f"Bearer {secret}", [token], now_s=999.9) is token
    with pytest.raises(NotAuthenticated, match="bob has expired"):
        authenticate(f"Bearer {secret}", [token], now_s=1000)


def test_the_expiry_is_part_of_the_line() -> None:
    token = new_token("bob", ["graft", "read"], expires_s=1000)[1]
    assert read_token(token.line()) == token


def test_a_scope_is_needed_and_named() -> None:
    authorise(TOKEN, "read")
    with pytest.raises(NotAllowed, match="ann has read; this needs graft"):
        authorise(TOKEN, "graft")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ann",
        "ann:read",
        "ann:read:short",
        f":read:{TOKEN.digest}",
        f"ann:read:{TOKEN.digest.upper()}",
        f"a b:read:{TOKEN.digest}",
        f"ann::{TOKEN.digest}",
        f"ann:read+:{TOKEN.digest}",
        f"ann:read+read:{TOKEN.digest}",
        f"ann:root:{TOKEN.digest}",
        f"ann:read:{TOKEN.digest}:tomorrow",
        f"ann:read:{TOKEN.digest}:-5",
        f"ann:read:{TOKEN.digest}:5:6",
        f"ann\n:read:{TOKEN.digest}",
    ],
    ids=count(),
)
def test_a_line_of_another_form_is_refused_without_quoting_the_digest(line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_token(line)
    assert TOKEN.digest not in str(caught.value)


def test_no_token_can_be_made_that_could_not_be_configured() -> None:
    with pytest.raises(ConfigError):
        new_token("a:b", ["read"])
    with pytest.raises(ConfigError):
        new_token("ann", ["everything"])


def test_a_token_without_scopes_cannot_be_made() -> None:
    with pytest.raises(ConfigError):
        new_token("ann", [])


def test_the_token_found_is_the_one_presented() -> None:
    secret, other = new_token("bob", ["graft"])
    tokens: list[Token] = [TOKEN, other]
    assert authenticate(f"Bearer {secret}", tokens).name == "bob"
