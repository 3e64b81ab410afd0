"""Two keys of one unit: whenever it is told, all ends as if every scan had come under one."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantrail.contracts.records import decode_state, encode_state
from scantrail.domain.custody import (
    ALIASES_MAX,
    Fact,
    Outcome,
    TooManyKeys,
    UnitState,
    observe,
)
from scantrail.domain.joining import JoinedInACircle, forward
from scantrail.domain.scan import Scan
from scantrail.domain.vocabulary import BusinessStep, Phase
from unit.world import CARTON, EXPECTED, World, packed, scanned, shipped

OLDER, YOUNGER, COMPONENT = "sgtin:09506000134352.7", "imei:35693803564380", "sn:ecu.5"


def joined(event_id: str, minutes: float, unit: str = YOUNGER, into: str = OLDER) -> Scan:
    return scanned(event_id, minutes, unit, station="desk", same_as=into)


STEPS = [
    BusinessStep.RECEIVING,
    BusinessStep.STORING,
    BusinessStep.PACKING,
    BusinessStep.UNPACKING,
    BusinessStep.SHIPPING,
    BusinessStep.RETURNING,
    BusinessStep.DECOMMISSIONING,
]


@st.composite
def stories(draw: st.DrawFn) -> list[Scan]:
    """Scans of one unit under two keys, of its carton, and of a component of it."""
    count = draw(st.integers(2, 8))
    keys = [OLDER, YOUNGER, YOUNGER, CARTON, COMPONENT]
    units = [draw(st.sampled_from(keys)) for _ in range(count)]
    told_of = draw(st.sampled_from([OLDER, YOUNGER]))
    made = []
    for number, unit in enumerate(units):
        others = [f"e{other}" for other in range(count) if units[other] == unit and other != number]
        is_correction = draw(st.integers(0, 5)) == 5
        site, station = draw(st.sampled_from([("n", "a"), ("n", "b"), ("s", "c")]))
        parents: list[str | None] = [None]
        if unit in (OLDER, YOUNGER):
            parents += [CARTON]
        if unit == COMPONENT:
            parents += [told_of]
        made.append(
            scanned(
                f"e{number}",
                draw(st.integers(0, 5)) / 2,
                unit,
                site=site,
                station=station,
                read_point=station,
                sequence=number,
                business_step=draw(st.sampled_from(STEPS)),
                business_location=draw(st.sampled_from([None, station])),
                parent=draw(st.sampled_from(parents)),
                corrects=draw(st.sampled_from(others)) if is_correction and others else None,
                repeat_window_s=draw(st.sampled_from([0, 40])),
                expected_after=draw(EXPECTED),
            )
        )
    return made


def as_one(scan: Scan) -> Scan:
    """The scan as it would be had both keys been known as one all the while."""
    unit = OLDER if scan.unit == YOUNGER else scan.unit
    return replace(scan, unit=unit, parent=OLDER if scan.parent == YOUNGER else scan.parent)


def where(world: World, unit: str) -> Any:
    """Where the unit is; without ids, which for what was derived are made of the parent's key."""
    state = world.states.get(unit)
    position = state and state.current
    if position is None:
        return None
    parent = OLDER if position.parent == YOUNGER else position.parent
    return position._replace(event_id="", visit_id="", departure=None, parent=parent)


@settings(max_examples=400)
@given(st.data(), stories())
def test_whenever_two_keys_are_joined_all_ends_as_under_one_key(
    data: st.DataObject, told: list[Scan]
) -> None:
    left = 5  # repetitions

    def any_order(waiting: int) -> tuple[int, bool]:
        nonlocal left
        again = left > 0 and data.draw(st.booleans())
        left -= again
        return data.draw(st.integers(0, waiting - 1)), again

    expected = World().tell(*map(as_one, told))
    place = data.draw(st.integers(0, len(told)))
    story = [*told[:place], joined("j", 9), *told[place:]]
    shuffled = data.draw(st.permutations(story))
    for world in (World().tell(*story), World(any_order, keeps_order=True).tell(*shuffled)):
        for unit in (OLDER, CARTON, COMPONENT):
            assert where(world, unit) == where(expected, unit)
        assert standing(world, OLDER) == standing(expected, OLDER)
        younger = world.states[YOUNGER]
        assert (younger.joined, younger.current, younger.kept) == (OLDER, None, ())
        assert world.facts[YOUNGER] == set()
        assert world.states[OLDER].aliases == (YOUNGER,)
        older, younger_ones = accepted(world, OLDER), accepted(world, YOUNGER)
        assert len(older) == len(set(older))
        assert {*older, *younger_ones} == {*accepted(expected, OLDER), "j"}


