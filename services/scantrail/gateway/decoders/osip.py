"""OSIP telegrams between a conveyor's controller and the system above it: bytes in, outcomes out.

ASCII, of one fixed length (160 unless the project says otherwise), filled with `*`:

| field | characters | |
|---|---|---|
| start | 3 | `###` |
| length | 5 | of the whole telegram |
| sender, receiver | 5 each | filled with `_` or `*` |
| sequence | 5 | digits; an answer carries that of its question |
| type | 4 | below |

| type | fields behind it | |
|---|---|---|
| `SYNQ` | time 14 | asks for the time, to see that we live: `SYNC` with our time |
| `REQ_` | barcode 20, actual 20, target 20, error 8, time 14 | may this one go on? `RES_` |
| `RES_` | as `REQ_`; with `group`, a location group of 20 behind the target | our answer |
| `UPD_` | barcode 20, actual 20, error 8, time 14 | it has arrived at this place |
| `LOCU` | location group 20, location 20, error 8, time 14 | state of a place, of no unit |

Times are `YYYYMMDDHHMMSS` without a zone: ours are UTC; theirs are not looked at, since a telegram
tells of now. What a telegram may look like: the OSIP message specification (Interface21), and its
implementation in OpenWMS.org, which answers with the location group.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from scantrail.domain.verdict import Verdict
from scantrail.gateway.conveyor_settings import LOCATION_LENGTH, OsipSettings
from scantrail.gateway.decoders.outcome import Invalid

_START: Final = b"###"
_HEADER: Final = 23
_TYPE: Final = 4
_ERROR: Final = 8

#: The type of the answer to each type that asks for one.
REPLIES: Final = {"SYNQ": "SYNC", "REQ_": "RES_"}

#: What stands for no barcode: the reader read nothing.
_FILLERS: Final = "*?_ "

#: The error field of our answers.
ERRORS: Final = {
    Verdict.RELEASE: "00000000",
    Verdict.HOLD: "00000001",
    Verdict.UNKNOWN: "00000002",
}

#: Line ends and fillers between telegrams say nothing.
_BETWEEN: Final = re.compile(rb"[\r\n\0 ]+")


@dataclass(frozen=True, slots=True)
class Telegram:
    """One telegram of a controller; fields that its type does not have are empty.

    `barcode` is without fill, and empty where nothing was read; `actual`, `target` are without
    fill; `sender` and `receiver` as they came.
    """

    type: str
    sender: str
    receiver: str
    sequence: int
    barcode: str = ""
    actual: str = ""
    target: str = ""
    error: str = ""

    @property
    def reply(self) -> str | None:
        """The type of telegram that is its answer."""
        return REPLIES.get(self.type)


class OsipDecoder:
    """Telegrams of one connection, segment by segment. It never raises on bytes, and
    holds at most one telegram and one segment."""

    def __init__(self, settings: OsipSettings) -> None:
        self._settings = settings
        self._length = settings.telegram_length
        self._head = _START + b"%05d" % self._length
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Telegram | Invalid]:
        """What the next bytes of the connection bring to an end.

        Invalid has these reasons: osip_no_start, osip_bad_length, osip_cut_short, osip_bad_header,
        osip_unknown_type.
        """
        self._buffer += data
        told: list[Telegram | Invalid] = []
        while (piece := self._next()) is not None:
            told += self._told(piece)
        return told

    def end(self) -> list[Telegram | Invalid]:
        """What the connection's end leaves: a telegram without its end is osip_cut_short. The
        decoder is used up."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return [] if _is_nothing(rest) else [Invalid("osip_cut_short", rest)]

    def _next(self) -> bytes | None:
        """Up to the next telegram, or up to its end; None while that is still coming."""
        start = self._buffer.find(_START)
        if start < 0:
            begun = next((n for n in (2, 1) if self._buffer.endswith(_START[:n])), 0)
            return self._taken(len(self._buffer) - begun)
        if start > 0:
            return self._taken(start)
        if len(self._buffer) < len(self._head):
            return None
        is_right = self._buffer.startswith(self._head)
        inner = self._buffer.find(_START, len(_START) if is_right else 1, self._length)
        if inner > 0:
            return self._taken(inner)
        return self._taken(self._length) if len(self._buffer) >= self._length else None

    def _taken(self, count: int) -> bytes | None:
        if count <= 0:
            return None
        piece = bytes(self._buffer[:count])
        del self._buffer[:count]
        return piece

    def _told(self, piece: bytes) -> list[Telegram | Invalid]:
        if _is_nothing(piece):
            return []
        if not piece.startswith(_START):
            return [Invalid("osip_no_start", piece[: self._length])]
        if not piece.startswith(self._head):
            return [Invalid("osip_bad_length", piece[: self._length])]
        if len(piece) < self._length:
            return [Invalid("osip_cut_short", piece)]
        return [self._telegram(piece)]

    def _telegram(self, piece: bytes) -> Telegram | Invalid:
        try:
            text = piece.decode("ascii")
        except UnicodeDecodeError:
            return Invalid("osip_bad_header", piece)
        sender, receiver, sequence = text[8:13], text[13:18], text[18:23]
        kind, body = text[_HEADER : _HEADER + _TYPE], text[_HEADER + _TYPE :]
        if not (text.isprintable() and sequence.isdigit()):
            return Invalid("osip_bad_header", piece)
        head = (kind, sender, receiver, int(sequence))
        barcode, location = self._settings.barcode_length, LOCATION_LENGTH
        match kind:
            case "SYNQ":
                return Telegram(*head)
            case "REQ_":
                code, actual, target, error = _cut(body, barcode, location, location, _ERROR)
                return Telegram(*head, self._code(code), _plain(actual), _plain(target), error)
            case "UPD_":
                code, actual, error = _cut(body, barcode, location, _ERROR)
                return Telegram(*head, self._code(code), _plain(actual), "", error)
            case "LOCU":
                _, actual, error = _cut(body, location, location, _ERROR)
                return Telegram(*head, "", _plain(actual), "", error)
        return Invalid("osip_unknown_type", piece)

    def _code(self, field: str) -> str:
        """A barcode without fill; where the project fills from the left, without that too."""
        code = field.rstrip("*").strip()
        if not code.strip(_FILLERS):
            return ""
        left = self._settings.barcode_fill
        return code.lstrip(left) if left else code


