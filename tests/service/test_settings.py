"""Settings: what the environment may say, and the sentence when it may not."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from service.auth import new_token
from service.environment import read_settings, unknown_variables
from service.errors import ConfigError
from service.settings import Settings


def test_variables_become_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKGRAFT_BUNDLE", "some/bundle")
    monkeypatch.setenv("TASKGRAFT_MAX_ITEMS", "50")
    monkeypatch.setenv("TASKGRAFT_PROVIDERS", "cuda, CPU")
    settings = read_settings()
    assert settings.bundle == Path("some/bundle")
    assert settings.max_items == 50
    assert settings.providers == ("cuda", "cpu")


def test_what_is_given_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKGRAFT_PORT", "9000")
    assert read_settings(bundle="b", port=9001).port == 9001


def test_settings_never_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        read_settings(bundle="b").port = 1  # type: ignore[misc]  # that is the point


def test_every_setting_is_described() -> None:
    assert [n for n, field in Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"port": "70000"}, "TASKGRAFT_PORT: input should be less than or equal to 65535"),
        ({"port": "8001"}, "both 8001"),
        ({"feature_store": "mysql://db"}, "TASKGRAFT_FEATURE_STORE: expected embedded:DIRECTORY"),
        ({"feature_store": "redis://"}, "expected embedded:DIRECTORY"),
        ({"task_store": "etcd://h"}, "TASKGRAFT_TASK_STORE: expected a directory"),
        ({"providers": "npu"}, "TASKGRAFT_PROVIDERS"),
        ({"providers": ""}, "TASKGRAFT_PROVIDERS"),
        ({"default_deadline_ms": "20000"}, "above max_deadline_ms, 10000"),
        ({"admin_tokens": "ann:root:" + 64 * "0"}, "expected some of read+graft"),
        ({"admin_tokens": "ann"}, "not of the form name:scope"),
        ({"log_level": "loud"}, "TASKGRAFT_LOG_LEVEL"),
    ],
)
def test_nonsense_is_refused_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], sentence: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"TASKGRAFT_{name.upper()}", value)
    with pytest.raises(ConfigError) as caught:
        read_settings(bundle="b", admin_host="0.0.0.0")
    assert sentence in str(caught.value)


def test_a_missing_bundle_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TASKGRAFT_BUNDLE", raising=False)
    with pytest.raises(ConfigError, match="TASKGRAFT_BUNDLE is not set"):
        read_settings()


def test_the_port_that_kubernetes_writes_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKGRAFT_PORT", "tcp://10.0.0.7:8000")
    with pytest.raises(ConfigError, match="enableServiceLinks: false"):
        read_settings(bundle="b")


def test_misspelt_variables_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKGRAFT_MAXITEMS", "5")
    monkeypatch.setenv("TASKGRAFT_MAX_ITEMS", "5")
    monkeypatch.setenv("TASKGRAFT_SERVICE_HOST", "10.0.0.7")
    monkeypatch.setenv("TASKGRAFT_PORT_8000_TCP", "tcp://10.0.0.7:8000")
    assert "TASKGRAFT_MAXITEMS" in unknown_variables()
    assert not {"TASKGRAFT_MAX_ITEMS", "TASKGRAFT_SERVICE_HOST"} & {*unknown_variables()}
    assert "TASKGRAFT_PORT_8000_TCP" not in unknown_variables()


def test_several_tokens_are_read_but_one_name_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ann, bob = (new_token(name, ["read"])[1] for name in ("ann", "bob"))
    monkeypatch.setenv("TASKGRAFT_ADMIN_TOKENS", f"{ann.line()}, {bob.line()}")
    assert read_settings(bundle="b").admin_tokens == (ann, bob)
    monkeypatch.setenv("TASKGRAFT_ADMIN_TOKENS", f"{ann.line()} {ann.line()}")
    with pytest.raises(ConfigError, match="stands twice: ann, ann"):
        read_settings(bundle="b")


def test_secrets_are_not_printed() -> None:
    token = new_token("ann", ["read"])[1]
    settings = read_settings(
        bundle="b", admin_tokens=token.line(), feature_store="redis://:hunter2@db/0"
    )
    assert token.digest not in repr(settings)
    assert "hunter2" not in repr(settings)


def test_a_refusal_does_not_quote_a_secret() -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings(bundle="b", feature_store="mysql://:hunter2@db/0")
    assert "hunter2" not in str(caught.value)
