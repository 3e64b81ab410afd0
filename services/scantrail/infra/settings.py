"""Settings: `SCANTRAIL_…` variables over one TOML file, read once at the edge, passed as values.

Each setting is declared once, here, with its default and its meaning; `scantrail config` prints
them, `docs/settings.md` and `docker-compose.yml` are compared with them in tests.
"""

import difflib
import math
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

ENV_PREFIX = "SCANTRAIL_"

_BASE = re.compile(r"https?://[A-Za-z0-9.\-]+(?::[0-9]+)?/(?:[A-Za-z0-9._~\-]+/)*")

#: Settings that name a file of certificates.
_PEM_FILES = ("kafka_ca", "kafka_certificate", "tls_certificate", "tls_client_ca", "tls_ca")

_KINDS = {int: "whole number", float: "number", str: "text"}


class SettingsError(Exception):
    """A setting cannot be used. The text names the setting and the mend."""


def _setting(
    default: Any,
    meaning: str,
    *,
    secret: bool = False,
    choices: str = "",
    least: float = 0,
) -> Any:
    """A setting; `least` is the smallest number it takes, and says nothing of texts."""
    return field(
        default=default,
        metadata={
            "meaning": meaning,
            "secret": secret,
            "choices": tuple(choices.split()),
            "least": least,
        },
    )


