"""`taskgraft score`: one user's candidates, scored by a running service."""

from __future__ import annotations

from rich.table import Table

from client import Client
from client.requests import Id, ScoreOptions
from client.results import ScoreResult
from commands.failures import Misuse
from commands.screen import Screen, table


def score(
    screen: Screen,
    client: Client,
    wanted: tuple[str, list[str]],
    chosen: tuple[list[str] | None, list[str] | None],
) -> None:
    """Score and show; ids are read as the model's schema says, integers or strings.

    Args:
        screen: where the result goes.
        client: of the service.
        wanted: the user's id and the items'.
        chosen: tasks, and weights like like=1.5; None for all and for no ranking.
    """
    schema = client.schema()
    user = _id(wanted[0], schema.user_id_type)
    items = [_id(item, schema.item_id_type) for item in wanted[1]]
    options: ScoreOptions = {}
    if chosen[0]:
        options["tasks"] = chosen[0]
    if chosen[1]:
        options["rank"] = {"weights": _weights(chosen[1])}
    answer = client.score(user, items, **options)
    screen.show(answer, _table(answer, user, items))


def _table(answer: ScoreResult, user: Id, items: list[Id]) -> Table:
    ranking = answer.ranking
    order = list(range(len(items))) if ranking is None else [place.index for place in ranking]
    rows: list[list[object]] = [
        [str(items[at]), *(scores[at] for scores in answer.scores.values())] for at in order
    ]
    columns = ["item", *answer.scores]
    if ranking is not None:
        columns.append("weighted")
        for row, place in zip(rows, ranking, strict=True):
            row.append(place.score)
    degraded = "" if answer.degraded == "none" else f", degraded: {answer.degraded}"
    title = f"User {user}: {answer.model}, generation {answer.generation}{degraded}"
    return table(title, columns, rows)


def _weights(given: list[str]) -> dict[str, float]:
    """Read like=1 love=2.5.

    Raises:
        Misuse: another form.
    """
    weights = {}
    for text in given:
        name, _, number = text.partition("=")
        try:
            weights[name] = float(number)
        except ValueError as err:
            raise Misuse(f"--weight {text!r}; expected TASK=NUMBER, like like=1.5") from err
    return weights


def _id(text: str, kind: str) -> Id:
    if kind != "int64":
        return text
    try:
        return int(text)
    except ValueError as err:
        raise Misuse(f"{text!r} is no id of this model; its ids are integers") from err
