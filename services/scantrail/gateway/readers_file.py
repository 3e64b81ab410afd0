"""The readers of a gateway, from its TOML file: one `[[reader]]` table each.

```toml
[[reader]]
id = "dock-1-scanner"
station = "dock-1"
protocol = "tcp"               # or "tcp-osip", "http-impinj", "mqtt-zebra" …
mode = "listen"                # tcp: the reader connects to us; "connect": we connect to it
address = "0.0.0.0:9004"       # tcp
pattern = '(?P<scanner_no>\\d\\d) (?P<read>.*)'

[[reader]]
id = "portal"
station = "dock"
protocol = "http-impinj"
rssi_min_dbm = -65
[reader.antennas]              # last in its table
1 = "dock-1"
2 = "dock-2"

[[reader]]
id = "gate"
station = "gate"
protocol = "mqtt-zebra"
address = "broker:1883"
topic = "readers/gate/tags"    # who the reader is, its topic tells
```

Bytes that cannot be typed are written as text: `start = "\\u0002"`, `end = ["\\u0003"]`.
"""

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final, NoReturn

from scantrail.contracts.identity import SCHEMES
from scantrail.domain.identifiers import NotIdentified, product_id
from scantrail.gateway.contexts import ContextSettings, context_settings
from scantrail.gateway.conveyor_settings import osip_settings, verdict_answers
from scantrail.gateway.mqtt_settings import MQTT_KEYS, subscription_settings
from scantrail.gateway.readers import IDENTIFIER, Network, ReaderSettings

ENCODINGS: Final = ("utf-8", "ascii", "latin-1", "cp1252")
_MAX_FRAME_RANGE: Final = (16, 1024 * 1024)
_READS_MIN_RANGE: Final = (1, 50)
_RSSI_RANGE_DBM: Final = (-120, 0)
_ANTENNA_MAX: Final = 65_535
_PATTERN_GROUPS: Final = frozenset({"read", "scanner_no", "order"})
#: What a reader of tags asks of a read: stray reads are counted, and make no scan.
_TAG_KEYS: Final = frozenset({"antennas", "rssi_min_dbm", "reads_min", "reads_window_s"})

#: What a reader that posts must show, and how much it may send.
_POSTING_KEYS: Final = frozenset({"token_sha256", "reads_per_s_max"})

_RATE_RANGE: Final = (1, 1_000_000)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
#: Keys that readers of one make know, over HTTP and over MQTT.
_BODY_KEYS: Final[Mapping[str, frozenset[str]]] = {
    "generic": _TAG_KEYS | {"debounce_s", "product", "schemes", "context", "direction"},
    "impinj": _TAG_KEYS | {"debounce_s"},  # it tells no direction
    "zebra": _TAG_KEYS | {"debounce_s", "direction"},
}

#: Keys that each protocol knows, beside id, station and protocol.
_KEYS: Final[Mapping[str, frozenset[str]]] = {
    "tcp": frozenset(
        {
            "mode",
            "address",
            "peers",
            "start",
            "end",
            "no_read",
            "heartbeat",
            "heartbeat_pattern",
            "silence_s",
            "split",
            "pattern",
            "gs_aliases",
            "ack",
            "debounce_s",
            "max_frame",
            "encoding",
            "product",
            "schemes",
            "context",
            "verdict",
        }
    ),
    "tcp-osip": frozenset({"mode", "address", "silence_s", "product", "schemes", "peers", "osip"}),
    **{f"http-{make}": keys | _POSTING_KEYS for make, keys in _BODY_KEYS.items()},
    **{f"mqtt-{make}": keys | MQTT_KEYS | {"address"} for make, keys in _BODY_KEYS.items()},
}


#: Names under which others than readers make scans: event ids begin with them.
RESERVED: Final = frozenset({"base", "identifiers", "refold", "tracker", "unknown", "verdict"})


class ReaderSettingsError(Exception):
    """The readers' file cannot be used. The text names file, line, reader and key, and the mend."""


