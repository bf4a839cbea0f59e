"""What the supervisor does about workers that do not do as they should."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.service_process import until

ROOT = Path(__file__).parents[2]
# Supervises workers that live as the test says, notes what became of it.
PROGRAM = """
import os, signal, socket, sys, time
from pathlib import Path
from service import birth, errors, supervisor
from service.logs import configure_logs
from service.settings import Settings

folder = Path(sys.argv[1])
supervisor._FIRST_PAUSE_S, supervisor._LAST_GRACE_S = 0.01, 0.1

def note(kind):
    (folder / f"{{kind}}-{{os.getpid()}}").touch()

def noted(kind):
    return len([*folder.glob(f"{{kind}}-*")])

def live(born, channel):
{life}

configure_logs("info")
settings = Settings(bundle=folder, workers=2, shutdown_s=0.1, drain_s=0.0)
with socket.create_server(("127.0.0.1", 0)) as public, socket.create_server(("", 0)) as admin:
    try:
        supervisor.Supervisor(settings, (public, admin), live).run()
    except errors.ServiceError as err:
        sys.exit(f"{{type(err).__name__}}: {{err}}")
"""
READY = "channel.sendall(birth.ready())"
SERVE = "while channel.recv(1) == birth.OPEN: pass"


class Supervised:
    """A supervisor in a process of its own."""

    def __init__(self, folder: Path, handle: subprocess.Popen[str]) -> None:
        self.folder, self.handle = folder, handle

    def noted(self, kind: str) -> list[int]:
        """The workers that noted it."""
        return [int(path.name.split("-")[1]) for path in self.folder.glob(f"{kind}-*")]

    def ended(self) -> tuple[int, str, list[str]]:
        """Exit code, what it said at last, and the events it logged."""
        lines, errors = self.handle.communicate(timeout=60)
        return self.handle.returncode, errors, [json.loads(x)["event"] for x in lines.splitlines()]


Supervise = Callable[..., AbstractContextManager[Supervised]]


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Supervise]:
    """Starts one whose workers live by these lines; it must leave nothing behind."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()

    @contextmanager
    def started(*life: str) -> Iterator[Supervised]:
        program = PROGRAM.format(life="\n".join(f"    {line}" for line in life))
        with subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(temporary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as handle:
            try:
                yield Supervised(tmp_path, handle)
            finally:
                handle.kill()

    yield started
    assert list(temporary.iterdir()) == []


def test_workers_that_always_die_before_they_are_ready_end_the_service(
    supervise: Supervise,
) -> None:
    with supervise("sys.exit(3)") as supervised:
        code, errors, _ = supervised.ended()
    assert code == 1
    assert "WorkerFailed: worker 0 ended 5 times before it was ready" in errors
    assert "exit code 3" in errors


@pytest.mark.parametrize(("misuse", "kind"), [("False", "WorkerFailed"), ("True", "ConfigError")])
def test_a_worker_that_tells_why_it_cannot_start_is_quoted_at_once(
    supervise: Supervise, misuse: str, kind: str
) -> None:
    with supervise(f"channel.sendall(birth.failed('no bundle', misuse={misuse}))") as supervised:
        code, errors, events = supervised.ended()
    assert (code, errors.strip()) == (1, f"{kind}: no bundle")
    assert events == ["workers_stopped"]


def test_a_worker_that_was_ready_once_is_replaced_as_often_as_it_dies(
    supervise: Supervise,
) -> None:
    with supervise("note('born')", READY) as supervised:
        until(lambda: len(supervised.noted("born")) >= 10)
        supervised.handle.send_signal(signal.SIGTERM)
        code, _, events = supervised.ended()
    assert code == 0
    assert events.count("worker_ended") >= 8


def test_a_worker_that_heeds_no_order_is_killed_in_the_end(supervise: Supervise) -> None:
    life = "signal.signal(signal.SIGTERM, signal.SIG_IGN)", READY, "note('ready')", "time.sleep(99)"
    with supervise(*life) as supervised:
        until(lambda: len(supervised.noted("ready")) == 2)
        supervised.handle.send_signal(signal.SIGTERM)
        code, _, _ = supervised.ended()
    assert code == 0
    assert not [pid for pid in supervised.noted("ready") if Path(f"/proc/{pid}").exists()]


def test_no_worker_serves_before_all_could_and_each_later_one_does_at_once(
    supervise: Supervise,
) -> None:
    """What a worker notes when it is admitted: how many could serve by then."""
    life = (
        "note('could')", READY, "assert channel.recv(1) == birth.OPEN",
        "note(f'admitted{noted(\"could\")}')", SERVE,
    )  # fmt: skip
    with supervise(*life) as supervised:
        until(lambda: len(supervised.noted("admitted*")) == 2)
        assert len(supervised.noted("admitted2")) == 2
        os.kill(supervised.noted("admitted2")[0], signal.SIGKILL)
        until(lambda: len(supervised.noted("admitted3")) == 1)
        supervised.handle.send_signal(signal.SIGTERM)
        assert supervised.ended()[0] == 0


@pytest.mark.parametrize(("number", "order"), [("SIGTERM", "DRAIN"), ("SIGINT", "STOP")])
def test_an_order_that_comes_while_a_worker_boots_is_not_lost(
    supervise: Supervise, number: str, order: str
) -> None:
    life = (
        "note('born')",
        "time.sleep(0.05)",
        f"assert channel.recv(1) == birth.{order}",
        "note('ok')",
    )
    with supervise(*life) as supervised:
        until(lambda: supervised.noted("born"))
        supervised.handle.send_signal(signal.Signals[number])
        code, errors, _ = supervised.ended()
    assert (code, errors) == (0, "")
    assert supervised.noted("ok") == supervised.noted("born")


def test_every_worker_learns_that_the_supervisor_died(supervise: Supervise) -> None:
    """None of them holds another's channel open."""
    life = (
        READY, "channel.recv(1)", "note('ready')",
        "while channel.recv(1): pass", "note('orphaned')",
        "while noted('orphaned') < 2: time.sleep(0.01)", "os.rmdir(born.folder)",
    )  # fmt: skip
    with supervise(*life) as supervised:
        until(lambda: len(supervised.noted("ready")) == 2)
        supervised.handle.kill()
        until(lambda: len(supervised.noted("orphaned")) == 2)
        until(lambda: not [*(supervised.folder / "tmp").iterdir()])


def test_a_signal_for_one_worker_is_none_for_the_others(supervise: Supervise) -> None:
    with supervise(READY, "note('ready')", SERVE) as supervised:
        until(lambda: len(supervised.noted("ready")) == 2)
        gone, stays = supervised.noted("ready")
        os.kill(gone, signal.SIGTERM)
        until(lambda: len(supervised.noted("ready")) == 3)
        assert Path(f"/proc/{stays}").exists()
        supervised.handle.send_signal(signal.SIGTERM)
        code, _, events = supervised.ended()
    assert code == 0
    assert events.count("worker_ended") == 1


def test_only_one_that_follows_a_ready_one_replaces_it(supervise: Supervise) -> None:
    life = (
        "note(f'{born.slot}{born.early}{born.replaces}')",
        READY,
        SERVE,
    )
    with supervise(*life) as supervised:
        until(lambda: supervised.noted("0TrueFalse"))
        until(lambda: supervised.noted("1FalseFalse"))
        os.kill(supervised.noted("0TrueFalse")[0], signal.SIGKILL)
        until(lambda: supervised.noted("0FalseTrue"))
        supervised.handle.send_signal(signal.SIGTERM)
        assert supervised.ended()[0] == 0
