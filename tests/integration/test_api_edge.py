"""The api through real HTTP, on a real PostgreSQL and a real Kafka."""

import asyncio
import contextlib
import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import psycopg
import pytest

from component.one_partition import Topics
from scantrail.api.outbox import RELAY_LOCK
from scantrail.contracts.records import encode, orders, products, recalls, stations
from scantrail.contracts.topics import Topic
from scantrail.domain.scan import Scan
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra.embedded_postgres import EmbeddedPostgres
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import name_of

if TYPE_CHECKING:
    from integration.conftest import Site

GTIN = "09506000134352"
OTHER_GTIN = "09506000134369"
SHIPPED = {"business_step": BusinessStep.SHIPPING, "business_location": None}
STATION = {"site": "north", "business_step": "receiving"}
ORDER = {"purchaser": {"name": "Ada Byron", "address": "1 Dock Road, York"}}
RECALL = {
    "id": "R-1",
    "title": "Battery",
    "reason": "may overheat",
    "selectors": [{"kind": "list", "serials": ["1"]}],
}
PROBLEM = "application/problem+json"


async def scanned(site: "Site", *scans: Scan) -> None:
    """Have the scans of one unit in the database, by way of the projector."""
    if not any(running.name == "projector" for running in site._running):
        await site.start("projector")
    for movement in site.movements(*scans):
        await site.put_movement(movement, scans[0].unit)
    query = "SELECT count(*) FROM movement WHERE unit = %s"
    await site.until(lambda: site.rows(query, scans[0].unit) == [(len(scans),)])


async def ok(site: "Site", method: str, path: str, **more: Any) -> Any:
    answer = await site.ask(method, path, **more)
    assert answer.status_code in (200, 201), (answer.status_code, answer.text)
    return answer.json()


async def refused(site: "Site", status: int, method: str, path: str, **more: Any) -> Any:
    answer = await site.ask(method, path, **more)
    assert answer.status_code == status, (answer.status_code, answer.text)
    assert answer.headers["content-type"] == PROBLEM
    problem = answer.json()
    assert problem["status"] == status
    assert problem["detail"]
    return problem


async def newest(site: "Site", topic: Topic, count: int) -> Any:
    return (await (await site.log(topic)).until(count))[-1]


# ---------------------------------------------------------------------------------- entities


async def test_a_station_is_entered_changed_published_and_told(site: "Site") -> None:
    await site.start("api")
    full = STATION | {
        "read_point": "left",
        "name": "Dock 1",
        "business_location": "Hall A",
        "disposition": "in_progress",
        "possessing_party": "acme",
        "repeat_window_s": 10,
    }
    first = await ok(site, "PUT", "/stations/dock-1", json=full)
    assert first == full | {"id": "dock-1", "version": 1, "published": True}
    second = await ok(site, "PUT", "/stations/dock-1", json=STATION)
    assert (second["version"], second["read_point"], second["published"]) == (2, "dock-1", True)
    record = await newest(site, Topic.STATIONS, 2)
    assert record.key == b"dock-1"
    assert encode(stations.decode(record.value)) == record.value
    assert stations.decode(record.value).version == 2
    told = await ok(site, "GET", "/stations/dock-1")
    assert told == second
    await ok(site, "PUT", "/stations/a-1", json=STATION)
    assert [each["id"] for each in (await ok(site, "GET", "/stations"))["stations"]] == [
        "a-1",
        "dock-1",
    ]


async def test_a_product_is_one_under_every_length_of_its_gtin(site: "Site") -> None:
    await site.start("api")
    short = GTIN[1:]
    first = await ok(site, "PUT", f"/products/{short}", json={"name": "Phone"})
    assert (first["id"], first["serials"], first["version"]) == (GTIN, "mandatory", 1)
    assert first["steps"] == []
    body = {"name": "Phone", "serials": "not_used", "steps": ["receiving", "shipping"]}
    second = await ok(site, "PUT", f"/products/{GTIN}", json=body)
    assert (second["version"], second["serials"]) == (2, "not_used")
    published = products.decode((await newest(site, Topic.PRODUCTS, 2)).value)
    assert (published.id, published.steps) == (GTIN, ("receiving", "shipping"))
    assert (await ok(site, "GET", f"/products/{short}"))["version"] == 2
    await ok(site, "PUT", "/products/PUMP-7", json={"name": "Pump"})
    assert [each["id"] for each in (await ok(site, "GET", "/products"))["products"]] == [
        GTIN,
        "PUMP-7",
    ]


@pytest.mark.parametrize("ref", ["PO 4711/1", "#1001", "A%2F", "Ö-1", "x" * 128])
async def test_an_order_has_the_reference_that_scans_may_carry(site: "Site", ref: str) -> None:
    await site.start("api")
    await site.start("projector")
    address = f"/orders/{quote(ref, safe='/')}"
    assert (await ok(site, "PUT", address, json=ORDER))["ref"] == ref
    await scanned(site, site.scan("1", order=ref, **SHIPPED))
    told = await ok(site, "GET", f"/units/{site.barcode('1')}")
    assert (told["order"], told["purchaser"]["name"]) == (ref, "Ada Byron")
    assert (await ok(site, "GET", address))["units"] == [site.unit("1")]


@pytest.mark.parametrize("ref", ["%20SO-1", "SO%00", "x" * 129])
async def test_what_no_scan_may_carry_is_no_order(site: "Site", ref: str) -> None:
    await site.start("api")
    problem = await refused(site, 400, "PUT", f"/orders/{ref}", json=ORDER)
    assert problem["field"] == "ref"
    assert "1 to 128 printable characters" in problem["detail"]


