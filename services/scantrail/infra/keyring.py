"""The folder of an installation's secrets: who has what, made once, exchanged piece by piece.

    authority.key            signs certificates; nobody but `scantrail secrets` reads it
                             (authority-next.key while another takes over)
    hosts                    names and addresses that certificates are for
    trusted/                 authorities.pem: whose certificates are trusted, one, or two while one
                             takes over; the only thing here that is no secret
    kafka/                   certificate.pem, kafka-a-password or kafka-b-password; for a broker
                             in a container also security.properties and users.args
    postgres/                certificate.pem; for a server in a container password, pg_hba.conf
    <principal>/             certificate.pem, kafka-password, and where it has them
                             database-password, service-token, api-token
    readers/<reader>         tokens of the simulated site's readers

Every secret is 0600 in a folder of 0700, belongs to the folder's owner, and is replaced whole: who
reads it anew has the old or the new one. A principal's process is given its folder and trusted/.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from scantrail.infra.broker_security import BrokerSecurity
from scantrail.infra.certificates import Authority, issue, make_authority
from scantrail.infra.child_processes import write_private
from scantrail.infra.embedded_postgres import ServerSecurity
from scantrail.infra.rights import ADMIN, BROKERS, PRINCIPALS, ROLES, role_of
from scantrail.infra.settings import Settings

#: Who is reached over HTTP: their certificates are the page's and the gateway's own too.
SERVERS: Final = ("gateway", "api")

#: Who shows the gateway the api's token, or is shown it.
_SERVICE: Final = ("gateway", "api")

#: Folders of the folder of secrets.
FOLDERS: Final = ("trusted", "kafka", "postgres", "readers", *PRINCIPALS)

_LOCAL: Final = ("localhost", "127.0.0.1", "::1")


#: Nobody connects over the network but by TLS and with a password.
_HBA: Final = "local all all scram-sha-256\nhostssl all all all scram-sha-256\n"


class Keyring:
    """The secrets in `folder`; `hosts` are the names and addresses that certificates are for,
    besides this machine's own."""

    def __init__(self, folder: Path, hosts: Iterable[str] = ()) -> None:
        self.folder = folder
        self._hosts_file = folder / "hosts"
        known = self._hosts_file.read_text().split() if self._hosts_file.exists() else _LOCAL
        self._hosts = tuple(dict.fromkeys([*known, *hosts]))
        self.authorities = folder / "trusted" / "authorities.pem"
        self._key = folder / "authority.key"
        self._next_key = folder / "authority-next.key"
        self.broker = BrokerSecurity(folder / "kafka", self.authorities)
        self.database = ServerSecurity(self.certificate("postgres"), self.authorities)

    def make(self) -> None:
        """Make what is missing; what is there stays as it is."""
        for name in ("", *FOLDERS):
            folder = self.folder / name
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755 if name == "trusted" else 0o700)
        _write(self._hosts_file, "\n".join(self._hosts) + "\n")
        if not self._key.exists():
            authority = _new_authority()
            _write(self._key, authority.key + authority.certificate)
            _write(self.authorities, mode=0o644, content=authority.certificate)
        for name in self.certified():
            if not self.certificate(name).exists():
                self.issue(name)
        if not any(self.broker.password_file(name).exists() for name in BROKERS):
            _write(self.broker.password_file(BROKERS[0]), new_password())
        for name in PRINCIPALS:
            self._make_password(self.kafka_password(name))
        for name in ROLES:
            self._make_password(self.database_password(name))
        self._make_password(self.service_token(_SERVICE[0]))
        shared = self.service_token(_SERVICE[0]).read_bytes()
        for name in _SERVICE:
            if not self.service_token(name).exists():
                _write(self.service_token(name), shared)

    def _make_password(self, path: Path) -> None:
        if not path.exists():
            _write(path, new_password())

    def make_for_containers(self, listeners: Sequence[str], quorum: str | None = None) -> None:
        """What brokers with these listeners, one of them that of a `quorum` of several controllers,
        and a PostgreSQL in containers are told."""
        self.make()
        _write(
            self.broker.folder / "security.properties",
            self.broker.properties(*listeners, quorum=quorum),
        )
        if not (arguments := self.broker.folder / "users.args").exists():
            _write(arguments, "\n".join(self.broker.format_arguments()) + "\n")
        self._make_password(self.folder / "postgres" / "password")
        _write(self.folder / "postgres" / "pg_hba.conf", _HBA)

    def tell_broker_anew(self) -> None:
        """Where a broker is told by a file, let the file have the password that holds now."""
        path = self.broker.folder / "security.properties"
        if path.exists():
            _write(path, self.broker.properties_anew(path.read_text()))

    # ----------------------------------------------------------------------------- where they lie

    @staticmethod
    def certified() -> tuple[str, ...]:
        """Who has a certificate."""
        return ("kafka", "postgres", *PRINCIPALS)

    def certificate(self, name: str) -> Path:
        return self.folder / name / "certificate.pem"

    def kafka_password(self, name: str) -> Path:
        return self.folder / name / "kafka-password"

    def database_password(self, name: str) -> Path:
        return self.folder / name / "database-password"

    def api_token(self) -> Path:
        return self.folder / ADMIN / "api-token"

    def reader_token(self, reader: str) -> Path:
        return self.folder / "readers" / reader

    def service_token(self, name: str) -> Path:
        return self.folder / name / "service-token"

    def kafka_passwords(self) -> Mapping[str, str]:
        """The password of each principal, without the brokers'."""
        return {name: _read(self.kafka_password(name)) for name in PRINCIPALS}

    def database_passwords(self) -> Mapping[str, str]:
        """The password of each role, without the owner's."""
        return {name: _read(self.database_password(name)) for name in ROLES}

    # ------------------------------------------------------------------------------- who has what

    def settings_of(self, name: str, shared: Settings) -> Settings:
        """What the process `name` is told: of all secrets only its own, each by its file.

        `shared` are the owner's settings, with the address of the database without a user.
        """
        told = replace(
            shared,
            kafka_security="scram",
            kafka_user=name,
            kafka_password_file=str(self.kafka_password(name)),
            kafka_ca=str(self.authorities),
            kafka_certificate=str(self.certificate(name)),
            tls_ca=str(self.authorities),
            tls_certificate=str(self.certificate(name)) if name in SERVERS else "",
            service_token_file=str(self.service_token(name)) if name in _SERVICE else "",
            database_url=Settings().database_url,
            database_password_file="",
            api_token_file=str(self.api_token()) if name == ADMIN else "",
        )
        if name == ADMIN:
            return replace(
                told,
                database_url=shared.database_url,
                database_password_file=shared.database_password_file,
            )
        if name in ROLES:
            return replace(
                told,
                database_url=_as_user(shared.database_url, role_of(name)),
                database_password_file=str(self.database_password(name)),
            )
        return told

    # ---------------------------------------------------------------------------- what is renewed

    def issue(self, name: str, *, days: float | None = None) -> None:
        """A new certificate in the place of the old, by the authority that signs now."""
        more = {} if days is None else {"days": days}
        pem = issue(self._authority(), name, (*self._hosts, name), **more)
        _write(self.certificate(name), pem)

    def begin_authority(self) -> None:
        """A new authority is trusted from now on, besides those that are."""
        if not self._next_key.exists():
            new = _new_authority()
            trusted = self.authorities.read_bytes()
            _write(self._next_key, new.key + new.certificate)
            _write(self.authorities, mode=0o644, content=new.certificate + trusted)

    def sign_with_new_authority(self) -> None:
        """The new authority signs from now on."""
        self._next_key.replace(self._key)

    def end_authority(self) -> None:
        """Only the authority that signs now is trusted."""
        _write(self.authorities, mode=0o644, content=self._authority().certificate)

    def _authority(self) -> Authority:
        pem = self._key.read_bytes()
        end = pem.index(b"-----BEGIN CERTIFICATE-----")
        return Authority(key=pem[:end], certificate=pem[end:])


def _new_authority() -> Authority:
    """Under a name of its own: two are trusted while one takes over."""
    return make_authority(f"Scantrail {secrets.token_hex(4)}")


def keep(path: Path, secret: str) -> None:
    """Replace a secret of the folder."""
    _write(path, secret)


def new_password() -> str:
    """One that cannot be guessed, of letters and digits that nothing has to escape."""
    return secrets.token_hex(24)


def _write(path: Path, content: str | bytes, *, mode: int = 0o600) -> None:
    """Replace a file; it belongs to whom its folder belongs."""
    folder = path.parent.stat()
    write_private(path, content, owner=(folder.st_uid, folder.st_gid), mode=mode)


def _read(path: Path) -> str:
    return path.read_text().strip()


def _as_user(database_url: str, user: str) -> str:
    scheme, _, rest = database_url.partition("://")
    return f"{scheme}://{user}@{rest.rpartition('@')[2]}"
