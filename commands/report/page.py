"""A report's frame: values --render--> one HTML text --save--> a file, or None and a note.

Templates escape whatever they are given. Nothing is loaded from elsewhere: style and charts stand
inside. The text holds no time of its making, so equal values give equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from commands.screen import Screen, figure


def render(template: str, **values: object) -> str:
    """Fill one of the templates."""
    environment = Environment(
        loader=PackageLoader("commands.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(figure=figure, size=size, share=share)
    return environment.get_template(template).render(**values)


def save(screen: Screen, path: Path, text: str) -> Path | None:
    """Write a report; where that is impossible the command goes on without one, and says so."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as err:
        screen.note(f"no report: {path} cannot be written ({err.strerror})")
        return None
    return path


def beside(folder: Path, ending: str = "") -> Path:
    """Where the report on a folder goes: runs/x/backbone to runs/x/backbone.html."""
    named = folder if folder.name not in ("", "..") else folder.resolve()
    return named.parent / f"{named.name}{ending}.html"


def size(count_bytes: float) -> str:
    """1,234 B, 12.3 kB, 4.5 MB."""
    if count_bytes < 10_000:  # noqa: PLR2004
        return f"{count_bytes:,.0f} B"
    if count_bytes < 1e6:  # noqa: PLR2004
        return f"{count_bytes / 1e3:,.1f} kB"
    return f"{count_bytes / 1e6:,.1f} MB"


def share(part: float, whole: float) -> str:
    """A percentage; - of nothing."""
    return f"{part / whole:.1%}" if whole else "-"


def flat(values: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Settings of nested sections as one list of dotted names and plain text."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value if isinstance(value, str) else json.dumps(value)
    return found
