"""`scantrail decode`: what a reader's bytes mean here, told before anything is connected."""

import json
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scantrail.gateway.decoders.bodies import decode_body
from scantrail.gateway.decoders.osip import OsipDecoder, Telegram
from scantrail.gateway.decoders.outcome import (
    MENDS,
    Control,
    Heartbeat,
    Invalid,
    Lost,
    NoRead,
    Outcome,
    Read,
)
from scantrail.gateway.decoders.text import TextDecoder
from scantrail.gateway.readers import ReaderSettings
from scantrail.gateway.readers_file import load_readers
from scantrail.gateway.strays import told_stray


class CannotDecode(Exception):
    """The command was asked for what it cannot do. The text says why, and the mend."""


def reader_of(path: Path, reader_id: str) -> ReaderSettings:
    """The reader `reader_id` of the readers' file at `path`.

    Raises CannotDecode where the file has no such reader, ReaderSettingsError where it is wrong.
    """
    readers = load_readers(path)
    for reader in readers:
        if reader.id == reader_id:
            return reader
    there = ", ".join(reader.id for reader in readers) or "none at all"
    raise CannotDecode(f"{path} has no reader {reader_id!r}; it has {there}")


def bytes_of_hex(text: bytes) -> bytes:
    """The bytes that hex digits stand for, blanks and line ends between them left out.

    Raises CannotDecode for anything else.
    """
    digits = text.translate(None, string.whitespace.encode())
    try:
        return bytes.fromhex(digits.decode("ascii"))
    except ValueError as error:
        raise CannotDecode(f"standard input is not pairs of hex digits: {error}") from error


def decoded(reader: ReaderSettings, data: bytes) -> list[Outcome | Telegram]:
    """What `data` says as all that came on one connection of `reader`, or as one body that it
    posted or published."""
    if reader.protocol == "tcp-osip":
        telegrams = OsipDecoder(reader.osip)
        return [*telegrams.feed(data), *telegrams.end()]
    if reader.protocol != "tcp":
        return [*decode_body(reader.protocol, data)]
    decoder = TextDecoder(reader)
    return [*decoder.feed(data), *decoder.end()]


def print_decoded(reader: ReaderSettings, data: bytes) -> int:
    """Print a JSON line for each outcome; the exit status, which is 1 where one is invalid."""
    outcomes = decoded(reader, data)
    for outcome in outcomes:
        print(json.dumps(told_of(reader, outcome)))
    return 1 if any(isinstance(outcome, Invalid) for outcome in outcomes) else 0


def told_of(reader: ReaderSettings, outcome: Outcome | Telegram) -> dict[str, Any]:
    """One outcome in the words of a reader's manual.

    `read` (a code) or `epc` (a tag, in hex) with what the device says beside it: `aim`,
    `scanner_no`, `order`, `rma`, `event_time`, `event_id`, `antenna`, `rssi_dbm`, `seq`,
    `direction`, `corrects`, `parent`, `same_as`; and with what `reader` makes of it: its `station`
    where antennas decide that, and why it is a `stray` as far as one read alone shows it. Else
    `no_read`, `heartbeat`, `control`, `lost` (a count), or `invalid` (the reason) with `mend` and
    `raw`. Of a controller's telegram `osip` (its type), `sender`, `receiver`, `seq`, and where
    there are such `reply` (the type that answers it), `read` or `no_read`, `location`, `target`,
    `error`, and the `station` of its location.
    """
    match outcome:
        case Read():
            return {name: value for name, value in _of_read(reader, outcome) if value is not None}
        case NoRead():
            number = outcome.scanner_no
            return {"no_read": True} | ({} if number is None else {"scanner_no": number})
        case Heartbeat():
            return {"heartbeat": True}
        case Control():
            return {"control": outcome.text}
        case Lost():
            return {"lost": outcome.count}
        case Telegram():
            return dict(_of_telegram(reader, outcome))
        case Invalid():
            raw = outcome.raw.decode("utf-8", "backslashreplace")
            return {"invalid": outcome.reason, "mend": MENDS[outcome.reason], "raw": raw}


def _of_telegram(reader: ReaderSettings, telegram: Telegram) -> Iterator[tuple[str, Any]]:
    yield "osip", telegram.type
    yield "sender", telegram.sender
    yield "receiver", telegram.receiver
    yield "seq", telegram.sequence
    fields = {
        "reply": telegram.reply,
        "read": telegram.barcode,
        "no_read": telegram.type in ("REQ_", "UPD_") and not telegram.barcode,
        "location": telegram.actual,
        "target": telegram.target,
        "error": telegram.error,
        "station": reader.osip.locations.get(telegram.actual),
    }
    yield from ((name, value) for name, value in fields.items() if value)


def _of_read(reader: ReaderSettings, read: Read) -> Iterator[tuple[str, Any]]:
    kind, mark, tag = read.text.partition(":")
    yield ("epc", tag) if (kind, mark) == ("epc", ":") else ("read", read.text)
    yield "aim", read.aim
    yield "scanner_no", read.scanner_no
    yield "order", read.order
    yield "rma", read.rma
    yield "event_time", read.event_time and read.event_time.isoformat()
    yield "event_id", read.event_id
    yield "antenna", read.antenna
    yield "rssi_dbm", read.rssi_dbm
    yield "seq", read.sequence
    yield "direction", read.direction
    yield "corrects", read.corrects
    yield "parent", read.parent
    yield "same_as", read.same_as
    yield "station", reader.station_at(read.antenna) if reader.antennas else None
    yield "stray", told_stray(reader, read)
