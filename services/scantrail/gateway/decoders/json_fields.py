"""The values that readers write beside a code: when, at which antenna, how strong, which way.

A time that cannot be understood refuses its item (RefusedItem). A measure that makes no sense is
left out, and the read counts.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from scantrail.gateway.decoders.json_body import RefusedItem

TEXT_LENGTH_MAX: Final = 128

_HEX: Final = re.compile(r"[0-9A-Fa-f]+")
_RFC_3339: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:[.,]([0-9]+))?"
    r"(?:([Zz])|([+-])([0-9]{2}):?([0-9]{2})?)?"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

#: Up to here a number is seconds, milliseconds, microseconds since 1970: 5138-11-16 in each.
_EPOCH_SCALES: Final = ((1e11, 1), (1e14, 1_000), (1e17, 1_000_000))


def first_of(item: Mapping[str, Any], *names: str) -> Any:
    """The first of the fields `names` that is there and not null; None where none is."""
    return next((item[name] for name in names if item.get(name) is not None), None)


def is_hex(text: str) -> bool:
    """Whether `text` is hexadecimal digits and nothing else."""
    return _HEX.fullmatch(text) is not None


def event_time(value: Any) -> datetime | None:
    """The moment in UTC; None where the device tells none.

    RFC 3339 with its zone (the offset's colon may be missing), or a number of seconds, milliseconds
    or microseconds since 1970. Raises RefusedItem: bad_event_time, no_time_zone.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return _written_time(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RefusedItem("bad_event_time")
    for limit, per_second in _EPOCH_SCALES:
        if 0 <= value < limit:
            # Whole microseconds: a double holds them exactly up to the year 2255.
            return _EPOCH + timedelta(microseconds=round(value * (1_000_000 // per_second)))
    raise RefusedItem("bad_event_time")


def _written_time(text: str) -> datetime:
    """A time of RFC 3339, in UTC; below a microsecond cut off, second 60 taken for 59.999999."""
    match = _RFC_3339.fullmatch(text)
    if match is None:
        raise RefusedItem("bad_event_time")
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    fraction, zulu, sign, offset_hours, offset_minutes = match.groups()[6:]
    if zulu is None and sign is None:
        raise RefusedItem("no_time_zone")
    microsecond = int((fraction or "")[:6].ljust(6, "0"))
    if second == 60:
        second, microsecond = 59, 999_999
    offset = timedelta(hours=int(offset_hours or 0), minutes=int(offset_minutes or 0))
    if not 2 <= year <= 9998:  # no scan may have such a time, whatever its zone
        raise RefusedItem("bad_event_time")
    try:
        local = datetime(year, month, day, hour, minute, second, microsecond, tzinfo=UTC)
        return local + offset if sign == "-" else local - offset
    except (ValueError, OverflowError) as error:
        raise RefusedItem("bad_event_time") from error


def antenna(value: Any) -> int | None:
    """The port: a whole number from 0 to 65535, or its digits as text."""
    port = whole_number(value)
    return port if port is not None and port <= 65_535 else None


def whole_number(value: Any) -> int | None:
    """A number from 0 to 2^63 - 1, or its digits as text."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 19:
        value = int(value)
    return value if type(value) is int and 0 <= value < 1 << 63 else None


def number(value: Any) -> float | None:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def direction(value: Any) -> str | None:
    """A short text, as it was written."""
    if isinstance(value, str) and len(value) <= TEXT_LENGTH_MAX:
        return value or None
    return None
