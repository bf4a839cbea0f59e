"""An exception to one sentence with the way out, and the exit code.

    exception --explain--> Failure (1: failed, 2: misuse, 130: Ctrl-C), None for one nobody foresaw

Errors are known by the names of their trees: importing the trees would import their packages.
"""

from __future__ import annotations

from dataclasses import dataclass

FAILED, MISUSED, INTERRUPTED = 1, 2, 130
_TREES = {
    "contract.errors.ContractError",
    "training.errors.TrainingError",
    "export.errors.ExportError",
    "service.errors.ServiceError",
    "client.errors.ClientError",
    "commands.failures.CommandError",
}
_MISUSE = {
    "training.errors.ConfigError",
    "service.errors.ConfigError",
    "commands.failures.Misuse",
}
_EXTRAS = {
    "torch": "training",
    "polars": "training",
    "sklearn": "training",
    "jinja2": "training",
    "markupsafe": "training",
    "onnx": "export",
    "onnxscript": "export",
    "onnxruntime": "cpu",
    "httpx": "client",
    "fastapi": "service",
    "starlette": "service",
    "uvicorn": "service",
    "msgspec": "service",
    "orjson": "service",
    "redis": "service",
    "prometheus_client": "service",
    "pydantic_settings": "service",
    "structlog": "service",
    "cryptography": "service",
}


class CommandError(Exception):
    """A command that could not do what it was asked to; the message says what to do."""


class Misuse(CommandError):
    """Arguments that cannot be right together."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What the user sees of an error."""

    sentence: str
    code: int


def explain(err: BaseException) -> Failure | None:
    """The sentence and exit code of a foreseeable failure; None for any other."""
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(err).__mro__}
    if isinstance(err, KeyboardInterrupt) or any(name.endswith(".Abort") for name in names):
        return Failure("stopped", INTERRUPTED)
    if any(name.endswith(".ClickException") for name in names):
        return _form_failure(err)
    if names & _TREES:
        return Failure(str(err), MISUSED if names & _MISUSE else FAILED)
    if isinstance(err, ModuleNotFoundError):
        module = (err.name or "").partition(".")[0]
        if module in _EXTRAS:
            return Failure(
                f"this command needs {module}, which is not installed: "
                f"run pip install -e '.[{_EXTRAS[module]}]' in the project's folder",
                FAILED,
            )
    if isinstance(err, OSError) and err.strerror:
        where = f"{err.filename}: " if err.filename else ""
        return Failure(f"{where}{err.strerror[:1].lower()}{err.strerror[1:]}", FAILED)
    return None


def _form_failure(err: BaseException) -> Failure:
    """An argument that the form refused."""
    path = getattr(getattr(err, "ctx", None), "command_path", "taskgraft")
    tell = getattr(err, "format_message", err.__str__)
    message = str(tell()).rstrip(".")
    return Failure(f"{message}; see `{path} --help`", MISUSED)
