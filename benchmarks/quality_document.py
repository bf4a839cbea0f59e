"""docs/QUALITY.md, written from benchmarks/results/quality.json and from nothing else.

results/quality.json (and training_speed.json, if there) --write_document--> a page of Markdown

A missing results file is a ValueError that says what to run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from benchmarks.quality_figures import ABSENT
from benchmarks.results import FOLDER, Figure, Results, read_results

_TITLES = {
    "kuairand": "KuaiRand: four kinds of feedback on short videos",
    "kuairand_graft": "KuaiRand, the backbone that takes new tasks: tables hardly held back",
    "census": "Census-Income, as others compare on it",
    "census_graft": "Census-Income, inputs and sizes of the MPT-Rec paper (D = 123)",
}
_Key = TypeVar("_Key")
_SPEED = "training_speed"
_WANTED_SEEDS = 3
_AHEAD = "/mean/auc ahead of "
_PROMPT_WORDS = {
    "ahead": "comes within 0.002 AUC of joint retraining, or above it,",
    "time": "takes at most a fifth of joint retraining's time",
    "old": "leaves every old task exactly as it was",
}
NAME = "quality"  # of the results that the page is written from
_OPENING = """# How good the models are

This page is written by `{command}` from `benchmarks/results/`; no figure in it was typed.

Every model chose one of the same few settings on validation rows, with the first seed, and was then
run on the seeds ({seeds}); on Census-Income there is one setting for all, chosen likewise with one
to three of them (decisions/0030, 0034, 0036, 0037, 0038). New tasks on KuaiRand are grafted on a
weaker backbone than those of its table, and compared with a joint retraining that is as weak: on a
strong one prompts fall short of joint retraining (decisions/0037 and 0038 have validation figures).
A data set that is not run again keeps its figures. Test rows were used to report, never to choose.
An AUC stands with its 95 % interval: users (rows, where there are no users) drawn anew 200 times,
and with them the seeds. Differences are taken on the same draws. Seconds of the models are
wall-clock on one thread of a machine that did other work as well: compare them within a table only.
Those of a new task are the processor's, which other work stretches less; a prompt's hold one pass
of the backbone over the training and validation rows, and on KuaiRand, measured earlier, over the
test rows too.

