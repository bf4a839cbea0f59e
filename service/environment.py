"""TASKGRAFT_* variables and command-line options to Settings, or a sentence.

    environment, overrides --read_settings--> Settings
                                   └--> ConfigError: which variable, what it holds, what it must be

The only reader of the environment.
"""

from __future__ import annotations

import os
import re

from pydantic import ValidationError

from service.errors import ConfigError
from service.settings import PREFIX, Settings

# Of the commands that ask a running service; one shell may well hold both.
_CALLERS = {
    f"TASKGRAFT_{name}" for name in ("URL", "ADMIN_URL", "TOKEN", "CA", "CLIENT_CERT", "CLIENT_KEY")
}
# Kubernetes puts these beside ours when a Service is called taskgraft.
_SERVICE_LINK = re.compile(r"^(SERVICE_.*|PORT_\d+_.*)$")


def read_settings(**overrides: object) -> Settings:
    """The environment, and over it whatever was given on the command line.

    Raises:
        ConfigError: a value that cannot be, or a required one that is missing.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # validated by the call itself
    except ValidationError as err:
        raise ConfigError("; ".join(_sentence(dict(e)) for e in err.errors())) from err


def unknown_variables() -> list[str]:
    """TASKGRAFT_* variables that name no setting: most likely misspelt."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | _CALLERS
    return sorted(
        name
        for name in os.environ
        if name.startswith(PREFIX)
        and name not in known
        and not _SERVICE_LINK.match(name.removeprefix(PREFIX))
    )


def _sentence(error: dict[str, object]) -> str:
    loc = error["loc"]
    path = [str(part) for part in loc] if isinstance(loc, tuple) else []
    message = str(error["msg"]).removeprefix("Value error, ")
    if not path:
        return message
    name = PREFIX + path[0].upper()
    if error["type"] == "missing":
        return f"{name} is not set"
    given = os.environ.get(name, "")
    if path[0] == "port" and given.startswith("tcp://"):
        return (
            f"{name} is {given}, which Kubernetes wrote for a Service called taskgraft: "
            "set enableServiceLinks: false in the pod"
        )
    return f"{name}: {message[:1].lower()}{message[1:]}"
