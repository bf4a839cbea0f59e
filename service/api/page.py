"""A page's files for a browser, and what it may do with them.

    folder, names by path --page_router--> a route each: bytes read at start,
    304 to who has them already

No script, style or connection but our own, in nobody's frame.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from fastapi import APIRouter, Request, Response

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Asked again each time, answered with 304: an upgrade never mixes old modules with new ones.
    "Cache-Control": "no-cache",
}


def page_router(folder: Path, paths: Mapping[str, str]) -> APIRouter:
    """One route per file, so that no path can lead to another."""
    router = APIRouter(include_in_schema=False)
    for path, name in paths.items():
        router.add_api_route(path, _sending(folder / name), methods=["GET"])
    return router


def _sending(file: Path) -> Callable[[Request], Awaitable[Response]]:
    """A route that answers with the file."""
    content = file.read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**_HEADERS, "ETag": tag}
    kind = _TYPES[file.suffix]

    async def send(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=kind, headers=headers)

    return send