def _file_of(secret: str) -> Any:
    """The setting that names a file which holds `secret`, in the place of its own value."""
    variable = ENV_PREFIX + secret.upper()
    return _setting("", f"file that holds {variable} instead; it is read anew whenever it is used")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that a process may be told. Field `x` is set by `SCANTRAIL_X` or TOML key `x`."""

    kafka_bootstrap: str = _setting("127.0.0.1:9092", "Kafka brokers, host:port, commas between")
    kafka_security: str = _setting(
        "plaintext",
        "how Kafka is reached: in the clear, by TLS with a certificate of our own, or by TLS and"
        " SCRAM-SHA-512 with a name and a password",
        choices="plaintext tls scram",
    )
    kafka_user: str = _setting("", "the name that Kafka knows this process by, for scram")
    kafka_password: str = _setting("", "its password", secret=True)
    kafka_password_file: str = _file_of("kafka_password")
    kafka_ca: str = _setting(
        "", "PEM file of the authorities that Kafka's certificates are of; empty: the system's"
    )
    kafka_certificate: str = _setting(
        "", "PEM file with the certificate that Kafka is shown, and its key; empty: none"
    )
    topic_prefix: str = _setting("scantrail", "first part of every topic and group name")
    partitions: int = _setting(4, "partitions of scans and movements, fixed at creation", least=1)
    replication: int = _setting(1, "copies of each partition, fixed at creation", least=1)
    database_url: str = _setting(
        "postgresql://scantrail@127.0.0.1:5432/scantrail",
        "PostgreSQL 15 or later, as postgresql://user:password@host:port/name",
        secret=True,
    )
    database_url_file: str = _file_of("database_url")
    database_password: str = _setting(
        "", "PostgreSQL's password, where the address has none", secret=True
    )
    database_password_file: str = _file_of("database_password")
    history_months: int = _setting(
        0,
        "of months that ended so many months ago, `scantrail db months` removes scans inside the"
        " house of units that left; 0: never",
    )
    data_dir: str = _setting(".scantrail", "folder of spool, stores and embedded services")
    listen_host: str = _setting("127.0.0.1", "address every process listens on")
    api_port: int = _setting(8600, "the page and the API")
    gateway_port: int = _setting(8601, "reads over HTTP")
    gateway_health_port: int = _setting(8611, "gateway: /livez /readyz /metrics")
    tracker_health_port: int = _setting(8612, "tracker: /livez /readyz /metrics")
    projector_health_port: int = _setting(8613, "projector: /livez /readyz /metrics")
    alerter_health_port: int = _setting(8614, "alerter: /livez /readyz /metrics")
    api_health_port: int = _setting(8615, "api: /livez /readyz /metrics")
    tls_certificate: str = _setting(
        "",
        "PEM file with the certificate and the key of the page, the API and reads over HTTP: then"
        " they are reached by https; empty: by http",
    )
    tls_client_ca: str = _setting(
        "",
        "gateway: PEM file of authorities; only who shows a certificate of theirs may connect, and"
        " a reader's is made out to its id; empty: anybody may connect",
    )
    tls_ca: str = _setting(
        "",
        "PEM file of the authorities by which the api checks the gateway's certificate, and"
        " commands the api's; empty: the system's",
    )
    gateway_url: str = _setting("http://127.0.0.1:8601", "where the api sends reads to be replayed")
    reader_tokens: str = _setting(
        "optional",
        "whether every reader over HTTP must have a token, or only those with `token_sha256`",
        choices="optional required",
    )
    service_token: str = _setting(
        "", "what the api shows the gateway for a replay; empty: nothing", secret=True
    )
    service_token_file: str = _file_of("service_token")
    api_tokens: str = _setting(
        "off",
        "whether whoever asks the api must show a token: else everybody who reaches it may all",
        choices="off required",
    )
    api_hosts: str = _setting(
        "",
        "names with a dot under which browsers reach the page and the API where no tokens are asked"
        " for, commas between; addresses, and names that only this network knows, always count",
    )
    api_token: str = _setting("", "what commands show the api; empty: nothing", secret=True)
    api_token_file: str = _file_of("api_token")
    api_versions: str = _setting(
        "optional",
        "whether a change must say by If-Match which version it changes",
        choices="optional required",
    )
    api_requests_per_s_max: float = _setting(
        1000.0, "what the api answers of one token, or of one address without; 0: any number"
    )
    page: str = _setting(
        "full",
        "whether the page offers what changes something; the API itself is bound by roles",
        choices="full read_only",
    )
    readers_file: str = _setting("", "TOML file with a [[reader]] table per reader")
    ack_limit_s: float = _setting(
        1.5, "without Kafka's answer for so long, a scan goes to disk", least=0.01
    )
    spool_bytes_max: int = _setting(1 << 30, "the gateway refuses reads beyond this spool size")
    verdict_deadline_ms: float = _setting(
        100.0, "a conveyor is answered within this time, and later than that with hold", least=1
    )
    verdict_stale_s: float = _setting(
        30.0, "recalls and holds older than this, Kafka being away, release nothing", least=2
    )
    verdict_unknown_order: str = _setting(
        "hold",
        "the verdict where a conveyor names an order that nobody entered",
        choices="hold release",
    )
    tracker_store: str = _setting(
        "rocksdb", "where the tracker keeps units", choices="rocksdb memory"
    )
    tracker_ordinal: int = _setting(0, "number of this tracker among its peers, from 0")
    tracker_fence: str = _setting(
        "off", "whether Kafka refuses states of a tracker that was overtaken", choices="off on"
    )
    site_travel_s: float = _setting(
        1800.0, "a unit seen at two sites within this time raises duplicate_serial"
    )
    epcis_base: str = _setting(
        "https://scantrail.invalid/epcis/",
        "how URIs of this installation begin in EPCIS events: an address of your own, ending in /",
    )
    webhook_private_addresses: str = _setting(
        "refuse",
        "whether webhooks may lead to addresses that are not public",
        choices="refuse allow",
    )
    webhook_timeout_s: float = _setting(
        10.0, "a receiver of webhooks answers within this time", least=0.1
    )
    webhook_backoff_s: float = _setting(
        5.0, "about so long after the first failed attempt a webhook is sent again", least=0.01
    )
    webhook_attempts_max: int = _setting(
        12, "after so many failed attempts a webhook's message is parked", least=1
    )
    log_level: str = _setting(
        "info", "least level that is logged", choices="debug info warning error"
    )

    def describe(self) -> list[tuple[str, str, str]]:
        """(variable, value with secrets hidden, meaning) for each setting, in order."""
        return [
            (
                ENV_PREFIX + f.name.upper(),
                "***" if f.metadata["secret"] else str(getattr(self, f.name)),
                f.metadata["meaning"],
            )
            for f in fields(self)
        ]

    def value(self, name: str) -> str:
        """One setting by its variable or TOML key, secret or not; SettingsError for no such one."""
        name = name.upper().removeprefix(ENV_PREFIX).lower()
        known = [f.name for f in fields(self)]
        if name not in known:
            raise SettingsError(_unknown(name, known))
        return str(getattr(self, name))

    def secret(self, name: str) -> str:
        """A secret as it is now: from its file, where one is named, which may have changed.

        Raises SettingsError where that file cannot be read, or is empty.
        """
        told: str = getattr(self, f"{name}_file")
        if not told:
            return str(getattr(self, name))
        variable = f"{ENV_PREFIX}{name.upper()}_FILE"
        try:
            held = Path(told).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{variable}={told}: cannot be read: {error}") from error
        if not held:
            raise SettingsError(f"{variable}={told}: is empty: write the secret into it")
        return held

    def environ(self) -> dict[str, str]:
        """The variables that make another process resolve to these same settings."""
        return {ENV_PREFIX + f.name.upper(): str(getattr(self, f.name)) for f in fields(self)}


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Resolve the settings: variables win over the file named by `SCANTRAIL_CONFIG`.

    Raises SettingsError, naming the setting, for an unknown name, a value of the wrong type or
    outside its choices, and a file that cannot be read.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    known = {f.name: f for f in fields(Settings)}
    config = environ.get(ENV_PREFIX + "CONFIG")
    if config:
        values.update(_read_toml(Path(config)))
    for name, text in environ.items():
        if name.startswith(ENV_PREFIX) and name != ENV_PREFIX + "CONFIG":
            values[name.removeprefix(ENV_PREFIX).lower()] = text
    resolved: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise SettingsError(_unknown(name, known))
        resolved[name] = _convert(name, value, known[name].default, known[name].metadata)
    _refuse_both(resolved)
    settings = Settings(**resolved)
    _check_together(settings)
    return settings


def _secrets() -> list[str]:
    return [f.name for f in fields(Settings) if f.metadata["secret"]]


def _refuse_both(resolved: Mapping[str, Any]) -> None:
    """Which of the two holds would be a guess. What is as it is without being told is no second."""
    defaults = Settings()
    for name in _secrets():
        told = resolved.get(name, "")
        if resolved.get(f"{name}_file") and told not in ("", getattr(defaults, name)):
            variable = ENV_PREFIX + name.upper()
            raise SettingsError(f"{variable} and {variable}_FILE are both set: take one out")


def _check_together(settings: Settings) -> None:
    """What one setting asks of others, and of files."""
    for name in _secrets():
        settings.secret(name)
    variable = f"{ENV_PREFIX}KAFKA_SECURITY={settings.kafka_security}"
    if settings.kafka_security == "scram":
        for needed in ("kafka_user", "kafka_password"):
            told = settings.secret(needed) if needed in _secrets() else settings.kafka_user
            if not told:
                raise SettingsError(f"{variable}: set {ENV_PREFIX}{needed.upper()} too")
    if settings.kafka_security == "tls" and not settings.kafka_certificate:
        raise SettingsError(f"{variable}: set {ENV_PREFIX}KAFKA_CERTIFICATE too, or give scram")
    if settings.tls_client_ca and not settings.tls_certificate:
        raise SettingsError(
            f"{ENV_PREFIX}TLS_CLIENT_CA={settings.tls_client_ca}: set {ENV_PREFIX}TLS_CERTIFICATE"
            " too: without it no TLS is spoken, and nobody shows a certificate"
        )
    for name in _PEM_FILES:
        path = getattr(settings, name)
        if path and not os.access(path, os.R_OK):
            raise SettingsError(
                f"{ENV_PREFIX}{name.upper()}={path}: cannot be read: give a PEM file that this"
                " process's user may read"
            )


def checked_brokers(text: str, variable: str) -> str:
    """`text` where it names Kafka brokers; else SettingsError, which names `variable`."""
    for broker in text.split(","):
        host, colon, port = broker.strip().rpartition(":")
        if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise SettingsError(
                f"{variable}={text!r}: give host:port, commas between, such as 127.0.0.1:9092"
            )
    return text


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{ENV_PREFIX}CONFIG={path}: cannot be read: {error}") from error


def _unknown(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    meant = f"did you mean {ENV_PREFIX}{near[0].upper()}? " if near else ""
    return f"unknown setting {ENV_PREFIX}{name.upper()}: {meant}docs/settings.md lists all"


def _convert(name: str, value: Any, default: Any, told: Mapping[str, Any]) -> Any:
    variable, choices = ENV_PREFIX + name.upper(), told["choices"]
    kind = type(default)
    try:
        if kind is int and isinstance(value, float | bool):
            raise ValueError("not a whole number")
        if kind is str and not isinstance(value, str):
            raise ValueError("not a text")
        converted = kind(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise SettingsError(f"{variable}={value!r}: give a {_KINDS[kind]}") from error
    if name == "kafka_bootstrap":
        checked_brokers(converted, variable)
    if name == "epcis_base" and not _BASE.fullmatch(converted):
        raise SettingsError(
            f"{variable}={value!r}: give a web address that ends in /, such as"
            " https://wms.example.com/epcis/"
        )
    if choices and converted not in choices:
        raise SettingsError(f"{variable}={value!r}: give one of {', '.join(choices)}")
    if name.endswith("_port") and not 0 < converted < 65536:
        raise SettingsError(f"{variable}={value!r}: give a port from 1 to 65535")
    if kind is not str and not told["least"] <= converted < math.inf:
        raise SettingsError(f"{variable}={value!r}: give a number from {told['least']} up")
    return converted
