"""The people and movies of the story: who is scored, which candidates, what they are called.

data/movielens/*.parquet --People.read--> titles, and for a user the popular movies yet unseen
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

CANDIDATES = 100
_LIKED = 4


@dataclass(frozen=True, slots=True)
class People:
    """MovieLens-100K as frames."""

    ratings: pl.DataFrame
    movies: pl.DataFrame

    @classmethod
    def read(cls, folder: Path) -> People:
        """The files that `taskgraft data get movielens` wrote."""
        return cls(
            pl.read_parquet(folder / "ratings.parquet"), pl.read_parquet(folder / "movies.parquet")
        )

    def latest(self, count: int) -> list[int]:
        """Users by the time of their last rating, the latest first."""
        last = self.ratings.group_by("user_id").agg(pl.col("timestamp").max())
        order = last.sort("timestamp", "user_id", descending=[True, False])
        return order.get_column("user_id").head(count).to_list()

    def candidates(self, user: int) -> list[int]:
        """The movies rated most often that the user has not rated."""
        own = self.ratings.filter(pl.col("user_id") == user).get_column("item_id").implode()
        others = self.ratings.filter(~pl.col("item_id").is_in(own))
        counts = others.group_by("item_id").len().sort("len", "item_id", descending=[True, False])
        return counts.get_column("item_id").head(CANDIDATES).to_list()

    def liked_lately(self, user: int, count: int) -> list[str]:
        """Titles of what a user rated well, the latest first."""
        liked = self.ratings.filter(
            (pl.col("user_id") == user) & (pl.col("rating") >= _LIKED)
        ).sort("timestamp", descending=True)
        return [self.title(item) for item in liked.get_column("item_id").head(count)]

    def title(self, item: int) -> str:
        found = self.movies.filter(pl.col("item_id") == item).get_column("title")
        return str(found[0]) if len(found) else f"movie {item}"
