"""Products over the API, through a real gateway, alerter and projector: policies with their dates,
folded case, serials minted here, what a person types, and alerts by policy."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from integration.conftest import GTIN, NOON
from scantrail.contracts.minting import is_minted, minted_serial
from scantrail.contracts.records import alerts, decode_scan, products, recalls, rejected_reads
from scantrail.contracts.topics import Topic
from scantrail.domain.product import Serials, policy_at
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra.database import FOLDING_LOCK

if TYPE_CHECKING:
    from integration.conftest import Site

PUMP = "/products/PUMP-7"
READER = 'id = "r1"\nstation = "dock-1"\nprotocol = "http-generic"'
RECALL = {
    "title": "Battery",
    "reason": "may overheat",
    "selectors": [{"kind": "list", "serials": ["ab1"]}],
}


async def ok(site: "Site", method: str, path: str, status: int = 200, **more: Any) -> Any:
    answer = await site.ask(method, path, **more)
    assert answer.status_code == status, answer.text
    return answer.json()


async def refused(site: "Site", status: int, method: str, path: str, **more: Any) -> Any:
    answer = await site.ask(method, path, **more)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.json()


async def known(site: "Site", *keys: str) -> None:
    """Let units be known, as the tracker and the projector make them."""
    for number, key in enumerate(keys):
        scan = replace(site.scan("x", event_id=f"known {key}", minute=number), unit=key)
        (movement,) = site.movements(scan)
        await site.put_movement(movement, key)
    await site.until(
        lambda: (
            len(site.rows("SELECT unit FROM unit WHERE unit = ANY(%s)", list(keys))) == len(keys)
        )
    )


# ---------------------------------------------------------------------------------- policies


async def test_a_policy_changes_with_its_date_and_the_one_before_stays(site: "Site") -> None:
    await site.start("api")
    now = datetime.now(UTC)
    june, planned = now - timedelta(days=30), now + timedelta(days=30)
    first = await ok(site, "PUT", PUMP, json={"name": "Pump", "serials": "not_used"})
    assert (first["valid_from"], first["policies"]) == (None, [])
    same = await ok(site, "PUT", PUMP, json={"name": "Pump 7", "serials": "not_used"})
    assert (same["policies"], same["name"], same["version"]) == ([], "Pump 7", 2)
    body = {"name": "Pump 7", "serials": "mandatory"}
    later = body | {"valid_from": planned.isoformat(), "captured": "shipping"}
    told = await ok(site, "PUT", PUMP, json=later)
    assert [each["serials"] for each in told["policies"]] == ["not_used", "mandatory"]
    # what is planned does not hold yet
    assert (told["serials"], (await ok(site, "GET", PUMP))["serials"]) == ("not_used", "not_used")
    told = await ok(site, "PUT", PUMP, json=body | {"valid_from": june.isoformat()})
    assert (told["serials"], len(told["policies"])) == ("mandatory", 3)
    mended = body | {"serials": "optional", "valid_from": june.isoformat()}
    told = await ok(site, "PUT", PUMP, json=mended)
    assert [each["serials"] for each in told["policies"]] == ["not_used", "optional", "mandatory"]
    history = (await ok(site, "GET", f"{PUMP}/policies"))["policies"]
    assert [(each["version"], each["serials"], each["counts"]) for each in history] == [
        (1, "not_used", True),
        (3, "mandatory", True),
        (4, "mandatory", False),
        (5, "optional", True),
    ]
    page = await ok(site, "GET", f"{PUMP}/policies?limit=3")
    (last,) = (await ok(site, "GET", f"{PUMP}/policies?cursor={page['next']}"))["policies"]
    assert last["version"] == 5
    (listed,) = (await ok(site, "GET", "/products"))["products"]
    assert listed["serials"] == "optional"
    record = (await (await site.log(Topic.PRODUCTS)).until(5))[-1]
    product = products.decode(record.value)
    at = [june - timedelta(days=1), june, now, planned]
    assert [policy_at(product, moment).serials for moment in at] == [
        Serials.NOT_USED,
        Serials.OPTIONAL,
        Serials.OPTIONAL,
        Serials.MANDATORY,
    ]


async def test_a_policy_of_now_begins_now(site: "Site") -> None:
    await site.start("api")
    await ok(site, "PUT", PUMP, json={"name": "Pump", "serials": "not_used"})
    before = datetime.now(UTC)
    told = await ok(site, "PUT", PUMP, json={"name": "Pump"})
    after = datetime.now(UTC)
    assert told["serials"] == "mandatory"
    since = datetime.fromisoformat(told["valid_from"])
    assert before <= since <= after
    assert [each["valid_from"] for each in told["policies"]] == [None, told["valid_from"]]
    again = await ok(site, "PUT", PUMP, json={"name": "Pump"})
    assert again["policies"] == told["policies"]
    assert site.rows("SELECT count(*) FROM product_policy") == [(2,)]


NO_POLICIES: list[tuple[dict[str, Any], str]] = [
    ({"valid_from": "2026-06-01T00:00:00"}, "valid_from"),
    ({"valid_from": "1969-06-01T00:00:00Z"}, "valid_from"),
    ({"serial_missing": "loud"}, "serial_missing"),
    ({"serial_formats": ["AB-##", "no blank"]}, "serial_formats[1]"),
    ({"serial_formats": ["ab-##"], "fold_case": True}, "serial_formats[0]"),
    ({"serial_formats": [f"A{n:02}" for n in range(21)]}, "serial_formats"),
]


async def test_what_is_no_policy_is_refused_by_its_field(
    site: "Site", subtests: pytest.Subtests
) -> None:
    await site.start("api")
    for body, field in NO_POLICIES:
        with subtests.test(body=body):
            assert (await refused(site, 400, "PUT", PUMP, json={"name": "Pump"} | body))[
                "field"
            ] == field
            await refused(site, 404, "GET", f"{PUMP}/policies")
            for list_ in ("policies", "serials"):
                cursor = "WyJwb2xpY2llcyIsIngiXQ" if list_ == "policies" else "WyJzZXJpYWxzIiwieCJd"
                path = f"{PUMP}/{list_}?cursor={cursor}"
                assert (await refused(site, 400, "GET", path))["field"] == "cursor"


# ---------------------------------------------------------------------------------- folding


async def test_one_unit_is_read_recalled_held_and_found_in_whatever_case(site: "Site") -> None:
    await site.put_station(site.station("dock-1", business_step=BusinessStep.SHIPPING))
    site.readers(READER)
    for name in ("api", "projector", "gateway", "alerter"):
        await site.start(name)
    folding = {"name": "Phone", "fold_case": True}
    await ok(site, "PUT", f"/products/{GTIN}", json=folding)
    told = await ok(site, "PUT", "/recalls/R-1", json=RECALL | {"products": [GTIN]})
    assert [each["serials"] for each in told["selectors"]] == [["ab1"], ["AB1"]]
    record = (await (await site.log(Topic.RECALLS)).until(1))[0]
    assert recalls.decode(record.value).selectors[1].serials == ("AB1",)
    unit = f"sgtin:{GTIN}.AB1"
    held = await ok(
        site, "PUT", f"/holds/{GTIN.join(('sgtin:', '.aB1'))}/seal", json={"text": "seal broken"}
    )
    assert held["id"] == unit
    for serial in ("ab1", "Ab1", "AB1"):
        taken = await site.read("r1", {"code": f"01{GTIN}21{serial}"})
        assert taken.json() == {"accepted": 1, "rejected": []}
    records = await (await site.log(Topic.SCANS)).until(3)
    scans = [decode_scan(each.key, each.value) for each in records]
    assert {scan.unit for scan in scans} == {unit}
    (movement,) = site.movements(scans[0])
    await site.put_movement(movement, unit)
    raised = [alerts.decode(r.value) for r in await (await site.log(Topic.ALERTS)).until(2)]
    assert {(each.kind, each.unit) for each in raised} == {
        ("recalled_at_shipping", unit),
        ("held_at_shipping", unit),
    }
    await site.until(lambda: site.rows("SELECT * FROM unit"))
    for spelling in (f"01{GTIN}21aB1", f"sgtin:{GTIN}.ab1", unit, "ab1", "AB1"):
        assert (await ok(site, "GET", f"/units/{spelling}"))["unit"] == unit


async def test_a_scan_that_waited_while_its_product_came_to_fold_is_recalled_and_found(
    site: "Site",
) -> None:
    for name in ("api", "projector"):
        await site.start(name)
    await ok(site, "PUT", f"/products/{GTIN}", json={"name": "Phone", "fold_case": True})
    capitals = {"selectors": [{"kind": "list", "serials": ["AB1"]}], "products": [GTIN]}
    await ok(site, "PUT", "/recalls/R-1", json=RECALL | capitals)
    await site.start("alerter")
    late = site.scan("ab1", business_step=BusinessStep.SHIPPING)
    (movement,) = site.movements(late)
    await site.put_movement(movement, late.unit)
    (raised,) = await (await site.log(Topic.ALERTS)).until(1)
    assert alerts.decode(raised.value).kind == "recalled_at_shipping"
    await site.until(lambda: site.rows("SELECT * FROM unit"))
    assert (await ok(site, "GET", f"/units/01{GTIN}21ab1"))["unit"] == late.unit


async def test_case_is_not_folded_while_units_or_recalls_would_be_missed(site: "Site") -> None:
    for name in ("api", "projector"):
        await site.start(name)
    path, folding = f"/products/{GTIN}", {"name": "Phone", "fold_case": True}
    await ok(site, "PUT", path, json={"name": "Phone"})
    await known(site, f"sgtin:{GTIN}.ab1", f"sgtin:{GTIN}.CD2")
    problem = await refused(site, 409, "PUT", path, json=folding)
    assert (problem["field"], f"sgtin:{GTIN}.ab1:" in problem["detail"]) == ("fold_case", True)
    assert "CD2" not in problem["detail"]
    ids = {"ids": [f"sgtin:{GTIN}.ab1", f"sgtin:{GTIN}.AB1"], "unit": f"sgtin:{GTIN}.AB1"}
    await ok(site, "PUT", "/identifiers", json=ids | {"merge": True})
    await ok(site, "PUT", f"/holds/sgtin:{GTIN}.ef3/seal", json={"text": "seal broken"})
    problem = await refused(site, 409, "PUT", path, json=folding)
    assert f"sgtin:{GTIN}.ef3:" in problem["detail"]
    await ok(site, "DELETE", f"/holds/sgtin:{GTIN}.ef3/seal")
    site.execute("DELETE FROM hold")
    await ok(site, "PUT", "/recalls/R-1", json=RECALL)
    await ok(site, "PUT", "/recalls/R-2", json=RECALL | {"products": ["OTHER-1"]})
    lots = [{"kind": "list", "serials": ["A-7"]}]
    await ok(site, "PUT", "/recalls/R-3", json=RECALL | {"selectors": lots})
    problem = await refused(site, 409, "PUT", path, json=folding)
    assert problem["detail"].startswith("R-1 names serials in small letters")
    await ok(site, "PUT", "/recalls/R-1", json=RECALL | {"status": "closed"})
    await ok(site, "PUT", path, json=folding)
    assert (await ok(site, "GET", f"/units/01{GTIN}21ab1"))["unit"] == f"sgtin:{GTIN}.ab1"
    problem = await refused(site, 409, "PUT", path, json={"name": "Phone"})
    assert "leave fold_case as it is" in problem["detail"]
    # a product that nothing is known of folds, and ceases to
    await ok(site, "PUT", PUMP, json=folding)
    await ok(site, "PUT", PUMP, json={"name": "Pump"})


async def test_what_is_entered_while_a_product_comes_to_fold_case_is_told_again(
    site: "Site",
) -> None:
    await site.start("api")
    await ok(site, "PUT", PUMP, json={"name": "Pump"})
    held = {"text": "inspection 7"}
    with psycopg.connect(site.settings.database_url) as other:  # as a PUT of another api
        other.execute("SELECT pg_advisory_xact_lock(%s)", [FOLDING_LOCK])
        holding = asyncio.create_task(site.ask("PUT", "/holds/sn:PUMP-7.ab1/quality", json=held))
        waits = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        await site.until(lambda: site.rows(waits))
        other.execute("UPDATE product SET fold_case = true")
    answer = await holding
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "came to fold case meanwhile" in answer.text
    assert site.rows("SELECT id FROM hold") == []
    assert (await site.ask("PUT", "/holds/sn:PUMP-7.ab1/quality", json=held)).is_success
    assert site.rows("SELECT id FROM hold") == [("sn:PUMP-7.AB1",)]


async def test_a_unit_that_is_written_while_its_product_comes_to_fold_case_is_looked_at(
    site: "Site",
) -> None:
    await site.start("projector")
    site.execute("INSERT INTO product (id, version, document) VALUES ('PUMP-7', 1, '{}')")
    scan = site.scan("1", 0, unit="sn:PUMP-7.ab1")
    (movement,) = site.movements(scan)
    with psycopg.connect(site.settings.database_url) as other:  # as a PUT of an api
        other.execute("SELECT pg_advisory_xact_lock(%s)", [FOLDING_LOCK])
        await site.put_movement(movement, scan.unit)
        waits = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        await site.until(lambda: site.rows(waits))
        other.execute("UPDATE product SET fold_case = true")
    await site.until(lambda: site.rows("SELECT unit FROM unit") == [(scan.unit,)])
    assert site.rows("SELECT unit, is_stale FROM recall_unit") == [(scan.unit, True)]


async def test_a_notice_and_opening_stock_are_of_the_folded_unit(site: "Site") -> None:
    await site.put_station(site.station("stock", business_step=BusinessStep.STOCK_TAKING))
    for name in ("api", "gateway"):
        await site.start(name)
    await ok(site, "PUT", f"/products/{GTIN}", json={"name": "Phone", "fold_case": True})
    lines = [{"product": GTIN, "serials": ["ab1"], "ranges": [{"low": "cd1", "high": "cd2"}]}]
    body = {"supplier": "acme", "site": "north", "lines": lines}
    await ok(site, "PUT", "/parties/acme", json={"name": "Acme", "address": "1 Dock Road"})
    await ok(site, "PUT", "/advance-notices/ASN-1", json=body)
    told = site.rows("SELECT unit FROM advance_notice_unit ORDER BY 1")
    assert [unit for (unit,) in told] == [f"sgtin:{GTIN}.{s}" for s in ("AB1", "CD1", "CD2")]
    twice = body | {"lines": [{"product": GTIN, "serials": ["ab1", "AB1"]}]}
    problem = await refused(site, 400, "PUT", "/advance-notices/ASN-2", json=twice)
    assert "is announced by line 1 already" in problem["detail"]
    csv = f"product,serial\n{GTIN},ab9\n{GTIN},AB9\n"
    asked = {"station": "stock", "at": NOON.isoformat()}
    told = await ok(site, "POST", "/stock/b1/csv", params=asked, content=csv)
    assert (told["accepted"], [each["line"] for each in told["rejected"]]) == (1, [3])
    (record,) = await (await site.log(Topic.SCANS)).until(1)
    assert record.key.decode() == f"sgtin:{GTIN}.AB9"


# ---------------------------------------------------------------------------------- minted


async def test_serials_are_minted_once_whatever_is_asked_at_once_and_after_a_restart(
    site: "Site",
) -> None:
    running = await site.start("api")
    await site.start("projector")
    await ok(site, "PUT", "/products/RING-9", json={"name": "Ring", "minted": True})
    serials = "/products/RING-9/serials"
    every = await asyncio.gather(
        *(ok(site, "POST", serials, 201, json={"count": 20}) for _ in range(5))
    )
    await site.stop(running)
    await site.start("api")
    again = {"Idempotency-Key": "k-1"}
    every.append(await ok(site, "POST", serials, 201, json={"count": 5}, headers=again))
    told = [each for part in every for each in part["serials"]]
    assert len({each["serial"] for each in told}) == 105
    assert all(is_minted(each["serial"]) for each in told)
    assert {each["number"] for each in told} == set(range(1, 106))
    retried = await ok(site, "POST", serials, 201, json={"count": 5}, headers=again)
    assert retried["serials"] == every[-1]["serials"]
    page = await ok(site, "GET", f"{serials}?limit=100")
    rest = await ok(site, "GET", f"{serials}?limit=100&cursor={page['next']}")
    assert len(page["serials"]) + len(rest["serials"]) == 105
    labels = await site.ask("GET", every[-1]["labels"])
    assert labels.headers["content-type"].startswith("text/plain")
    assert labels.text.count("^XA") == 5
    assert all(f"^FDsn:RING-9.{each['serial']}^FS" in labels.text for each in retried["serials"])
    # one that somebody scanned as this product's already is none that is given to another
    last = max(told, key=lambda each: each["number"])
    following = (await ok(site, "POST", serials, 201, json={"count": 1}))["serials"][0]
    assert following["number"] == last["number"] + 1
    site.execute("DELETE FROM minted_serial WHERE number > 105")
    await known(site, following["unit"])
    told = (await ok(site, "POST", serials, 201, json={"count": 1}))["serials"]
    assert [each["number"] for each in told] == [following["number"] + 1]


async def test_a_serial_that_is_announced_or_linked_is_given_to_no_other(site: "Site") -> None:
    await site.start("api")
    await ok(site, "PUT", "/products/RING-9", json={"name": "Ring", "minted": True})
    second, third = (f"sn:RING-9.{minted_serial(number)}" for number in (2, 3))
    line = {"product": "RING-9", "serials": [minted_serial(1)]}
    notice = {"supplier": "maker", "site": "north", "lines": [line]}
    await ok(site, "PUT", "/advance-notices/N-1", json=notice)
    await ok(site, "PUT", "/identifiers", json={"ids": [second, "imei:49015420323751"]})
    told = await ok(site, "POST", "/products/RING-9/serials", 201, json={"count": 1})
    assert [each["unit"] for each in told["serials"]] == [third]


async def test_what_cannot_be_minted_is_refused(site: "Site") -> None:
    await site.start("api")
    await refused(site, 404, "POST", f"{PUMP}/serials", json={"count": 1})
    await ok(site, "PUT", PUMP, json={"name": "Pump"})
    problem = await refused(site, 409, "POST", f"{PUMP}/serials", json={"count": 1})
    assert (problem["field"], "PUT it with `minted`" in problem["detail"]) == ("minted", True)
    await ok(site, "PUT", PUMP, json={"name": "Pump", "minted": True})
    for count in (0, 1001):
        problem = await refused(site, 400, "POST", f"{PUMP}/serials", json={"count": count})
        assert problem["field"] == "count"
    await refused(site, 404, "GET", f"{PUMP}/labels?first=1")
    assert (await refused(site, 400, "GET", f"{PUMP}/labels?count=0"))["field"] == "count"
    assert (await refused(site, 400, "GET", f"{PUMP}/labels?first=-1"))["field"] == "first"


# ---------------------------------------------------------------------------------- keyed


async def test_a_typed_serial_that_is_near_to_known_ones_is_taken_once_it_is_confirmed(
    site: "Site",
) -> None:
    await site.put_station(site.station("dock-1"))
    for name in ("api", "projector", "gateway"):
        await site.start(name)
    await ok(site, "PUT", "/stations/dock-1", json={"site": "north", "business_step": "receiving"})
    await known(site, site.unit("AB1234"), site.unit("ZZ9999"))
    typed = {"code": site.barcode("AB1234"), "station": "dock-1"}
    told = await ok(site, "POST", "/keyed", json=typed)
    assert (told["unit"], told["known"]) == (site.unit("AB1234"), True)
    near = typed | {"code": site.barcode("A8I234")}
    problem = await refused(site, 409, "POST", "/keyed", json=near)
    assert (problem["reason"], problem["candidates"]) == ("near_match", [site.unit("AB1234")])
    far = await ok(site, "POST", "/keyed", json=typed | {"code": site.barcode("QQ4711")})
    assert far["known"] is False
    confirmed = near | {"confirmed": True, "order": "SO-1", "at": NOON.isoformat()}
    told = [await ok(site, "POST", "/keyed", json=confirmed) for _ in range(2)]
    assert told[0]["event_id"] == told[1]["event_id"]
    scans = [
        decode_scan(each.key, each.value) for each in await (await site.log(Topic.SCANS)).until(4)
    ]
    units = {scan.unit for scan in scans}
    assert units == {site.unit(serial) for serial in ("AB1234", "A8I234", "QQ4711")}
    assert all(scan.keyed and scan.reader == "keyed" for scan in scans)
    (scan, _) = [scan for scan in scans if scan.unit == site.unit("A8I234")]
    assert scan.read == site.barcode("A8I234")
    (movement,) = site.movements(scan)
    await site.put_movement(movement, scan.unit)
    await site.until(lambda: site.rows("SELECT 1 FROM unit WHERE unit = %s", scan.unit))
    (row,) = await ok(site, "GET", f"/units/{scan.unit}/trail")
    assert row["keyed"] is True
    (row,) = await ok(site, "GET", f"/units/{site.unit('ZZ9999')}/trail")
    assert row["keyed"] is False


async def test_what_is_announced_is_known_and_what_is_refused_is_told(site: "Site") -> None:
    await site.start("api")
    typed = {"code": site.barcode("AB1234"), "station": "dock-1"}
    assert (await refused(site, 400, "POST", "/keyed", json=typed))["field"] == "station"
    await ok(site, "PUT", "/stations/dock-1", json={"site": "north", "business_step": "receiving"})
    await refused(site, 503, "POST", "/keyed", json=typed)
    await site.start("gateway")
    body = {"name": "Phone", "serial_formats": ["AB####"]}
    await ok(site, "PUT", f"/products/{GTIN}", json=body)
    lines = [{"codes": [site.barcode("AB1234")]}]
    await ok(site, "PUT", "/parties/acme", json={"name": "Acme", "address": "1 Dock Road"})
    notice = {"supplier": "acme", "site": "north", "lines": lines}
    await ok(site, "PUT", "/advance-notices/ASN-1", json=notice)
    near = typed | {"code": site.barcode("AB1235")}
    problem = await refused(site, 409, "POST", "/keyed", json=near)
    assert problem["candidates"] == [site.unit("AB1234")]

    async def taken() -> bool:
        return (await site.ask("POST", "/keyed", json=typed)).status_code == 200

    await site.until(taken)
    odd = typed | {"code": site.barcode("XYZ"), "confirmed": True}

    async def is_refused() -> bool:
        answer = await site.ask("POST", "/keyed", json=odd)
        return answer.status_code == 409 and answer.json()["reason"] == "bad_serial_format"

    await site.until(is_refused)
    for more, field in (
        ({"code": "?"}, "code"),
        ({"order": " x"}, "order"),
        ({"location": ""}, "location"),
        ({"parent": "x" * 257}, "parent"),
        ({"product": "a b"}, "product"),
    ):
        problem = await refused(site, 400, "POST", "/keyed", json=typed | more)
        assert problem["field"] == field


async def test_a_minted_serial_is_near_before_its_unit_is_scanned(site: "Site") -> None:
    await site.start("api")
    ring = {"name": "Ring", "minted": True, "serial_formats": ["$$$$$$$$"]}
    await ok(site, "PUT", "/products/RING-9", json=ring)
    await ok(site, "PUT", "/stations/dock-1", json={"site": "north", "business_step": "receiving"})
    told = await ok(site, "POST", "/products/RING-9/serials", 201, json={"count": 1})
    unit = told["serials"][0]["unit"]
    slipped = unit[:-1] + ("3" if unit[-1] != "3" else "4")
    problem = await refused(
        site, 409, "POST", "/keyed", json={"code": slipped, "station": "dock-1"}
    )
    assert (problem["reason"], problem["candidates"]) == ("near_match", [unit])


async def test_what_a_handheld_says_was_typed_waits_for_a_person(site: "Site") -> None:
    await site.put_station(site.station("dock-1"))
    site.readers(READER)
    for name in ("api", "projector", "gateway"):
        await site.start(name)
    await known(site, site.unit("AB1234"))
    taken = await site.read("r1", {"code": site.barcode("AB1Z34"), "keyed": True})
    assert [each["reason"] for each in taken.json()["rejected"]] == ["keyed_unconfirmed"]
    record = (await (await site.log(Topic.READS_REJECTED)).until(1))[0]
    assert rejected_reads.decode(record.value).keyed

    async def waiting() -> Any:
        return (await ok(site, "GET", "/unidentified"))["unidentified"]

    await site.until(waiting)
    (row,) = await waiting()
    units = [each["unit"] for each in row["candidates"]]
    assert units == [site.unit("AB1Z34"), site.unit("AB1234")]
    path = f"/unidentified/{row['id'].replace('#', '%23')}"
    await ok(site, "POST", path, json={"unit": units[1]})
    (record,) = await (await site.log(Topic.SCANS)).until(1)
    scan = decode_scan(record.key, record.value)
    assert (scan.unit, scan.keyed) == (units[1], True)
    assert await waiting() == []


# ---------------------------------------------------------------------------------- alerts


async def test_missing_and_unexpected_serials_alert_as_the_product_says(site: "Site") -> None:
    await site.put_station(site.station("dock-1"))
    site.readers(READER)
    await site.start("api")
    other = "09506000134369"
    phone = {"name": "Phone", "serial_missing": "critical"}
    await ok(site, "PUT", f"/products/{GTIN}", json=phone)
    await ok(site, "PUT", f"/products/{other}", json={"name": "Case", "serial_missing": "off"})
    for name in ("projector", "gateway", "alerter"):
        await site.start(name)
    for gtin in (other, GTIN):
        taken = await site.read("r1", {"code": f"]C101{gtin}"})
        assert [each["reason"] for each in taken.json()["rejected"]] == ["serial_missing"]
    await site.until(lambda: site.rows("SELECT * FROM alert"))
    told = "SELECT kind, severity, document, status, repeats FROM alert"
    missing = ("serial_missing", "critical", f"product {GTIN}", "open", 0)
    assert site.rows(told) == [missing]
    await ok(site, "POST", "/rejected/replay", json={"reader": "r1"})
    read_again = await (await site.log(Topic.READS_REJECTED)).until(4)
    assert len({rejected_reads.decode(each.value).event_id for each in read_again}) == 2
    unused = {"name": "Phone", "serials": "not_used", "serial_not_expected": "info"}
    await ok(site, "PUT", f"/products/{GTIN}", json=unused)
    past = site.scan("1")  # it was scanned while serials were mandatory
    now = datetime.now(UTC)
    scans = [
        replace(site.scan("2", event_id=f"e{n}", minute=n), event_time=now, record_time=now)
        for n in (1, 2)
    ]
    await site.put_movement(site.movements(past)[0], past.unit)
    for movement in site.movements(*scans):
        await site.put_movement(movement, scans[0].unit)
    records = await (await site.log(Topic.ALERTS)).until(4)
    raised = [alerts.decode(each.value) for each in records]
    assert len({(each.id, each.kind) for each in raised}) == 2
    await site.until(lambda: len(site.rows("SELECT * FROM alert")) == 2)
    unexpected = [row for row in site.rows(told) if row[0] == "serial_not_expected"]
    assert [row[:4] for row in unexpected] == [("serial_not_expected", "info", None, "open")]
    assert missing in site.rows(told)  # read again, it is no repeat
