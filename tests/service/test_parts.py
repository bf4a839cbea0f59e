from __future__ import annotations

import asyncio
import gc
import shutil
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast
from unittest.mock import Mock

import pytest
from structlog.testing import capture_logs

from contract.bundle import Bundle, GoldenRequest, open_bundle
from contract.errors import CorruptBundle
from contract.manifest import read_manifest
from service import prover
from service.app import Parts
from service.backbone import WantedBackbone
from service.errors import ConfigError, CorruptStore, StoreUnavailable
from service.metrics import Metrics
from service.model import Model, Running, replay_golden
from service.parts import open_parts
from service.proofs import Proofs
from service.registry import TaskRegistry
from service.settings import Settings
from service.sync import TaskFollower
from service.task_changes import graft
from service.task_directory import open_task_directory
from service.task_store import StoredPrompt
from tests.service.tiny import BUNDLE, RETRAINED, another_backbone, prompt_bytes, request, tiny


def model_of(bundle: Bundle) -> Model:
    return Model.open(bundle, Running())


def with_golden(change: Callable[[GoldenRequest], GoldenRequest]) -> Bundle:
    bundle = open_bundle(BUNDLE)
    return replace(bundle, golden=(*bundle.golden[1:], change(bundle.golden[0])))


def test_the_golden_requests_score_here_as_they_did_in_pytorch() -> None:
    bundle = open_bundle(BUNDLE)
    replay_golden(bundle, model_of(bundle))


def test_a_service_whose_scores_differ_from_pytorch_does_not_start() -> None:
    def shift(golden: GoldenRequest) -> GoldenRequest:
        scores = {task: [p + 1e-3 for p in column] for task, column in golden.scores.items()}
        return replace(golden, scores=scores)

    bundle = with_golden(shift)
    with pytest.raises(CorruptBundle, match=r"scores 0\.001 away from PyTorch"):
        replay_golden(bundle, model_of(bundle))


def test_a_golden_request_that_cannot_be_encoded_is_named() -> None:
    bundle = with_golden(lambda golden: replace(golden, request={"user_id": 1, "item_ids": [1]}))
    with pytest.raises(CorruptBundle, match="cannot be encoded: user_id"):
        replay_golden(bundle, model_of(bundle))


def settings(folder: Path) -> Settings:
    return Settings(
        bundle=BUNDLE,
        feature_store=f"embedded:{folder / 'features'}",
        task_store=str(folder / "tasks"),
    )


async def started(folder: Path, proofs: Proofs | None = None) -> Parts:
    parts = open_parts(settings(folder), Metrics(), proofs=proofs)
    await parts.start()
    return parts


async def test_a_fall_back_to_another_device_is_told(tmp_path: Path) -> None:
    metrics = Metrics()
    wanted = settings(tmp_path).model_copy(update={"providers": ("cuda", "cpu")})
    with capture_logs() as lines:
        parts = open_parts(wanted, metrics)
    await parts.stop()
    (told,) = [line for line in lines if line["event"] == "provider_fallback"]
    assert (told["log_level"], told["wanted"]) == ("warning", "cuda")
    assert b'taskgraft_provider{provider="CPUExecutionProvider"} 1.0' in metrics.exposition(None)[0]


async def test_the_real_parts_start_score_and_stop(tmp_path: Path) -> None:
    parts = await started(tmp_path)
    try:
        assert set((await parts.scorer.score(request())).scores) == {"click", "like"}
        await parts.grafting.graft("share", prompt_bytes("share"), activate=True, actor="test")
    finally:
        await parts.stop()
    again = await started(tmp_path)
    try:
        assert "share" in (await again.scorer.score(request())).scores
    finally:
        await again.stop()


async def test_siblings_take_turns_and_prove_a_graft_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replays = Mock(wraps=prover._replay)
    monkeypatch.setattr(prover, "_replay", replays)
    turns = []
    for _ in range(2):
        proofs = Proofs(tmp_path / "proofs")
        turns.append(Mock(wraps=proofs.turn))
        monkeypatch.setattr(proofs, "turn", turns[-1])
        if len(turns) == 1:
            one = await started(tmp_path, proofs)
    other = await started(tmp_path, proofs)
    try:
        await one.grafting.graft("share", prompt_bytes("share"), activate=True, actor="test")
        assert "share" in (await other.scorer.score(request())).scores
    finally:
        await other.stop()
        await one.stop()
    assert replays.call_count == 1
    assert [turn.call_count for turn in turns] == [1, 1]


