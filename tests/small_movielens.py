"""A small log in the form of `taskgraft data get movielens`, and its recipe cut short."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from training import recipes

USERS, MOVIES, RATINGS = 60, 200, 6_000


def write_log(folder: Path) -> None:
    """Ratings with taste in them: users and movies of one parity like each other."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    user = random.integers(1, USERS + 1, RATINGS)
    movie = random.integers(1, MOVIES + 1, RATINGS)
    taste = np.where(user % 2 == movie % 2, 1.0, -1.0)
    rating = np.clip(np.round(3 + taste + random.normal(0, 1, RATINGS)), 1, 5).astype(np.int64)
    time = 880_000_000 + np.arange(RATINGS) * 60
    frames: dict[str, dict[str, Any]] = {
        "ratings": {"user_id": user, "item_id": movie, "rating": rating, "timestamp": time},
        "users": {
            "user_id": np.arange(1, USERS + 1),
            "age": random.integers(18, 70, USERS),
            "gender": ["F", "M"] * (USERS // 2),
            "occupation": ["artist", "doctor", "writer"] * (USERS // 3),
            "zip_code": ["00000"] * USERS,
        },
        "movies": {
            "item_id": np.arange(1, MOVIES + 1),
            "title": [f"Movie {number}" for number in range(1, MOVIES + 1)],
            "release_year": random.integers(1930, 1998, MOVIES),
            "genres": [["Drama"], ["Comedy", "Crime"]] * (MOVIES // 2),
        },
    }
    for name, columns in frames.items():
        pl.DataFrame(columns).write_parquet(folder / f"{name}.parquet")


def write_recipe(path: Path) -> None:
    """The recipe that ships, with two short epochs of everything."""
    recipe = recipes.recipe("movielens").read_text(encoding="utf-8")
    text = re.sub(r"(?m)^(epochs|batch_size|average) *=.*\n", "", recipe)
    # Held back or averaged, so few steps would teach next to nothing.
    for section, more in (("fit", "l2_embedding = 0.0\n"), ("tune", "")):
        line = f"[{section}]\nepochs = 2\nbatch_size = 512\n{more}"
        text = text.replace(f"[{section}]\n", line) if f"[{section}]" in text else f"{text}\n{line}"
    path.write_text(text, encoding="utf-8")
