"""EPCIS 2.0 over the API: what is asked for, in pages and as a file, from a real database."""

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from epcis_schema import faults
from integration.conftest import GTIN
from scantrail.api import epcis, epcis_queries
from scantrail.contracts.epcis_hash import event_hash_id
from scantrail.domain.scan import Scan
from scantrail.domain.vocabulary import BusinessStep

if TYPE_CHECKING:
    from integration.conftest import Site

LINK = f"https://id.gs1.org/01/{GTIN}/21/"
BASE = "https://scantrail.invalid/epcis/"
CARTON = "sscc:095060001343520017"


async def begin(site: "Site", *scans: Scan) -> None:
    """An api, and the movements of these scans in its database."""
    for name in ("api", "projector"):
        await site.start(name)
    of_unit: dict[str, list[Scan]] = {}
    for scan in scans:
        of_unit.setdefault(scan.unit, []).append(scan)
    for unit, told in of_unit.items():
        for movement in site.movements(*told):
            await site.put_movement(movement, unit)
    await site.until(lambda: len(site.rows("SELECT * FROM movement")) == len(scans))


async def ask(site: "Site", path: str = "/epcis/events", **asked: Any) -> list[dict[str, Any]]:
    """The events of one page, or of a file, which must be valid."""
    answer = await site.ask("GET", path, params=asked)
    assert answer.status_code == 200, answer.text
    return events_of(answer.json())


def events_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    assert faults(document) == []
    body = document["epcisBody"]
    results = body["queryResults"]["resultsBody"] if "queryResults" in body else body
    events: list[dict[str, Any]] = results["eventList"]
    for event in events:
        assert event["eventID"] == event_hash_id(event)
    return events


def serials(events: list[dict[str, Any]]) -> list[str]:
    found = [
        event["epcList"][0] if "epcList" in event else event["childEPCs"][0] for event in events
    ]
    return [each.removeprefix(LINK) for each in found]


async def every_page(site: "Site", **asked: Any) -> tuple[list[dict[str, Any]], int]:
    """All events, page by page as `Link` leads, and how many pages there were."""
    found: list[dict[str, Any]] = []
    answer = await site.ask("GET", "/epcis/events", params=asked)
    for count in range(1, 200):
        assert answer.status_code == 200, answer.text
        found += events_of(answer.json())
        if "Link" not in answer.headers:
            return found, count
        path, _, rel = answer.headers["Link"].partition(">; ")
        assert rel == 'rel="next"'
        answer = await site.ask("GET", path.removeprefix("<"))
    raise AssertionError("the pages do not end")


async def test_a_page_is_a_query_document_and_links_to_the_next(site: "Site") -> None:
    await begin(site, *(site.scan(f"S{n}", minute=n) for n in range(5)))
    await site.until(lambda: site.rows("SELECT * FROM unit WHERE serial = 'S4'"))
    answer = await site.ask("GET", "/epcis/events", params={"perPage": 2})
    assert answer.headers["content-type"] == "application/json"
    assert {name: answer.headers[name] for name in epcis.HEADERS} == epcis.HEADERS
    document = answer.json()
    assert (document["type"], document["schemaVersion"]) == ("EPCISQueryDocument", "2.0")
    first = events_of(document)
    assert first[0] == {
        "type": "ObjectEvent",
        "eventTime": told_time(noon(site)),
        "eventTimeZoneOffset": "+00:00",
        "epcList": [f"{LINK}S0"],
        "action": "OBSERVE",
        "bizStep": "receiving",
        "readPoint": {"id": f"{BASE}read_point/dock-1.antenna"},
        "bizLocation": {"id": f"{BASE}location/Hall%20A"},
        "eventID": first[0]["eventID"],
        "recordTime": told_time(noon(site)),
    }
    found, pages = await every_page(site, perPage=2)
    assert (serials(found), pages) == (["S0", "S1", "S2", "S3", "S4"], 3)
    as_ld = await site.ask("GET", "/epcis/events", headers={"Accept": "application/ld+json"})
    assert as_ld.headers["content-type"] == "application/ld+json"


