"""The console's files, on the admin port: a page, its style and its modules, nothing else.

    GET /, /console/FILE --> bytes read at start, 304 to who has them already

They hold no data, so they need no token: the page asks for one, and reads all else with it through
the routes of the API.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter

from service.api.page import page_router

FOLDER = Path(__file__).parents[1] / "console"
PAGE = "console.html"
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


def console_router() -> APIRouter:
    return page_router(FOLDER, CONSOLE_PATHS)
