"""The README's story as one shell script, and what each of its commands printed.

README.md --read_story--> commands --run_story--> Told: exit code and output of each
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Told:
    """One run of the story.

    Attributes:
        outputs: of each command, in order; commands that were not reached are missing.
        errors: all that went to stderr.
    """

    commands: Sequence[str]
    outputs: Sequence[str]
    code: int
    errors: str

    def output(self, start: str, number: int = 0) -> str:
        """What the number-th command that begins so printed."""
        found = [at for at, command in enumerate(self.commands) if command.startswith(start)]
        return self.outputs[found[number]]


def read_story(readme: str) -> list[str]:
    """The commands of the section, a line each; its Python example as the last one."""
    section = readme.split("## The road, step by step")[1].split("\n## ", maxsplit=1)[0]
    commands = []
    for language, text in _BLOCK.findall(section):
        if language == "sh":
            commands += text.strip().splitlines()
        else:
            commands.append(f"{sys.executable} - <<'END'\n{text}END")
    return commands


def run_story(commands: Sequence[str], folder: Path) -> Told:
    """Run the commands in one shell inside folder, with ports of their own."""
    public, admin = free_port(), free_port()
    lines = ["set -euo pipefail", "trap 'kill -INT $(jobs -p) && wait || true' EXIT"]
    for number, command in enumerate(commands):
        lines += [f"printf '\\n### %s ###\\n' {number}", command.replace(":8000", f":{public}")]
    tools = Path(sys.executable).parent
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TASKGRAFT_")}
    environment |= {
        "PATH": f"{tools}{os.pathsep}{environment['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
        "TASKGRAFT_PORT": str(public),
        "TASKGRAFT_ADMIN_PORT": str(admin),
        "TASKGRAFT_URL": f"http://127.0.0.1:{public}",
        "TASKGRAFT_ADMIN_URL": f"http://127.0.0.1:{admin}",
        "TASKGRAFT_DRAIN_S": "0",
    }
    bash = shutil.which("bash") or "bash"
    run = subprocess.run(
        [bash, "-c", "\n".join(lines)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    outputs = re.split(r"\n### \d+ ###\n", run.stdout)[1:]
    return Told(commands, outputs, run.returncode, run.stderr)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port
