"""What must hold of the fold for any scans in any order of arrival."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scantrail.contracts.records import decode_state, encode_state
from scantrail.domain import custody
from scantrail.domain.custody import Fact, FactKind, Outcome, UnitState, fold, observe
from scantrail.domain.scan import Scan, Transaction, clock_skew_s
from scantrail.domain.vocabulary import COUNTING_STEPS, BusinessStep, Phase
from unit.world import EXPECTED

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
STEPS = [
    BusinessStep.RECEIVING,
    BusinessStep.STORING,
    BusinessStep.STAGING_OUTBOUND,
    BusinessStep.DEPARTING,
    BusinessStep.SHIPPING,
    BusinessStep.RETURNING,
    BusinessStep.DECOMMISSIONING,
    BusinessStep.CYCLE_COUNTING,
    BusinessStep.STOCK_TAKING,
]


def scanned(event_id: str, minutes: float, **changes: object) -> Scan:
    """A plain scan, `minutes` after noon; a test names only what matters to it."""
    plain = Scan(
        event_id=event_id,
        unit="sgtin:09506000134352.1",
        event_time=NOON + timedelta(minutes=minutes),
        record_time=NOON + timedelta(days=20),
        reader="r",
        sequence=0,
        station="dock-1",
        site="north",
        read_point="dock-1",
        business_step=BusinessStep.RECEIVING,
        business_location="dock-1",
        possessing_party="acme",
        repeat_window_s=60,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def order(ref: str) -> tuple[Transaction, ...]:
    return (Transaction(type="order", id=ref),)


@st.composite
def scans(draw: st.DrawFn) -> list[Scan]:
    """Scans of one unit, at few times and few places so that they collide."""
    count = draw(st.integers(1, 9))
    made = []
    for number in range(count):
        others = [f"e{other}" for other in range(count) if other != number]
        site, station = draw(st.sampled_from([("n", "a"), ("n", "b"), ("s", "c")]))
        made.append(
            scanned(
                f"e{number}",
                draw(st.integers(0, 4)) / 2,
                site=site,
                station=station,
                read_point=station,
                sequence=draw(st.integers(0, 2)),
                business_step=draw(st.sampled_from(STEPS)),
                business_location=draw(st.sampled_from([None, station])),
                possessing_party=draw(st.sampled_from([None, "acme", "haul"])),
                transactions=draw(st.sampled_from([(), order("1"), order("2")])),
                corrects=draw(st.sampled_from([None, None, None, *others])) if others else None,
                expected_after=draw(EXPECTED),
            )
        )
    return made


def arrive(arrivals: Sequence[Scan]) -> tuple[UnitState, set[Fact], list[Outcome]]:
    """The state after `arrivals`, the facts that stand, and each outcome. States take the way
    through their bytes, as in the table."""
    known: UnitState | None = None
    standing = set[Fact]()
    outcomes = []
    for offset, scan in enumerate(arrivals):
        seen = observe(known, scan, offset=offset)
        known = decode_state(encode_state(seen.state))
        assert set(seen.facts_withdrawn) <= standing
        standing = (standing - set(seen.facts_withdrawn)) | set(seen.facts_added)
        outcomes.append(seen.outcome)
    assert known is not None
    return known, standing, outcomes


def standing_ids(told: Sequence[Scan]) -> set[str]:
    """The scans that are folded: neither corrections nor voided by one."""
    voided = {scan.corrects for scan in told}
    return {scan.event_id for scan in told if scan.corrects is None} - voided


@given(st.data(), scans())
def test_any_order_and_any_repetition_end_in_the_same_state(
    data: st.DataObject, told: list[Scan]
) -> None:
    in_order, facts, _ = arrive(told)
    again = data.draw(st.lists(st.sampled_from(told), max_size=4))
    shuffled, same_facts, outcomes = arrive(data.draw(st.permutations(told + again)))
    assert shuffled.current == in_order.current
    assert shuffled.kept == in_order.kept
    assert shuffled.voided == in_order.voided
    assert {visit.event_id for visit in shuffled.kept} == standing_ids(told)
    assert shuffled.version == in_order.version == len(told)
    assert same_facts == facts
    assert outcomes.count(Outcome.REDELIVERED) == len(again)


@given(st.data(), scans())
def test_the_facts_that_stand_are_those_of_the_fold(data: st.DataObject, told: list[Scan]) -> None:
    state, standing, _ = arrive(data.draw(st.permutations(told)))
    current, facts = fold(state.base, state.kept)
    assert current == state.current
    assert set(facts) == standing


@given(scans())
def test_counting_moves_no_unit_that_is_not_on_site(told: list[Scan]) -> None:
    position: custody.Position | None = None
    for visit in sorted(map(custody.visit_of, told), key=lambda each: each.order_key):
        after, facts, is_repeat = custody.step(position, visit)
        is_away = position is not None and position.phase is not Phase.ON_SITE
        if position is not None and is_away and visit.business_step in COUNTING_STEPS:
            assert after is not None
            assert after._replace(counted=None) == position._replace(counted=None)
            is_told = visit.business_step is BusinessStep.CYCLE_COUNTING and not is_repeat
            is_derived = visit.tie is not None and visit.tie.depth > 0
            kinds = [FactKind.COUNTED_AWAY] * (is_told and not is_derived)
            assert [fact.kind for fact in facts] == kinds
        else:
            assert all(fact.kind is not FactKind.COUNTED_AWAY for fact in facts)
        position = after


@given(scans())
def test_what_was_folded_before_is_skipped_by_its_offset(told: list[Scan]) -> None:
    state, _, _ = arrive(told)
    for offset, scan in enumerate(told):
        seen = observe(state, scan, offset=offset)
        assert seen.outcome is Outcome.REPLAYED
        assert seen.state == state


@pytest.mark.parametrize("mutant", ["arrival", "newest"])
def test_the_property_finds_the_folds_that_are_wrong(mutant: str) -> None:
    """Arrival order and newest-wins are the obvious folds; the property refuses both."""

    def folded(arrivals: Sequence[Scan]) -> custody.Position | None:
        state: UnitState | None = None
        newest: Scan | None = None
        for offset, scan in enumerate(arrivals):
            if mutant == "newest" and newest and scan.event_time < newest.event_time:
                continue
            newest = scan
            late_made_last = replace(scan, event_time=NOON + timedelta(minutes=offset))
            state = observe(state, late_made_last, offset=offset).state
        assert state
        return state.current and state.current._replace(since=NOON, seen_at=NOON)

    received = scanned("e1", 0, possessing_party="acme")
    stored = scanned(
        "e2",
        1,
        station="a",
        possessing_party=None,
        business_location="hall-a",
        business_step=BusinessStep.STORING,
    )
    assert folded([received, stored]) != folded([stored, received])


def test_a_scan_of_another_unit_is_a_broken_invariant() -> None:
    state, _, _ = arrive([scanned("e1", 0)])
    with pytest.raises(ValueError, match="routed to the state of"):
        observe(state, scanned("e2", 1, unit="sgtin:09506000134352.2"), offset=9)


def hourly(count: int, *, first: int = 0) -> list[Scan]:
    return [
        scanned(
            f"h{n}",
            60 * n,
            business_location=f"place-{n}",
            station=f"s{n}",
            business_step=BusinessStep.STORING,
        )
        for n in range(first, first + count)
    ]


def test_scans_of_48_hours_are_kept_and_older_ones_archived() -> None:
    state, _, _ = arrive(hourly(100))
    assert [visit.event_id for visit in state.kept] == [f"h{n}" for n in range(51, 100)]
    assert state.base is not None
    assert state.base.business_location == "place-50"


def test_sixteen_scans_are_kept_however_old() -> None:
    daily = [
        replace(scan, event_time=NOON + timedelta(days=n), record_time=NOON + timedelta(days=60))
        for n, scan in enumerate(hourly(20))
    ]
    state, _, _ = arrive(daily)
    assert len(state.kept) == 16


def test_repeats_take_no_place_among_the_sixteen() -> None:
    story = []
    for n in range(20):
        day = NOON + timedelta(days=n)
        story += [
            scanned(f"d{n}", 0, event_time=day, station=f"s{n}"),
            scanned(f"d{n}again", 0, event_time=day + timedelta(seconds=5), station=f"s{n}"),
        ]
    state, _, _ = arrive(story)
    assert sum(not visit.event_id.endswith("again") for visit in state.kept) == 16


def test_what_is_older_than_the_base_is_in_history_and_changes_nothing() -> None:
    state, _, _ = arrive(hourly(100))
    seen = observe(state, scanned("old", 30), offset=100)
    assert seen.outcome is Outcome.OLDER_THAN_BASE
    assert seen.accepted
    assert seen.state.version == state.version + 1
    assert seen.state.current == state.current
    again = observe(seen.state, scanned("old", 30), offset=101)
    assert again.outcome is Outcome.REDELIVERED


def test_what_is_older_than_the_base_is_not_corrected_here() -> None:
    state, _, _ = arrive([scanned(f"e{n}", 60 * 24 * n, sequence=n) for n in range(20)])
    correction = scanned("c", 60 * 24 * 20, corrects="e0")
    seen = observe(state, correction, offset=100)
    assert seen.outcome is Outcome.OLDER_THAN_BASE
    assert (seen.state.current, seen.state.base) == (state.current, state.base)
    again = observe(seen.state, correction, offset=101)
    assert again.outcome is Outcome.REDELIVERED


def test_corrections_that_are_remembered_are_bounded() -> None:
    state: UnitState | None = None
    for number in range(custody.VOIDED_AT_MOST + 5):
        correction = scanned(f"c{number}", number, corrects=f"never-{number}")
        state = observe(state, correction, offset=number).state
    assert state is not None
    assert len(state.voided) == custody.VOIDED_AT_MOST
    late = observe(state, scanned(f"never-{number}", 0), offset=number + 1)
    assert late.outcome is Outcome.VOIDED


def test_an_archived_id_is_still_known() -> None:
    story = hourly(100)
    state, _, _ = arrive(story)
    assert observe(state, story[0], offset=100).outcome is Outcome.REDELIVERED
    other = replace(story[0], station="elsewhere")
    assert observe(state, other, offset=100).outcome is Outcome.CONFLICTING_EVENT


def test_what_is_kept_is_bounded() -> None:
    flood = [scanned(f"f{n}", n / 60, station=f"s{n % 2}") for n in range(700)]
    state, _, _ = arrive(flood)
    assert len(state.kept) == custody.KEEP_AT_MOST
    assert len(encode_state(state)) < 200_000


@pytest.mark.parametrize(
    ("ahead", "is_off"),
    [
        (timedelta(minutes=4), False),
        (timedelta(minutes=6), True),
        (timedelta(days=-29), False),
        (timedelta(days=-31), True),
        (timedelta(days=365 * 12), True),
    ],
)
def test_a_clock_that_is_off_is_marked_beyond_the_limits(ahead: timedelta, is_off: bool) -> None:
    assert (clock_skew_s(NOON + ahead, NOON) is not None) == is_off


def test_a_scan_dated_2038_does_not_stay_the_newest_for_ever() -> None:
    far = datetime(2038, 1, 19, tzinfo=UTC)
    first = scanned(
        "e1",
        0,
        event_time=far,
        record_time=NOON,
        business_location="a",
        clock_skew_s=clock_skew_s(far, NOON),
    )
    later = scanned("e2", 5, record_time=NOON + timedelta(minutes=5), business_location="b")
    state, _, _ = arrive([first, later])
    assert state.current
    assert state.current.business_location == "b"


#: Written before scans had parents: two scans that stand, one that is voided, one that is held for.
OLD_STATE = bytes.fromhex(
    "9aa6736e3a702e310409c0c0929dd6ff695661c0a17300a161c408d25ddc9d2d3ca1fea16ea27270a773746f72"
    "696e67a468616c6cc0a461636d65c0cb00000000000000009dd6ff69566238a17302a162c4082a54dbf8ad69da"
    "f3a16ea27270a87368697070696e67c0c0a461636d65a4534f2d31cb00000000000000009fa773686970706564"
    "a16ea173a27270c0a87368697070696e67c0a461636d65a4534f2d31d6ff69566238a162d6ff69566238a162a4"
    "534f2d3194a162a16ea4534f2d3191a87368697070696e67c4209e6b28a2825092206df4db1a9e98ea2e373f63"
    "64cd072c1b36c77126b9476ebf91a1789192d6ff69566274c4089e6b28a282509220"
)


def test_a_state_that_was_stored_before_parents_were_known_is_read_and_goes_on() -> None:
    state = decode_state(OLD_STATE)
    assert state.current
    assert (state.version, state.offset, state.held_for) == (4, 9, ("x",))
    assert (state.current.order, state.current.parent) == ("SO-1", None)
    assert (state.stays, state.children) == ((), ())
    assert [(visit.event_id, visit.tie) for visit in state.kept] == [("a", None), ("b", None)]
    again = scanned(
        "a",
        0,
        unit="sn:p.1",
        station="s",
        site="n",
    )
    assert observe(state, again, offset=10).outcome is Outcome.REDELIVERED  # by its digest
    packed = scanned("p", 20, unit="sn:p.1", site="n", parent="sscc:1")
    seen = observe(state, packed, offset=10)
    assert decode_state(encode_state(seen.state)).current == seen.state.current
    assert seen.state.current
    assert seen.state.current.parent == "sscc:1"


def test_a_state_of_a_later_release_is_read_without_what_it_has_more() -> None:
    state = observe(None, scanned("a", 0), offset=7).state
    places = msgspec.msgpack.decode(encode_state(state))
    assert decode_state(msgspec.msgpack.encode([*places, {"later": 1}, None])) == state
    with pytest.raises(msgspec.DecodeError):
        decode_state(msgspec.msgpack.encode([*places, 1])[1:])
    with pytest.raises(msgspec.ValidationError):
        decode_state(msgspec.msgpack.encode(places[:5]))
    with pytest.raises(msgspec.ValidationError):
        decode_state(msgspec.msgpack.encode([1, *places]))  # more, and not at its end
