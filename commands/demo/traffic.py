"""Scores as bytes, and a caller that never stops asking while tasks change.

requests --ask--> Answer: each task's scores as the JSON text and as float32 bytes
Traffic (a thread) --ask, compare--> how many answers, failures, answers that moved
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httpx
import numpy as np

_SCORES = b'"scores":{'


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer's scores.

    Attributes:
        texts: task to the JSON array as it stood in the answer.
    """

    generation: int
    texts: Mapping[str, bytes]

    def floats(self, task: str) -> bytes:
        """The scores as float32 bytes."""
        numbers = [float(number) for number in self.texts[task][1:-1].split(b",")]
        return np.array(numbers, dtype=np.float32).tobytes()

    def same(self, other: Answer, tasks: Sequence[str]) -> bool:
        """Whether the tasks' scores are equal as text and as bytes."""
        return all(
            self.texts[task] == other.texts[task] and self.floats(task) == other.floats(task)
            for task in tasks
        )


def ask(http: httpx.Client, url: str, request: Mapping[str, object]) -> Answer:
    """Score once, by plain HTTP.

    Raises:
        httpx.HTTPError: no answer, or a refusal.
    """
    response = http.post(f"{url}/v1/score", json=request)
    response.raise_for_status()
    body = response.content
    document = response.json()
    start = body.index(_SCORES) + len(_SCORES)
    texts = {}
    for task in document["scores"]:
        found = re.compile(rb'"%s":(\[[^\]]*\])' % task.encode()).search(body, start)
        if found is None:
            raise httpx.DecodingError(f"the scores of {task} are no array of numbers")
        texts[task] = found[1]
    return Answer(document["generation"], texts)


@dataclass(slots=True)
class Seen:
    """What the traffic met.

    Attributes:
        moved: answers in which an old task's score was not the very same.
    """

    answers: int = 0
    failures: list[str] = field(default_factory=list)
    moved: int = 0
    generations: set[int] = field(default_factory=set)


class Traffic:
    """Asks the same request again and again on a thread of its own, and compares."""

    def __init__(self, url: str, request: Mapping[str, object], expected: Answer) -> None:
        self.seen = Seen()
        self._url = url
        self._request = request
        self._expected = expected
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-traffic", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        old = tuple(self._expected.texts)
        with httpx.Client(trust_env=False) as http:
            while not self._stop.is_set():
                try:
                    answer = ask(http, self._url, self._request)
                except (httpx.HTTPError, ValueError, KeyError) as err:
                    self.seen.failures.append(f"{type(err).__name__}: {err}")
                    continue
                self.seen.answers += 1
                self.seen.generations.add(answer.generation)
                self.seen.moved += not answer.same(self._expected, old)
