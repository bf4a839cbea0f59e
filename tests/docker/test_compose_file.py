"""docker/ against the code: what it sets exists, what it waits for is long enough."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service.settings import Settings
from tests.docker.files import LAST_GRACE_S, VARIABLES, compose_file, variables_in
from tests.service_process import ROOT

DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
FIELDS = Settings.model_fields


@pytest.mark.parametrize(
    "file", [*DOCKERFILES, ROOT / "docker" / "compose.yaml"], ids=lambda p: p.name
)
def test_every_variable_it_names_is_one_the_code_reads(file: Path) -> None:
    assert variables_in(file) <= VARIABLES


def test_a_container_is_given_time_to_drain() -> None:
    given_s = int(compose_file()["services"]["taskgraft"]["stop_grace_period"].removesuffix("s"))
    assert given_s > FIELDS["drain_s"].default + FIELDS["shutdown_s"].default + LAST_GRACE_S


def test_it_publishes_what_the_service_listens_on_to_this_machine_alone() -> None:
    ports = compose_file()["services"]["taskgraft"]["ports"]
    inside = [int(port.rsplit(":", 1)[1]) for port in ports]
    assert inside == [FIELDS["port"].default, FIELDS["admin_port"].default]
    published = [p for s in compose_file()["services"].values() for p in s.get("ports", ())]
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_bundles_of_upgrades_lie_in_a_volume_that_outlives_the_container() -> None:
    service = compose_file()["services"]["taskgraft"]
    places = [volume.split(":")[-2] for volume in service["volumes"]]
    bundles = service["environment"]["TASKGRAFT_BUNDLES"]
    assert any(bundles.startswith(f"{place}/") for place in places)


def test_every_container_is_confined_and_bounded() -> None:
    for name, service in compose_file()["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {"mem_limit", "pids_limit"} <= service.keys(), name
        assert service.get("read_only") or name == "grafana", name


def test_nothing_in_it_is_a_secret() -> None:
    """Whatever could be one comes from the caller's environment."""
    for name, service in compose_file()["services"].items():
        for variable, value in service.get("environment", {}).items():
            secret = re.search("TOKEN|PASSWORD|SECRET", variable)
            assert not secret or re.fullmatch(r"\$\{\w+:-\}", value), f"{name}: {variable}"


@pytest.mark.parametrize("name", ["service", "service-gpu"])
def test_a_serving_image_copies_nothing_that_learns(name: str) -> None:
    text = (ROOT / "docker" / f"{name}.Dockerfile").read_text(encoding="utf-8")
    copied = set(re.findall(r"(?m)^COPY (\w+(?:\.py)?) ", text))
    assert copied == {"contract", "service", "client", "commands", "taskgraft.py"}
