"""What the readers' file says of a reader over MQTT: where it publishes, and how we get there."""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from scantrail.gateway.contexts import Refuse

Version = Literal["3.1.1", "5"]

OFFLINE_DEFAULT: Final = frozenset({"offline"})

#: Keys of a reader over MQTT, beside `address` and those of its decoder.
MQTT_KEYS: Final = frozenset(
    {
        "topic",
        "mqtt_version",
        "client_id",
        "shared",
        "username",
        "password_env",
        "tls",
        "ca_file",
        "status_topic",
        "offline",
    }
)

_TOPIC_BYTES_MAX: Final = 65_535
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

#: Keys that need another, and why.
_NEEDS: Final = {
    "password_env": ("username", "a broker takes no password without a name"),
    "offline": ("status_topic", "where it is told"),
    "shared": ("client_id", "each gateway of the group has a name of its own, that lasts"),
    "ca_file": ("tls", "certificates are looked at over TLS only"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """Where a reader publishes: the topic of its reads at a broker.

    `client_id` is the name under which the broker keeps what this gateway has not acknowledged; no
    other connection has it. Gateways of one group `shared` take turns. `password` comes from the
    environment. `ca_file` holds the certificates that the broker's is checked by (None: those of
    the system). On `status_topic` one of the texts `offline` says that the reader is away, as its
    last will does, and any other that it is there.
    """

    topic: str
    client_id: str
    mqtt_version: Version = "3.1.1"
    shared: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca_file: str | None = None
    status_topic: str | None = None
    offline: frozenset[str] = OFFLINE_DEFAULT


def subscription_settings(
    table: Mapping[str, Any], refuse: Refuse, environ: Mapping[str, str] | None
) -> Subscription:
    """The settings of a reader's table, checked.

    Its password is looked up in `environ`, and the certificates on this machine, unless that is
    None.
    """
    for key, (other, why) in _NEEDS.items():
        if key in table and not table.get(other):
            refuse(key, f"needs {other} too: {why}")
    reading = _Reading(table, refuse, environ)
    if "topic" not in table:
        refuse("topic", "is missing")
    values: dict[str, Any] = {"client_id": f"scantrail-{table['id']}"}
    checks = {
        "topic": reading.topic,
        "mqtt_version": reading.version,
        "client_id": reading.name,
        "shared": reading.name,
        "username": reading.text,
        "tls": reading.flag,
        "ca_file": reading.certificates,
        "status_topic": reading.topic,
        "offline": reading.texts,
    }
    if "password_env" in table:
        values["password"] = reading.password("password_env")
    values |= {key: check(key) for key, check in checks.items() if key in table}
    if values.get("status_topic") == values["topic"]:
        refuse("status_topic", "is the topic of the reads; states need one of their own")
    return Subscription(**values)


class _Reading:
    """The keys of one table, each checked as it is read."""

    def __init__(
        self, table: Mapping[str, Any], refuse: Refuse, environ: Mapping[str, str] | None
    ) -> None:
        self._table = table
        self._refuse = refuse
        self._environ = environ

    def text(self, key: str) -> str:
        value = self._table[key]
        if not isinstance(value, str) or not value:
            self._refuse(key, f"a text is expected, not {value!r}")
        return value

    def name(self, key: str) -> str:
        value = self.text(key)
        if not _NAME.fullmatch(value):
            self._refuse(key, f"{value!r}: 1 to 64 letters, digits, '.', '_' or '-' are expected")
        return value

    def flag(self, key: str) -> bool:
        value = self._table[key]
        if not isinstance(value, bool):
            self._refuse(key, f"true or false is expected, not {value!r}")
        return value

    def texts(self, key: str) -> frozenset[str]:
        value = self._table[key]
        if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
            self._refuse(key, f"a list of texts is expected, not {value!r}")
        return frozenset(value)

    def version(self, key: str) -> str:
        value = self.text(key)
        if value not in Version.__args__:  # type: ignore[attr-defined]
            self._refuse(key, f"{value!r} is unknown; one of 3.1.1, 5")
        return value

    def topic(self, key: str) -> str:
        topic = self.text(key)
        if set("+#") & set(topic):
            self._refuse(
                key,
                f"{topic!r} has a wildcard: who a reader is, its topic tells; give each its own"
                " [[reader]] with its whole topic",
            )
        if topic.startswith("$share/"):
            self._refuse(key, f"{topic!r}: name the group in shared, and here the topic alone")
        if "\0" in topic or len(topic.encode()) > _TOPIC_BYTES_MAX:
            self._refuse(key, f"at most {_TOPIC_BYTES_MAX} bytes without NUL are expected")
        return topic

    def password(self, key: str) -> str | None:
        variable = self.text(key)
        if not _VARIABLE.fullmatch(variable):
            self._refuse(key, f"{variable!r} is no name of an environment variable")
        if self._environ is None:
            return None
        password = self._environ.get(variable)
        if not password:
            self._refuse(
                key, f"the environment variable {variable} is not set: put the password in"
            )
        return password

    def certificates(self, key: str) -> str:
        file = self.text(key)
        if self._environ is not None:
            try:
                ssl.create_default_context(cafile=file)
            except OSError as error:
                self._refuse(key, f"{file!r} cannot be used, PEM is expected: {error}")
        return file
