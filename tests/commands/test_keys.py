"""Signing from the command line, for a real service that asks for signatures and certificates."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from pathlib import Path

import httpx

from service.signatures import read_trusted_key
from tests.certificates import Authority, Pair
from tests.live_server import ADMIN, SECRET
from tests.service.tiny import BUNDLE, prompt_bytes
from tests.service_process import ROOT, ServiceProcess


def taskgraft(folder: Path, *words: str, **variables: str) -> tuple[int, str]:
    """Exit code, and standard output or the sentence on standard error."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "taskgraft.py"), *words],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout or done.stderr


def test_a_key_is_made_for_its_owner_alone_and_never_overwritten(tmp_path: Path) -> None:
    code, told = taskgraft(tmp_path, "keys", "new", "ops", "--json")
    assert code == 0
    assert read_trusted_key(json.loads(told)["trusted_keys"]).name == "ops"
    assert (tmp_path / "ops.key").stat().st_mode & 0o777 == 0o600
    before = (tmp_path / "ops.key").read_bytes()
    code, told = taskgraft(tmp_path, "keys", "new", "ops")
    assert code == 1
    assert "exists" in told
    assert (tmp_path / "ops.key").read_bytes() == before


def test_a_signed_prompt_is_grafted_onto_workers_that_ask_for_one_over_mutual_tls(
    tmp_path: Path,
) -> None:
    _, told = taskgraft(tmp_path, "keys", "new", "ops", "--json")
    prompt = tmp_path / "share.safetensors"
    prompt.write_bytes(prompt_bytes("share"))
    authority = Authority(tmp_path)
    server, caller = authority.certificate("server"), authority.certificate("caller")
    variables = {
        "tls_cert": server.certificate,
        "tls_key": server.key,
        "admin_tls_client_ca": authority.file,
        "trusted_keys": json.loads(told)["trusted_keys"],
        "require_signature": True,
    }
    with (
        ServiceProcess(BUNDLE, tmp_path, workers=2, **variables) as service,
        caller_of(service, authority, caller) as client,
    ):
        unsigned = client.put("/v1/tasks/share", content=prompt.read_bytes())
        assert unsigned.status_code == 422
        assert unsigned.json()["error"]["reason"] == "unsigned"
        code, told = taskgraft(tmp_path, "sign", str(prompt), "--key", "ops.key")
        assert (code, told.strip()) == (0, f"{prompt}.minisig")
        code, told = taskgraft(
            tmp_path,
            *("tasks", "graft", "share", str(prompt), "--json"),
            TASKGRAFT_ADMIN_URL=service.admin,
            TASKGRAFT_TOKEN=SECRET,
            TASKGRAFT_CA=str(authority.file),
            TASKGRAFT_CLIENT_CERT=str(caller.certificate),
            TASKGRAFT_CLIENT_KEY=str(caller.key),
        )
        assert code == 0, told
        assert json.loads(told)["checks"]["signature"] == "ops"
        workers = client.get("/v1/workers").json()["workers"]
        assert [worker["state"] for worker in workers] == ["serving"] * 2
        history = client.get("/v1/tasks/share/history").json()["history"]
        assert "signed by ops" in [change["detail"] for change in history]


def caller_of(service: ServiceProcess, authority: Authority, own: Pair) -> httpx.Client:
    context = ssl.create_default_context(cafile=str(authority.file))
    context.load_cert_chain(own.certificate, own.key)
    return httpx.Client(base_url=service.admin, headers=ADMIN, verify=context, timeout=60)
