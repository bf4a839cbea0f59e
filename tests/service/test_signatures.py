"""Signed prompts: by whom, of what, and where that is checked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from service.environment import read_settings
from service.errors import ConfigError, TaskRejected
from service.prover import PromptProver
from service.signatures import SecretKey, Signers, read_trusted_key
from service.task_directory import open_task_directory
from tests.service.tiny import Tiny, prompt_bytes, tiny

CONTENT = b"a prompt file"
KEY, OTHER = SecretKey.new(), SecretKey.new()
TRUSTED = Signers((OTHER.trusted("other"), KEY.trusted("ops")), required=True)
# Made by another program of the format, with a key of its own: its file, key and signature.
FOREIGN_KEY = "RWRoJQ1S+122glCVfrdYrwrsDvvN+lDOsjlsYbnPrt+zv52AaPLTGhZ7"
FOREIGN_SIGNATURE = """untrusted comment: signature from minisign secret key
RURoJQ1S+122gk+4XZpaI7WsULi2t/KOwSX2PP5wJjIBG6IdN6aExLNuKmYxWfPQMS59AhozWuCzifQD7S/Q0FfKEUIGw9E9ywI=
trusted comment: timestamp:1795337394
aSyg2jrAJLs0oPTXism81Kwt1YHWvVJi+LyWbaZrPdGZ7eyg7LF5qXRi+Rc+EDbxPYB0LsG2Z/nDdT6Qd5noCg=="""


def reason(signers: Signers, content: bytes, signature: str) -> str:
    with pytest.raises(TaskRejected) as caught:
        signers.check(content, signature)
    return caught.value.reason


def test_a_signature_tells_which_trusted_key_made_it() -> None:
    assert TRUSTED.check(CONTENT, KEY.sign(CONTENT, "today")) == "ops"
    assert TRUSTED.check(CONTENT, OTHER.sign(CONTENT, "")) == "other"


def test_a_signature_of_the_minisign_program_is_one() -> None:
    signers = Signers((read_trusted_key(f"them:{FOREIGN_KEY}"),))
    assert signers.check(CONTENT, FOREIGN_SIGNATURE) == "them"
    assert reason(signers, CONTENT + b".", FOREIGN_SIGNATURE) == "bad_signature"


def test_what_is_not_signed_is_refused_only_where_signatures_are_required() -> None:
    assert reason(TRUSTED, CONTENT, "") == "unsigned"
    assert replace(TRUSTED, required=False).check(CONTENT, "") == ""


def test_a_wrong_signature_is_refused_also_where_none_is_required() -> None:
    signers = replace(TRUSTED, required=False)
    assert reason(signers, CONTENT, SecretKey.new().sign(CONTENT, "")) == "unknown_key"
    assert reason(signers, b"another file", KEY.sign(CONTENT, "")) == "bad_signature"


def test_no_byte_of_a_signature_can_be_changed() -> None:
    """But in the first line, which minisign calls untrusted."""
    lines = KEY.sign(CONTENT, "task:share").split("\n")
    for row in (1, 2, 3):
        for at in range(len(lines[row])):
            changed = "A" if lines[row][at] != "A" else "B"
            line = lines[row][:at] + changed + lines[row][at + 1 :]
            altered = "\n".join([*lines[:row], line, *lines[row + 1 :]])
            assert reason(TRUSTED, CONTENT, altered) in {"bad_signature", "unknown_key"}


@pytest.mark.parametrize("text", ["x", "\n\n\n", "a\nb\ntrusted comment: c\nd", "é" * 9])
def test_what_is_no_signature_is_refused(text: str) -> None:
    assert reason(TRUSTED, CONTENT, text) == "bad_signature"


@pytest.mark.parametrize(
    "line", ["", "ops", "ops:", ":RWQ", "ops:AAAA", f"o p:{KEY.trusted('a').text}"], ids=count()
)
def test_a_key_of_another_form_is_refused(line: str) -> None:
    with pytest.raises(ConfigError, match="trusted key"):
        read_trusted_key(line)


def test_a_secret_key_comes_back_from_its_file() -> None:
    again = SecretKey.read(KEY.pem())
    assert again.trusted("ops") == KEY.trusted("ops")
    with pytest.raises(ConfigError, match="not a secret key"):
        SecretKey.read(b"-----BEGIN")


def test_requiring_signatures_without_a_key_is_refused() -> None:
    with pytest.raises(ConfigError, match="name a key"):
        read_settings(bundle=Path("b"), require_signature=True)


@asynccontextmanager
async def guarded(tasks: Path, signers: Signers) -> AsyncIterator[Tiny]:
    async with tiny(tasks) as world:
        ask(world, signers)
        yield world


def ask(world: Tiny, signers: Signers) -> None:
    prover = PromptProver(signers)
    world.registry._prover = world.registry._loader._prover = prover


async def test_an_unsigned_graft_changes_nothing_and_is_counted(tmp_path: Path) -> None:
    async with guarded(tmp_path, TRUSTED) as world:
        before = world.registry.snapshot
        with pytest.raises(TaskRejected, match="not signed"):
            await world.registry.graft("share", b"not read", activate=True, actor="test")
        assert world.registry.snapshot is before
        assert 'reason="unsigned"' in world.metrics.exposition(None)[0].decode()


async def test_the_history_names_the_key(tmp_path: Path) -> None:
    content = prompt_bytes("share")
    signature = KEY.sign(content, "task:share")
    async with guarded(tmp_path, TRUSTED) as world:
        report = await world.registry.graft(
            "share", content, activate=True, actor="test", signature=signature
        )
        assert report.checks["signature"] == "ops"
        history = await world.catalog.history("share", 10, None)
        assert history[-1]["detail"] == "signed by ops"


async def test_a_stored_prompt_is_served_again_only_if_its_key_is_still_trusted(
    tmp_path: Path,
) -> None:
    """Whoever can write the task store alone cannot bring in a prompt."""
    content = prompt_bytes("share")
    async with guarded(tmp_path, TRUSTED) as world:
        await world.registry.graft(
            "share", content, activate=True, actor="test", signature=KEY.sign(content, "")
        )
    async with tiny(tmp_path) as world:
        assert "share" in await world.scores()
    wanted = [(TRUSTED, None), (Signers((OTHER.trusted("other"),)), "unknown_key")]
    for signers, refused in wanted:
        async with restarted(tmp_path, signers) as world:
            if refused is None:
                await world.registry.converge()
                assert "share" in await world.scores()
            else:
                with pytest.raises(TaskRejected) as caught:
                    await world.registry.converge()
                assert caught.value.reason == refused


@asynccontextmanager
async def restarted(tasks: Path, signers: Signers) -> AsyncIterator[Tiny]:
    """A process that has not read the store yet."""
    async with tiny(tasks / "unused") as world:
        ask(world, signers)
        store = open_task_directory(tasks)
        world.registry._store = world.registry._loader._store = store
        yield world


async def test_signing_the_same_file_with_a_new_key_lets_the_old_one_go(tmp_path: Path) -> None:
    content = prompt_bytes("share")
    async with guarded(tmp_path, TRUSTED) as world:
        for key, version in ((KEY, 1), (KEY, 1), (OTHER, 2)):
            report = await world.registry.graft(
                "share", content, activate=True, actor="test", signature=key.sign(content, "")
            )
            assert report.version == version
    async with restarted(tmp_path, Signers((OTHER.trusted("other"),), required=True)) as world:
        await world.registry.converge()
        assert "share" in await world.scores()
