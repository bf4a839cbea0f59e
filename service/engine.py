"""ONNX Runtime: the bundle's graphs, run for one call.

    arrays of one user --serving.onnx--> (N, T), all pre-trained tasks, and the representation
    arrays --backbone.onnx--> representation --heads/<task>.onnx--> (N,), one pre-trained task
                                             --prompt_head.onnx---> (N, P), all grafted tasks
    a prompt's tensors --prompt_form.onnx--> what the prompt head reads of it, once per graft

The only file that knows onnxruntime. Runs release the GIL, so a few threads share the sessions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from contract.bundle import Bundle
from contract.errors import CorruptBundle
from contract.manifest import ITEM_ROWS, GraphSpec, Manifest
from contract.schema import TensorSpec
from service.errors import ConfigError, DeadlineExceeded

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
SCORES = "scores"
FeatureArrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Scored:
    """Probabilities of one call."""

    heads: dict[str, NDArray[np.float32]]  # task -> (N,)
    prompts: NDArray[np.float32]  # (N, P), P = 0 when no prompt was asked for


@dataclass(slots=True)
class Cancellation:
    """Ends a call's runs from another thread; one per call, for it stays set.

    A with-block that fails because of it ends in DeadlineExceeded.
    """

    options: ort.RunOptions = field(default_factory=ort.RunOptions)
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True
        self.options.terminate = True

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # onnxruntime raises its own untyped errors for a stopped run
        if self.cancelled and isinstance(error, Exception):
            raise DeadlineExceeded("the deadline passed while the model ran") from error


class Engine:
    """The sessions of one bundle."""

    def __init__(
        self, manifest: Manifest, graphs: Mapping[str, _Graph], serving: GraphSpec | None
    ) -> None:
        """Args as open made them; serving is the graph for one user, if there is one."""
        self._heads = {task.name: graphs[task.graph.file] for task in manifest.tasks}
        self._column = {task.name: at for at, task in enumerate(manifest.tasks)}
        self._backbone = graphs[manifest.backbone.file]
        self._prompt_head = graphs[manifest.prompt_head.file]
        self._serving = None if serving is None else graphs[serving.file]
        form, one_user = manifest.prompt_form, manifest.serving and manifest.serving.prompt_head
        self._prompt_form = None if form is None else graphs[form.file]
        self._prompts_of_one = graphs[one_user.file] if one_user else self._prompt_head
        self.provider = self._backbone.provider
        self.by_row = self._serving is not None and ITEM_ROWS in self._serving.inputs
        self.quantised = manifest.serving is not None and serving == manifest.serving.quantised

    @classmethod
    def open(
        cls,
        bundle: Bundle,
        providers: Sequence[str] = ("cpu",),
        threads: int = 1,
        *,
        exact: bool = False,
    ) -> Engine:
        """Create every session of a bundle.

        Args:
            bundle: verified files.
            providers: in order of preference; the last resort must be named to be used.
            threads: of one run; more than the cores at hand slows a run by orders of magnitude.
            exact: leave 8-bit graphs alone.

        Raises:
            CorruptBundle: a graph does not load, or has another interface than the manifest says.
            ConfigError: no named provider works here.
        """
        manifest = bundle.manifest
        specs = [manifest.backbone, manifest.prompt_head, *(t.graph for t in manifest.tasks)]
        serving = None
        if manifest.serving is not None:  # bundles made before there was one have none
            serving = manifest.serving.graph(exact=exact)
            specs.append(serving)
        since = (manifest.prompt_form, manifest.serving and manifest.serving.prompt_head)
        specs += [spec for spec in since if spec]  # in bundles of format 3
        graphs = {spec.file: _Graph.open(bundle, spec, providers, threads) for spec in specs}
        return cls(manifest, graphs, serving)

    def prepared(
        self, tensors: Mapping[str, NDArray[np.float32]]
    ) -> dict[str, NDArray[np.float32]]:
        """One prompt's tensors as a bank holds them, without P."""
        if self._prompt_form is None:
            return dict(tensors)
        alone = {name: tensor[np.newaxis] for name, tensor in tensors.items()}
        return {n: t[0] for n, t in self._prompt_form.run(alone, Cancellation()).items()}

    def answer(
        self,
        arrays: FeatureArrays,
        heads: Sequence[str],
        bank: Mapping[str, NDArray[np.float32]] | None,
        cancellation: Cancellation,
    ) -> Scored:
        """Score one user's call by the graph made for it, as run does by the general ones.

        Args:
            arrays: as Encoder makes them: the items by their rows, or by all their features.
            heads: pre-trained tasks.
            bank: as run.
            cancellation: ends the run early.

        Raises:
            DeadlineExceeded: cancelled.
        """
        serving = self._serving
        if serving is None or not serving.fed_by(arrays):
            return self.run(arrays, heads, bank, cancellation)
        with cancellation:
            found = serving.run(arrays, cancellation, None if bank else (SCORES,))
            found["row_user"] = arrays["row_user"]
            columns = np.ascontiguousarray(found[SCORES].T)
            scores = {task: columns[self._column[task]] for task in heads}
            prompts = _prompts(self._prompts_of_one, found, bank, cancellation)
            return Scored(scores, prompts)

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
            bank: prepared prompts with a leading P, or None for no grafted task.
            cancellation: ends the run early.

        Raises:
            DeadlineExceeded: cancelled.
        """
        with cancellation:
            representation = self._backbone.run(arrays, cancellation)
            representation["row_user"] = arrays["row_user"]
            scores = {
                task: self._heads[task].run(representation, cancellation)["score"] for task in heads
            }
            prompts = _prompts(self._prompt_head, representation, bank, cancellation)
            return Scored(scores, prompts)


def _prompts(
    graph: _Graph,
    representation: FeatureArrays,
    bank: Mapping[str, NDArray[np.float32]] | None,
    cancellation: Cancellation,
) -> NDArray[np.float32]:
    """(N, P). A prompt that is alone runs beside itself.

    For a single row the runtime has another kernel, which adds in another order: without this
    the first grafted task would move by a last bit when the second one comes.
    """
    if bank is None:
        return np.empty((len(representation["row_user"]), 0), dtype=np.float32)
    alone = len(next(iter(bank.values()))) == 1
    if alone:
        bank = {name: array.repeat(2, axis=0) for name, array in bank.items()}
    scores = graph.run({**representation, **bank}, cancellation)[SCORES]
    return scores[:, :1] if alone else scores


class _Graph:
    """One session with the interface its manifest entry promised."""

    def __init__(self, session: ort.InferenceSession, spec: GraphSpec) -> None:
        self._session = session
        self.inputs = frozenset(tensor.name for tensor in spec.inputs)
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
        self,
        arrays: FeatureArrays,
        cancellation: Cancellation,
        outputs: Sequence[str] | None = None,
    ) -> dict[str, NDArray[np.float32]]:
        """The outputs by name: all, or those that are asked for."""
        outputs = self._outputs if outputs is None else outputs
        feed = {name: arrays[name] for name in self.inputs}
        values = self._session.run(outputs, feed, cancellation.options)
        return dict(zip(outputs, values, strict=True))

    def fed_by(self, arrays: FeatureArrays) -> bool:
        """Whether the arrays hold all that it reads."""
        return self.inputs <= arrays.keys()


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
