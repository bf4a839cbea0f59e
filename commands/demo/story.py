"""`taskgraft demo`: from nothing to a grafted task, in seven steps that each say what they cost.

data -> backbone -> bundle -> service -> prompt -> graft under traffic -> keep serving
└--> CommandError at the end when a claim of the story did not hold
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from rich.rule import Rule
from rich.text import Text

from commands.demo.claims import Claims
from commands.demo.learning import NEW, Workshop
from commands.demo.process import ServiceProcess, choose_ports, end_in_order
from commands.demo.serving import Visit
from commands.features import fill
from commands.screen import Screen
from service.environment import read_settings
from training.data_config import DataConfig
from training.dataset import Prepared

DATA_DIR, RUN_DIR = Path("data"), Path("runs") / "demo"


def tell(screen: Screen, *, once: bool) -> None:
    """The whole story; with once it ends instead of serving on.

    Raises:
        CommandError: a claim did not hold, or the ports are taken.
    """
    end_in_order()
    ports = choose_ports(once=once)
    shutil.rmtree(RUN_DIR, ignore_errors=True)
    RUN_DIR.mkdir(parents=True)
    claims = Claims(screen.out)
    shop = Workshop(screen, claims, DATA_DIR, RUN_DIR)
    started = time.perf_counter()
    with _step(screen, 1, "Real data: MovieLens-100K"):
        config, prepared, people = shop.fetch()
    with _step(screen, 2, "Train a backbone on two tasks: like (rating >= 4), love (= 5)"):
        backbone = shop.train(config, prepared).checkpoint
    with _step(screen, 3, "Export it to ONNX"):
        shop.export(backbone, prepared)
    with ExitStack() as stack:
        with _step(screen, 4, "Serve it, and score a real user"):
            service = stack.enter_context(_serve(shop, prepared, config.data, ports))
            visit = Visit(screen, claims, service, people)
            user = people.latest(1)[0]
            visit.score(user)
            visit.post_event(user)
        with _step(screen, 5, f"A new task: {NEW} (rating <= 2). Tune a prompt for it"):
            prompt = shop.tune(config, backbone, prepared)
        with _step(screen, 6, "Graft it onto the running service, while scoring goes on"):
            visit.graft(NEW, prompt)
        took_s = time.perf_counter() - started
        screen.out.print(f"\nAll of it took {took_s:.0f} s.", style="bold")
        if not once:
            _title(screen, 7, "Roll on")
            _roll_on(shop, service, user, prompt)
            with suppress(KeyboardInterrupt):
                service.wait()
            screen.out.print("\nstopped")
    claims.settle()


def _serve(
    shop: Workshop, prepared: Prepared, data: DataConfig, ports: tuple[int, int]
) -> ServiceProcess:
    state = RUN_DIR / "state"
    settings = read_settings(bundle=shop.bundle, feature_store=f"embedded:{state / 'features'}")
    count = fill(settings, prepared, data)
    shop.say(f"{count:,} users' profiles and histories are in the embedded feature store")
    service = ServiceProcess(shop.bundle, state, RUN_DIR / "service.log", ports)
    service.start()
    shop.say(
        f"`taskgraft serve` runs in a process of its own, ready after {service.start_s:.1f} s: "
        f"{service.url} for scores, {service.admin_url} for grafting"
    )
    return service


@contextmanager
def _step(screen: Screen, number: int, title: str) -> Iterator[None]:
    _title(screen, number, title)
    started = time.perf_counter()
    yield
    screen.out.print(Text(f"  ({time.perf_counter() - started:.1f} s)", style="dim"))


def _title(screen: Screen, number: int, title: str) -> None:
    screen.out.print()
    screen.out.print(Rule(Text(f"{number}  {title}", style="bold"), align="left"))


def _roll_on(shop: Workshop, service: ServiceProcess, user: int, prompt: Path) -> None:
    """What to try next, to be pasted into another terminal."""
    rank = {"weights": {"like": 1, NEW: -1}}
    request = {"user_id": user, "item_ids": [50, 100, 181, 258], "rank": rank}
    event = {"user_id": user, "item_id": 50, "behaviour": "liked", "ts": int(time.time())}
    command = f"{Path(sys.executable).parent / 'taskgraft'} tasks"
    at = f"--admin-url {service.admin_url}"
    lines = (
        "Try, in another terminal:",
        "",
        f"curl -s {service.url}/v1/tasks",
        _post(f"{service.url}/v1/score", request),
        _post(f"{service.url}/v1/events", {"events": [event]}),
        "",
        f"export TASKGRAFT_TOKEN={service.token}",
        f"{command} remove {NEW} {at}",
        f"{command} graft {NEW} {prompt} {at}",
        f"{command} history {NEW} {at}",
        "",
        f"Its API: {service.url}/docs. Its log: {RUN_DIR / 'service.log'}. Ctrl-C ends it.",
    )
    shop.screen.out.print("\n".join(lines), markup=False, soft_wrap=True)


def _post(url: str, body: object) -> str:
    return f"curl -s {url} -H 'content-type: application/json' -d '{json.dumps(body)}'"
