"""`scantrail up --secure`: everything of a Stack that has to do with who may what."""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from scantrail.api.access import Role
from scantrail.cli.tokens import changed, enter_token
from scantrail.infra.credentials import run_clients
from scantrail.infra.database_roles import apply_roles
from scantrail.infra.embedded_kafka import EmbeddedKafka
from scantrail.infra.embedded_postgres import EmbeddedPostgres
from scantrail.infra.kafka_rights import apply_access
from scantrail.infra.keyring import Keyring, keep, new_password
from scantrail.infra.rights import ADMIN
from scantrail.infra.settings import Settings
from scantrail.infra.tables import api_token
from scantrail.infra.tokens import digest_of

#: Whose token commands and the simulated site show the api, and who first signs in on the page.
PERSON = "owner"

_TABLE = re.compile(r"^(?=\[\[reader\]\])", re.MULTILINE)
_ID = re.compile(r'^id = "(?P<id>[^"]+)"$', re.MULTILINE)
_OVER_HTTP = re.compile(r'^protocol = "http-', re.MULTILINE)


def secrets_folder(data_dir: str | Path) -> Path:
    """Where `scantrail up --secure` keeps them."""
    return Path(data_dir).absolute() / "secrets"


def over_https(url: str) -> str:
    """The same address, over TLS."""
    return re.sub(r"^http:", "https:", url)


def demanding(settings: Settings) -> Settings:
    """The settings with which nobody is let in without a token, nor in the clear."""
    return replace(
        settings,
        gateway_url=over_https(settings.gateway_url),
        reader_tokens="required",
        api_tokens="required",
    )


class Secured:
    """The folder of an installation's secrets, and what is made with them."""

    def __init__(self, folder: Path) -> None:
        self.keyring = Keyring(folder)
        #: those of the owner of all, as they are once Kafka and PostgreSQL have an address
        self._shared = Settings()

    def begin(self, settings: Settings) -> Settings:
        """Make what is missing; the settings of whoever runs commands here."""
        self.keyring.make()
        return self.owner(demanding(settings))

    def owner(self, settings: Settings) -> Settings:
        self._shared = settings
        return self.keyring.settings_of(ADMIN, settings)

    def settings_of(self, name: str) -> Settings:
        """What a process is told: its own secrets and no other."""
        return self.keyring.settings_of(name, self._shared)

    def floor_settings(self) -> Settings:
        """What the simulated site is told: a token of the api, and those of its readers."""
        told = self.keyring.settings_of(ADMIN, self._shared)
        default = Settings()
        return replace(
            told,
            kafka_security=default.kafka_security,
            kafka_user="",
            kafka_password_file="",
            kafka_certificate="",
            database_url=default.database_url,
            database_password_file="",
        )

    def open_kafka(self) -> None:
        """Passwords and rights of all principals, before anything is made there."""
        brokers = self.keyring.broker.settings(self._shared.kafka_bootstrap)
        brokers = replace(brokers, topic_prefix=self._shared.topic_prefix)
        run_clients(apply_access(brokers, self.keyring.kafka_passwords()))

    def open_database(self, settings: Settings) -> None:
        """Roles, their passwords and rights, and the first token; the tables are there."""
        apply_roles(settings, self.keyring.database_passwords())
        self._enter_owner(settings)

    def _enter_owner(self, settings: Settings) -> None:
        path = self.keyring.api_token()
        if not path.exists():
            keep(path, new_password())
        digest = digest_of(path.read_text().strip())

        async def work(connection: AsyncConnection) -> None:
            query = select(api_token.c.token_sha256).where(api_token.c.token_sha256 == digest)
            if (await connection.execute(query)).first() is None:
                await enter_token(connection, PERSON, Role.ADMIN, digest)

        changed(settings, work)

    def readers(self, toml: str) -> str:
        """A readers' file in which each reader over HTTP has a token, made where it has none."""
        self.keyring.make()

        def with_digest(found: re.Match[str]) -> str:
            path = self.keyring.reader_token(found["id"])
            if not path.exists():
                keep(path, new_password())
            return f'{found[0]}\ntoken_sha256 = "{digest_of(path.read_text().strip())}"'

        return "".join(
            _ID.sub(with_digest, table)
            if _OVER_HTTP.search(table) and "token_sha256" not in table
            else table
            for table in _TABLE.split(toml)
        )


def secured_token_of(settings: Settings) -> Callable[[str], str]:
    """What each reader shows that has a token by Secured.readers; the others show none."""
    keyring = Keyring(secrets_folder(settings.data_dir))

    def token_of(reader: str) -> str:
        path = keyring.reader_token(reader)
        return path.read_text().strip() if path.exists() else ""

    return token_of


class CertificateWatch:
    """Lets the embedded services show what lies in the folder of secrets: PostgreSQL reads it anew,
    Kafka is started again, which its clients wait for."""

    def __init__(self, keyring: Keyring, say: Callable[[str], None]) -> None:
        self._keyring = keyring
        self._say = say
        self._of_kafka = self._seen(self._kafka_files())
        self._of_postgres = self._seen([keyring.certificate("postgres")])

    def look(self, kafka: EmbeddedKafka | None, postgres: EmbeddedPostgres | None) -> None:
        """To be asked every now and then."""
        seen = self._seen(self._kafka_files())
        if kafka is not None and seen != self._of_kafka and kafka.running:
            self._say("Kafka's certificates or password changed: it is started again")
            kafka.end()
            self._of_kafka = self._seen(self._kafka_files())  # what it will read at its start
        seen = self._seen([self._keyring.certificate("postgres")])
        if postgres is not None and seen != self._of_postgres:
            self._of_postgres = seen
            self._say("PostgreSQL's certificate changed: it is read anew")
            postgres.reload_certificate()

    def _kafka_files(self) -> list[Path]:
        broker = self._keyring.broker
        password = broker.password_file(broker.principal())
        return [broker.certificate, broker.authorities, password]

    def _seen(self, files: list[Path]) -> list[tuple[int, int] | None]:
        return [_state(path) for path in files]


def _state(path: Path) -> tuple[int, int] | None:
    try:
        told = os.stat(path)
    except FileNotFoundError:
        return None
    return told.st_mtime_ns, told.st_ino