async def test_a_recall_is_entered_once_and_published(site: "Site") -> None:
    await site.start("api")
    body = RECALL | {
        "products": [GTIN[1:]],
        "selectors": [
            {"kind": "range", "low": "A0010", "high": "A0099"},
            {"kind": "prefix", "prefix": "B"},
            {"kind": "all"},
        ],
    }
    answer = await site.ask("POST", "/recalls", json=body)
    assert (answer.status_code, answer.headers["location"]) == (201, "/recalls/R-1")
    assert answer.json()["published"] is True
    published = recalls.decode((await newest(site, Topic.RECALLS, 1)).value)
    assert (published.id, published.products, published.status) == ("R-1", (GTIN,), "active")
    told = await ok(site, "GET", "/recalls/R-1")
    assert [each["kind"] for each in told["selectors"]] == ["range", "prefix", "all"]
    assert await ok(site, "GET", "/recalls") == {"recalls": [told], "next": None}
    problem = await refused(site, 409, "POST", "/recalls", json=RECALL)
    assert problem["field"] == "id"
    assert problem["detail"].startswith("recall 'R-1' exists: PUT it")
    assert await ok(site, "GET", "/recalls/R-1") == told
    await newest(site, Topic.RECALLS, 1)


async def test_a_recall_is_drafted_made_active_and_closed(site: "Site") -> None:
    await site.start("api")
    body = without(RECALL, "id")
    for version, status in enumerate(("draft", "active", "closed"), start=1):
        told = await ok(site, "PUT", "/recalls/R-2", json=body | {"status": status})
        assert (told["status"], told["version"], told["published"]) == (status, version, True)
        published = recalls.decode((await newest(site, Topic.RECALLS, version)).value)
        assert (published.id, published.status, published.version) == ("R-2", status, version)
    assert [each["status"] for each in (await ok(site, "GET", "/recalls"))["recalls"]] == ["closed"]


async def test_an_order_is_entered_changed_and_told_and_its_purchaser_reaches_no_topic(
    site: "Site",
) -> None:
    await site.start("api")
    lines = [{"product": GTIN[1:], "quantity": 2}, {"product": "PUMP-7", "quantity": 1}]
    made = {"lines": lines, "ordered_at": "2026-01-31T10:00:00Z"}
    first = await ok(site, "PUT", "/orders/SO-1", json=ORDER | made)
    assert first == {
        "ref": "SO-1",
        "version": 1,
        "purchaser": "order SO-1",
        "lines": 2,
        "published": True,
    }
    told = await ok(site, "GET", "/orders/SO-1")
    assert told == {
        "ref": "SO-1",
        "version": 1,
        "ordered_at": "2026-01-31T10:00:00Z",
        "purchaser": ORDER["purchaser"] | {"id": "order SO-1"},
        **dict.fromkeys(("ship_to", "end_customer", "carrier", "supplier", "owning_party")),
        **dict.fromkeys(("loan", "deliver_by", "delivered_at")),
        "lines": [{"product": GTIN, "quantity": 2}, lines[1]],
        "units": [],
        "quantities": [
            {"product": GTIN, "ordered": 2, "shipped": 0, "short": 2, "surplus": 0},
            {"product": "PUMP-7", "ordered": 1, "shipped": 0, "short": 1, "surplus": 0},
        ],
        "published": True,
    }
    other = {"purchaser": {"id": "p-7", "name": "Bo", "address": "2 Dock Road"}, "lines": lines[1:]}
    assert (await ok(site, "PUT", "/orders/SO-1", json=other))["version"] == 2
    told = await ok(site, "GET", "/orders/SO-1")
    assert told["purchaser"] == other["purchaser"]
    assert told["lines"] == lines[1:]
    assert told["ordered_at"] == "2026-01-31T10:00:00Z"  # nothing was told of it
    records = await (await site.log(Topic.ORDERS)).until(2)
    assert [(record.key, json.loads(record.value)) for record in records] == [
        (
            b"SO-1",
            {"id": "SO-1", "lines": [{"product": GTIN, "quantity": 2}, lines[1]], "version": 1},
        ),
        (b"SO-1", {"id": "SO-1", "lines": lines[1:], "version": 2}),
    ]
    for topic in (Topic.STATIONS, Topic.PRODUCTS, Topic.RECALLS):
        await (await site.log(topic)).until(0)


async def test_an_order_that_is_refused_leaves_no_record(site: "Site") -> None:
    """Its record and its rows are one transaction, and come together or not at all."""
    await site.start("api")
    site.execute("ALTER TABLE sales_order_line ADD CHECK (quantity < 100)")
    lines = [{"product": "PUMP-7", "quantity": 100}]
    answer = await site.ask("PUT", "/orders/SO-1", json=ORDER | {"lines": lines})
    assert answer.status_code == 500
    await refused(site, 404, "GET", "/orders/SO-1")
    lines[0]["quantity"] = 99
    await ok(site, "PUT", "/orders/SO-1", json=ORDER | {"lines": lines})
    (record,) = await (await site.log(Topic.ORDERS)).until(1)
    assert orders.decode(record.value).quantity_of("PUMP-7") == 99


async def test_an_order_has_5000_lines_and_no_more(site: "Site") -> None:
    await site.start("api")
    line = {"product": "PUMP-7", "quantity": 1}
    problem = await refused(site, 400, "PUT", "/orders/S", json=ORDER | {"lines": [line] * 5001})
    assert (problem["field"], "at most 5000" in problem["detail"]) == ("lines", True)
    assert (await ok(site, "PUT", "/orders/S", json=ORDER | {"lines": [line] * 5000}))["published"]


async def test_orders_with_long_numbers_keep_their_own_purchasers(site: "Site") -> None:
    """An order's purchaser without an id is that order's alone."""
    await site.start("api")
    references = [f"{'N' * 60}-{number}" for number in range(2)]
    for number, reference in enumerate(references):
        body = {"purchaser": {"name": f"Person {number}", "address": f"{number} Dock Road"}}
        await ok(site, "PUT", f"/orders/{reference}", json=body)
    for number, reference in enumerate(references):
        told = await ok(site, "GET", f"/orders/{reference}")
        assert told["purchaser"]["name"] == f"Person {number}"