def noon(site: "Site") -> datetime:
    """When a scan happened that says no minute."""
    return site.scan("S").event_time


def told_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


async def test_what_is_asked_for_is_found_and_nothing_else(site: "Site") -> None:
    packed = site.scan(
        "P1", 2, business_step=BusinessStep.PACKING, parent=CARTON, business_location="Hall B"
    )
    back = site.scan("R1", 3, business_step=BusinessStep.RETURNING, order="4711")
    stored = site.scan(
        "R1", 4, business_step=BusinessStep.STORING, business_location="9506000134307"
    )
    # a clock that is off counts for nothing: it came at minute 6
    skewed = site.scan("X1", 5, event_time=noon(site) + timedelta(days=4000), clock_skew_s=3.456e8)
    await begin(site, site.scan("S1"), site.scan("S2", 1), packed, back, stored, skewed)
    at = [(noon(site) + timedelta(minutes=minute)).isoformat() for minute in range(8)]
    for asked, expected in [
        ({}, ["S1", "S2", "P1", "R1", "R1", "X1"]),
        ({"MATCH_anyEPC": f"{LINK}S2"}, ["S2"]),
        ({"MATCH_anyEPC": "urn:epc:id:sgtin:9506000.013435.S2"}, ["S2"]),
        ({"MATCH_anyEPC": [f"{LINK}S2", site.unit("S1")]}, ["S1", "S2"]),
        ({"MATCH_anyEPC": f"{LINK}S2|{LINK}S1"}, ["S1", "S2"]),
        ({"MATCH_anyEPC": "https://id.gs1.org/00/095060001343520017"}, ["P1"]),
        ({"MATCH_anyEPC": f"{LINK}NEVER"}, []),
        ({"GE_eventTime": at[1], "LT_eventTime": at[3]}, ["S2", "P1"]),
        ({"GE_eventTime": at[5]}, ["X1"]),
        ({"LT_eventTime": at[1]}, ["S1"]),
        ({"GE_recordTime": at[4]}, ["R1", "X1"]),
        ({"GE_recordTime": at[1], "LT_recordTime": at[2]}, ["S2"]),
        ({"EQ_bizStep": "packing"}, ["P1"]),
        ({"EQ_bizStep": "packing|storing"}, ["P1", "R1"]),
        ({"EQ_bizStep": "cbv:BizStep-receiving", "GE_eventTime": at[3]}, ["R1", "X1"]),
        ({"EQ_bizLocation": f"{BASE}location/Hall%20B"}, ["P1"]),
        ({"EQ_bizLocation": "Hall B"}, ["P1"]),
        ({"EQ_bizLocation": "https://id.gs1.org/414/9506000134307"}, ["R1"]),
        ({"EQ_bizLocation": "Hall C"}, []),
        ({"EQ_bizLocation": "Hall A", "EQ_bizStep": "receiving", "LT_eventTime": at[1]}, ["S1"]),
    ]:
        assert serials(await ask(site, **asked)) == expected, asked
        assert serials(await ask(site, "/epcis/export", **asked)) == expected, asked
    (event,) = await ask(site, MATCH_anyEPC=CARTON)
    assert (event["type"], event["action"]) == ("AggregationEvent", "ADD")
    assert event["parentID"] == "https://id.gs1.org/00/095060001343520017"
    returned, _ = await ask(site, MATCH_anyEPC=site.unit("R1"))
    assert (returned["bizStep"], returned["disposition"]) == ("receiving", "returned")
    assert returned["bizTransactionList"] == [{"type": "po", "bizTransaction": f"{BASE}order/4711"}]


async def test_the_offset_is_that_of_the_site(site: "Site") -> None:
    await begin(site, site.scan("S1"))
    answer = await site.ask("PUT", "/sites/north", json={"time_zone": "Asia/Kathmandu"})
    assert answer.status_code == 200, answer.text
    (event,) = await ask(site)
    assert event["eventTimeZoneOffset"] == "+05:45"
    assert event["eventTime"] == told_time(noon(site))


