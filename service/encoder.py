"""A request and the user's stored features to the backbone's input arrays.

    ScoreRequest + UserFeatures --Encoder.encode--> {name: array} as FeatureSchema.inputs() says
                                      └--> InvalidField: what a client sent cannot be this model's

What the request says wins over what is stored, field by field and behaviour by behaviour. Unknown
values become the OOV row. A stored value of the wrong type counts as missing: it is no fault of the
caller.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from contract.lookups import Lookups
from contract.manifest import ITEM_ROWS
from contract.schema import (
    CategoricalField,
    DenseField,
    FeatureSchema,
    MultiValuedField,
    Place,
)
from contract.vocabulary import MAX_KEY_BYTES, Keys
from service.errors import InvalidField
from service.features import UserFeatures
from service.messages import ScoreRequest

Arrays = dict[str, NDArray[Any]]
AnyField = CategoricalField | MultiValuedField | DenseField
# Low-cardinality values (a city, an age group) come back in every request.
_REMEMBERED_VALUES = 1 << 16


@dataclass(frozen=True, slots=True)
class _Known:
    """A user's arrays without a request's own fields; never written again."""

    user_id: int | str
    arrays: Arrays

    def of(self, user_id: int | str) -> bool:
        """Whether of this very id: 1 and "1" have one history and two rows."""
        return type(user_id) is type(self.user_id) and user_id == self.user_id


class Encoder:
    """Encodes calls of one user (U = 1) for one bundle.

    What it makes of a user's stored features it leaves with them: whoever comes again with nothing
    changed is encoded already.
    """

    def __init__(self, lookups: Lookups, *, by_row: bool = False) -> None:
        """Args: by_row: give items by their rows where nothing else tells of them."""
        self._lookups = lookups
        self._by_row = by_row
        self._mark = object()  # what is remembered by it keeps no encoder in memory
        self.schema: FeatureSchema = lookups.schema
        self._places = {place: _Columns(self.schema, place) for place in ("user", "item")}
        # Without self: a cycle would keep the lookups of a backbone that was left in memory.
        self._row = lru_cache(_REMEMBERED_VALUES, typed=True)(partial(_find_row, lookups))
        names = {side: {f.name: f for f in self.schema.fields if f.side == side} for side in _SIDES}
        id_fields = {self.schema.user_id_field, self.schema.item_id_field}
        self._user_fields = {n: f for n, f in names["user"].items() if n not in id_fields}
        self._user_vocabulary = next(
            (
                f.vocabulary
                for f in self.schema.categorical("user")
                if f.name == self.schema.user_id_field
            ),
            "",
        )
        self._context_fields = names["context"]
        self._row_fields = {
            n: f for n, f in (names["item"] | names["cross"]).items() if n not in id_fields
        }

    def encode(self, request: ScoreRequest, features: UserFeatures) -> Arrays:
        """The input arrays of one request: U = 1, N = len(item_ids).

        Raises:
            InvalidField: an unknown field or behaviour, or a value of the wrong type.
        """
        own = not request.user and not request.history
        known = features.encoded.get(self._mark) if own else None
        keys = [self._keys("item_ids", request.item_ids)]
        if known is not None and known.of(request.user_id):
            arrays = dict(known.arrays)
            rows = self._lookups.items.rows(keys[0])
        else:
            keys += self._past(request, features)
            # All at once: a search costs more to begin than to make for a hundred ids.
            rows, *past = _parts(self._lookups.items.rows(cast(Keys, np.concatenate(keys))), keys)
            arrays = self._user_arrays(request, features)
            if self.schema.behaviours:
                arrays["history"] = self._history(past)
            if own and features.stored:
                features.encoded.clear()  # of another backbone, or another form of the id
                features.encoded[self._mark] = _Known(request.user_id, dict(arrays))
        self._put_context(arrays, request)
        if self._by_row and request.items is None and not features.items:
            arrays[ITEM_ROWS] = rows
        else:
            arrays |= self._lookups.items.arrays(rows)
            self._override_items(arrays, request, features)
        arrays["row_user"] = np.zeros(len(rows), dtype=np.int32)
        return arrays

    # --- the user ---------------------------------------------------------------------------------

    def _user_arrays(self, request: ScoreRequest, features: UserFeatures) -> Arrays:
        columns = self._places["user"]
        arrays = columns.missing(1)
        if self.schema.user_id_field:
            column = columns.ids[self.schema.user_id_field]
            try:
                row = self._row_of(self._user_vocabulary, request.user_id)
                arrays["user_ids"][0, column] = row
            except ValueError as err:
                raise InvalidField("user_id", str(err)) from err
        stored = {n: v for n, v in features.profile.items() if n not in request.user}
        self._put_stored(arrays, "user", 0, self._user_fields, stored)
        self._put_given(arrays, "user", 0, ("user", self._user_fields), request.user)
        return arrays

    def _put_context(self, arrays: Arrays, request: ScoreRequest) -> None:
        if request.context:
            for name in _USER_ARRAYS:  # they may be remembered
                arrays[name] = arrays[name].copy()
            self._put_given(arrays, "user", 0, ("context", self._context_fields), request.context)

    # --- the items --------------------------------------------------------------------------------

    def _override_items(
        self, arrays: Arrays, request: ScoreRequest, features: UserFeatures
    ) -> None:
        if features.items:
            for row, item_id in enumerate(request.item_ids):
                stored = features.items.get(str(item_id), {})
                self._put_stored(arrays, "item", row, self._row_fields, stored)
        if request.items is None:
            return
        if len(request.items) != len(request.item_ids):
            raise InvalidField(
                "items", f"has {len(request.items)} entries for {len(request.item_ids)} item_ids"
            )
        for row, given in enumerate(request.items):
            self._put_given(arrays, "item", row, (f"items[{row}]", self._row_fields), given)

    # --- the history ------------------------------------------------------------------------------

    def _past(self, request: ScoreRequest, features: UserFeatures) -> Iterator[Keys]:
        """The newest events of each behaviour, oldest first."""
        given = request.history or {}
        if unknown := given.keys() - set(self.schema.behaviours):
            raise InvalidField(
                f"history.{min(unknown)}",
                f"no such behaviour; this model has {', '.join(self.schema.behaviours)}",
            )
        longest = self.schema.history_length
        for behaviour in self.schema.behaviours:
            if behaviour in given:
                yield self._keys(f"history.{behaviour}", given[behaviour][-longest:])
            else:
                stored = features.histories.get(behaviour)
                yield self._lookups.items.keys(() if stored is None else stored[-longest:])

    def _history(self, past: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
        """(1, M, L, A), newest first, padding last; L the longest of this call, at least 1."""
        length = max(1, *map(len, past))
        shape = (1, len(past), length, len(self.schema.history_fields))
        history = np.zeros(shape, dtype=np.int32)
        for axis, rows in enumerate(past):
            if len(rows):
                history[0, axis, : len(rows)] = self._lookups.items.events(rows[::-1])
        return history

    # --- values -----------------------------------------------------------------------------------

    def _keys(self, where: str, item_ids: Sequence[int | str]) -> Keys:
        try:
            return self._lookups.items.keys(item_ids)
        except ValueError as err:
            raise InvalidField(where, str(err)) from err

    def _put_given(
        self,
        arrays: Arrays,
        place: Place,
        row: int,
        where: tuple[str, Mapping[str, AnyField]],
        values: Mapping[str, Any],
    ) -> None:
        """Write what a client sent; whatever does not fit is the client's to mend."""
        part, fields = where
        for name, value in values.items():
            field = fields.get(name)
            if field is None:
                known = ", ".join(fields) or "none"
                raise InvalidField(f"{part}.{name}", f"no such field; this model has {known}")
            try:
                self._put(arrays, place, row, field, value)
            except ValueError as err:
                raise InvalidField(f"{part}.{name}", str(err)) from err

    def _put_stored(
        self,
        arrays: Arrays,
        place: Place,
        row: int,
        fields: Mapping[str, AnyField],
        values: Mapping[str, Any],
    ) -> None:
        """Write what a store holds; whatever does not fit counts as missing."""
        for name, value in values.items():
            field = fields.get(name)
            if field is None:
                continue
            try:  # noqa: SIM105  # suppress() costs more than the write
                self._put(arrays, place, row, field, value)
            except ValueError:
                pass

    def _put(self, arrays: Arrays, place: Place, row: int, field: AnyField, value: object) -> None:
        """Write one raw value into its columns; None means missing.

        Raises:
            ValueError: a value of the wrong type, not finite, or too many of them.
        """
        columns = self._places[place]
        if field.kind == "dense":
            number = _number(value)
            arrays[f"{place}_dense"][row, columns.dense[field.name]] = self._lookups.scale(
                field, np.array([number])
            )[0]
        elif field.kind == "categorical":
            if value is not None:
                column = columns.ids[field.name]
                arrays[f"{place}_ids"][row, column] = self._row_of(field.vocabulary, value)
        else:
            bag = _bag(field, value)
            start = columns.bags[field.name]
            stop = start + field.max_values
            arrays[f"{place}_bags"][row, start:stop] = 0
            if bag:
                found = self._lookups.rows(field.vocabulary, bag)
                arrays[f"{place}_bags"][row, start : start + len(bag)] = found

    def _row_of(self, vocabulary: str, value: object) -> np.int32:
        if isinstance(value, list):
            raise ValueError("expected one value, got a list")
        if isinstance(value, str) and len(value) > MAX_KEY_BYTES:
            return _find_row(self._lookups, vocabulary, value)  # too long to be worth remembering
        return self._row(vocabulary, value)