def load_readers(
    path: Path, environ: Mapping[str, str] | None = None
) -> tuple[ReaderSettings, ...]:
    """The readers of the TOML file at `path`, in its order; an empty file has none.

    Passwords come from `environ`; where it is None, none is needed, nor what the file names on this
    machine. Raises ReaderSettingsError for what cannot be read or is not meant: an unknown key,
    protocol, mode or encoding, a wrong type, a pattern without `read`, an id twice, an address on
    which two readers would listen, a topic on which two would publish, a password that is not set.
    """
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReaderSettingsError(f"{path}: cannot be read: {error}") from error
    try:
        document = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise ReaderSettingsError(f"{path}: is not TOML: {error}") from error
    for key in document:
        if key != "reader":
            raise ReaderSettingsError(
                f"{path}: unknown table {key!r}; readers stand in [[reader]] tables"
            )
    tables = document.get("reader", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ReaderSettingsError(f"{path}: write [[reader]] with two brackets for each reader")
    readings = [
        _Table(path, source, number, len(tables), table, environ)
        for number, table in enumerate(tables)
    ]
    readers = tuple(reading.settings() for reading in readings)
    _refuse_shared_ids(readers, readings)
    _refuse_shared_addresses(readers, readings)
    _refuse_shared_topics(readers, readings)
    return readers


class _Table:
    """One `[[reader]]` table being read; every refusal says where it stands."""

    def __init__(
        self,
        path: Path,
        source: str,
        number: int,
        count: int,
        table: dict[str, Any],
        environ: Mapping[str, str] | None,
    ) -> None:
        self._path = path
        self._source = source
        self._number = number
        self._count = count
        self._table = table
        self._environ = environ

    def settings(self) -> ReaderSettings:
        """The values of the table, checked. Raises ReaderSettingsError."""
        if "protocol" not in self._table:
            self.refuse("protocol", f"is missing; one of {_listed(_KEYS)}")
        protocol = self._text("protocol")
        if protocol not in _KEYS:
            self.refuse("protocol", f"{protocol!r} is unknown; one of {_listed(_KEYS)}")
        self._refuse_unknown_keys(protocol)
        values: dict[str, Any] = {
            "id": self._id("id"),
            "station": self._name("station"),
            "protocol": protocol,
        }
        if protocol in ("tcp", "tcp-osip"):
            values["mode"] = self._one_of("mode", ("listen", "connect"))
            values["address"] = self._address(values["mode"])
        if protocol.startswith("mqtt-"):
            values["address"] = self._address("connect")
            values["subscription"] = subscription_settings(self._table, self.refuse, self._environ)
        readings: dict[str, Callable[[str], Any]] = {
            "start": self._bytes,
            "end": self._ends,
            "no_read": self._words,
            "heartbeat": self._words,
            "heartbeat_pattern": self._pattern,
            "silence_s": self._seconds,
            "split": self._text,
            "pattern": self._read_pattern,
            "gs_aliases": self._texts,
            "ack": self._bytes,
            "debounce_s": self._seconds,
            "max_frame": self._max_frame,
            "product": self._product,
            "schemes": self._schemes,
            "context": self._context,
            "antennas": self._antennas,
            "rssi_min_dbm": self._rssi,
            "reads_min": self._reads_min,
            "reads_window_s": self._seconds,
            "direction": self._text,
            "token_sha256": self._digests,
            "peers": self._peers,
            "reads_per_s_max": self._rate,
            "verdict": lambda key: verdict_answers(self._table[key], self.refuse),
            "osip": lambda key: osip_settings(self._table[key], self.refuse),
        }
        values |= {key: reading(key) for key, reading in readings.items() if key in self._table}
        self._refuse_half_a_count(values)
        self._refuse_two_answers(values)
        if "encoding" in self._table:
            values["encoding"] = self._one_of("encoding", ENCODINGS)
        return ReaderSettings(**values)

    def refuse(self, key: str, why: str, *, inside: str | None = None) -> NoReturn:
        """Say what is wrong with `key` of this reader (and what stands `inside` it), and at which
        line where it can be found."""
        name = self._table.get("id")
        reader = f"reader {name!r}" if isinstance(name, str) else f"reader no. {self._number + 1}"
        line = self._line(key, inside)
        where = f"{self._path}:{line}" if line else str(self._path)
        raise ReaderSettingsError(f"{where}: {reader}: {key}: {why}")

    def _line(self, key: str, inside: str | None) -> int | None:
        """The line of `inside`, else of `key`, else of the table's head; None when the heads are
        not to be told."""
        lines = self._source.splitlines()
        heads = [
            index for index, line in enumerate(lines) if re.match(r"\s*\[\[\s*reader\s*\]\]", line)
        ]
        if len(heads) != self._count:
            return None
        head = heads[self._number]
        end = heads[self._number + 1] if self._number + 1 < self._count else len(lines)
        found = head
        for name in (key, inside):
            if name is not None:
                spelled = re.compile(
                    rf"\s*[\"']?{re.escape(name)}[\"']?\s*[=.]|\s*\[\s*reader\s*\.\s*{re.escape(name)}\b"
                )
                below = range(found + 1, end)
                found = next((i for i in below if spelled.match(lines[i])), found)
        return found + 1

    def _refuse_unknown_keys(self, protocol: str) -> None:
        known = {"id", "station", "protocol"} | _KEYS[protocol]
        for key in self._table:
            if key in known:
                continue
            if key == "password":
                self.refuse(key, "is not written here: name a variable with it in password_env")
            if any(key in keys for keys in _KEYS.values()):
                self.refuse(key, f"has no meaning for protocol {protocol!r}; take it out")
            self.refuse(key, f"unknown key; one of {_listed(known)}")

    def _refuse_half_a_count(self, values: Mapping[str, Any]) -> None:
        if "reads_min" in values and "reads_window_s" not in values:
            self.refuse("reads_min", "within how many seconds? Give reads_window_s too")
        if "reads_window_s" in values and "reads_min" not in values:
            self.refuse("reads_window_s", "how many reads within it? Give reads_min too")

    def _refuse_two_answers(self, values: Mapping[str, Any]) -> None:
        for key in ("ack", "debounce_s", "context"):
            if "verdict" in values and key in values:
                why = "a reader with `verdict` is answered for each read by itself; take it out"
                self.refuse(key, why)

    def _required(self, key: str) -> str:
        if key not in self._table:
            self.refuse(key, "is missing")
        return self._text(key)

    def _text(self, key: str) -> str:
        value = self._table[key]
        if not isinstance(value, str) or not value:
            self.refuse(key, f"a text is expected, not {value!r}")
        return value

    def _name(self, key: str) -> str:
        value = self._required(key)
        if not IDENTIFIER.fullmatch(value):
            self.refuse(key, f"{value!r}: 1 to 64 letters, digits, '.', '_' or '-' are expected")
        return value

    def _id(self, key: str) -> str:
        name = self._name(key)
        if name in RESERVED:
            self.refuse(key, f"{name!r} is a name of Scantrail's own; give another")
        return name

    def _one_of(self, key: str, choices: tuple[str, ...]) -> str:
        if key not in self._table:
            self.refuse(key, f"is missing; one of {_listed(choices)}")
        value = self._text(key)
        if value not in choices:
            self.refuse(key, f"{value!r} is unknown; one of {_listed(choices)}")
        return value

    def _texts(self, key: str) -> tuple[str, ...]:
        value = self._table[key]
        if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
            self.refuse(key, f"a list of texts is expected, not {value!r}")
        return tuple(value)

    def _words(self, key: str) -> frozenset[str]:
        return frozenset(self._texts(key))

    def _as_bytes(self, key: str, text: str) -> bytes:
        try:
            return text.encode("latin-1")
        except UnicodeEncodeError:
            self.refuse(key, f"{text!r}: one character stands for one byte, up to \\u00ff")

    def _bytes(self, key: str) -> bytes:
        return self._as_bytes(key, self._text(key))

    def _ends(self, key: str) -> tuple[bytes, ...]:
        ends = tuple(self._as_bytes(key, text) for text in self._texts(key))
        if not ends:
            self.refuse(key, "no end of a frame; take the key out for CR LF, CR or LF")
        return ends

    def _seconds(self, key: str) -> float:
        value = self._table[key]
        # 0 <= NaN is false, too.
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 86400:
            self.refuse(key, f"seconds from 0 to 86400 are expected, not {value!r}")
        if key == "silence_s" and value == 0:
            self.refuse(key, "0 would take every reader for dead; take the key out for never")
        if key == "reads_window_s" and value == 0:
            self.refuse(key, "no two reads are within 0 s; give more, or take out reads_min too")
        return float(value)

    def _max_frame(self, key: str) -> int:
        value = self._table[key]
        low, high = _MAX_FRAME_RANGE
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.refuse(key, f"bytes from {low} to {high} are expected, not {value!r}")
        return value

    def _antennas(self, key: str) -> dict[int, str]:
        table = self._table[key]
        if not isinstance(table, dict) or not table:
            self.refuse(key, f'a table [reader.{key}] with lines such as 1 = "dock-1" is expected')
        stations: dict[int, str] = {}
        for port, station in table.items():
            if not re.fullmatch(r"0|[1-9][0-9]{0,4}", port) or int(port) > _ANTENNA_MAX:
                self.refuse(
                    key,
                    f"{port!r} is no antenna: 0 to {_ANTENNA_MAX} is expected; other keys of the"
                    f" reader stand before [reader.{key}]",
                    inside=port,
                )
            if not isinstance(station, str) or not IDENTIFIER.fullmatch(station):
                told = f"a station's id is expected for {port}, not {station!r}"
                self.refuse(key, told, inside=port)
            stations[int(port)] = station
        return stations

    def _rssi(self, key: str) -> float:
        value = self._table[key]
        low, high = _RSSI_RANGE_DBM
        # -120 <= NaN is false, too.
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not low <= value <= high
        ):
            self.refuse(key, f"dBm from {low} to {high} are expected, not {value!r}")
        return float(value)

    def _reads_min(self, key: str) -> int:
        value = self._table[key]
        low, high = _READS_MIN_RANGE
        if type(value) is not int or not low <= value <= high:
            self.refuse(key, f"a number of reads from {low} to {high} is expected, not {value!r}")
        return value

    def _digests(self, key: str) -> tuple[str, ...]:
        value = self._table[key]
        digests = (value,) if isinstance(value, str) else self._texts(key)
        if not digests or not all(_DIGEST.fullmatch(digest) for digest in digests):
            self.refuse(key, "64 hexadecimal digits are expected, as `scantrail token` prints them")
        return digests

    def _peers(self, key: str) -> tuple[Network, ...]:
        if self._table.get("mode") != "listen":
            self.refuse(key, "who may connect is asked where the reader does: take it out")
        try:
            return tuple(ip_network(text) for text in self._texts(key))
        except ValueError as error:
            self.refuse(
                key, f"{error}: addresses such as '192.0.2.7' or '192.0.2.0/24' are expected"
            )

    def _rate(self, key: str) -> float:
        value = self._table[key]
        low, high = _RATE_RANGE
        if type(value) not in (int, float) or not low <= value <= high:
            self.refuse(key, f"reads a second from {low} to {high} are expected, not {value!r}")
        return float(value)

    def _pattern(self, key: str) -> re.Pattern[str]:
        text = self._text(key)
        try:
            return re.compile(text)
        except (re.error, RecursionError, OverflowError) as error:
            self.refuse(key, f"{text!r} is no regular expression: {error}")

    def _read_pattern(self, key: str) -> re.Pattern[str]:
        pattern = self._pattern(key)
        if "read" not in pattern.groupindex:
            self.refuse(key, f"{pattern.pattern!r} has no group (?P<read>...)")
        if unknown := sorted(set(pattern.groupindex) - _PATTERN_GROUPS):
            self.refuse(key, f"group {unknown[0]!r} is unknown; {_listed(_PATTERN_GROUPS)}")
        return pattern

    def _product(self, key: str) -> str:
        try:
            return product_id(self._text(key))
        except NotIdentified as error:
            self.refuse(key, error.detail)

    def _schemes(self, key: str) -> frozenset[str]:
        schemes = self._words(key)
        if not schemes or (unknown := sorted(schemes - SCHEMES)):
            named = f"{unknown[0]!r} is unknown" if schemes else "no scheme"
            self.refuse(key, f"{named}; one or more of {_listed(SCHEMES)}")
        return schemes

    def _context(self, key: str) -> ContextSettings:
        return context_settings(self._table[key], self.refuse)

    def _address(self, mode: str) -> tuple[str, int]:
        text = self._required("address")
        host, colon, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        lowest = 0 if mode == "listen" else 1
        if not (colon and host and port.isascii() and port.isdecimal() and len(port) <= 5):
            self.refuse("address", f"{text!r}: 'host:port' is expected, such as '0.0.0.0:9004'")
        if not lowest <= int(port) <= 65535:
            self.refuse("address", f"port {port}: {lowest} to 65535 is expected")
        return host, int(port)


