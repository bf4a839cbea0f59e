"""Every TASKGRAFT_* variable of the service: Settings --page--> Markdown."""

from __future__ import annotations

from commands.serve import default_of
from docs.site.markdown import table
from service.settings import PREFIX, Settings


def page() -> str:
    """A table, in the order of the code."""
    rows = [
        (f"`{PREFIX}{name.upper()}`", _code(default_of(field)), field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    return table(("variable", "default", "meaning"), rows)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""
