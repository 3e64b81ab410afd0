"""A reader: the device at a station, and how it speaks. Its settings come from a file
(readers_file.py)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Final, Literal

from scantrail.domain.verdict import Verdict
from scantrail.gateway.contexts import ContextSettings
from scantrail.gateway.conveyor_settings import OsipSettings
from scantrail.gateway.mqtt_settings import Subscription

Protocol = Literal[
    "tcp",
    "tcp-osip",
    "http-generic",
    "http-impinj",
    "http-zebra",
    "mqtt-generic",
    "mqtt-impinj",
    "mqtt-zebra",
]
Network = IPv4Network | IPv6Network
Mode = Literal["listen", "connect"]

DEFAULT_END: Final = (b"\r\n", b"\r", b"\n")
DEFAULT_NO_READ: Final = frozenset({"NoRead", "NOREAD", "ERROR", "NR", "?", "\x18"})
DEFAULT_HEARTBEAT: Final = frozenset({"HEARTBEAT"})
IDENTIFIER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderSettings:
    """One reader, as its `[[reader]]` table says.

    `mode` and `address` (host, port) are None for a reader that calls over HTTP. A frame runs from
    `start` (bytes before it are dropped; empty: from the last end) to the first of `end`, and has
    at most `max_frame` bytes. Where neither is set, an STX...ETX pair frames a read too. `no_read`
    and `heartbeat` are whole texts; `heartbeat_pattern` and `pattern` match a whole frame, and
    `pattern` finds `read` in it, and `scanner_no` and `order` where it has them. `split` stands
    between the codes of one frame. Each of `gs_aliases` stands for FNC1. `ack` is sent once a read
    is durable. The same read within `debounce_s` seconds is one; a reader silent for `silence_s`
    seconds is taken for dead (None: never). `product` is the product whose plain serials the
    reader expects, `schemes` what its codes are that have no mark of their own, of
    contracts.identity.SCHEMES (None: any). `context` says which of its codes are no units, but what
    the next ones are
    scanned for. Where `verdict` is set each read is a question, answered by these texts; `osip`
    says how the telegrams of a conveyor's controller are made.

    One that connects must do so from `peers` (none: from anywhere).

    A reader that posts needs a token of which `token_sha256` has the digest (none: no token), and
    may send `reads_per_s_max` reads a second in the long run (None: any number).

    A reader of tags may have more than one station: `antennas` names that of an antenna. A read
    counts that has at least `rssi_min_dbm`, the `direction` (None: any), and is, at its antenna,
    at least the tag's `reads_min`th within `reads_window_s` seconds (None: the first counts).

    A reader over MQTT has a `subscription`, and its broker's `address`.
    """

    id: str
    station: str
    protocol: Protocol
    mode: Mode | None = None
    address: tuple[str, int] | None = None
    start: bytes = b""
    end: tuple[bytes, ...] = DEFAULT_END
    no_read: frozenset[str] = DEFAULT_NO_READ
    heartbeat: frozenset[str] = DEFAULT_HEARTBEAT
    heartbeat_pattern: re.Pattern[str] | None = None
    silence_s: float | None = None
    split: str | None = None
    pattern: re.Pattern[str] | None = None
    gs_aliases: tuple[str, ...] = ()
    ack: bytes = b""
    debounce_s: float = 2.0
    max_frame: int = 4096
    encoding: str = "utf-8"
    product: str | None = None
    schemes: frozenset[str] | None = None
    context: ContextSettings | None = None
    antennas: Mapping[int, str] = field(default_factory=dict)
    rssi_min_dbm: float | None = None
    reads_min: int = 1
    reads_window_s: float | None = None
    direction: str | None = None
    token_sha256: tuple[str, ...] = ()
    reads_per_s_max: float | None = None
    peers: tuple[Network, ...] = ()
    subscription: Subscription | None = None
    verdict: Mapping[Verdict, str] | None = None
    osip: OsipSettings = field(default_factory=OsipSettings)

    @property
    def is_over_tcp(self) -> bool:
        return self.protocol in ("tcp", "tcp-osip")

    def station_at(self, antenna: int | None) -> str:
        """The station of a read at `antenna`: the reader's own where no other is named."""
        return self.station if antenna is None else self.antennas.get(antenna, self.station)
