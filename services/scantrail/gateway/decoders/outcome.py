"""What a decoder makes of a device's bytes: one value for each thing that happened."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Read:
    """A code or tag was read.

    `text` is the code with FNC1 as GS and the AIM identifier (`aim`, ISO/IEC 15424, such as
    `]d2`) taken off, or an EPC in upper-case hex. The rest is None where the device does not say:
    `scanner_no` of the head in a bundle; `event_time` aware, in UTC, by the device's clock;
    `order` the order it was read for; `event_id` the device's own id of the read, kept over its
    retries; `antenna` the port; `rssi_dbm`; `sequence` the device's count; `direction` as written.
    """

    text: str
    aim: str | None = None
    scanner_no: str | None = None
    event_time: datetime | None = None
    order: str | None = None
    event_id: str | None = None
    antenna: int | None = None
    rssi_dbm: float | None = None
    sequence: int | None = None
    direction: str | None = None


@dataclass(frozen=True, slots=True)
class NoRead:
    """The device was triggered and read nothing: a ratio per station, never a unit."""

    scanner_no: str | None = None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The device is alive."""


@dataclass(frozen=True, slots=True)
class Control:
    """A reply to a command, such as `OK,LON`."""

    text: str


@dataclass(frozen=True, slots=True)
class Invalid:
    """Bytes that are none of the others. `reason` is a fixed word; `raw` what came, cut short."""

    reason: str
    raw: bytes


Outcome = Read | NoRead | Heartbeat | Control | Invalid
