"""The fenced blocks of the pages, and what is said of each in the page's source.

page.md --blocks--> Block: language, text, the reason of a `<!-- not run: REASON -->` right above it
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# Decisions are records of their day: what they show need not run tomorrow.
PAGES = [
    ROOT / "README.md",
    *sorted(path for path in DOCS.rglob("*.md") if path.parent.name != "decisions"),
]
_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+?) -->\n)?^```(?P<kind>[^\n]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block.

    Attributes:
        kind: the language after the fence.
        reason: why it does not run; empty where it does.
    """

    page: str
    line: int
    kind: str
    text: str
    reason: str

    @property
    def commands(self) -> list[str]:
        """Of a shell block: a line each, where none goes on in the next."""
        joined = self.text.replace("\\\n", " ")
        whole: list[str] = []
        for line in joined.splitlines():
            if whole and line.startswith((" ", "done", "fi")):
                whole[-1] += f"\n{line}"
            elif line and not line.startswith("#"):
                whole.append(line)
        return whole


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[Block]:
    """In the order of the page."""
    text = page.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        line = text[: match.start("kind")].count("\n") + 1
        reason = match["reason"] or ""
        yield Block(name_of(page), line, match["kind"].strip(), match["text"], reason)


ALL = [block for page in PAGES for block in blocks(page)]
