"""`scantrail secrets rotate`: what proves who is who is exchanged while everything runs.

Nothing is taken away before its successor is let in: open connections go on, and new ones are
opened with what lies in the folder by then, because all who connect read it anew.
"""

import socket
import ssl
import struct
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psycopg

from scantrail.infra.certificates import fingerprint
from scantrail.infra.child_processes import write_private
from scantrail.infra.credentials import run_clients
from scantrail.infra.database import address_of
from scantrail.infra.database_roles import set_owner_password, set_role_password
from scantrail.infra.kafka_rights import set_password
from scantrail.infra.keyring import Keyring, keep, new_password
from scantrail.infra.rights import BROKERS, PRINCIPALS, ROLES
from scantrail.infra.settings import Settings, SettingsError

#: What can be exchanged.
KINDS = ("passwords", "certificates", "authority")

SHOWN_S_MAX = 120.0

_LOOK_S = 0.2
_SSL_REQUEST = struct.pack(">ii", 8, 80877103)


class Rotation:
    """One exchange, in an installation that runs with `settings`, those of whoever commands."""

    def __init__(self, settings: Settings, keyring: Keyring, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._keyring = keyring
        self._say = say

    def rotate(self, kind: str) -> None:
        """Exchange all of one of KINDS. SettingsError where Kafka or PostgreSQL does not go along;
        what is exchanged by then is in use, and the command may be repeated."""
        {
            "passwords": self._passwords,
            "certificates": self._certificates,
            "authority": self._authority,
        }[kind]()

    def _passwords(self) -> None:
        told = self._settings.database_password_file
        if told:
            take_up_owner_password(self._settings, Path(told))
        for name in PRINCIPALS:
            exchange(self._keyring.kafka_password(name), partial(self._tell_kafka, name))
        self._say("Kafka's principals have new passwords")
        for name in ROLES:
            path = self._keyring.database_password(name)
            exchange(path, partial(set_role_password, self._settings, name))
        if told:
            exchange(Path(told), partial(set_owner_password, self._settings))
        self._say("PostgreSQL's roles have new passwords")
        self._service_token()
        self._say("the api shows the gateway a new token")
        self._broker_password()
        self._say("the brokers have a new password")

    def _service_token(self) -> None:
        """The gateway takes both while the api changes to the new one."""
        gateway, api = (self._keyring.service_token(name) for name in ("gateway", "api"))
        old, new = api.read_text().strip(), new_password()
        keep(gateway, f"{new}\n{old}")
        keep(api, new)
        keep(gateway, new)

    def _broker_password(self) -> None:
        """The brokers' other name gets one, and the one in use until now loses its own."""
        broker = self._keyring.broker
        old = broker.principal()
        (new,) = (name for name in BROKERS if name != old)
        password = new_password()
        self._tell_kafka(new, password)
        keep(broker.password_file(new), password)
        self._keyring.tell_broker_anew()
        self._new_certificate_of_kafka()
        self._tell_kafka(old, new_password())
        broker.password_file(old).unlink()

    def _certificates(self) -> None:
        self._all_but_kafka()
        self._new_certificate_of_kafka()
        self._say("all certificates are new")

    def _authority(self) -> None:
        self._keyring.begin_authority()
        self._new_certificate_of_kafka()
        self._say("a new authority is trusted too")
        self._keyring.sign_with_new_authority()
        self._all_but_kafka()
        self._new_certificate_of_kafka()
        self._say("all certificates are of the new authority")
        self._keyring.end_authority()
        self._new_certificate_of_kafka()
        self._say("the old authority is trusted no more")

    def _all_but_kafka(self) -> None:
        for name in self._keyring.certified():
            if name != "kafka":
                self._keyring.issue(name)
        self._await(self._database_address(), "postgres", starts_in_clear=True)

    def _new_certificate_of_kafka(self) -> None:
        """By it is seen that the brokers have read anew what lies in the folder."""
        self._keyring.issue("kafka")
        for broker in self._settings.kafka_bootstrap.split(","):
            host, _, port = broker.strip().rpartition(":")
            self._await((host, int(port)), "kafka")

    def _await(self, address: tuple[str, int], name: str, *, starts_in_clear: bool = False) -> None:
        """Return once `name` shows the certificate that lies in the folder."""
        wanted = fingerprint(self._keyring.certificate(name).read_bytes())
        deadline = time.monotonic() + SHOWN_S_MAX
        while shown_by(address, starts_in_clear=starts_in_clear) != wanted:
            if time.monotonic() > deadline:
                raise SettingsError(
                    f"{name} at {address[0]}:{address[1]} does not show its new certificate within"
                    f" {SHOWN_S_MAX:.0f} s: let it read {self._keyring.certificate(name)} anew, and"
                    " say this command again"
                )
            time.sleep(_LOOK_S)

    def _tell_kafka(self, name: str, password: str) -> None:
        run_clients(set_password(self._brokers(), name, password))

    def _brokers(self) -> Settings:
        return self._keyring.broker.settings(self._settings.kafka_bootstrap)

    def _database_address(self) -> tuple[str, int]:
        return address_of(self._settings.secret("database_url"))


def exchange(path: Path, tell: Callable[[str], None]) -> None:
    """A new password in the file `path`, of which `tell` tells who asks for it. It lies beside the
    file before it is told: who dies in between has not lost it, and one that cannot be written, or
    not be given to the file's owner, is told to nobody."""
    owner, password = path.stat(), new_password()
    write_private(_next_to(path), password, owner=(owner.st_uid, owner.st_gid))
    tell(password)
    _next_to(path).replace(path)


def take_up_owner_password(settings: Settings, path: Path) -> None:
    """End an exchange that died, if one did: where PostgreSQL takes the password of `path` no more,
    it has the one beside it."""
    if not _next_to(path).exists():
        return
    address, refusals = settings.secret("database_url"), []
    for holder in (path, _next_to(path)):
        try:
            psycopg.connect(address, password=holder.read_text().strip()).close()
        except psycopg.OperationalError as error:
            refusals.append(str(error))
        else:
            holder.replace(path)
            return
    raise SettingsError(
        f"PostgreSQL does not answer, or takes neither the password of {path} nor the one beside it"
        f" that an exchange left: {'; '.join(refusals)}"
    )


def _next_to(path: Path) -> Path:
    return path.with_name(f"{path.name}.next")


def shown_by(address: tuple[str, int], *, starts_in_clear: bool = False) -> bytes | None:
    """SHA-256 of the certificate that is shown there, None where nothing answers; nothing is said
    of whether it is trusted. PostgreSQL is asked for TLS first: `starts_in_clear`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(address, timeout=2) as connection:
            if starts_in_clear:
                connection.sendall(_SSL_REQUEST)
                if connection.recv(1) != b"S":
                    return None
            with context.wrap_socket(connection) as secured:
                der = secured.getpeercert(binary_form=True)
    except OSError:
        return None
    return None if der is None else fingerprint(ssl.DER_cert_to_PEM_cert(der).encode())
