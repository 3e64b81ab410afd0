"""EPCIS events as scans: what is taken of each, and why others are refused."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scantrail.contracts.epcis_capture import NotAScan, claim_of, events_in, station_of
from scantrail.contracts.epcis_events import Observed, event_of
from scantrail.contracts.epcis_uris import Uris
from scantrail.domain.station import Station
from scantrail.domain.vocabulary import BusinessStep

BASE = "https://wms.example.com/epcis/"
URIS = Uris(BASE)
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LINK = "https://id.gs1.org"
UNIT, OTHER = f"{LINK}/01/09506000134352/21/A1", f"{LINK}/01/09506000134352/21/A2"
CARTON = f"{LINK}/00/095060001343520017"
EVENT: dict[str, Any] = {
    "type": "ObjectEvent",
    "eventTime": "2026-03-02T09:15:00.250+01:00",
    "eventTimeZoneOffset": "+01:00",
    "epcList": [UNIT, OTHER, UNIT],
    "action": "OBSERVE",
    "bizStep": "receiving",
    "readPoint": {"id": f"{BASE}read_point/dock-1"},
}
PACKED = {
    **{name: told for name, told in EVENT.items() if name != "epcList"},
    "type": "AggregationEvent",
    "parentID": CARTON,
    "childEPCs": [UNIT],
    "action": "ADD",
    "bizStep": "packing",
}


def station(station_id: str = "dock-1", step: str = "receiving", **more: Any) -> Station:
    fields = {"read_point": "dock-1", "site": "north", **more}
    return Station(id=station_id, business_step=BusinessStep(step), **fields)


def refused(event: dict[str, Any], *there: Station) -> tuple[str, str, str]:
    with pytest.raises(NotAScan) as told:
        understood(event, *there)
    return told.value.reason, told.value.field, told.value.detail


def understood(event: dict[str, Any], *there: Station) -> Station:
    return station_of(claim_of(event, URIS, NOW), there)


def test_what_an_event_says() -> None:
    event = EVENT | {
        "disposition": "urn:epcglobal:cbv:disp:in_progress",
        "bizLocation": {"id": f"{BASE}location/Hall%20A"},
        "bizTransactionList": [
            {"type": "po", "bizTransaction": "urn:epcglobal:cbv:bt:9506000134307:4711"},
            {"type": "rma", "bizTransaction": f"{BASE}rma/9"},
            {"type": "desadv", "bizTransaction": "urn:epcglobal:cbv:bt:9506000134307:1"},
            {"type": "po", "bizTransaction": f"{BASE}order/4712"},
        ],
        "ilmd": {"cbvmda:lotNumber": "L7", "cbvmda:itemExpirationDate": "2027-01-01"},
        "sensorElementList": [],
        "sourceList": [],
        "eventID": "urn:uuid:1",
        "recordTime": "2026-03-02T08:15:01Z",
        "example:more": 1,
    }
    claim = claim_of(event, URIS, NOW)
    assert [unit.key for unit in claim.units] == [
        "sgtin:09506000134352.A1",
        "sgtin:09506000134352.A2",
    ]
    assert claim.at == datetime(2026, 3, 2, 8, 15, 0, 250_000, tzinfo=UTC)
    assert claim.steps == (BusinessStep.RECEIVING, BusinessStep.RETURNING)
    assert (claim.disposition, claim.location, claim.lot) == ("in_progress", "Hall A", "L7")
    assert (claim.order, claim.rma, claim.parent, claim.voids) == ("4711", "9", None, None)
    assert claim.left_out == (
        "example:more",
        "sensorElementList",
        "sourceList",
        "bizTransactionList[2]",
        "bizTransactionList[3]",
        "ilmd.cbvmda:itemExpirationDate",
    )
    assert station_of(claim, [station()]).id == "dock-1"


def test_an_aggregation_puts_its_children_into_the_parent() -> None:
    claim = claim_of(PACKED, URIS, NOW)
    assert (claim.parent, claim.action) == ("sscc:095060001343520017", "ADD")
    assert station_of(claim, [station("table", "packing"), station()]).id == "table"
    taken_out = claim_of(PACKED | {"action": "DELETE", "bizStep": "unpacking"}, URIS, NOW)
    assert station_of(taken_out, [station("table", "unpacking")]).id == "table"
    associated = PACKED | {"type": "AssociationEvent", "bizStep": "assembling"}
    claim = claim_of(associated, URIS, NOW)
    assert station_of(claim, [station("line", "assembling")]).id == "line"


@pytest.mark.parametrize("step", sorted(set(BusinessStep) - {BusinessStep.RETURNING}))
@pytest.mark.parametrize("parent", [None, "sscc:095060001343520017"])
def test_what_is_told_of_a_scan_makes_the_same_event_again(
    step: BusinessStep, parent: str | None
) -> None:
    there = station(step=step.value, disposition="damaged")
    scan = Observed(
        unit="sgtin:09506000134352.A1",
        at=NOW,
        offset=timedelta(0),
        recorded_at=NOW,
        business_step=step,
        read_point="dock-1",
        business_location="9506000134307",
        disposition="odd one",
        order="4711/A",
        rma="https://erp.example/9",
        parent=parent,
    )
    event = event_of(scan, URIS)
    claim = claim_of(event, URIS, NOW)
    at = station_of(claim, [there])
    again = replace(
        scan,
        unit=claim.units[0].key,
        at=claim.at,
        business_step=at.business_step,
        read_point=at.read_point,
        business_location=claim.location,
        disposition=claim.disposition,
        order=claim.order,
        rma=claim.rma,
        parent=claim.parent,
    )
    assert event_of(again, URIS) == event
    assert claim.left_out == ()


def test_the_same_event_makes_the_same_scan_and_any_other_another_one() -> None:
    claim = claim_of(EVENT, URIS, NOW)
    unit = claim.units[0].key
    more = {"eventID": "urn:uuid:2", "recordTime": "2026-03-02T09:00:00Z", "example:more": 1}
    spelled = {
        "epcList": ["urn:epc:id:sgtin:9506000.013435.A1"],
        "bizStep": "cbv:BizStep-receiving",
    }
    utc = {"eventTime": "2026-03-02T08:15:00.25Z"}
    declared = {"errorDeclaration": {"declarationTime": "2026-03-02T09:00:00Z"}}
    assert claim_of(EVENT | more | spelled | utc | declared, URIS, NOW).id_of(unit) == (
        claim.id_of(unit)
    )
    others = {
        "eventTime": "2026-03-02T08:15:00.251Z",
        "bizStep": "storing",
        "action": "ADD",
        "readPoint": {"id": f"{BASE}read_point/dock-2"},
        "bizLocation": {"id": f"{BASE}location/Hall%20B"},
        "disposition": "damaged",
        "bizTransactionList": [{"type": "po", "bizTransaction": f"{BASE}order/4711"}],
    }
    ids = {claim_of(EVENT | {name: told}, URIS, NOW).id_of(unit) for name, told in others.items()}
    ids.add(claim_of(PACKED, URIS, NOW).id_of(unit))
    assert len(ids | {claim.id_of(unit), claim.id_of("sgtin:09506000134352.A2")}) == len(others) + 3


def test_an_error_declaration_says_that_the_event_is_void() -> None:
    declared = {
        "declarationTime": "2026-03-02T09:00:00Z",
        "reason": "urn:epcglobal:cbv:er:incorrect_data",
        "correctiveEventIDs": ["urn:uuid:2"],
    }
    claim = claim_of(EVENT | {"errorDeclaration": declared}, URIS, NOW)
    assert (claim.voids, claim.corrective) == ("incorrect_data", ("urn:uuid:2",))


@pytest.mark.parametrize(
    ("told", "reason", "field"),
    [
        ({"type": "TransactionEvent"}, "no_scan_of_it", "type"),
        ({"type": "TransformationEvent"}, "no_scan_of_it", "type"),
        ({"type": "OtherEvent"}, "bad_field", "type"),
        ({"type": ["ObjectEvent"]}, "bad_field", "type"),
        ({"eventTime": "yesterday"}, "bad_field", "eventTime"),
        ({"eventTime": "2026-03-02T09:15:00"}, "bad_field", "eventTime"),
        ({"eventTime": "2026-03-02T09:06:00Z"}, "to_come", "eventTime"),
        ({"eventTime": "2026-01-30T09:00:00Z"}, "too_old", "eventTime"),
        ({"eventTimeZoneOffset": "Z"}, "bad_field", "eventTimeZoneOffset"),
        ({"action": "SEE"}, "bad_field", "action"),
        ({"epcList": []}, "no_units", "epcList"),
        ({"epcList": None, "quantityList": [{}]}, "no_units", "epcList"),
        ({"epcList": [UNIT, f"{LINK}/01/09506000134352"]}, "not_a_unit", "epcList[1]"),
        ({"epcList": [f"{LINK}/01/09506000134353/21/A"]}, "bad_check_digit", "epcList[0]"),
        ({"epcList": ["09506000134352"]}, "not_a_uri", "epcList[0]"),
        ({"parentID": CARTON}, "bad_field", "parentID"),
        ({"childEPCs": [UNIT]}, "bad_field", "childEPCs"),
        ({"bizStep": "dancing"}, "unknown_step", "bizStep"),
        ({"bizStep": "returning"}, "unknown_step", "bizStep"),
        ({"readPoint": {"id": "dock 1"}}, "not_a_uri", "readPoint.id"),
        ({"readPoint": {}}, "bad_field", "readPoint.id"),
        ({"bizLocation": {"id": f"{BASE}location/%00"}}, "bad_field", "bizLocation.id"),
        ({"disposition": ""}, "bad_field", "disposition"),
        ({"ilmd": {"cbvmda:lotNumber": 7}}, "bad_field", "ilmd.cbvmda:lotNumber"),
        (
            {"bizTransactionList": [{"type": "po", "bizTransaction": f"{BASE}order/%20"}]},
            "bad_field",
            "bizTransactionList[0].bizTransaction",
        ),
        ({"errorDeclaration": {}}, "bad_field", "errorDeclaration.declarationTime"),
    ],
)
def test_an_event_that_cannot_be_a_scan_is_refused_with_its_field(
    told: dict[str, Any], reason: str, field: str
) -> None:
    assert refused(EVENT | told, station())[:2] == (reason, field)


@pytest.mark.parametrize("name", ["eventTime", "eventTimeZoneOffset", "action", "readPoint"])
def test_what_an_event_must_have(name: str) -> None:
    event = {each: told for each, told in EVENT.items() if each != name}
    assert refused(event, station())[:2] == ("bad_field", name)


@pytest.mark.parametrize(
    ("told", "reason", "field"),
    [
        ({"parentID": None}, "no_parent", "parentID"),
        ({"parentID": UNIT}, "bad_field", "childEPCs"),
        ({"childEPCs": [], "action": "DELETE"}, "no_units", "childEPCs"),
        ({"epcList": [UNIT]}, "bad_field", "epcList"),
        ({"action": "DELETE"}, "action_and_step", "action"),
        ({"action": "OBSERVE", "bizStep": "unpacking"}, "action_and_step", "action"),
    ],
)
def test_of_what_goes_into_a_parent(told: dict[str, Any], reason: str, field: str) -> None:
    there = station("table", "packing"), station("other", "unpacking")
    assert refused(PACKED | told, *there)[:2] == (reason, field)


@pytest.mark.parametrize(
    ("told", "there", "reason", "field"),
    [
        ({}, [], "unknown_read_point", "readPoint.id"),
        ({}, [station(step="storing")], "no_station_for_step", "bizStep"),
        ({}, [station(), station("dock-2")], "ambiguous_station", "readPoint.id"),
        ({"bizStep": None}, [station(), station("a", "storing")], "ambiguous_station", None),
        ({"action": "ADD"}, [station()], "action_and_step", "action"),
        (
            {"bizStep": "commissioning"},
            [station(step="commissioning")],
            "action_and_step",
            "action",
        ),
    ],
)
def test_the_station_is_found_by_read_point_and_step(
    told: dict[str, Any], there: list[Station], reason: str, field: str | None
) -> None:
    assert refused(EVENT | told, *there)[:2] == (reason, field or "readPoint.id")


def test_what_comes_back_goes_to_the_station_of_returns() -> None:
    there = [station("dock", "receiving"), station("back", "returning")]
    came_back = claim_of(EVENT | {"disposition": "returned"}, URIS, NOW)
    assert station_of(came_back, there).id == "back"
    assert station_of(claim_of(EVENT, URIS, NOW), there).id == "dock"
    assert station_of(came_back, there[:1]).id == "dock"


def test_the_events_of_both_kinds_of_document() -> None:
    body = {"eventList": [EVENT]}
    assert events_in({"type": "EPCISDocument", "epcisBody": body}) == [EVENT]
    results = {"queryResults": {"queryName": "q", "resultsBody": body}}
    assert events_in({"type": "EPCISQueryDocument", "epcisBody": results}) == [EVENT]
    for wrong in ({}, [], {"type": "EPCISDocument"}, {"type": "Other", "epcisBody": body}):
        assert events_in(wrong) is None
