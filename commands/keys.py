"""`taskgraft keys` and `taskgraft sign`: who made a prompt, so that a service can ask for it.

keys new NAME --> NAME.key, for who signs; the public key, for the service
sign PROMPT   --> PROMPT.minisig, which `taskgraft tasks graft` sends along
"""

from __future__ import annotations

import os
from pathlib import Path

from commands.screen import Screen
from commands.tasks import signature_of
from contract.prompt import read_prompt
from service.signatures import SecretKey, stamp


def new(screen: Screen, name: str, out: Path | None) -> None:
    """Make a key pair; the secret half goes to a file that is not overwritten."""
    file = out or Path(f"{name}.key")
    secret = SecretKey.new()
    trusted = secret.trusted(name)
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as written:
        written.write(secret.pem())
    line = trusted.line()
    document = {"name": name, "secret_key": str(file), "trusted_keys": line}
    screen.lines(document, f"export TASKGRAFT_TRUSTED_KEYS={line}")
    screen.note(f"{file} signs and is to be kept secret; the line is for the service")


def sign(screen: Screen, prompt: Path, key: Path, out: Path | None) -> None:
    """Sign a prompt file that is whole."""
    content = prompt.read_bytes()
    task = read_prompt(content).header.task
    file = out or signature_of(prompt)
    file.write_text(SecretKey.read(key.read_bytes()).sign(content, stamp(task)), encoding="utf-8")
    screen.lines({"task": task, "signature": str(file)}, str(file))
