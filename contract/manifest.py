"""manifest.json: what a bundle holds, and the sha256 of every file in it.

export/bundle.py --seal_bundle--> manifest.json --read_manifest--> Manifest
                                                |
                                    CorruptBundle, UnsupportedFormat
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from contract.errors import CorruptBundle, UnsupportedFormat
from contract.prompt import Scalar
from contract.schema import TaskName, TensorSpec

FORMAT_VERSION = 3
# Version 1 had no graphs for one user; 2 no form that prompts are brought into when loaded.
_READABLE = (1, 2, 3)
# An input of a serving graph: places in the item table, where item features would stand.
ITEM_ROWS = "item_rows"
MANIFEST_FILE = "manifest.json"
MAX_MANIFEST_BYTES = 16 << 20


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not path or path.startswith("/") or "\\" in path or "\0" in path or ".." in parts:
        raise ValueError(f"{path!r} does not stay inside the bundle")
    return path


RelativePath = Annotated[str, AfterValidator(_inside)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Frozen):
    """One file's identity."""

    sha256: Digest
    size_bytes: int = Field(ge=0)


class GraphSpec(_Frozen):
    """One ONNX graph and its interface, in the order of the graph's own inputs and outputs."""

    file: RelativePath
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class TaskEntry(_Frozen):
    """A pre-trained task: its head graph, the numbers it alone holds, its test figures."""

    name: TaskName
    graph: GraphSpec
    parameters: int = Field(ge=0)
    metrics: dict[str, float] = {}


class Evidence(_Frozen):
    """What 8 bits cost a task on held-out rows.

    Attributes:
        rows: the labelled ones that both graphs scored.
        auc: of the exact graph; None where the rows hold one class only.
        auc_quantised: of the other.
        overlap: share of the exact top 10 among the other's, of 100 items drawn for each user.
    """

    task: TaskName
    rows: int = Field(ge=0)
    auc: float | None
    auc_quantised: float | None
    overlap: float = Field(ge=0.0, le=1.0)


class Serving(_Frozen):
    """The graphs that answer a request: one user, all pre-trained tasks, and the representation.

    Attributes:
        exact: in float32; inputs name item_rows where what hangs on the item alone is tabulated.
        quantised: with 8-bit products, if it passed the gate.
        drift: the largest difference in probability between the two that was seen.
        auc_loss, overlap: the limits of the gate.
        evidence: the figures it decided on; none if nothing was large enough to be quantised.
        table_bytes: of the tables over items.
        prompt_head: the prompt head for one user.
    """

    exact: GraphSpec
    quantised: GraphSpec | None = None
    drift: float = Field(0.0, ge=0.0)
    auc_loss: float = Field(0.0, ge=0.0)
    overlap: float = Field(0.0, ge=0.0, le=1.0)
    evidence: tuple[Evidence, ...] = ()
    table_bytes: int = Field(0, ge=0)
    prompt_head: GraphSpec | None = None

    def graph(self, *, exact: bool = False) -> GraphSpec:
        """The one that answers: in 8 bits where they passed, unless exact scores are asked for."""
        return self.exact if exact or self.quantised is None else self.quantised


class Manifest(_Frozen):
    """All of a bundle but its arrays.

    Attributes:
        name: of the model, from its configuration.
        fingerprint: sha256 of the frozen backbone; a prompt names the one it was tuned on.
        table_rows: V, the number of rows that ids may name.
        prompt_form: prompt_tensors with a leading P to what the prompt head reads of them; without
            one it reads them as they are.
        prompt_head: its inputs are the representation and then P prompts in that form; the
            representation holds events only where prompts read them.
        prompt_tensors: one prompt's tensors, without P.
        tolerance: the largest accepted difference between PyTorch's scores and this bundle's.
        provenance: how it was made; shown, never acted on.
        serving: the same model once more, as a request needs it.
        files: every file of the bundle but the manifest.
    """

    format_version: int
    name: TaskName
    fingerprint: Digest
    schema_digest: Digest
    table_rows: int = Field(ge=1)
    backbone: GraphSpec
    tasks: tuple[TaskEntry, ...] = Field(min_length=1)
    prompt_form: GraphSpec | None = None
    prompt_head: GraphSpec
    prompt_tensors: tuple[TensorSpec, ...]
    tolerance: float = Field(gt=0.0, le=1e-2)
    backbone_parameters: int = Field(ge=0)
    provenance: dict[str, Scalar] = {}
    serving: Serving | None = None
    files: dict[RelativePath, FileEntry]

    def graphs(self) -> tuple[GraphSpec, ...]:
        """Every graph of the bundle."""
        serving = self.serving
        more = [self.prompt_form]
        if serving is not None:
            more += [serving.exact, serving.quantised, serving.prompt_head]
        found = (self.backbone, self.prompt_head, *(task.graph for task in self.tasks), *more)
        return tuple(graph for graph in found if graph is not None)

    def digest(self) -> str:
        """sha256 of the canonical JSON form: equal for equal bundles, since it names every file."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read manifest.json.

    Raises:
        UnsupportedFormat: written in a newer format.
        CorruptBundle: missing, not JSON, or not a manifest.
    """
    path = folder / MANIFEST_FILE
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise CorruptBundle(f"{MANIFEST_FILE} is larger than {MAX_MANIFEST_BYTES} bytes")
        values = json.loads(path.read_bytes())
    except OSError as err:
        raise CorruptBundle(
            f"{folder} is no bundle: {MANIFEST_FILE} is missing or unreadable ({err.strerror})"
        ) from err
    except (ValueError, RecursionError) as err:
        raise CorruptBundle(f"{MANIFEST_FILE} is not JSON: export the bundle again") from err
    version = values.get("format_version") if isinstance(values, dict) else None
    if version not in _READABLE:
        raise UnsupportedFormat(
            f"bundle format {version!r} is not known here, only {_READABLE}: "
            "upgrade this installation or export the bundle again"
        )
    try:
        return Manifest.model_validate(values)
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CorruptBundle(f"{MANIFEST_FILE}: {where}: {first['msg']}") from err
