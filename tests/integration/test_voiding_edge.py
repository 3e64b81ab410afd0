"""Wrong scans are voided over the API: gateway, tracker, alerter and projector are real."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest

from integration.conftest import GTIN
from integration.processes import started
from scantrail.api.changes import Change
from scantrail.cli.tokens import make_person
from scantrail.contracts.records import decode_scan, encode
from scantrail.contracts.topics import Topic
from scantrail.domain.vocabulary import BusinessStep

if TYPE_CHECKING:
    from integration.conftest import Site

SSCC = "095060001343520017"
CARTON = f"sscc:{SSCC}"
OTHER = "sscc:095060001343520024"
READERS = {
    "packer": "packing",
    "gate": "shipping",
    "dock": "receiving",
    "rack": "storing",
}


@pytest.fixture
async def at_work(site: "Site", tmp_path: Path) -> AsyncIterator["Site"]:
    """All five services, and a station of its own for each reader."""
    site.readers(
        *(f'id = "{name}"\nprotocol = "http-generic"\nstation = "{name}"' for name in READERS)
    )
    for name in ("projector", "alerter", "gateway", "api"):
        await site.start(name)
    with started(site.settings, tmp_path, "tracker") as (tracker,):
        for name, step in READERS.items():
            place = {"business_location": f"at {name}"} if step != "shipping" else {}
            body = {"site": "north", "business_step": step, **place, "repeat_window_s": 0}
            await ok(site, "PUT", f"/stations/{name}", json=body)
        await asyncio.to_thread(tracker.await_ready)
        yield site


async def ok(site: "Site", method: str, path: str, **more: Any) -> Any:
    answer = await site.ask(method, path, **more)
    assert answer.status_code in (200, 201), (answer.status_code, answer.text)
    return answer.json()


async def read(site: "Site", reader: str, code: str, **more: Any) -> None:
    """A read at a reader, once its station is known there."""

    async def is_taken() -> bool:
        answer = (await site.read(reader, {"code": code, **more})).json()
        return not answer["rejected"]

    await site.until(is_taken)


async def trail(site: "Site", spelling: str) -> list[dict[str, Any]]:
    answer = await site.ask("GET", f"/units/{quote(spelling, safe='')}/trail")
    return list(answer.json()) if answer.status_code == 200 else []


async def trail_of(site: "Site", spelling: str, count: int) -> list[dict[str, Any]]:
    async def is_there() -> bool:
        return len(await trail(site, spelling)) >= count

    await site.until(is_there, 40.0)
    found = await trail(site, spelling)
    assert len(found) == count, [(each["event_id"], each["outcome"]) for each in found]
    return found


async def void(
    site: "Site", event_id: str, unit: str, reason: str = "it stayed here", **more: Any
) -> httpx.Response:
    headers = more.pop("headers", {})
    return await site.ask(
        "POST",
        f"/scans/{quote(event_id, safe='')}/void",
        json={"unit": unit, "reason": reason, **more},
        headers=headers,
    )


def of_step(rows: list[dict[str, Any]], step: str) -> dict[str, Any]:
    (row,) = [each for each in rows if each["business_step"] == step and not each["corrects"]]
    return row


async def alerts(site: "Site", kind: str, status: str) -> list[Any]:
    page = await ok(site, "GET", "/alerts", params={"status": status})
    return [each for each in page["alerts"] if each["kind"] == kind]


async def test_a_voided_shipping_takes_the_children_back_and_both_stay_in_the_trail(
    at_work: "Site",
) -> None:
    site = at_work
    await ok(
        site,
        "PUT",
        "/recalls/R-1",
        json={
            "title": "Battery",
            "reason": "may overheat",
            "status": "active",
            "selectors": [{"kind": "list", "serials": ["A1"]}],
        },
    )
    unit = site.barcode("A1")
    await read(site, "packer", unit, parent=f"00{SSCC}")
    await trail_of(site, unit, 1)
    await read(site, "gate", f"00{SSCC}", order="SO-1")
    shipped = of_step(await trail_of(site, f"00{SSCC}", 1), "shipping")
    derived = of_step(await trail_of(site, unit, 2), "shipping")
    assert derived["derived_event_id"] == shipped["event_id"]

    await site.until(lambda: alerts(site, "recalled_at_shipping", "open"), 40.0)
    (raised,) = await alerts(site, "recalled_at_shipping", "open")
    assert raised["unit"] == site.unit("A1")

    refused = await void(site, derived["event_id"], unit)
    assert (refused.status_code, refused.json()["reason"]) == (409, "derived")
    assert shipped["event_id"] in refused.json()["detail"]

    answer = await void(
        site, shipped["event_id"], f"00{SSCC}", "it stayed in the hall", scan={"station": "rack"}
    )
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["event_id"], told["unit"]) == (shipped["event_id"], CARTON)
    found = {each["event_id"]: each for each in await trail_of(site, f"00{SSCC}", 3)}
    wrong = found[shipped["event_id"]]
    assert wrong["corrected_by"] == told["voided_by"]
    assert wrong["voided"] == {
        "who": told["who"],
        "reason": "it stayed in the hall",
        "at": told["at"],
        "replaced_by": told["replaced_by"],
    }
    assert found[told["voided_by"]]["corrects"] == shipped["event_id"]
    assert found[told["voided_by"]]["voided"] is None
    right = found[told["replaced_by"]]
    assert (right["business_step"], right["station"], right["event_time"]) == (
        "storing",
        "rack",
        shipped["event_time"],
    )

    async def is_back() -> bool:
        inside = await ok(site, "GET", f"/units/{unit}")
        return (inside["phase"], inside["location"], inside["parent"]) == (
            "on_site",
            "at rack",
            CARTON,
        )

    await site.until(is_back, 40.0)
    page = (await site.ask("GET", "/", params={"q": f"00{SSCC}"})).text
    assert f"voided by {told['voided_by']}, {told['who']}: it stayed in the hall" in page

    packed = of_step(await trail(site, unit), "packing")
    other = await void(
        site,
        packed["event_id"],
        unit,
        "wrong carton",
        scan={"parent": OTHER.replace("sscc:", "00")},
    )
    assert other.status_code == 200, other.text

    async def is_in_the_other() -> bool:
        inside = await ok(site, "GET", f"/units/{unit}")
        return inside["parent"] == OTHER and inside["location"] == "at packer"

    await site.until(is_in_the_other, 40.0)
    assert (await ok(site, "GET", f"/units/00{SSCC}"))["children"] == []
    # it was seen at the gate, whatever is said of that later: a person decides
    assert await alerts(site, "recalled_at_shipping", "open") == [raised]


async def test_of_a_mistyped_serial_the_right_unit_gets_the_scan_and_the_alert_is_withdrawn(
    at_work: "Site",
) -> None:
    site = at_work
    b1 = site.barcode("B1")
    await read(site, "rack", b1)
    await trail_of(site, b1, 1)
    await read(site, "dock", b1, order="PO-1")
    wrong = of_step(await trail_of(site, b1, 2), "receiving")
    await site.until(lambda: alerts(site, "duplicate_serial", "open"), 40.0)
    right_unit = {"unit": f"(01){GTIN}(21)B7(10)LOT-7", "produced_on": "2026-01-31"}
    answer = await void(site, wrong["event_id"], b1, scan=right_unit)
    assert answer.status_code == 200, answer.text
    (right,) = await trail_of(site, site.barcode("B7"), 1)
    assert (right["lot"], right["produced_on"]) == ("LOT-7", "2026-01-31")
    assert right["event_id"] == answer.json()["replaced_by"]
    assert (right["station"], right["reader"], right["order_ref"]) == ("dock", "correction", None)
    found = await trail_of(site, b1, 3)
    assert [each["outcome"] for each in found] == ["moved", "moved", "corrected"]
    await site.until(lambda: alerts(site, "duplicate_serial", "withdrawn"), 40.0)
    assert await alerts(site, "duplicate_serial", "open") == []
    assert (await ok(site, "GET", f"/units/{b1}"))["location"] == "at rack"
    assert site.rows("SELECT entity, reference FROM audit ORDER BY number DESC LIMIT 1") == [
        ("scan", wrong["event_id"])
    ]


async def test_it_is_done_once_however_often_it_is_asked_for(
    at_work: "Site", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the api died once the gateway had it."""
    site = at_work
    await read(site, "dock", site.barcode("C1"))
    (wrong,) = await trail_of(site, site.barcode("C1"), 1)
    asked = (wrong["event_id"], site.barcode("C1"), "read twice")
    right = {"scan": {"station": "rack"}}

    def dies(*_: Any, **more: Any) -> None:
        raise RuntimeError("the process is gone")

    with monkeypatch.context() as patched:
        patched.setattr(Change, "note", dies)
        assert (await void(site, *asked, **right)).status_code == 500
    assert site.rows("SELECT * FROM scan_void") == []
    await trail_of(site, site.barcode("C1"), 3)
    key = {"headers": {"Idempotency-Key": "k-1"}}
    first = await void(site, *asked, **right, **key)
    assert first.status_code == 200, first.text
    again = await void(site, *asked, **right, **key)
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    twice = await void(site, *asked)
    assert (twice.status_code, twice.json()["reason"]) == (409, "already_voided")
    records = await (await site.log(Topic.SCANS)).records()
    ids = [decode_scan(record.key, record.value).event_id for record in records]
    assert sorted(ids) == sorted(
        [wrong["event_id"], *2 * [first.json()["voided_by"], first.json()["replaced_by"]]]
    )
    await read(site, "dock", site.barcode("C2"))  # behind it, all is done
    await trail_of(site, site.barcode("C2"), 1)
    await trail_of(site, site.barcode("C1"), 3)
    assert await (await site.log(Topic.SCANS_REJECTED)).records() == []


