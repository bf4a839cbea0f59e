"""A page as its reader meets it: the tables and texts of each section, and every tag."""

from __future__ import annotations

import re
from html.parser import HTMLParser


class Reader(HTMLParser):
    """sections: text by section id; rows: the cells of its tables; tags and attributes: all."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sections: dict[str, list[str]] = {}
        self.rows: dict[str, list[list[str]]] = {}
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self._section = "page"
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "section":
            self._section = dict(attrs)["id"] or ""
        elif tag == "tr":
            self.rows.setdefault(self._section, []).append([])
        elif tag in ("td", "th"):
            self.rows[self._section][-1].append("")

    def handle_data(self, data: str) -> None:
        text = data.strip()
        if not text:
            return
        self.sections.setdefault(self._section, []).append(text)
        if (rows := self.rows.get(self._section)) and rows[-1]:
            rows[-1][-1] += text

    def row(self, section: str, name: str) -> list[str]:
        """The cells of the first row that starts with a name."""
        return next(row for row in self.rows[section] if row[0] == name)


def stands_alone(text: str) -> bool:
    """Whether a page loads nothing and runs nothing."""
    reader = Reader(text)
    foreign = {"script", "link", "img", "iframe", "object", "use", "image"} & reader.tags
    loading = {a for a in reader.attributes if a in ("src", "href", "srcset") or a[:2] == "on"}
    return not foreign and not loading and not re.search(r"https?:|url\(|@import", text)
