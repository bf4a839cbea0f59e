"""One worker process of several, as the supervisor starts it.

    channel --Birth--> Server over inherited sockets --{"ready"}--> channel --OPEN--> it serves
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

from contract.errors import ContractError
from service.app import create_service
from service.birth import DRAIN, OPEN, STOP, Birth, failed, read_birth, ready
from service.errors import ConfigError, ServiceError
from service.logs import configure_logs
from service.metric_slots import MetricSlot
from service.metrics import Metrics
from service.parts import open_parts
from service.server import Server


def main() -> None:
    """Serve until told to stop; the only argument is the channel's file descriptor."""
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        birth = read_birth(channel)
        configure_logs(birth.settings.log_level)
        structlog.contextvars.bind_contextvars(worker=birth.slot)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_serve(birth, channel))
        except (ServiceError, ContractError) as err:
            channel.sendall(failed(str(err), misuse=isinstance(err, ConfigError)))
            sys.exit(1)


async def _serve(birth: Birth, channel: socket.socket) -> None:
    sockets = socket.socket(fileno=birth.public), socket.socket(fileno=birth.admin)
    metrics = Metrics(worker=str(birth.slot))
    slot = MetricSlot(Path(birth.folder), birth.slot, metrics)
    service = create_service(birth.settings, open_parts, metrics, slot)
    admitted, orphaned = asyncio.Event(), asyncio.Event()

    async def admission() -> None:
        channel.sendall(ready())
        await admitted.wait()

    server = Server(service, sockets, early=birth.early, admission=admission)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, server.retire)
    loop.add_signal_handler(signal.SIGINT, server.stop)

    act = {OPEN[0]: admitted.set, DRAIN[0]: server.drain, STOP[0]: server.stop}

    def told() -> None:
        orders = channel.recv(64)
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
