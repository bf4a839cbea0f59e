"""Overrides of the item table, from a file into the store."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from commands.item_overrides import load, read_overrides
from commands.screen import Screen
from service.errors import InvalidField
from service.parts import open_feature_store
from service.settings import Settings
from tests.fakes import example_schema
from tests.service.tiny import BUNDLE


def test_an_override_is_read_as_the_scorer_reads_it(tmp_path: Path) -> None:
    file, store = tmp_path / "items", f"embedded:{tmp_path / 'features'}"
    file.write_text('{"item_id": 100, "price": 3.5}\n{"item_id": 101, "colour": "red"}\n')
    load(Screen(as_json=True), BUNDLE, file, store)

    async def read() -> object:
        settings = Settings(bundle=BUNDLE, feature_store=store)
        opened = open_feature_store(settings, example_schema(), print)
        try:
            return (await opened.read("ann", ["100", "101", "102"])).items
        finally:
            await opened.close()

    assert asyncio.run(read()) == {"100": {"price": 3.5}, "101": {"colour": "red"}}


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"price": 1}', '{"item_id": 1.5}', '{"item_id": 1, "x": 1}']
)
def test_a_line_that_cannot_be_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "items"
    file.write_text(f'{{"item_id": 1}}\n{line}\n')
    with pytest.raises(InvalidField) as caught:
        list(read_overrides(file, example_schema()))
    assert caught.value.where == "line 2"
