"""What feeds what, as inline SVG: columns of boxes --flow--> Markup.

Each box of a column feeds each box of the next. Text goes through Markup.format, which escapes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

_WIDTH, _ACROSS, _BETWEEN, _PADDING, _LINE = 208, 58, 12, 12, 16
_LETTERS = 29  # that fit into a box


@dataclass(frozen=True, slots=True)
class Box:
    """A title and what stands below it; main ones are graphs."""

    title: str
    lines: tuple[str, ...]
    main: bool = False

    @property
    def height(self) -> int:
        return 2 * _PADDING + _LINE * (1 + len(self.lines)) - 4


def flow(columns: Sequence[Sequence[Box]], about: str) -> Markup:
    """Columns from left to right, each in the middle of the drawing's height."""
    heights = [sum(box.height + _BETWEEN for box in column) - _BETWEEN for column in columns]
    height = max(heights)
    width = len(columns) * (_WIDTH + _ACROSS) - _ACROSS
    boxes: list[Markup] = []
    arrows: list[Markup] = []
    before: list[int] = []
    for at, (column, tall) in enumerate(zip(columns, heights, strict=True)):
        x, y = at * (_WIDTH + _ACROSS), (height - tall) // 2
        middles = []
        for box in column:
            boxes.append(_drawn(box, x, y))
            middles.append(y + box.height // 2)
            y += box.height + _BETWEEN
        arrows += [_arrow(x - _ACROSS, start, x, end) for start in before for end in middles]
        before = middles
    head = Markup(
        '<svg viewBox="-1 -1 {0} {1}" width="{0}" height="{1}" role="img" aria-label="{2}">'
    )
    parts = Markup("").join([*arrows, *boxes])
    return head.format(width + 2, height + 2, about) + parts + Markup("</svg>")


def _drawn(box: Box, x: int, y: int) -> Markup:
    frame = Markup(
        '<g><title>{}</title><rect class="box{}" x="{}" y="{}" width="{}" height="{}" rx="5"/>'
    ).format(
        "\n".join((box.title, *box.lines)), " main" if box.main else "", x, y, _WIDTH, box.height
    )
    line = Markup('<text class="{}" x="{}" y="{}">{}</text>')
    texts = [
        line.format(
            "tick" if at else "title", x + _PADDING, y + _PADDING + 10 + at * _LINE, _cut(t)
        )
        for at, t in enumerate((box.title, *box.lines))
    ]
    return frame + Markup("").join(texts) + Markup("</g>")


def _arrow(x: int, y: int, to_x: int, to_y: int) -> Markup:
    middle = (x + to_x) // 2
    form = Markup('<path class="arrow" d="M{} {}C{} {} {} {} {} {}"/>')
    return form.format(x, y, middle, y, middle, to_y, to_x, to_y)


def _cut(text: str) -> str:
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"
