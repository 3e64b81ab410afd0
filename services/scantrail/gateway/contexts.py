"""The context of a reader: what it scanned before its units, written into each of their scans.

At a reader that sends codes and nothing else somebody scans a shelf's label, an order's barcode, a
carton or a product first, and then units. Such a code makes no scan itself.
"""

import asyncio
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, NoReturn, Protocol, get_args

import msgspec

from scantrail.contracts.identity import identify
from scantrail.contracts.records import NAME_LENGTH_MAX, encode
from scantrail.domain.identifiers import NotIdentified
from scantrail.domain.product import Product
from scantrail.domain.scan import is_order_reference
from scantrail.gateway.decoders.outcome import Read
from scantrail.infra.logs import logger

log = logger(__name__)

Kind = Literal["location", "order", "parent", "product"]

TIMEOUT_S_DEFAULT: Final = 900.0
_KEYS: Final = ("end", "location", "order", "parent", "product", "timeout_s")

#: An element string that means a carton, whatever its check digit.
_LIKE_SSCC: Final = re.compile(r"(?:00|\(00\))[0-9]{18}")


class ContextSettings(NamedTuple):
    """What of a reader's codes is context, from its table `[reader.context]`.

    `location` and `order` match whole codes, and take their first group, or all where there is
    none. `parent` is an SSCC, `product` a GTIN without a serial; `end` is a code that takes all
    back. What was set is forgotten after `timeout_s` seconds.
    """

    location: re.Pattern[str] | None = None
    order: re.Pattern[str] | None = None
    parent: bool = False
    product: bool = False
    end: str | None = None
    timeout_s: float = TIMEOUT_S_DEFAULT


class Refuse(Protocol):
    """Says at which line of the readers' file what is wrong with a key, and ends."""

    def __call__(self, key: str, why: str, *, inside: str | None = None) -> NoReturn: ...


def context_settings(table: Any, refuse: Refuse) -> ContextSettings:
    """The settings of a reader's table `context`, checked."""
    example = "a table [reader.context] with lines such as location = 'L-(.+)' is expected"
    if not isinstance(table, dict) or not set(table) & set(get_args(Kind)):
        refuse("context", example)
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name not in _KEYS:
            known = ", ".join(_KEYS)
            refuse("context", f"unknown key {name!r}; one of {known}", inside=name)
        if name in ("location", "order"):
            values[name] = _pattern(name, value, refuse)
            continue
        fits = {
            "end": isinstance(value, str) and bool(value),
            "timeout_s": type(value) in (int, float) and 0 < value <= 86_400,
        }.get(name, isinstance(value, bool))
        if not fits:
            wanted = {"end": "a text", "timeout_s": "seconds above 0, up to 86400,"}
            told = f"{wanted.get(name, 'true or false')} is expected for {name}, not {value!r}"
            refuse("context", told, inside=name)
        values[name] = value
    return ContextSettings(**values)


def _pattern(name: str, value: Any, refuse: Refuse) -> re.Pattern[str]:
    if not isinstance(value, str) or not value:
        refuse("context", f"a pattern is expected for {name}, not {value!r}", inside=name)
    try:
        return re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        refuse("context", f"{value!r} is no regular expression: {error}", inside=name)


@dataclass(frozen=True, slots=True)
class Set:
    """What one part of a context is from a time on; None: nothing any more."""

    value: str | None
    at: datetime


#: What held before is remembered: a device that sends a read again under its own id and time, after
#: another shelf was scanned, must be told the same as before.
REMEMBERED = 16

