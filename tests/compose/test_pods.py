"""The pods of k8s/overlays/podman, really started: `podman kube play` in a network of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.compose.stack import SERVICE, TINY, build, docker
from tests.k8s.manifests import rendered
from tests.live_server import SECRET, TOKEN
from tests.service_process import ROOT

BUNDLE, REDIS = "taskgraft/bundle:dev", "redis:7.2-bookworm"
# Where podman itself runs in a container it may raise no limit and has no cgroup of version 2.
_CONFIGURATION = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
"""
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What a caller saw who scored, grafted, and scored again."""
    if shutil.which("podman") is None or shutil.which("unshare") is None:
        pytest.skip("there is no podman to run pods with")
    folder = tmp_path_factory.mktemp("pods")
    build("service", SERVICE)
    docker("build", "--quiet", "-f", "docker/bundle.Dockerfile", "-t", BUNDLE,
           "--build-arg", "BASE=debian:bookworm-slim", f"{TINY}/bundle")  # fmt: skip
    (folder / "containers.conf").write_text(_CONFIGURATION, encoding="utf-8")
    (folder / "pods.yaml").write_text(yaml.safe_dump_all(_pods()), encoding="utf-8")
    try:
        yield json.loads(_play(folder))
    finally:
        subprocess.run(["rm", "-rf", "--one-file-system", str(folder)], check=True)


def _pods() -> list[dict[str, Any]]:
    """The overlay, with a token."""
    documents = [dict(one) for one in rendered("overlays/podman")]
    for document in documents:
        if str(document["metadata"]["name"]).startswith("taskgraft-settings"):
            document["data"]["TASKGRAFT_ADMIN_TOKENS"] = TOKEN.line()
    return [one for one in documents if one["kind"] in {"Deployment", "ConfigMap"}]


def _play(folder: Path) -> str:
    script = f"""
    export CONTAINERS_CONF={folder}/containers.conf
    pod() {{
        podman --root {folder}/root --runroot {folder}/run --network-config-dir {folder}/net "$@"
    }}
    export -f pod
    docker save {SERVICE} {BUNDLE} {REDIS} | pod load --quiet >&2
    unshare --net bash -euc '
        ip link set lo up
        trap "pod logs taskgraft-pod-0-taskgraft >&2; pod kube down {folder}/pods.yaml >&2" EXIT
        pod kube play {folder}/pods.yaml >&2
        {sys.executable} -m tests.compose.visit {TINY}/share.safetensors {SECRET}'
    """
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_service_pod_scores_with_the_bundle_of_its_image(visit: dict[str, Any]) -> None:
    assert visit["before"]["scores"].keys() == {"click", "like"}


def test_a_graft_reaches_its_workers(visit: dict[str, Any]) -> None:
    assert visit["status"] == 201, visit["graft"]
    assert "share" in visit["after"]["scores"]
