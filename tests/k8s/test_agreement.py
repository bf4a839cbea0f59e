"""The manifests and the code agree: ports, paths, variables, names, times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from service.app import create_service
from service.settings import Settings
from taskgraft import app as command
from tests.docker.files import LAST_GRACE_S, VARIABLES, Document, variables_in
from tests.fakes import FakeParts
from tests.k8s.manifests import (
    JOBS,
    K8S,
    OVERLAYS,
    containers,
    named,
    of_kind,
    pod_templates,
    rendered,
)
from tests.live_server import documents, settings_for_tests

PUBLIC, _ = documents(create_service(settings_for_tests(), FakeParts().open))
FILES = [path for path in sorted(K8S.rglob("*")) if path.suffix in {".yaml", ".env"}]
IN_CLUSTERS = [name for name in OVERLAYS if name != "podman"]
VERBS: Any = get_command(command)


def service_pod(overlay: str) -> Document:
    found: Document = named(rendered(f"overlays/{overlay}"), "Deployment", "taskgraft")["spec"]
    return found


def settings_of(overlay: str) -> Settings:
    """As a pod reads them; what a secret holds is made up."""
    maps = of_kind(rendered(f"overlays/{overlay}"), "ConfigMap")
    (data,) = [m["data"] for m in maps if m["metadata"]["name"].startswith("taskgraft-settings")]
    given = {name.removeprefix("TASKGRAFT_").lower(): value for name, value in data.items()}
    return Settings.model_validate({"bundle": "/models/bundle", **given})


def container_of(overlay: str) -> Document:
    (found,) = service_pod(overlay)["template"]["spec"]["containers"]
    container: Document = found
    return container


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(K8S).as_posix())
def test_every_variable_they_name_is_one_the_code_reads(path: Path) -> None:
    assert variables_in(path) <= VARIABLES


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_ports_are_those_it_listens_on(overlay: str) -> None:
    settings = settings_of(overlay)
    ports = {port["name"]: port["containerPort"] for port in container_of(overlay)["ports"]}
    assert ports == {"http": settings.port, "admin": settings.admin_port}
    assert settings.admin_host == settings.host == "0.0.0.0"


@pytest.mark.parametrize("overlay", IN_CLUSTERS)
def test_the_probes_ask_paths_that_exist(overlay: str) -> None:
    container = container_of(overlay)
    asked = {name: container[name]["httpGet"]["path"] for name in container if "Probe" in name}
    assert asked.pop("livenessProbe") == "/livez"
    assert set(asked.values()) <= {"/readyz"}
    assert {"/livez", "/readyz", "/metrics"} <= PUBLIC["paths"].keys()


@pytest.mark.parametrize("overlay", IN_CLUSTERS)
def test_a_pod_is_given_time_to_drain(overlay: str) -> None:
    settings, pod = settings_of(overlay), service_pod(overlay)["template"]["spec"]
    ahead_s = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    needed_s = ahead_s + settings.drain_s + settings.shutdown_s + LAST_GRACE_S
    assert pod["terminationGracePeriodSeconds"] > needed_s


@pytest.mark.parametrize("overlay", IN_CLUSTERS)
def test_everything_that_selects_finds_the_pods(overlay: str) -> None:
    documents, pod = rendered(f"overlays/{overlay}"), service_pod(overlay)["template"]
    labels = pod["metadata"]["labels"].items()
    names = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
    for name in ("taskgraft", "taskgraft-admin"):
        service = named(documents, "Service", name)["spec"]
        assert service["selector"].items() <= labels
        assert {port["targetPort"] for port in service["ports"]} <= names
    budget = named(documents, "PodDisruptionBudget", "taskgraft")["spec"]
    policy = named(documents, "NetworkPolicy", "taskgraft")["spec"]
    assert budget["selector"]["matchLabels"].items() <= labels
    assert policy["podSelector"]["matchLabels"].items() <= labels
    for spread in pod["spec"]["topologySpreadConstraints"]:
        assert spread["labelSelector"]["matchLabels"].items() <= labels


@pytest.mark.parametrize("overlay", ["prod-cpu", "prod-gpu"])
def test_prometheus_scrapes_the_public_service_alone(overlay: str) -> None:
    documents = rendered(f"overlays/{overlay}")
    monitor = named(documents, "ServiceMonitor", "taskgraft")["spec"]
    wanted = monitor["selector"]["matchLabels"].items()
    found = [s for s in of_kind(documents, "Service") if wanted <= s["metadata"]["labels"].items()]
    assert [service["metadata"]["name"] for service in found] == ["taskgraft"]
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] in {port["name"] for port in found[0]["spec"]["ports"]}
    assert endpoint["path"] in PUBLIC["paths"]


def test_the_graft_job_may_pass_the_network_policy() -> None:
    policy = named(rendered("overlays/prod-cpu"), "NetworkPolicy", "taskgraft")["spec"]
    (admin,) = [rule for rule in policy["ingress"] if "from" in rule]
    allowed = admin["from"][0]["podSelector"]["matchLabels"].items()
    (template,) = pod_templates(rendered("jobs/graft"))
    assert allowed <= template["metadata"]["labels"].items()
    job = template["spec"]["containers"][0]
    (url,) = [v["value"] for v in job["env"] if v["name"] == "TASKGRAFT_ADMIN_URL"]
    assert url == "http://taskgraft-admin:8001"


@pytest.mark.parametrize("folder", [*(f"jobs/{n}" for n in JOBS), "overlays/prod-cpu"])
def test_what_the_containers_run_are_verbs_of_the_command(folder: str) -> None:
    for template in pod_templates(rendered(folder)):
        for container in containers(template):
            if "command" not in container:
                verb, *given = container["args"]
                form = VERBS.commands[verb]
                form = form.commands[given.pop(0)] if hasattr(form, "commands") else form
                form.make_context(verb, given, resilient_parsing=False).close()


def test_a_gpu_pod_has_a_gpu_and_starts_on_no_other_device() -> None:
    container = container_of("prod-gpu")
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert settings_of("prod-gpu").providers == ("cuda",)
    assert container["image"].rpartition("/")[2].startswith("service-gpu:")


@pytest.mark.parametrize("overlay", ["prod-cpu", "prod-gpu"])
def test_the_bundles_of_upgrades_lie_in_a_claim_that_it_only_reads(overlay: str) -> None:
    container = container_of(overlay)
    (place,) = [v["value"] for v in container["env"] if v["name"] == "TASKGRAFT_BUNDLES"]
    (mount,) = [m for m in container["volumeMounts"] if place.startswith(m["mountPath"])]
    volumes = service_pod(overlay)["template"]["spec"]["volumes"]
    (claim,) = [v["persistentVolumeClaim"] for v in volumes if v["name"] == mount["name"]]
    assert mount["readOnly"] is claim["readOnly"] is True


def test_the_secrets_it_reads_are_those_the_document_makes() -> None:
    given = container_of("prod-cpu")["env"]
    keys = [v["valueFrom"]["secretKeyRef"] for v in given if "valueFrom" in v]
    assert [(key["name"], key["key"]) for key in keys] == [
        ("taskgraft-stores", "features"),
        ("taskgraft-stores", "tasks"),
        ("taskgraft-admin", "tokens"),
    ]
