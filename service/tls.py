"""TLS of one port: a certificate that may be replaced while serving, and callers' if asked for.

    TlsFiles --Tls--> an SSLContext for uvicorn      look(): replaced files --> new connections
        └--> ConfigError: not readable, or not           └--> a pair that is none is logged, and
             belonging together                               the one before serves on

A caller's certificate opens the connection and nothing else: who may do what is for the tokens.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from dataclasses import dataclass
from pathlib import Path

import structlog

from service.errors import ConfigError

_LOOK_EVERY_S = 10.0
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files.

    Attributes:
        certificate: with the chain behind it.
        client_ca: who signs the certificates that callers must show; None asks for none.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None


class Tls:
    """One port's context, kept up with its files.

    Raises:
        ConfigError: files that cannot be served with.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        try:
            self._seen = self._stamps()
            self.context = _context(files)
        except OSError as err:  # ssl's errors among them
            raise ConfigError(_sentence(files, err)) from err

    async def follow(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            self.look()

    def look(self) -> None:
        """Serve new callers with what the files hold now.

        A further client CA is trusted from then on; one that was taken away is trusted until the
        service is restarted.
        """
        try:
            now = self._stamps()
            if now == self._seen:
                return
            _context(self._files)  # what does not work must not reach the live context
            _load(self.context, self._files)
        except OSError as err:
            _log.warning("certificate_not_replaced", reason=_sentence(self._files, err))
            return
        self._seen = now
        _log.info("certificate_replaced", certificate=self._files.certificate.name)

    def _stamps(self) -> list[tuple[int, int]]:
        files = (self._files.certificate, self._files.key, self._files.client_ca)
        found = [os.stat(file) for file in files if file is not None]
        return [(stat.st_ino, stat.st_mtime_ns) for stat in found]


def _context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if files.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    _load(context, files)
    return context


def _load(context: ssl.SSLContext, files: TlsFiles) -> None:
    # Without a password OpenSSL would ask the terminal for one.
    context.load_cert_chain(files.certificate, files.key, password="")
    if files.client_ca is not None:
        context.load_verify_locations(files.client_ca)


def _sentence(files: TlsFiles, err: OSError) -> str:
    given = [files.certificate, files.key, *([files.client_ca] if files.client_ca else [])]
    names = ", ".join(str(name) for name in given)
    return f"TLS with {names}: {err.strerror or err}; expected PEM files that belong together"
