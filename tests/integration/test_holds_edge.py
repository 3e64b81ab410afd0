"""Holds: entered over the API, kept in PostgreSQL, published to `holds`."""

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from scantrail.contracts.records import alerts, encode, holds
from scantrail.contracts.topics import Topic
from scantrail.domain.alert import Alert
from scantrail.domain.hold import REASONS_MAX, Hold, HoldReason
from scantrail.domain.vocabulary import BusinessStep

if TYPE_CHECKING:
    from integration.conftest import Site

REASON = {"text": "Scratched"}


async def ok(site: "Site", method: str, path: str, **more: Any) -> Any:
    answer = await site.ask(method, path, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_hold_is_put_changed_published_taken_back_and_gone(site: "Site") -> None:
    await site.start("api")
    unit, address = site.unit("1"), f"/holds/{site.barcode('1')}"
    first = await ok(site, "PUT", f"{address}/QA-1", json=REASON)
    (reason,) = first["reasons"]
    assert (first["id"], first["version"], first["published"]) == (unit, 1, True)
    assert (reason["id"], reason["text"]) == ("QA-1", "Scratched")
    second = await ok(site, "PUT", f"{address}/lot-7", json={"text": "Lot 7"})
    assert [each["id"] for each in second["reasons"]] == ["QA-1", "lot-7"]
    assert await ok(site, "GET", address) == second
    again = await ok(site, "PUT", f"{address}/QA-1", json=REASON)
    assert again == second  # nothing new, and no new version
    changed = await ok(site, "PUT", f"{address}/QA-1", json={"text": "Dented"})
    assert changed["reasons"][0] == reason | {"text": "Dented"}
    left = await ok(site, "DELETE", f"{address}/QA-1")
    assert [each["id"] for each in left["reasons"]] == ["lot-7"]
    gone = await ok(site, "DELETE", f"{address}/lot-7")
    assert gone == {"id": unit, "reasons": [], "version": 5, "cleared": [], "published": True}
    assert await ok(site, "DELETE", f"{address}/lot-7") == gone
    assert (await site.ask("GET", address)).status_code == 404
    records = await (await site.log(Topic.HOLDS)).until(5)
    assert {record.key for record in records} == {unit.encode()}
    assert records[-1].value is None
    versions = [holds.decode(record.value) for record in records[:-1]]
    assert [hold.version for hold in versions] == [1, 2, 3, 4]
    assert [encode(hold) for hold in versions] == [record.value for record in records[:-1]]
    later = await ok(site, "PUT", f"{address}/QA-2", json=REASON)
    assert later["version"] == 6


async def test_what_never_was_held_is_released_without_a_trace(site: "Site") -> None:
    await site.start("api")
    told = await ok(site, "DELETE", f"/holds/{site.unit('1')}/QA-1")
    assert told == {
        "id": site.unit("1"),
        "reasons": [],
        "version": 0,
        "cleared": [],
        "published": True,
    }
    assert site.rows("SELECT * FROM hold") == site.rows("SELECT * FROM outbox") == []


async def test_any_spelling_names_the_unit_slashes_and_all(site: "Site") -> None:
    await site.start("api")
    link = "https://id.example.com/01/09506000134352/21/A%252F1"
    told = await ok(site, "PUT", f"/holds/{link}/QA-1", json=REASON)
    assert told["id"] == site.unit("A/1")
    assert (await ok(site, "GET", f"/holds/{quote(site.unit('A/1'))}"))["version"] == 1


async def test_a_hold_is_found_and_taken_back_by_every_id_of_the_unit(site: "Site") -> None:
    await site.start("api")
    imei, box, other = "356938035643809", site.barcode("1"), site.barcode("2")
    await ok(site, "PUT", f"/holds/{other}/QA-2", json=REASON)  # before anybody knew of the link
    linked = await ok(site, "PUT", "/identifiers", json={"ids": [box, imei, other]})
    await ok(site, "PUT", f"/holds/{imei}/QA-1", json=REASON)
    await ok(site, "PUT", f"/holds/{box}/QA-1", json=REASON)
    for spelling in (imei, box, other):
        held = await ok(site, "GET", f"/holds/{spelling}")
        assert (held["id"], held["published"]) == (linked["unit"], True)
        assert sorted(reason["id"] for reason in held["reasons"]) == ["QA-1", "QA-2"]
    left = await ok(site, "DELETE", f"/holds/{other}/QA-1")
    assert (left["id"], [reason["id"] for reason in left["reasons"]]) == (linked["unit"], ["QA-2"])
    gone = await ok(site, "DELETE", f"/holds/{box}/QA-2")
    assert (gone["reasons"], gone["published"]) == ([], True)
    assert (await ok(site, "GET", "/holds"))["holds"] == []
    for spelling in (imei, box, other):
        assert (await site.ask("GET", f"/holds/{spelling}")).status_code == 404
    records = await (await site.log(Topic.HOLDS)).until(6)
    assert len([record for record in records if record.value is None]) == 3


async def test_held_units_are_listed_page_by_page(site: "Site") -> None:
    await site.start("api")
    for serial in "123":
        await ok(site, "PUT", f"/holds/{site.unit(serial)}/QA-1", json=REASON)
    await ok(site, "DELETE", f"/holds/{site.unit('2')}/QA-1")
    page = await ok(site, "GET", "/holds?limit=1")
    assert [each["id"] for each in page["holds"]] == [site.unit("1")]
    page = await ok(site, "GET", f"/holds?limit=2&cursor={page['next']}")
    assert [each["id"] for each in page["holds"]] == [site.unit("3")]
    assert page["next"] is None


async def test_reasons_put_at_the_same_time_all_count(site: "Site") -> None:
    await site.start("api")
    paths = [f"/holds/{site.unit('1')}/QA-{n}" for n in range(8)]
    await asyncio.gather(*(ok(site, "PUT", path, json=REASON) for path in paths))
    told = await ok(site, "GET", f"/holds/{site.unit('1')}")
    assert (len(told["reasons"]), told["version"]) == (8, 8)


async def test_more_reasons_than_one_unit_may_have_are_refused(site: "Site") -> None:
    await site.start("api")
    address = f"/holds/{site.unit('1')}"
    for n in range(REASONS_MAX):
        await ok(site, "PUT", f"{address}/QA-{n}", json=REASON)
    answer = await site.ask("PUT", f"{address}/QA-more", json=REASON)
    assert answer.status_code == 409
    assert (await ok(site, "GET", address))["version"] == REASONS_MAX


NO_HOLDS: list[tuple[str, dict[str, Any], str, str]] = [
    ("/holds/4711/QA-1", REASON, "unit", "4711"),
    ("/holds/QA-1", REASON, "reason", "a slash and the reason's id"),
    ("/holds/imei:35693803564380/%20", REASON, "reason", "1 to 64 of"),
    ("/holds/imei:35693803564380/QA-1", {"text": " "}, "text", "must not be empty"),
    ("/holds/imei:35693803564380/QA-1", {}, "text", "missing"),
    ("/holds/imei:35693803564380/QA-1", {"text": "a", "to": 1}, "to", "unknown field"),
]


async def test_what_cannot_be_a_hold_is_refused_with_its_field(
    site: "Site", subtests: pytest.Subtests
) -> None:
    await site.start("api")
    for path, body, field, mend in NO_HOLDS:
        with subtests.test(path=path):
            answer = await site.ask("PUT", path, json=body)
            told = answer.json()
            assert (answer.status_code, told["field"]) == (400, field)
            assert mend in told["detail"]
            assert site.rows("SELECT * FROM hold") == []


# ------------------------------------------------------------------------------------ alerts


async def hold(site: "Site", serial: str, *reasons: str) -> None:
    told = tuple(HoldReason(id=each, text="Scratched") for each in reasons)
    value = encode(Hold(id=site.unit(serial), reasons=told)) if told else None
    await site.publish(Topic.HOLDS, site.unit(serial), value)


async def seen(site: "Site", serial: str, step: BusinessStep) -> None:
    (movement,) = site.movements(site.scan(serial, business_step=step, business_location=None))
    await site.put_movement(movement, site.unit(serial))


async def raised(site: "Site", count: int) -> list[Alert]:
    return [alerts.decode(r.value) for r in await (await site.log(Topic.ALERTS)).until(count)]


async def test_a_held_unit_that_goes_out_is_one_alert_however_many_reasons_it_has(
    site: "Site",
) -> None:
    await site.start("alerter")
    await hold(site, "1", "QA-1", "lot-7")
    await seen(site, "1", BusinessStep.SHIPPING)
    (alert,) = await raised(site, 1)
    assert (alert.kind, alert.severity, alert.unit) == (
        "held_at_shipping",
        "critical",
        site.unit("1"),
    )
    assert alert.text == (
        f"{site.unit('1')} is held (QA-1: Scratched; lot-7: Scratched) and was scanned at shipping"
    )
    await seen(site, "1", BusinessStep.SHIPPING)  # the same scan told again
    assert {each.id for each in await raised(site, 2)} == {alert.id}


async def test_a_hold_published_before_the_movement_is_always_seen_and_its_end_too(
    site: "Site",
) -> None:
    await site.start("alerter")
    for number in range(10):
        await hold(site, f"{number}", "QA-1")
        await seen(site, f"{number}", BusinessStep.STAGING_OUTBOUND)
        await hold(site, f"free-{number}", "QA-1")
        await hold(site, f"free-{number}")
        await seen(site, f"free-{number}", BusinessStep.SHIPPING)
        await hold(site, f"inside-{number}", "QA-1")
        await seen(site, f"inside-{number}", BusinessStep.STORING)
    await hold(site, "last", "QA-1")
    await seen(site, "last", BusinessStep.LOADING)
    found = {alert.unit for alert in await raised(site, 11)}
    assert found == {site.unit(f"{number}") for number in range(10)} | {site.unit("last")}


async def test_a_unit_reported_stolen_that_is_scanned_anywhere_is_an_alert(site: "Site") -> None:
    for name in ("api", "alerter"):
        await site.start(name)
    unit = site.unit("1")
    stolen = {"text": "Taken from hall A", "kind": "stolen"}
    await ok(site, "PUT", f"/holds/{unit}/police-7", json=stolen)
    answer = await site.ask("PUT", f"/holds/{unit}/police-8", json=stolen | {"kind": "mislaid"})
    assert (answer.status_code, answer.json()["field"]) == (400, "kind")
    assert "lost, stolen" in answer.json()["detail"]
    asked = site.scan("1", 120, business_step=BusinessStep.STAGING_OUTBOUND, sequence=1)
    held = replace(asked, event_id="hold", business_step=BusinessStep.HOLDING, sequence=2)
    stored = site.scan("1", 180, business_step=BusinessStep.STORING, station="shelf")
    for movement in site.movements(asked, held, stored):
        await site.put_movement(movement, unit)
    told = await raised(site, 3)
    assert {(alert.kind, alert.severity, alert.station) for alert in told} == {
        ("reappeared", "critical", "dock-1"),
        ("held_at_shipping", "critical", "dock-1"),
        ("reappeared", "critical", "shelf"),
    }
    texts = [alert.text for alert in told if alert.kind == "reappeared"]
    assert all("stolen (police-7: Taken from hall A)" in text for text in texts)
