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
    #: those of the visits right before it to the same station for the same step: it is not told
    #: here after what time another scan begins another visit
    repeated: frozenset[str] = frozenset()


def departures(visits: Iterable[Visit]) -> Departures:
    """Fold a unit's visits, in their order and without those that a correction voids."""
    position: Position | None = None
    leaving, voided, repeated = list[Visit](), set[str](), set[str]()
    for visit in visits:
        before, (position, _, is_repeat) = position, step(position, visit)
        if position is before or position is None or is_repeat:
            continue
        was_open = None if before is None else before.departure
        is_open = position.departure
        if is_open is None or was_open is None or is_open.event_id != was_open.event_id:
            if visit.business_step is BusinessStep.VOID_SHIPPING:
                voided.update(each.event_id for each in leaving)
            last = leaving[-1] if leaving else None
            if before is not None and last is not None and _is_one_stay(before, last, visit):
                repeated.add(last.event_id)
            else:
                repeated = set()
            leaving = []
        if is_open is not None and visit.business_step in LEAVING_STEPS:
            leaving.append(visit)
    return Departures(tuple(leaving), frozenset(voided), frozenset(repeated))


def _is_one_stay(before: Position, last: Visit, visit: Visit) -> bool:
    """Whether the unit was only at this station, for this step, since its `last` leaving visit."""
    there = (visit.station, visit.business_step)
    return before.visit_id == last.event_id and (last.station, last.business_step) == there
