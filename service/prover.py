"""The gate: a prompt file becomes a resident prompt only if it passes every check.

    bytes --Signers.check--read_prompt--check_fits--golden rows replayed--> a slot nothing names
                 └──────────────┴───────────┴────────────┴--> PromptMisfit, TaskRejected (reason),
                                                              nothing changed

In this order, so that cheap checks come first and no foreign number reaches a graph unchecked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import numpy as np

from contract.errors import PromptMisfit
from contract.prompt import Prompt, read_prompt
from service.bank import Slot
from service.engine import Cancellation
from service.engine_pool import EnginePool
from service.errors import TaskRejected
from service.model import Model
from service.resident import Resident
from service.signatures import Signers

# A handful of golden rows takes about a millisecond; what needs this long may never serve.
_REPLAY_LIMIT_S = 5.0
Checks = Mapping[str, str | int | float]


class PromptProver:
    """Checks prompts against a model and puts the good ones into its bank.

    Args:
        pool: where golden rows are run.
        signers: whose prompts are served; anybody's by default.
    """

    def __init__(self, pool: EnginePool, signers: Signers | None = None) -> None:
        self._pool = pool
        self._signers = signers or Signers()

    async def prove(
        self, model: Model, name: str, body: bytes, signature: str = ""
    ) -> tuple[Resident, Checks]:
        """Check a prompt file and hold it ready, with what each check found.

        Raises:
            PromptMisfit: damaged, another task's or backbone's, or its golden rows disagree.
            TaskRejected: not signed as it must be, or its golden rows take too long.
            TooLarge: no slot is left.
        """
        # Two hand-overs to a thread in all: each costs the event loop as much as a step does.
        prompt, signer = await asyncio.to_thread(self._read, model, name, body, signature)
        difference, slot = await self._replay(model, prompt)
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

    def _read(self, model: Model, name: str, body: bytes, signature: str) -> tuple[Prompt, str]:
        """All checks that need no graph; the prompt and its signer."""
        signer = self._signers.check(body, signature)
        prompt = read_prompt(body)
        task = prompt.header.task
        if task != name:
            raise PromptMisfit(
                "wrong_task_name",
                f"the file holds task {task}, not {name}",
                found=task,
                expected=name,
            )
        prompt.check_fits(model.manifest)
        return prompt, signer

    async def _replay(self, model: Model, prompt: Prompt) -> tuple[float, Slot]:
        """Score the golden rows as live traffic will be.

        Returns:
            The largest difference to PyTorch, and the prompt's slot.
        """
        cancellation = Cancellation()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_REPLAY_LIMIT_S):
                return await loop.run_in_executor(
                    self._pool.executor, _replay_and_fill, model, prompt, cancellation
                )
        except TimeoutError as err:
            cancellation.cancel()
            raise TaskRejected(
                "too_slow", f"the golden rows were not scored within {_REPLAY_LIMIT_S:.0f} s"
            ) from err


def _replay_and_fill(
    model: Model, prompt: Prompt, cancellation: Cancellation
) -> tuple[float, Slot]:
    bank = {name: tensor[np.newaxis] for name, tensor in prompt.tensors.items()}
    scored = model.engine.run(prompt.golden_inputs, (), bank, cancellation)
    difference = float(np.abs(scored.prompts[:, 0] - prompt.golden_scores).max())
    if not difference <= model.manifest.tolerance:  # NaN must not pass
        raise PromptMisfit(
            "golden_mismatch",
            f"the golden rows score {difference:.3g} away from what PyTorch gave, "
            f"at most {model.manifest.tolerance:.0e} is accepted",
            largest_difference=difference,
            tolerance=model.manifest.tolerance,
        )
    return difference, model.bank.fill(prompt.tensors)
