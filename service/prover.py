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
        signer = await asyncio.to_thread(self._signers.check, body, signature)
        prompt = await asyncio.to_thread(read_prompt, body)
        header = prompt.header
        if header.task != name:
            raise PromptMisfit(
                "wrong_task_name",
                f"the file holds task {header.task}, not {name}",
                found=header.task,
                expected=name,
            )
        prompt.check_fits(model.manifest)
        difference = await self._replay(model, prompt)
        slot = await asyncio.to_thread(model.bank.fill, prompt.tensors)
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
        return Resident(header, 0, prompt.sha256, prompt.size_bytes, slot, signer), checks

    async def _replay(self, model: Model, prompt: Prompt) -> float:
        """Score the golden rows as live traffic will be; the largest difference to PyTorch."""
        cancellation = Cancellation()
        bank = {name: tensor[np.newaxis] for name, tensor in prompt.tensors.items()}
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_REPLAY_LIMIT_S):
                scored = await loop.run_in_executor(
                    self._pool.executor,
                    model.engine.run,
                    prompt.golden_inputs,
                    (),
                    bank,
                    cancellation,
                )
        except TimeoutError as err:
            cancellation.cancel()
            raise TaskRejected(
                "too_slow", f"the golden rows were not scored within {_REPLAY_LIMIT_S:.0f} s"
            ) from err
        found = scored.prompts[:, 0]
        difference = float(np.abs(found - prompt.golden_scores).max())
        if not difference <= model.manifest.tolerance:  # NaN must not pass
            raise PromptMisfit(
                "golden_mismatch",
                f"the golden rows score {difference:.3g} away from what PyTorch gave, "
                f"at most {model.manifest.tolerance:.0e} is accepted",
                largest_difference=difference,
                tolerance=model.manifest.tolerance,
            )
        return difference
