"""The page of the API in a real Chromium: all operations are there, and a request can be tried."""

from __future__ import annotations

import pytest

from tests.fakes import FakeParts
from tests.live_server import live_server

pytest.importorskip("playwright", reason="the page is tested with the package playwright")

from playwright.sync_api import expect

from tests.console.browser import EXECUTABLE, Visit, open_browser

pytestmark = pytest.mark.skipif(
    EXECUTABLE is None, reason="no chromium on the path (apt-get install chromium)"
)


def test_every_operation_is_shown_and_a_request_is_sent() -> None:
    with live_server(FakeParts().open) as live, open_browser() as browser:
        page = browser.new_page()
        visit = Visit(page, live.public)
        visit.watch()
        page.goto(f"{live.public}/docs")
        document = page.request.get(f"{live.public}/openapi.json").json()
        count = sum(len(operations) for operations in document["paths"].values())
        expect(page.locator("details.operation")).to_have_count(count)
        score = page.locator("details.operation", has_text="/v1/score")
        score.locator("summary").first.click()
        score.get_by_role("button", name="Send").click()
        expect(score.locator("pre[aria-live]")).to_contain_text("200")
        visit.picture("docs")
        assert visit.errors == visit.foreign == []
