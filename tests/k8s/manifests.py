"""The manifests, rendered by kustomize or as they lie there.

k8s/overlays/NAME --rendered--> objects      k8s/**/*.yaml --plain--> objects that are whole
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docker.files import Document, read_yaml
from tests.service_process import ROOT

K8S = ROOT / "k8s"
OVERLAYS = ("dev", "podman", "prod-cpu", "prod-gpu")
JOBS = ("data", "train", "export", "graft")
FOLDERS = (*(f"overlays/{name}" for name in OVERLAYS), *(f"jobs/{name}" for name in JOBS))
# The Prometheus operator's own kinds; kubernetes-validate has no schema for them.
OPERATOR = {"ServiceMonitor", "PrometheusRule"}


@cache
def rendered(folder: str) -> tuple[Document, ...]:
    """What `kubectl kustomize k8s/FOLDER` gives."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("there is no kubectl to render overlays with")
    run = subprocess.run(
        [kubectl, "kustomize", str(K8S / folder)], check=False, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return tuple(one for one in yaml.safe_load_all(run.stdout) if one)


def plain() -> Iterator[tuple[Path, Document]]:
    """Files that are whole objects by themselves: no kustomizations, no components' patches."""
    for path in sorted(K8S.rglob("*.yaml")):
        patch = path.name == "deployment.yaml" and "components" in path.parts
        if path.name != "kustomization.yaml" and not patch:
            for document in read_yaml(path):
                yield path, document


def of_kind(documents: tuple[Document, ...], kind: str) -> list[Document]:
    return [one for one in documents if one["kind"] == kind]


def named(documents: tuple[Document, ...], kind: str, name: str) -> Document:
    (found,) = [one for one in of_kind(documents, kind) if one["metadata"]["name"] == name]
    return found


def pod_templates(documents: tuple[Document, ...]) -> list[Document]:
    return [one["spec"]["template"] for one in documents if "template" in one.get("spec", {})]


def containers(template: Document) -> list[Document]:
    spec: dict[str, Any] = template["spec"]
    return [*spec.get("initContainers", ()), *spec["containers"]]