# --------------------------------------------------------------------------------- refused


async def projected(site: "Site", *scans: Any) -> None:
    for scan, movement in zip(scans, site.movements(*scans), strict=True):
        await site.put_movement(movement, scan.unit)
    await site.until(lambda: len(site.rows("SELECT 1 FROM movement")) == len(scans))


async def begin(site: "Site") -> None:
    """Without a tracker: whatever the gateway takes stays in `scans`."""
    await site.put_station(site.station())
    for name in ("projector", "gateway", "api"):
        await site.start(name)
    await ok(site, "PUT", "/stations/dock-1", json={"site": "north", "business_step": "receiving"})


async def test_what_cannot_be_voided_is_told_why_and_nothing_is_sent(site: "Site") -> None:
    await begin(site)
    old = site.scan("1", -40 * 24 * 60, event_id="old")
    wrong = site.scan("1", 0, event_id="dir/wrong 1")
    fixed = site.scan("1", 1, event_id="fixed")
    correction = site.scan("1", 2, event_id="c-1", corrects="fixed")
    link = site.scan("1", 3, event_id="l-1", reader="identifiers", same_as=site.unit("2"))
    elsewhere = site.scan("1", 4, event_id="e-1", station="gone")
    await projected(site, wrong, fixed, correction, elsewhere)
    for scan in (old, link):
        (movement,) = site.movements(replace(scan, unit=site.unit("9")))
        await site.put_movement(movement, site.unit("9"))
    await site.until(lambda: len(site.rows("SELECT 1 FROM movement WHERE unit LIKE '%%.9'")) == 2)
    unit, other = site.barcode("1"), site.barcode("9")
    cases: list[tuple[str, str, dict[str, Any], int, str]] = [
        ("nothing", unit, {}, 404, "has no scan 'nothing'"),
        ("dir/wrong 1", site.barcode("77"), {}, 404, "has no scan"),
        ("c-1", unit, {}, 409, "voids another scan"),
        ("fixed", unit, {}, 409, "was voided already, by c-1"),
        ("l-1", other, {}, 409, "DELETE /identifiers/"),
        ("e-1", unit, {}, 409, "void: station 'gone'"),
        ("dir/wrong 1", "what?", {}, 400, ""),
        ("dir/wrong 1", unit, {"reason": " "}, 400, "must not be empty"),
        ("dir/wrong 1", unit, {"scan": {"station": "nowhere"}}, 400, "no station nowhere"),
        ("dir/wrong 1", unit, {"scan": {"station": "a b"}}, 400, "1 to 64"),
        ("dir/wrong 1", unit, {"scan": {"order": " x"}}, 400, "1 to 128"),
        ("dir/wrong 1", unit, {"scan": {"rma": ""}}, 400, "1 to 128"),
        ("dir/wrong 1", unit, {"scan": {"parent": "?"}}, 400, ""),
        ("dir/wrong 1", unit, {"scan": {"location": ""}}, 400, "must not be empty"),
        ("dir/wrong 1", unit, {"scan": {"parent": unit}}, 409, "scan: "),
        ("dir/wrong 1", unit, {"scan": {"lot": ""}}, 400, "1 to 64"),
        ("dir/wrong 1", unit, {"scan": {"unit": "?"}}, 400, ""),
        ("old", other, {"scan": {}}, 400, "more than 30 days ago"),
    ]
    far = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    cases.append(("dir/wrong 1", unit, {"scan": {"at": far}}, 400, "is to come"))
    for event_id, spelling, more, status, detail in cases:
        body = {"reason": "wrong", **more}
        answer = await void(site, event_id, spelling, **body)
        assert answer.status_code == status, (event_id, more, answer.text)
        assert detail in answer.json()["detail"], (event_id, more, answer.text)
    assert await (await site.log(Topic.SCANS)).records() == []
    assert await (await site.log(Topic.READS_REJECTED)).records() == []
    assert site.rows("SELECT * FROM scan_void") == []
    other_address = await site.ask("POST", "/scans/dir/wrong", json={"unit": unit, "reason": "x"})
    assert other_address.status_code == 404
    assert (await void(site, "dir/wrong 1", unit)).status_code == 200
    (sent,) = await (await site.log(Topic.SCANS)).records()
    scan = decode_scan(sent.key, sent.value)
    assert (scan.corrects, scan.event_time) == ("dir/wrong 1", wrong.event_time)
    assert (await void(site, "old", other)).status_code == 200


