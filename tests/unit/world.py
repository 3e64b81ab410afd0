"""A small world of units, and what is under way between them: for tests of the domain alone.

It delivers scans, links and what comes of them one at a time, of each unit in any order, and some
of them twice: nothing is relied upon but that all of them come, unless told otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from hypothesis import strategies as st

from scantrail.contracts.records import (
    decode_link,
    decode_scan,
    decode_state,
    encode,
    encode_link,
    encode_state,
)
from scantrail.domain.children import Link, is_concerned, learn, tell_children, tell_parents
from scantrail.domain.custody import Fact, Observation, Outcome, Position, UnitState, observe
from scantrail.domain.joining import forward, forward_link, hand_over
from scantrail.domain.scan import Scan, Transaction
from scantrail.domain.vocabulary import BusinessStep

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
UNIT, CARTON, OTHER = "sn:p.1", "sscc:1", "sscc:2"

#: What products say of a step: nothing, that it begins their order, or after which others it comes.
EXPECTED = st.sampled_from(
    [None, (), (BusinessStep.STORING, BusinessStep.SHIPPING), (BusinessStep.RECEIVING,)]
)

Record = Scan | Link
#: Of so many records that wait, the one that comes next, and whether it comes once more.
Choose = Callable[[int], tuple[int, bool]]


def in_order(waiting: int) -> tuple[int, bool]:
    return 0, False


def key_of(record: Record) -> str:
    return record.parent if isinstance(record, Link) else record.unit


T = TypeVar("T")


def _renamed(told: T, ids: dict[str, str]) -> T:
    """A named tuple with these ids in place of others, at any depth."""
    if isinstance(told, str):
        return ids.get(told, told)  # type: ignore[return-value]
    if not isinstance(told, tuple) or not hasattr(told, "_fields"):
        return told
    return type(told)(*(_renamed(value, ids) for value in told))


@dataclass
class World:
    """The states of all units, and what is under way to them."""

    choose: Choose = in_order
    #: whether what is for one unit comes as it was sent, as Kafka has it: a repetition, and what is
    #: for others, may still come whenever it likes
    keeps_order: bool = False
    states: dict[str, UnitState] = field(default_factory=dict)
    facts: dict[str, set[Fact]] = field(default_factory=dict)
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)
    seen: list[tuple[Scan, Observation]] = field(default_factory=list)
    waiting: list[Record] = field(default_factory=list)
    delivered: int = 0

    def tell(self, *scans: Scan) -> "World":
        """Deliver `scans`, and all that comes of them."""
        self.waiting += scans
        while self.waiting:
            place, again = self.choose(len(self.waiting))
            if self.keeps_order:
                place = [*map(key_of, self.waiting)].index(key_of(self.waiting[place]))
            record = self.waiting[place] if again else self.waiting.pop(place)
            self.deliver(record)
        return self

    def deliver(self, record: Record) -> None:
        self.delivered += 1
        assert self.delivered < 3_000, "it does not end"
        if isinstance(record, Link):
            key = record.parent
            link = decode_link(key.encode(), encode_link(record))
            parent = self.states.get(key)
            if parent is not None and parent.joined is not None:
                passed_on = forward_link(parent, link)
                self.waiting += [] if passed_on is None else [passed_on]
                return
            state, made = learn(parent, link, offset=self.delivered)
            self.waiting += made
        else:
            key = record.unit
            known = self.states.get(key)
            scan = decode_scan(key.encode(), encode(record))
            seen = observe(known, scan, offset=self.delivered)
            state = seen.state
            if seen.accepted:
                self.seen.append((scan, seen))
            if seen.outcome is Outcome.FORWARDED:
                forwarded = forward(state, scan)
                self.waiting += [] if forwarded is None else [forwarded]
            if seen.accepted and is_concerned(state, scan):
                state, links = tell_parents(state, scan)
                self.waiting += links
                self.waiting += tell_children(known, seen, scan)
                if state.joined is not None and (known is None or known.joined is None):
                    handed, inside = hand_over(known, state, scan)
                    self.waiting += [*handed, *inside]
                    state = state._replace(children=())
            standing = self.facts.setdefault(key, set())
            assert set(seen.facts_withdrawn) <= standing
            standing -= set(seen.facts_withdrawn)
            standing |= set(seen.facts_added)
            self.outcomes.setdefault(scan.event_id, []).append(seen.outcome)
        self.states[key] = decode_state(encode_state(state))

    def at(self, unit: str) -> Position:
        position = self.states[unit].current
        assert position is not None
        return position

    def ends(self) -> dict[str, tuple[Position | None, set[Fact]]]:
        """Places and facts; a derived scan stands under the id of the parent's scan, for one that
        was voided and counts again has another."""
        ids = {s.event_id: s.derived_from.event_id for s, _ in self.seen if s.derived_from}
        return {
            unit: (
                _renamed(state.current, ids),
                {_renamed(fact, ids) for fact in self.facts.get(unit, ())},
            )
            for unit, state in self.states.items()
            if state.version
        }


def scanned(event_id: str, minutes: float, unit: str = UNIT, **changes: object) -> Scan:
    plain = Scan(
        event_id=event_id,
        unit=unit,
        event_time=NOON + timedelta(minutes=minutes),
        record_time=NOON + timedelta(days=1),
        reader="r",
        sequence=0,
        station="dock-1",
        site="north",
        read_point="dock-1",
        business_step=BusinessStep.RECEIVING,
        business_location="dock-1",
        possessing_party="acme",
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def packed(event_id: str, minutes: float, parent: str = CARTON, unit: str = UNIT) -> Scan:
    return scanned(
        event_id,
        minutes,
        unit,
        station="pack-1",
        business_step=BusinessStep.PACKING,
        business_location="pack-1",
        parent=parent,
    )


def shipped(event_id: str, minutes: float, unit: str = CARTON) -> Scan:
    return scanned(
        event_id,
        minutes,
        unit,
        station="gate",
        business_step=BusinessStep.SHIPPING,
        business_location=None,
        possessing_party="haul",
        transactions=(Transaction(type="order", id="SO-1"),),
    )