def _refuse_shared_ids(readers: Iterable[ReaderSettings], tables: Iterable[_Table]) -> None:
    seen: set[str] = set()
    for reader, table in zip(readers, tables, strict=True):
        if reader.id in seen:
            table.refuse("id", f"{reader.id!r} stands twice; give each reader its own id")
        seen.add(reader.id)


def _refuse_shared_addresses(readers: Iterable[ReaderSettings], tables: Iterable[_Table]) -> None:
    """Two readers on one port, of the same host or of all hosts. Port 0 takes any free one."""
    listening: list[ReaderSettings] = []
    for reader, table in zip(readers, tables, strict=True):
        if reader.mode != "listen" or reader.address is None or reader.address[1] == 0:
            continue
        host, port = reader.address
        for other in listening:
            assert other.address is not None
            other_host, other_port = other.address
            if port == other_port and (
                host == other_host or {host, other_host} & {"0.0.0.0", "::", "*"}
            ):
                table.refuse(
                    "address",
                    f"reader {other.id!r} listens on {other_host}:{other_port} already; give each"
                    " its own port",
                )
        listening.append(reader)


def _refuse_shared_topics(readers: Iterable[ReaderSettings], tables: Iterable[_Table]) -> None:
    """Two readers on one topic of a broker, or under one name at it, which would end each other."""
    seen: dict[tuple[str, object, str], str] = {}
    for reader, table in zip(readers, tables, strict=True):
        if reader.address is None or reader.subscription is None:
            continue
        host, port = reader.address
        for key, value, mend in (
            ("topic", reader.subscription.topic, "give each reader a topic of its own"),
            ("client_id", reader.subscription.client_id, "give each its own, or leave it out"),
        ):
            other = seen.setdefault((key, (host.lower(), port), value), reader.id)
            if other != reader.id:
                told = f"reader {other!r} has {value!r} at {host}:{port} already; {mend}"
                table.refuse(key, told)


def _listed(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))
