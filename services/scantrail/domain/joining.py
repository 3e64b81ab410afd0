"""Two keys that turn out to be one unit: what one of them sends to the other.

A unit may be received by one of its ids and shipped by another, before anybody says that both are
its own. A scan with `same_as` says so: the unit under whose key it comes hands over its scans, its
children and its name, and forwards whatever comes for it later. Scans keep their event ids, so that
a device that repeats one under either key is known.
"""

from dataclasses import replace
from datetime import UTC

from scantrail.domain.children import READER, Link
from scantrail.domain.custody import Tie, UnitState, Visit
from scantrail.domain.scan import Scan, Transaction


class JoinedInACircle(Exception):
    """A scan came back to a key that forwarded it; the text names the keys."""


def forward(state: UnitState, scan: Scan) -> Scan | None:
    """`scan`, which came for a key that was joined into another, as that one's.

    None for one derived from a parent: the parent sends it to the other key itself, once that has
    told it of its stay. Raises JoinedInACircle.
    """
    target = _target(state)
    if state.unit in scan.forwarded_from:
        keys = " into ".join((*scan.forwarded_from, state.unit))
        raise JoinedInACircle(f"{keys} were joined in a circle: nobody knows whose scan it is")
    if scan.derived_from is not None:
        return None
    return replace(
        scan,
        unit=target,
        same_as=target if scan.same_as == state.unit else scan.same_as,
        forwarded_from=(*scan.forwarded_from, state.unit),
    )


def forward_link(state: UnitState, link: Link) -> Link | None:
    """`link`, which came for a parent that was joined into another, as that one's.

    None for a unit that would be its own child: it was packed into what turned out to be itself.
    """
    target = _target(state)
    return (
        None if link.child == target else replace(link, parent=target, via=link.via or state.unit)
    )


def hand_over(
    known: UnitState | None, state: UnitState, scan: Scan
) -> tuple[list[Scan], list[Link]]:
    """What a unit that was `known` sends to the key that it was just joined into by `scan`.

    First the scan itself, which tells the other its names, then the archived base as one scan, then
    what is kept. Derived scans stay behind, as in `forward`.
    """
    if known is None:
        known = state
    target = _target(state)
    names = (*scan.forwarded_from, *known.aliases, state.unit)
    told = [replace(scan, unit=target, same_as=target, forwarded_from=names)]
    archived = _archived(known)
    for visit in (*archived, *known.kept):
        if visit.tie is None or not visit.tie.depth:
            told.append(_scan(visit, target, state.unit, scan))
    links = [
        Link(
            parent=target,
            child=child.unit,
            version=child.version,
            since=child.since.astimezone(UTC),
            until=child.until and child.until.astimezone(UTC),
            record_time=scan.record_time,
            via=child.via or state.unit,
        )
        for child in known.children
        if child.unit != target
    ]
    return told, links


def take_back(known: UnitState, state: UnitState, scan: Scan) -> tuple[list[Scan], list[Link]]:
    """What is sent where `scan` took a join back: of the key that was joined the news for the
    other, of the other the links of what is inside that key.
    """
    if state.joined is None and known.joined is not None:
        target = known.joined
        return [replace(scan, unit=target, same_as=target, forwarded_from=(state.unit,))], []
    return [], [
        Link(
            parent=child.via,
            child=child.unit,
            version=child.version,
            since=child.since.astimezone(UTC),
            until=child.until and child.until.astimezone(UTC),
            record_time=scan.record_time,
        )
        for child in known.children
        if child.via is not None and child.via in scan.forwarded_from[:1]
    ]


def _target(state: UnitState) -> str:
    if state.joined is None:
        raise ValueError(f"{state.unit} was not joined into another")
    return state.joined


def _archived(known: UnitState) -> tuple[Visit, ...]:
    """The base as one scan, under the id of the last one in it; none where it moved nothing."""
    base, key = known.base, known.base_key
    if base is None or key is None:
        return ()
    at, station, sequence, event_id = key
    return (
        Visit(
            at,
            station,
            sequence,
            event_id,
            b"",
            base.site,
            base.read_point,
            base.business_step,
            base.business_location,
            base.disposition,
            base.possessing_party,
            base.order or base.visit_order,
            0.0,
            None if base.parent is None else Tie(base.parent, 0),
        ),
    )


def _scan(visit: Visit, target: str, unit: str, cause: Scan) -> Scan:
    """`visit` as a scan of `target`: all that folding needs of what the reader claimed."""
    return Scan(
        event_id=visit.event_id,
        unit=target,
        event_time=visit.at.astimezone(UTC),
        record_time=cause.record_time,
        reader=READER,
        sequence=visit.sequence,
        station=visit.station,
        site=visit.site,
        read_point=visit.read_point,
        business_step=visit.business_step,
        business_location=visit.business_location,
        disposition=visit.disposition,
        possessing_party=visit.possessing_party,
        transactions=(Transaction(type="order", id=visit.order),) if visit.order else (),
        repeat_window_s=visit.repeat_window_s,
        parent=visit.tie and visit.tie.parent,
        forwarded_from=(unit,),
    )
