"""EPCIS events are captured as scans: gateway, tracker and projector are real."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest

from epcis_schema import document, faults
from integration.conftest import GTIN
from integration.processes import started
from scantrail.api import epcis_capture, epcis_capturing
from scantrail.api.changes import Change
from scantrail.cli.tokens import make_person
from scantrail.contracts.epcis_hash import event_hash_id
from scantrail.contracts.records import decode_scan
from scantrail.contracts.topics import Topic

if TYPE_CHECKING:
    from integration.conftest import Site

LINK = f"https://id.gs1.org/01/{GTIN}/21/"
CARTON = "https://id.gs1.org/00/095060001343520017"
BASE = "https://scantrail.invalid/epcis/"
STATIONS = {
    "dock": "receiving",
    "table": "packing",
    "unpack": "unpacking",
    "line": "assembling",
    "gate": "shipping",
    "rack": "storing",
    "made": "commissioning",
}
AT = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)


@pytest.fixture
async def there(site: "Site") -> "Site":
    """An api and a gateway that know the stations; what they make is not folded."""
    for name in ("projector", "gateway", "api"):
        await site.start(name)
    for name, step in STATIONS.items():
        body = {"site": "north", "business_step": step, "repeat_window_s": 0}
        answer = await site.ask("PUT", f"/stations/{name}", json=body)
        assert answer.status_code == 200, answer.text

    async def are_known() -> bool:
        told = [event("made", "X9", action="ADD"), event("gate", "X9"), event("dock", "X9")]
        rejected = (await capture(site, told)).json()["errors"]
        return not any(each["reason"] == "unknown_station" for each in rejected)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(epcis_capturing, "_ask_gateway", _checking)
        await site.until(are_known)
    site.execute("DELETE FROM epcis_capture_event")
    site.execute("DELETE FROM epcis_capture")
    return site


_ask_gateway = epcis_capturing._ask_gateway


async def _checking(*told: Any, is_check: bool) -> None:
    """The gateway is asked, and takes nothing."""
    if is_check:
        await _ask_gateway(*told, is_check=True)


@pytest.fixture
async def at_work(there: "Site", tmp_path: Path) -> AsyncIterator["Site"]:
    """The same with a tracker."""
    with started(there.settings, tmp_path, "tracker") as (tracker,):
        await asyncio.to_thread(tracker.await_ready)
        yield there


def event(station: str, *serials: str, minute: int = 0, **more: Any) -> dict[str, Any]:
    """What happened at a station, as our own answers would tell it."""
    told = {
        "type": "ObjectEvent",
        "eventTime": (AT + timedelta(minutes=minute)).strftime("%Y-%m-%dT%H:%M:%S.250Z"),
        "eventTimeZoneOffset": "+00:00",
        "epcList": [LINK + serial for serial in serials],
        "action": "OBSERVE",
        "bizStep": STATIONS.get(station, "receiving"),
        "readPoint": {"id": f"{BASE}read_point/{station}"},
        **more,
    }
    if "childEPCs" in more:
        del told["epcList"]
    return told


def inside(station: str, serial: str, parent: str = CARTON, **more: Any) -> dict[str, Any]:
    fields = {"type": "AggregationEvent", "action": "ADD", "parentID": parent, **more}
    return event(station, childEPCs=[LINK + serial], **fields)


async def capture(
    site: "Site", events: list[Any], behaviour: str | None = None, **more: Any
) -> httpx.Response:
    headers = more.pop("headers", {})
    if behaviour is not None:
        headers["GS1-Capture-Error-Behaviour"] = behaviour
    return await site.ask("POST", "/epcis/capture", json=document(*events), headers=headers, **more)


async def job(site: "Site", events: list[Any], behaviour: str | None = None) -> dict[str, Any]:
    """The job of a document, as its own address tells it."""
    answer = await capture(site, events, behaviour)
    assert answer.status_code == 202, answer.text
    told = await site.ask("GET", answer.headers["Location"])
    assert told.status_code == 200
    assert told.json() == answer.json()
    found: dict[str, Any] = told.json()
    return found


async def outcomes(site: "Site", told: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await site.ask("GET", f"/epcis/capture/{told['captureID']}/events")
    assert answer.status_code == 200
    return list(answer.json()["events"])


async def found(site: "Site", count: int, **asked: Any) -> list[dict[str, Any]]:
    """The events that a query finds, once there are so many."""

    async def events() -> list[dict[str, Any]]:
        answer = await site.ask("GET", "/epcis/events", params={"perPage": 1000, **asked})
        assert answer.status_code == 200, answer.text
        assert faults(answer.json()) == []
        return list(answer.json()["epcisBody"]["queryResults"]["resultsBody"]["eventList"])

    async def are_there() -> bool:
        return len(await events()) >= count

    await site.until(are_there, 40.0)
    told = await events()
    assert len(told) == count, told
    return told


def plain(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What events say, in the order of their times."""
    said = [
        {k: v for k, v in each.items() if k not in ("recordTime", "eventID")} for each in events
    ]
    return sorted(said, key=lambda each: (each["eventTime"], str(each.get("epcList"))))