async def test_who_may_void_and_where(site: "Site") -> None:
    site.settings = replace(site.settings, api_tokens="required")
    tokens = {
        name: (await asyncio.to_thread(make_person, site.settings, name, role, sites))
        .partition("Bearer ")[2]
        .split()[0]
        for name, role, sites in (
            ("reads", "read", []),
            ("south", "operate", ["south"]),
            ("ada-7", "operate", ["north"]),
            ("boss", "admin", []),
        )
    }
    shown = {name: {"Authorization": f"Bearer {token}"} for name, token in tokens.items()}
    await site.put_station(site.station())
    for name in ("projector", "gateway", "api"):
        await site.start(name)
    for station, of in (("dock-1", "north"), ("dock-2", "south")):
        body = {"site": of, "business_step": "receiving"}
        await ok(site, "PUT", f"/stations/{station}", json=body, headers=shown["boss"])
    await projected(site, site.scan("1", event_id="wrong"))
    unit = site.barcode("1")
    for name in ("reads", "south"):
        assert (await void(site, "wrong", unit, headers=shown[name])).status_code == 403
    to_the_south = {"scan": {"station": "dock-2"}, "headers": shown["ada-7"]}
    assert (await void(site, "wrong", unit, **to_the_south)).status_code == 403
    answer = await void(site, "wrong", unit, headers=shown["ada-7"])
    assert answer.json()["who"] == "ada-7"


