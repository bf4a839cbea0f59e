"""What a page shows beside what was printed: the words must be the same, the figures need not.

shown block, printed text --missing_lines--> its lines that were not printed in that order
"""

from __future__ import annotations

import json
import re

from tests.docs.blocks import Block

_FIGURE = re.compile(r"\b[0-9a-f]{12,}\b|[-+]?\d[\d,.]*(e-?\d+)?%?")
_HOST = re.compile(r"\S+-#-\S+ (?=serving)")
_LEFT_OUT = "..."


def missing_lines(shown: Block, printed: str) -> list[str]:
    """Empty when all that is shown was printed."""
    if shown.kind == "json":
        told = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
        example = json.loads(shown.text)
        return [] if told and _shape(told[-1]) == _shape(example) else [shown.text]
    lines = iter([_words(line) for line in printed.splitlines()])
    wanted = [line for line in shown.text.splitlines() if line.strip() not in ("", _LEFT_OUT)]
    return [line for line in wanted if _words(line) not in lines]


def _words(line: str) -> str:
    """A line without its figures and its spacing."""
    return _HOST.sub("HOST ", " ".join(_FIGURE.sub("#", line).split()))


def _shape(value: object) -> object:
    """A document by its keys and types."""
    if isinstance(value, dict):
        return {key: _shape(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_shape(one) for one in value]
    return type(value).__name__
