"""The manifests are what Kubernetes takes, and are confined."""

from __future__ import annotations

import kubernetes_validate
import pytest

from tests.docker.files import Document, read_yaml
from tests.k8s.manifests import FOLDERS, K8S, OPERATOR, containers, plain, pod_templates, rendered
from tests.service_process import ROOT

VERSION = "1.32"


def check(document: Document) -> None:
    if document["kind"] not in OPERATOR:
        kubernetes_validate.validate(document, VERSION, strict=True)


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_kustomize_renders_fits_the_schemas(folder: str) -> None:
    assert rendered(folder)
    for document in rendered(folder):
        check(document)


@pytest.mark.parametrize(
    "document", [document for _, document in plain()], ids=[path.name for path, _ in plain()]
)
def test_every_whole_file_fits_its_schema(document: Document) -> None:
    check(document)


def test_a_misspelt_key_does_not_pass() -> None:
    (service,) = read_yaml(K8S / "base" / "service.yaml")
    with pytest.raises(kubernetes_validate.ValidationError):
        check(service | {"spec": service["spec"] | {"selektor": {}}})


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_container_is_confined_and_bounded(folder: str) -> None:
    for template in pod_templates(rendered(folder)):
        spec = template["spec"]
        assert spec["enableServiceLinks"] is False
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        for container in containers(template):
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True, container["name"]
            assert context["allowPrivilegeEscalation"] is False, container["name"]
            assert context["capabilities"] == {"drop": ["ALL"]}, container["name"]
            assert "memory" in container["resources"]["limits"], container["name"]


def test_the_rules_are_those_that_prometheus_is_tested_with() -> None:
    (manifest,) = read_yaml(K8S / "components" / "monitoring" / "prometheusrule.yaml")
    (rules,) = read_yaml(ROOT / "monitoring" / "alerts.yaml")
    assert manifest["spec"] == rules