async def test_what_is_captured_is_found_again_as_the_same_events(at_work: "Site") -> None:
    site = at_work
    told = [
        event("made", "A1", action="ADD"),
        event(
            "dock",
            "A1",
            minute=1,
            disposition="damaged",
            bizLocation={"id": f"{BASE}location/Hall%20A"},
            bizTransactionList=[{"type": "po", "bizTransaction": f"{BASE}order/4711"}],
        ),
        inside("table", "A1", minute=2),
        inside("line", "B1", LINK + "A1", minute=3, type="AssociationEvent", bizStep="assembling"),
        inside("unpack", "A1", minute=4, action="DELETE"),
        event("gate", "A1", minute=5),
    ]
    assert faults(document(*told)) == []
    done = await job(site, told)
    assert (done["success"], done["running"], done["errors"]) == (True, False, [])
    assert done["counts"] == {"captured": 6, "already": 0, "rejected": 0, "rolled_back": 0}
    events = await found(site, 6)
    assert plain(events) == plain(told)
    assert {each["eventID"] for each in events} == {event_hash_id(each) for each in told}
    unit = (await site.ask("GET", f"/units/{site.barcode('A1')}")).json()
    assert (unit["phase"], unit["business_step"]) == ("shipped", "shipping")

    again = await job(site, told)
    assert again["counts"] == {"captured": 0, "already": 6, "rejected": 0, "rolled_back": 0}
    assert again["captureID"] != done["captureID"]
    # as a partner would send back what was told to him: also an answer to a query
    answer = await site.ask("GET", "/epcis/events")
    back = await site.ask("POST", "/epcis/capture", json=answer.json())
    assert back.json()["counts"]["already"] == 6
    await found(site, 6)
    assert len(site.rows("SELECT * FROM movement WHERE derived_from IS NULL")) == 6


async def test_an_event_of_many_units_comes_back_as_one_of_each(at_work: "Site") -> None:
    site = at_work
    serials = [f"M{n}" for n in range(1200)]
    done = await job(site, [event("dock", *serials)])
    assert done["counts"]["captured"] == 1
    (outcome,) = await outcomes(site, done)
    assert outcome["scans"] == 1200

    async def are_there() -> bool:
        return len(site.rows("SELECT * FROM movement")) == 1200

    await site.until(are_there, 40.0)
    one = await found(site, 1, MATCH_anyEPC=LINK + "M7")
    assert plain(one) == plain([event("dock", "M7")])


async def test_a_document_that_is_sent_twice_at_once_makes_each_scan_once(
    at_work: "Site",
) -> None:
    site = at_work
    told = [event("dock", "D1"), inside("table", "D1", minute=1)]
    await asyncio.gather(*(job(site, told) for _ in range(4)))
    await job(site, [event("rack", "D1", minute=2)])
    await found(site, 3)
    rows = site.rows("SELECT event_id FROM movement WHERE derived_from IS NULL")
    assert len(rows) == len(set(rows)) == 3
    assert site.rows("SELECT * FROM rejected") == []


