"""What the story claims, each with the figure found; a claim that fails ends the demo badly."""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

from commands.failures import CommandError
from commands.screen import indented


@dataclass(frozen=True, slots=True)
class Claim:
    """One promise and what was found."""

    promise: str
    found: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Claims:
    """All claims so far; shown as they are made."""

    console: Console
    made: list[Claim] = field(default_factory=list)

    def check(self, promise: str, found: str, *, holds: bool) -> None:
        self.made.append(Claim(promise, found, holds))
        mark, style = ("holds", "green") if holds else ("FAILS", "bold red")
        self.console.print(indented(Text(f"{mark}  ", style) + Text(f"{promise}: {found}")))

    def settle(self) -> None:
        """Raises CommandError when a claim failed."""
        failed = [f"{claim.promise} ({claim.found})" for claim in self.made if not claim.holds]
        if failed:
            raise CommandError(
                f"{len(failed)} of {len(self.made)} claims did not hold: {'; '.join(failed)}"
            )
