"""The form of `taskgraft upgrade`: argv --form--> commands/upgrade.py, imported when called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from commands.failures import Misuse
from commands.screen import Screen
from commands.task_forms import ADMIN_URL, AdminToken, AdminUrl, Json, connect

_TIMEOUT_S = 600.0


def upgrade(
    bundle: Annotated[
        Path | None, typer.Argument(help="The bundle of the new backbone.", show_default=False)
    ] = None,
    prompts: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Prompt files tuned on it, one per task; FILE.minisig beside each signs it.",
            show_default=False,
        ),
    ] = None,
    *,
    drop: Annotated[
        list[str] | None, typer.Option(help="End this live task with it; repeatable.")
    ] = None,
    bundles: Annotated[
        Path | None,
        typer.Option(
            envvar="TASKGRAFT_BUNDLES",
            help="Copy the bundle into this folder first, where the service looks for it.",
        ),
    ] = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Go back to the backbone before instead.")
    ] = False,
    admin_url: AdminUrl = ADMIN_URL,
    token: AdminToken = None,
    json: Json = False,
) -> None:
    """Let another backbone score on every worker at once, with its own prompts."""
    from commands import upgrade as command

    if rollback is (bundle is not None):
        raise Misuse("give a bundle and its prompts, or --rollback alone")
    screen = Screen(as_json=json)
    with connect(admin_url, token, _TIMEOUT_S) as client:
        if bundle is None:
            command.rollback(screen, client)
        else:
            command.upgrade(screen, client, bundle, prompts or [], (bundles, drop or []))
