"""How long a prompt's golden rows may take, and what is left of one that fails them."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from contract.errors import PromptMisfit
from contract.prompt import read_prompt, write_prompt
from service import prover
from service.bank import PromptBank
from service.engine import Cancellation
from service.errors import DeadlineExceeded, TaskRejected
from service.prover import PromptProver
from service.task_store import StoredPrompt, TaskVersion
from tests.service.tiny import prompt_bytes, tiny


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prover, "_REPLAY_LIMIT_S", 0.1)


async def test_golden_rows_that_take_too_long_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(*arguments: Any) -> None:  # noqa: ANN401  # the last one counts
        cancellation: Cancellation = arguments[-1]
        while not cancellation.cancelled:
            time.sleep(0.001)
        raise DeadlineExceeded("stopped")

    async with tiny(tmp_path) as world:
        model = world.registry.snapshot.model
        monkeypatch.setattr(model.engine, "run", endless)
        with pytest.raises(TaskRejected, match=r"not scored within 0\.1 s"):
            await PromptProver().prove(model, "share", prompt_bytes("share"))


async def test_a_prompt_that_fails_its_golden_rows_takes_no_slot(
    tmp_path: Path,
) -> None:
    good = read_prompt(prompt_bytes("share"))
    wrong = good.golden_scores + np.float32(1e-3)
    lying = write_prompt(good.header, good.tensors, good.golden_inputs, wrong)
    async with tiny(tmp_path) as world:
        live = world.registry.snapshot.model
        model = replace(live, bank=PromptBank(live.manifest.prompt_tensors, limit=1))
        for _ in range(3):
            with pytest.raises(PromptMisfit, match="golden rows score"):
                await PromptProver().prove(model, "share", lying)
        await PromptProver().prove(model, "share", prompt_bytes("share"))


async def test_a_store_that_takes_its_time_makes_no_prompt_slow(tmp_path: Path) -> None:
    content = prompt_bytes("share")

    def prompt(_: str) -> bytes:
        time.sleep(0.3)
        return content

    async with tiny(tmp_path) as world:
        model = world.registry.snapshot.model
        resident, _ = await PromptProver().prove(model, "share", content)
        version = TaskVersion.of(3, StoredPrompt.of(resident, "", ""))
        found = PromptProver().prove_stored(model, "share", version, Mock(prompt=prompt))
    assert (found.version, found.sha256) == (3, resident.sha256)
