"""Opening stock at the gateway: scans like any other, of a reader that nobody configured."""

from datetime import UTC, date, datetime
from typing import Any

import httpx
import msgspec

from component.fake_outlet import FakeOutlet
from scantrail.contracts.records import encode
from scantrail.contracts.stock import STOCK_READS_MAX, StockRead
from scantrail.domain.station import Station
from scantrail.domain.vocabulary import BusinessStep
from scantrail.gateway.guards import Guards
from scantrail.gateway.http import build_http
from scantrail.gateway.intake import Intake
from scantrail.gateway.scans import Known

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
STATIONS = {
    "stock": Station(
        id="stock",
        site="north",
        business_step=BusinessStep.STOCK_TAKING,
        read_point="stock",
        business_location="Hall A",
    ),
    "dock-1": Station(
        id="dock-1", site="north", business_step=BusinessStep.RECEIVING, read_point="dock-1"
    ),
}
READ = StockRead(id="b1/0001", unit="sgtin:09506000134352.S1", station="stock", at=AT)


def gateway(outlet: Any, **more: Any) -> httpx.AsyncClient:
    app: Any = build_http(Intake("test", Known({}, STATIONS), outlet), Guards({}), **more)
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="http://gateway/ingest/v1")


async def test_each_line_is_a_scan_with_an_id_of_its_own() -> None:
    outlet = FakeOutlet()
    day = date(2026, 2, 3)
    placed = msgspec.structs.replace(
        READ, id="b1/0002", location="Shelf 7", lot="L7", produced_on=day
    )
    async with gateway(outlet) as http:
        answer = await http.post("/stock", content=encode([READ, placed]))
    assert answer.json() == {"accepted": 2, "rejected": []}
    first, second = outlet.scans
    assert (first.event_id, first.reader) == ("opening-stock/b1/0001", "opening-stock")
    assert (first.unit, first.event_time, first.site) == (READ.unit, AT, "north")
    assert (first.business_step, first.business_location) == ("stock_taking", "Hall A")
    assert (first.lot, first.produced_on) == (None, None)
    assert (second.event_id, second.business_location) == ("opening-stock/b1/0002", "Shelf 7")
    assert (second.lot, second.produced_on) == ("L7", day)


async def test_what_cannot_be_taken_is_told_and_not_set_aside() -> None:
    outlet = FakeOutlet()
    reads = [
        msgspec.structs.replace(READ, station="dock-1"),
        READ,
        msgspec.structs.replace(READ, station="nowhere"),
        msgspec.structs.replace(READ, unit="what?"),
    ]
    async with gateway(outlet) as http:
        answer = await http.post("/stock", content=encode(reads))
    told = answer.json()
    assert told["accepted"] == 1
    assert [(each["index"], each["reason"]) for each in told["rejected"]][:2] == [
        (0, "not_stock_taking"),
        (2, "unknown_station"),
    ]
    assert [each["index"] for each in told["rejected"]] == [0, 2, 3]
    assert outlet.rejected == []


async def test_only_the_api_enters_stock() -> None:
    outlet = FakeOutlet()
    async with gateway(outlet, service_token=lambda: "s3cret") as http:
        answer = await http.post("/stock", content=encode([READ]))
        assert (answer.status_code, answer.json()["reason"]) == (401, "bad_token")
        shown = {"Authorization": "Bearer s3cret"}
        answer = await http.post("/stock", content=encode([READ]), headers=shown)
    assert answer.json() == {"accepted": 1, "rejected": []}


async def test_what_is_no_stock_is_refused() -> None:
    outlet = FakeOutlet()
    naive = encode([READ]).replace(b"12:00:00Z", b"12:00:00")
    async with gateway(outlet) as http:
        for body in (b"", b"{}", b"[{}]", naive, encode([READ] * (STOCK_READS_MAX + 1))):
            answer = await http.post("/stock", content=body)
            assert (answer.status_code, answer.json()["reason"]) == (400, "not_stock"), body[:80]
    assert outlet.kept == []
