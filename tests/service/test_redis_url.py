"""What a Redis URL says."""

from __future__ import annotations

import pytest

from service.errors import ConfigError
from service.redis_url import read_redis_url


def test_a_server_has_a_host_a_login_and_a_database() -> None:
    place = read_redis_url("rediss://ann:p%40ss@h:1/3?ssl_ca_certs=%2Fca.pem")
    assert (place.kind, place.tls, place.nodes) == ("server", True, (("h", 1),))
    assert place.login == {
        "username": "ann",
        "password": "p@ss",
        "db": 3,
        "ssl_ca_certs": "/ca.pem",
    }


def test_a_cluster_is_known_by_some_of_its_nodes() -> None:
    place = read_redis_url("redis+cluster://:secret@a:1,b,[::1]:3")
    assert (place.kind, place.tls) == ("cluster", False)
    assert place.nodes == (("a", 1), ("b", 6379), ("::1", 3))
    assert place.login == {"password": "secret"}


def test_sentinels_name_a_service_and_may_have_a_login_of_their_own() -> None:
    url = "rediss+sentinel://:data@a,b:2/master/4?sentinel_password=own&ssl_ca_certs=ca"
    place = read_redis_url(url)
    assert (place.kind, place.tls, place.service) == ("sentinel", True, "master")
    assert place.nodes == (("a", 26379), ("b", 2))
    assert place.login == {"password": "data", "db": 4, "ssl_ca_certs": "ca"}
    assert place.sentinel_login == {"password": "own", "ssl_ca_certs": "ca"}


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://:hunter2@a/1",
        "redis+cluster://:hunter2@a,",
        "redis+sentinel://:hunter2@a",
        "redis+sentinel://:hunter2@a/master/x",
        "redis://:hunter2@a?max_connections=1",
        "redis+proxy://:hunter2@a",
    ],
)
def test_a_url_of_another_form_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigError, match="expected redis://") as caught:
        read_redis_url(url)
    assert "hunter2" not in str(caught.value)
