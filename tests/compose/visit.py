"""A caller inside the pods' network: scores, grafts, scores again, and prints what it saw as JSON.

python -m tests.compose.visit PROMPT_FILE SECRET
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from tests.service_process import until

PUBLIC, ADMIN = "http://127.0.0.1:8000", "http://127.0.0.1:8001"
REQUEST = {"user_id": "user-3", "item_ids": [100, 101, 102]}


def score() -> dict[str, Any]:
    found: dict[str, Any] = httpx.post(f"{PUBLIC}/v1/score", json=REQUEST, timeout=30).json()
    return found


def sound() -> bool:
    """Ready, and in touch with its Redis."""
    with suppress(httpx.TransportError):
        return score().get("degraded") == "none"
    return False


def visit(prompt: Path, secret: str) -> dict[str, Any]:
    until(sound)
    before = score()
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/octet-stream"}
    url = f"{ADMIN}/v1/tasks/share"
    graft = httpx.put(url, content=prompt.read_bytes(), headers=headers, timeout=60)
    return {"before": before, "status": graft.status_code, "graft": graft.json(), "after": score()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(visit(Path(sys.argv[1]), sys.argv[2])))