@pytest.mark.parametrize("path", ["/stations/x", "/products/x", "/recalls/x", "/orders/x"])
async def test_what_was_never_entered_is_not_found_by_name(site: "Site", path: str) -> None:
    await site.start("api")
    problem = await refused(site, 404, "GET", path)
    assert "'x'" in problem["detail"]
    await refused(site, 404, "GET", "/nothing/here")
    await refused(site, 405, "DELETE", path)


def without(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != name}


BAD = [
    # method, path, body, field, part of the mend
    ("PUT", "/stations/s", b"", "", "is empty"),
    ("PUT", "/stations/s", b"{", "", "not JSON"),
    ("PUT", "/stations/s", b"\xff", "", "not JSON"),
    ("PUT", "/stations/s", b"[" * 10_000, "", ""),
    ("PUT", "/stations/s", b"[]", "", "object"),
    ("PUT", "/stations/s", b'{"site": "a\\u0000"}', "site", "U+0000"),
    ("PUT", "/stations/s", b'{"\\u0000": "a"}', "", "U+0000"),
    ("PUT", "/orders/s", b'{"lines": [{}, {"product": "\\u0000"}]}', "lines[1].product", "U+0000"),
    ("PUT", "/stations/s", without(STATION, "site"), "site", "required"),
    ("PUT", "/stations/s", STATION | {"site": 7}, "site", "str"),
    ("PUT", "/stations/s", STATION | {"site": "a b"}, "site", "letter or a digit"),
    ("PUT", "/stations/s", STATION | {"sight": "x"}, "sight", "unknown"),
    ("PUT", "/stations/s", STATION | {"business_step": "flying"}, "business_step", "receiving"),
    ("PUT", "/stations/s", STATION | {"read_point": " "}, "read_point", "empty"),
    ("PUT", "/stations/s", STATION | {"repeat_window_s": -1}, "repeat_window_s", "0 to 86400"),
    ("PUT", "/stations/s", STATION | {"repeat_window_s": 86_401}, "repeat_window_s", "86400"),
    ("PUT", "/stations/-s", STATION, "id", "letter or a digit"),
    ("PUT", f"/stations/{'s' * 65}", STATION, "id", "1 to 64"),
    ("PUT", "/products/P", {}, "name", "required"),
    ("PUT", "/products/P", {"name": ""}, "name", "empty"),
    ("PUT", "/products/P", {"name": "x", "serials": "maybe"}, "serials", "optional"),
    ("PUT", "/products/P", {"name": "x", "steps": ["fly"]}, "steps[0]", "receiving"),
    (
        "PUT",
        "/products/P",
        {"name": "x", "steps": ["storing", "shipping", "storing"]},
        "steps",
        "storing is named twice",
    ),
    ("PUT", "/products/P%20", {"name": "x"}, "id", "letter or a digit"),
    ("POST", "/recalls", without(RECALL, "reason"), "reason", "required"),
    ("POST", "/recalls", RECALL | {"id": "R 1"}, "id", "letter or a digit"),
    ("POST", "/recalls", RECALL | {"title": " "}, "title", "empty"),
    ("POST", "/recalls", RECALL | {"selectors": []}, "selectors", "name the units"),
    ("POST", "/recalls", RECALL | {"status": "open"}, "status", "active"),
    ("POST", "/recalls", RECALL | {"status": "closed"}, "status", "draft or active"),
    ("POST", "/recalls", RECALL | {"products": [""]}, "products[0]", ""),
    (
        "POST",
        "/recalls",
        RECALL | {"products": ["09506000134353"]},
        "products[0]",
        "should end in 2",
    ),
    ("POST", "/recalls", RECALL | {"remedy": " "}, "remedy", "leave it out"),
    ("POST", "/recalls", RECALL | {"note": ""}, "note", "1 to 1000"),
    ("PUT", "/recalls/R-9", without(RECALL, "id") | {"status": "closed"}, "status", "draft"),
    ("PUT", "/recalls/R-1", RECALL, "id", "unknown"),
    ("PUT", "/recalls/-", without(RECALL, "id"), "id", "letter or a digit"),
    ("PUT", "/recalls/R-1", without(RECALL, "id") | {"selectors": []}, "selectors", "name"),
    *(
        ("POST", "/recalls", RECALL | {"selectors": [{"kind": "list", "serials": ["1"]}, bad]}, *w)
        for bad, w in [
            ({"kind": "colour"}, ("selectors[1].kind", "lot_range, date, all")),
            ({"kind": "lot"}, ("selectors[1].lots", "empty")),
            ({"kind": "date", "from": "today"}, ("selectors[1].from", "date")),
            ({"kind": "prefix", "prefix": "A", "low": "1"}, ("selectors[1].low", "its own")),
            ({"serials": ["1"]}, ("selectors[1].kind", "required")),
            ({"kind": "list"}, ("selectors[1].serials", "empty")),
            ({"kind": "list", "serials": "1"}, ("selectors[1].serials", "array")),
            ({"kind": "prefix"}, ("selectors[1].prefix", "first characters")),
            ({"kind": "range", "low": "1"}, ("selectors[1]", "low and high")),
            (
                {"kind": "range", "low": "0000000001", "high": "00000000020"},
                ("selectors[1]", "low has 10 characters and high 11"),
            ),
            ({"kind": "range", "low": "9", "high": "1"}, ("selectors[1]", "above")),
            ({"kind": "range", "low": "A1", "high": "B2"}, ("selectors[1]", "number at the end")),
            ({"kind": "all"}, ("products", "must name its products")),
            ({"kind": "list", "serials": ["1"], "lot": "L-7"}, ("selectors[1].lot", "unknown")),
        ]
    ),
    ("PUT", "/orders/SO-1", {}, "purchaser", "required"),
    ("PUT", "/orders/SO-1", {"purchaser": {"name": "A"}}, "purchaser.address", "required"),
    ("PUT", "/orders/SO-1", {"purchaser": {"name": " ", "address": "x"}}, "purchaser.name", ""),
    ("PUT", "/orders/SO-1", {"purchaser": {"name": "A", "address": ""}}, "purchaser.address", ""),
    (
        "PUT",
        "/orders/SO-1",
        {"purchaser": ORDER["purchaser"] | {"id": "a b"}},
        "purchaser.id",
        "letter or a digit",
    ),
    *(
        ("PUT", "/orders/SO-1", ORDER | {"lines": [line]}, *w)
        for line, w in [
            ({"product": "P"}, ("lines[0].quantity", "required")),
            ({"product": "P", "quantity": 0}, ("lines[0].quantity", "1 or more")),
            ({"product": "P", "quantity": 2**31}, ("lines[0].quantity", "")),
            ({"product": "P", "quantity": 1.5}, ("lines[0].quantity", "int")),
        ]
    ),
    ("PUT", "/orders/SO%201%20", ORDER, "ref", "printable"),
    ("POST", "/rejected/replay", {}, "reader", "required"),
    ("POST", "/rejected/replay", {"reader": "r", "why": "x"}, "why", "unknown"),
    ("GET", "/alerts?limit=0", None, "limit", "1"),
    ("GET", "/rejected?limit=1001", None, "limit", "1000"),
    ("GET", "/alerts?limit=many", None, "limit", ""),
]


