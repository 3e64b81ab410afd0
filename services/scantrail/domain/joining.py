"""Two keys that turn out to be one unit: what one of them sends to the other.

A unit may be received by one of its ids and shipped by another, before anybody says that both are
its own. A scan with `same_as` says so: the unit under whose key it comes hands over its scans, its
children and its name, and forwards whatever comes for it later. Scans keep their event ids, so that
a device that repeats one under either key is known.
"""

from dataclasses import replace

from scantrail.domain.children import Link, link_of, scan_of
from scantrail.domain.custody import ALIASES_MAX, BASE_PREFIX, Tie, UnitState, Visit
from scantrail.domain.scan import Scan, made_id


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
    Raises JoinedInACircle.
    """
    target = _target(state)
    if link.hops >= ALIASES_MAX:
        raise JoinedInACircle(
            f"{state.unit} and others were joined in a circle: nobody knows inside what"
            f" {link.child} is"
        )
    if link.child == target:
        return None
    return replace(link, parent=target, via=link.via or state.unit, hops=link.hops + 1)


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
        link_of(child, target, scan.record_time, via=child.via or state.unit)
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
        link_of(child, child.via, scan.record_time)
        for child in known.children
        if child.via is not None and child.via in scan.forwarded_from[:1]
    ]


def _target(state: UnitState) -> str:
    if state.joined is None:
        raise ValueError(f"{state.unit} was not joined into another")
    return state.joined


def _archived(known: UnitState) -> tuple[Visit, ...]:
    """The base as one scan, at the place of the last one in it; none where it moved nothing.

    Its id is its own: a correction of that last scan is none of all that were before.
    """
    base, key = known.base, known.base_key
    if base is None or key is None:
        return ()
    at, station, sequence, last = key
    return (
        Visit(
            at,
            station,
            sequence,
            f"{BASE_PREFIX}{made_id(known.unit, at.timestamp(), station, sequence, last)}",
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
    return replace(
        scan_of(visit, target, visit.event_id, cause.record_time),
        disposition=visit.disposition,
        parent=visit.tie and visit.tie.parent,
        expected_after=visit.expected_after,
        expected_since=visit.expected_since,
        forwarded_from=(unit,),
    )
