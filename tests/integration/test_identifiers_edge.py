"""Several ids of one unit, and serials without a product: from people to the tracker and back."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from integration.processes import started
from scantrail.cli.refold import refold_unit
from scantrail.contracts.records import decode_scan, encode, identifiers
from scantrail.contracts.topics import Topic
from scantrail.domain.custody import ALIASES_MAX
from scantrail.domain.unit_ids import TOLD_BY, join_id
from scantrail.domain.vocabulary import BusinessStep
from scantrail.gateway.identifiers import Identifiers

if TYPE_CHECKING:
    from integration.conftest import Site

GTIN = "09506000134352"
IMEI, SECOND = "imei:35693803564380", "imei:49015420323751"
IMEI_READ, SECOND_READ = "356938035643809", "490154203237518"
BOX, BOX_READ = f"sgtin:{GTIN}.B-1", f"(01){GTIN}(21)B-1"
READER = 'id = "{0}"\nstation = "{0}"\nprotocol = "http-generic"'
RECALL = {
    "id": "R-1",
    "title": "Battery",
    "reason": "may overheat",
    "products": [GTIN],
    "selectors": [{"kind": "list", "serials": ["B-1"]}],
}
STEPS = {"dock": "receiving", "shelf": "storing", "gate": "shipping"}


async def ok(site: "Site", method: str, path: str, **more: Any) -> Any:
    answer = await site.ask(method, path, **more)
    assert answer.status_code in (200, 201), (answer.status_code, answer.text)
    return answer.json()


async def refused(site: "Site", status: int, method: str, path: str, **more: Any) -> Any:
    answer = await site.ask(method, path, **more)
    assert answer.status_code == status, (answer.status_code, answer.text)
    assert answer.json()["detail"]
    return answer.json()


async def link(site: "Site", *ids: str, **more: Any) -> Any:
    return await ok(site, "PUT", "/identifiers", json={"ids": ids, **more})


@pytest.fixture
def tracker(site: "Site", tmp_path: Path) -> Iterator[None]:
    with started(site.settings, tmp_path, "tracker"):
        yield


async def opened(site: "Site", *services: str) -> None:
    """The services, with a reader and a station for each of STEPS."""
    site.readers(*(READER.format(name) for name in STEPS))
    for name in services:
        await site.start(name)
    for name, step in STEPS.items():
        body = {"site": "north", "business_step": step, "business_location": f"at {name}"}
        await ok(site, "PUT", f"/stations/{name}", json=body)

    async def known() -> bool:
        answers = [await site.read(name, {"code": "sn:probe.1"}) for name in ("dock", "gate")]
        return all(answer.json()["accepted"] for answer in answers)

    await site.until(known)


async def read(site: "Site", reader: str, code: str, **more: Any) -> None:
    answer = await site.read(reader, {"code": code, **more})
    assert answer.json() == {"accepted": 1, "rejected": []}


async def found_at(site: "Site", code: str, station: str) -> Any:
    """The unit, once it is told to be at the station."""

    async def there() -> Any:
        answer = await site.ask("GET", f"/units/{quote(code, safe='')}")
        return answer.json() if answer.json().get("station") == station else None

    return await site.until(there)


async def alerts_of(site: "Site", code: str, count: int) -> Any:
    async def raised() -> Any:
        told = await ok(site, "GET", f"/alerts?unit={quote(code, safe='')}")
        return told["alerts"] if len(told["alerts"]) >= count else None

    return await site.until(raised)


# -------------------------------------------------------------------------- the whole chain


@pytest.mark.usefixtures("tracker")
async def test_received_by_one_imei_recalled_by_its_box_and_shipped_by_the_other(
    site: "Site",
) -> None:
    await opened(site, "api", "projector", "alerter", "gateway")
    told = await link(site, IMEI_READ, SECOND_READ, BOX_READ)
    assert told == {"unit": IMEI, "ids": [IMEI, SECOND, BOX], "published": True}
    await read(site, "dock", IMEI_READ)
    await ok(site, "POST", "/recalls", json=RECALL)
    await read(site, "gate", SECOND_READ, order="SO-1")
    (alert,) = await alerts_of(site, IMEI, 1)
    assert (alert["kind"], alert["unit"], alert["recall"], alert["station"]) == (
        "recalled_at_shipping",
        IMEI,
        "R-1",
        "gate",
    )
    for code in (IMEI_READ, SECOND_READ, BOX_READ, "B-1", "35693803564380"):
        unit = await found_at(site, code, "gate")
        assert (unit["unit"], unit["phase"], unit["order"]) == (IMEI, "shipped", "SO-1")
        assert unit["aliases"] == [SECOND, BOX]
        assert [each["id"] for each in unit["alerts"]] == [alert["id"]]
        trail = await ok(site, "GET", f"/units/{quote(code, safe='')}/trail")
        places = [each["station"] for each in trail if each["station"] != TOLD_BY]
        assert places == ["dock", "gate"]
        assert [each["same_as"] for each in trail if each["same_as"]] == [SECOND, BOX]
    for code in (IMEI, BOX):
        listed = await ok(site, "GET", f"/alerts?unit={quote(code)}")
        assert [each["id"] for each in listed["alerts"]] == [alert["id"]]
    (kind,) = {each["kind"] for each in (await ok(site, "GET", "/alerts"))["alerts"]}
    assert kind == "recalled_at_shipping"
    assert await (await site.log(Topic.SCANS_REJECTED)).records() == []


@pytest.mark.usefixtures("tracker")
async def test_what_turns_out_late_to_be_one_unit_is_the_one_that_was_seen_first(
    site: "Site",
) -> None:
    await opened(site, "api", "projector", "alerter", "gateway")
    await ok(site, "POST", "/recalls", json=RECALL)
    await read(site, "dock", IMEI_READ)
    await found_at(site, IMEI_READ, "dock")
    await read(site, "shelf", BOX_READ)
    await found_at(site, BOX_READ, "shelf")
    await read(site, "gate", SECOND_READ)
    await found_at(site, SECOND_READ, "gate")
    assert (await ok(site, "GET", "/alerts"))["alerts"] == []
    told = await link(site, BOX_READ, SECOND_READ, IMEI_READ, unit=BOX_READ)
    assert told == {"unit": IMEI, "ids": [IMEI, SECOND, BOX], "published": True}
    (alert,) = await alerts_of(site, IMEI, 1)
    assert (alert["unit"], alert["station"], alert["recall"]) == (IMEI, "gate", "R-1")
    for code in (IMEI_READ, SECOND_READ, BOX_READ):
        unit = await found_at(site, code, "gate")
        assert (unit["unit"], unit["phase"]) == (IMEI, "shipped")
        trail = await ok(site, "GET", f"/units/{quote(code, safe='')}/trail")
        places = [each["station"] for each in trail if each["station"] != TOLD_BY]
        assert places == ["dock", "shelf", "gate"]


@pytest.mark.usefixtures("tracker")
async def test_a_link_that_was_taken_back_leaves_two_units(site: "Site") -> None:
    await opened(site, "api", "projector", "gateway")
    await read(site, "dock", IMEI_READ)
    await read(site, "shelf", BOX_READ)
    await found_at(site, BOX_READ, "shelf")
    await link(site, IMEI_READ, BOX_READ)

    async def joined() -> bool:
        return site.rows("SELECT joined FROM unit WHERE unit = %s", BOX) == [(IMEI,)]

    await site.until(joined)
    problem = await refused(site, 409, "DELETE", f"/identifiers/{IMEI_READ}")
    assert f"take back {BOX}" in problem["detail"]
    back = await ok(site, "DELETE", f"/identifiers/{quote(BOX_READ)}")
    assert back == {"id": BOX, "unit": BOX, "version": 2, "published": True}
    await refused(site, 404, "DELETE", f"/identifiers/{quote(BOX_READ)}")
    await refused(site, 404, "GET", f"/identifiers/{quote(BOX_READ)}")

    async def parted() -> bool:
        return site.rows("SELECT joined, held FROM unit WHERE unit = %s", BOX) == [(None, True)]

    await site.until(parted)
    await refold_unit(site.settings, BOX)
    unit = await found_at(site, BOX_READ, "shelf")
    assert (unit["unit"], unit["aliases"], unit["held"]) == (BOX, [], False)
    other = await ok(site, "GET", f"/units/{IMEI_READ}")
    assert (other["unit"], other["aliases"]) == (IMEI, [])
    again = await link(site, IMEI_READ, BOX_READ)
    assert (again["unit"], again["ids"]) == (IMEI, [IMEI, BOX])
    await site.until(joined)
    assert await (await site.log(Topic.SCANS_REJECTED)).records() == []


# ------------------------------------------------------------------------------------- the api


async def test_ids_are_entered_once_published_and_told(site: "Site") -> None:
    await site.start("api")
    body = {
        "ids": [SECOND_READ, BOX_READ, IMEI_READ],
        "unit": f"https://id.gs1.org/01/{GTIN}/21/B-1",
    }
    told = await ok(site, "PUT", "/identifiers", json=body)
    assert told == {"unit": BOX, "ids": [BOX, IMEI, SECOND], "published": True}
    records = await (await site.log(Topic.IDENTIFIERS)).until(2)
    links = [identifiers.decode(record.value) for record in records]
    assert [
        (record.key.decode(), each.unit, each.version)
        for record, each in zip(records, links, strict=True)
    ] == [
        (SECOND, BOX, 1),
        (IMEI, BOX, 1),
    ]
    assert [encode(each) for each in links] == [record.value for record in records]
    assert await ok(site, "PUT", "/identifiers", json=body) == told
    more = await link(site, IMEI_READ, "sn:ecu.5")
    assert (more["unit"], more["ids"]) == (BOX, [BOX, IMEI, SECOND, "sn:ecu.5"])
    await (await site.log(Topic.IDENTIFIERS)).until(3)
    for spelling in (IMEI_READ, BOX_READ, "sn:ecu.5"):
        got = await ok(site, "GET", f"/identifiers/{quote(spelling)}")
        assert (got["unit"], got["ids"]) == (BOX, more["ids"])
        assert [(each["id"], each["version"], each["published"]) for each in got["links"]] == [
            (id_, 1, True) for id_ in more["ids"][1:]
        ]
    problem = await refused(site, 404, "GET", "/identifiers/sn:ecu.6")
    assert "sn:ecu.6 is not linked" in problem["detail"]


async def test_ids_of_two_units_are_refused_unless_both_are_said_to_be_one(site: "Site") -> None:
    await site.start("api")
    await link(site, IMEI_READ, SECOND_READ)
    await link(site, BOX_READ, "sn:ecu.5")
    problem = await refused(
        site, 409, "PUT", "/identifiers", json={"ids": [SECOND_READ, "sn:ecu.5", "sn:ecu.6"]}
    )
    assert (problem["field"], problem["units"]) == ("ids", [IMEI, BOX])
    assert f"{SECOND} is of {IMEI}, and sn:ecu.5 of {BOX}" in problem["detail"]
    assert (await ok(site, "GET", f"/identifiers/{IMEI}"))["ids"] == [IMEI, SECOND]
    await (await site.log(Topic.IDENTIFIERS)).until(2)
    merged = await link(site, SECOND_READ, "sn:ecu.5", merge=True)
    assert merged["unit"] == IMEI
    assert merged["ids"] == [IMEI, SECOND, BOX, "sn:ecu.5"]
    records = await (await site.log(Topic.IDENTIFIERS)).until(4)
    assert [
        (told.id, told.unit, told.version)
        for told in (identifiers.decode(record.value) for record in records[2:])
    ] == [(BOX, IMEI, 1), ("sn:ecu.5", IMEI, 2)]  # between the two all are still of one unit
    await ok(site, "DELETE", "/identifiers/sn:ecu.5")
    back = identifiers.decode((await (await site.log(Topic.IDENTIFIERS)).until(5))[-1].value)
    assert back.takes_back == join_id("sn:ecu.5", BOX, 1)


async def test_what_a_reader_joined_counts_as_linked(site: "Site") -> None:
    await site.start("api")
    await site.start("projector")
    scans = (
        site.scan("x", 0, unit=IMEI, event_id="a"),
        site.scan("x", 1, unit=IMEI, event_id="j", same_as=BOX),
    )
    for movement in site.movements(*scans):
        await site.put_movement(movement, IMEI)
    await site.until(lambda: site.rows("SELECT joined FROM unit") == [(BOX,)])
    told = await link(site, IMEI_READ, SECOND_READ)
    assert (told["unit"], told["ids"]) == (BOX, [BOX, IMEI, SECOND])
    await ok(site, "DELETE", f"/identifiers/{IMEI_READ}")
    back = identifiers.decode((await (await site.log(Topic.IDENTIFIERS)).until(3))[-1].value)
    assert (back.id, back.takes_back) == (IMEI, "j")


BAD: list[tuple[Any, str, str]] = [
    ({}, "ids", "required"),
    ({"ids": []}, "ids", "two or more"),
    ({"ids": [IMEI_READ]}, "ids", f"all that is given is {IMEI}"),
    ({"ids": [IMEI_READ, IMEI_READ + "2"]}, "ids", f"all that is given is {IMEI}"),
    ({"ids": [IMEI_READ, "AB-77"]}, "ids[1]", "scan or name its product"),
    ({"ids": [IMEI_READ, GTIN]}, "ids[1]", "not one unit of it"),
    ({"ids": [IMEI_READ, BOX_READ], "unit": "490154203237519"}, "unit", "should end in 8"),
    ({"ids": [IMEI_READ, 7]}, "ids[1]", "str"),
    ({"ids": [IMEI_READ, BOX_READ], "merge": "yes"}, "merge", "bool"),
    ({"ids": [f"sn:ecu.{n}" for n in range(ALIASES_MAX + 2)]}, "ids", f"at most {ALIASES_MAX + 1}"),
]


async def test_every_refusal_of_ids_names_the_field_and_stores_nothing(site: "Site") -> None:
    await site.start("api")
    for body, field, mend in BAD:
        problem = await refused(site, 400, "PUT", "/identifiers", json=body)
        assert (problem["field"], mend in problem["detail"]) == (field, True), problem
    for method in ("GET", "DELETE"):
        assert (await refused(site, 400, method, "/identifiers/AB-77"))["field"] == "id"
    assert site.rows("SELECT * FROM identifier") == []
    await (await site.log(Topic.IDENTIFIERS)).until(0)


async def test_a_unit_has_no_more_ids_than_the_tracker_takes(site: "Site") -> None:
    await site.start("api")
    await link(site, IMEI_READ, *(f"sn:ecu.{n}" for n in range(ALIASES_MAX)))
    body = {"ids": [IMEI_READ, BOX_READ]}
    problem = await refused(site, 400, "PUT", "/identifiers", json=body)
    assert f"would have {ALIASES_MAX + 2} ids" in problem["detail"]
    assert len((await ok(site, "GET", f"/identifiers/{IMEI}"))["ids"]) == ALIASES_MAX + 1
    await (await site.log(Topic.IDENTIFIERS)).until(ALIASES_MAX)


async def test_a_unit_is_found_by_ids_of_which_the_tracker_was_not_told_yet(site: "Site") -> None:
    """Whichever of them has the scans."""
    await site.start("api")
    await site.start("projector")
    await site.put_movement(site.movements(site.scan("x", unit=IMEI))[0], IMEI)
    await site.until(lambda: site.rows("SELECT count(*) FROM unit") == [(1,)])
    await link(site, BOX_READ, SECOND_READ)
    await refused(site, 404, "GET", f"/units/{quote(BOX_READ)}")
    assert (await link(site, IMEI_READ, BOX_READ))["unit"] == BOX
    for code in (IMEI_READ, BOX_READ, SECOND_READ):
        unit = await ok(site, "GET", f"/units/{quote(code)}")
        assert (unit["unit"], unit["station"]) == (IMEI, "dock-1")
        assert unit["aliases"] == [SECOND, BOX]


async def test_links_that_are_entered_at_the_same_time_are_of_one_unit_or_refused(
    site: "Site",
) -> None:
    await site.start("api")
    pairs = [(f"sn:ecu.{n}", f"sn:ecu.{(n + 1) % 6}") for n in range(6)]
    answers = await asyncio.gather(
        *(site.ask("PUT", "/identifiers", json={"ids": pair}) for pair in pairs)
    )
    assert {answer.status_code for answer in answers} <= {200, 409}
    units = dict(site.rows("SELECT id, unit FROM identifier"))
    assert set(units) & set(units.values()) == set()
    for pair, answer in zip(pairs, answers, strict=True):
        if answer.status_code == 200:
            assert len({units.get(id_, id_) for id_ in pair}) == 1, (pair, units)
    merged = await link(site, *(pair[0] for pair in pairs), merge=True)
    assert sorted(merged["ids"]) == [pair[0] for pair in pairs]


# --------------------------------------------------------------------------------- the gateway


async def test_a_gateway_that_starts_again_tells_of_each_link_once(site: "Site") -> None:
    await site.start("api")
    site.readers(READER.format("dock"))
    await ok(site, "PUT", "/stations/dock", json={"site": "n", "business_step": "receiving"})
    running = await site.start("gateway")
    await link(site, IMEI_READ, SECOND_READ)
    (first,) = await (await site.log(Topic.SCANS)).until(1)
    await site.stop(running)
    await link(site, IMEI_READ, BOX_READ)
    running = await site.start("gateway")
    _, second = await (await site.log(Topic.SCANS)).until(2)
    scans = [decode_scan(record.key, record.value) for record in (first, second)]
    assert [(scan.unit, scan.same_as, scan.event_id) for scan in scans] == [
        (SECOND, IMEI, join_id(SECOND, IMEI, 1)),
        (BOX, IMEI, join_id(BOX, IMEI, 1)),
    ]
    assert {scan.business_step for scan in scans} == {BusinessStep.INSPECTING}
    headers = dict(first.headers)
    assert headers["ce_source"].decode() == f"/{site.settings.topic_prefix}/gateway/{TOLD_BY}"
    assert (headers["ce_id"].decode(), headers["ce_subject"].decode()) == (
        scans[0].event_id,
        SECOND,
    )
    await site.stop(running)
    for file in (Path(site.settings.data_dir) / "gateway").glob("identifiers.db*"):
        file.unlink()
    await site.start("gateway")  # on an empty disk: the same scans once more
    again = (await (await site.log(Topic.SCANS)).until(4))[2:]
    assert sorted(dict(record.headers)["ce_id"] for record in again) == sorted(
        scan.event_id.encode() for scan in scans
    )
    await read(site, "dock", BOX_READ)
    records = await (await site.log(Topic.SCANS)).until(5)
    (last,) = [r for r in records if b"dock" in dict(r.headers)["ce_source"]]
    assert last.key.decode() == IMEI


async def test_a_disk_that_fails_holds_up_nothing_and_is_read_again(
    site: "Site", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scantrail.gateway.identifiers.RETRY_S", 0.05)
    await site.start("api")
    failures = iter([True, True])

    def failing(self: Any) -> None:
        if next(failures, False):
            raise sqlite3.OperationalError("disk I/O error")
        save(self)

    save = Identifiers._save
    monkeypatch.setattr(Identifiers, "_save", failing)
    await link(site, IMEI_READ, SECOND_READ)
    running = await site.start("gateway")
    assert running.health.lacking == []
    await site.until_logged("identifiers cannot be written", count=2)
    (record,) = await (await site.log(Topic.SCANS)).until(1)
    assert record.key.decode() == SECOND


# ------------------------------------------------------------------- serials without a product


@pytest.mark.usefixtures("tracker")
async def test_a_serial_without_its_product_waits_for_a_person_and_is_replayed(
    site: "Site",
) -> None:
    await opened(site, "api", "projector", "gateway")
    await ok(site, "PUT", "/products/PUMP-7", json={"name": "Pump"})
    await ok(site, "PUT", "/products/CABLE", json={"name": "Cable", "serials": "not_used"})
    await read(site, "dock", "sn:PUMP-7.AB-77")
    await found_at(site, "sn:PUMP-7.AB-77", "dock")
    at = "2026-03-01T12:00:00Z"
    for code in ("AB-77", "(21)AB-78", "268435456000000001"):
        sent = {"code": code, "timestamp": at, "event_id": code, "order": "SO-1"}
        assert (await site.read("shelf", sent)).json()["accepted"] == 0
    await site.read("shelf", {"code": "490154203237519"})  # misread: no person mends that
    await site.until(lambda: site.rows("SELECT count(*) FROM rejected") == [(4,)])
    page = await ok(site, "GET", "/unidentified?limit=2")
    rest = await ok(site, "GET", f"/unidentified?limit=2&cursor={quote(page['next'])}")
    waiting = {each["read"]: each for each in [*page["unidentified"], *rest["unidentified"]]}
    assert sorted(waiting) == ["(21)AB-78", "268435456000000001", "AB-77"]
    assert page["products"] == [{"id": "PUMP-7", "name": "Pump"}]
    assert (await ok(site, "GET", "/unidentified?reader=dock"))["unidentified"] == []
    first = waiting["AB-77"]
    assert (first["reader"], first["station"], first["serial"]) == ("shelf", "shelf", "AB-77")
    assert (first["reason"], first["event_time"]) == ("unidentified_serial", at)
    known = {"unit": "sn:PUMP-7.AB-77", "product": "PUMP-7", "serial": "AB-77"}
    assert first["candidates"] == [known]
    assert (waiting["(21)AB-78"]["serial"], waiting["(21)AB-78"]["candidates"]) == ("AB-78", [])
    either = waiting["268435456000000001"]
    assert either["reason"] == "ambiguous"
    assert [each["unit"].partition(":")[0] for each in either["candidates"]] == ["meid", "sscc"]

    async def resolve(each: Any, **body: str) -> Any:
        return await ok(site, "POST", f"/unidentified/{quote(each['id'], safe='')}", json=body)

    carton = either["candidates"][1]["unit"]
    told = [
        await resolve(first, product="PUMP-7"),
        await resolve(waiting["(21)AB-78"], unit="sn:PUMP-7.AB-79"),
        await resolve(either, unit=carton),
    ]
    assert [each["unit"] for each in told] == ["sn:PUMP-7.AB-77", "sn:PUMP-7.AB-79", carton]
    assert [each["event_id"] for each in told] == [
        f"shelf/{code}" for code in ("AB-77", "(21)AB-78", "268435456000000001")
    ]
    for unit, code in (("sn:PUMP-7.AB-79", "(21)AB-78"), (carton, "268435456000000001")):
        there = await found_at(site, unit, "shelf")
        assert there["event_id"] == f"shelf/{code}"
        (scan,) = await ok(site, "GET", f"/units/{quote(unit)}/trail")
        assert (scan["read"], scan["event_time"], scan["order_ref"]) == (code, at, "SO-1")
    assert (await ok(site, "GET", "/unidentified"))["unidentified"] == []
    problem = await refused(
        site,
        409,
        "POST",
        f"/unidentified/{quote(first['id'], safe='')}",
        json={"product": "PUMP-7"},
    )
    assert problem["title"] == "Resolved"


async def test_a_resolution_that_cannot_be_is_refused_and_the_read_waits(site: "Site") -> None:
    await opened(site, "api", "projector", "gateway")
    await ok(site, "PUT", "/products/PUMP-7", json={"name": "Pump"})
    await site.read("shelf", {"code": "AB-77"})
    await site.read("shelf", {"code": "490154203237519"})
    await site.until(lambda: site.rows("SELECT count(*) FROM rejected") == [(2,)])
    ((id_,), (misread,)) = site.rows("SELECT id FROM rejected ORDER BY reason DESC")
    address = f"/unidentified/{quote(id_, safe='')}"
    for body, field, mend in (
        ({}, "product", "one of the two"),
        ({"product": "PUMP-7", "unit": "sn:PUMP-7.1"}, "product", "one of the two"),
        ({"product": "PUMP-8"}, "product", "PUT /products/PUMP-8 first"),
        ({"product": "PUMP 8"}, "product", "cannot be a product"),
        ({"unit": "AB-77"}, "unit", "scan or name its product"),
    ):
        problem = await refused(site, 400, "POST", address, json=body)
        assert (problem["field"], mend in problem["detail"]) == (field, True), problem
    body = {"product": "PUMP-7"}
    await refused(site, 404, "POST", "/unidentified/x", json=body)
    problem = await refused(
        site, 409, "POST", f"/unidentified/{quote(misread, safe='')}", json=body
    )
    assert problem["title"] == "Not unidentified"
    for running in [each for each in site._running if each.name == "gateway"]:
        await site.stop(running)
    await refused(site, 503, "POST", address, json=body)
    (waiting,) = (await ok(site, "GET", "/unidentified"))["unidentified"]
    assert waiting["id"] == id_
    site.readers(READER.format("dock"))
    await site.start("gateway", site.settings)
    problem = await refused(site, 409, "POST", address, json=body)
    assert (problem["title"], problem["reason"]) == ("Refused again", "unknown_reader")


async def test_a_product_without_serials_is_no_candidate(site: "Site") -> None:
    await site.start("api")
    for serials in ("mandatory", "optional", "not_used"):
        body = {"name": serials, "serials": serials}
        await ok(site, "PUT", f"/products/{serials}", json=body)
    page = await ok(site, "GET", "/unidentified")
    assert [each["id"] for each in page["products"]] == ["mandatory", "optional"]
