"""A page's commands as one shell script, and what each of them printed.

blocks of a page --run_page--> Told: exit code, output of each command, what stood below each block
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ports import free_port
from tests.docs.blocks import ROOT, Block

_WIDTH = "110"  # what the pages show fits this terminal
_PATIENCE_S = 290


@dataclass(frozen=True, slots=True)
class Step:
    """A command, and the block it stands in."""

    command: str
    block: Block


@dataclass(frozen=True, slots=True)
class Told:
    """One run of a page.

    Attributes:
        outputs: of each command, in order; commands that were not reached are missing.
        errors: all that went to stderr.
    """

    steps: Sequence[Step]
    outputs: Sequence[str]
    code: int
    errors: str

    def output(self, start: str, number: int = 0) -> str:
        """What the number-th command that begins so printed."""
        found = [at for at, step in enumerate(self.steps) if step.command.startswith(start)]
        return self.outputs[found[number]]

    def output_of(self, block: Block) -> str:
        """What all commands of a block printed."""
        told = zip(self.steps, self.outputs, strict=False)
        return "".join(output for step, output in told if step.block == block)

    @property
    def reached(self) -> str:
        return self.steps[len(self.outputs) - 1].command


def steps_of(page: Sequence[Block]) -> Iterator[Step]:
    """The commands of a page's blocks; a Python block is one command."""
    for block in page:
        if block.kind == "sh" and not block.reason:
            yield from (Step(command, block) for command in block.commands)
        elif block.kind == "python" and not block.reason:
            yield Step(f"{sys.executable} - <<'END'\n{block.text}END", block)


def run_page(page: Sequence[Block], folder: Path, tools: Path, instead: Mapping[str, str]) -> Told:
    """Run a page in one shell inside folder, with ports of its own.

    Args:
        page: its blocks.
        folder: where the reader stands.
        tools: the folder of the taskgraft that the page calls.
        instead: commands that the tests replace, by what they replace them.
    """
    steps = list(steps_of(page))
    public, admin = free_port(), free_port()
    lines = ["set -euo pipefail", "trap 'kill -INT $(jobs -p) && wait || true' EXIT"]
    for number, step in enumerate(steps):
        command = instead.get(step.command, step.command)
        command = command.replace(":8000", f":{public}").replace(":8001", f":{admin}")
        lines += [f"printf '\\n### %s ###\\n' {number}", command]
    bash = shutil.which("bash") or "bash"
    run = subprocess.run(
        [bash, "-c", "\n".join(lines)],
        cwd=folder,
        env=_environment(tools, public, admin),
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    outputs = re.split(r"\n### \d+ ###\n", run.stdout)[1:]
    return Told(steps, outputs, run.returncode, run.stderr)


def _environment(tools: Path, public: int, admin: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TASKGRAFT_")}
    return kept | {
        "PATH": os.pathsep.join((str(tools), str(Path(sys.executable).parent), kept["PATH"])),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": _WIDTH,
        "TASKGRAFT_PORT": str(public),
        "TASKGRAFT_ADMIN_PORT": str(admin),
        "TASKGRAFT_URL": f"http://127.0.0.1:{public}",
        "TASKGRAFT_ADMIN_URL": f"http://127.0.0.1:{admin}",
        "TASKGRAFT_DRAIN_S": "0",
    }