def accepted(world: World, unit: str) -> list[str]:
    """The ids of the unit's own scans in its history."""
    mine = [scan for scan, _ in world.seen if scan.unit == unit]
    return [scan.event_id for scan in mine if scan.derived_from is None]


def standing(world: World, unit: str) -> set[Fact]:
    return world.facts.get(unit, set())


def test_what_comes_for_the_younger_key_afterwards_is_the_older_ones() -> None:
    world = World().tell(joined("j", 0), scanned("a", 1, YOUNGER), shipped("s", 5, YOUNGER))
    assert world.at(OLDER).phase is Phase.SHIPPED
    assert [scan.event_id for scan, _ in world.seen if scan.unit == OLDER] == ["j", "a", "s"]
    assert world.states[YOUNGER].version == 1
    again = world.tell(scanned("a", 1, YOUNGER))
    assert again.states[OLDER].version == 3


def test_a_device_that_repeats_a_scan_under_the_older_key_is_known() -> None:
    world = World().tell(scanned("a", 1, YOUNGER), joined("j", 2), scanned("a", 1, OLDER))
    assert world.outcomes["a"] == [Outcome.MOVED, Outcome.MOVED, Outcome.REDELIVERED]


def test_a_duplicate_that_both_keys_tell_together_is_told_of_the_older() -> None:
    world = World().tell(shipped("s", 5, OLDER), shipped("t", 9, YOUNGER)).tell(joined("j", 10))
    assert [fact.event_id for fact in world.facts[OLDER]] == ["t"]
    assert world.facts[YOUNGER] == set()


def test_facts_of_the_younger_key_are_withdrawn_there() -> None:
    world = World().tell(shipped("s", 5, YOUNGER), shipped("t", 9, YOUNGER))
    assert len(world.facts[YOUNGER]) == 1
    world.tell(joined("j", 10))
    assert world.facts[YOUNGER] == set()
    assert len(world.facts[OLDER]) == 1


def test_a_component_of_the_younger_key_leaves_with_the_older() -> None:
    world = World().tell(packed("p", 0, YOUNGER, COMPONENT), joined("j", 2), shipped("s", 5, OLDER))
    assert world.at(COMPONENT).phase is Phase.SHIPPED
    later = World().tell(joined("j", 2), packed("p", 3, YOUNGER, COMPONENT), shipped("s", 5, OLDER))
    assert later.at(COMPONENT).phase is Phase.SHIPPED
    before = World().tell(packed("p", 0, YOUNGER, COMPONENT), shipped("s", 1, YOUNGER))
    version = before.states[COMPONENT].version
    before.tell(joined("j", 2))
    assert before.states[COMPONENT].version == version, "what it was told is not told again"


def test_a_packing_of_the_younger_key_counts_for_the_older_also_when_it_is_archived() -> None:
    counted = [
        scanned(
            f"h{n}",
            60 * n,
            YOUNGER,
            business_step=BusinessStep.CYCLE_COUNTING,
            business_location=None,
        )
        for n in range(1, 100)
    ]
    world = World().tell(packed("p", 0, unit=YOUNGER), *counted)
    assert world.states[YOUNGER].kept[0].event_id != "p"
    world.tell(joined("j", 6000), shipped("s", 60 * 200))
    assert (world.at(OLDER).phase, world.at(OLDER).parent) == (Phase.SHIPPED, CARTON)


def test_a_third_key_goes_where_the_second_went() -> None:
    third = "imei:49015420323751"
    world = World().tell(scanned("a", 1, third), joined("j", 2), joined("k", 3, third, YOUNGER))
    assert set(world.states[OLDER].aliases) == {YOUNGER, third}
    assert world.at(OLDER).event_id == "a"
    backwards = World().tell(scanned("a", 1, third), joined("k", 3, third, YOUNGER), joined("j", 2))
    assert backwards.states[OLDER].aliases == world.states[OLDER].aliases
    assert backwards.at(OLDER) == world.at(OLDER)


