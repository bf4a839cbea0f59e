"""Another backbone on real workers: all of it or nothing, whoever dies when."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from client import Client
from client.errors import Refused
from commands import upgrade as command
from commands.screen import Screen
from contract.manifest import read_manifest
from service.signatures import SecretKey
from tests.e2e.test_workers import traffic, whole
from tests.live_server import ADMIN, SECRET
from tests.service.tiny import BUNDLE, RETRAINED, prompt_bytes, retrained_prompt
from tests.service_process import PROMPT, ServiceProcess, until

OLD, NEW = read_manifest(BUNDLE).fingerprint, read_manifest(RETRAINED).fingerprint
KILLS = 3


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    shutil.copytree(RETRAINED, folder / NEW)
    return folder


@pytest.fixture
def service(tmp_path: Path, bundles: Path) -> Iterator[ServiceProcess]:
    with ServiceProcess(BUNDLE, tmp_path, workers=2, bundles=bundles) as running:
        running.put("share", prompt_bytes("share")).raise_for_status()
        yield running


def upgrade(service: ServiceProcess, **changes: object) -> httpx.Response:
    body = retrained_prompt("share")
    sha256 = hashlib.sha256(body).hexdigest()
    url = f"{service.admin}/v1/prompts/{sha256}"
    httpx.put(url, content=body, headers=PROMPT, timeout=60).raise_for_status()
    wanted = {"fingerprint": NEW, "prompts": {"share": sha256}} | changes
    return httpx.put(f"{service.admin}/v1/backbone", json=wanted, headers=ADMIN, timeout=120)


def rollback(service: ServiceProcess) -> httpx.Response:
    return httpx.post(f"{service.admin}/v1/backbone/rollback", headers=ADMIN, timeout=120)


def test_the_command_brings_the_bundle_the_signed_prompts_and_the_way_back(tmp_path: Path) -> None:
    """Into an empty folder that the service looks into; a signature lies beside its prompt."""
    bundles, key = tmp_path / "bundles", SecretKey.new()
    prompt = tmp_path / "share.safetensors"
    prompt.write_bytes(retrained_prompt("share"))
    signing = {"require_signature": True, "trusted_keys": key.trusted("ops").line()}
    with (
        ServiceProcess(BUNDLE, tmp_path, bundles=bundles, **signing) as service,
        Client(service.public, service.admin, SECRET, timeout_s=60) as client,
    ):
        first = prompt_bytes("share")
        client.graft("share", first, signature=key.sign(first, "").encode())
        before = service.score().json()["scores"]
        screen = Screen(as_json=True)
        with pytest.raises(Refused, match="would not serve share"):
            command.upgrade(screen, client, RETRAINED, [], (bundles, []))
        with pytest.raises(Refused, match="not signed"):
            command.upgrade(screen, client, RETRAINED, [prompt], (bundles, []))
        signature = prompt.with_name("share.safetensors.minisig")
        signature.write_text(key.sign(prompt.read_bytes(), ""), encoding="utf-8")
        command.upgrade(screen, client, RETRAINED, [prompt], (bundles, []))
        assert client.backbone().fingerprint == NEW
        assert service.score().json()["tasks"]["share"]["version"] == 2
        command.rollback(screen, client)
        assert client.backbone().previous == NEW
        assert service.score().json()["scores"] == before


def world(answer: dict[str, Any]) -> tuple[str, str]:
    """What an answer says scored: backbone and versions."""
    return answer["model"], str(answer["tasks"])


def test_upgrades_and_rollbacks_under_load_fail_nobody_and_mix_nothing(
    service: ServiceProcess,
) -> None:
    with traffic(service.score, keep_alive=True) as heard:
        assert upgrade(service).status_code == 200
        for _ in range(4):
            assert rollback(service).status_code == 200
    assert {getattr(answer, "status_code", answer) for answer in heard} == {200}
    scores: dict[tuple[str, str], str] = {}
    generations: dict[int, str] = {}
    for answer in (one.json() for one in heard):
        assert scores.setdefault(world(answer), str(answer["scores"])) == str(answer["scores"])
        model = generations.setdefault(answer["generation"], answer["model"])
        assert model == answer["model"]
    models = {model.partition("@")[2] for model, _ in scores}
    assert models == {OLD[:12], NEW[:12]}
    assert len(scores) == len(set(scores.values())) == 2


def test_a_wrong_prompt_or_a_missing_bundle_changes_nothing(service: ServiceProcess) -> None:
    before = service.score().json()
    old = hashlib.sha256(prompt_bytes("share")).hexdigest()
    for changes, status, code in (
        ({"prompts": {"share": old}}, 409, "prompt_refused"),
        ({"prompts": {}}, 409, "uncovered_tasks"),
        ({"prompts": {"share": "0" * 64}}, 422, "invalid_field"),
        ({"fingerprint": "0" * 64}, 404, "unknown_backbone"),
        ({"fingerprint": "../" + "0" * 61}, 422, "invalid_field"),
    ):
        answer = upgrade(service, **changes)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    for after in service.answers_of_each():
        assert (after["generation"], after["scores"]) == (before["generation"], before["scores"])


def test_workers_killed_at_any_moment_of_an_upgrade_end_in_one_whole_state(
    service: ServiceProcess,
) -> None:
    rng = random.Random()
    known: dict[tuple[str, str], str] = {}
    for _ in range(KILLS):
        until(lambda: whole(service))
        pids = service.pids()
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(upgrade, service)
            time.sleep(rng.random() * 0.15)
            os.kill(rng.choice(pids), signal.SIGKILL)
            with suppress(httpx.TransportError):
                assert call.result(timeout=120).status_code in {200, 409, 503}
        until(lambda: whole(service))
        one, other = service.answers_of_each()
        assert (world(one), one["scores"]) == (world(other), other["scores"])
        assert known.setdefault(world(one), str(one["scores"])) == str(one["scores"])
        if one["model"].endswith(NEW[:12]):
            rollback(service).raise_for_status()


def test_a_restart_restores_the_backbone_and_waits_for_its_bundle(
    service: ServiceProcess, bundles: Path
) -> None:
    upgrade(service).raise_for_status()
    scores = service.score().json()["scores"]
    service.process.kill()
    service.ended()
    away = bundles.with_name("away")
    bundles.rename(away)
    service.spawn()
    until(lambda: service.told("tasks_not_followed"))
    service.public = service.told("listening")[0]["public"]
    answer = httpx.get(f"{service.public}/readyz", timeout=30)
    assert answer.status_code == 503
    assert f"no bundle with backbone {NEW[:12]}" in answer.json()["reason"]
    away.rename(bundles)
    until(lambda: len(service.told("ready")) == 2)
    service.admin = service.told("listening")[0]["admin"]
    for again in service.answers_of_each():
        assert again["scores"] == scores
