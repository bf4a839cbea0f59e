"""`taskgraft data`: fetch a public data set; look at a log and propose a configuration."""

from __future__ import annotations

from pathlib import Path

from commands.screen import Screen, table
from training import recipes
from training.describe import describe as describe_log


def get(screen: Screen, name: str, data_dir: Path) -> None:
    """Fetch, check, convert; what is there and whole is kept."""
    files = recipes.get(name, data_dir)
    rows = [(path.as_posix(), f"{path.stat().st_size / 1e6:.1f} MB") for path in files]
    screen.show(
        {"name": name, "files": list(files), "config": recipes.recipe(name)},
        table(f"{name}: ready", ("file", "size"), rows),
    )
    screen.note(f"next: taskgraft train {name}")


def describe(screen: Screen, file: Path, out: Path | None) -> None:
    """Every column's figures, and a configuration to start from."""
    found = describe_log(file)
    rows = [
        (c.name, c.role, c.type, c.missing, c.distinct, _short(c.minimum), _short(c.maximum))
        for c in found.columns
    ]
    columns = ("column", "taken for", "type", "missing", "distinct", "least", "most")
    screen.show(found, table(f"{file}: {found.rows:,} rows", columns, rows))
    if out is not None:
        out.write_text(found.toml, encoding="utf-8")
        screen.note(f"a proposal to be corrected by hand: {out}; then: taskgraft train {out}")
    else:
        screen.note("--out FILE writes a configuration to start from")


def _short(value: object) -> str:
    return "-" if value is None else str(value)[:20]
