"""`taskgraft serve`: the service, and the variables it reads."""

from __future__ import annotations

from pathlib import Path

from pydantic.fields import FieldInfo
from rich.text import Text

from contract.digests import Digests
from service.environment import read_settings
from service.launch import run
from service.settings import PREFIX, Settings


def serve(bundle: Path, given: dict[str, object], digests: Digests) -> None:
    """Serve until SIGTERM or Ctrl-C; what is given here goes before the environment."""
    chosen = {name: value for name, value in given.items() if value is not None}
    run(read_settings(bundle=bundle, **chosen), digests)


def variables() -> Text:
    """Every TASKGRAFT_* variable with its meaning and its default."""
    lines = [Text("Environment variables", style="bold")]
    for name, field in Settings.model_fields.items():
        lines.append(Text(f"  {PREFIX}{name.upper()}", style="cyan") + Text(_assigned(field)))
        lines.append(Text(f"      {field.description}"))
    return Text("\n").join(lines)


def default_of(field: FieldInfo) -> str:
    """What holds when the variable is not set; empty for nothing."""
    if field.is_required():
        return ""
    default = field.get_default()
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    return "" if shown is None else str(shown)


def _assigned(field: FieldInfo) -> str:
    if field.is_required():
        return "  (required; or the argument)"
    default = default_of(field)
    return f" = {default}" if default else ""
