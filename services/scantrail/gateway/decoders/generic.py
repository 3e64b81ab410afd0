"""`POST /ingest/v1/generic`: reads as JSON from anything that can send HTTP.

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
| corrects | corrects | the event id of the scan that this read voids, text or whole number |
| parent | parent | any spelling of the carton or product into which the unit is packed or \
assembled: text; a number is refused |
| same as | same_as, sameAs | any spelling of another, older identifier of the same unit: text; a \
number is refused |
| heartbeat | isHeartBeat | true: the item is no read |
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from scantrail.gateway.decoders.outcome import Heartbeat, Invalid, Outcome, Read

#: How much of an item is kept for a person to look at.
RAW_LENGTH_MAX: Final = 2048

#: Items of one body; what is taken in together is kept together.
ITEMS_MAX: Final = 5000

_TEXT_LENGTH_MAX: Final = 128
_EVENT_ID_LENGTH_MAX: Final = 256  # of a scan: with its reader's id in front
_SPELLING_MAX: Final = 256
_EPC_NAMES: Final = ("epc", "epchex", "idhex")
_CODE_NAMES: Final = ("barcode", "code", "tag", "id")
_TIME_NAMES: Final = ("timestamp", "readat", "time", "firstseentimestamp")
_ANTENNA_NAMES: Final = ("antennaport", "antenna", "port")
_RSSI_NAMES: Final = ("rssi", "peakrssi")

_UTF8_MARK: Final = b"\xef\xbb\xbf"
_HEX: Final = re.compile(r"[0-9A-Fa-f]+")
_AIM: Final = re.compile(r"\][A-Za-z][0-9A-Za-z]")
_RFC_3339: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:[.,]([0-9]+))?"
    r"(?:([Zz])|([+-])([0-9]{2}):?([0-9]{2})?)?"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

#: Up to here a number is seconds, milliseconds, microseconds since 1970: 5138-11-16 in each.
_EPOCH_SCALES: Final = ((1e11, 1), (1e14, 1_000), (1e17, 1_000_000))

_array = msgspec.json.Decoder(list[msgspec.Raw])
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_item = msgspec.json.Decoder()

#: What msgspec raises on bytes that are no JSON, no UTF-8, or nested without end.
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class UnreadableBody(Exception):
    """A body of which nothing can be read: `reason` is a fixed word (empty, bad_json, no_object),
    `detail` for the one who wrote the sender."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class _Refused(Exception):
    """An item that is no read; `reason` names its field."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def decode_generic(body: bytes) -> list[Outcome]:
    """One outcome per item of `body`, in its order; an empty array is a heartbeat.

    Invalid has these reasons: bad_json (of the item), not_an_object, no_code, bad_code (no text, or
    an EPC that is no hex), bad_event_time, no_time_zone, bad_event_id, bad_order, bad_corrects,
    bad_parent, bad_same_as.
    Raises UnreadableBody when nothing parses.
    """
    body = body.removeprefix(_UTF8_MARK).strip()
    if not body:
        raise UnreadableBody("empty", "the body is empty; send a JSON object or array")
    items = _items(body)
    if len(items) > ITEMS_MAX:
        raise UnreadableBody("too_many", f"{len(items)} items; send at most {ITEMS_MAX} at once")
    return [_outcome(raw) for raw in items] if items else [Heartbeat()]


def _items(body: bytes) -> list[bytes]:
    """The items of a body, each as the bytes that came."""
    try:
        if body.startswith(b"["):
            return [bytes(raw) for raw in _array.decode(body)]
        found = _fields.decode(body)
    except _UNREADABLE as error:
        return _lines(body, error)
    reads = next((value for name, value in found.items() if name.lower() == "reads"), None)
    if reads is None:
        return [body]
    try:
        return [bytes(raw) for raw in _array.decode(reads)]
    except _UNREADABLE as error:
        raise UnreadableBody("bad_json", f"'reads' is no array: {error}") from error


def _lines(body: bytes, cause: Exception) -> list[bytes]:
    """The lines of NDJSON; a body of which no line is an object is not that, but unreadable."""
    lines = [line for each in body.split(b"\n") if (line := each.strip())]
    if any(_is_object(line) for line in lines):
        return lines
    if len(lines) == 1 and isinstance(cause, msgspec.ValidationError):
        raise UnreadableBody("no_object", "neither an object nor an array of objects") from cause
    raise UnreadableBody("bad_json", f"no JSON, and no line of it is: {cause}") from cause


def _is_object(line: bytes) -> bool:
    if not line.startswith(b"{"):
        return False
    try:
        _fields.decode(line)
    except _UNREADABLE:
        return False
    return True


def _outcome(raw: bytes) -> Outcome:
    try:
        item = _item.decode(raw)
    except _UNREADABLE:
        return Invalid("bad_json", raw[:RAW_LENGTH_MAX])
    if not isinstance(item, dict):
        return Invalid("not_an_object", raw[:RAW_LENGTH_MAX])
    try:
        return _read({name.lower(): value for name, value in reversed(item.items())})
    except _Refused as refused:
        return Invalid(refused.reason, raw[:RAW_LENGTH_MAX])


def _read(item: Mapping[str, Any]) -> Outcome:
    """The read of an item, whose names are in small letters. Raises _Refused."""
    if item.get("isheartbeat") is True:
        return Heartbeat()
    text, aim = _code(item)
    return Read(
        text,
        aim=aim,
        event_time=_event_time(_first(item, *_TIME_NAMES)),
        order=_word(item, "bad_order", "order"),
        event_id=_word(item, "bad_event_id", "event_id", "eventid"),
        antenna=_antenna(_first(item, *_ANTENNA_NAMES)),
        rssi_dbm=_rssi(_first(item, *_RSSI_NAMES)),
        direction=_direction(item.get("direction")),
        corrects=_word(item, "bad_corrects", "corrects", length_max=_EVENT_ID_LENGTH_MAX),
        parent=_spelling(item, "bad_parent", "parent"),
        same_as=_spelling(item, "bad_same_as", "same_as", "sameas"),
    )


def _first(item: Mapping[str, Any], *names: str) -> Any:
    return next((item[name] for name in names if item.get(name) is not None), None)


def _code(item: Mapping[str, Any]) -> tuple[str, str | None]:
    """The code and its AIM identifier; an EPC in hex is marked as one, in capitals."""
    epc = _first(item, *_EPC_NAMES)
    value = _first(item, *_CODE_NAMES) if epc is None else epc
    if value is None:
        raise _Refused("no_code")
    if not isinstance(value, str) or not (text := value.strip(" \t\r\n")):
        raise _Refused("bad_code")
    if epc is None:
        return (text[3:], text[:3]) if _AIM.match(text) else (text, None)
    if _HEX.fullmatch(text):
        return f"epc:{text.upper()}", None  # said to be a tag: it is judged as nothing else
    if text.lower().startswith("urn:epc:"):
        return text, None
    raise _Refused("bad_code")


def _spelling(item: Mapping[str, Any], reason: str, *names: str) -> str | None:
    """A code as it was read, separators and all."""
    value = _first(item, *names)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(text := value.strip(" \t\r\n")) <= _SPELLING_MAX:
        raise _Refused(reason)
    return text


def _event_time(value: Any) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, str):
        return _written_time(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Refused("bad_event_time")
    for limit, per_second in _EPOCH_SCALES:
        if 0 <= value < limit:
            # Whole microseconds: a double holds them exactly up to the year 2255.
            return _EPOCH + timedelta(microseconds=round(value * (1_000_000 // per_second)))
    raise _Refused("bad_event_time")


def _written_time(text: str) -> datetime:
    """A time of RFC 3339, in UTC; below a microsecond cut off, second 60 taken for 59.999999."""
    match = _RFC_3339.fullmatch(text)
    if match is None:
        raise _Refused("bad_event_time")
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    fraction, zulu, sign, offset_hours, offset_minutes = match.groups()[6:]
    if zulu is None and sign is None:
        raise _Refused("no_time_zone")
    microsecond = int((fraction or "")[:6].ljust(6, "0"))
    if second == 60:
        second, microsecond = 59, 999_999
    offset = timedelta(hours=int(offset_hours or 0), minutes=int(offset_minutes or 0))
    if not 2 <= year <= 9998:  # no scan may have such a time, whatever its zone
        raise _Refused("bad_event_time")
    try:
        local = datetime(year, month, day, hour, minute, second, microsecond, tzinfo=UTC)
        return local + offset if sign == "-" else local - offset
    except (ValueError, OverflowError) as error:
        raise _Refused("bad_event_time") from error


# Measures beside the read: one that makes no sense is left out, and the read counts.


def _antenna(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 5:
        return int(value)
    if type(value) is int and 0 <= value <= 65_535:
        return value
    return None


def _rssi(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        rssi_dbm = float(value)
    except OverflowError:
        return None
    return rssi_dbm if math.isfinite(rssi_dbm) else None


def _direction(value: Any) -> str | None:
    if isinstance(value, str) and len(value) <= _TEXT_LENGTH_MAX:
        return value or None
    return None


def _word(
    item: Mapping[str, Any], reason: str, *names: str, length_max: int = _TEXT_LENGTH_MAX
) -> str | None:
    """A text, or a whole number as text."""
    value = _first(item, *names)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _Refused(reason)
    word = str(value).strip()
    if not word or len(word) > length_max or not word.isprintable():
        raise _Refused(reason)
    return word
