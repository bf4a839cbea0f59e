"""The service as it is started: one process, or a supervisor and the workers it forks.

    Settings --run--> sockets bound --1 worker--> Server
                │                   └--several--> Supervisor --fork--> worker.live, each
                └--> ConfigError, ContractError, ...: it cannot start

Workers are forks of a process that has imported everything and checked the bundle, so that both
are done once, and the memory of it is there once. Whatever a fork would break is made after it: no
session, event loop, store or thread is there before; the thread that hashed the bundle beside the
imports has ended by then.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable
from functools import partial

import structlog
import uvloop

from contract.bundle import open_bundle
from contract.digests import Digests
from service.api.health import live_router
from service.app import Parts, create_service
from service.birth import Sockets
from service.environment import unknown_variables
from service.logs import configure_logs
from service.metrics import Metrics
from service.parts import open_parts
from service.server import Server, addresses, bind
from service.settings import Settings
from service.supervisor import Supervisor
from service.worker import live

_log = structlog.get_logger()


def run(settings: Settings, digests: Digests | None = None) -> None:
    """Serve until told to stop.

    Args:
        settings: all of them.
        digests: of the bundle's files, if they were begun a moment ago.

    Raises:
        ServiceError, ContractError: the service cannot start; the message says why.
    """
    configure_logs(settings.log_level)
    for name in unknown_variables():
        _log.warning("unknown_variable", name=name)
    sockets = bind(settings)
    if settings.workers > 1:
        _log.info("listening", **addresses(settings, sockets))
        _supervise(settings, sockets, digests)
        return
    checked = [open_bundle(settings.bundle, digests)]  # taken out, as a worker does it

    def opener(settings: Settings, metrics: Metrics) -> Parts:
        return open_parts(settings, metrics, checked.pop())

    serve_alone(settings, sockets, opener)


def serve_alone(
    settings: Settings, sockets: Sockets, opener: Callable[[Settings, Metrics], Parts]
) -> None:
    """Serve in this process until told to stop.

    Raises:
        ServiceError, ContractError: as the opener says.
    """
    service = create_service(settings, opener)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(Server(service, sockets)))


def _supervise(settings: Settings, sockets: Sockets, digests: Digests | None) -> None:
    with sockets[0], sockets[1]:
        # A worker takes it out of its copy of the list.
        checked = [open_bundle(settings.bundle, digests)]
        live_router()  # FastAPI imports a part of itself for the first route only
        gc.freeze()  # else a worker's first collection would write to, and so copy, every page
        Supervisor(settings, sockets, partial(live, checked)).run()


async def _serve(server: Server) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, server.drain)
    loop.add_signal_handler(signal.SIGINT, server.stop)
    await server.run()
