"""The console's files, on the admin port: a page, its style and its modules, nothing else.

    GET /, /console/FILE --> bytes read at start, 304 to who has them already

They hold no data, so they need no token: the page asks for one, and reads all else with it through
the routes of the API. What a browser may do with the page is said here: no script, style or
connection but our own, in nobody's frame.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import APIRouter, Request, Response

FOLDER = Path(__file__).parents[1] / "console"
PAGE = "console.html"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
FILES = (
    "api.js",
    "chart.js",
    "compare.js",
    "console.js",
    "dom.js",
    "figures.js",
    "graft.js",
    "icon.svg",
    "layout.css",
    "live.js",
    "playground.js",
    "probe.js",
    "prompt_file.js",
    "routing.js",
    "session.js",
    "table.js",
    "task.js",
    "tasks.js",
    "theme.css",
    "theme.js",
    "traffic.js",
    "workers.js",
)
CONSOLE_PATHS = {"/": PAGE, **{f"/console/{name}": name for name in FILES}}
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


def console_router() -> APIRouter:
    """One route per file, so that no path can lead to another."""
    router = APIRouter(include_in_schema=False)
    for path, name in CONSOLE_PATHS.items():
        router.add_api_route(path, _sending(FOLDER / name), methods=["GET"])
    return router


def _sending(file: Path) -> Callable[[Request], Awaitable[Response]]:
    content = file.read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**_HEADERS, "ETag": tag}
    kind = _TYPES[file.suffix]

    async def send(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=kind, headers=headers)

    return send
