"""The page that shows the API's document: whole without any network but the service's own."""

from __future__ import annotations

import re

import httpx
import pytest

from service.api.docs import DOCS_PATHS, FOLDER

SOURCES = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}


@pytest.mark.parametrize("path", DOCS_PATHS)
async def test_the_page_and_its_files_come_from_the_service(
    public: httpx.AsyncClient, path: str
) -> None:
    answer = await public.get(path)
    assert answer.text == SOURCES[DOCS_PATHS[path]]
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("name", SOURCES)
async def test_nothing_in_it_leads_to_another_host(name: str, public: httpx.AsyncClient) -> None:
    """What it names is served here."""
    source = SOURCES[name]
    assert not re.search(r"https?:|//[a-z]|url\(|innerHTML|outerHTML|eval\(", source)
    for address in re.findall(r"(?:src|href)=\"(.+?)\"|fetch\(\"(.+?)\"", source):
        assert (await public.get("".join(address))).status_code == 200


def test_every_file_of_the_folder_is_served() -> None:
    assert set(DOCS_PATHS.values()) == set(SOURCES)
