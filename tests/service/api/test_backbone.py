"""The backbone's routes: what they take and what they say."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.fakes import GOOD_PROMPT, OTHER_BACKBONE, FakeParts
from tests.live_server import ADMIN, live_server

DIGEST = "0" * 64
BINARY = ADMIN | {"Content-Type": "application/octet-stream"}


def test_an_upgrade_names_a_fingerprint_and_digests_and_nothing_else() -> None:
    parts = FakeParts()
    with live_server(parts.open) as live:
        url = f"{live.admin}/v1/backbone"
        wanted = {"fingerprint": OTHER_BACKBONE, "prompts": {"buy": DIGEST}, "drop": ["click"]}
        answer = httpx.put(url, json=wanted, headers=ADMIN)
        assert (answer.status_code, answer.json()["previous"]) == (200, OTHER_BACKBONE)
        assert parts.backbones.wanted is not None
        assert parts.backbones.wanted.prompts == {"buy": DIGEST}
        for spoilt, where in (
            ({"fingerprint": "/etc"}, "fingerprint"),
            ({"url": "http://example.org"}, "url"),
            ({"prompts": {"../buy": DIGEST}}, "prompts"),
            ({"prompts": {"buy": "buy.safetensors"}}, "prompts.buy"),
        ):
            document: dict[str, Any] = wanted | spoilt
            answer = httpx.put(url, json=document, headers=ADMIN)
            assert answer.status_code == 422
            assert answer.json()["error"]["where"].startswith(where)
        assert httpx.put(url, content=b"{", headers=ADMIN).status_code in {400, 415}


def test_an_unknown_backbone_is_not_found_and_nothing_left_is_a_conflict() -> None:
    with live_server(FakeParts().open) as live:
        url = f"{live.admin}/v1/backbone"
        answer = httpx.put(url, json={"fingerprint": DIGEST}, headers=ADMIN)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_backbone")
        assert httpx.post(f"{url}/rollback", headers=ADMIN).status_code == 409
        assert httpx.get(url, headers=ADMIN).json()["model"] == "example"


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [(DIGEST, GOOD_PROMPT, 204), (DIGEST, b"junk", 422), ("../x", GOOD_PROMPT, 404)],
)
def test_a_prompt_is_uploaded_under_its_digest(name: str, body: bytes, status: int) -> None:
    with live_server(FakeParts().open) as live:
        url = f"{live.admin}/v1/prompts/{name}"
        assert httpx.put(url, content=body, headers=BINARY).status_code == status
