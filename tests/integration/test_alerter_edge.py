"""The alerter on a real broker: each alert raised once in effect, and withdrawn when it must be."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from scantrail.contracts.records import alerts, encode, movements, watched
from scantrail.contracts.topics import Topic
from scantrail.domain.alert import Alert, AlertStatus
from scantrail.domain.finding import Finding, FindingKind, FindingStatus
from scantrail.domain.recall import Recall, RecallStatus, Selector
from scantrail.domain.vocabulary import BusinessStep

if TYPE_CHECKING:
    from integration.conftest import Site

SHIPPING = BusinessStep.SHIPPING


def recall(*serials: str, recall_id: str = "R-1", **more: Any) -> Recall:
    return Recall(
        id=recall_id,
        title="Battery",
        reason="may overheat",
        selectors=(Selector(kind="list", serials=serials),),
        **more,
    )


async def publish(site: "Site", notice: Recall) -> None:
    await site.publish(Topic.RECALLS, notice.id, encode(notice))


async def ship(site: "Site", serial: str, **more: Any) -> None:
    scan = site.scan(serial, **({"business_step": SHIPPING, "business_location": None} | more))
    (movement,) = site.movements(scan)
    await site.put_movement(movement, scan.unit)


async def told(site: "Site", count: int) -> list[Alert]:
    return [alerts.decode(r.value) for r in await (await site.log(Topic.ALERTS)).until(count)]


async def settled(site: "Site", again: int = 1) -> None:
    """Ship a recalled unit in every partition: what came before it has been judged.

    `again` is how often this has been called in the test.
    """
    await publish(site, recall("marker", recall_id="R-marker"))
    (movement,) = site.movements(site.scan("marker", business_step=SHIPPING))
    log = await site.log(Topic.ALERTS)
    for partition in range(site.settings.partitions):
        await site.put_movement(movement, site.unit("marker"), partition=partition)

    async def judged() -> bool:
        found = [alerts.decode(record.value).unit for record in await log.records()]
        return found.count(site.unit("marker")) == again * site.settings.partitions

    await site.until(judged)


async def test_the_alerter_is_not_ready_while_a_recall_a_hold_or_a_product_cannot_be_read(
    site: "Site",
) -> None:
    running = await site.start("alerter")
    assert running.health.lacking == []
    await site.publish(Topic.RECALLS, "R-1", b"{")
    await site.publish(Topic.HOLDS, site.unit("7"), b"{")
    await site.publish(Topic.PRODUCTS, "PUMP-7", b"{")
    await ship(site, "7")
    (alert,) = await told(site, 1)
    assert alert.text.startswith(f"{site.unit('7')} is held (unreadable: ")
    lacking = ["readable holds", "readable products", "readable recalls"]
    assert running.health.lacking == lacking
    await publish(site, recall("7"))
    await site.publish(Topic.HOLDS, site.unit("7"), None)
    await site.publish(Topic.PRODUCTS, "PUMP-7", None)
    await ship(site, "7", event_id="again")
    assert [each.recall for each in await told(site, 2)] == [None, "R-1"]
    assert running.health.lacking == []


async def test_by_movements_of_a_later_release_alerts_are_raised_and_the_desk_is_told(
    site: "Site",
) -> None:
    """The tracker was replaced first."""
    await site.start("alerter")
    await publish(site, recall("1", "2"))
    scan = site.scan("1", business_step=SHIPPING, business_location=None)
    (movement,) = site.movements(scan)
    later = movement.replace(b'"outcome":"moved"', b'"outcome":"handed_over"')
    assert later != movement
    await site.put_movement(later, scan.unit)
    await site.put_movement(b"{", site.unit("2"))
    (alert,) = await told(site, 1)
    assert (alert.kind, alert.unit, alert.recall) == ("recalled_at_shipping", scan.unit, "R-1")
    log = await site.log(Topic.RECALL_WATCH)

    async def units() -> bool:
        found = {watched.decode(record.value).unit for record in await log.records()}
        return found - {None} == {scan.unit, site.unit("2")}

    await site.until(units)


async def others(site: "Site") -> list[Alert]:
    found = [alerts.decode(r.value) for r in await (await site.log(Topic.ALERTS)).records()]
    return [alert for alert in found if alert.unit != site.unit("marker")]


async def test_a_recalled_unit_at_shipping_raises_an_alert_with_all_that_it_tells(
    site: "Site",
) -> None:
    await site.start("alerter")
    await publish(site, recall("1"))
    await ship(site, "1")
    (record,) = await (await site.log(Topic.ALERTS)).until(1)
    alert = alerts.decode(record.value)
    scan = site.scan("1", business_step=SHIPPING)
    assert record.key == alert.id.encode()
    assert (alert.kind, alert.severity, alert.status) == (
        "recalled_at_shipping",
        "critical",
        "raised",
    )
    assert (alert.unit, alert.event_id, alert.recall) == (scan.unit, scan.event_id, "R-1")
    assert (alert.station, alert.site, alert.event_time) == ("dock-1", "north", scan.event_time)
    assert alert.text == (f"{scan.unit} is recalled (R-1: Battery) and was scanned at shipping")
    headers = dict(record.headers)
    assert headers["ce_id"] == f"{alert.id}-raised".encode()
    assert headers["ce_type"] == b"scantrail.alert.v1"
    assert headers["ce_subject"] == scan.unit.encode()


async def test_a_recalled_tag_that_stands_at_the_gate_is_one_alert(site: "Site") -> None:
    """Also where the visit began before the recall: then its repeat is the first to tell."""
    await site.start("alerter")
    stage = {"business_step": BusinessStep.STAGING_OUTBOUND, "repeat_window_s": 60.0}
    visits = [
        [site.scan(serial, minutes, sequence=minutes, **stage) for minutes in (0, 1, 2)]
        for serial in ("early", "late")
    ]
    early, late = (site.movements(*visit) for visit in visits)
    outcomes = [movements.decode(value).outcome for value in early]
    assert outcomes == ["moved", "repeat_read", "repeat_read"]
    await site.put_movement(late[0], site.unit("late"))
    await settled(site)
    await publish(site, recall("early", "late"))
    for serial, values in (("early", early), ("late", late[1:])):
        for value in values:
            await site.put_movement(value, site.unit(serial))
    await settled(site, again=2)
    told = await others(site)
    assert {(alert.unit, alert.event_id) for alert in told} == {
        (site.unit("early"), visits[0][0].event_id),
        (site.unit("late"), visits[1][0].event_id),
    }
    assert len({alert.id for alert in told}) == 2


async def test_a_late_scan_that_begins_the_visit_takes_its_alert_over(site: "Site") -> None:
    await site.start("alerter")
    await publish(site, recall("1"))
    out = {"business_step": BusinessStep.SHIPPING, "repeat_window_s": 90.0}
    first, second, third = (
        site.scan("1", minutes, sequence=minutes, **out) for minutes in (1, 2, 3)
    )
    for movement in site.movements(third, second, first):
        await site.put_movement(movement, site.unit("1"))
    await settled(site)
    stands = {alert.event_id: alert.status for alert in await others(site)}
    assert stands == {
        first.event_id: "raised",
        second.event_id: "withdrawn",
        third.event_id: "withdrawn",
    }


async def test_a_correction_is_not_at_the_gate_and_a_voided_scan_was(site: "Site") -> None:
    """Whichever comes first: somebody may call the scan of a recalled unit an error wrongly."""
    await site.start("alerter")
    await publish(site, recall("before", "after"))
    for serial, order in (("before", (1, 0)), ("after", (0, 1))):
        gate = {"business_step": SHIPPING, "business_location": None}
        scan = site.scan(serial, 0, event_id=f"out-{serial}", **gate)
        correction = site.scan(serial, 1, event_id=f"c-{serial}", corrects=scan.event_id, **gate)
        told = (scan, correction)
        for movement in site.movements(*(told[place] for place in order)):
            await site.put_movement(movement, site.unit(serial))
    await settled(site)
    assert {(alert.unit, alert.event_id) for alert in await others(site)} == {
        (site.unit("before"), "out-before"),
        (site.unit("after"), "out-after"),
    }


async def test_a_correction_withdraws_the_duplicate_that_its_scan_was(site: "Site") -> None:
    await site.start("alerter")
    out = {"business_step": SHIPPING, "business_location": None}
    shipped = site.scan("1", 0, **out)
    again = site.scan("1", 20, station="gate-2", event_id="wrong", **out)
    correction = site.scan("1", 30, station="office", corrects="wrong")
    for movement in site.movements(shipped, again, correction):
        await site.put_movement(movement, site.unit("1"))
    raised, withdrawn = await told(site, 2)
    assert (raised.status, withdrawn.status) == ("raised", "withdrawn")
    assert raised.id == withdrawn.id


async def test_a_duplicate_is_raised_and_withdrawn_when_a_late_scan_explains_it(
    site: "Site",
) -> None:
    await site.start("alerter")
    out = {"business_step": SHIPPING, "business_location": None}
    shipped = site.scan("1", 0, **out)
    again = site.scan("1", 20, station="gate-2", **out)
    returned = site.scan("1", 10, business_step=BusinessStep.RETURNING, sequence=2)
    for movement in site.movements(shipped, again, returned):
        await site.put_movement(movement, shipped.unit)
    raised, withdrawn = await told(site, 2)
    assert (raised.kind, raised.status) == ("duplicate_serial", "raised")
    assert raised.text == f"{shipped.unit} was shipped again without having been returned"
    assert (withdrawn.id, withdrawn.status) == (raised.id, "withdrawn")
    assert raised.event_id == withdrawn.event_id == again.event_id
    assert raised.station == withdrawn.station == "gate-2"  # not where the return was scanned
    assert raised.event_time == withdrawn.event_time == again.event_time


async def test_out_of_sequence_is_raised_and_withdrawn_when_the_missing_scan_comes_late(
    site: "Site",
) -> None:
    await site.start("alerter")
    packing = BusinessStep.PACKING
    received = site.scan("1", 0, expected_after=())
    out = {"business_step": SHIPPING, "business_location": None, "station": "gate-2"}
    shipped = site.scan("1", 20, expected_after=(packing, SHIPPING), **out)
    packed = site.scan("1", 10, business_step=packing, expected_after=(received.business_step,))
    for movement in site.movements(received, shipped, packed):
        await site.put_movement(movement, shipped.unit)
    raised, withdrawn = await told(site, 2)
    assert (raised.kind, raised.severity, raised.status) == ("out_of_sequence", "warning", "raised")
    assert raised.text == (
        f"{shipped.unit} was scanned at station gate-2, and not after packing or shipping, as its"
        " product expects"
    )
    assert (raised.event_id, raised.station) == (shipped.event_id, "gate-2")
    assert withdrawn == replace(raised, status=AlertStatus.WITHDRAWN, told_by=withdrawn.told_by)


async def test_two_sites_are_a_duplicate_only_within_the_travel_time(site: "Site") -> None:
    await site.start("alerter")
    seen = {"business_step": BusinessStep.CYCLE_COUNTING}
    for serial, minutes in (("near", 10), ("far", 31)):
        for movement in site.movements(
            site.scan(serial, 0, **seen), site.scan(serial, minutes, site="south", **seen)
        ):
            await site.put_movement(movement, site.unit(serial))
    await settled(site)
    (alert,) = await others(site)
    assert alert.unit == site.unit("near")
    assert alert.text.endswith("was seen at two sites within 600 s")


async def test_a_recall_published_before_the_movement_is_always_seen(site: "Site") -> None:
    await site.start("alerter")
    count = 30
    for number in range(count):
        await publish(site, recall(f"{number}", recall_id=f"R-{number}"))
        await ship(site, f"{number}")
    found = await told(site, count)
    assert {(alert.unit, alert.recall) for alert in found} == {
        (site.unit(f"{number}"), f"R-{number}") for number in range(count)
    }


async def test_only_active_recalls_raise_and_a_closed_or_removed_one_no_more(
    site: "Site",
) -> None:
    await site.start("alerter")
    await publish(site, recall("draft", recall_id="R-draft", status=RecallStatus.DRAFT))
    await ship(site, "draft")
    await publish(site, recall("closed", recall_id="R-closed"))
    await ship(site, "closed")
    await told(site, 1)
    await publish(
        site, recall("closed", recall_id="R-closed", status=RecallStatus.CLOSED, version=2)
    )
    await ship(site, "closed", event_id="closed-again")
    await publish(site, recall("removed", recall_id="R-removed"))
    await site.publish(Topic.RECALLS, "R-removed", None)
    await ship(site, "removed")
    await ship(site, "closed", event_id="stored", business_step=BusinessStep.STORING)
    await settled(site)
    assert [(alert.unit, alert.event_id) for alert in await others(site)] == [
        (site.unit("closed"), "closed-0")
    ]


async def test_a_recall_or_movement_that_cannot_be_read_does_not_stop_the_others(
    site: "Site",
) -> None:
    await site.start("alerter")
    await publish(site, recall("1"))
    await site.publish(Topic.RECALLS, "R-broken", b"{")
    broken = replace(recall("1"), id="R-empty", selectors=())
    await site.publish(Topic.RECALLS, "R-empty", encode(broken))
    await site.publish(Topic.MOVEMENTS, site.unit("1"), b"{")
    await ship(site, "1")
    assert [alert.recall for alert in await told(site, 1)] == ["R-1"]
    assert [log["recall"] for log in site.logs if log["event"] == "recall cannot be applied"] == [
        "R-broken",
        "R-empty",
    ]


async def test_a_restart_in_the_middle_raises_each_alert_once_in_effect(site: "Site") -> None:
    """Stopped again and again while it works; what it sends twice has the same id and content."""
    count, turns = 200, 4
    serials = [f"{number}" for number in range(count)]
    await publish(site, recall(*serials))
    log = await site.log(Topic.ALERTS)
    for turn in range(turns):
        running = await site.start("alerter")
        for serial in serials[turn::turns]:
            await ship(site, serial)
        await site.until(lambda turn=turn: _some(log, turn))
        await site.stop(running)
    await site.start("alerter")

    async def all_raised() -> bool:
        return len({record.key for record in await log.records()}) == count

    await site.until(all_raised)
    records = await log.records()
    by_id = {record.key: alerts.decode(record.value) for record in records}
    assert Counter(alert.unit for alert in by_id.values()) == Counter(
        site.unit(serial) for serial in serials
    )
    for record in records:
        assert alerts.decode(record.value) == by_id[record.key]


async def _some(log: Any, turn: int) -> bool:
    return len(await log.records()) > turn * 30


async def test_what_was_judged_and_not_committed_is_judged_again_under_the_same_id(
    site: "Site", monkeypatch: Any
) -> None:
    """Died between step 3, the alert, and step 4, the commit."""

    async def dies(*_: Any) -> None:
        raise ConnectionAbortedError("died here")

    await publish(site, recall("1"))
    with monkeypatch.context() as patch:
        patch.setattr("scantrail.alerter.ending.Ending._commit", dies)
        running = await site.start("alerter")
        await ship(site, "1")
        assert isinstance(await running.ends(), ConnectionAbortedError)
        site.forget(running)
    await site.start("alerter")
    first, again = await told(site, 2)
    assert first == again
    assert again.event_time - first.event_time == timedelta()


async def test_what_the_desk_finds_is_an_alert_and_is_withdrawn_when_it_is_none(
    site: "Site",
) -> None:
    await site.start("alerter")
    found = Finding(
        id="f-1",
        kind=FindingKind.RECALLED_ALREADY_SHIPPED,
        at=site.scan("1").event_time,
        text="is recalled and was shipped before that",
        unit=site.unit("1"),
        event_id="e-1",
        recall="R-1",
    )
    await site.publish(Topic.FINDINGS, "f-0", b"{")
    await site.publish(Topic.FINDINGS, found.id, encode(found))
    taken_back = replace(found, status=FindingStatus.WITHDRAWN)
    await site.publish(Topic.FINDINGS, found.id, encode(taken_back))

    first, second = await told(site, 2)

    assert (first.id, first.unit, first.recall) == (second.id, site.unit("1"), "R-1")
    assert [first.status, second.status] == ["raised", "withdrawn"]
