"""The forms of `taskgraft keys`: argv --form--> commands/keys.py, imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from commands.screen import Screen
from commands.task_forms import Json

keys = typer.Typer(
    help="Whose signed prompts a service takes.",
    add_completion=False,
    pretty_exceptions_enable=False,
)


@keys.command("new")
def keys_new(
    name: Annotated[str, typer.Argument(help="What the service calls whoever signs with it.")],
    *,
    out: Annotated[Path | None, typer.Option(help="The secret key; NAME.key if unset.")] = None,
    json: Json = False,
) -> None:
    """Make a key that signs prompts, and the line that lets a service trust it."""
    from commands import keys as command

    command.new(Screen(as_json=json), name, out)
