"""The site as `make docs` builds it: whole, self-contained, and saying what the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from docs.site.built_links import check
from docs.site.http_pages import documents
from service.settings import PREFIX, Settings
from taskgraft import app
from tests.docs.blocks import ROOT

PAGE = '<html><body id="top"><a href="other.html#there">x</a></body></html>'


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "docs.site", str(out)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return out


def test_the_site_builds_without_a_warning_and_asks_no_other_host(site: Path) -> None:
    found = check(site)
    assert found.faults == []
    assert found.pages > 30
    assert (site / "external-links.txt").read_text(encoding="utf-8").startswith("http")


def test_every_route_of_both_ports_is_on_its_page(site: Path) -> None:
    for name, document in zip(("http", "admin"), documents(), strict=True):
        page = (site / "reference" / f"{name}.html").read_text(encoding="utf-8")
        assert [path for path in document["paths"] if path not in page] == []


def test_every_verb_and_every_setting_is_on_its_page(site: Path) -> None:
    command = (site / "reference" / "cli.html").read_text(encoding="utf-8")
    verbs = getattr(get_command(app), "commands").keys()  # noqa: B009  # typed as any command
    assert [verb for verb in verbs if f"taskgraft-{verb}" not in command] == []
    settings = (site / "reference" / "settings.html").read_text(encoding="utf-8")
    assert [name for name in Settings.model_fields if PREFIX + name.upper() not in settings] == []


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ('<a href="gone.html">x</a>', "leads to no file"),
        ('<a href="other.html#gone">x</a>', "leads to no heading"),
        ('<a href="#gone">x</a>', "leads to no heading"),
        ('<script src="https://cdn.example/x.js"></script>', "from another host"),
        ('<link rel="stylesheet" href="//fonts.example/x.css">', "from another host"),
        ('<img src="http://pictures.example/x.png">', "from another host"),
    ],
)
def test_a_broken_or_foreign_link_is_found(page: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(PAGE + page, encoding="utf-8")
    (tmp_path / "other.html").write_text('<p id="there">', encoding="utf-8")
    (found,) = check(tmp_path).faults
    assert fault in found


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.css", '@import "https://fonts.example/x.css";'),
        ("x.css", "a { background: url(//pictures.example/x.png) }"),
        ("x.js", 'fetch("https://cdn.example/x.json")'),
    ],
)
def test_a_style_or_script_of_another_host_is_found(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    (found,) = check(tmp_path).faults
    assert "another host" in found


def test_a_link_for_readers_is_listed_and_not_a_fault(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text('<a href="https://a.example/">x</a>', encoding="utf-8")
    found = check(tmp_path)
    assert found.faults == []
    assert found.external == {"https://a.example/"}
