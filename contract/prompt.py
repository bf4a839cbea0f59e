"""One grafted task's parameters as one safetensors file.

    PromptHead (training) --export/prompt.py--> write_prompt --file--> read_prompt --> check_fits
                                                                          |               |
                                                                     PromptMisfit    PromptMisfit

The file holds the tensors that prompt_head.onnx names as inputs (without their leading P), golden
rows (the backbone's inputs, and the probabilities that PyTorch gave), and one JSON header. It has
exactly one valid byte form: what write_prompt writes. A file that reads well but would be written
otherwise is refused, so no flipped byte goes unnoticed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from contract.errors import PromptMisfit
from contract.schema import TaskName

if TYPE_CHECKING:
    from contract.manifest import Manifest

FORMAT_VERSION = 1
MAX_HEADER_BYTES = 1 << 16
MAX_GOLDEN_ROWS = 256
MAX_GOLDEN_BYTES = 1 << 20
GOLDEN_INPUT = "golden.input."
GOLDEN_SCORES = "golden.scores"
_METADATA_KEY = "taskgraft"
_LENGTH_BYTES = 8


def _encodable(text: str) -> str:
    # JSON can carry lone surrogates, which no answer of the service could repeat.
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as err:
        raise ValueError("holds a lone surrogate") from err
    return text


Finite = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=1024), AfterValidator(_encodable)]
Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Scalar = Text | bool | Whole | Finite | None


class PromptHeader(BaseModel):
    """What a prompt says of itself. provenance and metrics are shown to users, never acted on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int
    task: TaskName
    backbone: str = Field(pattern=r"^[0-9a-f]{64}$")
    schema_digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    trained_parameters: int = Field(ge=0, lt=2**63)
    metrics: dict[Text, Finite] = Field(default={}, max_length=64)
    provenance: dict[Text, Scalar] = Field(default={}, max_length=64)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt in memory. Arrays own their memory and are never written again.

    Attributes:
        tensors: float32, named and shaped as the manifest's prompt tensors.
        golden_inputs: the backbone's inputs for a few rows.
        golden_scores: (N,) float32, PyTorch's probabilities for those rows.
        sha256: of the file's bytes: the prompt's identity.
        size_bytes: of the file.
    """

    header: PromptHeader
    tensors: Mapping[str, NDArray[np.float32]]
    golden_inputs: Mapping[str, NDArray[Any]]
    golden_scores: NDArray[np.float32]
    sha256: str
    size_bytes: int

    def check_fits(self, manifest: Manifest) -> None:
        """Refuse a prompt that this backbone cannot run.

        Raises:
            PromptMisfit: another backbone or schema; tensors missing, unknown, of another shape or
                dtype, or not finite.
        """
        if self.header.backbone != manifest.fingerprint:
            raise PromptMisfit(
                "wrong_backbone",
                f"the prompt was tuned on backbone {self.header.backbone[:12]}, this bundle holds "
                f"{manifest.fingerprint[:12]}: tune it again on this backbone",
                found=self.header.backbone,
                expected=manifest.fingerprint,
            )
        if self.header.schema_digest != manifest.schema_digest:
            raise PromptMisfit(
                "wrong_schema",
                "the prompt was tuned with another feature schema: tune it again on this bundle's",
                found=self.header.schema_digest,
                expected=manifest.schema_digest,
            )
        expected: dict[str, tuple[str, tuple[int | str, ...]]] = {
            spec.name: (spec.dtype, spec.shape) for spec in manifest.prompt_tensors
        }
        check_tensors(self.tensors, expected)
        golden = {s.name: (s.dtype, s.shape) for s in manifest.backbone.inputs}
        check_tensors(self.golden_inputs, golden)
        size = sum(array.nbytes for array in self.golden_inputs.values())
        if len(self.golden_scores) > MAX_GOLDEN_ROWS or size > MAX_GOLDEN_BYTES:
            raise PromptMisfit(
                "too_large",
                f"{len(self.golden_scores)} golden rows of {size} bytes, at most "
                f"{MAX_GOLDEN_ROWS} of {MAX_GOLDEN_BYTES}: they are replayed beside live traffic",
            )
        at_rows = [spec.name for spec in manifest.backbone.inputs if spec.shape[0] == "N"]
        rows = {len(self.golden_inputs[name]) for name in at_rows} | {len(self.golden_scores)}
        if len(rows) != 1 or 0 in rows:
            raise PromptMisfit(
                "malformed", f"golden rows disagree in number: {sorted(rows)}; tune it again"
            )
        self._check_golden_indices(manifest)

    def _check_golden_indices(self, manifest: Manifest) -> None:
        """Indices must lie inside what they index: the graph itself does not promise to check."""
        users = {
            len(self.golden_inputs[s.name]) for s in manifest.backbone.inputs if "U" in s.shape
        }
        if len(users) > 1:
            raise PromptMisfit("malformed", f"golden users disagree in number: {sorted(users)}")
        limits = {"row_user": max(users, default=1)}
        for spec in manifest.backbone.inputs:
            if spec.dtype != "int32":
                continue
            array, limit = self.golden_inputs[spec.name], limits.get(spec.name, manifest.table_rows)
            if array.size and not (array.min() >= 0 and array.max() < limit):
                raise PromptMisfit(
                    "malformed",
                    f"golden input {spec.name} has indices outside 0..{limit - 1}",
                    tensor=spec.name,
                )


def check_tensors(
    tensors: Mapping[str, NDArray[Any]], expected: Mapping[str, tuple[str, tuple[int | str, ...]]]
) -> None:
    """Compare arrays with name -> (dtype, shape); a letter in a shape admits any size.

    Raises:
        PromptMisfit: the first difference found.
    """
    for name in expected.keys() - tensors.keys():
        raise PromptMisfit("missing_tensor", f"tensor {name} is missing", tensor=name)
    for name in tensors.keys() - expected.keys():
        raise PromptMisfit("unexpected_tensor", f"tensor {name} is not known here", tensor=name)
    for name, (dtype, shape) in expected.items():
        array = tensors[name]
        if array.dtype != dtype:
            raise PromptMisfit(
                "wrong_dtype",
                f"tensor {name} is {array.dtype.name}, expected {dtype}",
                tensor=name,
                found=array.dtype.name,
                expected=dtype,
            )
        fits = array.ndim == len(shape) and all(
            isinstance(want, str) or have == want
            for have, want in zip(array.shape, shape, strict=True)
        )
        if not fits:
            raise PromptMisfit(
                "wrong_shape",
                f"tensor {name} has shape {list(array.shape)}, expected {list(shape)}",
                tensor=name,
                found=list(array.shape),
                expected=list(shape),
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise PromptMisfit("non_finite", f"tensor {name} holds NaN or infinity", tensor=name)


def write_prompt(
    header: PromptHeader,
    tensors: Mapping[str, NDArray[np.float32]],
    golden_inputs: Mapping[str, NDArray[Any]],
    golden_scores: NDArray[np.float32],
) -> bytes:
    """The file's bytes; equal content gives equal bytes."""
    arrays: dict[str, NDArray[Any]] = {
        **tensors,
        **{GOLDEN_INPUT + name: array for name, array in golden_inputs.items()},
        GOLDEN_SCORES: golden_scores,
    }
    return _serialise(header, {name: np.ascontiguousarray(a) for name, a in arrays.items()})


