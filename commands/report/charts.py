"""Charts as inline SVG: values --curve | whiskers | reliability | strip--> Markup.

Colours are the page's classes, so a chart follows the light or dark of its reader. Every text goes
through Markup.format, which escapes it. Coordinates have one decimal: equal values, equal bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from commands.report.scale import Scale

if TYPE_CHECKING:
    from training.metrics import Bin

_PANEL = (300, 132)
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 14, 20
_SQUARE, _STRIP = 220, 34
_WHISKERS = (190, 18)


def curve(
    values: Sequence[float | None], best: int | None, about: str, scale: Scale | None = None
) -> Markup:
    """A value per epoch, the best epoch (from 1; if None the last) marked and labelled.

    None among the values leaves a gap. Panels to be compared share a scale.
    """
    known = [value for value in values if value is not None]
    if not known:
        return Markup('<p class="none">no value in any epoch</p>')
    width, height = _PANEL
    scale = scale or Scale.around(known)
    right, floor = width - _RIGHT, height - _BOTTOM

    def across(epoch: int) -> float:
        return _LEFT + (right - _LEFT) * ((epoch - 1) / max(len(values) - 1, 1))

    def down(value: float) -> float:
        return floor - (floor - _TOP) * scale.share(value)

    parts = [_grid_line(_LEFT, right, down(tick), scale.label(tick)) for tick in scale.ticks]
    for run in _runs(values):
        path = " ".join(f"{across(at):.1f},{down(value):.1f}" for at, value in run)
        parts.append(Markup('<polyline class="line" points="{}"/>').format(path))
    marked = best or len(values)
    value = values[marked - 1]
    if value is not None:
        x, y = across(marked), down(value)
        label = _text(x, y - 7, f"{value:.4f}", "value", _anchor(x, right))
        parts += [_dot(x, y, 3.5), label]
    for epoch in sorted({1, marked, len(values)} - _crowded(marked, len(values))):
        x = across(epoch)
        parts.append(_text(x, height - 5, str(epoch), "tick", _anchor(x, right)))
    return _svg(width, height, about, parts)


def whiskers(
    middle: float | None, bounds: tuple[float, float] | None, scale: Scale, about: str
) -> Markup:
    """An estimate with its interval, on the scale of the whole column."""
    width, height = _WHISKERS
    if middle is None:
        return Markup("")

    def across(value: float) -> float:
        return 6 + (width - 12) * scale.share(value)

    parts = [
        Markup('<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="0" y2="{1}"/>').format(
            across(tick), height
        )
        for tick in scale.ticks
    ]
    if bounds is not None:
        line = Markup('<line class="whisker" x1="{:.1f}" x2="{:.1f}" y1="9" y2="9"/>')
        parts.append(line.format(across(bounds[0]), across(bounds[1])))
    parts.append(_dot(across(middle), 9, 4))
    return _svg(width, height, about, parts)


def whiskers_axis(scale: Scale) -> Markup:
    """The ends of a column of whiskers."""
    width, _ = _WHISKERS
    ends = [
        _text(6, 10, scale.label(scale.low), "tick", "start"),
        _text(width - 6, 10, scale.label(scale.high), "tick", "end"),
    ]
    return _svg(width, 14, f"scale from {scale.low:g} to {scale.high:g}", ends)


def reliability(bins: Sequence[Bin], about: str) -> Markup:
    """Observed share over mean prediction, intervals, and below them the rows of each bin."""
    if not bins:
        return Markup('<p class="none">no row has a label</p>')
    scale = Scale.around([0.0, *(b.predicted for b in bins), *(b.observed for b in bins)], 4)
    side, left, top = _SQUARE, _LEFT, 10
    floor = top + side

    def across(value: float) -> float:
        return left + side * scale.share(value)

    def down(value: float) -> float:
        return floor - side * scale.share(value)

    parts = [_grid_line(left, left + side, down(tick), scale.label(tick)) for tick in scale.ticks]
    parts.append(
        Markup('<line class="ideal" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(
            left, floor, left + side, top
        )
    )
    most, base = max(b.rows for b in bins), floor + 16 + _STRIP
    for b in bins:
        x, tall = across(b.predicted), _STRIP * b.rows / most
        told = f"{b.rows} rows: predicted {b.predicted:.4f}, came true {b.observed:.4f}"
        whisker = Markup(
            '<line class="whisker" x1="{0:.1f}" x2="{0:.1f}" y1="{1:.1f}" y2="{2:.1f}"/>'
        )
        bar = Markup('<rect class="bar" x="{:.1f}" y="{:.1f}" width="3" height="{:.1f}"/>')
        parts += [
            Markup("<g><title>{}</title>").format(told),
            whisker.format(x, down(b.interval[0]), down(b.interval[1])),
            _dot(x, down(b.observed), 3),
            bar.format(x - 1.5, base - tall, tall),
            Markup("</g>"),
        ]
    parts += [_text(across(t), base + 13, scale.label(t), "tick", "middle") for t in scale.ticks]
    parts += [
        _text(left + 4, top + 10, "came true", "axis", "start"),
        _text(left + side, floor - 5, "predicted", "axis", "end"),
        _text(left - 6, base, "rows", "tick", "end"),
    ]
    return _svg(left + side + _RIGHT + 8, base + 18, about, parts)


def strip(values: Sequence[float], about: str) -> Markup:
    """Probabilities as strokes between 0 and 1."""
    width, height = _PANEL[0], 40
    scale = Scale(0.0, 1.0, 0.25)

    def across(value: float) -> float:
        return 6 + (width - 12) * scale.share(value)

    parts = [_text(across(t), height - 2, scale.label(t), "tick", "middle") for t in scale.ticks]
    form = Markup('<line class="{0}" x1="{1:.1f}" x2="{2:.1f}" y1="{3}" y2="{4}"/>')
    parts.append(form.format("grid", across(0), across(1), 25, 25))
    parts += [form.format("whisker", across(v), across(v), 5, 24) for v in values]
    return _svg(width, height, about, parts)


def _runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """Stretches of epochs without a gap, epochs from 1."""
    runs: list[list[tuple[int, float]]] = [[]]
    for at, value in enumerate(values, 1):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((at, value))
    return [run for run in runs if run]


def _crowded(marked: int, last: int) -> set[int]:
    """Epoch labels that would touch the marked one's."""
    near = max(1, last // 10)
    return {at for at in (1, last) if at != marked and abs(at - marked) < near}


def _anchor(x: float, right: float) -> str:
    room = 30
    if x > right - room:
        return "end"
    return "start" if x < _LEFT + room else "middle"


def _grid_line(left: float, right: float, y: float, label: str) -> Markup:
    line = Markup('<line class="grid" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>')
    return line.format(left, right, y, y) + _text(left - 6, y + 3.5, label, "tick", "end")


def _text(x: float, y: float, text: str, kind: str, anchor: str) -> Markup:
    form = Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
    return form.format(kind, x, y, anchor, text)


def _dot(x: float, y: float, radius: float) -> Markup:
    return Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="{}"/>').format(x, y, radius)


def _svg(width: float, height: float, about: str, parts: Sequence[Markup]) -> Markup:
    head = Markup(
        '<svg viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" aria-label="{2}">'
    ).format(width, height, about)
    return head + Markup("").join(parts) + Markup("</svg>")
