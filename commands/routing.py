"""`taskgraft tasks route` and `drift`: canaries and shadows of a running service."""

from __future__ import annotations

from client import Client
from client.requests import RoutingOptions
from client.results import Routed, Routing
from commands.screen import Screen, pairs, table


def show(screen: Screen, client: Client, name: str) -> None:
    answer = client.routing(name)
    screen.show(answer, pairs(f"Routing of {name}", _facts(answer)))


def route(
    screen: Screen, client: Client, name: str, wanted: RoutingOptions, *, local: bool
) -> None:
    answer = client.route(name, wait="local" if local else "all", **wanted)
    workers = ", ".join(f"{worker.id} {worker.state}" for worker in answer.workers)
    screen.show(answer, pairs(f"{name}: routed", {**_facts(answer), "workers": workers}))


def drift(screen: Screen, client: Client, name: str) -> None:
    answer = client.drift(name)
    columns = ("version", "as", "requests", "rows", "psi", "overlap")
    rows = [
        (one.version, ", ".join(one.roles), one.requests, one.rows, one.psi, one.overlap)
        for one in answer.versions
    ]
    screen.show(answer, table(f"Drift of {name} from version {answer.stable}", columns, rows))


def _facts(routing: Routing | Routed) -> dict[str, object]:
    canary, guard = routing.canary, routing.guard
    limits = (
        {}
        if guard is None
        else {"psi at most": guard.max_psi, "overlap at least": guard.min_overlap}
    )
    told = [f"{name} {limit:g}" for name, limit in limits.items() if limit is not None]
    return {
        "stable": routing.stable,
        "canary": canary and f"version {canary.version} for {canary.percent:g} % of users",
        "shadow": routing.shadow,
        "guard": guard and f"{', '.join(told)}, after {guard.min_rows} rows",
        "generation": routing.generation,
    }
