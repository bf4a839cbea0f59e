"""The page that shows /openapi.json, on the public port: nothing in it comes from elsewhere.

GET /docs, /docs/FILE --> bytes read at start
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter

from service.api.page import page_router

FOLDER = Path(__file__).parents[1] / "docs_page"
DOCS_PATHS = {
    "/docs": "docs.html",
    "/docs/docs.css": "docs.css",
    "/docs/docs.js": "docs.js",
}


def docs_router() -> APIRouter:
    return page_router(FOLDER, DOCS_PATHS)
