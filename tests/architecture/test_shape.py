"""The code's outward shape: small files, short functions, no prints, no bare reminders."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("contract", "training", "export", "service", "client", "commands", "benchmarks", "docs")
# Peers are measured in environments of their own, which lie below benchmarks/.
FILES = [
    path
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "site-packages" not in path.parts
]
FILES.append(ROOT / "taskgraft.py")
MAX_FILE_LINES = 350
MAX_FUNCTION_LINES = 60
FORBIDDEN_NAMES = {"utils", "common", "core", "base", "manager", "helpers", "misc"}


def breaches(source: str, name: str) -> Iterator[str]:
    """What a file does that no file here may."""
    lines = source.splitlines()
    if len(lines) > MAX_FILE_LINES:
        yield f"{name}: {len(lines)} lines, at most {MAX_FILE_LINES}"
    if Path(name).stem in FORBIDDEN_NAMES:
        yield f"{name}: a file is named by its noun"
    for number, line in enumerate(lines, 1):
        if "TODO" in line or "FIXME" in line:
            yield f"{name}:{number}: a reminder belongs in an issue"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield f"{name}:{node.lineno}: {node.name} has {length} lines"
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Name) and called.id == "print":
            yield f"{name}:{called.lineno}: print"
        if isinstance(node, ast.Assert):
            yield f"{name}:{node.lineno}: assert is no validation"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_file_keeps_its_shape(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    assert list(breaches(path.read_text(encoding="utf-8"), name)) == []


@pytest.mark.parametrize(
    "source",
    [
        "x = 1\n" * (MAX_FILE_LINES + 1),
        "def f() -> None:\n" + "    x = 1\n" * MAX_FUNCTION_LINES,
        "print(1)\n",
        "x = 1  # TODO later\n",
        "assert True\n",
    ],
)
def test_the_shape_test_can_fail(source: str) -> None:
    assert list(breaches(source, "made_up.py"))


def test_a_catch_all_name_is_a_breach() -> None:
    assert list(breaches("", "utils.py"))
