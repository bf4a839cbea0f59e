"""Every verb of `taskgraft`: the Typer application --page--> Markdown, by Typer's own generator."""

from __future__ import annotations

import typer
from typer.cli import get_docs_for_click
from typer.main import get_command

from taskgraft import app


def page() -> str:
    """What `taskgraft utils docs` of Typer writes, below the page's own title."""
    command = get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="taskgraft")
    return text.split("\n", maxsplit=1)[1]
