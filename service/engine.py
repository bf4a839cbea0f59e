"""ONNX Runtime: the bundle's graphs, run for one call.

    arrays --backbone.onnx--> representation --heads/<task>.onnx--> (N,), one pre-trained task
                                             --prompt_head.onnx---> (N, P), all grafted tasks

The only file that knows onnxruntime. Runs release the GIL, so a few threads share the sessions.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from contract.bundle import Bundle
from contract.errors import CorruptBundle
from contract.manifest import GraphSpec
from contract.schema import TensorSpec
from service.errors import ConfigError, DeadlineExceeded

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
FeatureArrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Scored:
    """Probabilities of one call."""

    heads: dict[str, NDArray[np.float32]]  # task -> (N,)
    prompts: NDArray[np.float32]  # (N, P), P = 0 when no prompt was asked for


@dataclass(slots=True)
class Cancellation:
    """Ends a call's runs from another thread; one per call, for it stays set."""

    options: ort.RunOptions = field(default_factory=ort.RunOptions)
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True
        self.options.terminate = True


class Engine:
    """The sessions of one bundle."""

    def __init__(self, sessions: Mapping[str, _Graph], backbone: str, prompt_head: str) -> None:
        self._graphs = sessions
        self._backbone = sessions[backbone]
        self._prompt_head = sessions[prompt_head]
        self.provider = self._backbone.provider

    @classmethod
    def open(cls, bundle: Bundle, providers: Sequence[str] = ("cpu",), threads: int = 1) -> Engine:
        """Create every session of a bundle.

        Args:
            bundle: verified files.
            providers: in order of preference; the last resort must be named to be used.
            threads: of one run; more than the cores at hand slows a run by orders of magnitude.

        Raises:
            CorruptBundle: a graph does not load, or has another interface than the manifest says.
            ConfigError: no named provider works here.
        """
        manifest = bundle.manifest
        specs = [manifest.backbone, manifest.prompt_head, *(t.graph for t in manifest.tasks)]
        files = {spec.file: _Graph.open(bundle, spec, providers, threads) for spec in specs}
        heads = {task.name: files[task.graph.file] for task in manifest.tasks}
        return cls({**files, **heads}, manifest.backbone.file, manifest.prompt_head.file)

    def run(
        self,
        arrays: FeatureArrays,
        heads: Sequence[str],
        bank: Mapping[str, NDArray[np.float32]] | None,
        cancellation: Cancellation,
    ) -> Scored:
        """Score one call. Blocks; safe from several threads.

        Args:
            arrays: the backbone's inputs.
            heads: pre-trained tasks.
            bank: prompts with a leading P, or None for no grafted task.
            cancellation: ends the run early.

        Raises:
            DeadlineExceeded: cancelled.
        """
        try:
            representation = self._backbone.run(arrays, cancellation)
            representation["row_user"] = arrays["row_user"]
            scores = {
                task: self._graphs[task].run(representation, cancellation)["score"]
                for task in heads
            }
            if bank is None:
                rows = len(arrays["row_user"])
                return Scored(scores, np.empty((rows, 0), dtype=np.float32))
            prompts = self._prompt_head.run({**representation, **bank}, cancellation)
            return Scored(scores, prompts["scores"])
        except Exception as err:  # onnxruntime raises its own untyped errors for a stopped run
            if cancellation.cancelled:
                raise DeadlineExceeded("the deadline passed while the model ran") from err
            raise


class EnginePool:
    """Threads that run the engine, so the event loop never waits for a model.

    Args:
        nice: added to the threads' own priority: what is above 0 lets the others go first.
    """

    def __init__(self, threads: int, nice: int = 0) -> None:
        self.executor = ThreadPoolExecutor(
            threads, thread_name_prefix="engine", initializer=_give_way, initargs=(nice,)
        )

    def close(self) -> None:
        self.executor.shutdown(wait=True, cancel_futures=True)


def _give_way(nice: int) -> None:
    """On Linux a thread has a priority of its own."""
    own = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), own + nice)


class _Graph:
    """One session with the interface its manifest entry promised."""

    def __init__(self, session: ort.InferenceSession, spec: GraphSpec) -> None:
        self._session = session
        self._inputs = tuple(tensor.name for tensor in spec.inputs)
        self._outputs = [tensor.name for tensor in spec.outputs]
        self.provider = session.get_providers()[0]

    @classmethod
    def open(
        cls, bundle: Bundle, spec: GraphSpec, providers: Sequence[str], threads: int
    ) -> _Graph:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Spinning threads burn a neighbour's core between paced requests.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        wanted = [PROVIDERS[name] for name in providers]
        usable = [name for name in wanted if name in ort.get_available_providers()]
        if not usable:
            raise ConfigError(
                f"none of the providers {', '.join(providers)} is in this onnxruntime build: "
                "add cpu, or install the gpu extra"
            )
        try:
            session = ort.InferenceSession(str(bundle.path(spec.file)), options, providers=usable)
        except Exception as err:  # onnxruntime has no public error types
            raise CorruptBundle(f"{spec.file} does not load: export the bundle again") from err
        # onnxruntime adds the CPU by itself where a GPU turns out not to work.
        if session.get_providers()[0] not in wanted:
            raise ConfigError(
                f"the providers {', '.join(providers)} do not work on this machine: add cpu to "
                "fall back, or mend the driver"
            )
        _check_interface(spec, session)
        return cls(session, spec)

    def run(
        self, arrays: FeatureArrays, cancellation: Cancellation
    ) -> dict[str, NDArray[np.float32]]:
        feed = {name: arrays[name] for name in self._inputs}
        values = self._session.run(self._outputs, feed, cancellation.options)
        return dict(zip(self._outputs, values, strict=True))


_ORT_TYPES = {"float32": "tensor(float)", "int32": "tensor(int32)"}


def _check_interface(spec: GraphSpec, session: ort.InferenceSession) -> None:
    pairs = ((spec.inputs, session.get_inputs()), (spec.outputs, session.get_outputs()))
    for expected, actual in pairs:
        found = {arg.name: (arg.type, arg.shape) for arg in actual}
        if found.keys() != {tensor.name for tensor in expected}:
            raise CorruptBundle(f"{spec.file} has arrays {sorted(found)}, not the manifest's")
        for tensor in expected:
            _check_tensor(spec.file, tensor, *found[tensor.name])


def _check_tensor(file: str, tensor: TensorSpec, kind: str, shape: Sequence[int | str]) -> None:
    fits = len(shape) == len(tensor.shape) and all(
        isinstance(want, str) == isinstance(have, str) and (isinstance(want, str) or want == have)
        for want, have in zip(tensor.shape, shape, strict=True)
    )
    if kind != _ORT_TYPES[tensor.dtype] or not fits:
        raise CorruptBundle(
            f"{file}: {tensor.name} is {kind} {list(shape)}, the manifest says "
            f"{tensor.dtype} {list(tensor.shape)}"
        )
