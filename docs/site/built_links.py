"""The links of a built site: inner ones must lead somewhere, and nothing is fetched from elsewhere.

folder of HTML --check--> Found: faults, a sentence each; addresses that readers may follow
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What a page loads by itself, beside what a reader may click.
_LOADED = ("src", "href", "srcset", "data", "poster", "action")
_FOREIGN_CSS = re.compile(r"""(?:@import\s+|url\()\s*["']?(?:https?:)?//[^"')\s]+""")
# Names of XML's own namespaces look like addresses and are none.
_SCRIPT_URL = re.compile(r"""["'`](?:https?:)?//(?!www\.w3\.org/\d)[\w.-]+\.\w+[^"'`]*["'`]""")


@dataclass(slots=True)
class Found:
    """What a site's links are like."""

    pages: int = 0
    faults: list[str] = field(default_factory=list)
    external: set[str] = field(default_factory=set)


class _Page(HTMLParser):
    """Anchors of a page, and everything in it that names another place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        for name in _LOADED:
            if name in given:
                (self.links if tag == "a" else self.loads).append(given[name])


def check(site: Path) -> Found:
    """Look at every page, style and script below site."""
    site = site.resolve()
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    found = Found(pages=len(pages))
    for path, page in pages.items():
        name = path.relative_to(site)
        for address in page.loads:
            if _is_foreign(address):
                found.faults.append(f"{name}: loads {address} from another host")
        for address in (*page.links, *page.loads):
            if _is_foreign(address):
                found.external.add(address)
            elif fault := _broken(path, address, pages):
                found.faults.append(f"{name}: {fault}")
    found.faults += _foreign_assets(site)
    return found


def _is_foreign(address: str) -> bool:
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme in ("http", "https", "mailto")


def _broken(page: Path, address: str, pages: dict[Path, _Page]) -> str:
    parts = urlsplit(address)
    if parts.scheme in ("data", "javascript"):
        return ""
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page.resolve()
    if not target.is_file():
        return f"{address} leads to no file"
    if parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
        return f"{address} leads to no heading of that page"
    return ""


def _foreign_assets(site: Path) -> Iterator[str]:
    for kind, pattern in (("css", _FOREIGN_CSS), ("js", _SCRIPT_URL)):
        for path in site.rglob(f"*.{kind}"):
            for match in pattern.finditer(path.read_text(encoding="utf-8")):
                yield f"{path.relative_to(site)}: {match.group()} names another host"
