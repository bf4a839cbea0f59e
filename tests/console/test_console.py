"""The console in a real Chromium, over a real service: every state it can be in.

Pictures of all of them are left in build/console.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from service.auth import new_token
from service.parts import open_parts
from tests.fakes import GOOD_PROMPT, FakeParts
from tests.live_server import ADMIN, SECRET, TOKEN, LiveServer, live_server, settings_for_tests
from tests.redis_server import RedisServer
from tests.service.test_registry import renamed
from tests.service.tiny import BUNDLE, prompt_bytes

pytest.importorskip("playwright", reason="the console is tested with the package playwright")

from playwright.sync_api import Browser, expect

from tests.console.browser import EXECUTABLE, Visit, open_browser

pytestmark = pytest.mark.skipif(
    EXECUTABLE is None, reason="no chromium on the path (apt-get install chromium)"
)
READ_SECRET, READ_TOKEN = new_token("reader", ["read"])
OLD_SECRET, OLD_TOKEN = new_token("former", ["read"], expires_s=1)
REQUEST = {"user_id": "user-3", "item_ids": [100, 101, 102]}
ITEMS = "100 101 102 103 104 105"
PROMPT = ADMIN | {"Content-Type": "application/octet-stream"}
TOKENS = (TOKEN, READ_TOKEN, OLD_TOKEN)
MANY = 199  # and the bundle's one


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@contextmanager
def serve(state: Path, **changes: object) -> Iterator[LiveServer]:
    given = {"feature_store": f"embedded:{state / 'features'}", "admin_tokens": TOKENS} | changes
    settings = settings_for_tests(bundle=BUNDLE, task_store=str(state / "tasks"), **given)
    with live_server(open_parts, settings) as live:
        yield live


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveServer]:
    with serve(tmp_path) as server:
        yield server


@contextmanager
def visiting(browser: Browser, live: LiveServer, scheme: str = "light") -> Iterator[Visit]:
    """A tab of its own; nothing in it may fail or leave the service."""
    size = {"width": 1366, "height": 820}
    with browser.new_context(viewport=size, color_scheme=scheme) as context:  # type: ignore[arg-type]  # plain dictionaries and strings will do
        context.set_default_timeout(20_000)
        visit = Visit(context.new_page(), live.admin)
        visit.watch()
        yield visit
    assert visit.errors == []
    assert visit.foreign == []


@pytest.fixture
def visit(browser: Browser, live: LiveServer) -> Iterator[Visit]:
    with visiting(browser, live) as visit:
        yield visit


def put(live: LiveServer, task: str, body: bytes) -> None:
    url = f"{live.admin}/v1/tasks/{task}"
    httpx.put(url, content=body, headers=PROMPT, timeout=60).raise_for_status()


def score(live: LiveServer, **changes: object) -> dict[str, object]:
    answer = httpx.post(f"{live.public}/v1/score", json=REQUEST | changes)
    document: dict[str, object] = answer.raise_for_status().json()
    return document


def test_who_brings_no_known_token_sees_nothing_but_why(visit: Visit) -> None:
    visit.go()
    page, told = visit.page, visit.page.get_by_role("alert")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    visit.picture("no-token")
    visit.sign_in("tg_wrong")
    expect(told).to_contain_text("expected a known token")
    visit.picture("wrong-token")
    visit.sign_in(OLD_SECRET)
    expect(told).to_contain_text("former has expired")
    visit.picture("expired-token")
    assert page.evaluate("sessionStorage.length") == 0
    visit.sign_in(SECRET)
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    assert page.evaluate("sessionStorage.getItem('taskgraft.token')") is None


def test_a_service_without_traffic_says_so_instead_of_showing_noughts(visit: Visit) -> None:
    visit.go(token=SECRET)
    page = visit.page
    expect(page.get_by_text("Nothing was changed yet")).to_be_visible()
    expect(page.get_by_text("No request yet")).to_be_visible()
    visit.picture("empty")
    visit.go("tasks")
    expect(page.get_by_role("link", name="click", exact=True)).to_be_visible()
    expect(page.get_by_text("none yet").first).to_be_visible()


def test_traffic_is_seen_live_with_the_spread_of_its_scores(live: LiveServer, visit: Visit) -> None:
    visit.go(token=SECRET)
    page = visit.page
    expect(page.get_by_text("No request yet")).to_be_visible()
    for _ in range(20):
        score(live)
    expect(page.get_by_text("20 in all", exact=False).first).to_be_visible()
    expect(page.get_by_text("p99")).to_contain_text(re.compile(r"p99 \d"))
    visit.picture("overview")
    visit.go("tasks/click")
    expect(page.get_by_role("img", name="Scores of version 0")).to_be_visible()
    visit.go("workers")
    expect(page.get_by_role("table")).to_contain_text("serving")


def test_a_dropped_file_is_grafted_and_the_old_scores_stay_to_the_bit(
    live: LiveServer, visit: Visit
) -> None:
    before = score(live)["scores"]
    visit.go("playground", token=SECRET)
    page = visit.page
    page.get_by_label("User").fill("user-3")
    page.get_by_label("Items").fill(ITEMS)
    page.get_by_role("button", name="Score").click()
    expect(page.get_by_role("heading", name="Ranking")).to_be_visible()
    visit.go("graft")
    drop(visit, "share.safetensors", prompt_bytes("share"))
    expect(page.get_by_label("Task", exact=True)).to_have_value("share")
    page.get_by_role("button", name="Graft", exact=True).click()
    expect(page.get_by_label("Checks of the gate").locator("li.passed")).to_have_count(8)
    expect(page.locator(".comparison")).to_contain_text("new column")
    expect(page.get_by_text("bit-identical")).to_have_count(2)
    visit.picture("grafted")
    visit.go("playground")
    expect(page.get_by_text("What the last change moved")).to_be_visible()
    expect(page.get_by_label("Weight of share")).to_be_enabled()
    visit.picture("playground")
    after = score(live)["scores"]
    assert isinstance(after, dict)
    assert {name: after[name] for name in ("click", "like")} == before


def test_a_refused_file_shows_the_check_and_the_reason_and_changes_nothing(
    live: LiveServer, visit: Visit
) -> None:
    visit.go("graft", token=SECRET)
    page = visit.page
    drop(visit, "share.safetensors", prompt_bytes("share")[:-4] + b"\0\0\0\1")
    page.get_by_role("button", name="Graft", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("422 prompt_refused")
    expect(page.get_by_role("alert")).to_contain_text("reason: digest_mismatch")
    expect(page.locator("li.failed")).to_contain_text("Digest")
    expect(page.locator("li.passed")).to_have_count(2)
    expect(page.locator("li.waiting")).to_have_count(5)
    visit.picture("refused")
    assert score(live)["generation"] == 0


def test_a_canary_is_routed_watched_and_taken_back_by_hand(live: LiveServer, visit: Visit) -> None:
    put(live, "share", prompt_bytes("share"))
    put(live, "share", renamed("share", 0.5))
    visit.go("tasks/share", token=SECRET)
    page = visit.page
    page.get_by_role("combobox", name="Stable").select_option("1")
    page.get_by_role("combobox", name="Canary", exact=True).select_option("2")
    page.get_by_label("Canary, % of users").fill("50")
    page.get_by_label("Guard: most psi").fill("0.25")
    page.get_by_label("Guard: after rows").fill("100000")
    page.get_by_role("button", name="Apply routing").click()
    expect(page.get_by_text("canary 2 at 50 %")).to_be_visible()
    for user in range(16):
        score(live, user_id=f"user-{user}")
    expect(page.locator("td .down")).to_have_text(re.compile(r"\d\.\d{3}"))
    visit.picture("canary")
    page.get_by_role("link", name="Tasks").click()
    badge = page.locator("tr", has_text="share").locator(".badge.warn")
    expect(badge).to_have_text("canary 2 at 50 %")
    page.get_by_role("link", name="share").click()
    page.get_by_role("button", name="Use v2").click()
    expect(page.get_by_role("dialog")).to_contain_text("Version 2 will score for everybody")
    visit.picture("rollback-asked")
    page.get_by_role("button", name="Score with v2").click()
    expect(page.get_by_text("share scores with version 2")).to_be_visible()
    expect(page.get_by_text("Nothing is compared")).to_be_visible()
    assert score(live)["tasks"]["share"] == {"version": 2}  # type: ignore[index]  # JSON
    page.get_by_role("button", name="Remove task").click()
    page.get_by_role("button", name="Remove", exact=True).click()
    expect(page.get_by_text("This task is not live")).to_be_visible()


def test_a_weight_moves_the_ranking_by_keyboard_alone(visit: Visit) -> None:
    visit.go("playground", token=SECRET)
    page = visit.page
    page.get_by_label("User").focus()
    page.keyboard.type("user-3")
    page.keyboard.press("Tab")
    page.keyboard.type(ITEMS)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    first = page.locator("tbody tr").first
    expect(first).to_contain_text("1")
    best = first.inner_text()
    page.get_by_label("Weight of click").focus()
    for name in ("click", "like"):
        page.get_by_label(f"Weight of {name}").focus()
        page.keyboard.press("Home")
    expect(first).not_to_have_text(best)
    expect(page.locator("td .up").first).to_be_visible()


def test_two_hundred_tasks_are_found_by_name_and_stay_in_reach(browser: Browser) -> None:
    parts = FakeParts()
    settings = settings_for_tests(admin_tokens=TOKENS, max_tasks_by_default=256)
    with live_server(parts.open, settings) as live, visiting(browser, live) as visit:
        with httpx.Client(base_url=live.admin, headers=PROMPT) as client:
            for number in range(MANY):
                client.put(f"/v1/tasks/task-{number}", content=GOOD_PROMPT).raise_for_status()
        look_at_many(visit)


def look_at_many(visit: Visit) -> None:
    visit.go("tasks", token=SECRET)
    page = visit.page
    expect(page.locator("tbody tr")).to_have_count(MANY + 1)
    visit.picture("many-tasks")
    page.get_by_label("Filter tasks").fill("task-19")
    expect(page.locator("tbody tr")).to_have_count(10)
    visit.go("playground")
    page.get_by_label("User").fill("3")
    page.get_by_label("Items").fill(ITEMS)
    page.get_by_role("button", name="Score").click()
    page.get_by_label("Filter weights").fill("task-197")
    page.get_by_label("Show task-197").check()
    expect(page.get_by_role("columnheader", name="task-197")).to_be_visible()
    visit.picture("many-tasks-playground")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


def test_without_its_store_the_service_is_shown_as_degraded(
    browser: Browser, redis: RedisServer, tmp_path: Path
) -> None:
    with (
        serve(tmp_path, feature_store=redis.url) as live,
        visiting(browser, live, "dark") as visit,
    ):
        score(live)
        redis.stop()
        visit.go(token=SECRET)
        expect(visit.page.get_by_text("ready", exact=True)).to_be_visible()
        for user in range(8):
            score(live, user_id=f"user-{user}")
        expect(visit.page.get_by_text("were given without the feature store")).to_be_visible()
        expect(visit.page.locator(".state")).to_have_text("degraded")
        visit.picture("degraded")


def test_a_hidden_tab_asks_for_nothing_and_looks_at_once_when_it_is_seen(visit: Visit) -> None:
    visit.go(token=SECRET)
    page = visit.page
    expect(page.get_by_text("ready", exact=True)).to_be_visible()
    page.wait_for_load_state("networkidle")
    turn = "Object.defineProperty(document, 'hidden', { value: %s, configurable: true });"
    tell = "document.dispatchEvent(new Event('visibilitychange'))"
    page.evaluate(turn % "true" + tell)
    page.wait_for_load_state("networkidle")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(2500)
    assert asked == []
    with page.expect_request("**/v1/live"):
        page.evaluate(turn % "false" + tell)


def test_who_may_only_read_is_offered_no_change(visit: Visit) -> None:
    visit.go("graft", token=READ_SECRET)
    page = visit.page
    drop(visit, "share.safetensors", prompt_bytes("share"))
    expect(page.get_by_text("Needs a token of scope graft").first).to_be_visible()
    expect(page.get_by_role("button", name="Graft", exact=True)).to_be_disabled()


def test_light_and_dark_follow_the_system_until_somebody_chooses(
    browser: Browser, live: LiveServer
) -> None:
    with visiting(browser, live, "dark") as visit:
        visit.go(token=SECRET)
        root = visit.page.locator("html")
        expect(root).to_have_attribute("data-theme", "dark")
        visit.picture("dark")
        visit.page.get_by_role("button", name="Theme").click()
        expect(root).to_have_attribute("data-theme", "light")
        visit.page.reload()
        expect(root).to_have_attribute("data-theme", "light")


def test_text_of_a_prompt_file_never_becomes_markup(visit: Visit) -> None:
    visit.go("graft", token=SECRET)
    evil = b'{"__metadata__": {"taskgraft": "{\\"task\\": \\"<img src=x onerror=alert(1)>\\"}"}}'
    drop(visit, "<b>evil</b>.safetensors", len(evil).to_bytes(8, "little") + evil)
    expect(visit.page.get_by_text("<img src=x onerror=alert(1)>")).to_be_visible()
    visit.page.get_by_role("button", name="Graft", exact=True).click()
    expect(visit.page.get_by_role("alert")).to_be_visible()
    expect(visit.page.locator("main img")).to_have_count(0)


def test_who_stops_the_service_is_told_and_the_token_is_kept(
    browser: Browser, tmp_path: Path
) -> None:
    with serve(tmp_path) as live:
        page = browser.new_page()
        page.add_init_script(f"sessionStorage.setItem('taskgraft.token', '{SECRET}')")
        page.goto(live.admin)
        expect(page.get_by_text("ready", exact=True)).to_be_visible()
    expect(page.get_by_text("The service does not answer")).to_be_visible(timeout=15_000)
    assert page.evaluate("sessionStorage.getItem('taskgraft.token')") == SECRET
    page.close()


def drop(visit: Visit, name: str, content: bytes) -> None:
    kind = "application/octet-stream"
    script = """([name, bytes, kind]) => {
        const carried = new DataTransfer();
        carried.items.add(new File([new Uint8Array(bytes)], name, { type: kind }));
        const options = { dataTransfer: carried, bubbles: true, cancelable: true };
        document.querySelector(".drop").dispatchEvent(new DragEvent("drop", options));
    }"""
    visit.page.get_by_text("Drop a prompt file here").wait_for()
    visit.page.evaluate(script, [name, list(content), kind])
    visit.page.get_by_text(re.compile(r"\d bytes")).first.wait_for()
