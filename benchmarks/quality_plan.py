"""What `make bench-quality` runs: data sets, models, trials and seeds, as TOML says.

read_plan(path) -> Plan      Plan.config(cell, trial, seed) -> TrainConfig

A plan that is wrong is a ValueError, a configuration that is wrong a ConfigError.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from training.config import FitConfig, ModelConfig, TaskConfig, TrainConfig, TuneConfig, read_config
from training.recipes import recipe

ROOT = Path(__file__).parents[1]
_RECIPE = "recipe:"
_HISTORICAL = "dtrn"  # the bottom that needs behaviour sequences

Settings = dict[str, Any]  # Any: checked by the sections of TrainConfig they are merged into


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Trial(_Part):
    """One of the settings every model may choose from."""

    learning_rate: float
    l2_embedding: float = 0.0


class DataPlan(_Part):
    """One data set: its configuration, what is changed in it, and which models meet it.

    Attributes:
        config: "recipe:NAME", or a TOML file beside the plan.
        folder: where its files are: "shared" is a folder of data sets kept beside the checkout,
            "own" the project's data folder (fetched there when absent).
        drop, add: input fields left out and put in.
        trials: numbers of the trials that are made on it; all if empty.
        only: the models it meets; all if empty.
        funnel: the two tasks of esmm; without them esmm is left out.
    """

    config: str
    folder: Literal["shared", "own"]
    tasks: tuple[str, ...]
    drop: tuple[str, ...] = ()
    add: tuple[Settings, ...] = ()
    history_length: int | None = None
    trials: tuple[int, ...] = ()
    only: tuple[str, ...] = ()
    funnel: tuple[str, str] | None = None
    graft_tasks: tuple[str, ...] = ()
    graft_models: tuple[str, ...] = ()
    model: Settings
    fit: Settings
    tune: Settings = {}


@dataclass(frozen=True, slots=True)
class Cell:
    """A model on a data set; tasks learned together, in order; new is grafted, if given."""

    data: str
    model: str
    tasks: tuple[str, ...]
    new: str | None = None


class Plan(_Part):
    """The whole file."""

    seeds: tuple[int, ...] = Field(min_length=1)
    trials: tuple[Trial, ...] = Field(min_length=1)
    data: dict[str, DataPlan]
    models: dict[str, Settings]

    def cells(self, data: str) -> list[Cell]:
        """The models trained from the start on a data set."""
        chosen = self.data[data]
        sequences = base_config(chosen).history is not None
        found = []
        for name, settings in self.models.items():
            tasks: tuple[str, ...] | None = chosen.tasks
            if settings.get("mixer") == "esmm":
                tasks = chosen.funnel
            if settings.get("bottom") == _HISTORICAL and not sequences:
                tasks = None
            if tasks is not None and (not chosen.only or name in chosen.only):
                found.append(Cell(data, name, tasks))
        return found

    def grafts(self, data: str) -> list[Cell]:
        """The new tasks of a data set, each on every backbone that is to take it."""
        chosen = self.data[data]
        return [
            Cell(data, model, tuple(task for task in chosen.tasks if task != new), new)
            for new in chosen.graft_tasks
            for model in chosen.graft_models
        ]

    def trials_on(self, data: str) -> tuple[int, ...]:
        """Numbers of the trials that every model makes on a data set."""
        return self.data[data].trials or tuple(range(len(self.trials)))

    def digest(self, cell: Cell, trial: int, seed: int) -> str:
        """Of all settings of a run: a record of other settings is none of this plan.

        What stands at its default is left out, so that a new switch makes no record stale.
        """
        config = self.config(cell, trial, seed)
        unread = set() if cell.new else {"tune"}
        settings = config.model_dump(mode="json", exclude_defaults=True, exclude=unread)
        text = json.dumps([cell.tasks, cell.new, settings], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def config(self, cell: Cell, trial: int, seed: int) -> TrainConfig:
        """The configuration of one run; tasks out of the cell stay in the data as new."""
        chosen = self.data[cell.data]
        base = base_config(chosen)
        tasks = {task.name: task for task in base.tasks}
        order = (*cell.tasks, *(name for name in tasks if name not in cell.tasks))
        model = {"gate_units": (), "gate_bias": False} | chosen.model | self.models[cell.model]
        fit = chosen.fit | self.trials[trial].model_dump() | {"seed": seed}
        return base.model_copy(
            update={
                "tasks": tuple(_task(tasks[name], new=name not in cell.tasks) for name in order),
                "model": ModelConfig.model_validate(model),
                "fit": FitConfig.model_validate(fit),
                "tune": TuneConfig.model_validate(chosen.tune | {"seed": seed}),
            }
        )


def _task(task: TaskConfig, *, new: bool) -> TaskConfig:
    return task.model_copy(update={"new": new})


def base_config(data: DataPlan) -> TrainConfig:
    """The configuration a data set starts from, its fields as the plan wants them."""
    name = data.config.removeprefix(_RECIPE)
    path = recipe(name) if data.config.startswith(_RECIPE) else ROOT / "benchmarks" / name
    values = read_config(path).model_dump()
    kept = [field for field in values["features"] if field["name"] not in data.drop]
    values["features"] = [*kept, *data.add]
    if data.history_length is not None and values["history"] is not None:
        values["history"]["length"] = data.history_length
    return TrainConfig.model_validate(values)


def read_plan(path: Path) -> Plan:
    """Read a plan.

    Raises:
        ValueError: it is no TOML, or not of this form (pydantic names the key).
    """
    return Plan.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
