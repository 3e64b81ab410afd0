"""What can be read of a movement that a later release wrote: enough to judge recalls and holds by.

An upgrade replaces the tracker before the alerter: for minutes it writes outcomes, rules and steps
that the alerter does not know, and a movement that is passed over is never judged again
(docs/decisions/0041). So each field is read for itself.
"""

from typing import Any, Final, TypeVar, get_type_hints

import msgspec

from scantrail.contracts.records import (
    Codec,
    FactRecord,
    Movement,
    Place,
    Revealed,
    UnreadableRecord,
    check_movement,
)
from scantrail.domain.custody import Outcome
from scantrail.domain.scan import Scan
from scantrail.domain.vocabulary import BusinessStep

T = TypeVar("T")

_fields: "Codec[dict[str, Any]]" = Codec(dict[str, Any], "movement")

_SCAN: Final = get_type_hints(Scan)

#: Without these nobody could be told which unit was where, when.
_NEEDED: Final = ("event_id", "unit", "event_time", "station", "site")


def movement_in_part(value: bytes | None) -> Movement:
    """The movement with all that can be read of it. Raises UnreadableRecord where that is not even
    its unit with all keys, and its scan with where and when.

    Where it is not known whether the unit went out, it is as if it did: an outcome that cannot be
    read moves the unit, a step that cannot be read is shipping. It withdraws no fact: another may
    stand in its place that cannot be read.
    """
    told = _fields.decode(value)
    try:
        unit = msgspec.convert(told.get("unit"), str)
        aliases = msgspec.convert(told.get("aliases", ()), tuple[str, ...])
        joined = msgspec.convert(told.get("joined"), str | None)
    except msgspec.ValidationError as error:
        raise UnreadableRecord("not_a_movement", f"the unit's keys: {error}") from error
    movement = Movement(
        unit=unit,
        version=_read(told, "version", int, 1),
        outcome=_read(told, "outcome", Outcome, Outcome.MOVED),
        scan=_scan(told.get("scan")),
        before=_read(told, "before", Place | None, None),
        after=_read(told, "after", Place | None, None),
        facts_added=_each(told, "facts_added", FactRecord),
        visit_id=_read(told, "visit_id", str, ""),
        revealed=_each(told, "revealed", Revealed),
        joined=joined,
        aliases=aliases,
        absorbed=_read(told, "absorbed", tuple[str, ...], ()),
    )
    check_movement(movement)
    return movement


def _scan(told: Any) -> Scan:
    fields = told if isinstance(told, dict) else {}
    read = {name: _read(fields, name, kind, None) for name, kind in _SCAN.items()}
    found = {name: value for name, value in read.items() if value is not None}
    if missing := [name for name in _NEEDED if name not in found]:
        raise UnreadableRecord("not_a_movement", f"its scan has no readable {', '.join(missing)}")
    also = {
        "record_time": found["event_time"],
        "reader": "",
        "sequence": 0,
        "read_point": "",
        "business_step": BusinessStep.SHIPPING,
    }
    return Scan(**also | found)


def _read(told: dict[str, Any], name: str, kind: Any, default: Any) -> Any:
    try:
        return msgspec.convert(told[name], kind)
    except (KeyError, msgspec.ValidationError):
        return default


def _each(told: dict[str, Any], name: str, kind: type[T]) -> tuple[T, ...]:
    """The items of a list that can be read."""
    items = _read(told, name, list[dict[str, Any]], [])
    read = [_read({name: _known_step(item)}, name, kind, None) for item in items]
    return tuple(item for item in read if item is not None)


def _known_step(told: dict[str, Any]) -> dict[str, Any]:
    """With shipping in the place of a step that is not known."""
    if "business_step" not in told:
        return told
    step = _read(told, "business_step", BusinessStep, BusinessStep.SHIPPING)
    return {**told, "business_step": step.value}
