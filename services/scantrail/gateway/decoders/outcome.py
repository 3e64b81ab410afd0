"""What a decoder makes of a device's bytes: one value for each thing that happened."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final


@dataclass(frozen=True, slots=True)
class Read:
    """A code or tag was read.

    `text` is the code with FNC1 as GS and the AIM identifier (`aim`, ISO/IEC 15424, such as
    `]d2`) taken off, or `epc:` and a tag's EPC in upper-case hex. The rest is None where the
    device does not say: `scanner_no` of the head in a bundle; `event_time` aware, in UTC, by its
    clock; `order` the order it was read for; `event_id` its own id of the read, kept over its
    retries; `antenna` the port; `rssi_dbm`; `sequence` the device's count; `direction` as written;
    `corrects` the event id of the scan that it voids; `parent` any spelling of the unit into which
    this one is packed or assembled; `same_as` any spelling of the older identifier of this unit;
    `rma` the return authorisation by which it comes back; `location` where it is from now on,
    `product` of which it is.
    `fingerprint` stands in for `event_id` where the device gives none, but its time: what it says
    of this read, in short, the same when it sends the read again. `times_read` is how many reads
    the device tells of in this one. `unit` is the unit's key, as a person told it. `lot` and
    `produced_on` are told beside the code, where it does not hold them. `keyed`: a person typed the
    code; `confirmed`: and says that it is right, however near it is to another.
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
    corrects: str | None = None
    parent: str | None = None
    same_as: str | None = None
    location: str | None = None
    product: str | None = None
    fingerprint: str | None = None
    times_read: int = 1
    unit: str | None = None
    rma: str | None = None
    lot: str | None = None
    produced_on: date | None = None
    keyed: bool = False
    confirmed: bool = False


@dataclass(frozen=True, slots=True)
class NoRead:
    """The device was triggered and read nothing: a ratio per station, never a unit."""

    scanner_no: str | None = None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The device is alive."""


@dataclass(frozen=True, slots=True)
class Control:
    """What the device says of itself: a reply to a command, such as `OK,LON`, or a kind of status,
    such as `inventoryStatus`."""

    text: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The device had no more room for `count` reads, and tells that they are gone."""

    count: int


@dataclass(frozen=True, slots=True)
class Invalid:
    """Bytes that are none of the others. `reason` is a fixed word; `raw` what came, cut short."""

    reason: str
    raw: bytes


Outcome = Read | NoRead | Heartbeat | Control | Lost | Invalid

#: What to tell people of each reason of Invalid: what is wrong, and the mend.
MENDS: Final = {
    "bad_carton": "the carton's number (SSCC) has a wrong check digit: scan it again; until then"
    " units are packed into none",
    "bad_code": "the code must be text, and an EPC hexadecimal (of an Impinj reader, `epc` is"
    " base64); a number loses leading zeros",
    "bad_corrects": "`corrects` must be the event id of the scan to void, as its trail shows it",
    "bad_count": "`eventsPurged` must be a whole number: how many reads the reader lost",
    "bad_encoding": "the bytes do not fit the reader's `encoding`: set it in the readers' file",
    "bad_event_id": "`event_id` must be a short printable text or a whole number",
    "bad_event_time": "`timestamp` is no time: give RFC 3339 with a zone, or seconds since 1970",
    "bad_json": "this is not JSON: send an object, an array, or an object a line",
    "bad_location": "the label's location must be a printable text of 1 to 256 letters: look at the"
    " reader's `context`",
    "bad_lot": "`lot` must be a printable text of 1 to 64 letters",
    "bad_order": "`order` must be a short printable text or a whole number",
    "bad_parent": "`parent` must spell, as text, the carton or product into which the unit goes",
    "bad_produced_on": "`produced_on` must be a day, such as 2026-03-31",
    "bad_rma": "`rma` must be a short printable text or a whole number",
    "bad_same_as": "`same_as` must spell, as text, another, older identifier of the same unit",
    "empty": "the body is empty: send a JSON object or array",
    "empty_read": "the frame holds no code: look at the reader's `split` and `pattern`",
    "frame_too_long": "no end of frame within `max_frame` bytes: look at the reader's `end`",
    "no_code": "the item has no code: give `code`, `barcode`, `epc`, `tag` or `id`",
    "no_object": "neither an object nor an array of objects: send one of these",
    "no_time_zone": "`timestamp` has no zone: end it in Z or an offset such as +01:00",
    "not_from_impinj": "no event of an Impinj reader that is understood here (tagInventory or a"
    " status): look at the address to which the sender posts",
    "not_from_zebra": "no tag (`idHex`) and no event of a Zebra reader: look at the address to"
    " which the sender posts",
    "not_an_object": "each item must be a JSON object",
    "osip_bad_header": "the telegram is not ASCII, or has no sequence of five digits",
    "osip_bad_length": "the telegram does not tell the reader's `telegram_length`: mend one of the"
    " two",
    "osip_cut_short": "the next telegram, or the connection's end, came before the end of this one",
    "osip_no_start": "bytes outside a telegram, which begins with ### and its length",
    "osip_unknown_type": "the telegram's type is none of SYNQ, REQ_, UPD_, LOCU",
    "pattern_mismatch": "the frame does not match the reader's `pattern`: mend one of the two",
    "too_large": "the message is larger than 1 MiB: let the reader tell fewer reads at once",
    "too_many": "too many items in one body: send fewer at once",
    "unfinished_frame": "the connection ended, or the next frame began, before the end of this one",
    "wrong_topic": "it came by a subscription that the readers' file does not have any more: end"
    " the old session at the broker, or give the reader another `client_id`",
}
