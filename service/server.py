"""One process that serves both ports, from the first byte to the last.

    Settings --bind--> sockets --Server--> Service started --> ready --SIGTERM--> drained, stopped
                 └--> ConfigError: an address that cannot be had

While it starts, /livez answers 200 and /readyz 503. After SIGTERM /readyz answers 503 at once,
since balancers go on sending for a while, and all else is served on for drain_s; then what is in
flight may end within shutdown_s. A second SIGTERM, or Ctrl-C, skips the drain; one more skips the
wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import time
from collections.abc import Awaitable, Callable, Iterator

import structlog
import uvicorn
from starlette.types import ASGIApp

from service.app import Service, granted
from service.birth import Sockets
from service.errors import ConfigError
from service.exchange import Door, Headers
from service.http_protocol import GuardedProtocol
from service.memory import settle_memory
from service.settings import Settings
from service.threads import settle_threads
from service.tls import Tls, TlsFiles

_BACKLOG = 2048
# libuv takes one new connection from a listening socket in each round of the loop
# (libuv/libuv#3696), and a busy round is long: callers who came anew would wait for seconds while
# those who kept their connection are served. It takes one from each descriptor of the same socket.
_ACCEPTS_A_ROUND = 16
# Longer than a balancer keeps an idle connection, so that the balancer closes it, not we.
_KEEP_ALIVE_S = 75
_LINGER_S = 0.1
_log = structlog.get_logger()


def bind(settings: Settings) -> Sockets:
    """Both listening sockets; several workers may serve the same ones.

    Raises:
        ConfigError: an address that is taken, or none of this host.
    """
    public = _bind(settings.host, settings.port)
    try:
        return public, _bind(settings.admin_host, settings.admin_port)
    except ConfigError:
        public.close()
        raise


class Server:
    """Both ports of one process. drain and stop are for signal handlers: event loop only.

    Args:
        service: what is served.
        sockets: listening already.
        early: whether to answer before the service is ready: health checks with the truth, all else
            with 503. A worker that joins others should not.
        admission: called once this process could serve; it does when that returns.
    """

    def __init__(
        self,
        service: Service,
        sockets: Sockets,
        *,
        early: bool = True,
        admission: Callable[[], Awaitable[None]] = granted,
    ) -> None:
        self._service = service
        self._sockets = sockets
        self._early = early
        self._admission = admission
        settings = service.settings
        files = settings.public_tls, settings.admin_tls
        self._tls = [None if one is None else Tls(one) for one in files]
        self._servers = [
            _Uvicorn(_configuration(app, settings, door, tls))
            for app, door, tls in (
                (service.public, service.door, self._tls[0]),
                (service.admin, _open, self._tls[1]),
            )
        ]
        self._starting: asyncio.Task[None] | None = None
        self._stopping = False

    async def run(self) -> None:
        """Serve until stopped.

        Raises:
            ServiceError, ContractError: the service did not start.
        """
        settle_threads(asyncio.get_running_loop())
        since = time.perf_counter()
        followers = [asyncio.create_task(tls.follow()) for tls in self._tls if tls is not None]
        serving = self._listen() if self._early else []
        self._starting = asyncio.create_task(self._service.start(self._admission))
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await self._starting
                settle_memory()
                serving = serving or self._listen()
                took_ms = round((time.perf_counter() - since) * 1000, 1)
                generation = self._service.parts.tasks.snapshot.generation
                _log.info("ready", generation=generation, took_ms=took_ms)
        finally:
            if self._service.gate.state == "starting":
                self.stop()
            await asyncio.gather(*serving)
            for follower in followers:
                follower.cancel()
            await self._service.stop()
            _log.info("stopped")

    def _listen(self) -> list[asyncio.Task[None]]:
        _log.info("listening", **addresses(self._service.settings, self._sockets))
        return [
            asyncio.create_task(server.serve(_again(sock)))
            for server, sock in zip(self._servers, self._sockets, strict=True)
        ]

    def retire(self) -> None:
        """Leave new callers to the other processes on these sockets, and drain."""
        if self._service.gate.state == "ready":
            self._refuse_callers()
        self.drain()

    def drain(self) -> None:
        """Not ready from here on; stopped after drain_s, or at the second call."""
        if self._service.gate.state != "ready":
            self.stop()
            return
        self._service.gate.drain()
        _log.info("draining", seconds=self._service.settings.drain_s)
        asyncio.get_running_loop().call_later(
            self._service.settings.drain_s, self._stop_after_drain
        )

    def stop(self) -> None:
        """Accept nothing more and end within shutdown_s, or at once at the second call."""
        self._refuse_callers()
        if self._stopping:
            self._exit(force=True)
        else:
            # Who was let in a moment ago has not spoken yet; uvicorn would hang up on it.
            asyncio.get_running_loop().call_later(_LINGER_S, self._exit)
        self._stopping = True
        if self._starting is not None:
            self._starting.cancel()

    def _refuse_callers(self) -> None:
        for server in self._servers:
            for listener in getattr(server, "servers", ()):
                listener.close()

    def _exit(self, *, force: bool = False) -> None:
        for server in self._servers:
            server.force_exit = server.force_exit or force
            server.should_exit = True

    def _stop_after_drain(self) -> None:
        if not self._stopping:
            self.stop()


class _Uvicorn(uvicorn.Server):
    """Two of these share a process, so neither may take its signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _open(method: bytes, target: bytes, headers: Headers) -> None:
    """The admin port refuses nobody for want of room."""


def _configuration(app: ASGIApp, settings: Settings, door: Door, tls: Tls | None) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        ssl_context_factory=None if tls is None else lambda *_: tls.context,
        http=GuardedProtocol.within(settings.arrival_s, door),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=math.ceil(settings.shutdown_s),
    )


def _again(sock: socket.socket) -> list[socket.socket]:
    """The socket and further descriptors of it."""
    return [sock, *(sock.dup() for _ in range(_ACCEPTS_A_ROUND - 1))]


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as err:
        raise ConfigError(
            f"cannot listen on {host} port {port}: {err.strerror or err}; choose another address"
        ) from err
    # All descriptors of a socket share this flag, in all workers, and dup() writes it anew from
    # what stands here: left to block, a worker that joins would make the others hang in accept.
    sock.settimeout(0)
    return sock


def addresses(settings: Settings, sockets: Sockets) -> dict[str, str]:
    """What callers write to reach each port."""
    public, admin = sockets
    return {
        "public": _address(public, settings.public_tls),
        "admin": _address(admin, settings.admin_tls),
    }


def _address(sock: socket.socket, tls: TlsFiles | None) -> str:
    scheme = "http" if tls is None else "https"
    host, port = sock.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