async def test_every_refusal_names_its_field_and_the_mend_and_stores_nothing(
    site: "Site",
) -> None:
    """All in one installation: none of them leaves anything behind."""
    await site.start("api")
    wrong = []
    for method, path, body, field, mend in BAD:
        sent = {"content": body} if isinstance(body, bytes | None) else {"json": body}
        answer = await site.ask(method, path, **sent)
        told = answer.json() if answer.headers["content-type"] == PROBLEM else {}
        as_told = (answer.status_code, told.get("field"))
        if as_told != (400, field) or mend not in told["detail"]:
            wrong.append((method, path, body, (field, mend), as_told, told.get("detail")))
    assert not wrong, "\n".join(map(repr, wrong))
    for table in ("station", "product", "recall", "sales_order", "party", "outbox"):
        assert site.rows(f"SELECT * FROM {table}") == [], table


ODD_ADDRESSES = [
    "/stations/%00",
    "/orders/%00",
    "/units/%00",
    "/units/%00/trail",
    "/alerts?kind=%00",
    "/rejected?reader=%00",
    "/rejected?reader=%ff",
    "/units/%ff",
    "/units/",
    "/units//trail",
]


async def test_odd_addresses_are_no_mistake_of_ours(
    site: "Site", subtests: pytest.Subtests
) -> None:
    await site.start("api")
    for path in ODD_ADDRESSES:
        with subtests.test(path=path):
            answer = await site.ask("GET", path)
            assert answer.status_code in (200, 400, 404), answer.text
            assert (await site.ask("GET", "/?q=%00")).status_code == 200


# ------------------------------------------------------------------------------------- units


async def test_a_unit_is_found_by_any_spelling_with_how_it_was_understood(site: "Site") -> None:
    await site.start("api")
    await scanned(site, site.scan("A/1", 0), site.scan("A/1", 5, station="shelf-1"))
    key = f"sgtin:{GTIN}.A/1"
    spellings = [
        f"01{GTIN}21A/1",
        f"(01){GTIN}(21)A/1",
        f"]d201{GTIN}21A/1",
        f"01{GTIN}10LOT-7\x1d21A/1",
        f"01{GTIN}21A/1\x1d10LOT-7",
        f"https://id.gs1.org/01/{GTIN}/21/A%2F1",
        key,
        "A/1",
    ]
    for spelling in spellings:
        told = await ok(site, "GET", f"/units/{quote(spelling, safe='')}")
        assert (told["unit"], told["version"], told["station"]) == (key, 2, "shelf-1"), spelling
        assert told["understood"]["key"] == key
        assert told["understood"]["input"] == spelling
        trail = await ok(site, "GET", f"/units/{quote(spelling, safe='')}/trail")
        assert [each["version"] for each in trail] == [1, 2], spelling
    link = f"/units/https://id.gs1.org/01/{GTIN}/21/A%252F1"
    assert (await ok(site, "GET", link))["unit"] == key
    assert len(await ok(site, "GET", f"{link}/trail")) == 2
    told = await ok(site, "GET", f"/units/01{GTIN}10LOT-7%1D21A%2F1")
    assert (told["understood"]["lot"], told["understood"]["scheme"]) == ("LOT-7", "sgtin")
    assert (told["phase"], told["location"], told["custody"]) == ("on_site", "Hall A", "acme")
    assert (told["serial"], told["product"], told["alerts"]) == ("A/1", GTIN, [])


async def test_what_is_understood_and_was_never_scanned_is_404_with_how(site: "Site") -> None:
    await site.start("api")
    problem = await refused(site, 404, "GET", f"/units/01{GTIN}21X")
    assert problem["title"] == "Never scanned"
    assert problem["understood"]["key"] == f"sgtin:{GTIN}.X"
    assert (problem["understood"]["gtin"], problem["understood"]["serial"]) == (GTIN, "X")
    problem = await refused(site, 404, "GET", "/units/AB-77")
    assert (problem["title"], problem["understood"]["reason"]) == (
        "Not identified",
        "unidentified_serial",
    )
    problem = await refused(site, 404, "GET", f"/units/{GTIN}/trail")
    assert problem["understood"]["reason"] == "not_a_unit"
    assert problem["understood"]["input"] == GTIN