def test_joined_twice_or_the_other_way_afterwards_changes_nothing() -> None:
    world = World().tell(scanned("a", 1, YOUNGER), joined("j", 2))
    before = world.at(OLDER)
    world.tell(joined("k", 3), joined("l", 4, OLDER, YOUNGER), joined("m", 5, OLDER, OLDER))
    assert world.at(OLDER) == before
    assert world.states[OLDER].joined is None


@given(st.data())
def test_of_two_that_are_joined_into_each_other_at_once_the_first_by_name_stays(
    data: st.DataObject,
) -> None:
    """Records for one key keep their order, as in their partition."""
    told = [scanned("a", 1, YOUNGER), scanned("b", 2, OLDER)]
    told += [joined("j", 3), joined("k", 3, OLDER, YOUNGER)]
    queues: dict[str, list[Scan]] = {YOUNGER: [], OLDER: []}
    world = World()
    for scan in told:
        queues[scan.unit].append(scan)
    while left := [key for key, queue in queues.items() if queue]:
        key = data.draw(st.sampled_from(left))
        world.waiting = []
        world.deliver(queues[key].pop(0))
        for made in world.waiting:
            assert isinstance(made, Scan)
            queues[made.unit].append(made)
    first, second = sorted((OLDER, YOUNGER))
    assert world.states[first].joined is None
    assert world.states[second].joined == first
    assert world.states[first].aliases == (second,)
    assert {"a", "b"} <= {visit.event_id for visit in world.states[first].kept}


def test_a_unit_that_was_packed_into_what_is_itself_is_no_child_of_its_own() -> None:
    told = [packed("p", 0, YOUNGER, OLDER), joined("j", 2)]
    for story in (told, told[::-1]):
        world = World().tell(*story, shipped("s", 5, OLDER))
        assert world.states[OLDER].children == ()
        assert [s.event_id for s, _ in world.seen if s.unit == OLDER and s.derived_from] == []


def test_one_key_too_many_is_refused_by_name_and_its_scans_still_count() -> None:
    keys = [f"sn:p.{n}" for n in range(ALIASES_MAX)]
    world = World().tell(*(joined(f"j{key}", 1, key) for key in keys))
    assert len(world.states[OLDER].aliases) == ALIASES_MAX
    notice = joined("one more", 2, OLDER, OLDER)
    with pytest.raises(TooManyKeys, match=r"has 64 keys more: recalls of sn:p\.more do not"):
        observe(world.states[OLDER], replace(notice, forwarded_from=("sn:p.more",)), offset=9_999)
    world.tell(replace(scanned("a", 3, OLDER), forwarded_from=("sn:p.more",)))
    assert world.at(OLDER).event_id == "a"


def test_a_circle_of_three_is_told_and_ends() -> None:
    state = UnitState(YOUNGER, 1, 0, None, None, (), None, b"", joined=OLDER)
    assert decode_state(encode_state(state)) == state
    scan = replace(scanned("a", 1, YOUNGER), forwarded_from=(YOUNGER, OLDER))
    with pytest.raises(JoinedInACircle, match=f"{YOUNGER} into {OLDER} into {YOUNGER}"):
        forward(state, scan)


def test_of_what_was_archived_before_the_join_no_step_is_judged() -> None:
    packing, shipping = BusinessStep.PACKING, BusinessStep.SHIPPING
    received = scanned("r", 0, OLDER, expected_after=())
    packed_alone = scanned(
        "p",
        60,
        YOUNGER,
        business_step=packing,
        expected_after=(BusinessStep.RECEIVING, packing),
    )
    counts = [
        scanned(f"c{n}", 6_000 + 60 * n, YOUNGER, business_step=BusinessStep.CYCLE_COUNTING)
        for n in range(17)
    ]
    leaves = scanned("s", 9_000, OLDER, business_step=shipping, expected_after=(packing, shipping))
    world = World().tell(received, packed_alone, *counts, joined("j", 8_000)).tell(leaves)
    assert world.states[OLDER].kept[-1].event_id == "s"
    assert world.facts[OLDER] == set()
