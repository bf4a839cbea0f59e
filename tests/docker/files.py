"""The deployment's files, read: what compose, Dockerfiles and manifests say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from service.settings import PREFIX, Settings
from tests.service_process import ROOT

Document = dict[str, Any]
# What a caller's command reads beside what a service reads.
CALLERS = {"TASKGRAFT_URL", "TASKGRAFT_ADMIN_URL", "TASKGRAFT_TOKEN"}
VARIABLES = {PREFIX + name.upper() for name in Settings.model_fields} | CALLERS
# The supervisor's own patience after drain and shutdown.
LAST_GRACE_S = 10


def read_yaml(path: Path) -> list[Document]:
    return [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one]


def compose_file() -> Document:
    (found,) = read_yaml(ROOT / "docker" / "compose.yaml")
    return found


def variables_in(path: Path) -> set[str]:
    return set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", path.read_text(encoding="utf-8")))


def alert_expressions() -> list[str]:
    (rules,) = read_yaml(ROOT / "monitoring" / "alerts.yaml")
    return [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


def dashboard() -> Document:
    text = (ROOT / "monitoring" / "dashboard.json").read_text(encoding="utf-8")
    found: Document = json.loads(text)
    return found


def panel_expressions() -> list[str]:
    targets = [t for panel in dashboard()["panels"] for t in panel.get("targets", ())]
    annotations = dashboard()["annotations"]["list"]
    variables = [
        v["query"]["query"] for v in dashboard()["templating"]["list"] if v["type"] == "query"
    ]
    return [one["expr"] for one in (*targets, *annotations)] + variables
