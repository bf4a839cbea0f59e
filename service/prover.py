"""The gate: a prompt file becomes a resident prompt only if it passes every check.

    bytes --Signers.check--read_prompt--check_fits--golden rows replayed--> a slot nothing names
                 └──────────────┴───────────┴────────────┴--> PromptMisfit, TaskRejected (reason),
                                                              nothing changed

In this order, so that cheap checks come first and no foreign number reaches a graph unchecked. All
of it in one hand-over to a thread: each costs the event loop as much as a check does. The workers
of a service take turns, and what one of them replayed the others do not (proofs.py).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import numpy as np

from contract.errors import PromptMisfit
from contract.prompt import Prompt, read_prompt
from service.bank import Arrays
from service.engine import Cancellation
from service.errors import DeadlineExceeded, TaskRejected
from service.model import Model
from service.proofs import Proofs, Where
from service.resident import Resident
from service.signatures import Signers
from service.task_store import TaskStore, TaskVersion

# A handful of golden rows takes about a millisecond; what needs this long may never serve.
_REPLAY_LIMIT_S = 5.0
Checks = Mapping[str, str | int | float]


class PromptProver:
    """Checks prompts against a model and puts the good ones into its bank.

    Args:
        signers: whose prompts are served; anybody's by default.
        proofs: what this process and its siblings have proved.
    """

    def __init__(self, signers: Signers | None = None, proofs: Proofs | None = None) -> None:
        self._signers = signers or Signers()
        self._proofs = proofs or Proofs()
        self._turn: Callable[[], AbstractContextManager[None]] = nullcontext

    def take_turns(self) -> None:
        """From now on, since requests are answered here; a start should be short instead."""
        self._turn = self._proofs.turn

    async def prove(
        self, model: Model, name: str, body: bytes, signature: str = ""
    ) -> tuple[Resident, Checks]:
        """Check a prompt file that somebody sent and hold it ready, with what each check found.

        Raises:
            PromptMisfit: damaged, another task's or backbone's, or its golden rows disagree.
            TaskRejected: not signed as it must be, or its golden rows take too long.
            TooLarge: no slot is left.
        """

        def checked() -> tuple[Resident, Checks]:
            with self._turn():
                signer = self._signers.check(body, signature)
                prompt = read_prompt(body)
                prepared = _prepared(model, name, prompt)
                difference = self._replayed(model, prompt, prepared)
                return _resident(model, prompt, prepared, signer), _checks(
                    prompt, signer, difference
                )

        return await asyncio.to_thread(checked)

    def prove_stored(
        self, model: Model, name: str, version: TaskVersion, store: TaskStore
    ) -> Resident:
        """Check a prompt of the task store and hold it ready as that version. Blocks.

        Raises:
            PromptMisfit, TaskRejected, TooLarge: as prove.
            PromptMissing, CorruptStore, StoreUnavailable: as TaskStore.prompt.
        """
        with self._turn():
            content = store.prompt(version.sha256)
            signer = self._signers.check(content, version.signature)
            prompt = read_prompt(content, known_as=version.sha256)
            prepared = _prepared(model, name, prompt)
            if not self._proofs.has(_where(model), version.sha256):
                self._replayed(model, prompt, prepared)
            resident = _resident(model, prompt, prepared, signer)
        return replace(resident, version=version.version)

    def _replayed(self, model: Model, prompt: Prompt, prepared: Arrays) -> float:
        difference = _replay(model, prompt, prepared)
        self._proofs.add(_where(model), prompt.sha256)
        return difference


def _where(model: Model) -> Where:
    return Where(model.ref, model.engine.provider)


def _prepared(model: Model, name: str, prompt: Prompt) -> Arrays:
    """A prompt's tensors as they score, if it is this task's and fits the model."""
    task = prompt.header.task
    if task != name:
        raise PromptMisfit(
            "wrong_task_name",
            f"the file holds task {task}, not {name}",
            found=task,
            expected=name,
        )
    prompt.check_fits(model.manifest)
    return model.engine.prepared(prompt.tensors)


def _resident(model: Model, prompt: Prompt, prepared: Arrays, signer: str) -> Resident:
    slot = model.bank.fill(prepared)
    return Resident(prompt.header, 0, prompt.sha256, prompt.size_bytes, slot, signer)


def _checks(prompt: Prompt, signer: str, difference: float) -> Checks:
    return {
        "signature": signer or "not asked for",
        "format": "passed",
        "digest": "passed",
        "backbone": "passed",
        "tensors": "passed",
        "finite": "passed",
        "golden_rows": len(prompt.golden_scores),
        "golden_largest_difference": difference,
    }


def _replay(model: Model, prompt: Prompt, prepared: Arrays) -> float:
    """Score the golden rows as live traffic will be; the largest difference."""
    bank = {name: tensor[np.newaxis] for name, tensor in prepared.items()}
    cancellation = Cancellation()
    limit = threading.Timer(_REPLAY_LIMIT_S, cancellation.cancel)
    limit.start()
    try:
        scored = model.engine.run(prompt.golden_inputs, (), bank, cancellation)
    except DeadlineExceeded as err:
        raise TaskRejected(
            "too_slow", f"the golden rows were not scored within {_REPLAY_LIMIT_S:g} s"
        ) from err
    finally:
        limit.cancel()
    difference = float(np.abs(scored.prompts[:, 0] - prompt.golden_scores).max())
    if not difference <= model.manifest.tolerance:  # NaN must not pass
        raise PromptMisfit(
            "golden_mismatch",
            f"the golden rows score {difference:.3g} away from what PyTorch gave, "
            f"at most {model.manifest.tolerance:.0e} is accepted",
            largest_difference=difference,
            tolerance=model.manifest.tolerance,
        )
    return difference
