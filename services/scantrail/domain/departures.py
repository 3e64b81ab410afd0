"""In which visits a unit went out, from its whole history."""

from collections.abc import Iterable
from typing import NamedTuple

from scantrail.domain.custody import Position, Visit, step
from scantrail.domain.vocabulary import LEAVING_STEPS, BusinessStep


class Departures(NamedTuple):
    """How a unit left, and which departures were declared none."""

    #: the visits of the departure that is open, in their order; empty for what is here
    leaving: tuple[Visit, ...]
    #: the event ids of visits of departures that a void_shipping ended
    voided: frozenset[str]


def departures(visits: Iterable[Visit]) -> Departures:
    """Fold a unit's visits, in their order and without those that a correction voids."""
    position: Position | None = None
    leaving, voided = list[Visit](), set[str]()
    for visit in visits:
        before, (position, _, is_repeat) = position, step(position, visit)
        if position is before or position is None or is_repeat:
            continue
        was_open = None if before is None else before.departure
        is_open = position.departure
        if is_open is None or was_open is None or is_open.event_id != was_open.event_id:
            if visit.business_step is BusinessStep.VOID_SHIPPING:
                voided.update(each.event_id for each in leaving)
            leaving = []
        if is_open is not None and visit.business_step in LEAVING_STEPS:
            leaving.append(visit)
    return Departures(tuple(leaving), frozenset(voided))
