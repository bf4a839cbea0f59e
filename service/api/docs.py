"""The page that shows /openapi.json, on the public port: nothing in it comes from elsewhere.

GET /docs, /docs/FILE --> bytes read at start
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter

from service.api.page import sending

FOLDER = Path(__file__).parents[1] / "docs_page"
DOCS_PATHS = {
    "/docs": "docs.html",
    "/docs/docs.css": "docs.css",
    "/docs/docs.js": "docs.js",
}


def docs_router() -> APIRouter:
    """One route per file, so that no path can lead to another."""
    router = APIRouter(include_in_schema=False)
    for path, name in DOCS_PATHS.items():
        router.add_api_route(path, sending(FOLDER / name), methods=["GET"])
    return router
