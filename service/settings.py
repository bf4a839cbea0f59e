"""All that can be set, as one frozen object that refuses what cannot be.

environment.py --values--> Settings | pydantic's ValidationError, which environment.py words

Each field's description is what `taskgraft serve --help` shows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.auth import Token, read_token
from service.errors import ConfigError
from service.signatures import TrustedKey, read_trusted_key
from service.tls import TlsFiles

PREFIX = "TASKGRAFT_"
Port = Annotated[int, Field(ge=0, le=65535)]
Provider = Literal["cpu", "cuda", "tensorrt"]
# What stands behind the scheme is read when the store is opened.
_REDIS = re.compile(r"rediss?(\+cluster|\+sentinel)?://[^/]")
_REDIS_FORMS = "redis://HOST, redis+cluster://HOST,HOST or redis+sentinel://HOST,HOST/SERVICE"


class Settings(BaseSettings):
    """Everything that can be set. Times end in _s or _ms, sizes in _bytes."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    bundle: Path = Field(description="Directory of the exported bundle.")
    host: str = Field(default="0.0.0.0", description="Address of the public port.")
    port: Port = Field(default=8000, description="Public port; 0 takes a free one.")
    admin_host: str = Field(default="127.0.0.1", description="Address of the admin port.")
    admin_port: Port = Field(default=8001, description="Admin port; 0 takes a free one.")
    admin_tokens: Annotated[tuple[Token, ...], NoDecode] = Field(
        default=(),
        repr=False,
        description="Who may use the admin port: name:scope+scope:sha256[:expiry], separated by "
        "commas or spaces; `taskgraft tokens new` makes one. Without any, nobody may.",
    )
    tls_cert: Path | None = Field(
        default=None,
        description="Certificate chain (PEM) of both ports; without it they speak plain HTTP. "
        "Replaced files are taken up within 10 s.",
    )
    tls_key: Path | None = Field(default=None, description="Its private key (PEM).")
    tls_client_ca: Path | None = Field(
        default=None,
        description="CA (PEM) whose certificates callers of the public port must show.",
    )
    admin_tls_cert: Path | None = Field(
        default=None, description="Another certificate for the admin port."
    )
    admin_tls_key: Path | None = Field(default=None, description="Its private key.")
    admin_tls_client_ca: Path | None = Field(
        default=None, description="CA whose certificates callers of the admin port must show."
    )
    trusted_keys: Annotated[tuple[TrustedKey, ...], NoDecode] = Field(
        default=(),
        description="Whose signed prompts are served: name:public key, separated by commas or "
        "spaces; `taskgraft keys new` and minisign make them. Without any, no signature is looked "
        "at.",
    )
    require_signature: bool = Field(
        default=False,
        description="Refuse prompts that no trusted key signed, those in the task store included.",
    )
    docs: bool = Field(default=True, description="Serve /docs on the public port.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe log lines to write."
    )

    feature_store: str = Field(
        default="embedded:state/features",
        repr=False,
        description="User histories and profiles: embedded:DIRECTORY (shared by the workers of one "
        "host), redis://HOST:PORT/DB, redis+cluster://HOST:PORT,HOST:PORT or "
        "redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB; rediss... for TLS.",
    )
    task_store: str = Field(
        default="state/tasks",
        repr=False,
        description="Wanted tasks and their prompt files: a directory (shared by the services of "
        "one host), redis://HOST:PORT/DB, redis+cluster://... or redis+sentinel://... as above.",
    )
    bundles: Path | None = Field(
        default=None,
        description="Directory of the bundles that the service may be upgraded to, each in a "
        "folder named by its fingerprint; none but the one it was started with if unset.",
    )
    upgrade_s: float = Field(
        default=120.0,
        gt=0,
        le=3600,
        description="An upgrade of the backbone waits this long for every worker alive to load "
        "it; then it is withdrawn.",
    )
    rollback_ready_s: float = Field(
        default=600.0,
        ge=0,
        le=86_400,
        description="The backbone that an upgrade left stays in memory for this long, so that a "
        "rollback loads nothing.",
    )
    converge_s: float = Field(
        default=5.0,
        gt=0,
        le=300,
        description="A graft or rollback waits this long for every worker alive to load it; then "
        "it is withdrawn.",
    )
    item_overrides: bool = Field(
        default=False,
        description="Let the feature store override items' fields; costs a key per candidate.",
    )
    history_cap: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Events kept per user and behaviour; as many as the model reads if unset.",
    )
    history_ttl_s: int = Field(
        default=90 * 86400, ge=60, description="A user's history expires this long after its end."
    )

    workers: int = Field(default=1, ge=1, le=256, description="Processes that serve both ports.")
    providers: Annotated[tuple[Provider, ...], NoDecode] = Field(
        default=("cpu",),
        min_length=1,
        description="What runs the graphs, by preference: cpu, cuda, tensorrt. Name cpu last to "
        "fall back to it; otherwise a missing device is refused at start.",
    )
    threads: int = Field(
        default=1, ge=1, le=256, description="Threads of one graph run; at most the cores at hand."
    )
    exact: bool = Field(
        default=False,
        description="Score in 32-bit floats even where the bundle has 8-bit graphs that passed its "
        "quality gate.",
    )
    engine_threads: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Graph runs at once in each worker; if unset, the cores at hand (by mask and "
        "quota) divided by the workers.",
    )
    worker_header: bool = Field(
        default=False, description="Name the worker that answers in X-Worker, to tell them apart."
    )
    server_timing: bool = Field(
        default=True, description="Tell the time of each stage in Server-Timing."
    )
    traces: bool = Field(
        default=False,
        description="Send OpenTelemetry traces over OTLP/HTTP, as the OTEL_* variables say; needs "
        "the otel extra.",
    )

    max_items: int = Field(default=1000, ge=1, le=100_000, description="Candidates per request.")
    max_tasks_by_default: int = Field(
        default=64, ge=1, description="With more live tasks than this, a request must name its own."
    )
    max_events: int = Field(default=1000, ge=1, le=100_000, description="Events per call.")
    event_time_unit: Literal["s", "ms", "us", "ns"] | None = Field(
        default=None,
        description="What events' ts count since 1970. Set, an event further in the future than "
        "event_future_s is refused; it would keep its place among the newest until then.",
    )
    event_future_s: float = Field(
        default=3600.0, ge=0, description="How far clocks may go ahead; needs event_time_unit."
    )
    max_body_bytes: int = Field(
        default=1 << 20, ge=1024, le=1 << 28, description="Body of a public request."
    )
    max_prompt_bytes: int = Field(
        default=1 << 24, ge=1024, le=1 << 30, description="One prompt file."
    )
    max_prompts: int = Field(default=4096, ge=1, le=1 << 20, description="Grafted tasks, live.")
    max_in_flight: int = Field(
        default=128,
        ge=1,
        description="Requests at once in each worker; fewer when more could not be answered within "
        "half the default deadline. All others are answered 429.",
    )
    max_task_share: float = Field(
        default=0.75,
        gt=0,
        le=1,
        description="Part of those places that requests naming one same task may hold, so that a "
        "hot task leaves room for the others.",
    )
    arrival_s: float = Field(
        default=20.0, gt=0, le=300, description="A request must have arrived whole within this."
    )

    default_deadline_ms: int = Field(
        default=1000, ge=1, description="For requests that name no deadline."
    )
    max_deadline_ms: int = Field(default=10_000, ge=1, description="Longest deadline to ask for.")
    feature_budget_ms: int = Field(
        default=50, ge=1, description="Wait for the feature store, then score without history."
    )
    feature_lag_ms: int = Field(
        default=0,
        ge=0,
        le=60_000,
        description="Score from a worker's own copy this young without asking the store. 0 always "
        "asks; above, events stored through another worker may be unseen this long.",
    )
    near_cache_bytes: int = Field(
        default=64 << 20,
        ge=0,
        description="Copies of users' features in each worker: for when the store does not answer, "
        "and so that who has not changed is not decoded again; 0 for none.",
    )
    near_cache_s: float = Field(
        default=10.0, ge=0, description='A copy this young is "near_cache" in the answer.'
    )
    stale_s: float = Field(
        default=600.0, ge=0, description='An older one is "stale"; beyond this it is not used.'
    )
    drain_s: float = Field(
        default=5.0,
        ge=0,
        le=600,
        description="After SIGTERM: not ready, but still serving, for this long.",
    )
    shutdown_s: float = Field(
        default=15.0, gt=0, le=600, description="Then requests in flight may take this long."
    )

    @field_validator("admin_tokens", mode="before")
    @classmethod
    def _read_tokens(cls, value: object) -> object:
        return _each(value, read_token)

    @field_validator("trusted_keys", mode="before")
    @classmethod
    def _read_keys(cls, value: object) -> object:
        return _each(value, read_trusted_key)

    @field_validator("providers", mode="before")
    @classmethod
    def _split_providers(cls, value: object) -> object:
        return _each(value, str.lower)

    @field_validator("feature_store")
    @classmethod
    def _known_store(cls, value: str) -> str:
        scheme, _, place = value.partition(":")
        if not (scheme == "embedded" and place.strip("/")) and not _REDIS.match(value):
            raise ValueError(f"expected embedded:DIRECTORY, {_REDIS_FORMS}")
        return value

    @field_validator("task_store")
    @classmethod
    def _known_task_store(cls, value: str) -> str:
        if not value or ("://" in value and not _REDIS.match(value)):
            raise ValueError(f"expected a directory, {_REDIS_FORMS}")
        return value

    @property
    def public_tls(self) -> TlsFiles | None:
        """None for plain HTTP."""
        return _tls_files(self.tls_cert, self.tls_key, self.tls_client_ca)

    @property
    def admin_tls(self) -> TlsFiles | None:
        """The public port's certificate unless it has its own; None for plain HTTP."""
        certificate = self.admin_tls_cert or self.tls_cert
        return _tls_files(certificate, self.admin_tls_key or self.tls_key, self.admin_tls_client_ca)

    @model_validator(mode="after")
    def _whole_tls(self) -> Settings:
        for name in ("tls", "admin_tls"):
            cert, key = getattr(self, f"{name}_cert"), getattr(self, f"{name}_key")
            if (cert is None) != (key is None):
                raise ValueError(f"{name}_cert and {name}_key go together: set both, or none")
        if self.tls_client_ca is not None and self.public_tls is None:
            raise ValueError("tls_client_ca needs tls_cert and tls_key")
        if self.admin_tls_client_ca is not None and self.admin_tls is None:
            raise ValueError("admin_tls_client_ca needs tls_cert or admin_tls_cert")
        return self

    @model_validator(mode="after")
    def _agree(self) -> Settings:
        if self.default_deadline_ms > self.max_deadline_ms:
            raise ValueError(
                f"default_deadline_ms is {self.default_deadline_ms}, "
                f"above max_deadline_ms, {self.max_deadline_ms}"
            )
        if self.port and self.port == self.admin_port and self.host == self.admin_host:
            raise ValueError(f"the public and the admin port are both {self.port}")
        names = [token.name for token in self.admin_tokens]
        if len(set(names)) != len(names):
            raise ValueError(f"admin_tokens: a name stands twice: {', '.join(sorted(names))}")
        if self.require_signature and not self.trusted_keys:
            raise ValueError(
                "require_signature without trusted_keys would refuse every prompt: name a key"
            )
        return self


def _tls_files(cert: Path | None, key: Path | None, client_ca: Path | None) -> TlsFiles | None:
    return None if cert is None or key is None else TlsFiles(cert, key, client_ca)


def _each(value: object, read: Callable[[str], object]) -> object:
    """Text as what its parts are, between commas or spaces; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return tuple(read(part) for part in re.split(r"[,\s]+", value) if part)
    except ConfigError as err:
        raise ValueError(str(err)) from err