{machine}
"""


def write_document(results: Path = FOLDER, document: Path | None = None) -> Path:
    """Write the page; the default place is docs/QUALITY.md."""
    found = read_results(NAME, results)
    speed = read_results(_SPEED, results) if (results / f"{_SPEED}.json").exists() else None
    path = document or FOLDER.parents[1] / "docs" / "QUALITY.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(found, speed), encoding="utf-8")
    return path


def page(results: Results, speed: Results | None = None) -> str:
    """The whole text."""
    command = results.figures[0].command if results.figures else "make bench-quality"
    facts = ", ".join(f"{name.replace('_', ' ')} {v}" for name, v in results.machine.items())
    seeds = results.notes.get("seeds", "none")
    parts = [_OPENING.format(command=command, seeds=seeds, machine=f"Machine: {facts}.")]
    figures = [*results.figures, *(speed.figures if speed else ())]
    parts.append(_promises([figure for figure in figures if figure.goal is not None]))
    parts.append(in_words(results.figures))
    models = [f for f in results.figures if not f.name.startswith("graft/")]
    grafts = [f for f in results.figures if f.name.startswith("graft/")]
    for data in _unique(f.name.split("/")[0] for f in models):
        parts.append(_model_tables(data, models))
        parts.append(_settings(data, results))
    for place in _unique(tuple(f.name.split("/")[1:4]) for f in grafts):
        parts.append(_graft_table(place, grafts))
    if speed:
        parts.append(_speed_table(speed))
    return "\n".join(part for part in parts if part)


def _promises(figures: Sequence[Figure]) -> str:
    rows = []
    for figure in figures:
        verdict = "**does not hold**" if figure.holds is False else "holds"
        if figure.holds is None:
            verdict = "not measured"
        name = figure.name.replace("/", " · ")
        rows.append((name, _against_goal(figure), figure.unit, figure.goal or "", verdict))
    kept = sum(figure.holds is True for figure in figures)
    text = f"## What was promised\n\n{kept} of {len(figures)} goals hold on these runs.\n\n"
    return text + table(("what", "measured", "unit", "goal", "verdict"), rows)


def in_words(figures: Sequence[Figure]) -> str:
    """The verdicts, summed up in sentences."""
    ahead: dict[str, list[bool]] = {}
    for figure in figures:
        if _AHEAD in figure.name:
            ahead.setdefault(figure.name.split("/")[1], []).append(figure.holds is True)
    lines = []
    if ahead:
        winners = [model for model, held in ahead.items() if all(held)]
        who = ", ".join(winners) or "None of them"
        lines.append(
            f"Of {', '.join(ahead)}, measured against MMoE and PLE in mean AUC on KuaiRand, "
            f"ahead of both outside the interval: **{who}**."
        )
    prompts = [figure for figure in figures if figure.name.startswith("graft/") and figure.goal]
    for measure, words in _PROMPT_WORDS.items():
        asked = [figure for figure in prompts if figure.name.endswith(f"/{measure}")]
        if asked:
            held = sum(figure.holds is True for figure in asked)
            lines.append(f"The prompt {words} in {held} of {len(asked)} cases.")
    if not lines:
        return ""
    return "In words:\n\n" + "".join(f"- {line}\n" for line in lines)


def _model_tables(data: str, figures: Sequence[Figure]) -> str:
    cells = {tuple(figure.name.split("/")[1:]): figure for figure in figures if _of(data, figure)}
    models = _unique(key[0] for key in cells if (key[0], "all", "seeds") in cells)
    tasks = _unique(key[1] for key in cells if key[2] == "auc" and key[0] in models)
    tasks = sorted(tasks, key=lambda task: task == "mean")
    rows = []
    for model in models:
        row = [model, *(_value(cells.get((model, task, "auc"))) for task in tasks)]
        row += [_count(cells.get((model, "all", m))) for m in ("parameters", "seconds", "epochs")]
        rows.append((*row, _count(cells.get((model, "all", "seeds")))))
    head = ("model", *(f"{task} AUC" for task in tasks), "parameters", "seconds", "epochs", "seeds")
    text = f"## {_TITLES.get(data, data)}\n\n" + table(head, rows) + _few_seeds(rows)
    return text + _second_table(models, [task for task in tasks if task != "mean"], cells)


def _second_table(
    models: Sequence[str], tasks: Sequence[str], cells: dict[tuple[str, ...], Figure]
) -> str:
    measures = [m for m in ("gauc", "logloss", "calibration") if any(k[2] == m for k in cells)]
    names = {"gauc": "gAUC", "logloss": "log loss", "calibration": "calibration error"}
    head = ("model", *(f"{task} {names[m]}" for m in measures for task in tasks))
    rows = [
        (model, *(_value(cells.get((model, task, m))) for m in measures for task in tasks))
        for model in models
    ]
    return "\n" + table(head, rows)


def _few_seeds(rows: Sequence[Sequence[str]]) -> str:
    few = [row[0] for row in rows if int(row[-1] or 0) < _WANTED_SEEDS]
    if not few:
        return ""
    return f"\nFewer than {_WANTED_SEEDS} seeds were run for: {', '.join(few)}.\n"


def _settings(data: str, results: Results) -> str:
    chosen = {name.split("/")[1]: text for name, text in results.notes.items() if _in(data, name)}
    absent = chosen.pop(ABSENT, None)
    text = f"Not finished on this data, so not in the tables: {absent}.\n\n" if absent else ""
    if not chosen:
        return text
    lines = "; ".join(f"{model}: {settings}" for model, settings in chosen.items())
    return f"{text}Settings chosen on validation rows. {lines}.\n"


def _graft_table(place: tuple[str, ...], figures: Sequence[Figure]) -> str:
    data, backbone, task = place
    prefix = f"graft/{data}/{backbone}/{task}/"
    cells = {
        tuple(figure.name.removeprefix(prefix).split("/")): figure
        for figure in figures
        if figure.name.startswith(prefix)
    }
    rows = []
    for way in _unique(key[0] for key in cells):
        row = [way, _value(cells.get((way, "auc"))), _value(cells.get((way, "ahead")))]
        row.append(_value(cells.get((way, "logloss"))))
        row += [_count(cells.get((way, "parameters"))), _percent(cells.get((way, "share")))]
        row += [_count(cells.get((way, "seconds"))), _percent(cells.get((way, "time")))]
        row += [_value(cells.get((way, "old"))), _count(cells.get((way, "seeds")))]
        rows.append(tuple(row))
    head = (
        *("way", "AUC", "against joint", "log loss", "trained parameters", "share"),
        *("seconds", "of joint's", "old tasks moved", "seeds"),
    )
    return f"## New task: {task}, on {backbone} ({data})\n\n" + table(head, rows) + _few_seeds(rows)


def _speed_table(speed: Results) -> str:
    facts = ", ".join(f"{name.replace('_', ' ')} {v}" for name, v in speed.machine.items())
    rows = [(f.name.replace("/", " · "), _value(f), f.unit) for f in speed.figures]
    notes = "".join(f"\n{text}\n" for text in speed.notes.values())
    title = "## Training speed, beside torch-rechub\n\n"
    return title + table(("what", "measured", "unit"), rows) + f"\nMachine: {facts}.\n" + notes


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _value(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return ""
    text = number(figure.value)
    if figure.spread is None:
        return text
    low, high = (number(bound) for bound in figure.spread)
    return f"{text} [{low}, {high}]"


def _against_goal(figure: Figure) -> str:
    """With six decimals where four would look like the goal that is missed."""
    text = _value(figure)
    if figure.holds is False and figure.goal and figure.value is not None:
        short = number(figure.value)
        if figure.goal.endswith(f" {short}"):
            return text.replace(short, f"{figure.value:.6f}", 1)
    return text


def number(value: float) -> str:
    """Four decimals for what is small, whole numbers with separators for what is large."""
    if value == 0:
        return "0"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.0f}"  # noqa: PLR2004


def _count(figure: Figure | None) -> str:
    return "" if figure is None or figure.value is None else f"{figure.value:,.0f}"


def _percent(figure: Figure | None) -> str:
    return "" if figure is None or figure.value is None else f"{figure.value:.1%}"


def _of(data: str, figure: Figure) -> bool:
    return _in(data, figure.name)


def _in(data: str, name: str) -> bool:
    return name.startswith(f"{data}/")


def _unique(values: Iterable[_Key]) -> list[_Key]:
    return list(dict.fromkeys(values))
