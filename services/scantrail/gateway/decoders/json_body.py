"""A JSON body and its items: each by itself, so that a bad one is set aside and the rest count.

A body is an object, an array, or one object per line (NDJSON). Names of fields are compared in
small letters; where two differ only in that, the first counts.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from scantrail.gateway.decoders.outcome import Heartbeat, Invalid, Outcome

#: How much of an item, or of a body without items, is kept for a person to look at.
RAW_LENGTH_MAX: Final = 2048

_UTF8_MARK: Final = b"\xef\xbb\xbf"

_array = msgspec.json.Decoder(list[msgspec.Raw])
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_item = msgspec.json.Decoder()

#: What msgspec raises on bytes that are no JSON, no UTF-8, or nested without end.
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class UnreadableBody(Exception):
    """A body of which nothing can be read: `reason` is a fixed word (empty, bad_json, no_object,
    too_many), `detail` for the one who wrote the sender."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class RefusedItem(Exception):
    """An item that is no read; `reason` is one of outcome.MENDS."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


#: What an item says, its names in small letters. Raises RefusedItem.
Judge = Callable[[Mapping[str, Any]], Sequence[Outcome]]


def items_of(body: bytes, *, list_name: str | None = None) -> list[bytes]:
    """The items of a body, each as the bytes that came.

    Where an object has an array under `list_name` (in small letters), its items are meant.
    Raises UnreadableBody when nothing parses: empty, bad_json, no_object.
    """
    body = body.removeprefix(_UTF8_MARK).strip()
    if not body:
        raise UnreadableBody("empty", "the body is empty; send a JSON object or array")
    try:
        if body.startswith(b"["):
            return [bytes(raw) for raw in _array.decode(body)]
        found = _fields.decode(body)
    except _UNREADABLE as error:
        return _lines(body, error)
    inner = next((raw for name, raw in found.items() if name.lower() == list_name), None)
    if inner is None:
        return [body]
    try:
        return [bytes(raw) for raw in _array.decode(inner)]
    except _UNREADABLE as error:
        raise UnreadableBody("bad_json", f"'{list_name}' is no array: {error}") from error


def outcomes_of_items(items: Sequence[bytes], judge: Judge) -> list[Outcome]:
    """What `judge` makes of each item, in their order; no item at all is a heartbeat.

    An item that is no object, or that `judge` refuses, is Invalid with its reason.
    """
    if not items:
        return [Heartbeat()]
    return [outcome for raw in items for outcome in _judged(raw, judge)]


def outcomes_of_body(body: bytes, judge: Judge) -> list[Outcome]:
    """As outcomes_of_items(), for devices that send what was refused for ever: nothing raises.

    A body of which nothing parses is one Invalid: empty, bad_json, no_object.
    """
    try:
        return outcomes_of_items(items_of(body), judge)
    except UnreadableBody as error:
        return [Invalid(error.reason, body[:RAW_LENGTH_MAX])]


def in_small_letters(found: dict[str, Any]) -> dict[str, Any]:
    """The fields of an object by their names in small letters, the first of each."""
    return {name.lower(): value for name, value in reversed(found.items())}


def _judged(raw: bytes, judge: Judge) -> Sequence[Outcome]:
    try:
        item = _item.decode(raw)
    except _UNREADABLE:
        return [Invalid("bad_json", raw[:RAW_LENGTH_MAX])]
    if not isinstance(item, dict):
        return [Invalid("not_an_object", raw[:RAW_LENGTH_MAX])]
    try:
        return judge(in_small_letters(item))
    except RefusedItem as refused:
        return [Invalid(refused.reason, raw[:RAW_LENGTH_MAX])]


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
