"""A unit folded anew from its history: as if everything had come in time."""

from dataclasses import replace
from datetime import timedelta
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantrail.contracts.records import decode_refold, decode_state, encode_refold, encode_state
from scantrail.domain import custody
from scantrail.domain.custody import (
    Fact,
    Observation,
    Outcome,
    Overtaken,
    Rebase,
    UnitState,
    fold,
    observe,
    rebase,
    visit_of,
)
from scantrail.domain.refolding import CannotRefold, Told, refold, refold_id
from scantrail.domain.scan import Scan
from scantrail.domain.vocabulary import BusinessStep, Phase
from unit.world import UNIT, World, packed, scanned, shipped

STEPS = [
    BusinessStep.RECEIVING,
    BusinessStep.STORING,
    BusinessStep.SHIPPING,
    BusinessStep.RETURNING,
    BusinessStep.DECOMMISSIONING,
]


class Unit:
    """A unit, and what `movements` would tell of it."""

    def __init__(self) -> None:
        self.state: UnitState | None = None
        self.history: list[Told] = []
        self.facts: list[Fact] = []
        self.offset = 0

    def take(self, *scans: Scan) -> "Unit":
        for scan in scans:
            self.offset += 1
            self._tell(scan, observe(self.state, scan, offset=self.offset))
        return self

    def refold(self, others: tuple[Told, ...] = ()) -> Observation:
        assert self.state is not None
        anew = refold(self.state, self.history, others)
        cause = scanned(refold_id(UNIT, anew.version), 0)
        read, told = decode_refold(UNIT.encode(), encode_refold(cause, anew))
        assert (read, told) == (cause, anew)
        self.offset += 1
        seen = rebase(self.state, told, cause, offset=self.offset)
        self._tell(cause, seen)
        return seen

    def _tell(self, scan: Scan, seen: Observation) -> None:
        self.state = decode_state(encode_state(seen.state))
        if seen.accepted:
            self.history.append(
                Told(
                    seen.state.version,
                    seen.outcome,
                    scan,
                    seen.facts_added,
                    seen.facts_withdrawn,
                )
            )
        assert set(seen.facts_withdrawn) <= set(self.facts)
        self.facts = [fact for fact in self.facts if fact not in seen.facts_withdrawn]
        self.facts += seen.facts_added


@st.composite
def stories(draw: st.DrawFn) -> list[Scan]:
    """Scans over days, of which some correct others; in the order in which they arrive."""
    count = draw(st.integers(3, 14))
    made = []
    for number in range(count):
        others = [f"e{other}" for other in range(count) if other != number]
        site, station = draw(st.sampled_from([("n", "a"), ("n", "b"), ("s", "c")]))
        made.append(
            scanned(
                f"e{number}",
                draw(st.integers(0, 20)) * 600,
                site=site,
                station=station,
                read_point=station,
                business_step=draw(st.sampled_from(STEPS)),
                business_location=draw(st.sampled_from([None, station])),
                disposition=draw(st.sampled_from([None, None, "damaged"])),
                corrects=draw(st.sampled_from(others)) if draw(st.integers(0, 6)) == 6 else None,
            )
        )
    return made


@settings(max_examples=300)
@given(st.data(), stories())
def test_after_a_refold_the_unit_is_as_if_everything_had_come_in_order(
    data: st.DataObject, told: list[Scan]
) -> None:
    with patch.object(custody, "KEEP_AT_LEAST", 2):
        unit = Unit().take(*told)
        assert unit.state is not None
        versions = unit.state.version
        if data.draw(st.booleans()):
            unit.refold()
            more = data.draw(stories())
            unit.take(*(replace(scan, event_id=f"m{scan.event_id}") for scan in more))
            told = [*told, *(replace(scan, event_id=f"m{scan.event_id}") for scan in more)]
            versions += 1 + len(more)
        seen = unit.refold()
    wrong = {scan.corrects for scan in told}
    count = [s for s in told if s.corrects is None and s.event_id not in wrong]
    visits = sorted(map(visit_of, count), key=lambda visit: visit.order_key)
    current, facts = fold(None, tuple(visits))
    assert seen.state.current == current
    assert set(unit.facts) == set(facts)
    assert seen.state.version == versions + 1


def archived() -> Unit:
    """Stored once a day for twenty days."""
    return Unit().take(
        *(
            scanned(f"d{n}", n * 1440, station=f"s{n % 3}", business_step=BusinessStep.STORING)
            for n in range(20)
        )
    )


def test_a_scan_that_came_too_late_counts_after_a_refold() -> None:
    unit = archived()
    late = scanned("late", 700, station="gate", disposition="damaged")
    unit.take(replace(late, business_step=BusinessStep.INSPECTING))
    assert unit.history[-1].outcome is Outcome.OLDER_THAN_BASE
    assert unit.state is not None
    assert unit.state.current is not None
    assert unit.state.current.disposition is None
    seen = unit.refold()
    assert seen.outcome is Outcome.REFOLDED
    assert seen.state.current is not None
    assert seen.state.current.disposition == "damaged"
    assert seen.state.kept == unit.state.kept