@pytest.mark.parametrize("is_slow", [False, True])
async def test_a_walk_over_years_leaves_nothing_out(
    site: "Site", monkeypatch: pytest.MonkeyPatch, is_slow: bool
) -> None:
    """Also where each page ends with its first slice."""
    if is_slow:
        monkeypatch.setattr(epcis_queries, "PAGE_S_MAX", 0.0)
        monkeypatch.setattr(epcis_queries, "SLICE", timedelta(days=100))
    days = [0, 0.001, 1, 1.001, 40, 700, 700.5, 1000, 1001]
    times = [noon(site) - timedelta(days=1001 - day) for day in days]
    scans = [site.scan(f"S{n}", n, event_time=at, record_time=at) for n, at in enumerate(times)]
    await begin(site, *reversed(scans))  # the oldest is not stored first
    expected = [f"S{n}" for n in range(len(days))]
    found, pages = await every_page(site, perPage=4)
    assert serials(found) == expected
    assert pages >= 9 if is_slow else pages == 3
    assert serials(await ask(site, "/epcis/export")) == expected
    of_days = {"GE_eventTime": times[4].isoformat(), "LT_eventTime": times[7].isoformat()}
    found, _ = await every_page(site, **of_days)
    assert serials(found) == ["S4", "S5", "S6"]


async def test_a_scan_is_found_by_when_it_happened_however_late_it_was_recorded(
    site: "Site",
) -> None:
    """Up to how far a clock may be off, and a device may keep it."""
    at = noon(site)
    late, ahead = timedelta(days=29, hours=23), timedelta(minutes=4)
    await begin(
        site,
        site.scan("L1", event_time=at - late),
        site.scan("A1", event_time=at + ahead, event_id="ahead"),
    )
    minute = timedelta(minutes=1)
    around = {
        "GE_eventTime": (at - late - minute).isoformat(),
        "LT_eventTime": (at - late + minute).isoformat(),
    }
    assert serials(await ask(site, **around)) == ["L1"]
    since = {"GE_eventTime": (at + ahead - minute).isoformat()}
    assert serials(await ask(site, **since)) == ["A1"]


async def test_scans_of_one_moment_are_told_once_over_all_pages(site: "Site") -> None:
    scans = [site.scan(f"S{n}", event_id=f"e{n}") for n in range(7)]
    await begin(site, *scans)
    # as a forwarded scan is: under the key that was read, and under that of the unit
    site.execute(
        "INSERT INTO movement SELECT (jsonb_populate_record(m, jsonb_build_object('unit',"
        " 'imei:49015420323751', 'forwarded_from', m.unit))).* FROM movement m"
    )
    assert len(site.rows("SELECT * FROM movement")) == 14
    found, _ = await every_page(site, perPage=2)
    assert serials(found) == [f"S{n}" for n in range(7)]


async def test_what_is_no_observation_is_no_event(site: "Site") -> None:
    await begin(site, site.scan("S1"))
    for change in (
        "'derived_from', 'sscc:095060001343520017', 'derived_event_id', 'x'",
        "'same_as', 'imei:49015420323751', 'outcome', 'joined'",
        "'outcome', 'refolded'",
        "'outcome', 'released'",
    ):
        site.execute(
            "INSERT INTO movement SELECT (jsonb_populate_record(m, jsonb_build_object('event_id',"
            f" gen_random_uuid(), {change}))).* FROM movement m WHERE event_id = 'S1-0'"
        )
    assert len(site.rows("SELECT * FROM movement")) == 5
    assert serials(await ask(site)) == ["S1"]
    assert serials(await ask(site, MATCH_anyEPC=site.unit("S1"))) == ["S1"]


