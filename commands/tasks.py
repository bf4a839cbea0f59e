"""`taskgraft tasks`: the live tasks of a running service, and changing them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

from client import Client
from client.results import Change
from commands.screen import Screen, pairs, table


def show_all(screen: Screen, client: Client) -> None:
    answer = client.tasks()
    columns = ("task", "kind", "version")
    rows = [(task.name, task.kind, task.version) for task in answer.tasks]
    screen.show(answer, table(f"Tasks, generation {answer.generation}", columns, rows))


def graft(
    screen: Screen,
    client: Client,
    prompt: tuple[str, Path, Path | None],
    *,
    activate: bool,
    local: bool,
) -> None:
    """Graft a file under a name; prompt holds name, file and its signature's file, if given."""
    name, file, signature = prompt
    beside = signature_of(file)
    if signature is None and beside.is_file():
        signature = beside
    started = perf_counter()
    answer = client.graft(
        name,
        file.read_bytes(),
        activate=activate,
        wait="local" if local else "all",
        signature=None if signature is None else signature.read_bytes(),
    )
    _show_change(screen, "grafted" if activate else "stored", answer, perf_counter() - started)


def signature_of(prompt: Path) -> Path:
    """Where the signature of a prompt file lies, unless somebody says otherwise."""
    return prompt.with_name(f"{prompt.name}.minisig")


def rollback(screen: Screen, client: Client, name: str, version: int | None) -> None:
    started = perf_counter()
    answer = client.rollback(name, version)
    _show_change(screen, "rolled back", answer, perf_counter() - started)


def remove(screen: Screen, client: Client, name: str) -> None:
    started = perf_counter()
    _show_change(screen, "removed", client.remove(name), perf_counter() - started)


def history(screen: Screen, client: Client, name: str) -> None:
    answer = client.history(name)
    columns = tuple(answer.history[0]) if answer.history else ("event",)
    rows = [[_cell(column, entry.get(column)) for column in columns] for entry in answer.history]
    screen.show(answer, table(f"History of {name}", columns, rows))


def _cell(column: str, value: object) -> object:
    """Times, which travel as Unix seconds, in UTC."""
    if column == "at" and isinstance(value, (int, float)):
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return value


def _show_change(screen: Screen, done: str, answer: Change, seconds: float) -> None:
    facts = {
        "version": answer.version,
        "generation": answer.generation,
        "workers": ", ".join(f"{worker.id} {worker.state}" for worker in answer.workers),
        "took": f"{seconds * 1000:.0f} ms",
    }
    screen.show(answer, pairs(f"{answer.name}: {done}", facts))
