"""Corrections at the gateway: what a person tells at the desk, all of it or nothing."""

from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest

from component.fake_outlet import FakeOutlet
from scantrail.contracts.corrections import CorrectionRead
from scantrail.contracts.records import encode
from scantrail.domain.station import Station
from scantrail.domain.vocabulary import BusinessStep
from scantrail.gateway.guards import Guards
from scantrail.gateway.http import build_http
from scantrail.gateway.intake import Intake
from scantrail.gateway.scans import Known

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
UNIT = "sgtin:09506000134352.S1"
STATIONS = {
    "dock-1": Station(
        id="dock-1", site="north", business_step=BusinessStep.RECEIVING, read_point="dock-1"
    ),
}
VOID = CorrectionRead(id="1/void", unit=UNIT, station="dock-1", at=AT, sequence=8, corrects="r/7")
RIGHT = CorrectionRead(
    id="1/scan",
    unit=UNIT,
    station="dock-1",
    at=AT,
    sequence=8,
    order="SO-1",
    parent="sscc:095060001343520017",
    location="Shelf 7",
)


def gateway(outlet: Any, **more: Any) -> httpx.AsyncClient:
    app: Any = build_http(Intake("test", Known({}, STATIONS), outlet), Guards({}), **more)
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="http://gateway/ingest/v1")


async def test_a_void_and_the_right_scan_are_scans() -> None:
    outlet = FakeOutlet()
    async with gateway(outlet) as http:
        answer = await http.post("/corrections", content=encode([VOID, RIGHT]))
    assert answer.json() == {"accepted": 2, "rejected": []}
    void, right = outlet.scans
    assert (void.event_id, void.reader, void.corrects) == ("correction/1/void", "correction", "r/7")
    assert (void.event_time, void.sequence, void.station) == (AT, 8, "dock-1")
    assert (right.event_id, right.corrects) == ("correction/1/scan", None)
    assert (right.parent, right.business_location) == ("sscc:095060001343520017", "Shelf 7")
    assert [(each.type, each.id) for each in right.transactions] == [("order", "SO-1")]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"station": "nowhere"}, "unknown_station"),
        ({"parent": UNIT}, "bad_parent"),
        ({"order": " "}, "bad_order"),
        ({"unit": "?"}, "unidentified_serial"),
    ],
)
async def test_where_one_cannot_be_taken_none_is(more: dict[str, Any], reason: str) -> None:
    outlet = FakeOutlet()
    async with gateway(outlet) as http:
        told = encode([VOID, msgspec.structs.replace(RIGHT, **more)])
        answer = (await http.post("/corrections", content=told)).json()
    assert answer["accepted"] == 0
    assert [(each["index"], each["reason"]) for each in answer["rejected"]] == [(1, reason)]
    assert outlet.scans == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", encode([VOID] * 3), b'[{"id":"1"}]'])
async def test_what_is_no_correction_is_refused(body: bytes) -> None:
    outlet = FakeOutlet()
    async with gateway(outlet) as http:
        answer = await http.post("/corrections", content=body)
    assert (answer.status_code, answer.json()["reason"]) == (400, "not_corrections")
    assert outlet.scans == []


async def test_only_the_api_corrects_where_a_token_is_set() -> None:
    outlet = FakeOutlet()
    async with gateway(outlet, service_token=lambda: "s3cret") as http:
        told = encode([VOID])
        assert (await http.post("/corrections", content=told)).status_code == 401
        shown = {"Authorization": "Bearer s3cret"}
        assert (await http.post("/corrections", content=told, headers=shown)).status_code == 200
