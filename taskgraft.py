"""The one command, `taskgraft`: a form per verb, which imports its package when it is called.

    argv --form--> commands/<noun>.py --> a table, or one JSON document with --json
            └--> one sentence on stderr and an exit code: 1 failed, 2 misused, 130 Ctrl-C

So `taskgraft serve` works where torch is not installed, and `taskgraft train` without a service.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from commands.failures import Misuse, explain
from commands.inspect_form import inspect
from commands.key_forms import keys
from commands.screen import Screen
from commands.task_forms import URL, Json, Url, connect, tasks
from commands.upgrade_form import upgrade


def _group(about: str) -> typer.Typer:
    return typer.Typer(help=about, add_completion=False, pretty_exceptions_enable=False)


app = _group("Graft a new task onto a live recommender: no retraining, no restart.")
data = _group("Fetch public data and describe a log.")
features = _group("The feature store that a service reads.")
tokens = _group("Who may use the admin port.")
groups = {"data": data, "tasks": tasks, "features": features, "tokens": tokens, "keys": keys}
for name, group in groups.items():
    app.add_typer(group, name=name)
app.command()(upgrade)
app.command()(inspect)

DataDir = Annotated[Path, typer.Option("--data", help="Folder that the data paths start from.")]
Config = Annotated[str, typer.Argument(help="A TOML file, or a recipe's name: movielens.")]
CheckpointDir = Annotated[Path, typer.Argument(help="A backbone that train wrote.")]
DATA = Path("data")


@data.command("get")
def data_get(
    name: Annotated[str, typer.Argument(help="movielens, census, kuairand or taobao.")],
    *,
    data: DataDir = DATA,
    json: Json = False,
) -> None:
    """Fetch a public data set, check its digest, convert it to Parquet."""
    from commands import data as command

    command.get(Screen(as_json=json), name, data)


@data.command("describe")
def data_describe(
    file: Annotated[Path, typer.Argument(help="A Parquet or CSV file.")],
    *,
    out: Annotated[Path | None, typer.Option(help="Write the proposed TOML here.")] = None,
    json: Json = False,
) -> None:
    """Look at a log: its columns, and a configuration to start from."""
    from commands import data as command

    command.describe(Screen(as_json=json), file, out)


@app.command()
def train(
    config: Config,
    *,
    data: DataDir = DATA,
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/NAME if unset.")] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the configuration's.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a run ended.")] = False,
    json: Json = False,
) -> None:
    """Train a backbone on a log."""
    from commands import train as command

    command.train(Screen(as_json=json), config, data, (out, seed), resume=resume)


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A backbone that train wrote, or a bundle.")],
    *,
    prompt: Annotated[
        Path | None,
        typer.Option(help="On a backbone a prompt that tune wrote, on a bundle a prompt file."),
    ] = None,
    split: Annotated[str, typer.Option(help="valid or test.")] = "test",
    config: Annotated[
        str | None,
        typer.Option(help="Of a bundle; if unset that of the backbone folder beside it."),
    ] = None,
    data: DataDir = DATA,
    json: Json = False,
) -> None:
    """Measure a backbone or a prompt on it; or a bundle, as served."""
    if (model / "manifest.json").is_file():
        from commands import served

        grafted = [] if prompt is None else [prompt]
        served.evaluate(Screen(as_json=json), model, grafted, (data, config), split)
        return
    from commands import train as command

    command.evaluate(Screen(as_json=json), model, data, split, prompt)


@app.command()
def tune(
    checkpoint: CheckpointDir,
    *,
    task: Annotated[str | None, typer.Option(help="The new task; the only one if unset.")] = None,
    config: Annotated[
        str | None, typer.Option(help="Where the task stands; the backbone's own if unset.")
    ] = None,
    data: DataDir = DATA,
    out: Annotated[Path | None, typer.Option(help="The prompt's folder.")] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Learn it in every other way too.")
    ] = False,
    all_tasks: Annotated[
        bool, typer.Option("--all-tasks", help="Every task known from earlier, each to a file.")
    ] = False,
    earlier: Annotated[
        Path | None, typer.Option("--from", help="With --all-tasks: prompts tuned before.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="With --all-tasks: the backbone's; beside it if unset.")
    ] = None,
    json: Json = False,
) -> None:
    """Tune a prompt for a new task on a frozen backbone, or prompts for all known ones."""
    screen = Screen(as_json=json)
    if all_tasks:
        from commands import retune

        if task is not None or compare:
            raise Misuse("--all-tasks takes neither --task nor --compare")
        retune.tune_all(screen, checkpoint, (config, earlier), (data, out, bundle))
        return
    if earlier is not None or bundle is not None:
        raise Misuse("--from and --bundle go with --all-tasks")
    from commands import train as command

    command.tune(screen, checkpoint, (config, task), (data, out), compare=compare)


@app.command()
def export(
    checkpoint: CheckpointDir,
    bundle: Annotated[Path, typer.Argument(help="The bundle: written, or read with --prompt.")],
    *,
    prompt: Annotated[
        Path | None, typer.Option(help="Export this tuned prompt for the bundle instead.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The prompt file.")] = None,
    config: Annotated[
        str | None,
        typer.Option(help="What the bundle's prompts are tuned by; the backbone's own if unset."),
    ] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Scale the scores by the validation rows.")
    ] = False,
    data: DataDir = DATA,
    json: Json = False,
) -> None:
    """Export a backbone to a bundle of ONNX graphs, or a tuned prompt to its file."""
    from commands import export as command

    screen = Screen(as_json=json)
    if prompt is None:
        command.export(screen, checkpoint, bundle, data, calibrate=calibrate, given=config)
    else:
        if config is not None:
            raise Misuse("--config is for a bundle: a prompt brings what it was tuned by")
        command.prompt(screen, checkpoint, bundle, prompt, (data, out), calibrate=calibrate)


def _serve_help(context: typer.Context, wanted: bool) -> None:  # noqa: FBT001  # Typer calls it
    if not wanted:
        return
    typer.echo(context.get_help())
    from commands import serve as command

    Console(highlight=False).print(command.variables())
    raise typer.Exit


@app.command(context_settings={"help_option_names": []})
def serve(
    bundle: Annotated[Path, typer.Argument(help="The exported bundle.")],
    *,
    host: Annotated[str | None, typer.Option(help="TASKGRAFT_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="TASKGRAFT_PORT.")] = None,
    admin_port: Annotated[int | None, typer.Option(help="TASKGRAFT_ADMIN_PORT.")] = None,
    workers: Annotated[int | None, typer.Option(help="TASKGRAFT_WORKERS.")] = None,
    helped: Annotated[
        bool,
        typer.Option(
            "--help", is_eager=True, callback=_serve_help, help="This, and all variables."
        ),
    ] = False,
) -> None:
    """Serve a bundle. What no option names is set by TASKGRAFT_* variables."""
    # NumPy's threads have nothing to do here; a supervisor must have none. Before NumPy is loaded.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Two imports in this order: the bundle is hashed while the service is imported.
    from contract.digests import Digests

    digests = Digests.begin(bundle)
    from commands import serve as command

    given: dict[str, object] = {"host": host, "port": port, "workers": workers}
    given["admin_port"] = admin_port
    command.serve(bundle, given, digests)


@app.command()
def score(
    user: Annotated[str, typer.Argument(help="User id.")],
    items: Annotated[list[str], typer.Argument(help="Item ids: the candidates.")],
    *,
    task: Annotated[
        list[str] | None, typer.Option(help="Score this task only; repeatable.")
    ] = None,
    weight: Annotated[
        list[str] | None, typer.Option(help="Rank by a weighted sum: TASK=NUMBER; repeatable.")
    ] = None,
    url: Url = URL,
    json: Json = False,
) -> None:
    """Score one user's candidates."""
    from commands import score as command

    with connect(url) as client:
        command.score(Screen(as_json=json), client, (user, items), (task, weight))