async def test_a_serial_of_several_products_is_300_with_the_candidates(site: "Site") -> None:
    await site.start("api")
    keys = [f"sgtin:{GTIN}.AB-77", "sn:PUMP-7.AB-77"]
    for key in keys:
        await scanned(site, site.scan("AB-77", unit=key))
    problem = await refused(site, 300, "GET", "/units/AB-77")
    assert [(each["unit"], each["product"]) for each in problem["candidates"]] == [
        (keys[0], GTIN),
        (keys[1], "PUMP-7"),
    ]
    assert problem["understood"]["reason"] == "unidentified_serial"
    for candidate in problem["candidates"]:
        found = await ok(site, "GET", f"/units/{quote(candidate['unit'])}")
        assert found["unit"] == candidate["unit"]
    page = (await site.ask("GET", "/", params={"q": "AB-77"})).text
    for key in keys:
        assert f'<a href="/?q={quote(key)}">{key}</a>' in page


async def test_the_trail_is_in_the_order_in_which_it_happened(site: "Site") -> None:
    """Late scans at their place; one with a clock that is off by the time it was recorded."""
    await site.start("api")
    at = site.scan("1").event_time
    skewed = site.scan(
        "1",
        7,
        station="odd-clock",
        event_time=datetime(2038, 1, 19, tzinfo=UTC),
        clock_skew_s=4e8,
        record_time=at + timedelta(minutes=7),
    )
    scans = (
        site.scan("1", 0, station="first"),
        skewed,
        site.scan("1", 10, station="last"),
        site.scan("1", 5, station="late", record_time=at + timedelta(minutes=20)),
        site.scan("1", 5, station="late", sequence=2, event_id="z"),
        site.scan("1", 5, station="a-late", event_id="y"),
    )
    await scanned(site, *scans)
    trail = await ok(site, "GET", f"/units/{site.barcode('1')}/trail")
    assert [(each["station"], each["sequence"]) for each in trail] == [
        ("first", 1),
        ("a-late", 1),
        ("late", 1),
        ("late", 2),
        ("odd-clock", 1),
        ("last", 1),
    ]
    assert [each["outcome"] for each in trail] == [
        "moved",
        "late",
        "late",
        "repeat_read",  # of the same visit
        "moved",
        "moved",
    ]


async def test_a_scan_that_was_corrected_is_in_the_trail_and_moves_nothing(site: "Site") -> None:
    await site.start("api")
    voided = site.scan("1", 5, station="b", event_id="wrong")
    corrections = [
        site.scan("1", 6, station="office", event_id="c1", corrects="wrong"),
        site.scan("1", 7, station="office", event_id="c2", corrects="first"),
    ]
    await scanned(site, site.scan("1", event_id="first"), voided, *corrections)
    trail = await ok(site, "GET", f"/units/{site.barcode('1')}/trail")
    told = [(each["event_id"], each["corrects"], each["corrected_by"]) for each in trail]
    assert told == [
        ("first", None, "c2"),
        ("wrong", None, "c1"),
        ("c1", "wrong", None),
        ("c2", "first", None),
    ]
    found = await ok(site, "GET", f"/units/{site.barcode('1')}")
    assert (found["version"], found["phase"], found["location"]) == (4, None, None)
    page = (await site.ask("GET", "/", params={"q": site.barcode("1")})).text
    assert "no scan of it counts" in page
    assert "voided by c1" in page


async def test_a_unit_of_two_keys_is_found_by_either_with_one_trail(site: "Site") -> None:
    await site.start("api")
    await site.start("projector")
    older, younger = site.unit("1"), "imei:35693803564380"
    tracked = Topics().put(
        site.scan("1", 0, event_id="a"),
        site.scan("x", 1, unit=younger, event_id="b", station="hall"),
        site.scan("ecu", 2, unit="sn:ecu.5", event_id="c", parent=younger),
        site.scan("x", 3, unit=younger, event_id="j", same_as=older),
    )
    told = tracked.track().movements
    for movement in told:
        await site.put_movement(encode(movement), movement.unit)
    await site.until(lambda: site.rows("SELECT count(*) FROM movement") == [(len(told),)])
    for spelling in (site.barcode("1"), "356938035643809"):
        found = await ok(site, "GET", f"/units/{spelling}")
        assert (found["unit"], found["station"]) == (older, "hall")
        assert (found["aliases"], found["children"]) == ([younger], ["sn:ecu.5"])
        trail = await ok(site, "GET", f"/units/{spelling}/trail")
        assert [(each["event_id"], each["same_as"], each["forwarded_from"]) for each in trail] == [
            ("a", None, None),
            ("b", None, younger),
            ("j", younger, younger),
        ]
    by_serial = await ok(site, "GET", "/units/35693803564380")  # of neither product
    assert by_serial["unit"] == older
    page = (await site.ask("GET", "/", params={"q": "356938035643809"})).text
    assert f"Also known as <code>{younger}</code>" in page
    assert '<span class="mark">joined</span>' in page
    assert f"with {younger}" in page
    assert f"as {younger}" in page