_USER_ARRAYS = ("user_ids", "user_dense", "user_bags")
_SIDES = ("user", "context", "item", "cross")


class _Columns:
    """Where each field of one place stands, and what missing looks like."""

    def __init__(self, schema: FeatureSchema, place: Place) -> None:
        self._place = place
        categorical = schema.categorical(place)
        self.ids = {f.name: column for column, f in enumerate(categorical)}
        self.dense = {f.name: column for column, f in enumerate(schema.dense(place))}
        self.bags: dict[str, int] = {}
        self._width = 0
        for field in schema.multivalued(place):
            self.bags[field.name] = self._width
            self._width += field.max_values
        self._oov = np.array([schema.oov_row(f.vocabulary) for f in categorical], dtype=np.int32)

    def missing(self, rows: int) -> Arrays:
        return {
            f"{self._place}_ids": self._oov[np.newaxis].repeat(rows, axis=0),
            f"{self._place}_dense": np.zeros((rows, len(self.dense)), dtype=np.float32),
            f"{self._place}_bags": np.zeros((rows, self._width), dtype=np.int32),
        }


def encoded_bytes(schema: FeatureSchema) -> Callable[[UserFeatures], int]:
    """The most that the arrays take which an Encoder leaves with a user's features."""
    number = np.dtype(np.int32).itemsize
    bags = sum(field.max_values for field in schema.multivalued("user"))
    user = len(schema.categorical("user")) + len(schema.dense("user")) + bags
    event = len(schema.behaviours) * len(schema.history_fields)

    def of(features: UserFeatures) -> int:
        longest = max(map(len, features.histories.values()), default=0)
        return number * (user + event * max(1, longest))

    return of


def _find_row(lookups: Lookups, vocabulary: str, value: object) -> np.int32:
    row: np.int32 = lookups.rows(vocabulary, [value])[0]
    return row


def _parts(found: NDArray[np.int32], keys: Sequence[Keys]) -> Iterator[NDArray[np.int32]]:
    """One array as those that were put together."""
    start = 0
    for part in keys:
        yield found[start : start + len(part)]
        start += len(part)


def _number(value: object) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{value!r} is not a number")
    try:
        number = float(value)
    except OverflowError as err:
        raise ValueError("the number is too large for a 64-bit float") from err
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not a finite number")
    return number


def _bag(field: MultiValuedField, value: object) -> list[Any]:
    bag = [] if value is None else value if isinstance(value, list) else [value]
    if len(bag) > field.max_values:
        raise ValueError(f"has {len(bag)} values, at most {field.max_values}")
    return bag
