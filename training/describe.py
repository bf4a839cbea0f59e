"""A first look at a log: what its columns hold, and a configuration to start from.

file --describe--> Description: statistics per column, and the text of a TOML file

Roles are guesses from names, types and values; the text says what to check. A file that cannot be
read is a DataError.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from training.errors import DataError
from training.tables import reading, scan

Role = Literal["user_id", "item_id", "time", "label", "user", "item", "row", "constant"]

_USER = re.compile(r"^(user|uid|member|customer|visitor|account)(_?id)?$", re.IGNORECASE)
_ITEM = re.compile(
    r"^(item|iid|video|movie|product|article|ad|sku|goods|song|track|doc)(_?id)?$", re.IGNORECASE
)
_TIME = re.compile(r"(time|stamp|date|_ts$|^ts$|_at$)", re.IGNORECASE)
# Moments between 1973 and 2286, counted from 1970.
_UNITS = ((10**8, 10**10, "s"), (10**11, 10**13, "ms"), (10**14, 10**16, "us"))
_FEW = 1_000  # integers of more values than this are taken for quantities
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class ColumnStats:
    """One column. minimum and maximum are None for lists; examples are its commonest values."""

    name: str
    type: str
    missing: int
    distinct: int
    minimum: object
    maximum: object
    examples: tuple[object, ...]
    role: Role


@dataclass(frozen=True, slots=True)
class Description:
    """What describe found; toml is a proposal to be corrected by hand."""

    rows: int
    columns: tuple[ColumnStats, ...]
    toml: str


def describe(file: Path) -> Description:
    """Measure every column of one file and propose a configuration.

    Raises:
        DataError: the file is absent, empty or of an unknown format.
    """
    with reading(f"cannot read {file.name}"):
        frame = scan(file.parent, file.name).collect()
    if not len(frame):
        raise DataError(f"{file.name} holds no rows")
    ids = {role: _first(frame, pattern) for role, pattern in (("user", _USER), ("item", _ITEM))}
    columns = tuple(_stats(frame, name, ids) for name in frame.columns)
    return Description(len(frame), columns, _proposal(file, frame, columns))


def _first(frame: pl.DataFrame, pattern: re.Pattern[str]) -> str | None:
    return next((name for name in frame.columns if pattern.search(name)), None)


def _stats(frame: pl.DataFrame, name: str, ids: dict[str, str | None]) -> ColumnStats:
    column = frame.get_column(name)
    flat = column.explode(empty_as_null=False) if isinstance(column.dtype, pl.List) else column
    counts = flat.drop_nulls().value_counts(sort=True)
    ordered = flat is column
    return ColumnStats(
        name=name,
        type=str(column.dtype),
        missing=column.null_count(),
        distinct=len(counts),
        minimum=column.min() if ordered else None,
        maximum=column.max() if ordered else None,
        examples=tuple(counts.get_column(counts.columns[0]).head(_EXAMPLES)),
        role=_role(frame, column, ids),
    )


def _role(frame: pl.DataFrame, column: pl.Series, ids: dict[str, str | None]) -> Role:
    dtype = column.dtype
    if column.name == ids["user"]:
        return "user_id"
    if column.name == ids["item"]:
        return "item_id"
    if _TIME.search(column.name) and (dtype.is_temporal() or _unit(column) is not None):
        return "time"
    if column.n_unique() == 1:
        return "constant"
    binary = dtype.is_integer() and set(column.unique().drop_nulls()) == {0, 1}
    if dtype == pl.Boolean or binary:
        return "label"
    return _side(frame, column, ids)


def _side(frame: pl.DataFrame, column: pl.Series, ids: dict[str, str | None]) -> Role:
    """Whose attribute a column is, if it never changes for one user or one item."""
    sides: tuple[Literal["user", "item"], ...] = ("user", "item")
    for side in sides:
        key = ids[side]
        if key is not None and _belongs(frame, column.name, key):
            return side
    return "row"


def _belongs(frame: pl.DataFrame, name: str, key: str) -> bool:
    """Whether every value of key always comes with the same value of the column."""
    if isinstance(frame.schema[name], pl.List):
        return False
    return frame.select(name, key).n_unique() == frame.get_column(key).n_unique()


def _unit(column: pl.Series) -> str | None:
    middle = column.median() if column.dtype.is_numeric() else None
    if not isinstance(middle, (int, float)):
        return None
    return next((unit for low, high, unit in _UNITS if low <= middle < high), None)


def _proposal(file: Path, frame: pl.DataFrame, columns: tuple[ColumnStats, ...]) -> str:
    by_role: dict[Role, list[ColumnStats]] = {}
    for column in columns:
        by_role.setdefault(column.role, []).append(column)
    name = re.sub(r"[^a-z0-9_-]+", "-", file.name.split(".")[0].lower()).strip("-_") or "log"
    alone = "user_id" not in by_role  # every row then stands alone
    lines = [f'name = "{name}"', "# Leave out whatever is known only after the impression."]
    lines.append("features = [")
    for column in columns:
        lines += _feature(frame, column, alone=alone)
    lines += ["]", "", "[data]", f"log = {json.dumps(file.name)}"]
    for key in ("user_id", "item_id", "time"):
        lines += [f"{key} = {json.dumps(column.name)}" for column in by_role.get(key, [])[:1]]
    time = by_role.get("time", [])
    if time and (unit := _unit(frame.get_column(time[0].name))):
        lines.append(f'time_unit = "{unit}"')
    lines += ["", "[split]", f'by = "{"time" if time else "random"}"', ""]
    labels = by_role.get("label", [])
    for column in labels:
        label = json.dumps(_positive(column))
        lines += ["[[tasks]]", f'name = "{_task(column)}"', f"label = {label}", ""]
    if not labels:
        lines += ["# No column of 0 and 1 was found: say by SQL what is to be predicted.", ""]
    if labels and time and "user_id" in by_role and "item_id" in by_role:
        lines += _history(by_role["item_id"][0], labels[0])
    return "\n".join(lines)


def _feature(frame: pl.DataFrame, column: ColumnStats, *, alone: bool) -> list[str]:
    """The line of one feature; a column that varies from row to row may be feedback: commented."""
    if column.role in ("time", "label", "constant"):
        return []
    side = {"user_id": "user", "item_id": "item", "row": "item" if alone else "context"}.get(
        column.role, column.role
    )
    values = frame.get_column(column.name)
    dtype, inner = values.dtype, values.head(1).explode(empty_as_null=False).dtype
    many = column.distinct > _FEW and column.role not in ("user_id", "item_id")
    if isinstance(dtype, pl.List):
        kind = "multivalued"
    else:
        kind = "dense" if dtype.is_float() or (dtype.is_integer() and many) else "categorical"
    name = re.sub(r"[^A-Za-z0-9_]", "_", column.name)
    name = name if re.match(r"[A-Za-z_]", name) else f"_{name}"
    parts = [f'name = "{name}"', f'kind = "{kind}"', f'side = "{side}"']
    if name != column.name:
        parts.append(f"column = {json.dumps(column.name)}")
    if kind != "dense" and inner.is_integer():
        parts.append('type = "int64"')
    mark = "" if alone or column.role != "row" else "# "
    return [f"  {mark}{{ {', '.join(parts)} }},"]


def _sql_name(column: str) -> str:
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", column)
    return column if plain else '"' + column.replace('"', '""') + '"'


def _positive(column: ColumnStats) -> str:
    name = _sql_name(column.name)
    return name if column.type == "Boolean" else f"{name} = 1"


def _history(item: ColumnStats, label: ColumnStats) -> list[str]:
    where = json.dumps(_positive(label))
    return [
        "[history]",
        f"fields = [{json.dumps(item.name)}]",
        f'behaviours = [{{ name = "{_task(label)}", where = {where} }}]',
        "",
    ]


def _task(column: ColumnStats) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", column.name.lower()).removeprefix("is_").strip("_")
    return name or "task"
