"""The blocking client. Safe to share between threads.

Client.score(...) --calls.py--> Call --tries--> ScoreResult | ClientError
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from ssl import SSLContext
from types import TracebackType
from typing import Literal, Self, TypeVar, Unpack

import httpx

from client import calls, results
from client.calls import Call
from client.doors import DEFAULT_TIMEOUT_S, Doors, lost, reply_of
from client.errors import ClientError, Unavailable
from client.requests import Event, Id, RoutingOptions, ScoreOptions

Result = TypeVar("Result")


class Client:
    """A taskgraft service.

    Args:
        base_url: of the public port, like http://127.0.0.1:8000.
        admin_url: of the admin port; needed, with a token, by graft, rollback, route, routing,
            drift, remove, history, audit, workers, backbone, upgrade and rollback_backbone.
        timeout_s: what one call may take, its further tries included; only an answer that comes
            in drops can stretch it.
        tls: whom to trust and what to show, for addresses with https; the public authorities and
            nothing by default.

    Every method, and this one, raises ClientError; client/errors.py draws the tree.
    """

    def __init__(
        self,
        base_url: str,
        admin_url: str | None = None,
        token: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        tls: SSLContext | None = None,
    ) -> None:
        self._doors = Doors(base_url, admin_url, token, timeout_s)
        self._http = httpx.Client(
            trust_env=self._doors.trust_env, verify=True if tls is None else tls
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def score(
        self, user_id: Id, item_ids: Sequence[Id], **options: Unpack[ScoreOptions]
    ) -> results.ScoreResult:
        """One user's candidates for all live tasks, or those named."""
        return self._send(calls.score(user_id, item_ids, options))

    def events(self, batch: Sequence[Event]) -> results.Accepted:
        """Append to behaviour sequences; the next score of those users sees it."""
        return self._send(calls.events(batch))

    def tasks(self) -> results.Tasks:
        return self._send(calls.tasks())

    def task(self, name: str) -> results.Task:
        return self._send(calls.task(name))

    def schema(self) -> results.Schema:
        return self._send(calls.schema())

    def ready(self) -> bool:
        """Whether the service takes scores now; False also when nothing answers."""
        try:
            self._send(calls.ready())
        except Unavailable:
            return False
        return True

    def graft(
        self,
        name: str,
        data: bytes,
        *,
        activate: bool = True,
        wait: Literal["all", "local"] = "all",
        signature: bytes | None = None,
    ) -> results.Change:
        """Put a prompt file's bytes under a task's name.

        Args:
            name: of the task.
            data: the prompt file.
            activate: whether it scores at once.
            wait: for all workers alive, or for one.
            signature: the content of its .minisig file.

        Raises:
            Refused: it does not fit or scores otherwise than promised; nothing changed anywhere.
        """
        return self._send(calls.graft(name, data, signature, activate=activate, wait=wait))

    def rollback(self, name: str, version: int | None = None) -> results.Change:
        """Back to a version; by default to the stable one from its canary, else the one before."""
        return self._send(calls.rollback(name, version))

    def route(
        self,
        name: str,
        *,
        wait: Literal["all", "local"] = "all",
        **wanted: Unpack[RoutingOptions],
    ) -> results.Routed:
        """Choose the stable version, a canary and a shadow; nothing but the name: stable alone."""
        return self._send(calls.route(name, wanted, wait=wait))

    def routing(self, name: str) -> results.Routing:
        return self._send(calls.routing(name))

    def drift(self, name: str) -> results.Drift:
        """How far canary and shadow are from the stable version."""
        return self._send(calls.drift(name))

    def remove(self, name: str) -> results.Change:
        return self._send(calls.remove(name))

    def history(self, name: str, *, limit: int = 100, before: int | None = None) -> results.History:
        """What happened to a task: the newest `limit` changes, of those before a generation."""
        return self._send(calls.history(name, limit, before))

    def audit(self, *, limit: int = 100, before: int | None = None) -> results.Audit:
        """What happened to all tasks, as history."""
        return self._send(calls.audit(limit, before))

    def backbone(self) -> results.Backbone:
        return self._send(calls.backbone())

    def upgrade(
        self,
        fingerprint: str,
        prompts: Mapping[str, bytes],
        drop: Sequence[str] = (),
        signatures: Mapping[str, bytes] | None = None,
    ) -> results.BackboneChange:
        """Let a backbone that the hosts hold score, with prompt files tuned on it, by task.

        Loading may take longer than other calls: give the client a timeout_s to match.

        Args:
            fingerprint: of the backbone.
            prompts: the files.
            drop: live tasks that may end with it.
            signatures: by task, the content of the prompt's .minisig file.

        Raises:
            Refused: it does not fit, or live tasks would end that drop does not name.
            Unavailable: a worker cannot serve it; nothing changed anywhere.
        """
        signed = signatures or {}
        digests = {}
        for task, data in prompts.items():
            self._send(calls.upload(data, signed.get(task)))
            digests[task] = calls.digest(data)
        return self._send(calls.upgrade(fingerprint, digests, drop, signed))

    def rollback_backbone(self) -> results.BackboneChange:
        """Back to the backbone before the last upgrade, and the versions that scored then."""
        return self._send(calls.rollback_backbone())

    def workers(self) -> results.Workers:
        return self._send(calls.workers())

    def _send(self, call: Call[Result]) -> Result:
        attempts = self._doors.attempts(call)
        while True:
            try:
                return self._once(call, attempts.left_s())
            except ClientError as err:
                time.sleep(attempts.pause_s(err))

    def _once(self, call: Call[Result], left_s: float) -> Result:
        request = self._doors.request(call, self._http, left_s)
        try:
            response = self._http.send(request)
        except httpx.HTTPError as err:
            raise lost(request, err) from err
        return call.read(reply_of(response))
