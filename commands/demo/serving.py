"""The serving half of the story: score a real user, post an event, graft while scoring goes on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import httpx

from client import Client
from commands.demo.claims import Claims
from commands.demo.people import People
from commands.demo.process import ServiceProcess
from commands.demo.traffic import Answer, Traffic, ask
from commands.screen import Screen, indented, table

WITNESSES = 20  # users whose scores are compared
GRAFT_LIMIT_MS = 100
_SHOWN = 5
_AROUND_S = 1.0  # of traffic before and after the graft
Requests = Mapping[int, Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Visit:
    """A running service and the people who ask it."""

    screen: Screen
    claims: Claims
    service: ServiceProcess
    people: People

    def say(self, text: str) -> None:
        self.screen.out.print(indented(text))

    def score(self, user: int) -> None:
        """Rank a real user's candidates."""
        candidates = self.people.candidates(user)
        with Client(self.service.url) as client:
            client.score(user, candidates)  # the first call opens the connection
            started = perf_counter()
            answer = client.score(
                user, candidates, rank={"weights": {"like": 1.0}, "top_k": _SHOWN}
            )
            took_ms = (perf_counter() - started) * 1000
        self.say(f"user {user} liked lately: {'; '.join(self.people.liked_lately(user, 3))}")
        rows = []
        for place in answer.ranking or ():
            scores = [of_task[place.index] for of_task in answer.scores.values()]
            rows.append((self.people.title(candidates[place.index]), *scores))
        self.say(f"{len(candidates)} unseen candidates ranked in {took_ms:.1f} ms, best first:")
        self.screen.out.print(table("", ("movie", *answer.scores), rows))
        self.claims.check(
            "the histories come from the feature store",
            f"degraded: {answer.degraded}",
            holds=answer.degraded == "none",
        )

    def post_event(self, user: int) -> None:
        """Tell the service what the user did; the next score knows."""
        candidates = self.people.candidates(user)
        movie, rest = candidates[-1], candidates[:-1]
        with httpx.Client(trust_env=False) as http, Client(self.service.url) as client:
            request = {"user_id": user, "item_ids": rest}
            before = ask(http, self.service.url, request)
            client.events(
                [{"user_id": user, "item_id": movie, "behaviour": "liked", "ts": int(time.time())}]
            )
            after = ask(http, self.service.url, request)
        pairs = zip(_numbers(before, "like"), _numbers(after, "like"), strict=True)
        moved = max(abs(then - now) for then, now in pairs)
        self.claims.check(
            "the next score sees an event",
            f"user {user} liked {self.people.title(movie)}; scores of like moved by up to "
            f"{moved:.4f}",
            holds=moved > 0,
        )

    def graft(self, name: str, file: Path) -> None:
        """Graft under traffic, with every old score compared as bytes."""
        url, prompt = self.service.url, file.read_bytes()
        users = self.people.latest(WITNESSES)
        requests: Requests = {
            user: {"user_id": user, "item_ids": self.people.candidates(user)} for user in users
        }
        admin = Client(url, self.service.admin_url, self.service.token)
        with httpx.Client(trust_env=False) as http, admin:
            before = {user: ask(http, url, request) for user, request in requests.items()}
            admin.workers()  # opens the connection to the admin port
            first = requests[users[0]]
            with Traffic(url, first, before[users[0]]) as traffic:
                time.sleep(_AROUND_S)
                counted = traffic.seen.answers
                started = perf_counter()
                change = admin.graft(name, prompt)
                put_ms = (perf_counter() - started) * 1000
                fresh = ask(http, url, {**first, "tasks": [name]})
                first_ms = (perf_counter() - started) * 1000
                during = traffic.seen.answers - counted
                time.sleep(_AROUND_S)
            after = {user: ask(http, url, request) for user, request in requests.items()}
        self.say(
            f"PUT /v1/tasks/{name}: version {change.version}, generation {change.generation}, "
            f"{change.took_ms:.1f} ms in the service, {put_ms:.1f} ms as the caller saw it"
        )
        self.say("checked: " + ", ".join(f"{k} {_short(v)}" for k, v in change.checks.items()))
        self._judge_graft(name, fresh, first_ms)
        self._judge_traffic(traffic, during)
        self._judge_old(before, after, name)

    def _judge_graft(self, name: str, fresh: Answer, first_ms: float) -> None:
        scores = _numbers(fresh, name)
        # A clock on a busy machine is no proof of anything: shown, but it fails no story.
        judged = "met" if first_ms <= GRAFT_LIMIT_MS else "missed this time"
        self.say(
            f"from PUT to the first score of {name}: {first_ms:.1f} ms (goal: {GRAFT_LIMIT_MS} ms, "
            f"{judged})"
        )
        self.claims.check(
            f"{name} is scored on the running service",
            f"{len(scores)} scores from {min(scores):.3f} to {max(scores):.3f}",
            holds=all(0.0 < score < 1.0 for score in scores),
        )

    def _judge_traffic(self, traffic: Traffic, during: int) -> None:
        seen = traffic.seen
        self.claims.check(
            "no score failed or moved while the task was grafted",
            f"{seen.answers:,} answers around it, {during} of them meanwhile, "
            f"{len(seen.failures)} failures, {seen.moved} moved"
            + (f" (first: {seen.failures[0]})" if seen.failures else ""),
            holds=seen.answers > 0 and not seen.failures and not seen.moved,
        )

    def _judge_old(
        self, before: Mapping[int, Answer], after: Mapping[int, Answer], name: str
    ) -> None:
        old = tuple(next(iter(before.values())).texts)
        equal = all(before[user].same(after[user], old) for user in before)
        count = sum(len(_numbers(before[user], task)) for user in before for task in old)
        added = all(name in answer.texts for answer in after.values())
        self.claims.check(
            f"every score of {' and '.join(old)} is the same as before, as JSON text and as bytes",
            f"{count:,} scores of {len(before)} users " + ("equal" if equal else "NOT equal"),
            holds=equal and added,
        )


def _numbers(answer: Answer, task: str) -> list[float]:
    return [float(number) for number in answer.texts[task][1:-1].split(b",")]


def _short(found: object) -> str:
    return f"{found:.1e}" if isinstance(found, float) else str(found)