@pytest.mark.parametrize("entered", ["before", "after"])
async def test_the_order_gives_the_purchaser_entered_before_or_after_the_scan(
    site: "Site", entered: str
) -> None:
    await site.start("api")
    address = f"/units/{site.barcode('1')}"
    if entered == "before":
        await ok(site, "PUT", "/orders/SO-1", json=ORDER)
    await scanned(site, site.scan("1"), site.scan("1", 5, order="SO-1", **SHIPPED))
    if entered == "after":
        told = await ok(site, "GET", address)
        assert (told["order"], told["purchaser"]) == ("SO-1", None)
        page = (await site.ask("GET", "/", params={"q": site.barcode("1")})).text
        assert ", order SO-1; in custody of acme." in page
        await ok(site, "PUT", "/orders/SO-1", json=ORDER)
    told = await ok(site, "GET", address)
    assert (told["phase"], told["order"]) == ("shipped", "SO-1")
    assert told["purchaser"] == ORDER["purchaser"] | {"id": "order SO-1"}
    assert (await ok(site, "GET", "/orders/SO-1"))["units"] == [site.unit("1")]
    page = (await site.ask("GET", "/", params={"q": site.barcode("1")})).text
    assert "to Ada Byron, 1 Dock Road, York, order SO-1; last in custody of acme." in page
    back = site.scan("1", 10, business_step=BusinessStep.RETURNING)
    movement = site.movements(site.scan("1"), site.scan("1", 5, order="SO-1", **SHIPPED), back)[-1]
    await site.put_movement(movement, site.unit("1"))
    await site.until(lambda: site.rows("SELECT version FROM unit") == [(3,)])
    assert (await ok(site, "GET", address))["purchaser"] is None


# --------------------------------------------------------------------------------- worklists


def insert_alerts(site: "Site", count: int) -> None:
    for number in range(count):
        site.execute(
            "INSERT INTO alert VALUES (%s, %s, 'warning', %s, %s, 'e', 's', 'n', now(), 't', NULL)",
            f"{number:032x}",
            "duplicate_serial" if number % 2 else "recalled_at_shipping",
            "open" if number < 5 else "withdrawn",
            site.unit(f"{number % 3}"),
        )


def insert_rejected(site: "Site", count: int, payload: bytes = b"\xff{}", **more: str) -> None:
    for number in range(count):
        site.execute(
            "INSERT INTO rejected VALUES (%s, %s, %s, NULL, %s, 'd', %s, %s, NULL)",
            f"id-{number:03}",
            more.get("source", "read"),
            "even" if number % 2 == 0 else "odd",
            more.get("reason", "unknown_station"),
            payload,
            datetime.now(UTC) + timedelta(seconds=number),
        )


async def pages(site: "Site", path: str, name: str, limit: int) -> list[list[str]]:
    found: list[list[str]] = []
    after = ""
    while True:
        mark = "&" if "?" in path else "?"
        page = await ok(site, "GET", f"{path}{mark}limit={limit}&cursor={after}")
        found.append([each["id"] for each in page[name]])
        if page["next"] is None:
            return found
        after = page["next"]


async def test_alerts_come_in_pages_by_cursor_and_by_what_is_asked(site: "Site") -> None:
    await site.start("api")
    insert_alerts(site, 7)
    ids = [f"{number:032x}" for number in range(7)]
    assert await pages(site, "/alerts", "alerts", 3) == [ids[:3], ids[3:6], ids[6:]]
    assert await pages(site, "/alerts", "alerts", 7) == [ids, []]
    assert await pages(site, "/alerts?status=open", "alerts", 3) == [ids[:3], ids[3:5]]
    kind = "/alerts?kind=duplicate_serial&status=open"
    assert await pages(site, kind, "alerts", 10) == [[ids[1], ids[3]]]
    unit = f"/alerts?unit={quote(site.unit('0'))}"
    assert await pages(site, unit, "alerts", 10) == [[ids[0], ids[3], ids[6]]]
    (first,) = (await ok(site, "GET", "/alerts?limit=1"))["alerts"]
    assert (first["kind"], first["severity"], first["status"], first["recall"]) == (
        "recalled_at_shipping",
        "warning",
        "open",
        None,
    )


async def test_a_unit_tells_its_open_alerts(site: "Site") -> None:
    await site.start("api")
    await scanned(site, site.scan("0"))
    insert_alerts(site, 7)
    told = await ok(site, "GET", f"/units/{site.barcode('0')}")
    assert [alert["id"] for alert in told["alerts"]] == [f"{0:032x}", f"{3:032x}"]
    page = (await site.ask("GET", "/", params={"q": site.barcode("0")})).text
    assert page.count('<p class="alert warning">') == 2


async def test_rejected_come_in_pages_with_what_was_sent(site: "Site") -> None:
    await site.start("api")
    insert_rejected(site, 5)
    ids = [f"id-{number:03}" for number in range(5)]
    assert await pages(site, "/rejected", "rejected", 2) == [ids[:2], ids[2:4], ids[4:]]
    assert await pages(site, "/rejected?reader=odd", "rejected", 10) == [[ids[1], ids[3]]]
    assert await pages(site, "/rejected?reason=empty", "rejected", 10) == [[]]
    (first,) = (await ok(site, "GET", "/rejected?limit=1"))["rejected"]
    assert await ok(site, "GET", f"/rejected/{quote(first['id'], safe='')}") == first
    site.execute("UPDATE rejected SET id = 'r/1/7#ab' WHERE id = %s", ids[4])
    assert (await ok(site, "GET", "/rejected/r%2F1%2F7%23ab"))["id"] == "r/1/7#ab"
    problem = await refused(site, 404, "GET", "/rejected/r%2F1")
    assert "take `id` as it is listed" in problem["detail"]
    assert (first["payload"], first["reader"], first["replayed_at"]) == ("\\xff{}", "even", None)