async def test_an_error_declaration_voids_the_scan_and_names_what_stands_for_it(
    at_work: "Site",
) -> None:
    site = at_work
    wrong = event("gate", "V1", minute=1)
    await job(site, [event("dock", "V1"), wrong])
    await found(site, 2)
    right = event("rack", "V1", minute=1) | {"eventID": "urn:uuid:right"}
    declared_at = (AT + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    declaration = {
        "declarationTime": declared_at,
        "reason": "incorrect_data",
        "correctiveEventIDs": ["urn:uuid:right"],
    }
    done = await job(site, [wrong | {"errorDeclaration": declaration}, right])
    assert done["counts"]["captured"] == 2, done
    events = await found(site, 3)
    (stored,) = [each for each in events if each["bizStep"] == "storing"]
    (shipped,) = [each for each in events if each["bizStep"] == "shipping"]
    assert stored["eventID"] == event_hash_id(right)
    assert shipped["eventID"] == event_hash_id(wrong)

    async def is_declared() -> bool:
        (told,) = await found(site, 1, EQ_bizStep="shipping")
        return "errorDeclaration" in told

    await site.until(is_declared, 40.0)
    (shipped,) = await found(site, 1, EQ_bizStep="shipping")
    assert shipped["errorDeclaration"] == declaration | {"correctiveEventIDs": [stored["eventID"]]}
    unit = (await site.ask("GET", f"/units/{site.barcode('V1')}")).json()
    assert (unit["phase"], unit["business_step"]) == ("on_site", "storing")

    again = await job(site, [wrong | {"errorDeclaration": declaration}])
    assert again["counts"]["already"] == 1
    other = event("gate", "V2") | {"errorDeclaration": declaration}
    refused = await job(site, [other])
    assert [each["reason"] for each in refused["errors"]] == ["unknown_event"]
    assert "send it as it was told" in refused["errors"][0]["detail"]


async def test_what_a_person_voids_is_declared_with_the_event_that_is_right(
    at_work: "Site",
) -> None:
    """Also of another unit, whose serial was misread."""
    site = at_work
    await job(site, [event("dock", "W1")])
    await found(site, 1)
    trail = (await site.ask("GET", f"/units/{site.barcode('W1')}/trail")).json()
    answer = await site.ask(
        "POST",
        f"/scans/{quote(trail[0]['event_id'], safe='')}/void",
        json={
            "unit": site.barcode("W1"),
            "reason": "Ada misread it",
            "scan": {"unit": site.barcode("W2")},
        },
    )
    assert answer.status_code == 200, answer.text
    (right,) = await found(site, 1, MATCH_anyEPC=LINK + "W2")

    async def is_declared() -> bool:
        (told,) = await found(site, 1, MATCH_anyEPC=LINK + "W1")
        return "errorDeclaration" in told

    await site.until(is_declared, 40.0)
    (wrong,) = await found(site, 1, MATCH_anyEPC=LINK + "W1")
    declaration = wrong["errorDeclaration"]
    assert declaration["reason"] == "incorrect_data"
    assert declaration["correctiveEventIDs"] == [right["eventID"]]
    assert "Ada" not in str(wrong)


async def test_what_no_scan_keeps_is_told(there: "Site") -> None:
    site = there
    lot = {"cbvmda:lotNumber": "L7", "cbvmda:itemExpirationDate": "2027-01-01"}
    done = await job(
        site,
        [
            event("made", "L1", action="ADD", ilmd=lot, sourceList=[]),
            event("dock", "L2", bizTransactionList=[{"bizTransaction": "urn:x:1"}]),
        ],
    )
    assert done["success"]
    assert [each["leftOut"] for each in await outcomes(site, done)] == [
        ["sourceList", "ilmd.cbvmda:itemExpirationDate"],
        ["bizTransactionList[0]"],
    ]
    records = await (await site.log(Topic.SCANS)).until(2)
    scans = {scan.unit: scan for scan in (decode_scan(r.key, r.value) for r in records)}
    made = scans[site.unit("L1")]
    assert (made.lot, made.reader, made.station, made.site) == ("L7", "epcis", "made", "north")


BAD = [
    event("dock", "E2", type="TransactionEvent"),
    event("nowhere", "E3"),
    event("dock", "E4", bizStep="shipping"),
    event("dock", "E5", eventTime="2020-01-01T00:00:00Z"),
    event("dock", bizStep="receiving"),
    7,
]
REASONS = [
    "no_scan_of_it",
    "unknown_read_point",
    "no_station_for_step",
    "too_old",
    "no_units",
    "bad_field",
]


async def test_one_bad_event_rolls_all_back_and_each_is_told_why(there: "Site") -> None:
    site = there
    good = event("dock", "E1") | {"eventID": "urn:uuid:good"}
    done = await job(site, [good, *BAD])
    assert (done["success"], done["captureErrorBehaviour"]) == (False, "rollback")
    assert [each["reason"] for each in done["errors"]] == REASONS
    assert [each["event"] for each in done["errors"]] == [1, 2, 3, 4, 5, 6]
    assert all(each["status"] == 400 and each["detail"] for each in done["errors"])
    assert done["counts"] == {"captured": 0, "already": 0, "rejected": 6, "rolled_back": 1}
    told = await outcomes(site, done)
    assert [each["number"] for each in told] == list(range(7))
    stored = site.rows("SELECT epcis_capture_event::text FROM epcis_capture_event")
    assert "2020-01-01T00:00:00Z" not in str(stored), "what made no scan is not kept"
    assert (told[0]["status"], told[0]["eventID"]) == ("rolled_back", "urn:uuid:good")
    assert await (await site.log(Topic.SCANS)).records() == []


async def test_with_proceed_the_others_are_taken(there: "Site") -> None:
    site = there
    done = await job(site, [event("dock", "E1"), *BAD, event("rack", "E1", minute=1)], "proceed")
    assert (done["success"], done["captureErrorBehaviour"]) == (False, "proceed")
    assert [each["reason"] for each in done["errors"]] == REASONS
    assert done["counts"] == {"captured": 2, "already": 0, "rejected": 6, "rolled_back": 0}
    records = await (await site.log(Topic.SCANS)).until(2)
    assert {record.key for record in records} == {site.unit("E1").encode()}
    told = await outcomes(site, done)
    page = await site.ask("GET", f"/epcis/capture/{done['captureID']}/events", params={"limit": 3})
    rest = await site.ask(
        "GET",
        f"/epcis/capture/{done['captureID']}/events",
        params={"limit": 100, "cursor": page.json()["next"]},
    )
    assert page.json()["events"] + rest.json()["events"] == told
    assert rest.json()["next"] is None


async def test_what_the_gateway_would_refuse_is_refused_before_anything_is_sent(
    there: "Site",
) -> None:
    site = there
    body = {"name": "Pump", "serial_formats": ["P###"]}
    answer = await site.ask("PUT", f"/products/{GTIN}", json=body)
    assert answer.status_code == 200, answer.text
    told = [event("dock", "P001", "P002"), event("dock", "P003", "Q1", "Q2")]

    async def is_refused() -> bool:
        return not (await job(site, told))["success"]

    with pytest.MonkeyPatch.context() as patched:  # until the gateway knows the format
        patched.setattr(epcis_capturing, "_ask_gateway", _checking)
        await site.until(is_refused)
    done = await job(site, told)
    (error,) = done["errors"]
    assert (error["event"], error["reason"]) == (1, "bad_serial_format")
    assert f"{site.unit('Q1')}: serial 'Q1'" in error["detail"]
    assert await (await site.log(Topic.SCANS)).records() == []
    # and what declares it wrong voids nothing
    declared = {"errorDeclaration": {"declarationTime": "2026-03-02T09:00:00Z"}}
    done = await job(site, [*told, told[1] | declared], "proceed")
    assert [each["reason"] for each in done["errors"]] == ["bad_serial_format", "unknown_event"]
    assert done["counts"] == {"captured": 1, "already": 0, "rejected": 2, "rolled_back": 0}
    await (await site.log(Topic.SCANS)).until(2)


async def test_what_declares_a_refused_event_wrong_voids_nothing(there: "Site") -> None:
    site = there
    wrong = event("dock", "E1", bizStep="dancing")
    right = event("dock", "E2")
    declared = {"errorDeclaration": {"declarationTime": "2026-03-02T09:00:00Z"}}
    done = await job(site, [wrong, wrong | declared, right, right | declared], "proceed")
    assert [each["reason"] for each in done["errors"]] == ["unknown_step", "unknown_step"]
    assert done["counts"]["captured"] == 2
    records = await (await site.log(Topic.SCANS)).until(2)
    scans = [decode_scan(r.key, r.value) for r in records]
    assert scans[1].corrects == scans[0].event_id


NO_DOCUMENTS: list[tuple[Any, str | None]] = [
    (b"", ""),
    (b"<epcis:EPCISDocument/>", ""),
    (b"[]", ""),
    (b'{"type": "EPCISDocument", "epcisBody": {"eventList": ["a\\u0000"]}}', None),
    ({"type": "ObjectEvent"}, "type"),
    ({"schemaVersion": "1.2"}, "schemaVersion"),
    ({"schemaVersion": 2}, "schemaVersion"),
    ({"epcisBody": {}}, "epcisBody.eventList"),
    ({"epcisBody": {"eventList": {}}}, "epcisBody.eventList"),
    ({"type": "EPCISQueryDocument"}, "epcisBody.queryResults.resultsBody.eventList"),
    ({"epcisBody": {"eventList": [1, 2, 3, 4]}}, "epcisBody.eventList"),
]


async def test_what_is_no_document_is_refused_with_its_field(
    site: "Site", monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    monkeypatch.setattr(epcis_capture, "EVENTS_MAX", 3)
    await site.start("api")
    for told, field in NO_DOCUMENTS:
        with subtests.test(told=told):
            sent: dict[str, Any] = {"json": document() | told} if isinstance(told, dict) else {}
            answer = await site.ask("POST", "/epcis/capture", **(sent or {"content": told}))
            assert answer.status_code == 400, answer.text
            if field is not None:
                assert answer.json()["field"] == field
            assert site.rows("SELECT * FROM epcis_capture") == []


async def test_an_error_behaviour_that_is_none_is_refused(site: "Site") -> None:
    await site.start("api")
    answer = await capture(site, [], "perhaps")
    assert (answer.status_code, answer.json()["field"]) == (400, "GS1-Capture-Error-Behaviour")


async def test_without_a_gateway_nothing_is_taken_and_no_job_is_there(site: "Site") -> None:
    for name in ("api", "projector"):
        await site.start(name)
    body = {"site": "north", "business_step": "receiving"}
    await site.ask("PUT", "/stations/dock", json=body)
    answer = await capture(site, [event("dock", "G1")])
    assert answer.status_code == 503
    assert "no scan is made twice" in answer.json()["detail"]
    assert site.rows("SELECT * FROM epcis_capture") == []
    # without an event for it the gateway is not asked
    assert (await job(site, []))["success"]


async def test_a_capture_that_died_is_sent_again_and_doubles_nothing(
    at_work: "Site", monkeypatch: pytest.MonkeyPatch
) -> None:
    site = at_work
    told = [event("dock", "K1")]

    def dies(*_: Any, **more: Any) -> None:
        raise RuntimeError("the process is gone")

    with monkeypatch.context() as patched:
        patched.setattr(Change, "note", dies)
        assert (await capture(site, told)).status_code == 500
    assert site.rows("SELECT * FROM epcis_capture") == []
    assert (await job(site, told))["success"]
    await found(site, 1)


async def test_jobs_are_listed_in_pages(there: "Site") -> None:
    site = there
    made = [(await job(site, [event("dock", f"J{n}")]))["captureID"] for n in range(3)]
    first = await site.ask("GET", "/epcis/capture", params={"perPage": 2})
    assert [each["captureID"] for each in first.json()] == made[:2]
    path = first.headers["Link"].partition(">")[0].removeprefix("<")
    second = await site.ask("GET", path)
    assert [each["captureID"] for each in second.json()] == made[2:]
    assert "Link" not in second.headers
    missing = await site.ask("GET", "/epcis/capture/none")
    assert missing.status_code == 404
    assert (await site.ask("GET", "/epcis/capture/none/events")).status_code == 404
    bad = await site.ask("GET", "/epcis/capture", params={"nextPageToken": "x"})
    assert (bad.status_code, bad.json()["field"]) == (400, "nextPageToken")
    odd = await site.ask("GET", "/epcis/capture", params={"cursor": "x"})
    assert (odd.status_code, odd.json()["field"]) == (400, "cursor")
    bad = await site.ask("GET", f"/epcis/capture/{made[0]}/events", params={"cursor": "x"})
    assert (bad.status_code, bad.json()["field"]) == (400, "cursor")
    noted = site.rows("SELECT reference FROM audit WHERE entity = 'epcis_capture' ORDER BY number")
    assert [each for (each,) in noted][-3:] == made


async def test_a_token_captures_at_its_sites(site: "Site") -> None:
    said = await asyncio.to_thread(make_person, site.settings, "south-1", "operate", ["south"])
    reader = await asyncio.to_thread(make_person, site.settings, "reads", "read", [])
    await site.start("gateway")
    await site.start("api")
    body = {"site": "north", "business_step": "receiving"}
    await site.ask("PUT", "/stations/dock", json=body)
    port = site.settings.api_port
    settings = replace(site.settings, api_tokens="required", api_port=site.settings.api_health_port)
    await site.start("api", settings)
    address = f"http://127.0.0.1:{settings.api_port}/epcis/capture"
    assert port != settings.api_port
    bearer = {"Authorization": f"Bearer {said.split('Bearer ')[1].split()[0]}"}
    told = document(event("dock", "T1"))
    answer = await site.http.post(address, json=told, headers=bearer)
    assert answer.status_code == 202, answer.text
    (error,) = answer.json()["errors"]
    assert (error["reason"], error["field"]) == ("other_site", "readPoint.id")
    bearer = {"Authorization": f"Bearer {reader.split('Bearer ')[1].split()[0]}"}
    assert (await site.http.post(address, json=told, headers=bearer)).status_code == 403