def encode_sync(asked: Telegram, now: datetime, settings: OsipSettings) -> bytes:
    """`SYNC`, the answer to `SYNQ`, with the time in UTC."""
    return _encoded(asked, "SYNC", _time(now), settings.telegram_length)


def encode_response(
    asked: Telegram, verdict: Verdict, now: datetime, settings: OsipSettings
) -> bytes:
    """`RES_`, the answer to `REQ_`: its error tells the verdict.

    A release names as target the project's `release_target`, or the one that was asked for;
    anything else its `hold_target`, or none.
    """
    if verdict is Verdict.RELEASE:
        target = settings.release_target or asked.target
    else:
        target = settings.hold_target or ""
    fields = [
        asked.barcode.ljust(settings.barcode_length, "*"),
        asked.actual.ljust(LOCATION_LENGTH, "*"),
        target.ljust(LOCATION_LENGTH, "*"),
        "*" * LOCATION_LENGTH if settings.group else "",
        ERRORS[verdict],
        _time(now),
    ]
    return _encoded(asked, "RES_", "".join(fields), settings.telegram_length)


def _encoded(asked: Telegram, kind: str, body: str, length: int) -> bytes:
    head = f"###{length:05}{asked.receiver}{asked.sender}{asked.sequence:05}{kind}"
    return (head + body).ljust(length, "*").encode("ascii")


def _time(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y%m%d%H%M%S")


def _cut(body: str, *lengths: int) -> list[str]:
    fields = []
    for length in lengths:
        fields.append(body[:length])
        body = body[length:]
    return fields


def _plain(field: str) -> str:
    """A location without fill."""
    return field.strip(_FILLERS)


def _is_nothing(piece: bytes) -> bool:
    return _BETWEEN.fullmatch(piece) is not None or not piece
