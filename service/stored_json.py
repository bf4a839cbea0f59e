"""JSON of what task stores keep, in the form of the dataclasses that it is read into.

value --StoredJson.dump--> bytes --StoredJson.load--> the same value, or ValueError
                                 --load_whole--> or ValueError for what load would leave out

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

    def load_whole(self, content: bytes) -> Value:
        """As load, for what is changed and stored again.

        Raises:
            ValueError: also for a field unknown here, at any depth: its value would be lost.
        """
        value = self.load(content)
        if self.dump(value) != content:  # seldom: another program wrote it
            _refuse_unknown(msgspec.json.decode(content), msgspec.to_builtins(value), "$")
        return value


def _refuse_unknown(given: Any, read: Any, where: str) -> None:  # noqa: ANN401  # any JSON
    """Fields that are missing in what was given have defaults."""
    if isinstance(given, dict):
        if unknown := sorted(given.keys() - read.keys()):
            raise ValueError(f"{where} has the unknown field {unknown[0]!r}")
        for name, value in given.items():
            _refuse_unknown(value, read[name], f"{where}.{name}")
    elif isinstance(given, list):
        for at, (value, known) in enumerate(zip(given, read, strict=True)):
            _refuse_unknown(value, known, f"{where}[{at}]")
