"""Every block of the pages is run, read by what reads it in earnest, or says why not."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections import Counter
from itertools import pairwise
from typing import Any

import jsonschema
import pytest
import yaml

from service.app import create_service
from tests.docs.blocks import ALL, DOCS, PAGES, ROOT, Block, name_of
from tests.fakes import FakeParts
from tests.live_server import documents, settings_for_tests
from training import recipes
from training.config import TrainConfig

RUN = {"docs/tour.md", "docs/new-task.md", "docs/operations.md", "docs/your-data.md", "README.md"}
# A block that no test runs is a promise that nobody keeps: one more needs its line here.
NOT_RUN = {
    "docs/docker.md": 5,
    "docs/kubernetes.md": 5,
    "docs/operations.md": 1,
    "docs/your-data.md": 1,
}
READ = {"toml", "json", "text", "promql", "yaml", "{toctree}"}
PUBLIC, _ = documents(create_service(settings_for_tests(), FakeParts().open))
ROUTES = {"/v1/score": "ScoreRequest", "/v1/events": "EventsRequest"}
_OURS = re.compile(r"(?<![\w/.-])(?:docker|k8s|monitoring|training)/[\w./-]+")


def of_kind(kind: str) -> list[Block]:
    return [block for block in ALL if block.kind == kind]


def place(block: Block) -> str:
    return f"{block.page}:{block.line}"


def test_every_command_and_program_runs_or_says_why_not() -> None:
    loose = [
        place(block)
        for block in (*of_kind("sh"), *of_kind("python"))
        if block.page not in RUN and not block.reason
    ]
    assert loose == []


def test_no_more_blocks_go_unrun_than_are_known() -> None:
    assert Counter(block.page for block in ALL if block.reason) == NOT_RUN


def test_every_other_block_is_of_a_kind_that_is_read() -> None:
    assert {block.kind for block in ALL} - {"sh", "python"} <= READ


def test_the_blocks_are_all_that_the_pages_fence() -> None:
    """A fence that the expression does not see would be checked by nobody."""
    for page in PAGES:
        fences = re.findall(r"(?m)^ *```", page.read_text(encoding="utf-8"))
        assert len(fences) == 2 * sum(block.page == name_of(page) for block in ALL), page


@pytest.mark.parametrize("page", sorted({block.page for block in of_kind("toml")}))
def test_toml_is_a_configuration(page: str) -> None:
    """A page's blocks are one file; what a page leaves out is the recipe's."""
    text = "\n".join(block.text for block in of_kind("toml") if block.page == page)
    recipe = recipes.recipe("movielens").read_text(encoding="utf-8")
    TrainConfig.model_validate(tomllib.loads(recipe) | tomllib.loads(text))


@pytest.mark.parametrize("block", of_kind("json"), ids=place)
def test_shown_answers_are_what_the_document_promises(block: Block) -> None:
    answer = json.loads(block.text)
    validate(answer, "ScoreAnswer")


@pytest.mark.parametrize("block", of_kind("sh"), ids=place)
def test_bodies_in_commands_are_what_the_document_takes(block: Block) -> None:
    for command in block.commands:
        for part in re.findall(r"curl [^|;\n]*", command):
            words = shlex.split(part)
            body = dict(pairwise(words)).get("-d")
            if body is not None:
                shape = next(name for path, name in ROUTES.items() if path in part)
                # What the schema of a model names is that model's.
                validate(json.loads(body.replace("$user", "1").replace('"liked"', '"buy"')), shape)


@pytest.mark.parametrize("block", of_kind("yaml"), ids=place)
def test_yaml_is_yaml(block: Block) -> None:
    assert yaml.safe_load(block.text)


@pytest.mark.parametrize("block", [block for block in of_kind("sh") if block.reason], ids=place)
def test_files_named_by_commands_that_do_not_run_exist(block: Block) -> None:
    named = {name for name in _OURS.findall(block.text) if "." not in name[:1]}
    assert [name for name in named - {"docker/.env"} if not (ROOT / name).exists()] == []


def test_operations_have_an_answer_to_every_alert() -> None:
    groups = yaml.safe_load((ROOT / "monitoring" / "alerts.yaml").read_text("utf-8"))["groups"]
    rules = [rule["alert"] for group in groups for rule in group["rules"]]
    page = (DOCS / "operations.md").read_text(encoding="utf-8")
    assert re.findall(r"(?m)^### (Taskgraft\w+)$", page) == rules


def validate(value: object, shape: str) -> None:
    components: Any = PUBLIC["components"]
    schema = {"$ref": f"#/components/schemas/{shape}", "components": components}
    jsonschema.Draft202012Validator(schema).validate(value)