async def test_where_the_gateway_is_away_nothing_is_voided(site: "Site") -> None:
    for name in ("projector", "api"):
        await site.start(name)
    await projected(site, site.scan("1", event_id="wrong"))
    answer = await void(site, "wrong", site.barcode("1"))
    assert answer.status_code == 503
    assert site.rows("SELECT * FROM scan_void") == []


async def test_a_scan_of_a_clock_that_is_off_and_one_that_was_forwarded_are_found(
    site: "Site",
) -> None:
    await begin(site)
    at = datetime(2038, 1, 1, tzinfo=UTC)
    odd = site.scan("1", event_id="odd", clock_skew_s=9e8)
    odd = replace(odd, event_time=at)
    moved = site.scan(
        "1", 5, event_id="fwd", forwarded_from=(site.unit("0"),), business_step=BusinessStep.STORING
    )
    await projected(site, odd, moved)
    right = {"scan": {"location": "Shelf 1"}}
    assert (await void(site, "odd", site.barcode("1"), **right)).status_code == 200
    scans = [decode_scan(r.key, r.value) for r in await (await site.log(Topic.SCANS)).until(2)]
    assert [scan.event_time for scan in scans] == [at, odd.record_time]
    assert scans[1].business_location == "Shelf 1"
    answer = await void(site, "fwd", site.barcode("1"))
    assert answer.json()["unit"] == site.unit("1")
    assert encode(answer.json())