@features.command("load")
def features_load(
    checkpoint: CheckpointDir,
    *,
    store: Annotated[str | None, typer.Option(help="TASKGRAFT_FEATURE_STORE.")] = None,
    data: DataDir = DATA,
    json: Json = False,
) -> None:
    """Fill a feature store with the profiles and histories of a backbone's log."""
    from commands import features as command

    command.load(Screen(as_json=json), checkpoint, data, store)


@features.command("items")
def features_items(
    bundle: Annotated[Path, typer.Argument(help="The bundle that is served.")],
    file: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, help='JSON lines: {"item_id": 7, "price": 3.5}.'
        ),
    ],
    *,
    store: Annotated[str | None, typer.Option(help="TASKGRAFT_FEATURE_STORE.")] = None,
    json: Json = False,
) -> None:
    """Load fields that override the bundle's item table (TASKGRAFT_ITEM_OVERRIDES=true)."""
    from commands import item_overrides as command

    command.load(Screen(as_json=json), bundle, file, store)


@tokens.command("new")
def tokens_new(
    name: Annotated[str, typer.Argument(help="Who the token is for.")],
    *,
    scope: Annotated[list[str], typer.Option(help="read or graft; repeatable.")],
    days: Annotated[int | None, typer.Option(help="Until it expires; never if unset.")] = None,
    json: Json = False,
) -> None:
    """Make an admin token, as two lines for a shell."""
    from commands import tokens as command

    command.new(Screen(as_json=json), name, scope, days)


@app.command()
def sign(
    prompt: Annotated[Path, typer.Argument(help="A prompt file.")],
    *,
    key: Annotated[Path, typer.Option(help="The secret key that keys new wrote.")],
    out: Annotated[Path | None, typer.Option(help="PROMPT.minisig if unset.")] = None,
    json: Json = False,
) -> None:
    """Sign a prompt file."""
    from commands import keys as command

    command.sign(Screen(as_json=json), prompt, key, out)


@app.command()
def demo(
    *,
    once: Annotated[bool, typer.Option("--once", help="End instead of serving on.")] = False,
) -> None:
    """The whole road on MovieLens-100K: train, export, serve, graft."""
    from commands.demo import story

    story.tell(Screen(), once=once)


def main() -> None:
    """Run the command; a foreseeable failure ends in one sentence, never in a traceback."""
    # PyTorch's threads otherwise spin while they wait: beside another busy process that made
    # training 6 times slower on 2 cores. To be set before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # onnxruntime tells its makers about every session unless told not to, before it is loaded.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        code = app(args=sys.argv[1:] or ["--help"], prog_name="taskgraft", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as err:
        failure = explain(err)
        if failure is None:
            raise
        sentence = Text(f"error: {failure.sentence}")
        Console(stderr=True, highlight=False, soft_wrap=True).print(sentence)
        sys.exit(failure.code)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