def test_a_correction_that_came_too_late_counts_after_a_refold() -> None:
    unit = archived()
    unit.take(scanned("c", 30_000, corrects="d0"))
    assert unit.history[-1].outcome is Outcome.OLDER_THAN_BASE
    seen = unit.refold()
    assert unit.state is not None
    assert seen.state.base is not None
    assert refold(unit.state, unit.history).base == seen.state.base, "and again the same"


def test_a_duplicate_in_what_is_archived_is_told_and_withdrawn() -> None:
    unit = archived().take(shipped("s1", 100, UNIT), shipped("s2", 200, UNIT))
    assert unit.facts == []
    (fact,) = unit.refold().facts_added
    assert (fact.event_id, fact.against) == ("s2", "s1")
    unit.take(scanned("c", 30_000, corrects="s2"))
    assert unit.refold().facts_withdrawn == (fact,)
    assert unit.facts == []


def test_a_base_of_another_version_is_refused_with_both() -> None:
    unit = archived()
    assert unit.state is not None
    anew = refold(unit.state, unit.history)
    unit.take(scanned("more", 40_000))
    with pytest.raises(Overtaken, match="has version 21, and the new base is of version 20"):
        rebase(unit.state, anew, scanned("r", 0), offset=99)


def test_a_refold_that_comes_twice_counts_once() -> None:
    unit = archived()
    assert unit.state is not None
    anew = refold(unit.state, unit.history)
    first = rebase(unit.state, anew, scanned("r", 0), offset=98)
    assert rebase(first.state, anew, scanned("r", 0), offset=98).outcome is Outcome.REPLAYED
    assert rebase(first.state, anew, scanned("r", 0), offset=99).outcome is Outcome.REDELIVERED


def test_a_history_with_a_gap_is_not_folded() -> None:
    unit = archived()
    assert unit.state is not None
    del unit.history[4:6]
    with pytest.raises(CannotRefold, match=r"2 of 20 movements .* version 5"):
        refold(unit.state, unit.history)


def test_a_history_of_another_key_with_a_gap_is_not_folded() -> None:
    unit = archived()
    assert unit.state is not None
    other = [replace(told, scan=replace(told.scan, unit="imei:1")) for told in unit.history]
    with pytest.raises(CannotRefold, match=r"1 of 20 movements of imei:1 .* version 3"):
        refold(unit.state, unit.history, [*other[:2], *other[3:]])
    doubled = [*unit.history, *unit.history[4:7]]
    assert refold(unit.state, doubled) == refold(unit.state, unit.history)


def test_of_a_key_that_was_joined_its_unit_is_to_be_refolded() -> None:
    state = UnitState(UNIT, 1, 0, None, None, (), None, b"", joined="sn:p.older")
    with pytest.raises(CannotRefold, match=r"was joined into sn:p\.older: refold that"):
        refold(state, [])


def test_what_a_joined_key_had_archived_counts_after_a_refold() -> None:
    older, younger = UNIT, "imei:35693803564380"
    early = [
        scanned(f"d{n}", n * 1440, younger, station=f"s{n % 3}", business_step=BusinessStep.STORING)
        for n in range(20)
    ]
    damaged = replace(early[0], disposition="damaged")
    gone = [shipped("s1", 2000, younger), shipped("s2", 2100, younger)]
    world = World().tell(damaged, *gone, *early[1:])
    assert world.states[younger].base_key is not None
    world.tell(scanned("j", 30_000, younger, same_as=older))
    assert "s1" not in {scan.event_id for scan, _ in world.seen if scan.unit == older}
    unit = Unit()
    unit.state = world.states[older]
    unit.offset = world.delivered
    histories: dict[str, list[Told]] = {older: [], younger: []}
    for scan, seen in world.seen:
        told = Told(seen.state.version, seen.outcome, scan, seen.facts_added, seen.facts_withdrawn)
        histories[scan.unit].append(told)
        if scan.unit == older:
            unit.facts = [fact for fact in unit.facts if fact not in seen.facts_withdrawn]
            unit.facts += seen.facts_added
    unit.history = histories[older]
    seen = unit.refold(tuple(histories[younger]))
    visits = sorted(map(visit_of, [damaged, *gone, *early[1:]]), key=lambda visit: visit.order_key)
    current, facts = fold(None, tuple(visits))
    assert seen.state.current == current
    assert [fact.event_id for fact in unit.facts] == [fact.event_id for fact in facts] == ["s2"]


def test_a_unit_in_a_carton_stays_there_when_it_is_refolded() -> None:
    counted = [
        scanned(f"h{n}", 60 * n, business_step=BusinessStep.CYCLE_COUNTING, business_location=None)
        for n in range(1, 100)
    ]
    unit = Unit().take(packed("p", 0), *counted)
    seen = unit.refold()
    assert seen.state.current is not None
    assert (seen.state.current.parent, seen.state.current.phase) == ("sscc:1", Phase.ON_SITE)
    assert seen.facts_added == seen.facts_withdrawn == ()


def test_the_new_base_is_readable_as_it_was_written() -> None:
    unit = archived()
    assert unit.state is not None
    anew = refold(unit.state, unit.history)
    cause = scanned("r", 0, event_time=unit.history[0].scan.event_time + timedelta(days=1))
    assert decode_refold(UNIT.encode(), encode_refold(cause, anew)) == (cause, anew)
    assert isinstance(anew, Rebase)
