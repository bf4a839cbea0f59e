"""The configuration a command works on: a file, or the name of a recipe that ships with taskgraft.

"movielens" or path --load_config--> TrainConfig | ConfigError
"""

from __future__ import annotations

from commands.failures import Misuse
from training import recipes
from training.config import TaskConfig, TrainConfig


def load_config(given: str, seed: int | None = None) -> TrainConfig:
    """Read a configuration; seed takes the place of the fit section's.

    Raises:
        ConfigError: neither a readable configuration nor a recipe.
    """
    config = recipes.configuration(given)
    return config if seed is None else config.seeded(seed)


def find_task(config: TrainConfig, name: str | None) -> TaskConfig:
    """The new task of that name; without a name the only new one.

    Raises:
        Misuse: no such task, or several to choose from.
    """
    new = [task for task in config.tasks if task.new]
    found = [task for task in new if name in (None, task.name)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(task.name for task in new) or "none; add one with new = true"
    raise Misuse(f"which task is to be tuned? New ones in the configuration: {known}")