def _serialise(header: PromptHeader, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    fields = header.model_dump(mode="json")
    return _bytes_of(fields, _digest(fields, arrays), arrays)


def _bytes_of(fields: Mapping[str, Any], digest: str, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    text = json.dumps({**fields, "digest": digest}, sort_keys=True)
    return safetensors.numpy.save(dict(arrays), metadata={_METADATA_KEY: text})


def _digest(fields: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    content = hashlib.sha256(json.dumps(fields, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        content.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()


def read_prompt(data: bytes, *, known_as: str = "") -> Prompt:
    """Read a prompt file.

    Args:
        data: the file's bytes.
        known_as: the sha256 that they were just found to have, of a file that was read before: what
            is known byte for byte needs no second look at its own digest.

    Raises:
        PromptMisfit: not such a file, cut, altered, or of a newer format.
    """
    header, digest = _read_header(data)
    try:
        arrays = safetensors.numpy.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise PromptMisfit("malformed", "the file is no safetensors file, or cut") from err
    scores = arrays.get(GOLDEN_SCORES)
    if scores is None or scores.dtype != np.float32 or scores.ndim != 1:
        raise PromptMisfit(
            "missing_tensor",
            f"{GOLDEN_SCORES} is missing or not a float32 vector",
            tensor=GOLDEN_SCORES,
        )
    if not ((scores >= 0) & (scores <= 1)).all():
        raise PromptMisfit(
            "non_finite", f"{GOLDEN_SCORES} are not probabilities", tensor=GOLDEN_SCORES
        )
    if not known_as:
        fields = header.model_dump(mode="json")
        if _digest(fields, arrays) != digest or _bytes_of(fields, digest, arrays) != data:
            raise PromptMisfit(
                "digest_mismatch", "the content does not match its digest: the file was altered"
            )
    golden = {
        n.removeprefix(GOLDEN_INPUT): a for n, a in arrays.items() if n.startswith(GOLDEN_INPUT)
    }
    tensors = {n: a for n, a in arrays.items() if not n.startswith("golden.")}
    for array in arrays.values():
        array.setflags(write=False)
    sha256 = known_as or hashlib.sha256(data).hexdigest()
    return Prompt(header, tensors, golden, scores, sha256, len(data))


def _read_header(data: bytes) -> tuple[PromptHeader, str]:
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    if len(data) < _LENGTH_BYTES or length > min(MAX_HEADER_BYTES, len(data) - _LENGTH_BYTES):
        raise PromptMisfit("malformed", "the file is no safetensors file, or cut")
    try:
        outer = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + length])
        fields = json.loads(outer["__metadata__"][_METADATA_KEY])
        digest = fields.pop("digest")
        version = fields["format_version"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise PromptMisfit("malformed", "the file has no taskgraft header: not a prompt") from err
    if version != FORMAT_VERSION:
        raise PromptMisfit(
            "unsupported_format",
            f"prompt format {version!r} is not known here, only {FORMAT_VERSION}: upgrade",
        )
    try:
        return PromptHeader.model_validate(fields), str(digest)
    except ValidationError as err:
        first = err.errors()[0]
        # Beyond field and key, a union's branches say nothing to anybody.
        where = ".".join(str(part) for part in first["loc"][:2])
        raise PromptMisfit(
            "malformed", f"the header's {where} is not what a prompt may say there"
        ) from err
