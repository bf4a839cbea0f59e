"""JSON of what task stores keep, in the form of the dataclasses that it is read into.

value --StoredJson.dump--> bytes --StoredJson.load--> the same value, or ValueError

With a thousand tasks a state is some hundred kilobytes, which every worker reads at each change.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

Value = TypeVar("Value")
_ENCODER = msgspec.json.Encoder()


class StoredJson(Generic[Value]):
    """Of one type."""

    def __init__(self, kind: Any) -> None:  # noqa: ANN401  # a tuple of a type is no type[Value]
        self._decoder: msgspec.json.Decoder[Value] = msgspec.json.Decoder(kind)

    def dump(self, value: Value) -> bytes:
        return _ENCODER.encode(value)

    def load(self, content: bytes) -> Value:
        """Raises ValueError: it is no JSON, or of another form."""
        try:
            return self._decoder.decode(content)
        except (msgspec.DecodeError, RecursionError) as err:
            raise ValueError(str(err)) from err
