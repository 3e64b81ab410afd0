"""What is inside a unit moves with it: the records that go from one unit's state to another's.

A child tells its parent its stay by a link; the parent sends each child a scan derived from each
of its own. The parent may send too many, never too few: the child's fold decides which of them
count (`custody.step`). All ids are made from what they tell of, so that repetitions are known.
"""

from bisect import bisect_left
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple

from scantrail.domain.custody import (
    Child,
    Observation,
    Outcome,
    Stay,
    UnitState,
    Visit,
    never_seen,
    step,
)
from scantrail.domain.scan import Origin, Scan, Transaction, made_id
from scantrail.domain.vocabulary import OUTBOUND_STEPS, UNFOLLOWED_STEPS

CHILDREN_MAX = 2_000

#: Levels of parents that a scan is handed down: pallet, case, carton, product, component.
DEPTH_MAX = 4

#: The reader of a derived scan.
READER = "tracker"

#: Marks the ids of what is derived a second time from a scan.
_AGAIN = "^"

_UNTOLD = (Outcome.OLDER_THAN_BASE, Outcome.VOIDED, Outcome.JOINED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A child's stay in its parent, as the child knows it at its `version`.

    `until` is None while it is inside. `record_time` is that of the scan that told it.
    """

    parent: str
    child: str
    version: int
    since: datetime
    until: datetime | None
    record_time: datetime
    #: the key as whose child the child knows itself, where that was joined into `parent`
    via: str | None = None
    #: how often it was passed on to the key into which `parent` was joined
    hops: int = 0


class TooManyChildren(Exception):
    """The parent knows as many units inside it as it can; the text says of which child."""


def is_concerned(state: UnitState, scan: Scan) -> bool:
    """Whether an accepted scan has anything to tell to other units."""
    return bool(
        state.children
        or state.stays
        or scan.parent is not None
        or scan.same_as is not None
        or scan.corrects is not None
    )


def tell_parents(state: UnitState, scan: Scan) -> tuple[UnitState, list[Link]]:
    """The links that `scan`, just accepted, makes necessary, and the state that has told them."""
    stays = _stays(state)
    if stays == state.stays:
        return state, []
    known = {stay.parent: stay for stay in state.stays}
    changed = [stay for stay in stays if known.pop(stay.parent, None) != stay]
    # Those that are no more are told as empty, unless the base has them behind it.
    begin = None if state.base_key is None else state.base_key[0]
    left = [
        Stay(stay.parent, stay.since, stay.since)
        for stay in known.values()
        if begin is None or stay.until is None or stay.until > begin
    ]
    links = [
        Link(
            parent=stay.parent,
            child=state.unit,
            version=state.version,
            since=stay.since.astimezone(UTC),
            until=stay.until and stay.until.astimezone(UTC),
            record_time=scan.record_time,
        )
        for stay in (*changed, *left)
    ]
    return state._replace(stays=stays), links


def _stays(state: UnitState) -> tuple[Stay, ...]:
    """For each parent among the scans that are kept: first in, last out."""
    position = state.base
    inside = None if position is None else position.parent
    found: dict[str, Stay] = {}
    if position is not None and inside is not None:
        told = next((stay for stay in state.stays if stay.parent == inside), None)
        found[inside] = Stay(inside, told.since if told else position.since, None)
    for visit in state.kept:
        position, _, _ = step(position, visit)
        parent = None if position is None else position.parent
        if parent == inside:
            continue
        if inside is not None:
            found[inside] = found[inside]._replace(until=visit.at)
        if parent is not None:
            since = found[parent].since if parent in found else visit.at
            found[parent] = Stay(parent, since, None)
        inside = parent
    return tuple(sorted(found.values()))


def tell_children(known: UnitState | None, seen: Observation, scan: Scan) -> list[Scan]:
    """The scans that `scan`, accepted into a state that was `known`, makes for the children.

    Corrections go to all of them: what was sent to a child does not show in its stay of today.
    """
    state = seen.state
    if not state.children or seen.outcome in _UNTOLD:
        return []
    if seen.outcome is Outcome.MOVED:
        newest = Followed(state.kept[-1])
        before = dict[str, Followed]()
        after = {newest.visit.event_id: newest} if newest.counts else {}
    else:
        before, after = _followed(known), _followed(seen.folded or state)
    made = [
        _derived(
            child.via or state.unit,
            followed.visit,
            child.unit,
            scan.record_time,
            # It was a repeat: what was told of it before that, if anything, is void for good.
            again=event_id in before,
        )
        for event_id, followed in after.items()
        for child in state.children
        if followed.concerns(child)
        and not (event_id in before and before[event_id].concerns(child))
    ]
    for event_id, followed in before.items():
        now = after.get(event_id)
        for child in state.children:
            if _is_void_for(child, followed, now, state):
                parent = child.via or state.unit
                told = (scan.event_id, followed.visit, child.unit, scan.record_time)
                made.append(_correction(parent, *told))
                if now is None:  # what was told of it again, too
                    made.append(_correction(parent, *told, again=True))
    return made


def _is_void_for(
    child: Child, before: "Followed", after: "Followed | None", state: UnitState
) -> bool:
    """Whether what was sent of a scan does not count any more, or is told by another."""
    if after is None:
        return state.base_key is None or before.visit.order_key > state.base_key
    return before.began is None and after.repeats_for(child)


def revealed(known: UnitState | None, seen: Observation) -> tuple[Visit, ...]:
    """Scans that came before and were not judged, or of which what was told is withdrawn: derived
    ones that moved nothing and move the unit now, and repeats that are none any more, for what came
    between or what they repeated is void. After another key of the unit is known, those of its own
    in which it went out."""
    if seen.outcome is Outcome.JOINED:
        if seen.state.joined is None:
            return _went_out(seen.state)
        # Its own scans go to the other key, and are judged there.
        return tuple(v for v in _went_out(known or seen.state) if not v.content or _depth(v))
    if known is None or seen.outcome not in (Outcome.LATE, Outcome.CORRECTED, Outcome.REFOLDED):
        return ()
    before = {each.visit.event_id: each for each in _moving(known)}
    come = {visit.event_id for visit in known.kept}

    def is_new(visit: Visit) -> bool:
        known_as = before.get(visit.event_id)
        return bool(_depth(visit)) if known_as is None else known_as.began is not None

    return tuple(
        each.visit
        for each in _moving(seen.folded or seen.state)
        if each.began is None and each.visit.event_id in come and is_new(each.visit)
    )


def _went_out(state: UnitState) -> tuple[Visit, ...]:
    """The visits in which the unit went out, an archived departure that is still open included."""
    base, found = state.base, list[Visit]()
    if base is not None and base.departure is not None:
        departure = base.departure
        found.append(
            Visit(
                base.since,
                base.station,
                0,
                departure.event_id,
                b"",
                departure.site,
                base.read_point,
                departure.steps[-1],
                None,
                None,
                None,
                departure.order,
                0.0,
            )
        )
    moving = (each.visit for each in _moving(state) if each.began is None)
    return (*found, *(visit for visit in moving if visit.business_step in OUTBOUND_STEPS))


def is_too_deep(scan: Scan) -> bool:
    """Whether `scan` has come down so many levels that no child is told of it."""
    return scan.derived_from is not None and scan.derived_from.depth >= DEPTH_MAX


def learn(known: UnitState | None, link: Link, *, offset: int) -> tuple[UnitState, list[Scan]]:
    """The parent's state with `link`, read at `offset`, and the scans that the child lacks.

    A link moves nothing and makes no version. Raises TooManyChildren.
    """
    state = known or never_seen(link.parent)
    if offset <= state.offset:
        return state, []
    state = state._replace(offset=offset)
    child = Child(link.child, link.version, link.since, link.until, link.via)
    place = bisect_left(state.children, _identity(child), key=_identity)
    old = state.children[place] if place < len(state.children) else None
    if old is None or _identity(old) != _identity(child):
        old = None
        others = _still_of_use(state)
        if len(others) >= CHILDREN_MAX:
            raise TooManyChildren(
                f"{link.parent} has {CHILDREN_MAX} units inside it: {link.child} does not follow it"
            )
    elif old.version >= child.version:
        return state, []
    else:
        others = [each for each in state.children if _identity(each) != _identity(child)]
    state = state._replace(children=tuple(sorted((*others, child), key=_identity)))
    parent, told = child.via or state.unit, list[Scan]()
    for followed in _followed(state).values():
        was_told = old is not None and followed.concerns(old)
        if followed.concerns(child) and not was_told:
            told.append(_derived(parent, followed.visit, child.unit, link.record_time))
        elif was_told and followed.repeats_for(child):  # it was inside for longer than it was known
            cause = f"link {link.version}"
            told.append(_correction(parent, cause, followed.visit, child.unit, link.record_time))
    return state, told


def link_of(child: Child, parent: str, record_time: datetime, *, via: str | None = None) -> Link:
    """What `child` told its parent, for `parent` to know."""
    return Link(
        parent=parent,
        child=child.unit,
        version=child.version,
        since=child.since.astimezone(UTC),
        until=child.until and child.until.astimezone(UTC),
        record_time=record_time,
        via=via,
    )


def _identity(child: Child) -> tuple[str, str]:
    """A unit may have been inside two keys that turn out one unit."""
    return child.unit, child.via or ""


def _still_of_use(state: UnitState) -> list[Child]:
    """Without those that left before the scans that are kept."""
    if state.base_key is None:
        return list(state.children)
    begin = state.base_key[0]
    return [child for child in state.children if child.until is None or child.until >= begin]


class Followed(NamedTuple):
    """A scan of the parent. `began` is None, or where it is a repeat, when its visit began: then it
    is told to those only that came inside since."""

    visit: Visit
    began: datetime | None = None

    @property
    def counts(self) -> bool:
        return _depth(self.visit) < DEPTH_MAX and self.visit.business_step not in UNFOLLOWED_STEPS

    def repeats_for(self, child: Child) -> bool:
        """Whether it tells a child nothing that the visit's first scan did not."""
        return self.began is not None and child.since <= self.began

    def concerns(self, child: Child) -> bool:
        at = self.visit.at
        is_inside = child.since <= at and (child.until is None or at <= child.until)
        return is_inside and not self.repeats_for(child)


def _depth(visit: Visit) -> int:
    return 0 if visit.tie is None else visit.tie.depth


def _followed(state: UnitState | None) -> dict[str, Followed]:
    """The kept scans that move what is inside, by event id."""
    moving = [] if state is None else _moving(state)
    return {each.visit.event_id: each for each in moving if each.counts}


def _moving(state: UnitState) -> list[Followed]:
    """The kept scans that are not without effect."""
    position, found = state.base, list[Followed]()
    began = None if position is None else position.since
    for visit in state.kept:
        after, _, is_repeat = step(position, visit)
        if is_repeat:
            found.append(Followed(visit, began))
        elif after is not position:
            began = visit.at
            found.append(Followed(visit))
        position = after
    return found


def _derived(
    parent: str, visit: Visit, child: str, record_time: datetime, *, again: bool = False
) -> Scan:
    """`visit` as a scan of what is inside: its place, custody and order, not its condition.

    Made of the visit alone, so that it is the same scan whenever it is made; its time is the one
    that orders the parent's.
    """
    event_id = derived_id(parent, visit.event_id + _AGAIN * again, child)
    origin = Origin(unit=parent, event_id=visit.event_id, depth=_depth(visit) + 1)
    return replace(scan_of(visit, child, event_id, record_time), derived_from=origin)


def scan_of(visit: Visit, unit: str, event_id: str, record_time: datetime) -> Scan:
    """`visit` as a scan of `unit`: its place, custody and order, at the time that orders it."""
    return Scan(
        event_id=event_id,
        unit=unit,
        event_time=visit.at.astimezone(UTC),
        record_time=record_time,
        reader=READER,
        sequence=visit.sequence,
        station=visit.station,
        site=visit.site,
        read_point=visit.read_point,
        business_step=visit.business_step,
        business_location=visit.business_location,
        possessing_party=visit.possessing_party,
        transactions=(Transaction(type="order", id=visit.order),) if visit.order else (),
        repeat_window_s=visit.repeat_window_s,
    )


def _correction(
    parent: str,
    cause: str,
    visit: Visit,
    child: str,
    record_time: datetime,
    *,
    again: bool = False,
) -> Scan:
    """Voids what was derived for `child` from `visit`, which `cause` made void or a repeat."""
    return Scan(
        event_id=derived_id(parent, f"{cause}~{visit.event_id}{_AGAIN * again}", child),
        unit=child,
        event_time=visit.at.astimezone(UTC),
        record_time=record_time,
        reader=READER,
        sequence=visit.sequence,
        station=visit.station,
        site=visit.site,
        read_point=visit.read_point,
        business_step=visit.business_step,
        corrects=derived_id(parent, visit.event_id + _AGAIN * again, child),
        derived_from=Origin(unit=parent, event_id=cause, depth=_depth(visit) + 1),
    )


def derived_id(parent: str, event_id: str, child: str) -> str:
    """The same for the same scan of the parent and the same child, whenever it is made."""
    return f"derived/{made_id(parent, event_id, child)}"
