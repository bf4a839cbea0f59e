"""Sphinx's configuration: the pages of docs/, and the reference that is written from the code.

a page of GENERATED --source-read--> its own text, then what the code says
"""

from __future__ import annotations

import logging
from functools import cache

from sphinx.application import Sphinx

from docs.site import command_page, http_pages, settings_page

project = "taskgraft"
extensions = ["myst_parser"]
exclude_patterns = ["site", "_build"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = project
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

# A style that furo brings sets up logging when it is imported, and each request would be told.
logging.getLogger("httpx").setLevel(logging.WARNING)
documents = cache(http_pages.documents)
GENERATED = {
    "reference/http": lambda: http_pages.page(documents()[0]),
    "reference/admin": lambda: http_pages.page(documents()[1]),
    "reference/cli": command_page.page,
    "reference/settings": settings_page.page,
}


def _write(app: Sphinx, name: str, source: list[str]) -> None:
    if name in GENERATED:
        source[0] += "\n" + GENERATED[name]()


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _write)
