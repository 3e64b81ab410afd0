"""What must hold of a unit and its cartons, for any order in which their records arrive."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantrail.contracts.records import encode_state
from scantrail.domain.children import CHILDREN_MAX, DEPTH_MAX, Link, TooManyChildren, learn
from scantrail.domain.custody import Outcome
from scantrail.domain.scan import Scan
from scantrail.domain.vocabulary import BusinessStep, Phase
from unit.world import CARTON, EXPECTED, NOON, OTHER, UNIT, World, packed, scanned, shipped

STEPS = [
    BusinessStep.STORING,
    BusinessStep.PACKING,
    BusinessStep.UNPACKING,
    BusinessStep.LOADING,
    BusinessStep.SHIPPING,
    BusinessStep.RETURNING,
    BusinessStep.COMMISSIONING,
    BusinessStep.DECOMMISSIONING,
]


@st.composite
def stories(draw: st.DrawFn) -> list[Scan]:
    """A unit that is packed, and scans of it and of two cartons, at few times and few places."""
    count = draw(st.integers(2, 9))
    units = [draw(st.sampled_from([UNIT, UNIT, CARTON, CARTON, OTHER])) for _ in range(count)]
    made = [packed("first", draw(st.integers(0, 2)) / 2)]
    for number, unit in enumerate(units):
        others = [f"e{other}" for other in range(count) if units[other] == unit and other != number]
        is_correction = draw(st.integers(0, 4)) == 4
        site, station = draw(st.sampled_from([("n", "a"), ("n", "b"), ("s", "c")]))
        parents = [None, CARTON, CARTON, CARTON, OTHER] if unit == UNIT else [None]
        made.append(
            scanned(
                f"e{number}",
                draw(st.integers(0, 4)) / 2,
                unit,
                site=site,
                station=station,
                read_point=station,
                sequence=number,
                business_step=draw(st.sampled_from(STEPS)),
                business_location=draw(st.sampled_from([None, station])),
                possessing_party=draw(st.sampled_from([None, "acme", "haul"])),
                parent=draw(st.sampled_from(parents)),
                corrects=draw(st.sampled_from(others)) if is_correction and others else None,
                repeat_window_s=draw(st.sampled_from([0, 40])),
                expected_after=draw(EXPECTED),
            )
        )
    return made


@settings(max_examples=300)
@given(st.data(), stories())
def test_any_order_and_any_repetition_of_both_units_records_end_in_the_same_states(
    data: st.DataObject, told: list[Scan]
) -> None:
    left = 6  # repetitions

    def any_order(waiting: int) -> tuple[int, bool]:
        nonlocal left
        again = left > 0 and data.draw(st.booleans())
        left -= again
        return data.draw(st.integers(0, waiting - 1)), again

    expected = World().tell(*told).ends()
    assert World(any_order).tell(*told).ends() == expected
    assert World().tell(*reversed(told)).ends() == expected


def test_what_is_inside_a_carton_moves_with_it_and_ends_with_its_order_and_party() -> None:
    world = World().tell(packed("p", 0), shipped("s", 5))
    position = world.at(UNIT)
    assert (position.phase, position.parent, position.order, position.possessing_party) == (
        Phase.SHIPPED,
        CARTON,
        "SO-1",
        "haul",
    )
    assert world.at(CARTON).parent is None
    assert world.states[UNIT].version == 2


def test_a_carton_that_was_shipped_before_the_packing_was_known_takes_its_unit_along() -> None:
    world = World().tell(shipped("s", 5)).tell(packed("p", 0))
    assert world.at(UNIT).phase is Phase.SHIPPED
    assert [scan.derived_from is not None for scan, _ in world.seen] == [False, False, True]


def test_what_happened_to_a_carton_before_and_after_is_not_the_units() -> None:
    stored = scanned("c0", -5, CARTON, station="hall-a", business_location="hall-a")
    out = scanned("u", 3, business_step=BusinessStep.UNPACKING, station="pack-1")
    world = World().tell(stored, packed("p", 0), out).tell(shipped("s", 5))
    position = world.at(UNIT)
    assert (position.phase, position.parent) == (Phase.ON_SITE, None)
    assert world.states[UNIT].version == 2, "nothing was derived"


def test_a_unit_that_is_scanned_elsewhere_follows_its_carton_no_more() -> None:
    found = scanned("u", 3, station="hall-a", business_location="hall-a")
    world = World().tell(packed("p", 0), shipped("s", 5), found)
    assert world.at(UNIT).parent is None
    assert world.at(UNIT).business_location == "hall-a"
    assert world.states[UNIT].version == 3
    world.tell(shipped("s2", 9))
    assert world.states[UNIT].version == 3


def test_what_was_taken_out_before_the_carton_left_is_not_inside_and_tells_no_fact() -> None:
    out = scanned("u", 3, business_step=BusinessStep.UNPACKING, station="pack-1")
    world = World().tell(packed("p", 0), shipped("s", 5))
    before = world.at(UNIT)
    world.tell(out)
    assert before.phase is Phase.SHIPPED
    assert (world.at(UNIT).phase, world.at(UNIT).parent) == (Phase.ON_SITE, None)
    at_once = World().tell(packed("p", 0), out, shipped("s", 5))
    assert at_once.at(UNIT) == world.at(UNIT)
    (derived,) = [scan for scan, _ in at_once.seen if scan.derived_from is not None]
    assert at_once.outcomes[derived.event_id] == [Outcome.NOT_INSIDE]
    assert at_once.facts[UNIT] == set()


def test_unpacking_at_the_station_where_the_carton_was_scanned_a_moment_before() -> None:
    station = {"station": "un", "business_step": BusinessStep.UNPACKING, "repeat_window_s": 60}
    world = World().tell(
        packed("p", 0), scanned("c", 5, CARTON, **station), scanned("u", 5.5, **station)
    )
    assert world.at(UNIT).parent is None


def test_a_read_of_the_unit_at_the_gate_leaves_it_in_its_carton() -> None:
    world = World().tell(packed("p", 0), shipped("u", 4, UNIT), shipped("s", 5))
    assert (world.at(UNIT).parent, world.at(UNIT).phase) == (CARTON, Phase.SHIPPED)
    assert world.facts[UNIT] == set()


def test_a_shipping_of_the_carton_that_is_corrected_is_corrected_for_what_is_inside() -> None:
    wrong, correction = shipped("s", 5), scanned("c", 9, CARTON, corrects="s")
    expected = World().tell(packed("p", 0)).at(UNIT)
    for story in ([packed("p", 0), wrong, correction], [correction, packed("p", 0), wrong]):
        assert World().tell(*story).at(UNIT) == expected


def test_a_repeat_that_turns_out_a_visit_is_told_to_the_children() -> None:
    at = {"station": "gate", "business_step": BusinessStep.LOADING, "repeat_window_s": 60}
    elsewhere = scanned("b", 5.25, CARTON, station="hall-a", business_location="hall-a")
    world = World().tell(
        packed("p", 0), scanned("a", 5, CARTON, **at), scanned("c", 5.5, CARTON, **at)
    )
    assert world.states[UNIT].version == 2
    world.tell(elsewhere)
    assert world.states[UNIT].version == 4
    assert world.at(UNIT).station == "gate"


def test_a_shipping_that_was_a_repeat_of_one_in_error_counts_once_that_is_corrected() -> None:
    late = shipped("wrong", 4.5)
    again = shipped("s", 5)
    world = World().tell(packed("p", 0), *(replace(s, repeat_window_s=60) for s in (again, late)))
    world.tell(scanned("c", 9, CARTON, corrects="wrong"))
    assert (world.at(UNIT).phase, world.at(UNIT).seen_at) == (Phase.SHIPPED, again.event_time)
    world.tell(scanned("d", 10, CARTON, corrects="s"))
    assert world.at(UNIT).phase is Phase.ON_SITE


def test_component_product_carton_pallet() -> None:
    chain = [f"sn:level.{n}" for n in range(DEPTH_MAX + 2)]
    packings = [
        packed(f"p{n}", n / 10, parent, child) for n, (child, parent) in enumerate(pairwise(chain))
    ]
    world = World().tell(*packings, shipped("s", 5, chain[-1]))
    phases = [world.at(unit).phase for unit in chain]
    assert phases == [Phase.ON_SITE, *[Phase.SHIPPED] * (DEPTH_MAX + 1)]
    backwards = World().tell(shipped("s", 5, chain[-1]), *reversed(packings))
    assert [backwards.at(unit).phase for unit in chain] == phases


def test_a_circle_of_parents_ends() -> None:
    world = World().tell(packed("p", 0), packed("q", 1, UNIT, CARTON), shipped("s", 5))
    assert world.at(UNIT).parent == CARTON
    assert world.at(CARTON).parent == UNIT
    itself = World().tell(packed("p", 0, UNIT))
    assert itself.at(UNIT).parent is None


def link(child: int, version: int = 1, **changes: object) -> Link:
    plain = Link(
        parent=CARTON,
        child=f"sn:p.{child:05}",
        version=version,
        since=NOON,
        until=None,
        record_time=NOON,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_a_carton_knows_so_many_units_and_refuses_the_next_by_name() -> None:
    state = None
    for number in range(CHILDREN_MAX):
        state, _ = learn(state, link(number), offset=number)
    with pytest.raises(TooManyChildren, match=r"sn:p\.99999"):
        learn(state, link(99_999), offset=CHILDREN_MAX)
    state, _ = learn(state, link(7, 2, until=NOON), offset=CHILDREN_MAX)
    assert len(encode_state(state)) < 200_000
    assert (state.version, state.current, state.kept) == (0, None, ())


def test_a_packing_that_is_corrected_is_told_to_the_carton_also_behind_an_archived_base() -> None:
    many = [
        scanned(f"h{n}", -60 * n, station=f"s{n}", business_step=BusinessStep.STORING)
        for n in range(100, 0, -1)
    ]
    world = World().tell(*many, packed("p", 0))
    assert world.states[UNIT].base_key is not None
    (child,) = world.states[CARTON].children
    assert child.until is None
    world.tell(scanned("c", 9, corrects="p")).tell(shipped("s", 20))
    (child,) = world.states[CARTON].children
    assert child.until == child.since
    assert world.states[UNIT].version == 102
    assert world.states[UNIT].stays == ()


def test_what_is_inside_stays_so_when_the_packing_is_archived() -> None:
    counted = [
        scanned(f"h{n}", 60 * n, business_step=BusinessStep.CYCLE_COUNTING, business_location=None)
        for n in range(1, 100)
    ]
    world = World().tell(packed("p", 0), *counted)
    state = world.states[UNIT]
    assert state.kept[0].event_id != "p"
    assert [(stay.parent, stay.since, stay.until) for stay in state.stays] == [(CARTON, NOON, None)]
    world.tell(shipped("s", 60 * 200))
    assert world.at(UNIT).phase is Phase.SHIPPED


def test_an_older_link_that_comes_later_changes_nothing() -> None:
    state, _ = learn(None, link(1, 5, until=NOON), offset=0)
    again, made = learn(state, link(1, 4), offset=1)
    assert (again.children, made) == (state.children, [])
    replayed, made = learn(state, link(1, 9), offset=0)
    assert (replayed, made) == (state, [])


def test_what_the_carton_went_through_counts_as_the_units_own_step() -> None:
    expected = (BusinessStep.SHIPPING, BusinessStep.ARRIVING)
    arrives = scanned("a", 9, business_step=BusinessStep.ARRIVING, expected_after=expected)
    in_order = replace(packed("p", 0), expected_after=())
    assert World().tell(in_order, shipped("s", 5), arrives).facts[UNIT] == set()
    (fact,) = World().tell(in_order, arrives).facts[UNIT]
    assert (fact.event_id, fact.against, fact.expected_after) == ("a", "p", expected)
    unknown = World().tell(packed("p", 0), shipped("s", 5), arrives)
    assert unknown.facts[UNIT] == set(), "nothing is known of its steps before"
