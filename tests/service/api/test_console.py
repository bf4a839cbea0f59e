"""The console's files: all of them, nothing else, and what a browser may do with them."""

from __future__ import annotations

import re

import httpx
import pytest

from service.api.console import CONSOLE_PATHS, FILES, FOLDER, PAGE

SOURCES = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}


def test_every_file_of_the_folder_is_served_and_no_other() -> None:
    assert {PAGE, *FILES} == set(SOURCES)


@pytest.mark.parametrize("path", CONSOLE_PATHS)
async def test_each_file_is_sent_with_its_type_and_its_limits(
    admin: httpx.AsyncClient, path: str
) -> None:
    answer = await admin.get(path, headers={"Authorization": ""})
    assert answer.text == SOURCES[CONSOLE_PATHS[path]]
    kinds = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg"}
    assert answer.headers["Content-Type"].startswith(kinds[CONSOLE_PATHS[path].split(".")[1]])
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_who_has_a_file_already_is_not_sent_it_again(admin: httpx.AsyncClient) -> None:
    first = await admin.get("/")
    tag = first.headers["ETag"]
    again = await admin.get("/", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert (again.headers["ETag"], again.headers["Cache-Control"]) == (tag, "no-cache")
    assert (await admin.get("/", headers={"If-None-Match": '"old"'})).status_code == 200


@pytest.mark.parametrize("name", SOURCES)
def test_a_file_leads_nowhere_else_and_makes_no_markup_of_text(name: str) -> None:
    source = SOURCES[name].replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|//cdn|innerHTML|outerHTML|insertAdjacentHTML|eval\(", source)
    assert not re.search(r"<script(?! type=\"module\" src=\"/console/)|style=| on\w+=\"", source)


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".js")])
def test_a_module_is_small_and_imports_its_neighbours_alone(name: str) -> None:
    source = SOURCES[name]
    assert len(source.splitlines()) <= 300
    for imported in re.findall(r"from \"(.+?)\"", source):
        assert imported.removeprefix("./") in FILES
