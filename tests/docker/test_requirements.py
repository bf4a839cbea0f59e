"""The pinned lists that the images install, against pyproject.toml."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.service_process import ROOT

EXTRAS = {
    "service": ("service", "client", "otel", "cpu"),
    "service-gpu": ("service", "client", "otel", "gpu"),
    "training": ("service", "client", "cpu", "training", "export"),
}
# Its build is whoever builds the image's choice; training.Dockerfile pins the version.
APART = {"torch"}


def pins(name: str) -> dict[str, Version]:
    text = (ROOT / "docker" / f"{name}.txt").read_text(encoding="utf-8")
    found = re.findall(r"(?m)^([A-Za-z0-9._-]+)==(\S+) \\$", text)
    return {canonicalize_name(package): Version(version) for package, version in found}


def wanted(name: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = list(project["dependencies"])
    for extra in EXTRAS[name]:
        lines += project["optional-dependencies"][extra]
    requirements = [Requirement(line) for line in lines]
    return [r for r in requirements if r.name not in {"taskgraft", *APART}]


@pytest.mark.parametrize("name", EXTRAS)
def test_every_requirement_has_a_pin_that_satisfies_it(name: str) -> None:
    pinned = pins(name)
    lacking = [
        str(need)
        for need in wanted(name)
        if (found := pinned.get(canonicalize_name(need.name))) is None
        or found not in need.specifier
    ]
    assert lacking == [], "run `make lock`"


@pytest.mark.parametrize("name", EXTRAS)
def test_every_pin_has_a_hash_and_no_line_an_address(name: str) -> None:
    text = (ROOT / "docker" / f"{name}.txt").read_text(encoding="utf-8")
    blocks = re.split(r"(?m)^(?=\S)", re.sub(r"(?m)^#.*\n", "", text))
    assert all("--hash=sha256:" in block for block in blocks if block.strip())
    assert not re.search(r"://|--index|--find-links", text)


@pytest.mark.parametrize("name", ["service", "service-gpu"])
def test_what_serves_pins_nothing_that_learns(name: str) -> None:
    assert not pins(name).keys() & {"torch", "onnx", "onnxscript", "polars", "scikit-learn"}


def test_torch_is_pinned_where_the_training_image_is_made() -> None:
    text = (ROOT / "docker" / "training.Dockerfile").read_text(encoding="utf-8")
    found = re.search(r"(?m)^ARG TORCH=torch==(\S+)$", text)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["optional-dependencies"]["training"]
    (torch,) = [r for r in map(Requirement, lines) if r.name == "torch"]
    assert found is not None
    assert Version(found[1]) in torch.specifier
