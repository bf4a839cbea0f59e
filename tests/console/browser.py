"""A real Chromium, without windows and without a network beyond this host.

open_browser --> Visit(page) per test --> its errors, its picture in build/console/NAME.png
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

PICTURES = Path(__file__).parents[2] / "build" / "console"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
EXECUTABLE = next(filter(None, map(shutil.which, _NAMES)), None)
_REFUSED = "Failed to load resource: the server responded with a status of"


@contextmanager
def open_browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass(slots=True)
class Visit:
    """One tab.

    Attributes:
        errors: what the console of the browser told, and exceptions that nobody caught.
        foreign: requests to anywhere but the service.
    """

    page: Page
    origin: str
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def watch(self) -> None:
        self.page.on("pageerror", lambda err: self.errors.append(str(err)))
        self.page.on("console", lambda told: self._told(told.type, told.text))
        self.page.on("request", lambda asked: self._asked(asked.url))

    def go(self, place: str = "", token: str | None = None) -> None:
        if token is not None:
            script = f"sessionStorage.setItem('taskgraft.token', {token!r})"
            self.page.add_init_script(script)
        self.page.goto(f"{self.origin}/#{place}")

    def sign_in(self, token: str) -> None:
        self.page.get_by_label("Token").fill(token)
        self.page.get_by_role("button", name="Sign in").click()

    def picture(self, name: str) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png")

    def _told(self, kind: str, text: str) -> None:
        # A refusal is an answer; the browser tells it as an error whatever the page does with it.
        if kind == "error" and not text.startswith(_REFUSED):
            self.errors.append(text)

    def _asked(self, url: str) -> None:
        if not url.startswith((self.origin, "data:")):
            self.foreign.append(url)