#: The last ones of a kind, as they came.
Part = tuple[Set, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What holds at a reader, each until it is replaced or timed out."""

    location: Part = ()
    order: Part = ()
    parent: Part = ()
    product: Part = ()

    def of(self, read: Read, settings: ContextSettings, now: datetime) -> Read:
        """`read` with what it does not say itself and the context did at its time."""
        held = self.at(_time_of(read, now), settings)
        if read.corrects is not None or read.same_as is not None:
            # It tells of another scan or another key, and is not done to the unit at this place.
            held = {kind: told for kind, told in held.items() if kind == "product"}
        return replace(
            read,
            location=read.location or held.get("location"),
            order=read.order or held.get("order"),
            parent=read.parent or held.get("parent"),
            product=read.product or held.get("product"),
        )

    def at(self, time: datetime, settings: ContextSettings) -> dict[str, str]:
        """What held at a time, by its kind."""
        oldest = time - timedelta(seconds=settings.timeout_s)
        held: dict[str, str] = {}
        for kind in get_args(Kind):
            before = [part for part in getattr(self, kind) if part.at <= time]
            last = max(enumerate(before), key=lambda each: (each[1].at, each[0]), default=None)
            if last is not None and last[1].at >= oldest and last[1].value is not None:
                held[kind] = last[1].value
        return held

    def with_set(self, kind: Kind, value: str | None, at: datetime) -> "Context":
        """This, and from `at` on also `value`."""
        parts = (*getattr(self, kind), Set(value, at))
        return replace(self, **{kind: parts[-REMEMBERED:]})


def _time_of(read: Read, now: datetime) -> datetime:
    """When it was read, by the device's clock where that is not ahead of ours: a label of the
    future would hold when another has long been scanned."""
    return now if read.event_time is None else min(read.event_time, now)


class NotContext(Exception):
    """A code that is meant as context and cannot be. `reason` is one of outcome.MENDS, `after` what
    still holds: units that follow are not told of the carton, shelf or order before."""

    def __init__(self, reason: str, after: Context) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


def changed(
    before: Context,
    settings: ContextSettings,
    read: Read,
    now: datetime,
    products: Mapping[str, Product],
) -> Context | None:
    """The context after `read`; None where that is no context, but a unit or nothing known.

    Bare digits, which may be a serial, mean a product only where it is among `products`. Raises
    NotContext.
    """
    at = _time_of(read, now)
    if read.text == settings.end:
        for kind in get_args(Kind):
            before = before.with_set(kind, None, at)
        return before
    if (location := _found(settings.location, read.text)) is not None:
        if not 0 < len(location) <= NAME_LENGTH_MAX or not location.isprintable():
            raise NotContext("bad_location", before.with_set("location", None, at))
        return before.with_set("location", location, at)
    if (order := _found(settings.order, read.text)) is not None:
        if not is_order_reference(order):
            raise NotContext("bad_order", before.with_set("order", None, at))
        return before.with_set("order", order, at)
    if not settings.parent and not settings.product:
        return None
    try:
        unit = identify(read.text, aim=read.aim)
    except NotIdentified as error:
        if settings.parent and _LIKE_SSCC.fullmatch(read.text):
            raise NotContext("bad_carton", before.with_set("parent", None, at)) from error
        is_bare = read.text.isdigit() and read.aim is None and len(read.text) <= 14
        if not settings.product or error.gtin is None or (is_bare and error.gtin not in products):
            return None
        return before.with_set("product", error.gtin, at)
    if not settings.parent or unit.scheme != "sscc":
        return None
    return before.with_set("parent", unit.key, at)


def _found(pattern: re.Pattern[str] | None, text: str) -> str | None:
    match = None if pattern is None else pattern.fullmatch(text)
    if match is None:
        return None
    return match[1] if match.re.groups else match[0]


class Contexts:
    """The contexts of all readers, kept over a restart in the file at `path`, if there is one."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._writing = asyncio.Lock()
        self._of: dict[str, Context] = {}
        self._on_disk: dict[str, Context] = {}
        if path is None:
            return
        try:
            self._of |= msgspec.json.decode(path.read_bytes(), type=dict[str, Context])
            self._on_disk |= self._of
        except FileNotFoundError:
            pass
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.error("contexts of readers cannot be read; scan them again", reason=str(error))

    def of(self, reader_id: str) -> Context:
        """What holds at a reader."""
        return self._of.get(reader_id, Context())

    def standing(
        self, reader_id: str, settings: ContextSettings | None, now: datetime
    ) -> dict[str, str]:
        """What holds at `now` at a reader, by its kind."""
        return self.of(reader_id).at(now, settings) if settings else {}

    async def write(self, reader_id: str, context: Context) -> None:
        """Have `context` on disk, for the next start; it does not hold yet.

        Raises OSError where it cannot be written.
        """
        if self._path is None:
            return
        async with self._writing:
            on_disk = {**self._on_disk, reader_id: context}
            await asyncio.to_thread(_write, self._path, encode(on_disk))
            self._on_disk = on_disk

    def hold(self, reader_id: str, context: Context) -> None:
        """Let `context` hold at a reader from now on."""
        self._of[reader_id] = context


def _write(path: Path, told: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        file.write(told)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
