"""Advance notices over the API, against what the projector wrote of the receiving scans."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from integration.conftest import GTIN, NOON
from scantrail.contracts.records import findings
from scantrail.contracts.topics import Topic
from scantrail.domain.scan import Origin, Scan
from scantrail.domain.vocabulary import BusinessStep

if TYPE_CHECKING:
    from integration.conftest import Site

CARTON, OTHER = "sscc:095060001343520017", "sscc:095060001343520024"
SINCE = (NOON - timedelta(minutes=1)).isoformat()


async def ok(site: "Site", method: str, path: str, **more: Any) -> Any:
    answer = await site.ask(method, path, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def notice(*lines: Any, **more: Any) -> dict[str, Any]:
    return {"supplier": "maker", "site": "north", "since": SINCE, "lines": lines, **more}


async def received(site: "Site", *scans: Scan) -> None:
    """Project scans, each the first of its unit or behind those of it before."""
    by_unit = dict[str, list[Scan]]()
    for scan in scans:
        by_unit.setdefault(scan.unit, []).append(scan)
    for unit, some in by_unit.items():
        for movement in site.movements(*some):
            await site.put_movement(movement, unit)
    ids = [scan.event_id for scan in scans]
    count = "SELECT count(*) FROM movement WHERE event_id = ANY(%s)"
    await site.until(lambda: site.rows(count, ids) == [(len(ids),)])


async def progress(site: "Site", **asked: Any) -> Any:
    return await ok(site, "GET", "/advance-notices/ASN-7/progress", params=asked)


def stands(told: Any) -> dict[str, str]:
    return {each["unit"].rpartition(".")[2]: each["status"] for each in told["units"]}


async def test_a_notice_is_entered_received_and_closed(site: "Site") -> None:
    await site.start("api")
    await site.start("projector")
    line = {"product": GTIN, "ranges": [{"low": "S1", "high": "S4"}], "carton": CARTON[5:]}
    other = {"product": GTIN, "serials": ["S5"], "carton": OTHER[5:]}
    screws = {"product": "screws", "quantity": 3}
    body = notice(line, other, screws, stations=["dock-1"])
    told = await ok(site, "PUT", "/advance-notices/ASN-7", json=body)
    assert (told["version"], told["units"], told["cartons"], told["quantity"]) == (1, 5, 2, 3)
    begun = await progress(site, status="expected")
    assert (begun["announced"], begun["here"], begun["is_complete"]) == (8, 0, False)
    assert len(begun["units"]) == 7  # with both cartons
    await received(
        site,
        site.scan("S1"),
        site.scan("S2", parent=OTHER),
        site.scan("S9"),
        site.scan("T1", unit="sn:lamp.T1"),
        site.scan("S3", site="south"),
        site.scan("S4", -10),  # before it counts
    )
    now = await progress(site)
    assert stands(now) == {"S2": "swapped", "S9": "over", "T1": "unknown"}
    assert now["counts"]["received"] == 1
    (swapped,) = [each for each in now["units"] if each["status"] == "swapped"]
    assert (swapped["carton"], swapped["received"]["carton"]) == (CARTON, OTHER)
    first = await progress(site, limit=2)
    second = await progress(site, limit=2, cursor=first["next"])
    assert (stands(first) | stands(second), second["next"]) == (stands(now), None)
    address = "/advance-notices/ASN-7/quantities/screws"
    assert (await ok(site, "PUT", address, json={"received": 3}))["announced"] == 3
    closed = await ok(site, "POST", "/advance-notices/ASN-7/close")
    assert (closed["here"], closed["announced"], closed["published"]) == (5, 8, True)
    assert stands(await progress(site, status="short")).keys() >= {"S3", "S4", "S5"}
    (record,) = await (await site.log(Topic.FINDINGS)).until(1)
    finding = findings.decode(record.value)
    assert (finding.status, finding.document) == ("stated", "advance_notice ASN-7")
    assert "3 of 8 units short, 1 over, 1 unknown, 1 swapped" in finding.text
    again = await site.ask("PUT", "/advance-notices/ASN-7", json=body)
    assert (again.status_code, again.json()["title"]) == (409, "Closed")
    assert (await site.ask("PUT", address, json={"received": 1})).status_code == 409


async def test_what_came_after_all_takes_the_finding_back(site: "Site") -> None:
    await site.start("api")
    await site.start("projector")
    line = {"product": GTIN, "serials": ["S1"]}
    await ok(site, "PUT", "/advance-notices/ASN-7", json=notice(line))
    await ok(site, "POST", "/advance-notices/ASN-7/close")
    await received(site, site.scan("S1"))
    closed = await ok(site, "POST", "/advance-notices/ASN-7/close")
    assert closed["is_complete"]
    told = [findings.decode(r.value) for r in await (await site.log(Topic.FINDINGS)).until(2)]
    assert [each.status for each in told] == ["stated", "withdrawn"]
    assert told[0].id == told[1].id
    await ok(site, "PUT", "/advance-notices/ASN-8", json=notice(line))
    assert (await ok(site, "POST", "/advance-notices/ASN-8/close"))["is_complete"]
    assert site.rows("SELECT * FROM outbox") == []  # all as announced: nothing to tell


async def test_a_carton_brings_its_units_another_id_counts_and_a_voided_scan_does_not(
    site: "Site",
) -> None:
    await site.start("api")
    await site.start("projector")
    imei = "356938035643809"
    lines = (
        {"product": GTIN, "serials": ["S1", "S2"], "carton": CARTON[5:]},
        {"codes": [imei]},
        {"product": GTIN, "serials": ["S4"]},
    )
    await ok(site, "PUT", "/advance-notices/ASN-7", json=notice(*lines))
    await ok(site, "PUT", "/identifiers", json={"ids": [site.barcode("S3"), imei]})
    wrong = site.scan("S4")
    await received(
        site,
        site.scan("carton", unit=CARTON),
        site.scan("S3"),
        wrong,
        site.scan("S4", 1, corrects=wrong.event_id, event_id="mended"),
        site.scan("S5", business_step=BusinessStep.STORING),
    )
    told = await progress(site, status=["by_carton", "received", "expected"])
    by_unit = {each["unit"]: each["status"] for each in told["units"]}
    assert by_unit == {
        CARTON: "received",
        site.unit("S1"): "by_carton",
        site.unit("S2"): "by_carton",
        site.unit("S3"): "received",
        site.unit("S4"): "expected",
    }
    assert told["here"] == 3


async def test_what_another_open_notice_announces_is_not_unknown_to_this_one(site: "Site") -> None:
    await site.start("api")
    await site.start("projector")
    mine = notice({"product": "lamp", "serials": ["S1"]}, stations=["dock-1"])
    await ok(site, "PUT", "/advance-notices/ASN-7", json=mine)
    theirs = notice({"product": GTIN, "serials": ["S2"]}, stations=["dock-1"])
    await ok(site, "PUT", "/advance-notices/ASN-8", json=theirs)
    await received(site, site.scan("S2"), site.scan("S3"))
    assert stands(await progress(site)) == {"S3": "unknown"}


async def test_a_notice_is_replaced_as_a_whole_and_what_was_counted_stays(site: "Site") -> None:
    await site.start("api")
    lines = {"product": GTIN, "serials": ["S1", "S2"]}, {"product": "screws", "quantity": 3}
    first = await ok(site, "PUT", "/advance-notices/ASN-7", json=notice(*lines))
    await ok(site, "PUT", "/advance-notices/ASN-7/quantities/screws", json={"received": 2})
    later = notice({"product": GTIN, "serials": ["S2"]}, {"product": "screws", "quantity": 4})
    del later["since"]
    second = await ok(site, "PUT", "/advance-notices/ASN-7", json=later)
    assert (second["version"], second["since"]) == (3, first["since"])
    told = await progress(site, status="expected")
    assert stands(told) == {"S2": "expected"}
    assert told["quantities"] == [{"product": "screws", "announced": 4, "received": 2}]
    listed = await ok(site, "GET", "/advance-notices", params={"is_closed": "false"})
    assert [each["id"] for each in listed["advance_notices"]] == ["ASN-7"]
    assert await ok(site, "GET", "/advance-notices/ASN-7") == listed["advance_notices"][0]
    none = await ok(site, "GET", "/advance-notices", params={"is_closed": "true"})
    assert none == {"advance_notices": [], "next": None}


async def test_a_notice_as_csv(site: "Site") -> None:
    await site.start("api")
    csv = (
        "Product,serial,low,high,quantity,carton,pallet,kit,code\r\n"
        f"{GTIN},S1,,,,{CARTON[5:]},{OTHER[5:]},k1,\r\n"
        f'{GTIN},"S,2",,,,,,k1,\r\n'
        f"{GTIN},,A08,A11,,,,,\r\n"
        "\r\n"
        "screws,,,,7,,,,\r\n"
        ",,,,,,,,356938035643809\r\n"
    )
    address, asked = "/advance-notices/ASN-7/csv", {"supplier": "maker", "site": "north"}
    told = await ok(site, "PUT", address, params=asked, content="\ufeff" + csv)
    assert (told["units"], told["cartons"], told["quantity"]) == (7, 2, 7)
    found = await progress(site, status="expected")
    assert {each["unit"] for each in found["units"]} == {
        *(site.unit(serial) for serial in ("S1", "S,2", "A08", "A09", "A10", "A11")),
        "imei:35693803564380",
        CARTON,
        OTHER,
    }
    assert found["kits"] == {"announced": 1, "here": 0}


async def test_a_csv_with_wrong_lines_changes_nothing_and_each_is_told(site: "Site") -> None:
    await site.start("api")
    csv = (
        "product,serial,low,high,quantity,carton\n"
        f"{GTIN},S1,,,,\n"
        "09506000134353,S2,,,,\n"
        f"{GTIN},,9,8,,\n"
        f"{GTIN},S3,,,5,\n"
        f"{GTIN},S4,,,,{GTIN}\n"
        "screws,,,,many,\n"
        "one,two\n"
        ",S5,,,,\n"
        f'{GTIN},"S6,,,,\n'
    )
    asked = {"supplier": "maker", "site": "north"}
    answer = await site.ask("PUT", "/advance-notices/ASN-7/csv", params=asked, content=csv)
    assert answer.status_code == 400
    lines = answer.json()["lines"]
    assert [(each["line"], each["field"]) for each in lines] == [
        (3, "product"),
        (4, "low"),
        (5, ""),
        (6, "carton"),
        (7, "quantity"),
        (8, ""),
        (9, "product"),
        (10, ""),
    ]
    assert "should end in 2" in lines[0]["detail"]
    assert site.rows("SELECT * FROM advance_notice") == []
    twice = f"product,serial\n{GTIN},S1\n\n{GTIN},S1\n"
    answer = await site.ask("PUT", "/advance-notices/ASN-7/csv", params=asked, content=twice)
    (line,) = answer.json()["lines"]
    assert (line["line"], "announced by line 1 already" in line["detail"]) == (4, True)
    for content in (b"", b"\xff\xfe", b"serial,colour\n", b"serial,serial\n", b'"x'):
        answer = await site.ask("PUT", "/advance-notices/ASN-7/csv", params=asked, content=content)
        assert answer.status_code == 400, content
        assert "CSV" in answer.json()["detail"]


NO_NOTICES: list[tuple[dict[str, Any], str]] = [
    ({"supplier": ""}, "supplier"),
    ({"site": "no such/site"}, "site"),
    ({"stations": ["?"]}, "stations"),
    ({"since": "2026-03-01T12:00:00"}, "since"),
    ({"lines": [{"product": GTIN}]}, "lines[0]"),
    ({"lines": [{"product": GTIN, "quantity": 1, "serials": ["1"]}]}, "lines[0]"),
    ({"lines": [{"serials": ["1"]}]}, "lines[0].product"),
    ({"lines": [{"product": GTIN, "quantity": 0}]}, "lines[0].quantity"),
    ({"lines": [{"product": GTIN, "serials": ["é"]}]}, "lines[0].serials"),
    (
        {"lines": [{"product": GTIN, "ranges": [{"low": "2", "high": "1"}]}]},
        "lines[0].ranges[0].low",
    ),
    ({"lines": [{"product": GTIN, "serials": ["1"], "carton": GTIN}]}, "lines[0].carton"),
    ({"lines": [{"codes": ["?"]}]}, "lines[0].codes"),
    ({"lines": [{"product": GTIN, "serials": ["1", "1"]}]}, "lines[0]"),
    ({"cartons": [{"sscc": CARTON[5:], "on": CARTON[5:]}]}, "lines[0]"),
]


async def test_a_notice_that_cannot_be_meant_is_refused(
    site: "Site", subtests: pytest.Subtests
) -> None:
    await site.start("api")
    for changes, field in NO_NOTICES:
        with subtests.test(changes=changes):
            body = notice({"product": GTIN, "serials": ["1"]}) | changes
            answer = await site.ask("PUT", "/advance-notices/ASN-7", json=body)
            assert (answer.status_code, answer.json()["field"]) == (400, field), answer.text


async def test_what_is_not_there_is_not_found(site: "Site") -> None:
    await site.start("api")
    address = "/advance-notices/ASN-7"
    for method, path in (("GET", ""), ("GET", "/progress"), ("POST", "/close")):
        assert (await site.ask(method, f"{address}{path}")).status_code == 404
    screws = f"{address}/quantities/screws"
    assert (await site.ask("PUT", screws, json={"received": 1})).status_code == 404
    await ok(site, "PUT", address, json=notice({"product": GTIN, "serials": ["1"]}))
    assert (await site.ask("PUT", screws, json={"received": 1})).status_code == 404
    assert (await site.ask("PUT", screws, json={"received": -1})).status_code == 400


async def test_a_unit_that_only_its_carton_was_scanned_for_came_by_that(site: "Site") -> None:
    await site.start("api")
    await site.start("projector")
    line = {"product": GTIN, "serials": ["S1", "S2", "S3"], "carton": CARTON[5:]}
    await ok(site, "PUT", "/advance-notices/ASN-7", json=notice(line))

    def inside(serial: str, carton: str, event_id: str) -> Scan:
        origin = Origin(unit=carton, event_id=event_id)
        return site.scan(serial, 0, event_id=f"derived/{serial}", derived_from=origin)

    def packed(serial: str, carton: str) -> Scan:
        return site.scan(serial, -9, parent=carton, business_step=BusinessStep.PACKING)

    first, second = site.scan("c1", unit=CARTON), site.scan("c2", unit=OTHER)
    await received(site, first)
    await received(site, second)
    lives = [
        [packed("S1", CARTON), inside("S1", CARTON, first.event_id)],
        [packed("S2", CARTON), inside("S2", CARTON, first.event_id), site.scan("S2", 3)],
        [packed("S3", OTHER), inside("S3", OTHER, second.event_id)],
    ]
    for life in lives:
        for movement in site.movements(*life):
            await site.put_movement(movement, life[0].unit)
    await site.until(lambda: site.rows("SELECT count(*) FROM movement") == [(9,)])
    told = await progress(site, status=["by_carton", "received", "swapped"])
    assert {each["unit"]: each["status"] for each in told["units"]} == {
        CARTON: "received",
        site.unit("S1"): "by_carton",
        site.unit("S2"): "received",  # and itself, later
        site.unit("S3"): "swapped",  # in another carton
    }
