"""Paths with places for names, and which of them a request is for.

"/v2/models/like/infer" --Paths.find--> "/v2/models/{name}/infer", {"name": "like"} | None
"""

from __future__ import annotations

import re
from collections.abc import Iterable


class Paths:
    """Templates; {name} stands for one segment of a path."""

    def __init__(self, templates: Iterable[str]) -> None:
        self._exact: dict[str, tuple[str, dict[str, str]]] = {}
        self._patterns: list[tuple[str, re.Pattern[str]]] = []
        for template in templates:
            if "{" in template:
                pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template)
                self._patterns.append((template, re.compile(pattern)))
            else:
                self._exact[template] = template, {}

    def find(self, path: str) -> tuple[str, dict[str, str]] | None:
        """The template, and what stands in its places."""
        if (exact := self._exact.get(path)) is not None:
            return exact
        for template, pattern in self._patterns:
            if (found := pattern.fullmatch(path)) is not None:
                return template, found.groupdict()
        return None
