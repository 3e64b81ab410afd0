"""Release, hold or unknown: which of several reasons decides."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from scantrail.domain.hold import Hold, HoldReason, with_reason, without_reason
from scantrail.domain.recall import Recall, Selector
from scantrail.domain.station import Station
from scantrail.domain.verdict import Verdict, Why, asked_at, held_at, judge_unit
from scantrail.domain.vocabulary import BusinessStep

UNIT = "sgtin:09506000134352.A1"
RECALL = Recall(
    id="R-1", title="Battery", reason="heats", selectors=(Selector(kind="list", serials=("A1",)),)
)
QUALITY = HoldReason(id="Q-7", text="scratched", since=datetime(2026, 3, 1, tzinfo=UTC))
HELD = Hold(id=UNIT, reasons=(QUALITY,))
EMPTY = Hold(id=UNIT, reasons=())
GATE = Station(
    id="gate",
    site="north",
    business_step=BusinessStep.SHIPPING,
    read_point="gate.left",
    business_location="Truck",
    disposition="in_transit",
    possessing_party="swift",
    repeat_window_s=5.0,
)


@pytest.mark.parametrize(
    ("recalls", "hold", "confirmed_s", "verdict", "why"),
    [
        ([], None, 0.0, Verdict.RELEASE, Why.CLEAR),
        ([], None, 30.0, Verdict.RELEASE, Why.CLEAR),
        ([], EMPTY, 0.0, Verdict.RELEASE, Why.CLEAR),
        ([], None, 30.1, Verdict.HOLD, Why.STALE),
        ([], None, None, Verdict.HOLD, Why.NOT_READY),
        ([], HELD, 0.0, Verdict.HOLD, Why.HELD),
        ([], HELD, 99.0, Verdict.HOLD, Why.HELD),
        ([], HELD, None, Verdict.HOLD, Why.HELD),
        ([RECALL], None, 0.0, Verdict.HOLD, Why.RECALLED),
        ([RECALL], HELD, 99.0, Verdict.HOLD, Why.RECALLED),
        ([RECALL], None, None, Verdict.HOLD, Why.RECALLED),
    ],
)
def test_the_first_reason_decides(
    recalls: list[Recall], hold: Hold | None, confirmed_s: float | None, verdict: Verdict, why: Why
) -> None:
    told = judge_unit(UNIT, recalls, hold, confirmed_s=confirmed_s, stale_s=30.0)
    assert (told.verdict, told.reason) == (verdict, why)


def test_a_person_is_told_which_notice_and_which_reason() -> None:
    other = replace(RECALL, id="R-2", title="Plug")
    told = judge_unit(UNIT, [RECALL, other], HELD, confirmed_s=0.0, stale_s=30.0)
    assert told.detail == f"{UNIT} is recalled (R-1: Battery; R-2: Plug)"
    told = judge_unit(UNIT, [], HELD, confirmed_s=0.0, stale_s=30.0)
    assert told.detail == f"{UNIT} is held (Q-7: scratched)"
    told = judge_unit(UNIT, [], None, confirmed_s=61.7, stale_s=30.0)
    assert told.detail.startswith("recalls and holds were last confirmed 62 s ago")


def test_a_question_at_a_shipping_station_claims_no_shipping() -> None:
    asked = asked_at(GATE)
    assert asked.business_step is BusinessStep.STAGING_OUTBOUND
    assert (asked.business_location, asked.disposition, asked.possessing_party) == (None,) * 3
    assert (asked.id, asked.site, asked.read_point, asked.repeat_window_s) == (
        "gate",
        "north",
        "gate.left",
        5.0,
    )


def test_a_question_at_a_station_for_questions_claims_what_the_station_does() -> None:
    station = replace(GATE, business_step=BusinessStep.STAGING_OUTBOUND, business_location="Lane 4")
    assert asked_at(station) == station


def test_a_hold_is_holding_and_leaves_the_unit_where_it_is() -> None:
    held = held_at(replace(GATE, business_step=BusinessStep.STAGING_OUTBOUND))
    assert held.business_step is BusinessStep.HOLDING
    assert (held.business_location, held.possessing_party) == (None, None)


def test_reasons_come_and_go_one_by_one() -> None:
    later = HoldReason(id="L-1", text="lot", since=datetime(2026, 3, 2, tzinfo=UTC))
    both = with_reason(HELD, later)
    assert [reason.id for reason in both.reasons] == ["Q-7", "L-1"]
    assert without_reason(both, "Q-7").reasons == (later,)
    assert without_reason(both, "nothing") == both
    assert without_reason(HELD, "Q-7").reasons == ()


def test_a_reason_told_again_has_new_words_and_the_time_of_the_first() -> None:
    again = HoldReason(id="Q-7", text="deep scratch", since=datetime(2026, 4, 1, tzinfo=UTC))
    (reason,) = with_reason(HELD, again).reasons
    assert (reason.text, reason.since) == ("deep scratch", QUALITY.since)
