"""One worker process of several, as the supervisor forks it.

    Birth --> Server over inherited sockets --{"ready"}--> channel --OPEN--> it serves
                 └--> {"failed": sentence}, exit 1: it cannot start

A SIGTERM of its own means that this worker shall go and the others stay: it takes no new callers.
What the whole service shall do comes through the channel, whose end means that the supervisor died.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import sys
from pathlib import Path

import structlog
import uvloop

from contract.bundle import Bundle
from contract.errors import ContractError
from service.app import Parts, create_service
from service.birth import DRAIN, OPEN, STOP, Birth, failed, ready
from service.errors import ConfigError, ServiceError
from service.metric_slots import MetricSlot
from service.metrics import Metrics
from service.parts import open_parts
from service.proofs import Proofs
from service.server import Server
from service.settings import Settings

_PROOFS = "proofs"


def live(checked: list[Bundle], birth: Birth, channel: socket.socket) -> None:
    """Serve until told to stop.

    Args:
        checked: the bundle as it was when the service started. Who comes later than that looks at
            the files itself, for they may have changed. It is taken out: this process has frames
            below this one that live as long as it does, and would hold the bundle after an upgrade.
        birth: what this worker is.
        channel: to the supervisor.
    """
    structlog.contextvars.bind_contextvars(worker=birth.slot)
    if birth.replaces:
        checked.clear()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(checked, birth, channel))
    except (ServiceError, ContractError) as err:
        channel.sendall(failed(str(err), misuse=isinstance(err, ConfigError)))
        sys.exit(1)


async def _serve(checked: list[Bundle], birth: Birth, channel: socket.socket) -> None:
    metrics = Metrics(worker=str(birth.slot))
    slot = MetricSlot(Path(birth.folder), birth.slot, metrics)
    proofs = Proofs(Path(birth.folder) / _PROOFS)

    def opener(settings: Settings, metrics: Metrics) -> Parts:
        return open_parts(settings, metrics, checked.pop() if checked else None, proofs)

    service = create_service(birth.settings, opener, metrics, slot)
    admitted, orphaned = asyncio.Event(), asyncio.Event()

    async def admission() -> None:
        channel.sendall(ready())
        await admitted.wait()

    server = Server(service, birth.sockets, early=birth.early, admission=admission)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, server.retire)
    loop.add_signal_handler(signal.SIGINT, server.stop)

    act = {OPEN[0]: admitted.set, DRAIN[0]: server.drain, STOP[0]: server.stop}

    def told() -> None:
        try:
            orders = channel.recv(64)
        except ConnectionError:  # it died before it read what was told here
            orders = b""
        for order in orders:
            act[order]()
        if not orders:
            orphaned.set()
            loop.remove_reader(channel)
            server.retire()  # the address must be free for whoever starts the service again

    loop.add_reader(channel, told)
    await slot.start()
    try:
        await server.run()
    finally:
        loop.remove_reader(channel)
        await slot.stop()
        if orphaned.is_set():  # nobody else is left to do it
            shutil.rmtree(birth.folder, ignore_errors=True)
