"""The form of `taskgraft inspect`: argv --form--> commands/inspect.py and what was asked beside.

Pages and measurements are imported when they are asked for: a service has no templates.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from commands.failures import Misuse
from commands.screen import Screen
from commands.task_forms import Json


def inspect(
    path: Annotated[Path, typer.Argument(help="A bundle or a prompt file.")],
    *,
    html: Annotated[Path | None, typer.Option(help="Write it as a page, too.")] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Run each graph of a bundle at 1 to 500 rows.")
    ] = False,
    json: Json = False,
) -> None:
    """Check every byte of a bundle or a prompt file, and show what it holds and costs."""
    from commands import inspect as command
    from commands.bundle_view import view_bundle, view_prompt

    screen = Screen(as_json=json)
    if html is not None and {path.resolve()} & {html.resolve(), *html.resolve().parents}:
        raise Misuse(f"{html} is part of what is inspected: a page goes elsewhere")
    if path.is_dir():
        view = view_bundle(path)
        if measure:
            from commands.graph_costs import measured

            view = measured(view)
        if html is not None:
            from commands.report.inspection_pages import bundle_page

            html.write_text(bundle_page(view), encoding="utf-8")
        command.show_bundle(screen, view, html)
        return
    if measure:
        raise Misuse("--measure runs the graphs of a bundle; a prompt file has none")
    seen = view_prompt(path)
    if html is not None:
        from commands.report.inspection_pages import prompt_page

        html.write_text(prompt_page(seen), encoding="utf-8")
    command.show_prompt(screen, seen, html)
