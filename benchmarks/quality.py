"""`make bench-quality`: train every model of the plan, write the figures, then the document.

    plan, data --rounds of jobs--> runs/quality/records.jsonl --> results/quality.json
                                                              --> docs/QUALITY.md

Each job runs in a process with one thread. Jobs that have a record are not run again, so a stopped
run goes on; records of other settings do not count. A data set that is not there is passed over,
and said so. A failed job is reported at the end (exit code 1), after all others.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from benchmarks.machine import describe_machine
from benchmarks.progress import tell_progress
from benchmarks.quality_document import NAME, write_document
from benchmarks.quality_figures import chosen_trial, data_of, figures_of, notes_of
from benchmarks.quality_job import Job
from benchmarks.quality_plan import ROOT, Cell, Plan, read_plan
from benchmarks.quality_records import FitRecord, GraftRecord, append, read_records
from benchmarks.quick_data import write_quick_data
from benchmarks.results import FOLDER, Results, read_results, write_results
from training.errors import DataError
from training.recipes import get

COMMAND = "make bench-quality"
_PACKAGES = ("torch", "polars", "numpy")
log = logging.getLogger("bench-quality")

Records = dict[str, FitRecord | GraftRecord]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run reads and writes."""

    plan: Path
    records: Path
    folders: dict[str, Path]  # data folder by data set
    results: Path
    document: Path


class Limits(NamedTuple):
    """How many jobs at once, when to begin no more, and the models asked for (all if empty)."""

    workers: int
    deadline: float
    models: frozenset[str]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    tell_progress()
    place = _quick_place(options.runs) if options.quick else _place(options)
    plan = read_plan(place.plan)
    failed: list[str] = []
    if not options.document_only:
        wanted = [name for name in place.folders if not options.data or name in options.data]
        deadline = monotonic() + 60 * options.minutes
        failed = run_all(
            plan, place, wanted, Limits(options.workers, deadline, frozenset(options.models))
        )
    publish(plan, place)
    for failure in failed:
        log.error(failure)
    return 1 if failed else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--data", nargs="*", default=(), help="only these data sets of the plan")
    parser.add_argument("--models", nargs="*", default=(), help="only these models of the plan")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--own", type=Path, default=ROOT / "data")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "quality")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no job later")
    parser.add_argument("--document-only", action="store_true", help="from the records there are")
    parser.add_argument("--quick", action="store_true", help="made-up data, a minute, no document")
    return parser.parse_args(arguments)


def _place(options: argparse.Namespace) -> Place:
    path = ROOT / "benchmarks" / "quality.toml"
    folders = {}
    for name, data in read_plan(path).data.items():
        folder = options.shared if data.folder == "shared" else options.own
        try:
            get(data.config.removeprefix("recipe:"), folder)
        except DataError as err:
            log.warning("%s is passed over: %s", name, err)
            continue
        folders[name] = folder
    records = options.runs / "records.jsonl"
    return Place(path, records, folders, FOLDER, ROOT / "docs" / "QUALITY.md")


def _quick_place(runs: Path) -> Place:
    folder = write_quick_data(runs / "quick" / "data")
    runs = runs / "quick"
    plan = ROOT / "benchmarks" / "quick.toml"
    folders = dict.fromkeys(read_plan(plan).data, folder)
    return Place(plan, runs / "records.jsonl", folders, runs, runs / "QUALITY.md")


def run_all(plan: Plan, place: Place, wanted: Sequence[str], limits: Limits) -> list[str]:
    """Run whatever has no record yet, round by round; what failed, as sentences."""
    workers, deadline, models = limits
    failed: list[str] = []
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        for number in range(len(plan.seeds) + 1):
            records = records_of(plan, place)
            planned = round_of(plan, place, wanted, number, records)
            jobs = [job for job in planned if job.key not in records and _asked(job, models)]
            log.info("round %d: %d jobs", number, len(jobs))
            futures = {pool.submit(_in_time, job, deadline): job for job in jobs}
            failed += _collect(futures, place.records)
    return failed


def _asked(job: Job, models: frozenset[str]) -> bool:
    return not models or job.cell.model in models


def _in_time(job: Job, deadline: float) -> FitRecord | GraftRecord | None:
    return None if monotonic() > deadline else job.run()


def _collect(
    futures: dict[Future[FitRecord | GraftRecord | None], Job], records: Path
) -> list[str]:
    failed = []
    for future in as_completed(futures):
        job = futures[future]
        try:
            record = future.result()
        except Exception as err:  # one failed run must not end the others
            failed.append(f"{job.key}: {type(err).__name__}: {err}")
            log.error(failed[-1])
            continue
        if record is not None:
            append(records, record)
            log.info("done %s", job.key)
    return failed


def round_of(
    plan: Plan, place: Place, wanted: Sequence[str], number: int, records: Records
) -> Iterator[Job]:
    """The jobs of one round.

    Round 0 tries every trial on the first seed, round 1 grafts on it, and each further round takes
    one more seed for both, with the trial that validation chose.
    """
    first = plan.seeds[0]
    seeds = {0: (first, None), 1: (None, first)}
    fits, grafts = seeds.get(number) or (plan.seeds[number - 1],) * 2
    for data in wanted:

        def job(cell: Cell, trial: int, seed: int, data: str = data) -> Job:
            return Job(place.plan, place.folders[data], cell, trial, seed)

        if number == 0:
            trials = plan.trials_on(data)
            yield from (job(c, trial, first) for c in plan.cells(data) for trial in trials)
            continue
        for seed, cells in ((fits, plan.cells(data)), (grafts, plan.grafts(data))):
            if seed is None:
                continue
            for cell in cells:
                trial = chosen_trial(plan, records, cell.data, cell.model)
                if trial is not None:
                    yield job(cell, trial, seed)


def records_of(plan: Plan, place: Place) -> Records:
    """The records made with the settings that the plan has now, latest of each key."""
    found: Records = {}
    for record in read_records(place.records):
        if record.trial >= len(plan.trials):
            continue
        cells = plan.grafts(record.data) if record.kind == "graft" else plan.cells(record.data)
        new = record.task if record.kind == "graft" else None
        cell = next((c for c in cells if (c.model, c.new) == (record.model, new)), None)
        if cell and record.digest == plan.digest(cell, record.trial, record.seed):
            found[record.key] = record
    return found


def publish(plan: Plan, place: Place) -> None:
    """Write the figures and the document from the records there are.

    A data set that has none keeps the figures it had: a run of one is no reason to lose another.
    """
    records = records_of(plan, place)
    figures, notes = figures_of(plan, records, COMMAND), notes_of(plan, records)
    kept = plan.data.keys() - {data_of(figure.name) for figure in figures}
    before, order = _before(place), list(plan.data)
    figures += [figure for figure in before.figures if data_of(figure.name) in kept]
    figures.sort(key=lambda figure: order.index(data_of(figure.name)))
    notes = {name: text for name, text in notes.items() if data_of(name) not in kept}
    notes |= {name: text for name, text in before.notes.items() if data_of(name) in kept}
    write_results(NAME, describe_machine(_PACKAGES), figures, notes, place.results)
    write_document(place.results, place.document)
    log.info("wrote %s", place.document)


def _before(place: Place) -> Results:
    """What the last run wrote; nothing if there was none."""
    if not (place.results / f"{NAME}.json").exists():
        return Results(machine={}, figures=())
    return read_results(NAME, place.results)


if __name__ == "__main__":
    sys.exit(main())
