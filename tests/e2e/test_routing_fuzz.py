"""Whatever routing is asked for, it is taken whole or refused, and every user is answered.

TASKGRAFT_FUZZ_EXAMPLES sets how many routings (default 25).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import Client
from service.parts import open_parts
from tests.e2e.test_fuzz import EXAMPLES
from tests.live_server import ADMIN, SECRET, LiveServer, live_server, settings_for_tests
from tests.service.test_registry import renamed
from tests.service.tiny import BUNDLE

VERSIONS = st.none() | st.integers(0, 3)
CANARIES = st.fixed_dictionaries({"version": VERSIONS, "percent": st.floats(-1, 101)})
GUARDS = st.fixed_dictionaries(
    {"min_rows": st.integers(0, 9)},
    optional={"max_psi": st.floats(0, 101), "min_overlap": st.none() | st.floats(0, 1)},
)
ROUTINGS = st.fixed_dictionaries(
    {},
    optional={
        "stable": VERSIONS,
        "canary": st.none() | CANARIES,
        "shadow": VERSIONS,
        "guard": st.none() | GUARDS,
    },
)
IDS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
USERS = st.text(IDS, min_size=1, max_size=20)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A service whose task has two versions."""
    folder = tmp_path_factory.mktemp("state")
    settings = settings_for_tests(
        bundle=BUNDLE, feature_store=f"embedded:{folder / 'features'}", task_store=str(folder)
    )
    with live_server(open_parts, settings) as live:
        with Client(live.public, admin_url=live.admin, token=SECRET) as client:
            for shift in (0.0, 1.0):
                client.graft("share", renamed("share", shift))
        yield live


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=60) as http:
        yield http


@given(ROUTINGS, USERS)
@EXAMPLES
def test_a_routing_is_taken_whole_or_refused_and_every_user_is_answered(
    live: LiveServer, http: httpx.Client, wanted: dict[str, Any], user: str
) -> None:
    url = f"{live.admin}/v1/tasks/share/routing"
    answer = http.put(url, json=wanted, headers=ADMIN)
    assert answer.status_code in {200, 409, 422}, answer.text
    if answer.is_success:
        told = answer.json()
        assert (told["canary"], told["shadow"]) == (wanted.get("canary"), wanted.get("shadow"))
    request = {"user_id": user, "item_ids": [100], "tasks": ["share"], "deadline_ms": 5000}
    scored = http.post(f"{live.public}/v1/score", json=request)
    assert scored.status_code == 200, scored.text
    assert scored.json()["tasks"]["share"]["version"] in {1, 2}


@pytest.mark.parametrize("user", [r"\ud800", r"\udfff\ud800", r"a\u0000b"])
def test_a_user_that_is_no_text_is_refused_or_answered_but_breaks_nothing(
    live: LiveServer, http: httpx.Client, user: str
) -> None:
    put = {"stable": 1, "canary": {"version": 2, "percent": 50}}
    assert http.put(f"{live.admin}/v1/tasks/share/routing", json=put, headers=ADMIN).is_success
    body = f'{{"user_id": "{user}", "item_ids": [100], "deadline_ms": 5000}}'
    headers = {"Content-Type": "application/json"}
    answer = http.post(f"{live.public}/v1/score", content=body, headers=headers)
    assert answer.status_code in {200, 400, 422}, answer.text