async def test_set_aside_reads_are_replayed_once_through_the_gateway(site: "Site") -> None:
    site.readers('id = "handheld"\nstation = "dock-1"\nprotocol = "http-generic"')
    for name in ("gateway", "api", "projector"):
        await site.start(name)
    for serial in ("1", "2"):
        await site.read("handheld", {"code": site.barcode(serial), "order": serial})
    await site.read("handheld", {"code": "AB-77"})
    await site.until(lambda: len(site.rows("SELECT 1 FROM rejected")) == 3)
    ids = site.rows("SELECT id FROM rejected ORDER BY record_time")[:2]
    again = await ok(site, "POST", "/rejected/replay", json={"reader": "handheld"})
    assert (again["replayed"], again["next"]) == (0, None)
    assert {each["reason"] for each in again["rejected"]} == {"unknown_station"}
    assert {each["id"] for each in again["rejected"]} >= {each for (each,) in ids}
    await ok(site, "PUT", "/stations/dock-1", json=STATION)

    async def replayed() -> int:
        body = {"reader": "handheld", "reason": "unknown_station"}
        return int((await ok(site, "POST", "/rejected/replay", json=body))["replayed"])

    total = 0

    async def all_replayed() -> bool:
        nonlocal total
        total += await replayed()
        return total >= 2

    await site.until(all_replayed)
    assert await replayed() == 0
    records = await (await site.log(Topic.SCANS)).until(2)
    told = [dict(record.headers)["ce_id"].decode() for record in records]
    assert sorted(told) == sorted(each.partition("#")[0] for (each,) in ids)
    assert len(site.rows("SELECT 1 FROM rejected WHERE replayed_at IS NOT NULL")) == 2
    body = {"reader": "nobody"}
    nothing = {"replayed": 0, "rejected": [], "next": None}
    assert await ok(site, "POST", "/rejected/replay", json=body) == nothing


async def test_many_long_reads_can_be_replayed(site: "Site") -> None:
    """A full call of reads as long as they may be set aside."""
    site.readers('id = "even"\nstation = "dock-1"\nprotocol = "http-generic"')
    await site.start("gateway")
    await site.start("api")
    read = {
        "event_id": "even.1",
        "reader": "even",
        "station": "dock-1",
        "reason": "unknown_station",
        "detail": "d" * 200,
        "read": '"' * 2048,
        "event_time": datetime.now(UTC),
        "record_time": datetime.now(UTC),
        "sequence": 1,
    }
    insert_rejected(site, 2 * 600, encode(read))
    tried, after = [], ""
    while after is not None:
        body = {"reader": "even", "cursor": after}
        told = await ok(site, "POST", "/rejected/replay", json=body)
        assert told["replayed"] == 0
        tried += [each["id"] for each in told["rejected"]]
        after = told["next"]
    assert sorted(tried) == sorted(
        each for (each,) in site.rows("SELECT id FROM rejected WHERE reader = 'even'")
    )


async def test_a_replay_without_the_gateway_is_503_and_leaves_the_reads_waiting(
    site: "Site",
) -> None:
    await site.start("api")
    insert_rejected(site, 1, b"{}")
    problem = await refused(site, 503, "POST", "/rejected/replay", json={"reader": "even"})
    assert "nothing was replayed, try again" in problem["detail"]
    assert site.rows("SELECT replayed_at FROM rejected") == [(None,)]


# -------------------------------------------------------------------------------------- page


