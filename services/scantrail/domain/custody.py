"""How scans move a unit: the one place where location and custody change.

Scans are folded in the order of (time, station, sequence), whatever order they arrive in. A unit's
state keeps its recent scans behind an archived base, so that a late one is folded again at its
place; arrival order and newest-wins both end in wrong answers. A scan that a correction voids is
left out of the fold, whichever of the two arrives first. A scan that was derived from one of the
unit's parent is folded only where the unit is inside that parent (domain/children.py).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import blake2b
from typing import NamedTuple

from scantrail.domain.party import PURCHASER
from scantrail.domain.scan import Scan, content_digest, order_reference, ordered_at
from scantrail.domain.vocabulary import (
    COUNTING_STEPS,
    DEPARTURE_ENDING_STEPS,
    ENTERING_STEPS,
    LEAVING_STEPS,
    TAKING_OUT_STEPS,
    BusinessStep,
    Phase,
)

KEEP_FOR = timedelta(hours=48)
KEEP_AT_LEAST = 16
KEEP_AT_MOST = 500
REMEMBER_IDS = 500
HELD_FOR_AT_MOST = 16
VOIDED_AT_MOST = 500
#: Keys that can be joined into one: a unit has a handful, and one reader that errs has thousands.
ALIASES_MAX = 64

# A member of an enum is looked for each time that it is named, and a scan would name a dozen.
_ON_SITE, _SHIPPED, _GONE = Phase.ON_SITE, Phase.SHIPPED, Phase.GONE
_DECOMMISSIONING = BusinessStep.DECOMMISSIONING
_CYCLE_COUNTING, _STOCK_TAKING = BusinessStep.CYCLE_COUNTING, BusinessStep.STOCK_TAKING

#: How the id of an archived base begins that was handed over as one scan.
BASE_PREFIX = "base/"

_ID_BYTES = 8
_MEMORY_BYTES = 16  # digest of the id, digest of the content


class Outcome(StrEnum):
    """What became of one scan. In order of precedence: the first that applies decides."""

    REPLAYED = "replayed"  # folded before, by offset: its output is durable
    REDELIVERED = "redelivered"  # the same event again: harmless
    CONFLICTING_EVENT = "conflicting_event"  # the same event id, a different story: harm
    FORWARDED = "forwarded"  # of a key that was joined into another: it is that unit's scan
    RELEASED = "released"  # forwarded too, and its key is not held for it any more
    JOINED = "joined"  # says that two keys are one unit, and moves nothing itself
    REFOLDED = "refolded"  # no scan: the base was folded anew, from the whole history
    CORRECTED = "corrected"  # voids another scan, come or to come, and moves nothing itself
    VOIDED = "voided"  # a correction of it came first: never folded, however old it is
    #: kept in history; it, or the scan that it corrects, is too old to be folded again here
    OLDER_THAN_BASE = "older_than_base"
    #: derived from a parent in which the unit was not, when it came: moves nothing, until a scan
    #: that comes late says that it was
    NOT_INSIDE = "not_inside"
    REPEAT_READ = "repeat_read"  # the same visit to the same station
    LATE = "late"  # folded at its place among scans already known
    MOVED = "moved"


class FactKind(StrEnum):
    COUNTED_AWAY = "counted_away"
    DUPLICATE_SERIAL = "duplicate_serial"
    OUT_OF_SEQUENCE = "out_of_sequence"


class FactRule(StrEnum):
    """How a contradiction was found."""

    COUNTED_WHILE_GONE = "counted_while_gone"
    COUNTED_WHILE_SHIPPED = "counted_while_shipped"
    RECEIVED_IN_CUSTODY = "received_in_custody"
    SHIPPED_TWICE = "shipped_twice"
    DECOMMISSIONED = "decommissioned"
    TWO_SITES = "two_sites"
    UNEXPECTED_STEP = "unexpected_step"


class Fact(NamedTuple):
    """What contradicts what. A fact is told by the scan that carries it, and can be withdrawn."""

    kind: FactKind
    event_id: str
    rule: FactRule
    #: the earlier scan that it contradicts; empty where there is none
    against: str
    elapsed_s: float
    #: of the scan that carries it, which need not be the one that revealed it
    station: str
    site: str
    at: datetime
    #: of an unexpected step: after which ones its product expects it
    expected_after: tuple[BusinessStep, ...] = ()


class Tie(NamedTuple):
    """What a scan has to do with a parent: it puts the unit into it, or is derived of it."""

    parent: str
    #: levels of parents between the scan that was made and this one: 0 for the unit's own
    depth: int


class Visit(NamedTuple):
    """A scan as the state keeps it: what folding needs, and no more."""

    at: datetime
    station: str
    sequence: int
    event_id: str
    content: bytes
    site: str
    read_point: str
    business_step: BusinessStep
    business_location: str | None
    disposition: str | None
    possessing_party: str | None
    order: str | None
    repeat_window_s: float
    tie: Tie | None = None
    expected_after: tuple[BusinessStep, ...] | None = None
    expected_since: datetime | None = None

    @property
    def order_key(self) -> tuple[datetime, str, int, str]:
        return self[:4]


class Departure(NamedTuple):
    """How a unit left, while nothing says that it came back or arrived."""

    event_id: str
    site: str
    order: str | None
    steps: tuple[BusinessStep, ...]


class Counted(NamedTuple):
    """Where a unit that is not on site was counted all the same, and since which scan."""

    station: str
    business_step: BusinessStep
    at: datetime
    visit_id: str


class Position(NamedTuple):
    """Where a unit is and who has it, after some scan."""

    phase: Phase
    site: str
    station: str
    read_point: str
    business_location: str | None
    business_step: BusinessStep
    disposition: str | None
    possessing_party: str | None
    #: the sales order it left under, while it is shipped
    order: str | None
    #: since when it is there, with that party
    since: datetime
    #: the scan that brought it there, and the last one that saw it
    event_id: str
    seen_at: datetime
    #: the scan that began the present visit to the station, and the order it named
    visit_id: str = ""
    visit_order: str | None = None
    departure: Departure | None = None
    #: the unit into which it is packed or assembled
    parent: str | None = None
    #: the last step that its product's order names, and what its parents went through since; empty
    #: where nothing is known of that, as of what came before the product had an order
    in_order: tuple[BusinessStep, ...] = ()
    #: since it left: it waits there for a person, and is not on site for that
    counted: Counted | None = None


class Voided(NamedTuple):
    """A scan that a correction voids, whether it has come or not."""

    #: the time of the correction: of too many the newest are remembered
    at: datetime
    #: digest of the voided scan's id
    id: bytes


class Stay(NamedTuple):
    """From when until when, at the widest, a unit is inside `parent`; until None: still."""

    parent: str
    since: datetime
    until: datetime | None


class Child(NamedTuple):
    """A unit as its parent knows it: its stay, as it told it at its `version`."""

    unit: str
    version: int
    since: datetime
    until: datetime | None
    #: a key that was joined into the parent's, and as whose child the unit knows itself
    via: str | None = None


class UnitState(NamedTuple):
    """Everything known of one unit that the next scan is judged against.

    `kept` is sorted; `base` is the fold of all before it, and ends at `base_key`. `memory` holds
    16 bytes for each accepted id that is not in `kept`: archived, too old, a correction or voided;
    oldest first. `voided` is sorted.
    """

    unit: str
    version: int
    offset: int
    base: Position | None
    base_key: tuple[datetime, str, int, str] | None
    kept: tuple[Visit, ...]
    current: Position | None
    memory: bytes
    #: events on which the code failed, and neither accepted nor voided since: the unit is held
    held_for: tuple[str, ...] = ()
    voided: tuple[Voided, ...] = ()
    #: what its parents were told, and what its children told it; both sorted
    stays: tuple[Stay, ...] = ()
    children: tuple[Child, ...] = ()
    #: the key into which this one was joined: its scans are that unit's
    joined: str | None = None
    #: the keys that were joined into this one; sorted
    aliases: tuple[str, ...] = ()
    #: the scan that said into which this one was joined
    joined_by: str | None = None


def never_seen(unit: str) -> UnitState:
    """The state of a unit before its first record."""
    return UnitState(unit, 0, -1, None, None, (), None, b"")


class Observation(NamedTuple):
    """The outcome of one scan. The shell stores the state and publishes the rest."""

    outcome: Outcome
    state: UnitState
    facts_added: tuple[Fact, ...] = ()
    facts_withdrawn: tuple[Fact, ...] = ()
    #: the scan that began the visit this one belongs to: itself, unless it is a repeat read
    visit_id: str = ""
    #: derived scans that moved nothing until this one told that the unit was inside, and those in
    #: which the unit went out before this one told of another key of it
    revealed: tuple[Visit, ...] = ()
    #: after a late scan: the state before some of its scans went into the base
    folded: UnitState | None = None
    #: scans that began a visit, and are repeats since this late one came before them
    absorbed: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        """Accepted scans raise the version by one and are in history."""
        return self.outcome not in _NOT_ACCEPTED


_PARTING_STEPS = TAKING_OUT_STEPS | {BusinessStep.DECOMMISSIONING}

_NOT_ACCEPTED = frozenset(
    {Outcome.REPLAYED, Outcome.REDELIVERED, Outcome.CONFLICTING_EVENT, Outcome.FORWARDED}
)


def observe(known: UnitState | None, scan: Scan, *, offset: int) -> Observation:
    """Judge `scan`, read at `offset` of its log, against what is `known` of its unit.

    Raises TooManyKeys for a scan that tells of one key too many.

    Branches read in order of precedence: the first that applies decides.
    """
    state = known or never_seen(scan.unit)
    if scan.unit != state.unit:
        raise ValueError(f"a scan of {scan.unit} was routed to the state of {state.unit}")
    if offset <= state.offset:
        return Observation(Outcome.REPLAYED, state)

    visit = visit_of(scan)
    content = _remembered(state, visit.event_id)
    if content is not None and not _was_handed_back(state, scan):
        same = content == visit.content or scan.same_as == state.unit
        outcome = Outcome.REDELIVERED if same else Outcome.CONFLICTING_EVENT
        return Observation(outcome, state._replace(offset=offset))

    is_elsewhere = state.joined is not None and _is_for_the_other(state, scan)
    held_for = state.held_for
    if held_for:
        held_for = tuple(id_ for id_ in held_for if id_ not in (scan.event_id, scan.corrects))
    if is_elsewhere and held_for == state.held_for:
        return Observation(Outcome.FORWARDED, state._replace(offset=offset))

    state = UnitState._make((state.unit, state.version + 1, offset, *state[3:]))
    if held_for != state.held_for:
        state = state._replace(held_for=held_for)
    if is_elsewhere:
        remembered = _remember(state, (visit,))
        return Observation(Outcome.RELEASED, remembered, visit_id=visit.event_id)
    if scan.corrects is not None:
        return _correct(state, visit, scan)
    if state.voided and is_voided(state, visit.event_id):
        remembered = _remember(state, (visit,))
        return Observation(Outcome.VOIDED, remembered, visit_id=visit.event_id)
    if scan.same_as is not None:
        return _join(state, visit, scan)
    if state.base_key is not None and visit.order_key < state.base_key:
        remembered = _remember(state, (visit,))
        return Observation(Outcome.OLDER_THAN_BASE, remembered, visit_id=visit.event_id)
    if not state.kept or visit.order_key > state.kept[-1].order_key:
        return _append(state, visit)
    return _insert(state, visit)


class TooManyKeys(Exception):
    """The unit has as many keys as it can; the text names both."""


class Overtaken(Exception):
    """The unit has got other scans than a base was made from; the text names the versions."""


class Rebase(NamedTuple):
    """A base made anew from the history of a unit up to `version`, which ends at `base_key`, and
    what became of the facts that the scans in it told."""

    version: int
    base: Position | None
    base_key: tuple[datetime, str, int, str] | None
    facts_added: tuple[Fact, ...]
    facts_withdrawn: tuple[Fact, ...]


def rebase(known: UnitState | None, anew: Rebase, scan: Scan, *, offset: int) -> Observation:
    """Fold what is kept on a new base; `scan` tells who did that when, and moves nothing.

    It is accepted, and has a version. Raises Overtaken where the unit has another version than the
    base.
    """
    state = known or never_seen(scan.unit)
    if offset <= state.offset:
        return Observation(Outcome.REPLAYED, state)
    if _remembered(state, scan.event_id) is not None:
        return Observation(Outcome.REDELIVERED, state._replace(offset=offset))
    if state.version != anew.version:
        raise Overtaken(
            f"{state.unit} has version {state.version}, and the new base is of version"
            f" {anew.version}: refold it again"
        )
    archived, kept = split(state, anew.base_key)
    before, _ = fold(state.base, archived)
    _, facts_before = fold(before, kept)
    current, facts_after = fold(anew.base, kept)
    state = state._replace(
        version=state.version + 1,
        offset=offset,
        base=anew.base,
        base_key=anew.base_key,
        kept=kept,
        current=current,
        # of what was accepted there is nothing to wait for
        held_for=tuple(id_ for id_ in state.held_for if _remembered(state, id_) is None),
    )
    state = _remember(state, (*archived, visit_of(scan)))
    return Observation(
        Outcome.REFOLDED,
        state,
        anew.facts_added + only_in(facts_after, facts_before),
        anew.facts_withdrawn + only_in(facts_before, facts_after),
        visit_id=scan.event_id,
        folded=state,
    )


def split(
    state: UnitState, base_key: tuple[datetime, str, int, str] | None
) -> tuple[tuple[Visit, ...], tuple[Visit, ...]]:
    """The kept scans up to `base_key`, and those behind it."""
    if base_key is None:
        return (), state.kept
    place = bisect_right(state.kept, base_key, key=lambda kept: kept.order_key)
    return state.kept[:place], state.kept[place:]


def hold(known: UnitState | None, scan: Scan, *, offset: int) -> UnitState:
    """The state of a unit on whose `scan` the code failed: held until that event is accepted, or
    voided by a correction."""
    state = known or never_seen(scan.unit)
    if scan.event_id in state.held_for:
        return state._replace(offset=offset)
    held_for = (*state.held_for, scan.event_id)[-HELD_FOR_AT_MOST:]
    return state._replace(offset=offset, held_for=held_for)


def fold(base: Position | None, visits: tuple[Visit, ...]) -> tuple[Position | None, list[Fact]]:
    """The position after `visits`, which are sorted, and the facts that they reveal."""
    position, facts = base, list[Fact]()
    for visit in visits:
        position, told, _ = step(position, visit)
        facts += told
    return position, facts


def only_in(some: Sequence[Fact], others: Sequence[Fact]) -> tuple[Fact, ...]:
    """Those of `some` that are none of `others`, in their order."""
    return tuple(fact for fact in some if fact not in others)


def _append(state: UnitState, visit: Visit) -> Observation:
    current, facts, is_repeat = step(state.current, visit)
    moved = _archive(_with(state, (*state.kept, visit), current))
    if current is None or current is state.current:
        return Observation(Outcome.NOT_INSIDE, moved, visit_id=visit.event_id)
    outcome = Outcome.REPEAT_READ if is_repeat else Outcome.MOVED
    return Observation(outcome, moved, facts, (), _visit_id(current, visit))


def _insert(state: UnitState, visit: Visit) -> Observation:
    """Fold again with a late scan at its place."""
    place = bisect_left(state.kept, visit.order_key, key=lambda kept: kept.order_key)
    earlier, later = state.kept[:place], state.kept[place:]
    position, _ = fold(state.base, earlier)  # these tell the same as before
    _, facts_before = fold(position, later)
    after, told, is_repeat = step(position, visit)
    if after is None or after is position:
        kept = (*earlier, visit, *later)
        return Observation(
            Outcome.NOT_INSIDE, _archive(state._replace(kept=kept)), visit_id=visit.event_id
        )
    current, facts_after = fold(after, later)
    facts_after[:0] = told
    folded = _with(state, (*earlier, visit, *later), current)
    return Observation(
        Outcome.REPEAT_READ if is_repeat else Outcome.LATE,
        _archive(folded),
        only_in(facts_after, facts_before),
        only_in(facts_before, facts_after),
        visit_id=_visit_id(after, visit),
        folded=folded,
        absorbed=_absorbed(position, after, later),
    )


def _absorbed(
    before: Position | None, after: Position | None, later: tuple[Visit, ...]
) -> tuple[str, ...]:
    """The scans that are repeats behind `after`, and were none behind `before`."""
    found = list[str]()
    for visit in later:
        before, _, was_repeat = step(before, visit)
        after, _, is_repeat = step(after, visit)
        if is_repeat and not was_repeat:
            found.append(visit.event_id)
    return tuple(found)


def _visit_id(after: Position, visit: Visit) -> str:
    """The scan that began the visit to which `visit` belongs, which led to `after`."""
    counted = after.counted
    if counted is not None and visit.business_step in COUNTING_STEPS:
        return counted.visit_id
    return after.visit_id


def _with(state: UnitState, kept: tuple[Visit, ...], current: Position | None) -> UnitState:
    """As `_replace`, which costs three times as much and stands in the way of every scan."""
    return UnitState._make((*state[:5], kept, current, *state[7:]))


def _was_handed_back(state: UnitState, scan: Scan) -> bool:
    """Whether the scan went to the key into which this one was joined, and was not kept there."""
    return (
        state.unit in scan.forwarded_from
        and scan.same_as is None
        and all(kept.event_id != scan.event_id for kept in state.kept)
    )


def _is_for_the_other(state: UnitState, scan: Scan) -> bool:
    """Whether a scan of a key that was joined is forwarded: not a voided one, nor one that takes
    the join back, nor what tells that the other was joined into this one at the same time."""
    if scan.corrects is not None:
        return scan.corrects != state.joined_by
    comes_back = scan.same_as == state.unit and scan.forwarded_from[-1:] == (state.joined,)
    stays = state.joined is not None and state.unit < state.joined
    return not (comes_back and stays) and not is_voided(state, scan.event_id)


def _join(state: UnitState, visit: Visit, scan: Scan) -> Observation:
    """Go into another key, with all scans, or take over another's name.

    Of two that were each joined into the other the one that sorts first stays. Raises TooManyKeys.
    """
    remembered = _remember(state, (visit,))
    other = scan.same_as
    if other == state.unit:
        aliases = sorted({*state.aliases, *scan.forwarded_from} - {state.unit})
        if len(aliases) > ALIASES_MAX and state.joined is None:
            raise TooManyKeys(
                f"{state.unit} has {ALIASES_MAX} keys more: recalls of {scan.forwarded_from[-1]} do"
                " not concern it; look for the reader that joins them"
            )
        remembered = remembered._replace(joined=None, joined_by=None, aliases=tuple(aliases))
        return Observation(Outcome.JOINED, remembered, visit_id=visit.event_id)
    if other in state.aliases:  # it is known to be one with it
        return Observation(Outcome.JOINED, remembered, visit_id=visit.event_id)
    _, facts = fold(state.base, state.kept)
    gone = _remember(state, (*state.kept, visit))._replace(
        base=None,
        base_key=None,
        kept=(),
        current=None,
        joined=other,
        joined_by=visit.event_id,
    )
    return Observation(Outcome.JOINED, gone, (), tuple(facts), visit_id=visit.event_id)


def _part(state: UnitState, correction: Visit, scan: Scan) -> Observation:
    """Take a join back: of the key that was joined, or of the other, which is told of it.

    What was handed over stays there: a correction of each scan undoes that. The key is held until
    it is refolded, for without its scans nobody knows where it is.
    """
    state = _remember(state, (correction,))
    if scan.same_as is None and state.joined_by is not None:
        held_for = (*state.held_for, state.joined_by)[-HELD_FOR_AT_MOST:]
        state = state._replace(joined=None, joined_by=None, held_for=held_for)
    else:
        gone = scan.forwarded_from[:1]  # others forwarded it
        left = tuple(alias for alias in state.aliases if alias not in gone)
        state = state._replace(aliases=left)
    return Observation(Outcome.CORRECTED, state, visit_id=correction.event_id)


def _correct(state: UnitState, correction: Visit, scan: Scan) -> Observation:
    """Leave the scan that `scan` voids out of the fold, now or once it comes.

    A correction moves nothing, so no correction voids another: what was voided in error is scanned
    again.
    """
    wrong = scan.corrects or ""
    if scan.same_as is not None or wrong == state.joined_by:
        return _part(state, correction, scan)
    place = next((n for n, kept in enumerate(state.kept) if kept.event_id == wrong), None)
    if place is None:
        is_known = _remembered(state, wrong) is not None
        is_archived = is_known and state.base_key is not None and not is_voided(state, wrong)
        outcome = Outcome.OLDER_THAN_BASE if is_archived else Outcome.CORRECTED
        if not is_archived:
            state = _void(state, correction.at, wrong)
        remembered = _remember(state, (correction,))
        return Observation(outcome, remembered, visit_id=correction.event_id)
    earlier, visit, later = state.kept[:place], state.kept[place], state.kept[place + 1 :]
    position, _ = fold(state.base, earlier)  # these tell the same as before
    _, facts_before = fold(position, (visit, *later))
    current, facts_after = fold(position, later)
    without = state._replace(kept=(*earlier, *later), current=current)
    return Observation(
        Outcome.CORRECTED,
        _remember(_void(without, correction.at, wrong), (visit, correction)),
        only_in(facts_after, facts_before),
        only_in(facts_before, facts_after),
        visit_id=correction.event_id,
    )


def step(before: Position | None, visit: Visit) -> tuple[Position | None, tuple[Fact, ...], bool]:
    """One scan in its place: (position after, what it contradicts, whether it is a repeat).

    `before` itself comes back where the scan is derived from a parent in which the unit is not.
    """
    tie = visit.tie
    is_derived = False
    if tie is not None and tie.depth:
        if before is None or before.parent != tie.parent:
            return before, (), False
        is_derived = True
    if (
        before is not None
        and before.phase is not _ON_SITE
        and visit.business_step in COUNTING_STEPS
    ):
        return _counted(before, visit, is_derived=is_derived)
    phase = _phase_after(visit)
    order = visit.order if phase is _SHIPPED else None
    if before is None:
        after = _arrived(
            visit,
            phase=phase,
            location=visit.business_location,
            party=visit.possessing_party,
            disposition=visit.disposition,
            order=order,
            since=visit.at,
            event_id=visit.event_id,
            departure=_departure_after(None, visit),
            parent=None if tie is None else tie.parent,
            in_order=_in_order_after((), visit),
        )
        return after, _out_of_sequence(None, visit), False
    if _is_repeat(before, visit):
        return before._replace(seen_at=visit.at), (), True
    location, party = visit.business_location, visit.possessing_party
    disposition = visit.disposition
    stayed = before.phase is _ON_SITE and before.site == visit.site
    if location is None and stayed and phase is not _SHIPPED:
        location = before.business_location
    came_back = before.phase is not _ON_SITE and phase not in (_SHIPPED, before.phase)
    if party is None and not came_back:  # the carrier no longer has what is here again
        party = before.possessing_party
    if phase is before.phase:
        if disposition is None:  # true until contradicted
            disposition = before.disposition
        if order is None and phase is _SHIPPED:
            order = before.order
    is_unmoved = (phase, visit.site, location, party, order) == (
        before.phase,
        before.site,
        before.business_location,
        before.possessing_party,
        before.order,
    )
    after = _arrived(
        visit,
        phase=phase,
        location=location,
        party=party,
        disposition=disposition,
        order=order,
        since=before.since if is_unmoved else visit.at,
        event_id=before.event_id if is_unmoved else visit.event_id,
        departure=_departure_after(before.departure, visit),
        parent=_parent_after(before, visit),
        in_order=_in_order_after(before.in_order, visit),
    )
    # A derived scan tells nothing of the unit that its parent's did not: that one is contradicted.
    return after, () if is_derived else _contradictions(before, visit), False


def _is_delivery(visit: Visit) -> bool:
    """Whether the unit arrived with the purchaser: it is not here again."""
    return visit.business_step is BusinessStep.ARRIVING and visit.possessing_party == PURCHASER


def _counted(
    before: Position, visit: Visit, *, is_derived: bool
) -> tuple[Position, tuple[Fact, ...], bool]:
    """As `step`, where what is counted is not on site: it stays where it is, and a person is told.

    Once for a visit; a derived scan tells what its parent's did. Opening stock tells nothing.
    """
    known = before.counted
    is_repeat = (
        known is not None
        and (known.station, known.business_step) == (visit.station, visit.business_step)
        and (visit.at - known.at).total_seconds() <= visit.repeat_window_s
    )
    visit_id = known.visit_id if known is not None and is_repeat else visit.event_id
    counted = Counted(visit.station, visit.business_step, visit.at, visit_id)
    after = before._replace(counted=counted)
    if is_repeat or is_derived or visit.business_step is not _CYCLE_COUNTING:
        return after, (), is_repeat
    is_shipped = before.phase is _SHIPPED
    fact = Fact(
        FactKind.COUNTED_AWAY,
        visit.event_id,
        FactRule.COUNTED_WHILE_SHIPPED if is_shipped else FactRule.COUNTED_WHILE_GONE,
        before.departure.event_id if is_shipped and before.departure else before.event_id,
        (visit.at - before.since).total_seconds(),
        visit.station,
        visit.site,
        visit.at,
    )
    return after, (fact,), False


def _phase_after(visit: Visit) -> Phase:
    if visit.business_step in LEAVING_STEPS or _is_delivery(visit):
        return _SHIPPED
    if visit.business_step is _DECOMMISSIONING:
        return _GONE
    return _ON_SITE


def _arrived(
    visit: Visit,
    *,
    phase: Phase,
    location: str | None,
    party: str | None,
    disposition: str | None,
    order: str | None,
    since: datetime,
    event_id: str,
    departure: Departure | None,
    parent: str | None,
    in_order: tuple[BusinessStep, ...],
) -> Position:
    return Position(
        phase,
        visit.site,
        visit.station,
        visit.read_point,
        location,
        visit.business_step,
        disposition,
        party,
        order,
        since,
        event_id,
        visit.at,
        visit.event_id,
        visit.order,
        departure,
        parent,
        in_order,
    )


def _is_repeat(before: Position, visit: Visit) -> bool:
    return (
        before.station == visit.station
        and before.business_step is visit.business_step
        and (visit.at - before.seen_at).total_seconds() <= visit.repeat_window_s
        and (visit.order is None or visit.order == before.visit_order)
        and ((visit.tie is None and before.parent is None) or _stays_inside(before, visit))
    )


def _stays_inside(before: Position, visit: Visit) -> bool:
    """Whether a second scan of a station leaves the unit in the parent in which it is."""
    if visit.tie is not None:
        return visit.tie.parent == before.parent
    return visit.business_step not in _PARTING_STEPS


def _parent_after(before: Position, visit: Visit) -> str | None:
    """A unit follows its parent until it is put into another, taken out, or scanned elsewhere."""
    if visit.tie is not None:
        return visit.tie.parent
    if before.parent is None or visit.business_step in _PARTING_STEPS:
        return None
    told = visit.business_location
    is_elsewhere = (
        visit.site != before.site
        or (before.phase is _SHIPPED and visit.business_step not in LEAVING_STEPS)
        or (None not in (told, before.business_location) and told != before.business_location)
    )
    return None if is_elsewhere else before.parent


def _departure_after(before: Departure | None, visit: Visit) -> Departure | None:
    """The departure that is open after `visit`: what is staged where it was shipped from has not
    come back for that."""
    step = visit.business_step
    if step in LEAVING_STEPS:
        if before is None or _leaves_again(before, visit):
            return Departure(visit.event_id, visit.site, visit.order, (step,))
        return before._replace(order=before.order or visit.order, steps=(*before.steps, step))
    if _is_delivery(visit):
        return before
    if step in DEPARTURE_ENDING_STEPS or (before is not None and visit.site != before.site):
        return None
    return before


def _leaves_again(departure: Departure, visit: Visit) -> bool:
    """Whether a leaving step is none of the departure that is open."""
    return (
        visit.business_step in departure.steps
        or visit.site != departure.site
        or (None not in (visit.order, departure.order) and visit.order != departure.order)
    )


def _contradictions(before: Position, visit: Visit) -> tuple[Fact, ...]:
    """A duplicate explains why a unit is out of sequence; two sites do only if it was too fast,
    which is not judged here. Opening stock says how things stand, and contradicts nothing."""
    if visit.business_step is _STOCK_TAKING:
        return ()
    rule = _broken_rule(before, visit)
    if rule is None:
        return _out_of_sequence(before, visit)
    fact = _duplicate(before, visit, rule)
    return (fact, *_out_of_sequence(before, visit)) if rule is FactRule.TWO_SITES else (fact,)


def _duplicate(before: Position, visit: Visit, rule: FactRule) -> Fact:
    against = before.event_id
    if rule is FactRule.SHIPPED_TWICE and before.departure is not None:
        against = before.departure.event_id
    return Fact(
        FactKind.DUPLICATE_SERIAL,
        visit.event_id,
        rule,
        against,
        (visit.at - before.seen_at).total_seconds(),
        visit.station,
        visit.site,
        visit.at,
    )


def _broken_rule(before: Position, visit: Visit) -> FactRule | None:
    step = visit.business_step
    if before.phase is _GONE:
        return None if step is _DECOMMISSIONING else FactRule.DECOMMISSIONED
    if _is_delivery(visit):  # a purchaser's place is none of our sites
        return None
    if step in LEAVING_STEPS and before.departure is not None:
        return FactRule.SHIPPED_TWICE if _leaves_again(before.departure, visit) else None
    if before.phase is _ON_SITE and step in ENTERING_STEPS:
        told = visit.business_location
        moved = told is not None and told != before.business_location
        return FactRule.RECEIVED_IN_CUSTODY if moved or visit.site != before.site else None
    return FactRule.TWO_SITES if before.site != visit.site else None


def _in_order_after(before: tuple[BusinessStep, ...], visit: Visit) -> tuple[BusinessStep, ...]:
    step = visit.business_step
    if visit.expected_after is not None:
        return (step,)
    if visit.event_id.startswith(BASE_PREFIX):  # many scans in one: their steps are not told
        return ()
    is_derived = visit.tie is not None and visit.tie.depth > 0
    return (*before, step) if is_derived and before and step not in before else before


def _out_of_sequence(before: Position | None, visit: Visit) -> tuple[Fact, ...]:
    """What the expected order of a product's steps makes of a scan.

    Of a unit of which no such step is known only the first scan of all can be judged. What it did
    before its product expected that was right then.
    """
    expected, since = visit.expected_after, visit.expected_since
    if not expected or (before is not None and not before.in_order):
        return ()
    if before is not None and since is not None and before.seen_at < since:
        return ()
    if before is not None and any(step in expected for step in before.in_order):
        return ()
    fact = Fact(
        FactKind.OUT_OF_SEQUENCE,
        visit.event_id,
        FactRule.UNEXPECTED_STEP,
        "" if before is None else before.event_id,
        0.0 if before is None else (visit.at - before.seen_at).total_seconds(),
        visit.station,
        visit.site,
        visit.at,
        expected,
    )
    return (fact,)


def _archive(state: UnitState) -> UnitState:
    """Move scans that are no longer kept into the base."""
    kept = state.kept
    if len(kept) <= KEEP_AT_LEAST:
        return state
    horizon = kept[-1].at - KEEP_FOR
    if kept[0].at >= horizon and len(kept) <= KEEP_AT_MOST:
        return state
    repeats, base = list[bool](), state.base
    for visit in kept:
        after, _, is_repeat = step(base, visit)
        repeats.append(is_repeat or after is base)
        base = after
    places = len(kept) - sum(repeats)  # repeats take no place, nor does what moves nothing
    count = 0
    while len(kept) - count > KEEP_AT_MOST or (
        kept[count].at < horizon and places - (not repeats[count]) >= KEEP_AT_LEAST
    ):
        places -= not repeats[count]
        count += 1
    if count == 0:
        return state
    archived = kept[:count]
    return _remember(
        state._replace(
            base=fold(state.base, archived)[0],
            base_key=archived[-1].order_key,
            kept=kept[count:],
        ),
        archived,
    )


def _remember(state: UnitState, visits: tuple[Visit, ...]) -> UnitState:
    added = b"".join(_id_digest(visit.event_id) + visit.content for visit in visits)
    return state._replace(memory=(state.memory + added)[-_MEMORY_BYTES * REMEMBER_IDS :])


def _void(state: UnitState, at: datetime, wrong: str) -> UnitState:
    """Sorted, so that the state does not tell in which order corrections arrived."""
    voided = sorted({*state.voided, Voided(at, _id_digest(wrong))})
    return state._replace(voided=tuple(voided[-VOIDED_AT_MOST:]))


def is_voided(state: UnitState, event_id: str) -> bool:
    """Whether a correction says that this scan is none, whether it has come or not."""
    wanted = _id_digest(event_id)
    return any(voided.id == wanted for voided in state.voided)


def _remembered(state: UnitState, event_id: str) -> bytes | None:
    """The content digest of an accepted id, None for one that is new."""
    for visit in reversed(state.kept):
        if visit.event_id == event_id:
            return visit.content
    if state.memory:
        wanted = _id_digest(event_id)
        place = state.memory.find(wanted)
        while place != -1:
            if place % _MEMORY_BYTES == 0:
                return state.memory[place + _ID_BYTES : place + _MEMORY_BYTES]
            place = state.memory.find(wanted, place + 1)
    return None


def _id_digest(event_id: str) -> bytes:
    return blake2b(event_id.encode("utf-8", "surrogatepass"), digest_size=_ID_BYTES).digest()


def visit_of(scan: Scan) -> Visit:
    """What the state keeps of `scan`."""
    return Visit(
        ordered_at(scan),
        scan.station,
        scan.sequence,
        scan.event_id,
        content_digest(scan),
        scan.site,
        scan.read_point,
        scan.business_step,
        scan.business_location,
        scan.disposition,
        scan.possessing_party,
        order_reference(scan),
        scan.repeat_window_s,
        None if scan.parent is None and scan.derived_from is None else _tie(scan),
        scan.expected_after,
        scan.expected_since,
    )


def _tie(scan: Scan) -> Tie | None:
    if scan.derived_from is not None:
        return Tie(scan.derived_from.unit, scan.derived_from.depth)
    if scan.parent in (None, scan.unit) or scan.business_step in _PARTING_STEPS:
        return None
    return Tie(scan.parent, 0)
