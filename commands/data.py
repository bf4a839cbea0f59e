"""`taskgraft data`: fetch a public data set, and say what a configuration finds in a log."""

from __future__ import annotations

from pathlib import Path

from commands.configuration import load_config
from commands.screen import Screen, figure, pairs, table
from training import recipes
from training.describe import describe as describe_data


def get(screen: Screen, name: str, data_dir: Path) -> None:
    """Fetch, check, convert; what is there already is kept."""
    files = recipes.get(name, data_dir)
    rows = [(path.as_posix(), f"{path.stat().st_size / 1e6:.1f} MB") for path in files]
    screen.show(
        {"name": name, "files": list(files), "config": recipes.recipe(name)},
        table(f"{name}: ready", ("file", "size"), rows),
    )
    screen.note(f"next: taskgraft data describe {name}; taskgraft train {name}")


def describe(screen: Screen, given: str, data_dir: Path) -> None:
    """Rows, users, items, splits, tasks with their rates, history lengths."""
    config = load_config(given)
    found = describe_data(config, data_dir)
    screen.show(found, pairs(f"{config.name}", {"x": figure(None)}))