async def test_the_page_says_in_a_sentence_where_the_unit_is(site: "Site") -> None:
    await site.start("api")
    await scanned(site, site.scan("1"))
    answer = await site.ask("GET", "/", params={"q": site.barcode("1")})
    assert answer.status_code == 200
    since = site.scan("1").event_time.strftime("%A %-d %B %Y, %H:%M UTC")
    assert f"In Hall A, site north, since {since}; in custody of acme." in answer.text
    assert f"<code>{site.unit('1')}</code>" in answer.text
    box = re.search(r"<input [^>]*>", answer.text)
    assert box is not None
    assert "autofocus" in box[0]
    assert "value=" not in box[0]  # a scanner types the next code into it
    policy = answer.headers["content-security-policy"]
    told = {each.strip() for each in policy.split(";")}
    assert told == {
        "default-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    }
    assert answer.headers["x-content-type-options"] == "nosniff"
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", answer.text, re.DOTALL)
    assert scripts
    assert all('src="/static/' in named and not body for named, body in scripts)
    assert "style=" not in answer.text
    empty = await site.ask("GET", "/")
    assert (empty.status_code, empty.headers["content-security-policy"]) == (200, policy)
    assert "Trail" not in empty.text
    needed = re.findall(r'"(/static/[^"]+)"', empty.text)
    assert {path.partition("?")[0] for path in needed} >= {
        "/static/scantrail.css",
        "/static/icon.svg",
        "/static/scantrail.js",
    }
    for path in needed:
        # Named by what is in it: whoever has an older one asks again as soon as it is another.
        given = await site.ask("GET", path)
        assert (given.status_code, given.headers["cache-control"]) == (200, "max-age=3600, public")
        assert path.endswith("?v=" + hashlib.sha256(given.content).hexdigest()[:12])
    unknown = await site.ask("GET", "/", params={"q": f"01{GTIN}21X"})
    assert "was understood, and was never scanned here" in unknown.text


async def test_the_page_escapes_whatever_was_scanned_or_entered(site: "Site") -> None:
    await site.start("api")
    evil = '<img/onerror="a()">'
    unit = f"sn:PUMP-7.{evil}"
    await scanned(
        site,
        site.scan("x", unit=unit, site=evil, read_point=evil, business_location=evil),
        site.scan("x", 5, unit=unit, order=evil, station=evil, possessing_party=evil, **SHIPPED),
    )
    site.execute(
        "INSERT INTO alert VALUES ('1', %s, 'warning', 'open', %s, 'e', 's', 'n', now(), %s, NULL)",
        evil,
        unit,
        evil,
    )
    site.execute("INSERT INTO party VALUES ('p', %s, %s)", evil, evil)
    site.execute("INSERT INTO sales_order VALUES (%s, 1, 'p')", evil)
    for query in (evil, unit):
        answer = await site.ask("GET", "/", params={"q": query})
        assert answer.status_code == 200
        assert "<img" not in answer.text
        assert "&lt;img/onerror=" in answer.text
    assert "Shipped on" in answer.text


async def test_the_description_of_the_api_names_every_path(site: "Site") -> None:
    await site.start("api")
    paths = set((await ok(site, "GET", "/schema/openapi.json"))["paths"])
    assert (await site.ask("GET", "/schema")).json()["paths"].keys() == paths
    assert {"/stations", "/products", "/recalls", "/alerts", "/rejected", "/rejected/replay"} <= (
        paths
    )
    assert any(path.startswith("/units/{") for path in paths)


# ------------------------------------------------------------------------------------ outbox


async def test_a_committed_outbox_row_is_published_exactly_as_it_is_after_a_crash(
    site: "Site",
) -> None:
    """Killed between the commit and the publishing: the next start publishes, in order."""
    name = name_of(site.settings, Topic.STATIONS)
    values = [b'{"odd":  "spacing"}', b"\x00\xff", b"third"]
    for value in values:
        site.execute("INSERT INTO outbox (topic, key, value) VALUES (%s, 'k', %s)", name, value)
    await site.start("api")
    records = await (await site.log(Topic.STATIONS)).until(3)
    assert [(record.key, record.value) for record in records] == [(b"k", v) for v in values]
    await site.until(lambda: site.rows("SELECT * FROM outbox") == [])
    await site.ask("PUT", "/stations/dock-1", json=STATION)
    await (await site.log(Topic.STATIONS)).until(4)


async def test_a_station_tells_whether_it_was_published_yet(site: "Site") -> None:
    await site.start("api")
    name = name_of(site.settings, Topic.STATIONS)
    await ok(site, "PUT", "/stations/dock-1", json=STATION)
    await ok(site, "PUT", "/stations/dock-2", json=STATION)
    with psycopg.connect(site.settings.database_url) as other:

        def locked() -> bool:
            row = other.execute("SELECT pg_try_advisory_xact_lock(%s)", [RELAY_LOCK]).fetchone()
            return row == (True,)

        await site.until(locked)  # nothing leaves now
        site.execute("INSERT INTO outbox (topic, key, value) VALUES (%s, 'dock-1', '')", name)
        assert (await ok(site, "GET", "/stations/dock-1"))["published"] is False
        listed = (await ok(site, "GET", "/stations"))["stations"]
        assert [(each["id"], each["published"]) for each in listed] == [
            ("dock-1", False),
            ("dock-2", True),
        ]

    async def published() -> bool:
        return bool((await ok(site, "GET", "/stations/dock-1"))["published"])

    await site.until(published)


async def test_what_is_rolled_back_is_not_published(site: "Site") -> None:
    await site.start("api")
    name = name_of(site.settings, Topic.STATIONS)
    with contextlib.suppress(Exception):
        site.execute(
            f"DO $$ BEGIN INSERT INTO outbox (topic, key, value) VALUES ('{name}', 'k', 'v');"
            " RAISE EXCEPTION 'rolled back'; END $$"
        )
    site.execute(
        "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'broken here'; END $$"
    )
    site.execute(
        "CREATE TRIGGER broken BEFORE UPDATE ON station FOR EACH ROW EXECUTE FUNCTION broken()"
    )
    assert (await site.ask("PUT", "/stations/dock-1", json=STATION)).status_code >= 500
    site.execute("DROP TRIGGER broken ON station")
    assert site.rows("SELECT * FROM station") == []
    told = await ok(site, "PUT", "/stations/dock-1", json=STATION)
    assert (told["version"], told["published"]) == (1, True)
    await (await site.log(Topic.STATIONS)).until(1)


async def test_many_changes_of_one_station_arrive_in_the_order_of_their_versions(
    site: "Site",
) -> None:
    await site.start("api")
    count = 30
    await asyncio.gather(*(site.ask("PUT", "/stations/dock-1", json=STATION) for _ in range(count)))
    records = await (await site.log(Topic.STATIONS)).until(count)
    versions = [stations.decode(record.value).version for record in records]
    assert versions == list(range(1, count + 1))


async def test_with_postgresql_away_the_api_says_try_again_and_recovers_by_itself(
    own_settings: Settings,
    own_postgres: EmbeddedPostgres,
    open_site: Any,
) -> None:
    asked: list[tuple[str, str, Any]] = [
        ("GET", "/stations", None),
        ("GET", f"/units/01{GTIN}211", None),
        ("GET", "/alerts", None),
        ("GET", "/rejected", None),
        ("PUT", "/stations/dock-1", STATION),
        ("PUT", "/orders/SO-1", ORDER),
        ("POST", "/rejected/replay", {"reader": "r"}),
        ("GET", f"/?q=01{GTIN}211", None),
    ]
    async with open_site(own_settings) as site:
        running = await site.start("api")
        await ok(site, "PUT", "/stations/dock-1", json=STATION)
        own_postgres.kill()
        for method, path, body in asked:
            answer: httpx.Response = await site.ask(method, path, json=body)
            assert answer.status_code == 503, (path, answer.text)
            assert answer.headers["retry-after"] == "2"
            told = answer.text if path.startswith("/?") else answer.json()["detail"]
            assert "does not answer" in told
        assert (await site.ask("GET", "/")).status_code == 200
        await asyncio.to_thread(own_postgres.start)
        for method, path, body in asked:
            answer = await site.ask(method, path, json=body)
            assert answer.status_code in (200, 404), (path, answer.text)
        told = await ok(site, "PUT", "/stations/dock-1", json=STATION)
        assert told["published"] is True
        assert running.ready


@pytest.mark.parametrize("asked", ["", "/trail", "/kinship", "/warranty"])
async def test_after_a_restart_of_postgresql_the_first_question_is_answered(
    site: "Site", asked: str
) -> None:
    await site.start("api")
    await scanned(site, site.scan("1"))
    told = await ok(site, "GET", f"/units/{site.barcode('1')}{asked}")
    site.rows(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert await ok(site, "GET", f"/units/{site.barcode('1')}{asked}") == told
