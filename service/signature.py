"""A model's inputs as tensors, named by the paths of a score request.

    FeatureSchema --Signature--> inputs: name, datatype, shape    (what metadata tells)
    Inference --Signature.fields--> the fields of a ScoreRequest  (decoder.score_of checks them)
                     ├--> InvalidField   an input that the model does not have, or of another form
                     └--> TooLarge       more items than a request may have

    user_id [1] · item_ids [N] · user.F, context.F [1] · items.F [N] · history.B [L], newest last

A multi-valued field of the user or context is [K], one of the items [N, K]. NaN counts as missing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from contract.schema import FeatureField, FeatureSchema, RawType
from service.errors import InvalidField, TooLarge
from service.settings import Settings
from service.tensors import Datatype, Inference, Parameter, Tensor

_ANY = -1  # a size that varies between calls
_REQUIRED = ("user_id", "item_ids")
_MICROSECONDS_PER_MS = 1000
_FLOATS: tuple[Datatype, ...] = ("FP32", "FP64")


@dataclass(frozen=True, slots=True)
class Input:
    """One input; -1 in its shape is any size."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]

    def check(self, tensor: Tensor) -> None:
        """Raises InvalidField for a tensor of another form."""
        taken = _FLOATS if self.datatype in _FLOATS else (self.datatype,)
        if tensor.datatype not in taken:
            raise InvalidField(self.name, f"is {tensor.datatype}; expected {' or '.join(taken)}")
        fits = len(tensor.shape) == len(self.shape) and all(
            want in (_ANY, have) for want, have in zip(self.shape, tensor.shape, strict=True)
        )
        if not fits:
            raise InvalidField(
                self.name, f"has the shape {list(tensor.shape)}; expected {list(self.shape)}"
            )


class Signature:
    """The inputs of every task of one bundle: all of them score the same rows."""

    def __init__(self, schema: FeatureSchema, settings: Settings) -> None:
        self.inputs: Mapping[str, Input] = {found.name: found for found in _inputs(schema)}
        self._max_items = settings.max_items

    def fields(self, inference: Inference) -> dict[str, object]:
        """The fields of a score request, without its tasks.

        Raises:
            InvalidField, TooLarge: see the module.
        """
        tensors = inference.tensors
        for name, tensor in tensors.items():
            if (known := self.inputs.get(name)) is None:
                raise InvalidField(name[:64], f"no such input; there are {', '.join(self.inputs)}")
            known.check(tensor)
        if missing := [name for name in _REQUIRED if name not in tensors]:
            raise InvalidField(missing[0], "the input is missing")
        rows = tensors["item_ids"].shape[0]
        if rows > self._max_items:
            raise TooLarge(f"item_ids has {rows} items, at most {self._max_items}")
        fields: dict[str, Any] = {
            "user_id": tensors["user_id"].values[0],
            "item_ids": tensors["item_ids"].values,
            "deadline_ms": _deadline_ms(inference.request.parameters),
        }
        for name, tensor in tensors.items():
            part, _, field = name.partition(".")
            if part == "items":
                _put_rows(fields, field, tensor, rows)
            elif part == "history":
                fields.setdefault("history", {})[field] = tensor.values
            elif field:
                one = self.inputs[name].shape == (1,)
                fields.setdefault(part, {})[field] = _values(tensor)[0] if one else tensor.values
        return fields


def _put_rows(fields: dict[str, Any], field: str, tensor: Tensor, rows: int) -> None:
    """One field of every item."""
    if tensor.shape[0] != rows:
        raise InvalidField(f"items.{field}", f"has {tensor.shape[0]} rows for {rows} item_ids")
    values = _values(tensor)
    if len(tensor.shape) > 1:
        width = tensor.shape[1]
        values = [values[row * width : (row + 1) * width] for row in range(rows)]
    if "items" not in fields:
        fields["items"] = [{} for _ in range(rows)]
    for item, value in zip(fields["items"], values, strict=True):
        item[field] = value


def _values(tensor: Tensor) -> list[Any]:
    if tensor.datatype in _FLOATS:
        return [None if math.isnan(value) else value for value in tensor.values]
    return tensor.values


def _deadline_ms(parameters: Mapping[str, Parameter]) -> Parameter | None:
    """Ours in milliseconds, or Triton's in microseconds."""
    for name in parameters:
        if name not in ("binary_data_output", "deadline_ms", "timeout"):
            raise InvalidField(
                "parameters",
                f"no parameter {name[:64]!r} is known here; there are binary_data_output, "
                "deadline_ms and timeout (in microseconds)",
            )
    timeout = parameters.get("timeout")
    if type(timeout) is int and "deadline_ms" not in parameters:
        return max(1, timeout // _MICROSECONDS_PER_MS) if timeout > 0 else timeout
    return parameters.get("deadline_ms", timeout)


def _inputs(schema: FeatureSchema) -> Iterator[Input]:
    item_id = _id(schema.item_id_type)
    yield Input("user_id", _id(schema.user_id_type), (1,))
    yield Input("item_ids", item_id, (_ANY,))
    by_id = (schema.user_id_field, schema.item_id_field)
    for field in schema.fields:
        if field.name in by_id:
            continue
        bag = field.kind == "multivalued"
        if field.side in ("user", "context"):
            yield Input(
                f"{field.side}.{field.name}", _datatype(schema, field), (_ANY if bag else 1,)
            )
        else:
            shape = (_ANY, _ANY) if bag else (_ANY,)
            yield Input(f"items.{field.name}", _datatype(schema, field), shape)
    for behaviour in schema.behaviours:
        yield Input(f"history.{behaviour}", item_id, (_ANY,))


def _datatype(schema: FeatureSchema, field: FeatureField) -> Datatype:
    if field.kind == "dense":
        return "FP32"
    return _id(next(v.type for v in schema.vocabularies if v.name == field.vocabulary))


def _id(raw: RawType) -> Datatype:
    return "INT64" if raw == "int64" else "BYTES"