async def test_what_a_reader_voids_is_declared_wrong_without_a_reason(site: "Site") -> None:
    wrong = site.scan("S1")
    void = site.scan("S1", 5, corrects=wrong.event_id)
    await begin(site, wrong, void, site.scan("S2", 6))
    told, other = await ask(site)
    assert told["errorDeclaration"] == {
        "declarationTime": told_time(noon(site) + timedelta(minutes=5))
    }
    assert "errorDeclaration" not in other
    # whoever asked before hears of it, at the place of what voids it
    since = (noon(site) + timedelta(minutes=4)).isoformat()
    again, other = await ask(site, GE_recordTime=since)
    assert serials([again, other]) == ["S1", "S2"]
    assert again["eventID"] == told["eventID"]
    assert again["errorDeclaration"] == told["errorDeclaration"]
    assert again["recordTime"] == told_time(noon(site) + timedelta(minutes=5))
    for asked in ({"EQ_bizStep": "storing"}, {"MATCH_anyEPC": site.unit("S2"), "perPage": 5}):
        assert "S1" not in serials(await ask(site, GE_recordTime=since, **asked))
    one = await ask(site, GE_recordTime=since, MATCH_anyEPC=site.unit("S1"))
    assert serials(one) == ["S1"]


BAD_PARAMETERS: list[tuple[dict[str, str], str, str]] = [
    ({"MATCH_anyEPC": f"https://id.gs1.org/01/{GTIN}"}, "MATCH_anyEPC", "serial"),
    ({"MATCH_anyEPC": "urn:epc:idpat:sgtin:9506000.013435.*"}, "MATCH_anyEPC", "class"),
    ({"MATCH_anyEPC": f"{LINK}S1|"}, "MATCH_anyEPC", "give values"),
    ({"MATCH_anyEPC": "|".join([f"{LINK}S1"] * 101)}, "MATCH_anyEPC", "at most 100"),
    ({"GE_eventTime": "yesterday"}, "GE_eventTime", "give a time such as"),
    ({"LT_eventTime": "2026-03-02T08:15:00"}, "LT_eventTime", "end the time in Z"),
    ({"GE_recordTime": "2026-13-02T08:15:00Z"}, "GE_recordTime", "give a time such as"),
    ({"LT_recordTime": "0001-01-01T00:00:00Z"}, "LT_recordTime", "give a time from"),
    ({"EQ_bizStep": "dancing"}, "EQ_bizStep", "give some of commissioning"),
    ({"EQ_bizStep": ""}, "EQ_bizStep", "give values"),
    ({"EQ_bizLocation": "a\x00b"}, "EQ_bizLocation", "printable"),
    ({"EQ_disposition": "damaged"}, "EQ_disposition", "it knows MATCH_anyEPC"),
    ({"perPage": "0"}, "perPage", ""),
    ({"perPage": "1001"}, "perPage", ""),
    ({"nextPageToken": "abc"}, "nextPageToken", "`Link`"),
    ({"nextPageToken": "WyJ1bml0cyIsImEiXQ"}, "nextPageToken", "`Link`"),
]


async def test_a_bad_parameter_is_named_with_its_mend(
    site: "Site", subtests: pytest.Subtests
) -> None:
    await site.start("api")
    for asked, field, mend in BAD_PARAMETERS:
        with subtests.test(asked=asked):
            answer = await site.ask("GET", "/epcis/events", params=asked)
            assert answer.status_code == 400
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["field"] == field
            assert mend in answer.json()["detail"]
            export = await site.ask("GET", "/epcis/export", params=asked)
            assert export.status_code == 400


async def test_an_export_is_a_file_that_is_sent_as_it_is_read(
    site: "Site", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epcis, "LIMIT_MAX", 3)
    await begin(site, *(site.scan(f"S{n}", n) for n in range(8)))
    async with site.http.stream(
        "GET", f"http://127.0.0.1:{site.settings.api_port}/epcis/export"
    ) as answer:
        assert answer.headers["content-type"] == "application/ld+json"
        assert answer.headers["content-disposition"].startswith('attachment; filename="epcis-')
        assert "content-length" not in answer.headers
        parts = [part async for part in answer.aiter_raw()]
    document = json.loads(b"".join(parts))
    assert document["type"] == "EPCISDocument"
    assert serials(events_of(document)) == [f"S{n}" for n in range(8)]
    (empty,) = [await ask(site, "/epcis/export", MATCH_anyEPC=f"{LINK}NEVER")]
    assert empty == []
