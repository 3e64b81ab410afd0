"""Certificates that are made, and proofs that are read anew when they have been exchanged."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from scantrail.infra.certificates import Authority, expires, fingerprint, issue, make_authority
from scantrail.infra.credentials import (
    RenewedSecret,
    client_context,
    kafka_access,
    server_context,
)
from scantrail.infra.settings import Settings, SettingsError

HOST = "127.0.0.1"


class Pems:
    """An authority, and files of what it signed."""

    def __init__(self, folder: Path, name: str = "test") -> None:
        self.authority = make_authority(name)
        self.trusted = str(folder / f"{name}-trusted.pem")
        Path(self.trusted).write_bytes(self.authority.certificate)
        self._folder = folder

    def issue(self, name: str, authority: Authority | None = None) -> str:
        path = self._folder / f"{name}.pem"
        path.write_bytes(issue(authority or self.authority, name, [HOST]))
        return str(path)


def write(path: str, content: bytes | None) -> None:
    if content is None:
        Path(path).unlink()
    else:
        Path(path).write_bytes(content)


def held(path: str) -> bytes:
    return Path(path).read_bytes()


@contextmanager
def closed_after(writer: asyncio.StreamWriter) -> Iterator[None]:
    """At once, whatever the other side says to it."""
    try:
        yield
    finally:
        writer.transport.abort()


async def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> bytes | None:
    """The certificate that the client was shown. Raises what either side refuses with."""
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closed_after(writer):
            heard.append(await reader.read(1))
            writer.write(b"y")
            await writer.drain()

    async with asyncio.timeout(10), await asyncio.start_server(answer, HOST, 0, ssl=server) as door:
        port = door.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(HOST, port, ssl=client)
        with closed_after(writer):
            shown: bytes | None = writer.get_extra_info("ssl_object").getpeercert(True)
            writer.write(b"x")
            await writer.drain()
            if await reader.read(1) != b"y":
                raise ConnectionResetError("the server closed the connection")
    return shown


@contextmanager
def refused() -> Iterator[None]:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        yield


async def test_a_certificate_is_taken_by_who_trusts_its_authority(tmp_path: Path) -> None:
    pems, others = Pems(tmp_path), Pems(tmp_path, "other")
    server = server_context("X", pems.issue("server"))
    assert await handshake(server, client_context("X", pems.trusted)) is not None
    with refused():
        await handshake(server, client_context("X", others.trusted))
    with refused():
        await handshake(server, client_context("X", ""))


async def test_where_authorities_are_named_clients_must_show_a_certificate(tmp_path: Path) -> None:
    pems, others = Pems(tmp_path), Pems(tmp_path, "other")
    server = server_context("X", pems.issue("server"), pems.trusted)
    ours, foreign = pems.issue("reader-1"), pems.issue("reader-2", others.authority)
    await handshake(server, client_context("X", pems.trusted, ours))
    for shown in ("", foreign):
        with refused():
            await handshake(server, client_context("X", pems.trusted, shown))


async def test_a_new_certificate_is_shown_to_the_next_connection(tmp_path: Path) -> None:
    pems = Pems(tmp_path)
    path = pems.issue("server")
    server, client = server_context("X", path), client_context("X", pems.trusted)
    first = await handshake(server, client)
    assert await handshake(server, client) == first
    pems.issue("server")
    second = await handshake(server, client)
    assert second is not None
    assert second != first
    assert fingerprint(held(path)) == fingerprint(ssl.DER_cert_to_PEM_cert(second).encode())


async def test_an_authority_that_was_replaced_is_trusted_no_more(tmp_path: Path) -> None:
    old, new = Pems(tmp_path, "old"), Pems(tmp_path, "new")
    server, client = server_context("X", old.issue("server")), client_context("X", old.trusted)
    await handshake(server, client)
    both = new.authority.certificate + old.authority.certificate
    write(old.trusted, both)
    await handshake(server, client)
    new.issue("server")
    await handshake(server, client)
    write(old.trusted, new.authority.certificate)
    await handshake(server, client)
    old.issue("server")
    with refused():
        await handshake(server, client)


async def test_while_a_file_is_no_certificate_the_last_one_is_used_on(tmp_path: Path) -> None:
    pems = Pems(tmp_path)
    path = pems.issue("server")
    server, client = server_context("X", path), client_context("X", pems.trusted)
    first = await handshake(server, client)
    write(path, b"half of a")
    assert await handshake(server, client) == first
    write(path, None)
    assert await handshake(server, client) == first


def test_what_is_no_certificate_at_the_start_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "server.pem"
    path.write_text("none")
    with pytest.raises(SettingsError, match=r"SCANTRAIL_TLS_CERTIFICATE: .*server\.pem cannot be"):
        server_context("SCANTRAIL_TLS_CERTIFICATE", str(path))


def test_a_certificate_ends_when_it_was_said(tmp_path: Path) -> None:
    authority = make_authority("test", days=10)
    long, short = issue(authority, "x", days=5), issue(authority, "x", days=0.5)
    assert expires(short) < expires(long) < expires(authority.certificate)


def test_a_password_is_what_its_file_says_when_it_is_used(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("first\n")
    settings = Settings(kafka_password_file=str(path))
    secret = RenewedSecret(partial(settings.secret, "kafka_password"))
    assert secret.encode("utf-8") == b"first"
    path.write_text("second\n")
    assert secret.encode("utf-8") == b"second"
    path.unlink()
    assert secret.encode("utf-8") == b"first"
    assert "first" not in repr(secret)


def test_kafka_is_reached_as_the_settings_say(tmp_path: Path) -> None:
    pems = Pems(tmp_path)
    assert kafka_access(Settings()) == {}
    proof = {"kafka_ca": pems.trusted, "kafka_certificate": pems.issue("gateway")}
    by_certificate = kafka_access(Settings(kafka_security="tls", **proof))
    assert by_certificate["security_protocol"] == "SSL"
    by_password = kafka_access(
        Settings(kafka_security="scram", kafka_user="gateway", kafka_password="x", **proof)
    )
    del by_password["ssl_context"]
    assert by_password == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "gateway",
        "sasl_plain_password": "x",
    }
