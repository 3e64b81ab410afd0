"""Several ids of one unit: under which of them its scans are kept, and how the tracker is told.

A phone has two IMEIs and the SGTIN of its box. One of these keys is the unit's; each other one
stands on the topic `identifiers` as a link to it. The gateway resolves a key before it makes a
scan of it, and for each link sends one scan with `same_as` (domain/joining.py): so that the
tracker knows the name, recalls of it are recalls of the unit, and what came under it before is
the unit's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from scantrail.domain.scan import Scan, made_id
from scantrail.domain.vocabulary import BusinessStep

#: Reader, station, site and read point of the scans made of links: a person told them, nowhere.
TOLD_BY = "identifiers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifier:
    """`id` is one of the keys of the unit whose scans are kept under `unit`, which is no link.

    Where a link was taken back `unit` is `id` itself, and `takes_back` the event id of the scan
    that told of it. `linked_at` is aware: when a person said so.
    """

    id: str
    unit: str
    linked_at: datetime
    version: int = 1
    takes_back: str | None = None


def join_id(id_: str, unit: str, version: int) -> str:
    """The event id of the scan that tells of a link, the same whichever gateway makes it."""
    return f"{TOLD_BY}/{made_id(id_, unit, version)}"


def told_scan(link: Identifier, record_time: datetime) -> Scan | None:
    """The scan that tells the tracker of `link`: it moves nothing.

    One that joins the key into the unit's, or one that takes the join back; None where there was
    none.
    """
    is_link = link.unit != link.id
    if not is_link and link.takes_back is None:
        return None
    return Scan(
        event_id=join_id(link.id, link.unit, link.version),
        unit=link.id,
        event_time=link.linked_at,
        record_time=record_time,
        reader=TOLD_BY,
        sequence=link.version,
        station=TOLD_BY,
        site=TOLD_BY,
        read_point=TOLD_BY,
        business_step=BusinessStep.INSPECTING,
        corrects=None if is_link else link.takes_back,
        same_as=link.unit if is_link else None,
    )


class Contradiction(Exception):
    """Two ids that are said to be one unit's are of two units, each of which has several."""

    def __init__(self, first: str, first_unit: str, other: str, other_unit: str) -> None:
        super().__init__(f"{first} is of {first_unit}, and {other} of {other_unit}")
        self.first, self.first_unit = first, first_unit
        self.other, self.other_unit = other, other_unit


def key_of_all(
    ids: Sequence[str],
    unit_of: Mapping[str, str],
    with_several: Iterable[str],
    first_seen: Mapping[str, datetime],
    *,
    wanted: str | None = None,
    merge: bool = False,
) -> str:
    """Which key becomes that of a unit with all these `ids`.

    `unit_of` tells the key of each one's unit as it is known now, the id itself where it is not
    linked; `with_several` are those units that have several ids, `first_seen` when keys were seen
    first. A unit with several ids keeps its key; of several such (with `merge`, else raises
    Contradiction) and of keys that are no links the one that was seen first counts, then `wanted`,
    then the order.
    """
    several = set(with_several)
    units = dict[str, str]()  # that have several ids, each with an id that tells of it
    for id_ in ids:
        if unit_of[id_] != id_ or id_ in several:
            units.setdefault(unit_of[id_], id_)
    if len(units) > 1 and not merge:
        (first_unit, first), (other_unit, other), *_ = units.items()
        raise Contradiction(first, first_unit, other, other_unit)
    candidates = list(units) or list(ids)
    if seen := [key for key in candidates if key in first_seen]:
        return min(seen, key=lambda key: first_seen[key])
    return wanted if wanted in candidates else candidates[0]
