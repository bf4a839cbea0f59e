"""One backbone, ready to run: all that a bundle becomes in a process.

Bundle --Model.open--> Model --replay_golden--> proved: it scores here as it did in PyTorch
            └--------------------┴--> CorruptBundle, ConfigError

A snapshot names the model it runs on, so whoever took a snapshot never meets another backbone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract.bundle import Bundle
from contract.errors import CorruptBundle
from contract.manifest import Manifest
from contract.schema import TensorSpec
from service.backbone import BundleRef
from service.bank import PromptBank, Slot
from service.bundle_shelf import reference
from service.encoder import Encoder
from service.engine import Cancellation, Engine
from service.errors import InvalidField
from service.features import NO_FEATURES
from service.messages import ScoreRequest

# Processors round 8-bit sums differently; more than this times what export saw is a fault.
_DRIFT_HERE = 3.0


@dataclass(frozen=True, slots=True)
class Running:
    """How graphs are run here.

    Attributes:
        providers: by preference.
        threads: of one run.
        max_prompts: the most grafted tasks, live.
        exact: never by 8-bit graphs.
    """

    providers: tuple[str, ...] = ("cpu",)
    threads: int = 1
    max_prompts: int = 4096
    exact: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """One backbone with a bank for the prompts that were tuned on it.

    Attributes:
        ref: the bundle it was made of.
        id: what answers call it.
        heads: its pre-trained tasks.
    """

    ref: BundleRef
    id: str
    manifest: Manifest
    heads: tuple[str, ...]
    encoder: Encoder
    engine: Engine
    bank: PromptBank

    @classmethod
    def open(cls, bundle: Bundle, running: Running) -> Model:
        """Create the sessions of a bundle.

        Raises:
            CorruptBundle, ConfigError: as Engine.open.
        """
        manifest = bundle.manifest
        engine = Engine.open(bundle, running.providers, running.threads, exact=running.exact)
        return cls(
            ref=reference(manifest),
            id=f"{manifest.name}@{manifest.fingerprint[:12]}",
            manifest=manifest,
            heads=tuple(task.name for task in manifest.tasks),
            encoder=Encoder(bundle.lookups, by_row=engine.by_row),
            engine=engine,
            bank=PromptBank(_held(manifest), limit=running.max_prompts),
        )

    def hold(self, tensors: Mapping[str, NDArray[np.float32]]) -> Slot:
        """Put a prompt into the bank, in the form in which it scores.

        Raises:
            TooLarge: no slot is left.
        """
        return self.bank.fill(self.engine.prepared(tensors))


def _held(manifest: Manifest) -> tuple[TensorSpec, ...]:
    """One prompt's tensors in the form in which they score, without P."""
    form = manifest.prompt_form
    if form is None:
        return manifest.prompt_tensors
    return tuple(TensorSpec(spec.name, spec.dtype, spec.shape[1:]) for spec in form.outputs)


def replay_golden(bundle: Bundle, model: Model) -> None:
    """Score the bundle's golden requests through encoder and graphs; also the warm-up.

    Raises:
        CorruptBundle: a score is not the one PyTorch gave, or a request cannot be encoded.
    """
    tolerance = bundle.manifest.tolerance
    if model.engine.quantised and bundle.manifest.serving is not None:
        tolerance += _DRIFT_HERE * bundle.manifest.serving.drift
    advice = "; set TASKGRAFT_EXACT=true to serve without 8-bit graphs"
    advice = advice if model.engine.quantised else ""
    for number, golden in enumerate(bundle.golden):
        try:
            arrays = model.encoder.encode(ScoreRequest(**golden.request), NO_FEATURES)
        except (TypeError, InvalidField) as err:
            raise CorruptBundle(f"golden request {number} cannot be encoded: {err}") from err
        scores = model.engine.answer(arrays, model.heads, None, Cancellation()).heads
        for task in model.heads:
            want = np.asarray(golden.scores.get(task), dtype=np.float32)
            if want.shape != scores[task].shape:
                raise CorruptBundle(f"golden request {number} has no scores of task {task}")
            difference = float(np.abs(scores[task] - want).max())
            if not difference <= tolerance:
                raise CorruptBundle(
                    f"golden request {number}: task {task} scores {difference:.3g} away from "
                    f"PyTorch here, at most {tolerance:.0e} is accepted{advice}"
                )
