"""The gate: a prompt file becomes a resident prompt only if it passes every check.

    bytes --Signers.check--read_prompt--check_fits--golden rows replayed--> a slot nothing names
                 └──────────────┴───────────┴────────────┴--> PromptMisfit, TaskRejected (reason),
                                                              nothing changed

In this order, so that cheap checks come first and no foreign number reaches a graph unchecked. All
of it in one hand-over to a thread: each costs the event loop as much as a check does.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from contract.errors import PromptMisfit
from contract.prompt import Prompt, read_prompt
from service.bank import Arrays
from service.engine import Cancellation
from service.errors import DeadlineExceeded, TaskRejected
from service.model import Model
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
    """

    def __init__(self, signers: Signers | None = None) -> None:
        self._signers = signers or Signers()

    async def prove(
        self, model: Model, name: str, body: bytes, signature: str = ""
    ) -> tuple[Resident, Checks]:
        """Check a prompt file that somebody sent and hold it ready, with what each check found.

        Raises:
            PromptMisfit: damaged, another task's or backbone's, or its golden rows disagree.
            TaskRejected: not signed as it must be, or its golden rows take too long.
            TooLarge: no slot is left.
        """

        def read() -> tuple[Prompt, str]:
            signer = self._signers.check(body, signature)
            return read_prompt(body), signer

        return await asyncio.to_thread(_prove, model, name, read)

    def prove_stored(
        self, model: Model, name: str, version: TaskVersion, store: TaskStore
    ) -> Resident:
        """Check a prompt of the task store and hold it ready as that version. Blocks.

        Raises:
            PromptMisfit, TaskRejected, TooLarge: as prove.
            PromptMissing, CorruptStore, StoreUnavailable: as TaskStore.prompt.
        """

        def read() -> tuple[Prompt, str]:
            content = store.prompt(version.sha256)
            signer = self._signers.check(content, version.signature)
            return read_prompt(content, known_as=version.sha256), signer

        resident, _ = _prove(model, name, read)
        return replace(resident, version=version.version)


def _prove(
    model: Model, name: str, read: Callable[[], tuple[Prompt, str]]
) -> tuple[Resident, Checks]:
    prompt, signer = read()
    task = prompt.header.task
    if task != name:
        raise PromptMisfit(
            "wrong_task_name",
            f"the file holds task {task}, not {name}",
            found=task,
            expected=name,
        )
    prompt.check_fits(model.manifest)
    prepared = model.engine.prepared(prompt.tensors)
    difference = _replay(model, prompt, prepared)
    slot = model.bank.fill(prepared)
    checks: Checks = {
        "signature": signer or "not asked for",
        "format": "passed",
        "digest": "passed",
        "backbone": "passed",
        "tensors": "passed",
        "finite": "passed",
        "golden_rows": len(prompt.golden_scores),
        "golden_largest_difference": difference,
    }
    return Resident(prompt.header, 0, prompt.sha256, prompt.size_bytes, slot, signer), checks


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
