"""Release, hold or unknown: which of several reasons decides."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from scantrail.domain.hold import Hold, HoldReason, with_reason, without_reason
from scantrail.domain.order import Order, OrderLine
from scantrail.domain.recall import Recall, Selector
from scantrail.domain.station import Station
from scantrail.domain.verdict import ForOrder, Verdict, Why, asked_at, held_at, judge_unit
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


def reasons_of(hold: Hold | None) -> tuple[HoldReason, ...]:
    return () if hold is None else hold.reasons


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
    told = judge_unit(UNIT, recalls, reasons_of(hold), confirmed_s=confirmed_s, stale_s=30.0)
    assert (told.verdict, told.reason) == (verdict, why)


def test_a_recall_that_does_not_decide_holds_unless_something_is_known_against_the_unit() -> None:
    told = judge_unit(UNIT, [], [], undecided=[RECALL], confirmed_s=0.0, stale_s=30.0)
    assert (told.verdict, told.reason) == (Verdict.HOLD, Why.RECALL_UNDECIDED)
    assert "R-1: Battery" in told.detail
    for recalls, hold, why in (([RECALL], None, Why.RECALLED), ([], HELD, Why.HELD)):
        told = judge_unit(
            UNIT, recalls, reasons_of(hold), undecided=[RECALL], confirmed_s=None, stale_s=30.0
        )
        assert told.reason == why


def test_a_unit_that_is_held_for_a_recall_is_recalled() -> None:
    reason = HoldReason(id="recall:R-1", text="lot L1 is listed", recall="R-1")
    told = judge_unit(UNIT, [], [reason], confirmed_s=0.0, stale_s=30.0)
    assert (told.verdict, told.reason) == (Verdict.HOLD, Why.RECALLED)


def test_a_person_is_told_which_notice_and_which_reason() -> None:
    other = replace(RECALL, id="R-2", title="Plug")
    told = judge_unit(UNIT, [RECALL, other], HELD.reasons, confirmed_s=0.0, stale_s=30.0)
    assert told.detail == f"{UNIT} is recalled (R-1: Battery; R-2: Plug)"
    told = judge_unit(UNIT, [], HELD.reasons, confirmed_s=0.0, stale_s=30.0)
    assert told.detail == f"{UNIT} is held (Q-7: scratched)"
    told = judge_unit(UNIT, [], [], confirmed_s=61.7, stale_s=30.0)
    assert told.detail.startswith("what is known of the unit was last confirmed 62 s ago")


CABLES = Order(id="SO-1", lines=(OrderLine(product="cable", quantity=2),))
NOTHING = Order(id="SO-1")
GTIN = "09506000134352"


def for_order(order: Order | None, *products: str, released: int = 0, **more: Any) -> ForOrder:
    return ForOrder(
        reference="SO-1",
        order=order,
        products=products,
        released=dict.fromkeys(products, released),
        **more,
    )


@pytest.mark.parametrize(
    ("asked", "confirmed_s", "why"),
    [
        (for_order(CABLES, "cable"), 0.0, Why.CLEAR),
        (for_order(CABLES, "cable", released=1), 0.0, Why.CLEAR),
        (for_order(CABLES, "cable", released=2), 0.0, Why.ONE_TOO_MANY),
        (for_order(CABLES, "cable", released=3), None, Why.ONE_TOO_MANY),
        (for_order(CABLES, "cable", released=1), None, Why.NOT_READY),
        (for_order(CABLES, GTIN), 0.0, Why.WRONG_PRODUCT),
        (for_order(CABLES, GTIN), 99.0, Why.WRONG_PRODUCT),
        (for_order(CABLES, GTIN, "cable"), 0.0, Why.CLEAR),
        (for_order(CABLES, GTIN, "cable", released=2), 0.0, Why.ONE_TOO_MANY),
        (for_order(CABLES), 0.0, Why.UNKNOWN_PRODUCT),
        (for_order(CABLES), 99.0, Why.STALE),
        (for_order(NOTHING), 0.0, Why.CLEAR),
        (for_order(NOTHING, GTIN, released=9), 0.0, Why.CLEAR),
        (for_order(None, GTIN), 0.0, Why.UNKNOWN_ORDER),
        (for_order(None), 0.0, Why.UNKNOWN_ORDER),
        (for_order(None, GTIN), None, Why.NOT_READY),
        (for_order(None, GTIN), 99.0, Why.STALE),
        (for_order(None, GTIN, must_be_known=False), 0.0, Why.CLEAR),
        (for_order(None, GTIN, must_be_known=False, is_unreadable=True), 0.0, Why.NOT_READY),
        (for_order(None, GTIN, must_be_known=False, is_unreadable=True), 99.0, Why.STALE),
        (for_order(None, must_be_known=False), 99.0, Why.STALE),
        (for_order(CABLES, "cable", is_unreadable=True), 0.0, Why.NOT_READY),
        (for_order(CABLES, GTIN, is_unreadable=True), 0.0, Why.WRONG_PRODUCT),
    ],
)
def test_what_an_order_says_of_a_unit(asked: ForOrder, confirmed_s: float | None, why: Why) -> None:
    told = judge_unit(UNIT, [], [], asked, confirmed_s=confirmed_s, stale_s=30.0)
    verdict = Verdict.RELEASE if why is Why.CLEAR else Verdict.HOLD
    assert (told.verdict, told.reason) == (verdict, why)
    for recalls, hold, before in (([RECALL], HELD, Why.RECALLED), ([], HELD, Why.HELD)):
        told = judge_unit(
            UNIT, recalls, reasons_of(hold), asked, confirmed_s=confirmed_s, stale_s=30.0
        )
        assert told.reason == before


@pytest.mark.parametrize("order", [CABLES, None])
def test_a_logistic_unit_is_not_held_against_its_order(order: Order | None) -> None:
    asked = for_order(order)
    told = judge_unit("sscc:395060001343520001", [], [], asked, confirmed_s=0.0, stale_s=30.0)
    assert told.reason == Why.CLEAR


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