async def test_after_an_upgrade_nothing_holds_the_bundle_of_the_start(tmp_path: Path) -> None:
    """Without the collector: what a process started with is frozen."""
    shutil.copytree(RETRAINED, tmp_path / "bundles" / (new := read_manifest(RETRAINED).fingerprint))
    given = settings(tmp_path).model_copy(
        update={"bundles": tmp_path / "bundles", "rollback_ready_s": 0.0}
    )
    checked = [open_bundle(BUNDLE)]
    gc.disable()
    try:
        parts = open_parts(given, Metrics(), checked.pop())
        await parts.start()
        model = cast(TaskRegistry, parts.grafting).snapshot.model
        held = [weakref.ref(part) for part in (model.encoder, model.encoder._lookups, model.engine)]
        del model
        try:
            await parts.scorer.score(request())
            await parts.backbones.upgrade(WantedBackbone(new), "test")
            await until(lambda: not any(part() for part in held))
        finally:
            await parts.stop()
    finally:
        gc.enable()


async def test_a_store_made_for_another_backbone_is_said_at_start(tmp_path: Path) -> None:
    store = open_task_directory(tmp_path / "tasks")
    foreign = prompt_bytes("share")[:-1]
    sha256 = store.put_prompt(foreign)
    stored = StoredPrompt(sha256, len(foreign), 0.0)
    store.update(lambda state: graft(state, "share", stored, "test"))
    parts = open_parts(settings(tmp_path), Metrics())
    try:
        with pytest.raises(ConfigError, match="another TASKGRAFT_TASK_STORE"):
            await parts.start()
    finally:
        await parts.stop()


class Log:
    """Collects event names."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def info(self, event: str, **fields: object) -> None:
        self.events.append(event)

    warning = info


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110  # what is awaited has no event of its own
            await asyncio.sleep(0.01)


async def test_a_follower_brings_what_another_process_grafted(tmp_path: Path) -> None:
    async with tiny(tmp_path) as one, tiny(tmp_path) as other:
        log = Log()
        follower = TaskFollower(other.registry, other.store, log)
        await follower.start()
        try:
            await one.registry.graft("skip", prompt_bytes("skip"), activate=True, actor="test")
            await until(lambda: "skip" in other.registry.snapshot)
            await one.registry.remove("skip", actor="test")
            await until(lambda: "skip" not in other.registry.snapshot)
        finally:
            await follower.stop()
        assert set(log.events) == {"tasks_followed"}


async def test_a_follower_that_cannot_follow_says_so_and_catches_up_later(tmp_path: Path) -> None:
    async with tiny(tmp_path) as one, tiny(tmp_path) as other:
        log = Log()
        follower = TaskFollower(other.registry, other.store, log)
        await follower.start()
        try:
            with another_backbone(other):
                await one.registry.graft(
                    "skip", prompt_bytes("skip"), activate=True, actor="test", wait="local"
                )
                await until(lambda: other.registry.acknowledgement().state == "behind")
                assert "skip" not in other.registry.snapshot
                assert "backbone" in other.registry.acknowledgement().reason
            await until(lambda: "skip" in other.registry.snapshot)
            await until(lambda: other.registry.acknowledgement().state == "serving")
        finally:
            await follower.stop()
        assert set(log.events) == {"tasks_not_followed", "tasks_followed"}


async def test_a_worker_that_is_started_waits_for_a_store_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.sync._RETRY_S", 0.01)
    async with tiny(tmp_path) as world:
        log, read = Log(), world.store.read
        away = Mock(side_effect=StoreUnavailable("it is away"))
        monkeypatch.setattr(world.store, "read", away)
        follower = TaskFollower(world.registry, world.store, log)
        starting = asyncio.create_task(follower.start())
        await until(lambda: away.call_count > 2)
        assert not starting.done()
        assert world.registry.acknowledgement().reason == "it is away"
        monkeypatch.setattr(world.store, "read", read)
        await starting
        assert world.registry.acknowledgement().state == "serving"
        assert log.events == ["tasks_not_followed"]
        await follower.stop()


async def test_a_store_that_went_back_is_said_and_what_is_known_is_served_on(
    tmp_path: Path,
) -> None:
    async with tiny(tmp_path / "one") as world, tiny(tmp_path / "other") as emptied:
        await world.registry.graft("skip", prompt_bytes("skip"), activate=True, actor="test")
        world.registry._store = emptied.store
        follower = TaskFollower(world.registry, emptied.store, Log())
        await follower.start()
        try:
            await until(lambda: "went back" in world.registry.acknowledgement().reason)
            with pytest.raises(CorruptStore, match="from generation 1 to 0"):
                await world.registry.remove("skip", actor="test")
            assert "skip" in await world.scores()
            assert emptied.store.generation() == 0
        finally:
            await follower.stop()
