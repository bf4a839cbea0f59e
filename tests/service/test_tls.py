"""TLS on both ports, with real certificates: who is served, and what a replaced file changes."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import httpx
import pytest

from service.environment import read_settings
from service.errors import ConfigError
from service.server import Server
from service.tls import Tls, TlsFiles
from tests.certificates import Authority, Pair
from tests.fakes import FakeParts
from tests.live_server import ADMIN, live_server, settings_for_tests


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def trusting(authority: Authority, own: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.file))
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    return context


def test_both_ports_speak_tls_alone(authority: Authority) -> None:
    pair = authority.certificate("server")
    settings = settings_for_tests(tls_cert=pair.certificate, tls_key=pair.key)
    with live_server(FakeParts().open, settings) as live:
        assert live.public.startswith("https://")
        with httpx.Client(verify=trusting(authority)) as client:
            assert client.get(f"{live.public}/readyz").status_code == 200
            assert client.get(f"{live.admin}/v1/tasks", headers=ADMIN).status_code == 200
            assert client.get(f"{live.admin}/v1/tasks").status_code == 401
        for url in (live.public, live.admin):
            with pytest.raises(httpx.TransportError):
                httpx.get(f"{url.replace('https', 'http')}/livez")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_old_versions_of_tls_are_not_spoken(authority: Authority, version: ssl.TLSVersion) -> None:
    pair = authority.certificate("server")
    settings = settings_for_tests(tls_cert=pair.certificate, tls_key=pair.key)
    context = trusting(authority)
    context.minimum_version = context.maximum_version = version
    with live_server(FakeParts().open, settings) as live, httpx.Client(verify=context) as client:
        assert client.get(f"{live.public}/livez").status_code == 200
        tls = live.server._tls[0]
        assert tls is not None
        assert tls.context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_the_admin_port_can_ask_for_a_certificate_and_a_token_is_still_needed(
    authority: Authority, tmp_path: Path
) -> None:
    server, caller = authority.certificate("server"), authority.certificate("caller")
    stranger = Authority(tmp_path, "others").certificate("stranger")
    settings = settings_for_tests(
        tls_cert=server.certificate, tls_key=server.key, admin_tls_client_ca=authority.file
    )
    with live_server(FakeParts().open, settings) as live:
        for own in (None, stranger):
            with (
                httpx.Client(verify=trusting(authority, own)) as client,
                pytest.raises((httpx.TransportError, ssl.SSLError)),
            ):
                client.get(f"{live.admin}/livez")
        with httpx.Client(verify=trusting(authority, caller)) as client:
            assert client.get(f"{live.admin}/v1/tasks").status_code == 401
            assert client.get(f"{live.admin}/v1/tasks", headers=ADMIN).status_code == 200
        with httpx.Client(verify=trusting(authority)) as client:
            assert client.get(f"{live.public}/livez").status_code == 200


def test_a_replaced_certificate_is_shown_to_new_callers_and_old_connections_live_on(
    authority: Authority,
) -> None:
    pair = authority.certificate("server")
    settings = settings_for_tests(tls_cert=pair.certificate, tls_key=pair.key)
    with live_server(FakeParts().open, settings) as live:
        with httpx.Client(verify=trusting(authority)) as client:
            assert client.get(f"{live.public}/livez").status_code == 200
            first = shown(live.public, authority)
            authority.certificate("server")
            look(live.server)
            second = shown(live.public, authority)
            assert client.get(f"{live.public}/livez").status_code == 200
        pair.key.write_bytes(b"half written")
        look(live.server)
        third = shown(live.public, authority)
    assert first != second == third


def look(server: Server) -> None:
    for tls in server._tls:
        assert tls is not None
        tls.look()


def shown(url: str, authority: Authority) -> bytes | None:
    host, port = url.removeprefix("https://").split(":")
    with (
        socket.create_connection((host, int(port)), timeout=10) as connection,
        trusting(authority).wrap_socket(connection, server_hostname=host) as secured,
    ):
        return secured.getpeercert(binary_form=True)


@pytest.mark.parametrize("damage", ["missing", "other key", "no PEM"])
def test_files_that_cannot_be_served_with_are_refused_at_the_start(
    authority: Authority, damage: str
) -> None:
    pair, other = authority.certificate("server"), authority.certificate("other")
    if damage == "missing":
        pair.certificate.unlink()
    elif damage == "no PEM":
        pair.certificate.write_bytes(b"no PEM")
    key = other.key if damage == "other key" else pair.key
    with pytest.raises(ConfigError, match=r"server\.pem.*belong together"):
        Tls(TlsFiles(pair.certificate, key))


@pytest.mark.parametrize(
    "given",
    [
        {"tls_cert": "a"},
        {"tls_key": "a"},
        {"tls_client_ca": "a"},
        {"admin_tls_client_ca": "a"},
        {"admin_tls_cert": "a", "tls_cert": "a", "tls_key": "a"},
    ],
)
def test_half_a_setting_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="tls"):
        read_settings(bundle=Path("b"), **given)
