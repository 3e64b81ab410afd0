"""With what this process proves who it is, and checks others: from files that may change meanwhile.

A password and a certificate are read anew when a connection is opened that needs them, so that
they can be exchanged while everything runs: open connections go on as they are, new ones are
opened with what is there by then.
"""

import asyncio
import ssl
import time
from collections.abc import Callable, Coroutine
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import httpx

from scantrail.infra.logs import logger
from scantrail.infra.settings import Settings, SettingsError

log = logger(__name__)

MECHANISM = "SCRAM-SHA-512"

_CLOSE_S_MAX = 2.0

T = TypeVar("T")


class RenewedSecret(str):
    """A password that says what its file says now, when it is put into bytes: so aiokafka does
    whenever it authenticates. As a text it is what it was at first, and is not shown."""

    _read: Callable[[], str]

    def __new__(cls, read: Callable[[], str]) -> "RenewedSecret":
        secret = super().__new__(cls, read())
        secret._read = read
        return secret

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        try:
            now = self._read()
        except SettingsError as error:
            log.warning("a secret cannot be read anew", reason=str(error))
            now = str.__str__(self)
        return now.encode(encoding, errors)

    def __repr__(self) -> str:
        return "'***'"


class RenewedContext(ssl.SSLContext):
    """Opens connections by a context that is made anew when one of its files has changed.

    Where that fails, as while a file is being written, the last one is used on.
    """

    _make: Callable[[], ssl.SSLContext]
    _files: tuple[Path, ...]
    _made: ssl.SSLContext
    _seen: list[tuple[int, int, int]]

    @classmethod
    def of(cls, protocol: int, make: Callable[[], ssl.SSLContext], *files: str) -> "RenewedContext":
        """`make` reads `files`. Raises what it raises."""
        renewed = cls(protocol)
        renewed._make = make
        renewed._files = tuple(map(Path, files))
        renewed._seen = renewed._look()
        renewed._made = make()
        return renewed

    def wrap_bio(self, *args: Any, **more: Any) -> ssl.SSLObject:
        return self._current().wrap_bio(*args, **more)

    def wrap_socket(self, *args: Any, **more: Any) -> ssl.SSLSocket:
        return self._current().wrap_socket(*args, **more)

    def _current(self) -> ssl.SSLContext:
        try:
            seen = self._look()
            if seen != self._seen:
                self._made, self._seen = self._make(), seen
                log.info("certificates were read anew", files=[str(path) for path in self._files])
        except OSError as error:  # of which SSLError is one
            log.warning("certificates cannot be read anew", reason=str(error))
        return self._made

    def _look(self) -> list[tuple[int, int, int]]:
        told = [path.stat() for path in self._files]
        return [(each.st_mtime_ns, each.st_size, each.st_ino) for each in told]


def client_context(variable: str, authorities: str, certificate: str = "") -> ssl.SSLContext:
    """For connections to others: whose certificates are of `authorities` (empty: the system's), and
    who are shown `certificate` where there is one. SettingsError, which names `variable`."""
    make = partial(_client, authorities, certificate)
    files = [path for path in (authorities, certificate) if path]
    return _renewed(variable, ssl.PROTOCOL_TLS_CLIENT, make, files)


def server_context(variable: str, certificate: str, authorities: str = "") -> ssl.SSLContext:
    """For connections from others, who are shown `certificate`, and where there are `authorities`
    must show one of theirs. SettingsError, which names `variable`."""
    make = partial(_server, certificate, authorities)
    files = [path for path in (certificate, authorities) if path]
    return _renewed(variable, ssl.PROTOCOL_TLS_SERVER, make, files)


def _renewed(
    variable: str, protocol: int, make: Callable[[], ssl.SSLContext], files: list[str]
) -> ssl.SSLContext:
    try:
        return RenewedContext.of(protocol, make, *files) if files else make()
    except OSError as error:
        raise SettingsError(
            f"{variable}: {' and '.join(files)} cannot be used ({error}): give PEM, a certificate"
            " with its key in the same file"
        ) from error


def _client(authorities: str, certificate: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authorities or None)
    if certificate:
        context.load_cert_chain(certificate)
    return context


def _server(certificate: str, authorities: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    if authorities:
        context.load_verify_locations(authorities)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def run_clients(work: Coroutine[Any, Any, T]) -> T:
    """As asyncio.run, for work that has Kafka clients: aiokafka does not wait until the connection
    is closed by which it began, and over TLS that takes more than a moment."""

    async def whole() -> T:
        try:
            return await work
        finally:
            deadline = time.monotonic() + _CLOSE_S_MAX
            while _open_transports() and time.monotonic() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    return asyncio.run(whole())


def _open_transports() -> list[Any]:
    """Connections of the running loop; none where the loop is of another kind than asyncio's."""
    known = getattr(asyncio.get_running_loop(), "_transports", {})
    return [each for each in known.values() if getattr(each, "_sock", None) is not None]


def kafka_access(settings: Settings) -> dict[str, Any]:
    """What aiokafka's clients are told besides the brokers' addresses."""
    if settings.kafka_security == "plaintext":
        return {}
    context = client_context(
        "SCANTRAIL_KAFKA_CA, SCANTRAIL_KAFKA_CERTIFICATE",
        settings.kafka_ca,
        settings.kafka_certificate,
    )
    if settings.kafka_security == "tls":
        return {"security_protocol": "SSL", "ssl_context": context}
    return {
        "security_protocol": "SASL_SSL",
        "ssl_context": context,
        "sasl_mechanism": MECHANISM,
        "sasl_plain_username": settings.kafka_user,
        "sasl_plain_password": RenewedSecret(partial(settings.secret, "kafka_password")),
    }


def https_shown(settings: Settings, *, of_clients: str = "") -> ssl.SSLContext | None:
    """With what we are reached over https, by clients of these authorities alone where there are
    some; None where we are reached by http."""
    if not settings.tls_certificate:
        return None
    return server_context("SCANTRAIL_TLS_CERTIFICATE", settings.tls_certificate, of_clients)


@cache
def trusted(*, trust_env: bool = True) -> ssl.SSLContext:
    """By which certificates others' servers are believed; to read them takes tens of ms."""
    return httpx.create_ssl_context(trust_env=trust_env)


def https_checks(settings: Settings) -> ssl.SSLContext:
    """By what httpx checks the gateway's and the api's certificates; ours is shown, if asked."""
    if not settings.tls_ca:
        return trusted()
    return client_context("SCANTRAIL_TLS_CA", settings.tls_ca, settings.tls_certificate)
