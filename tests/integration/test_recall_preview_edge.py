"""Where the units of a recall are, which were never seen, and how far each was reached."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from scantrail.api import recall_counts, recall_reach
from scantrail.contracts.records import holds
from scantrail.contracts.topics import Topic
from scantrail.domain.hold import Clearance
from scantrail.domain.scan import Scan
from scantrail.domain.vocabulary import BusinessStep

if TYPE_CHECKING:
    from integration.conftest import Site

GTIN = "09506000134352"
OTHER = "sgtin:09506000134369"
RECALL: dict[str, Any] = {
    "id": "R-1",
    "title": "Battery",
    "reason": "may overheat",
    "products": [GTIN],
    "selectors": [{"kind": "range", "low": "A01", "high": "A20"}],
    "status": "draft",
}
LIST = {"kind": "list", "serials": ["A01", "A02", "B77", "490154203237518"]}
SHIPPED = {"business_step": BusinessStep.SHIPPING, "business_location": None}
PHONE = "imei:49015420323751"


async def ok(site: "Site", method: str, path: str, **more: Any) -> Any:
    answer = await site.ask(method, path, **more)
    assert answer.status_code in (200, 201), (answer.status_code, answer.text)
    return answer.json()


async def refused(site: "Site", status: int, method: str, path: str, **more: Any) -> Any:
    answer = await site.ask(method, path, **more)
    assert answer.status_code == status, (answer.status_code, answer.text)
    return answer.json()


async def scanned(site: "Site", *units: list[Scan]) -> None:
    """Have the scans of some units in the database, by way of the projector."""
    if not any(running.name == "projector" for running in site._running):
        await site.start("projector")
    for scans in units:
        for movement in site.movements(*scans):
            await site.put_movement(movement, scans[0].unit)
    for scans in units:
        query = "SELECT count(*) FROM movement WHERE unit = %s"
        unit, count = scans[0].unit, len(scans)
        await site.until(lambda q=query, u=unit, c=count: site.rows(q, u) == [(c,)])


def shipping(site: "Site", serial: str, minute: float, order: str, **more: Any) -> Scan:
    return site.scan(serial, minute, order=order, possessing_party="fast", **(SHIPPED | more))


def delivered(site: "Site", serial: str, minute: float) -> Scan:
    return site.scan(
        serial,
        minute,
        business_step=BusinessStep.ARRIVING,
        business_location=None,
        possessing_party="purchaser",
    )


async def entered(site: "Site") -> None:
    """A warehouse with units in every place."""
    await site.start("api")
    for order, name in (("SO-1", "Ada Byron"), ("SO-2", "Ann Lee"), ("SO-3", "Ed Poe")):
        purchaser = {"name": name, "address": "1 Dock Road, York"}
        await ok(site, "PUT", f"/orders/{order}", json={"purchaser": purchaser})
    await scanned(
        site,
        [site.scan("A01")],
        [site.scan("A02", business_location="Hall B", site="south")],
        [site.scan("A03"), shipping(site, "A03", 5, "SO-1")],
        [site.scan("A04"), shipping(site, "A04", 3, "SO-2"), delivered(site, "A04", 9)],
        [site.scan("A05"), site.scan("A05", 1, business_step=BusinessStep.DECOMMISSIONING)],
        [site.scan("A06"), shipping(site, "A06", 6, "SO-9")],  # an order that nobody entered
        [site.scan("A07"), shipping(site, "A07", 7, "SO-3")],  # told as delivered by its order
        [site.scan("B01")],
        [site.scan("A08", unit=f"{OTHER}.A08")],
    )
    site.execute("UPDATE sales_order SET delivered_at = now() WHERE ref = 'SO-3'")
    # all scans of it were voided
    site.execute(
        "INSERT INTO unit (unit, product, serial, version) VALUES (%s, %s, 'A19', 3)",
        site.unit("A19"),
        GTIN,
    )


async def test_before_it_is_active_a_recall_tells_how_many_units_are_where(site: "Site") -> None:
    await entered(site)
    await ok(site, "POST", "/recalls", json=RECALL | {"selectors": [*RECALL["selectors"], LIST]})
    told = await ok(site, "GET", "/recalls/R-1/preview")
    shipped = told.pop("shipped")
    assert told == {
        "recall": "R-1",
        "version": 1,
        "status": "draft",
        "units": 7,
        "on_site": 2,
        "on_site_at": [
            {"site": "north", "location": "Hall A", "units": 1},
            {"site": "south", "location": "Hall B", "units": 1},
        ],
        "in_transit": 2,
        "gone": 1,
        "undecided": 0,
        "never_seen": {
            "listed": 2,
            "ranges": [{"low": "A01", "high": "A20", "numbers": 20, "never_seen": 13}],
        },
    }
    first, last = (datetime.fromisoformat(shipped.pop(name)) for name in ("first", "last"))
    assert shipped == {"units": 4, "purchasers": 3, "without_order": 1}
    # a unit that was delivered left when it was shipped
    assert (first, last) == (site.scan("A04", 3).event_time, site.scan("A07", 7).event_time)
    unseen = await ok(site, "GET", "/recalls/R-1/never-seen")
    assert unseen["never_seen"] == [
        {"serial": "490154203237518", "forms": ["49015420323751"]},
        {"serial": "B77", "forms": []},
    ]


async def test_the_units_are_listed_by_where_they_are(site: "Site") -> None:
    await entered(site)
    await ok(site, "POST", "/recalls", json=RECALL)

    async def units(where: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        path = f"/recalls/R-1/units?where={where}&limit=2"
        cursor = ""
        while True:
            page = await ok(site, "GET", path + cursor)
            found += page["units"]
            if page["next"] is None:
                return found
            cursor = f"&cursor={page['next']}"

    serials = {
        where: [each["serial"] for each in await units(where)]
        for where in ("on_site", "shipped", "in_transit", "gone", "undecided")
    }
    assert serials == {
        "on_site": ["A01", "A02"],
        "shipped": ["A03", "A04", "A06", "A07"],
        "in_transit": ["A03", "A06"],
        "gone": ["A05"],
        "undecided": [],
    }
    here, _ = await units("on_site")
    assert (here["unit"], here["site"], here["location"]) == (site.unit("A01"), "north", "Hall A")
    assert (here["shipped_at"], here["purchaser"], here["returned"]) == (None, None, False)
    away, with_her, unknown, _ = await units("shipped")
    assert away["purchaser"] == {
        "id": "order SO-1",
        "name": "Ada Byron",
        "address": "1 Dock Road, York",
    }
    assert (away["order"], away["is_in_transit"]) == ("SO-1", True)
    assert datetime.fromisoformat(with_her["shipped_at"]) == site.scan("A04", 3).event_time
    assert (with_her["is_in_transit"], unknown["purchaser"]) == (False, None)
    problem = await refused(site, 400, "GET", "/recalls/R-1/units?where=nowhere")
    assert "where" in str(problem)
    every = await ok(site, "GET", "/recalls/R-1/units")
    assert [each["serial"] for each in every["units"]] == [f"A0{number}" for number in range(1, 8)]


async def test_a_unit_with_several_keys_counts_once_by_any_of_them(site: "Site") -> None:
    await site.start("api")
    await scanned(site, [site.scan("A01")], [site.scan("B01")], [site.scan("B02")])
    for key, serial, joined in (
        (PHONE, PHONE[5:], "A01"),  # meant by both of its keys
        ("imei:49015420323752", "49015420323752", "B01"),  # by the other one alone
        ("sn:X.1", "1", "B02"),  # by none
    ):
        site.execute(
            "INSERT INTO unit (unit, serial, version, joined) VALUES (%s, %s, 1, %s)",
            key,
            serial,
            site.unit(joined),
        )
    # joined into one that was itself joined
    site.execute(
        "INSERT INTO unit (unit, serial, version, joined) VALUES ('vin:V', 'V9', 1, 'sn:X.1')"
    )
    listing = {"kind": "list", "serials": [PHONE[5:], "49015420323752", "A01"]}
    await ok(site, "POST", "/recalls", json=RECALL | {"selectors": [listing]})
    told = await ok(site, "GET", "/recalls/R-1/preview")
    assert (told["units"], told["on_site"], told["never_seen"]["listed"]) == (2, 2, 0)
    page = await ok(site, "GET", "/recalls/R-1/units?where=on_site")
    assert [each["serial"] for each in page["units"]] == ["A01", "B01"]
    far = {"kind": "list", "serials": ["V9"]}
    await ok(site, "PUT", "/recalls/R-1", json=without_id(RECALL) | {"selectors": [far]})
    page = await ok(site, "GET", "/recalls/R-1/units?where=on_site")
    assert [each["serial"] for each in page["units"]] == ["B02"]


def without_id(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "id"}


async def test_what_nobody_told_of_a_unit_is_for_a_person_to_decide(site: "Site") -> None:
    await site.start("api")
    day = date(2026, 1, 7)
    await scanned(
        site,
        [site.scan("A01", lot="L7", produced_on=day)],
        [site.scan("A02", lot="L8", produced_on=day)],
        [site.scan("A03"), shipping(site, "A03", 1, "SO-1")],
        [site.scan("A04")],
    )
    # its other key tells the lot
    site.execute(
        "INSERT INTO unit (unit, product, serial, version, joined, lot)"
        " VALUES ('sn:X.1', %s, '1', 1, %s, 'L7')",
        GTIN,
        site.unit("A04"),
    )
    lots = {"kind": "lot", "lots": ["L7"]}
    await ok(site, "POST", "/recalls", json=RECALL | {"selectors": [lots]})
    told = await ok(site, "GET", "/recalls/R-1/preview")
    assert (told["units"], told["on_site"], told["undecided"]) == (2, 2, 1)
    page = await ok(site, "GET", "/recalls/R-1/units?where=undecided")
    assert [(each["serial"], each["phase"]) for each in page["units"]] == [("A03", "shipped")]
    every = (await ok(site, "GET", "/recalls/R-1/units"))["units"]
    assert {each["serial"]: each["is_undecided"] for each in every} == {
        "A01": False,
        "A03": True,
        "A04": False,
    }
    page = await ok(site, "GET", "/recalls/R-1/units?where=on_site")
    assert [each["serial"] for each in page["units"]] == ["A01", "A04"]
    assert (page["units"][0]["lot"], page["units"][0]["produced_on"]) == ("L7", "2026-01-07")


async def test_what_was_scanned_before_its_product_came_to_fold_case_is_of_the_recall(
    site: "Site",
) -> None:
    await site.start("api")
    late, other = "sn:PUMP-7.ab01", "sn:PUMP-8.ab01"
    await ok(site, "PUT", "/products/PUMP-7", json={"name": "Pump", "fold_case": True})
    for key in (late, other, "sn:PUMP-7.aB05"):  # their scans came after that
        product, serial = key.removeprefix("sn:").split(".")
        site.execute(
            "INSERT INTO unit (unit, product, serial, version, phase, since, seen_at)"
            " VALUES (%s, %s, %s, 1, 'shipped', now(), now())",
            key,
            product,
            serial,
        )
    listing = {"kind": "list", "serials": ["AB01", "ab05", "AB99"]}
    pumps = {"products": ["PUMP-7", "PUMP-8"], "selectors": [listing, *RECALL["selectors"]]}
    ranged = {"kind": "range", "low": "AB01", "high": "AB09"}
    await ok(site, "POST", "/recalls", json=RECALL | pumps)
    await ok(site, "POST", "/recalls", json=RECALL | pumps | {"id": "R-2", "selectors": [ranged]})
    told = await ok(site, "GET", "/recalls/R-1/preview")
    assert (told["units"], told["shipped"]["units"], told["never_seen"]["listed"]) == (2, 2, 1)
    told = await ok(site, "GET", "/recalls/R-2/preview")
    assert (told["units"], told["never_seen"]["ranges"][0]["never_seen"]) == (2, 7)
    page = await ok(site, "GET", "/recalls/R-1/units")
    assert [each["unit"] for each in page["units"]] == ["sn:PUMP-7.aB05", late]
    page = await ok(site, "GET", "/recalls/R-1/never-seen")
    assert [each["serial"] for each in page["never_seen"]] == ["AB99"]
    await ok(site, "POST", "/recalls/R-1/activate")
    for key, recalls in ((late, ["R-1"]), (other, []), ("sn:PUMP-7.aB05", ["R-1"])):
        warranty = await ok(site, "GET", f"/units/{key}/warranty")
        assert (warranty["unit"], warranty["recalls"]) == (key, recalls)
    # people name it as they read it
    await ok(site, "PUT", f"/holds/{late}/seal", json={"text": "seal broken"})
    for path in (f"/?q={late}", "/page/check/lines"):
        more = {"data": {"codes": late}} if path.endswith("lines") else {}
        screen = (await site.ask("POST" if more else "GET", path, **more)).text
        assert "R-1" in screen, path
    assert "seal broken" in (await site.ask("GET", f"/?q={late}")).text
    for path, name in (("notified", "notified"), ("remedied", "remedied")):
        said = await ok(site, "POST", f"/recalls/R-1/{path}", json={"units": [late]})
        assert said["units"] == 1
        assert (await ok(site, "GET", "/recalls/R-1/reach"))[name] == 1
    query = "SELECT document -> 'cleared' -> 0 ->> 'recall' FROM hold WHERE id = %s"
    assert site.rows(query, late) == [("R-1",)]
    await refused(site, 409, "POST", "/recalls/R-1/remedied", json={"units": [other]})
    # what holds it under either key is told and taken back by its one name
    desk = {"id": late, "reasons": [{"id": "lot", "text": "by its lot"}], "version": 9}
    site.execute("UPDATE hold SET document = %s WHERE id = %s", json.dumps(desk), late)
    held = await ok(site, "GET", f"/holds/{late}")
    assert [each["id"] for each in held["reasons"]] == ["seal", "lot"]
    await ok(site, "DELETE", f"/holds/{late}/lot")
    held = await ok(site, "GET", f"/holds/{late}")
    assert [each["id"] for each in held["reasons"]] == ["seal"]
    site.execute(
        "INSERT INTO alert (id, kind, severity, unit, event_id, event_time, status, text)"
        " VALUES ('a-1', 'recalled_already_shipped', 'critical', %s, 'e', now(), 'open', 't')",
        late,
    )
    found = await ok(site, "GET", f"/alerts?unit={late}")
    assert [each["id"] for each in found["alerts"]] == ["a-1"]


async def test_of_more_ranges_than_are_counted_the_first_are_told(
    site: "Site", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recall_counts, "RANGES_MAX", 2)
    await site.start("api")
    ranges = [{"kind": "range", "low": f"{n}0", "high": f"{n}9"} for n in range(1, 4)]
    await ok(site, "POST", "/recalls", json=RECALL | {"selectors": ranges})
    told = (await ok(site, "GET", "/recalls/R-1/preview"))["never_seen"]["ranges"]
    assert [each["low"] for each in told] == ["10", "20"]


async def test_a_range_is_told_once_in_however_many_spellings_keys_have_it(site: "Site") -> None:
    """One of IMEIs is that of their keys, one of VINs has each check digit."""
    await site.start("api")
    site.execute(
        "INSERT INTO unit (unit, serial, version, phase) VALUES"
        " ('imei:49015420323751', '49015420323751', 1, 'on_site'),"
        " ('vin:1HGCM826X3A004353', '1HGCM826X3A004353', 1, 'on_site'),"
        " ('vin:1HGCM82633A004352', '1HGCM82633A004352', 1, 'on_site')"
    )
    ranges = [
        {"kind": "range", "low": "490154203237000", "high": "490154203237999"},
        {"kind": "range", "low": "1HGCM826*3A004352", "high": "1HGCM826*3A004361"},
    ]
    await ok(site, "POST", "/recalls", json=RECALL | {"products": [], "selectors": ranges})
    told = await ok(site, "GET", "/recalls/R-1/preview")
    assert told["on_site"] == 3
    counts = [(each["numbers"], each["never_seen"]) for each in told["never_seen"]["ranges"]]
    assert counts == [(100, 99), (10, 8)]


async def test_a_draft_without_clauses_means_nothing(site: "Site") -> None:
    await site.start("api")
    await scanned(site, [site.scan("A01")])
    await ok(site, "POST", "/recalls", json=RECALL | {"selectors": []})
    told = await ok(site, "GET", "/recalls/R-1/preview")
    assert (told["units"], told["never_seen"]) == (0, {"listed": 0, "ranges": []})


@pytest.mark.parametrize("path", ["preview", "units?where=gone", "never-seen", "reach"])
async def test_of_a_recall_that_is_not_there_nothing_is_told(site: "Site", path: str) -> None:
    await site.start("api")
    await refused(site, 404, "GET", f"/recalls/R-9/{path}")


async def test_what_takes_too_long_is_told_so(
    site: "Site", monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.start("api")
    await ok(site, "POST", "/recalls", json=RECALL | {"products": []})
    site.execute(
        "INSERT INTO unit (unit, serial, version, phase)"
        " SELECT 'sn:P.' || n, 'A' || n, 1, 'on_site' FROM generate_series(1, 30000) n"
    )
    monkeypatch.setattr(recall_counts, "COUNT_S_MAX", 0.001)
    answer = await site.ask("GET", "/recalls/R-1/preview")
    assert (answer.status_code, answer.json()["title"]) == (503, "Takes too long")
    assert answer.headers["retry-after"] == "30"


# --------------------------------------------------------------------------------------- reach


async def activated(site: "Site") -> datetime:
    """As of noon and ten minutes: scans of tests are of about then."""
    await ok(site, "POST", "/recalls", json=RECALL | {"status": "active"})
    at = site.scan("A01", 10).event_time
    site.execute("UPDATE recall_version SET at = %s", at)
    return at


async def test_reach_is_counted_by_who_was_notified_what_came_back_and_was_mended(
    site: "Site",
) -> None:
    await entered(site)
    at = await activated(site)
    told = await ok(site, "GET", "/recalls/R-1/reach")
    assert datetime.fromisoformat(told.pop("active_since")) == at
    assert told == {
        "recall": "R-1",
        "version": 1,
        "to_reach": 4,
        "notified": 0,
        "returned": 0,
        "remedied": 0,
        "remedied_here": 0,
        "share": {"notified": 0, "returned": 0, "remedied": 0},
    }
    one = {"units": [site.barcode("A03")], "note": "by letter"}
    assert await ok(site, "POST", "/recalls/R-1/notified", json=one) == {
        "recall": "R-1",
        "units": 1,
        "left": 0,
    }
    assert (await ok(site, "GET", "/recalls/R-1/reach"))["share"]["notified"] == 0.25
    every = {"all_shipped": True}
    assert (await ok(site, "POST", "/recalls/R-1/notified", json=every))["units"] == 4
    back = site.scan("A04", 20, business_step=BusinessStep.RETURNING)
    again = site.scan("A07", 20, business_step=BusinessStep.RETURNING)
    await scanned_further(site, shipping(site, "A04", 3, "SO-2"), delivered(site, "A04", 9), back)
    await scanned_further(
        site, shipping(site, "A07", 7, "SO-3"), again, shipping(site, "A07", 30, "SO-3")
    )
    # came back before it became active
    await scanned_further(
        site,
        site.scan("A09"),
        shipping(site, "A09", 1, "SO-1"),
        site.scan("A09", 2, business_step=BusinessStep.RETURNING),
        site.scan("A09", 30, business_step=BusinessStep.STORING, business_location="Hall C"),
    )
    mended = {"units": [site.unit("A04"), site.unit("A01")]}
    await ok(site, "POST", "/recalls/R-1/remedied", json=mended)
    told = await ok(site, "GET", "/recalls/R-1/reach")
    assert {name: told[name] for name in ("to_reach", "notified", "returned", "remedied")} == {
        "to_reach": 4,
        "notified": 4,
        "returned": 2,
        "remedied": 1,
    }
    assert (told["remedied_here"], told["share"]["returned"]) == (1, 0.5)
    here = (await ok(site, "GET", "/recalls/R-1/units?where=on_site"))["units"]
    assert {each["serial"]: each["returned"] for each in here} == {
        "A01": False,
        "A02": False,
        "A04": True,
        "A09": False,
    }
    assert [each["serial"] for each in here if each["remedied_at"]] == ["A01", "A04"]
    assert all(each["notified_at"] for each in here if each["serial"] == "A04")


async def scanned_further(site: "Site", *scans: Scan) -> None:
    """The scans of one unit, the first of which may be there already."""
    first = [site.scan(scans[0].event_id.partition("-")[0])]
    every = [*first, *scans] if scans[0].business_step is not BusinessStep.RECEIVING else scans
    for movement in site.movements(*every):
        await site.put_movement(movement, scans[0].unit)
    query = "SELECT count(*) FROM movement WHERE unit = %s"
    await site.until(lambda: site.rows(query, scans[0].unit) == [(len(every),)])


async def test_a_remedied_unit_is_cleared_and_taken_back_it_is_not(site: "Site") -> None:
    await site.start("api")
    await scanned(site, [site.scan("A01")])
    await activated(site)
    unit = site.unit("A01")
    since = datetime.now(UTC) - timedelta(days=1)
    held = {
        "id": unit,
        "version": 1,
        "reasons": [
            {"id": "recall/R-1", "text": "its lot", "since": since.isoformat(), "recall": "R-1"},
            {"id": "inspection", "text": "seal broken", "since": since.isoformat()},
        ],
        "cleared": [],
    }
    site.execute("INSERT INTO hold VALUES (%s, 1, %s::jsonb)", unit, json.dumps(held))
    one = {"units": [unit], "note": "new battery"}
    await ok(site, "POST", "/recalls/R-1/remedied", json=one)
    log = await site.log(Topic.HOLDS)
    told = holds.decode((await log.until(1))[-1].value)
    assert told.cleared == (Clearance(recall="R-1"),)
    assert [reason.id for reason in told.reasons] == ["inspection"]
    await ok(site, "POST", "/recalls/R-1/remedied", json=one)  # once more: no other record
    await ok(site, "POST", "/recalls/R-1/remedied", json=one | {"take_back": True})
    told = holds.decode((await log.until(2))[-1].value)
    assert told.cleared == ()
    assert (await ok(site, "GET", "/recalls/R-1/reach"))["remedied_here"] == 0
    found = site.rows("SELECT entity, reference, new_version FROM audit ORDER BY number")
    assert found[1:] == [
        ("recall_reach", "R-1", None),
        ("hold", unit, 2),
        ("recall_reach", "R-1", None),
        ("recall_reach", "R-1", None),
        ("hold", unit, 3),
    ]


async def test_all_that_were_shipped_are_remedied_some_at_a_time(
    site: "Site", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recall_reach, "UNITS_MAX", 3)
    await entered(site)
    await activated(site)
    every = {"all_shipped": True}
    told = [await ok(site, "POST", "/recalls/R-1/remedied", json=every) for _ in range(3)]
    assert [(each["units"], each["left"]) for each in told] == [(3, 1), (1, 0), (0, 0)]
    back = [
        await ok(site, "POST", "/recalls/R-1/remedied", json=every | {"take_back": True})
        for _ in range(2)
    ]
    assert [(each["units"], each["left"]) for each in back] == [(3, 1), (1, 0)]
    assert (await ok(site, "POST", "/recalls/R-1/notified", json=every))["units"] == 4
    taken = await ok(site, "POST", "/recalls/R-1/notified", json=every | {"take_back": True})
    assert taken["units"] == 4
    assert (await ok(site, "GET", "/recalls/R-1/reach"))["notified"] == 0


async def test_a_unit_is_not_cleared_of_more_recalls_than_a_record_holds(
    site: "Site", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recall_reach, "CLEARED_MAX", 1)
    await site.start("api")
    await scanned(site, [site.scan("A01")])
    await activated(site)
    await ok(site, "POST", "/recalls", json=RECALL | {"id": "R-2", "status": "active"})
    one = {"units": [site.unit("A01")]}
    await ok(site, "POST", "/recalls/R-1/remedied", json=one)
    problem = await refused(site, 409, "POST", "/recalls/R-2/remedied", json=one)
    assert "take some back" in problem["detail"]


async def test_what_is_no_unit_of_the_recall_is_not_reached(site: "Site") -> None:
    await site.start("api")
    await scanned(site, [site.scan("A01")], [site.scan("B01")])
    await ok(site, "POST", "/recalls", json=RECALL)
    one = {"units": [site.unit("A01")]}
    for path in ("/recalls/R-1/notified", "/recalls/R-1/remedied"):
        problem = await refused(site, 409, "POST", path, json=one)
        assert problem["title"] == "Draft"
    await ok(site, "POST", "/recalls/R-1/activate")
    for path in ("/recalls/R-1/notified", "/recalls/R-1/remedied"):
        for units in (["B01"], ["A02"]):
            asked = {"units": [site.unit("A01"), *map(site.unit, units)]}
            problem = await refused(site, 409, "POST", path, json=asked)
            assert (problem["field"], problem["title"]) == ("units[1]", "Not of the recall")
        for body, field in (
            ({}, "units"),
            (one | {"all_shipped": True}, "units"),
            ({"units": ["?"]}, "units[0]"),
            (one | {"note": " "}, "note"),
            ({"units": [site.unit("A01")] * 1001}, "units"),
        ):
            problem = await refused(site, 400, "POST", path, json=body)
            assert problem["field"] == field
        await refused(site, 412, "POST", path, json=one, headers={"If-Match": '"1"'})
    assert site.rows("SELECT count(*) FROM recall_reach") == [(0,)]
