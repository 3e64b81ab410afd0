"""What recalls have to do with one unit, and how it left."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from scantrail.domain.custody import Tie, Visit, visit_of
from scantrail.domain.departures import departures
from scantrail.domain.hold import (
    CLEARED_MAX,
    REASONS_MAX,
    Clearance,
    Hold,
    HoldReason,
    by_recalls,
    is_inside,
)
from scantrail.domain.recall import Recall, Selector
from scantrail.domain.recall_look import (
    NO_CONCERN,
    Concern,
    Out,
    Told,
    concern,
    findings_of,
    reasons_inside,
    reasons_of,
)
from scantrail.domain.recall_match import RecallMatcher
from scantrail.domain.scan import Scan
from scantrail.domain.vocabulary import BusinessStep

GTIN = "09506000134352"
UNIT = f"sgtin:{GTIN}.A1"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BY_LOT = Selector(kind="lot", lots=("L1",))
BY_DAY = Selector(kind="date", first_day=date(2026, 1, 1), last_day=date(2026, 1, 31))
LISTED = Selector(kind="list", serials=("A1",))


def recall(*selectors: Selector, id: str = "R-1", **more: Any) -> Recall:
    told = {"products": (GTIN,)} | more
    return Recall(id=id, title="Battery", reason="heats", selectors=selectors, **told)


def ids(found: Concern) -> tuple[list[str], ...]:
    return tuple([each.id for each in recalls] for recalls in found)


def about(
    notice: Recall, told: list[Told], cleared: tuple[Clearance, ...] = (), folding: str = ""
) -> tuple[list[str], ...]:
    matcher = RecallMatcher()
    matcher.put(notice)
    return ids(concern(matcher, told, cleared, folding.__eq__))


R = ["R-1"]


@pytest.mark.parametrize(
    ("selectors", "told", "expected"),
    [
        ((LISTED,), Told(UNIT), (R, [], [], [], [])),
        ((BY_LOT,), Told(UNIT, "L1"), (R, R, [], [], [])),
        ((BY_LOT,), Told(UNIT, "L2"), ([], [], [], R, [])),
        ((BY_LOT,), Told(UNIT), ([], [], R, [], [])),
        ((BY_LOT, LISTED), Told(UNIT, "L2"), (R, [], [], [], [])),
        ((BY_DAY,), Told(UNIT, None, date(2026, 1, 9)), (R, R, [], [], [])),
        ((BY_DAY,), Told(UNIT, "L1"), ([], [], R, [], [])),
        ((BY_LOT, BY_DAY), Told(UNIT, "L2"), ([], [], R, [], [])),
        ((BY_LOT,), Told("sgtin:00012345678905.A1"), ([], [], [], [], [])),
    ],
    ids=["serial", "lot", "other-lot", "untold", "both", "day", "no-day", "half", "other-product"],
)
def test_what_a_recall_has_to_do_with_a_unit(
    selectors: tuple[Selector, ...], told: Told, expected: tuple[list[str], ...]
) -> None:
    assert about(recall(*selectors), [told]) == expected


@pytest.mark.parametrize(
    ("serial", "folding", "expected"),
    [("a1", GTIN, ["R-1"]), ("a1", "PUMP-7", []), ("a1", "", []), ("a2", GTIN, [])],
    ids=["folds", "other-folds", "none-folds", "other-serial"],
)
def test_of_a_product_that_folds_case_capitals_are_meant_too(
    serial: str, folding: str, expected: list[str]
) -> None:
    late = [Told(f"sgtin:{GTIN}.{serial}", "L2")]
    assert about(recall(LISTED), late, folding=folding) == (expected, [], [], [], [])
    assert about(recall(BY_LOT), late, folding=folding) == ([], [], [], R, [])
    told = [Told("imei:35693803564380"), *late]  # as one into which it was joined
    assert about(recall(LISTED), told, folding=folding) == (expected, [], [], [], [])


def test_a_mark_that_was_told_of_one_key_is_the_units() -> None:
    told = [Told("imei:35693803564380", "L1"), Told(UNIT)]
    assert about(recall(BY_LOT), told) == (R, R, [], [], [])


def test_a_person_decides_what_is_open_and_not_what_is_told_and_for_one_version() -> None:
    decided = (Clearance(recall="R-1", version=1),)
    assert about(recall(BY_LOT), [Told(UNIT)], decided) == ([], [], [], R, [])
    assert about(recall(BY_LOT), [Told(UNIT, "L1")], decided) == (R, R, [], [], [])
    assert about(recall(BY_LOT, version=2), [Told(UNIT)], decided) == ([], [], R, [], [])


def test_what_was_remedied_is_neither_meant_nor_cleared_again() -> None:
    remedied = (Clearance(recall="R-1"),)
    assert about(recall(BY_LOT), [Told(UNIT, "L1")], remedied) == ([], [], [], [], R)
    assert about(recall(LISTED), [Told(UNIT)], remedied) == ([], [], [], [], R)


def test_the_reasons_say_what_is_known_and_what_is_missing() -> None:
    notice = recall(BY_LOT, BY_DAY)
    (reason,) = reasons_of(
        Concern([notice], [notice], [], [], []), [Told(UNIT, "L1", date(2026, 1, 9))], NOON
    )
    assert (reason.id, reason.recall) == ("recall:R-1", "R-1")
    assert reason.text == "Battery: it is of lot L1 and produced on 2026-01-09"
    open_ = Concern([], [], [notice], [], [])
    (reason,) = reasons_of(open_, [Told(UNIT)], NOON)
    assert "nobody told its lot and day of production;" in reason.text
    (reason,) = reasons_of(open_, [Told(UNIT, "L2")], NOON)
    assert "nobody told its day of production;" in reason.text
    one, many = reasons_inside([("R-1", "b"), ("R-2", "b"), ("R-2", "a"), ("R-2", "a")], NOON)
    assert one.text == "contains b, which is or may be recalled"
    assert many.text == "contains a and 1 more, which are or may be recalled"
    assert is_inside(one)
    assert not is_inside(reason)


def test_a_hold_keeps_what_others_say_and_never_has_too_much() -> None:
    other = HoldReason(id="QA", text="Scratched")
    old = HoldReason(id="recall:R-0", text="x", recall="R-0", since=NOON)
    hold = Hold(id=UNIT, reasons=(other, old), cleared=(Clearance(recall="R-9"),))
    later = NOON + timedelta(hours=1)
    told = [replace(old, text="y", since=later)]
    told += [
        HoldReason(id=f"recall:R-{n}", text="x", recall=f"R-{n}") for n in range(1, 2 * REASONS_MAX)
    ]
    cleared = [Clearance(recall=f"C-{n}", version=1) for n in range(2 * CLEARED_MAX)]
    new = by_recalls(hold, told, cleared)
    assert new.reasons[0] == other
    assert (new.reasons[1].text, new.reasons[1].since) == ("y", NOON)
    assert (len(new.reasons), len(new.cleared)) == (REASONS_MAX, CLEARED_MAX)
    assert new.cleared[0] == Clearance(recall="R-9")
    assert by_recalls(new, [], []) == replace(hold, reasons=(other,))


# ------------------------------------------------------------------------------------ how it left


def visits(*steps: str, **more: Any) -> list[Visit]:
    """One an hour, each with its place as its id."""
    made = []
    for hour, word in enumerate(steps):
        scan = Scan(
            event_id=f"{hour}",
            unit=UNIT,
            event_time=NOON + timedelta(hours=hour),
            record_time=NOON,
            reader="r",
            sequence=hour,
            station="gate",
            site="north",
            read_point="gate",
            business_step=BusinessStep(word),
            repeat_window_s=0.0,
            **more,
        )
        made.append(visit_of(scan))
    return made


@pytest.mark.parametrize(
    ("steps", "leaving", "voided"),
    [
        (("receiving",), [], []),
        (("staging_outbound", "loading", "shipping", "departing"), ["2", "3"], []),
        (("shipping", "returning"), [], []),
        (("shipping", "returning", "shipping"), ["2"], []),
        (("shipping", "shipping"), ["1"], []),
        (("shipping", "void_shipping"), [], ["0"]),
        (("shipping", "void_shipping", "shipping"), ["2"], ["0"]),
        (("shipping", "cycle_counting"), ["0"], []),
    ],
    ids=lambda value: "-".join(value) or "none",
)
def test_how_a_unit_left(steps: tuple[str, ...], leaving: list[str], voided: list[str]) -> None:
    found = departures(visits(*steps))
    assert [visit.event_id for visit in found.leaving] == leaving
    assert found.voided == set(voided)


@pytest.mark.parametrize(
    ("steps", "repeated"),
    [
        (("shipping",), set()),
        (("shipping", "shipping"), {"0"}),
        (("shipping", "shipping", "shipping"), {"0", "1"}),
        (("shipping", "storing", "shipping"), set()),
        (("loading", "shipping", "shipping"), {"1"}),
        (("shipping", "returning", "shipping"), set()),
        (("shipping", "void_shipping", "shipping"), set()),
    ],
    ids=lambda value: "-".join(sorted(value) if isinstance(value, set) else value) or "none",
)
def test_which_visits_may_be_one_with_the_departure(
    steps: tuple[str, ...], repeated: set[str]
) -> None:
    assert departures(visits(*steps)).repeated == repeated


def test_what_a_carton_does_counts_where_the_unit_is_inside() -> None:
    packed = visits("packing")[0]._replace(tie=Tie("carton", 0))
    _, out = visits("receiving", "shipping")
    inside = departures([packed, out._replace(tie=Tie("carton", 1))])
    other = departures([packed, out._replace(tie=Tie("another", 1))])
    assert [visit.event_id for visit in inside.leaving] == ["1"]
    assert other.leaving == ()


def test_what_is_stated_stays_unless_it_was_none() -> None:
    notice = recall(LISTED)
    active = RecallMatcher()
    active.put(notice)
    means = NO_CONCERN._replace(means=[notice])
    left = departures(visits("shipping", "departing"))
    out = Out("1", "gate", "north", NOON)

    def found(about: Concern, stated: Any = (), **more: Any) -> list[str | None]:
        told = {"out": out, "left": left, "alerted": (), "corrected": (), "active": active} | more
        return [each.event_id for each in findings_of(UNIT, about, stated=stated, **told)]

    (finding,) = findings_of(UNIT, means, out, left, (), (), (), active)
    assert (finding.event_id, finding.recall, finding.station) == ("1", "R-1", "gate")
    assert found(means, [finding]) == ["1"]
    assert found(means, alerted=[("R-1", "0")]) == []  # the alerter told of this departure
    assert found(means, alerted=[("R-1", "9"), ("R-2", "1")]) == ["1"]
    twice = {"left": departures(visits("shipping", "shipping"))}  # one visit, of which one was late
    assert found(means, alerted=[("R-1", "0")], **twice) == []
    assert found(means, alerted=[("R-2", "0")], **twice) == ["1"]
    assert found(means, [replace(finding, event_id="0")]) == ["0"]
    assert found(means, [finding], out=None) == ["1"]  # it came back
    assert found(means, [finding], out=None, corrected={"1"}) == []
    voided = departures(visits("shipping", "departing", "void_shipping"))
    assert found(means, [finding], out=None, left=voided) == []
    assert found(NO_CONCERN, [finding]) == []
    assert found(NO_CONCERN._replace(undecided=[notice]), [finding]) == ["1"]
    assert found(NO_CONCERN._replace(remedied=[notice]), [finding]) == ["1"]
    assert found(NO_CONCERN, [finding], active=RecallMatcher()) == ["1"]  # closed
