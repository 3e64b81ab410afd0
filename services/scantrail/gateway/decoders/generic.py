"""`POST /ingest/v1/generic`: reads as JSON from anything that can send HTTP, or MQTT.

An object, an array, `{"reads": [...]}` or one object per line (NDJSON). Names of fields in any
case; the first of each row that is not null counts:

| field | names | value |
|---|---|---|
| code | epc, epcHex, idHex | EPC in hex, or an EPC URN |
| code | barcode, code, tag, id | text; a number is refused, since it has lost its leading zeros |
| event time | timestamp, readAt, time, firstSeenTimestamp | RFC 3339 with its zone (the offset's \
colon may be missing), or seconds, milliseconds or microseconds since 1970 |
| antenna | antennaPort, antenna, port | whole number, else it is left out |
| rssi | rssi, peakRssi | dBm; what is no number is left out |
| direction | direction | text, else it is left out |
| event id | event_id, eventId | the device's own id of the read, text or whole number |
| order | order | text or whole number |
| return | rma | the return authorisation by which it comes back, text or whole number |
| corrects | corrects | the event id of the scan that this read voids, text or whole number |
| parent | parent | any spelling of the carton or product into which the unit is packed or \
assembled: text; a number is refused |
| same as | same_as, sameAs | any spelling of another, older identifier of the same unit: text; a \
number is refused |
| lot | lot | the lot that is printed beside the code, text or whole number |
| day of production | produced_on, producedOn | such as 2026-03-31 |
| keyed | keyed | true: a person typed the code |
| confirmed | confirmed | true: and says that it is right |
| heartbeat | isHeartBeat | true: the item is no read |
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from hashlib import blake2b
from typing import Any, Final

import msgspec

from scantrail.gateway.decoders.json_body import (
    RefusedItem,
    UnreadableBody,
    items_of,
    outcomes_of_items,
)
from scantrail.gateway.decoders.json_fields import (
    TEXT_LENGTH_MAX,
    antenna,
    direction,
    event_time,
    first_of,
    is_hex,
    number,
)
from scantrail.gateway.decoders.outcome import Heartbeat, Outcome, Read

#: Items of one body; what is taken in together is kept together.
ITEMS_MAX: Final = 5000

_EVENT_ID_LENGTH_MAX: Final = 256  # of a scan: with its reader's id in front
_SPELLING_MAX: Final = 256
LOT_LENGTH_MAX: Final = 64
_EPC_NAMES: Final = ("epc", "epchex", "idhex")
_CODE_NAMES: Final = ("barcode", "code", "tag", "id")
_TIME_NAMES: Final = ("timestamp", "readat", "time", "firstseentimestamp")
_ANTENNA_NAMES: Final = ("antennaport", "antenna", "port")
_RSSI_NAMES: Final = ("rssi", "peakrssi")

_AIM: Final = re.compile(r"\][A-Za-z][0-9A-Za-z]")


def decode_generic(body: bytes) -> list[Outcome]:
    """One outcome per item of `body`, in its order; an empty array is a heartbeat.

    Invalid has these reasons: bad_json (of the item), not_an_object, no_code, bad_code (no text, or
    an EPC that is no hex), bad_event_time, no_time_zone, bad_event_id, bad_order, bad_corrects,
    bad_rma, bad_parent, bad_same_as, bad_lot, bad_produced_on.
    Raises UnreadableBody when nothing parses.
    """
    items = items_of(body, list_name="reads")
    if len(items) > ITEMS_MAX:
        raise UnreadableBody("too_many", f"{len(items)} items; send at most {ITEMS_MAX} at once")
    return outcomes_of_items(items, _read)


def decode_redelivered(body: bytes) -> list[Outcome]:
    """As decode_generic, of any number of items, for a transport that delivers a body again where
    it is not sure.

    A read with the device's time and without an id has a fingerprint then, as 32 hex digits, of all
    that it says: the same code at the same time is the same read. It must never change from one
    release to the next: what was delivered before an update may come again after.
    """
    outcomes = outcomes_of_items(items_of(body, list_name="reads"), _read)
    return [_with_fingerprint(each) if isinstance(each, Read) else each for each in outcomes]


def _with_fingerprint(read: Read) -> Read:
    if read.event_time is None or read.event_id is not None:
        return read
    at = read.event_time.isoformat(timespec="microseconds")
    said = (read.text, read.aim, at, read.antenna, read.direction)
    claimed: tuple[str | None, ...] = (read.order, read.corrects, read.parent, read.same_as)
    if read.rma is not None:  # what was read before there was any keeps its fingerprint
        claimed = (*claimed, read.rma)
    if read.lot is not None or read.produced_on is not None:
        day = None if read.produced_on is None else read.produced_on.isoformat()
        claimed = (*claimed, read.lot, day)
    digest = blake2b(msgspec.json.encode((*said, *claimed)), digest_size=16)
    return replace(read, fingerprint=digest.hexdigest())


def _read(item: Mapping[str, Any]) -> list[Outcome]:
    """The read of an item, whose names are in small letters. Raises RefusedItem."""
    if item.get("isheartbeat") is True:
        return [Heartbeat()]
    text, aim = _code(item)
    read = Read(
        text,
        aim=aim,
        event_time=event_time(first_of(item, *_TIME_NAMES)),
        order=_word(item, "bad_order", "order"),
        event_id=_word(item, "bad_event_id", "event_id", "eventid"),
        antenna=antenna(first_of(item, *_ANTENNA_NAMES)),
        rssi_dbm=number(first_of(item, *_RSSI_NAMES)),
        direction=direction(item.get("direction")),
        rma=_word(item, "bad_rma", "rma"),
        corrects=_word(item, "bad_corrects", "corrects", length_max=_EVENT_ID_LENGTH_MAX),
        parent=_spelling(item, "bad_parent", "parent"),
        same_as=_spelling(item, "bad_same_as", "same_as", "sameas"),
        lot=_word(item, "bad_lot", "lot", length_max=LOT_LENGTH_MAX),
        produced_on=_day(item, "bad_produced_on", "produced_on", "producedon"),
        keyed=item.get("keyed") is True,
        confirmed=item.get("confirmed") is True,
    )
    return [read]


def _code(item: Mapping[str, Any]) -> tuple[str, str | None]:
    """The code and its AIM identifier; an EPC in hex is marked as one, in capitals."""
    epc = first_of(item, *_EPC_NAMES)
    value = first_of(item, *_CODE_NAMES) if epc is None else epc
    if value is None:
        raise RefusedItem("no_code")
    if not isinstance(value, str) or not (text := value.strip(" \t\r\n")):
        raise RefusedItem("bad_code")
    if epc is None:
        return (text[3:], text[:3]) if _AIM.match(text) else (text, None)
    if is_hex(text):
        return f"epc:{text.upper()}", None  # said to be a tag: it is judged as nothing else
    if text.lower().startswith("urn:epc:"):
        return text, None
    raise RefusedItem("bad_code")


def _spelling(item: Mapping[str, Any], reason: str, *names: str) -> str | None:
    """A code as it was read, separators and all."""
    value = first_of(item, *names)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(text := value.strip(" \t\r\n")) <= _SPELLING_MAX:
        raise RefusedItem(reason)
    return text


def _day(item: Mapping[str, Any], reason: str, *names: str) -> date | None:
    value = first_of(item, *names)
    try:
        return None if value is None else date.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise RefusedItem(reason) from error


def _word(
    item: Mapping[str, Any], reason: str, *names: str, length_max: int = TEXT_LENGTH_MAX
) -> str | None:
    """A text, or a whole number as text."""
    value = first_of(item, *names)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RefusedItem(reason)
    word = str(value).strip()
    if not word or len(word) > length_max or not word.isprintable():
        raise RefusedItem(reason)
    return word
