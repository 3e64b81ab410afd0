"""How a Kafka broker is told to let in only who shows a certificate and a password, and to allow
nothing that was not said: the same lines for the embedded broker and for one in a container."""

import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from scantrail.infra.credentials import MECHANISM, kafka_access, run_clients
from scantrail.infra.rights import BROKERS
from scantrail.infra.settings import Settings

# TLS with certificates of both sides, and SCRAM, on every listener, one controller's too.
_PROPERTIES = """\
listener.security.protocol.map={protocols}
sasl.enabled.mechanisms={mechanism}
sasl.mechanism.inter.broker.protocol={mechanism}
sasl.mechanism.controller.protocol={mechanism}
ssl.keystore.type=PEM
ssl.keystore.location={certificate}
ssl.truststore.type=PEM
ssl.truststore.location={authorities}
ssl.enabled.protocols=TLSv1.3,TLSv1.2
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users={users}
"""

_CERTIFIED = "listener.name.{name}.ssl.client.auth=required\n"

_LISTENER = """\
listener.name.{name}.sasl.enabled.mechanisms={mechanism}
listener.name.{name}.{mechanism_key}.sasl.jaas.config={module} required \
username="{user}" password="{password}";
"""

#: As whom several controllers know each other: passwords are in the log for which they have yet to
#: elect a leader. No other certificate of the authority has this name.
_CONTROLLERS = "CN=kafka"

_MODULE = "org.apache.kafka.common.security.scram.ScramLoginModule"


@dataclass(frozen=True, slots=True)
class BrokerSecurity:
    """The folder with what the brokers have: their certificate, the passwords of their own
    principals, of which the newest holds; and the file of the authorities that are trusted."""

    folder: Path
    authorities: Path

    @property
    def certificate(self) -> Path:
        return self.folder / "certificate.pem"

    def password_file(self, name: str) -> Path:
        return self.folder / f"{name}-password"

    def principal(self) -> str:
        """As whom the brokers know each other."""
        there = [name for name in BROKERS if self.password_file(name).exists()]
        return max(there, key=lambda name: self.password_file(name).stat().st_mtime_ns)

    def settings(self, bootstrap: str) -> Settings:
        """With which rights and passwords are set."""
        name = self.principal()
        return Settings(
            kafka_bootstrap=bootstrap,
            kafka_security="scram",
            kafka_user=name,
            kafka_password_file=str(self.password_file(name)),
            kafka_ca=str(self.authorities),
            kafka_certificate=str(self.certificate),
        )

    def properties(
        self, *listeners: str, quorum: str | None = None, seen_from: Path | None = None
    ) -> str:
        """Lines of `server.properties`; they hold the password: the file is to be 0600. Paths are
        as they are from the folder `seen_from`, where one is given. `quorum`: the one of these
        listeners on which several controllers elect their leader, by certificates alone."""
        name = self.principal()
        password = self.password_file(name).read_text().strip()
        supers = BROKERS if quorum is None else (*BROKERS, _CONTROLLERS)
        lines = _PROPERTIES.format(
            protocols=",".join(
                f"{each}:{'SSL' if each == quorum else 'SASL_SSL'}" for each in listeners
            ),
            mechanism=MECHANISM,
            certificate=_path(self.certificate, seen_from),
            authorities=_path(self.authorities, seen_from),
            users=";".join(f"User:{each}" for each in supers),
        )
        for listener in listeners:
            lines += _CERTIFIED.format(name=listener.lower())
            if listener != quorum:
                lines += _LISTENER.format(
                    name=listener.lower(),
                    mechanism=MECHANISM,
                    mechanism_key=MECHANISM.lower(),
                    module=_MODULE,
                    user=name,
                    password=password,
                )
        return lines

    def properties_anew(self, properties: str) -> str:
        """Such lines as they are now, for the same listeners; paths are whole."""
        (protocols,) = re.findall(r"^listener.security.protocol.map=(.*)$", properties, re.M)
        told = dict(each.split(":") for each in protocols.split(","))
        quorum = next((each for each, protocol in told.items() if protocol == "SSL"), None)
        return self.properties(*told, quorum=quorum)

    def format_arguments(self) -> Sequence[str]:
        """What the storage tool is told, by a file: on its command line all would see it."""
        name = self.principal()
        password = self.password_file(name).read_text().strip()
        return ("--add-scram", f"{MECHANISM}=[name={name},password={password}]")

    def answers(self, address: str) -> bool:
        """Whether the broker lets its own principal in, and lists itself as alive."""
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=2).close()
        except OSError:
            return False  # aiokafka would log each attempt
        return run_clients(_lists_itself(self.settings(address)))


def _path(path: Path, seen_from: Path | None) -> str:
    return str(path) if seen_from is None else os.path.relpath(path, seen_from)


async def _lists_itself(settings: Settings) -> bool:
    client = AIOKafkaClient(
        bootstrap_servers=settings.kafka_bootstrap,
        request_timeout_ms=2000,
        **kafka_access(settings),
    )
    try:
        await client.bootstrap()
        return bool(client.cluster.brokers())
    except (KafkaError, OSError, TimeoutError):
        return False
    finally:
        await client.close()
