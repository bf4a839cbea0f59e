"""`taskgraft upgrade`: another backbone on a running service, with the prompts tuned on it.

bundle --kept--> TASKGRAFT_BUNDLES/FINGERPRINT
prompt files, and FILE.minisig beside each if there is one --upload--> the service
fingerprint + digests --PUT /v1/backbone--> a table of what scores now
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from client import Client
from client.results import BackboneChange
from commands.failures import Misuse
from commands.screen import Screen, pairs, table
from commands.tasks import signature_of
from contract.aside import written_aside
from contract.bundle import open_bundle
from contract.prompt import read_prompt


def upgrade(
    screen: Screen,
    client: Client,
    bundle: Path,
    prompts: Sequence[Path],
    places: tuple[Path | None, Sequence[str]],
) -> None:
    """Upgrade. places: the folder of bundles (None if the hosts hold it already), tasks to drop."""
    bundles, drop = places
    manifest = open_bundle(bundle).manifest
    given = _by_task(prompts)
    files = {task: content for task, (_, content) in given.items()}
    beside = {task: signature_of(path) for task, (path, _) in given.items()}
    signatures = {task: path.read_bytes() for task, path in beside.items() if path.is_file()}
    if bundles is not None:
        keep(bundle, bundles / manifest.fingerprint)
    answer = client.upgrade(manifest.fingerprint, files, drop, signatures)
    _show(screen, "upgraded", answer)


def rollback(screen: Screen, client: Client) -> None:
    _show(screen, "rolled back", client.rollback_backbone())


def keep(bundle: Path, place: Path) -> None:
    """Copy a bundle to where services look for it; whole or not at all."""
    if place.resolve() != bundle.resolve():
        with written_aside(place) as folder:
            shutil.copytree(bundle, folder, dirs_exist_ok=True)


def _by_task(prompts: Sequence[Path]) -> dict[str, tuple[Path, bytes]]:
    files = dict[str, tuple[Path, bytes]]()
    for path in prompts:
        content = path.read_bytes()
        task = read_prompt(content).header.task
        if task in files:
            raise Misuse(f"{path}: a second prompt of task {task}; give one of each")
        files[task] = path, content
    return files


def _show(screen: Screen, done: str, answer: BackboneChange) -> None:
    facts = {
        "backbone": answer.fingerprint[:12],
        "before": answer.previous[:12],
        "generation": answer.generation,
        "workers": ", ".join(f"{worker.id} {worker.state}" for worker in answer.workers),
        "ended": ", ".join(answer.ended) or "no task",
        "took": f"{answer.took_ms:.0f} ms",
    }
    rows = list(answer.tasks.items())
    tasks = table("Grafted tasks", ("task", "version"), rows)
    screen.show(answer, pairs(f"{answer.model}: {done}", facts), *([tasks] if rows else []))
