"""Which scans of a held unit a person is told of."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scantrail.domain.alert import Alert, AlertStatus, Seen, judge
from scantrail.domain.custody import Fact, FactKind, FactRule
from scantrail.domain.hold import HoldKind, HoldReason
from scantrail.domain.recall import Recall, Selector
from scantrail.domain.scan import Scan
from scantrail.domain.vocabulary import OUTBOUND_STEPS, BusinessStep

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SCAN = Scan(
    event_id="e-1",
    unit="sgtin:09506000134352.A1",
    event_time=NOON,
    record_time=NOON,
    reader="r",
    sequence=1,
    station="gate",
    site="north",
    read_point="gate",
    business_step=BusinessStep.SHIPPING,
)
REASON = HoldReason(id="QA-1", text="Scratched")


def alerts(scan: Scan, *reasons: HoldReason, **more: Any) -> list[Alert]:
    told = {"visit_id": scan.event_id, "site_travel_s": 1800.0, "holds": reasons} | more
    return judge(scan, (), (), (), **told)


@pytest.mark.parametrize("step", BusinessStep)
def test_a_held_unit_is_told_of_where_units_go_out_and_nowhere_else(step: BusinessStep) -> None:
    found = alerts(replace(SCAN, business_step=step), REASON)
    assert [alert.kind for alert in found] == ["held_at_shipping"] * (step in OUTBOUND_STEPS)


def test_a_unit_that_is_not_held_is_no_alert() -> None:
    assert alerts(SCAN) == []


RECALL = Recall(
    id="R-1", title="Battery", reason="heats", selectors=(Selector(kind="lot", lots=("L1",)),)
)
FOR_RECALL = HoldReason(id="recall:R-1", text="its lot is L1", recall="R-1")


def test_a_unit_that_is_held_for_a_recall_is_that_recalls_alert_once() -> None:
    """Whether its scan shows it, or only the desk knows."""
    (by_hold,) = alerts(SCAN, FOR_RECALL)
    told: dict[str, Any] = {"visit_id": SCAN.event_id, "site_travel_s": 1800.0}
    (by_scan,) = judge(SCAN, (), (), [RECALL], **told)
    (by_both,) = judge(SCAN, (), (), [RECALL], holds=[FOR_RECALL], **told)
    assert {by_hold.id} == {by_scan.id} == {by_both.id}
    assert (by_hold.kind, by_hold.recall) == ("recalled_at_shipping", "R-1")
    assert by_both.text == by_scan.text
    kinds = [alert.kind for alert in alerts(SCAN, FOR_RECALL, REASON)]
    assert kinds == ["recalled_at_shipping", "held_at_shipping"]


def test_a_carton_that_is_held_for_what_is_inside_is_no_alert_of_its_own() -> None:
    """What is inside has one: each recalled unit that goes out is told once."""
    inside = replace(FOR_RECALL, id="inside:R-1", text="contains x, which is recalled")
    assert alerts(SCAN, inside) == []
    assert [alert.kind for alert in alerts(SCAN, inside, REASON)] == ["held_at_shipping"]


def test_it_is_one_where_what_is_inside_is_not_moved_with_it() -> None:
    inside = HoldReason(id="inside:R-1", text="contains sn:battery.5", recall="R-1")
    (told,) = alerts(SCAN, inside, is_alone=True)
    assert (told.kind, told.recall) == ("recalled_at_shipping", "R-1")
    assert "contains sn:battery.5" in told.text


def test_a_hold_for_a_recall_means_also_what_left_before_it() -> None:
    late = replace(FOR_RECALL, since=NOON + timedelta(hours=1))
    seen = Seen("e-0", BusinessStep.LOADING, "dock-2", "south", NOON)
    (alert,) = alerts(replace(SCAN, corrects="e-7"), late, revealed=[seen])
    assert (alert.recall, alert.event_id) == ("R-1", "e-0")


@pytest.mark.parametrize(
    ("changes", "more"),
    [({"corrects": "e-0"}, {}), ({"same_as": "imei:35693803564380"}, {}), ({}, {"is_inert": True})],
)
def test_what_moves_nothing_is_no_unit_at_the_gate(
    changes: dict[str, Any], more: dict[str, Any]
) -> None:
    assert alerts(replace(SCAN, **changes), REASON, **more) == []


def test_what_was_revealed_later_is_told_at_its_own_place_and_time() -> None:
    at = NOON - timedelta(hours=1)
    seen = Seen("e-0", BusinessStep.LOADING, "dock-2", "south", at)
    (alert,) = alerts(replace(SCAN, corrects="e-7"), REASON, revealed=[seen])
    assert (alert.event_id, alert.station, alert.site, alert.event_time) == (
        "e-0",
        "dock-2",
        "south",
        at,
    )


def test_the_visit_and_not_the_reason_makes_the_alert() -> None:
    (first,) = alerts(SCAN, REASON, visit_id="e-0")
    (again,) = alerts(SCAN, REASON, HoldReason(id="lot-7", text="Lot"), visit_id="e-0")
    (other,) = alerts(SCAN, REASON)
    assert first.id == again.id != other.id


def test_a_hold_means_no_departure_that_is_older_and_comes_to_light_later() -> None:
    old = Seen("e-0", BusinessStep.SHIPPING, "gate", "north", NOON - timedelta(days=30))
    later = HoldReason(id="QA-1", text="Scratched", since=NOON - timedelta(days=1))
    untimed = HoldReason(id="QA-3", text="Dented")
    telling = replace(SCAN, same_as="imei:35693803564380")
    assert alerts(telling, later, revealed=[old]) == []
    at_once = replace(later, id="QA-2", since=old.at)
    (alert,) = alerts(telling, later, at_once, untimed, revealed=[old])
    assert alert.event_id == "e-0"
    assert "(QA-2: Scratched; QA-3: Dented)" in alert.text


def test_at_the_gate_a_hold_counts_whatever_the_readers_clock_says() -> None:
    behind = replace(SCAN, event_time=NOON - timedelta(minutes=5))
    (alert,) = alerts(behind, replace(REASON, since=NOON))
    assert alert.event_id == "e-1"


LOST = HoldReason(id="desk-4", text="Not in hall A", since=NOON, kind=HoldKind.LOST)
STOLEN = HoldReason(id="police-7", text="Taken", since=NOON, kind=HoldKind.STOLEN)


@pytest.mark.parametrize("step", BusinessStep)
def test_a_lost_unit_that_is_scanned_anywhere_has_reappeared(step: BusinessStep) -> None:
    found = alerts(replace(SCAN, business_step=step), LOST)
    kinds = ["reappeared"] + ["held_at_shipping"] * (step in OUTBOUND_STEPS)
    assert [alert.kind for alert in found] == kinds
    assert found[0].severity == "warning"
    assert "lost (desk-4: Not in hall A)" in found[0].text


def test_what_was_stolen_is_critical_beside_whatever_else() -> None:
    seen = replace(SCAN, business_step=BusinessStep.STORING)
    (alert,) = alerts(seen, REASON, LOST, STOLEN)
    assert (alert.kind, alert.severity) == ("reappeared", "critical")
    assert "QA-1" not in alert.text


def test_a_unit_reappears_once_in_a_visit() -> None:
    seen = replace(SCAN, business_step=BusinessStep.STORING)
    (first,) = alerts(seen, LOST, visit_id="e-0")
    (again,) = alerts(seen, STOLEN, visit_id="e-0")
    (other,) = alerts(seen, LOST)
    assert first.id == again.id != other.id


def test_what_a_conveyor_asks_for_and_then_holds_has_reappeared_once() -> None:
    held = replace(SCAN, event_id="e-2", business_step=BusinessStep.HOLDING)
    assert alerts(held, LOST, is_held_where_staged=True) == []
    assert [alert.kind for alert in alerts(held, LOST)] == ["reappeared"]


def test_what_was_seen_before_it_was_lost_is_no_news() -> None:
    before = replace(SCAN, event_time=NOON - timedelta(seconds=1))
    seen = replace(before, business_step=BusinessStep.STORING)
    assert alerts(seen, LOST) == []
    off = replace(seen, event_time=NOON - timedelta(days=400), clock_skew_s=-3e7)
    assert [alert.kind for alert in alerts(off, LOST)] == ["reappeared"]


@pytest.mark.parametrize(
    ("changes", "more"),
    [({"corrects": "e-0"}, {}), ({"same_as": "imei:35693803564380"}, {}), ({}, {"is_inert": True})],
)
def test_what_moves_nothing_has_not_reappeared(
    changes: dict[str, Any], more: dict[str, Any]
) -> None:
    assert alerts(replace(SCAN, **changes), LOST, **more) == []


def test_opening_stock_is_no_contradiction_of_what_is_known_and_still_takes_one_back() -> None:
    fact = Fact(
        FactKind.DUPLICATE_SERIAL,
        "e-9",
        FactRule.RECEIVED_IN_CUSTODY,
        "e-1",
        60.0,
        "dock-9",
        "north",
        NOON,
    )
    stock = replace(SCAN, business_step=BusinessStep.STOCK_TAKING)
    told: dict[str, Any] = {"visit_id": "e-1", "site_travel_s": 1800.0}
    assert judge(stock, (fact,), (), (), **told) == []
    (alert,) = judge(stock, (), (fact,), (), **told)
    assert alert.status == "withdrawn"
    stored = replace(stock, business_step=BusinessStep.STORING)
    assert [each.kind for each in judge(stored, (fact,), (), (), **told)] == ["duplicate_serial"]


def test_where_a_late_scan_begins_the_visit_the_alerts_of_the_visit_before_are_withdrawn() -> None:
    """Of each raised one: a person is told once that the unit went out, and never less."""
    lost = replace(REASON, id="L-1", kind=HoldKind.LOST, since=NOON - timedelta(days=1))
    told = alerts(SCAN, REASON, FOR_RECALL, lost, absorbed=("e-2", "e-3"))
    before = alerts(replace(SCAN, event_id="e-2"), REASON, FOR_RECALL, lost)
    by_status = {
        status: {alert.id for alert in told if alert.status is status} for status in AlertStatus
    }
    assert len(before) == 3
    assert by_status["raised"] == {a.id for a in alerts(SCAN, REASON, FOR_RECALL, lost)}
    assert {alert.id for alert in before} < by_status["withdrawn"]
    assert len(by_status["withdrawn"]) == 6
    assert alerts(replace(SCAN, business_step=BusinessStep.STORING), absorbed=("e-2",)) == []
