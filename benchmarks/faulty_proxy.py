"""A TCP proxy on 127.0.0.1 that can be slow, speak nonsense, or be gone.

client <--> FaultyProxy(port of a server) <--> server     fault: "", "slow", "garbage"
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Literal

Fault = Literal["", "slow", "garbage"]
DELAY_S = 1.0
_GARBAGE = b"HTTP/1.1 400 Bad Request\r\n\r\n"
_CHUNK = 1 << 16


class FaultyProxy:
    """Event loop only. The fault strikes answers, of connections that stand too."""

    def __init__(self, server_port: int) -> None:
        self.fault: Fault = ""
        self.port = 0
        self._server_port = server_port
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen; on the port of before, if there was one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Refuse new connections and break those that stand."""
        if self._server is not None:
            self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        with suppress(OSError, asyncio.CancelledError):
            there, back = await asyncio.open_connection("127.0.0.1", self._server_port)
            ways = [
                asyncio.create_task(_pump(reader, back)),
                asyncio.create_task(self._answer(there, writer)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
                back.close()
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            if self.fault == "slow":
                await asyncio.sleep(DELAY_S)
            writer.write(_GARBAGE if self.fault == "garbage" else data)
            await writer.drain()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
