"""The forms of `taskgraft tasks`: argv --form--> commands/tasks.py, imported when it is called."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.screen import Screen

if TYPE_CHECKING:
    from client import Client
    from client.requests import Guard, RoutingOptions

tasks = typer.Typer(
    help="The live tasks of a running service.",
    add_completion=False,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead.")]
Url = Annotated[str, typer.Option(envvar="TASKGRAFT_URL", help="The service's public port.")]
AdminUrl = Annotated[
    str, typer.Option(envvar="TASKGRAFT_ADMIN_URL", help="The service's admin port.")
]
AdminToken = Annotated[
    str | None, typer.Option(envvar="TASKGRAFT_TOKEN", help="Bearer token of the admin port.")
]
Task = Annotated[str, typer.Argument(metavar="TASK", help="The task's name.")]
URL, ADMIN_URL = "http://127.0.0.1:8000", "http://127.0.0.1:8001"
_TIMEOUT_S = 10.0


def connect(url: str, token: str | None = None, timeout_s: float = _TIMEOUT_S) -> Client:
    """A client of a running service.

    TASKGRAFT_CA names whom to trust for https, TASKGRAFT_CLIENT_CERT and TASKGRAFT_CLIENT_KEY what
    to show: PEM files.
    """
    from client import Client

    authority, shown = os.environ.get("TASKGRAFT_CA"), os.environ.get("TASKGRAFT_CLIENT_CERT")
    if authority is None and shown is None:
        return Client(url, admin_url=url, token=token, timeout_s=timeout_s)
    import ssl  # takes long to load, and few need it

    tls = ssl.create_default_context(cafile=authority)
    if shown is not None:
        tls.load_cert_chain(shown, os.environ.get("TASKGRAFT_CLIENT_KEY"))
    return Client(url, admin_url=url, token=token, timeout_s=timeout_s, tls=tls)


@tasks.command("list")
def tasks_list(*, url: Url = URL, json: Json = False) -> None:
    """All live tasks with their versions."""
    from commands import tasks as command

    with connect(url) as client:
        command.show_all(Screen(as_json=json), client)


@tasks.command("graft")
def tasks_graft(
    task: Task,
    file: Annotated[Path, typer.Argument(help="The prompt file.")],
    *,
    signature: Annotated[
        Path | None, typer.Option(help="Its signature; FILE.minisig if there is one.")
    ] = None,
    dormant: Annotated[bool, typer.Option("--dormant", help="Do not activate it yet.")] = False,
    local: Annotated[bool, typer.Option("--local", help="Wait for one worker only.")] = False,
    admin_url: AdminUrl = ADMIN_URL,
    token: AdminToken = None,
    json: Json = False,
) -> None:
    """Graft a task, or a new version of it, onto every worker."""
    from commands import tasks as command

    with connect(admin_url, token) as client:
        prompt = task, file, signature
        command.graft(Screen(as_json=json), client, prompt, activate=not dormant, local=local)


@tasks.command("rollback")
def tasks_rollback(
    task: Task,
    *,
    version: Annotated[int | None, typer.Option(help="The one before if unset.")] = None,
    admin_url: AdminUrl = ADMIN_URL,
    token: AdminToken = None,
    json: Json = False,
) -> None:
    """Go back to an earlier version of a task."""
    from commands import tasks as command

    with connect(admin_url, token) as client:
        command.rollback(Screen(as_json=json), client, task, version)


@tasks.command("route")
def tasks_route(
    task: Task,
    *,
    stable: Annotated[int | None, typer.Option(help="The version for everybody else.")] = None,
    canary: Annotated[int | None, typer.Option(help="The version for some users.")] = None,
    percent: Annotated[float | None, typer.Option(help="How many users the canary gets.")] = None,
    shadow: Annotated[int | None, typer.Option(help="A version that answers nobody.")] = None,
    max_psi: Annotated[
        float | None, typer.Option(help="Take the canary away when its scores drift further.")
    ] = None,
    min_overlap: Annotated[
        float | None, typer.Option(help="Take it away when its best items agree less.")
    ] = None,
    min_rows: Annotated[int, typer.Option(help="Judge it after so many candidates.")] = 1000,
    alone: Annotated[bool, typer.Option("--alone", help="The stable version alone.")] = False,
    local: Annotated[bool, typer.Option("--local", help="Wait for one worker only.")] = False,
    admin_url: AdminUrl = ADMIN_URL,
    token: AdminToken = None,
    json: Json = False,
) -> None:
    """Show which versions of a task see traffic, or choose them: what is not named goes."""
    from commands import routing as command

    if (canary is None) != (percent is None):
        raise typer.BadParameter("--canary and --percent go together")
    wanted: RoutingOptions = {}
    if stable is not None:
        wanted["stable"] = stable
    if canary is not None and percent is not None:
        wanted["canary"] = {"version": canary, "percent": percent}
    if shadow is not None:
        wanted["shadow"] = shadow
    guard: Guard = {}
    if max_psi is not None:
        guard["max_psi"] = max_psi
    if min_overlap is not None:
        guard["min_overlap"] = min_overlap
    if guard:
        wanted["guard"] = guard | {"min_rows": min_rows}
    with connect(admin_url, token) as client:
        if wanted or alone:
            command.route(Screen(as_json=json), client, task, wanted, local=local)
        else:
            command.show(Screen(as_json=json), client, task)


@tasks.command("drift")
def tasks_drift(
    task: Task, *, admin_url: AdminUrl = ADMIN_URL, token: AdminToken = None, json: Json = False
) -> None:
    """How far a task's canary and shadow are from its stable version."""
    from commands import routing as command

    with connect(admin_url, token) as client:
        command.drift(Screen(as_json=json), client, task)


@tasks.command("remove")
def tasks_remove(
    task: Task, *, admin_url: AdminUrl = ADMIN_URL, token: AdminToken = None, json: Json = False
) -> None:
    """Remove a grafted task."""
    from commands import tasks as command

    with connect(admin_url, token) as client:
        command.remove(Screen(as_json=json), client, task)


@tasks.command("history")
def tasks_history(
    task: Task, *, admin_url: AdminUrl = ADMIN_URL, token: AdminToken = None, json: Json = False
) -> None:
    """What happened to a task, and by whom."""
    from commands import tasks as command

    with connect(admin_url, token) as client:
        command.history(Screen(as_json=json), client, task)
