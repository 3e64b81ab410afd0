"""The gateway's addresses over HTTP, with an intake whose outlet only remembers."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from component.fake_outlet import FakeOutlet
from scantrail.domain.station import Station
from scantrail.domain.vocabulary import BusinessStep
from scantrail.gateway.decoders.generic import ITEMS_MAX
from scantrail.gateway.guards import Guards
from scantrail.gateway.http import BODY_BYTES_MAX, build_http
from scantrail.gateway.intake import Intake
from scantrail.gateway.readers import ReaderSettings
from scantrail.gateway.scans import Known
from scantrail.infra.tokens import new_token

TOKEN, DIGEST = new_token()
DOCK = Station(
    id="dock-1",
    site="north",
    business_step=BusinessStep.SHIPPING,
    read_point="dock-1.left",
)
READERS = {
    "r700": ReaderSettings(id="r700", station="dock-1", protocol="http-impinj"),
    "fx": ReaderSettings(id="fx", station="dock-1", protocol="http-zebra"),
    "handheld": ReaderSettings(id="handheld", station="dock-1", protocol="http-generic"),
    "scanner": ReaderSettings(id="scanner", station="dock-1", protocol="tcp"),
    "closed": ReaderSettings(
        id="closed", station="dock-1", protocol="http-generic", token_sha256=(DIGEST,)
    ),
    "slow": ReaderSettings(
        id="slow", station="dock-1", protocol="http-impinj", reads_per_s_max=1.0
    ),
}


@pytest.fixture
def outlet() -> FakeOutlet:
    return FakeOutlet()


@pytest.fixture
async def http(outlet: FakeOutlet) -> AsyncIterator[httpx.AsyncClient]:
    async with a_gateway(outlet) as client:
        yield client


def a_gateway(outlet: Any, **settings: Any) -> httpx.AsyncClient:
    intake = Intake("test", Known(READERS, {"dock-1": DOCK}), outlet)
    app: Any = build_http(intake, Guards(READERS), **settings)
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="http://gateway/ingest/v1")


def impinj(number: int) -> dict[str, Any]:
    at = f"2026-11-23T01:02:03.{number % 1_000_000:06}Z"
    seen = {"epcHex": f"E2{number:022X}", "antennaPort": 1, "lastSeenTime": at}
    return {"eventType": "tagInventory", "tagInventoryEvent": seen}


def zebra(number: int) -> dict[str, Any]:
    return {
        "data": {"idHex": f"e2{number:022x}", "eventNum": number},
        "timestamp": "2026-11-23T01:02:03.123+0000",
    }


EVENTS = {"impinj": ("r700", impinj), "zebra": ("fx", zebra)}
PATHS = sorted(EVENTS)


@pytest.mark.parametrize("path", PATHS)
async def test_each_item_is_a_scan_or_set_aside_and_the_device_is_told_nothing(
    http: httpx.AsyncClient, outlet: FakeOutlet, path: str
) -> None:
    reader, event = EVENTS[path]
    body = [event(1), 7, {"x": 1}, event(2)]
    answer = await http.post(f"/{path}", params={"reader": reader}, json=body)
    assert (answer.status_code, answer.content) == (204, b"")
    assert [scan.unit for scan in outlet.scans] == [f"epc:E2{n:022X}" for n in (1, 2)]
    assert {scan.reader for scan in outlet.scans} == {reader}
    assert [read.reason for read in outlet.rejected] == ["not_an_object", f"not_from_{path}"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", [b"", b"{]", b"7", b"\xff", b"[" * 50_000])
async def test_a_body_of_which_nothing_parses_is_set_aside_and_never_refused(
    http: httpx.AsyncClient, outlet: FakeOutlet, path: str, body: bytes
) -> None:
    answer = await http.post(f"/{path}", params={"reader": EVENTS[path][0]}, content=body)
    assert answer.status_code == 204
    assert len(outlet.rejected) == len(outlet.kept) == 1


@pytest.mark.parametrize("path", PATHS)
async def test_a_heartbeat_writes_nothing(
    http: httpx.AsyncClient, outlet: FakeOutlet, path: str
) -> None:
    answer = await http.post(f"/{path}", params={"reader": EVENTS[path][0]}, json=[])
    assert (answer.status_code, outlet.kept) == (204, [])


@pytest.mark.parametrize("path", PATHS)
async def test_a_batch_sent_again_makes_the_same_events_also_after_a_restart(
    outlet: FakeOutlet, path: str
) -> None:
    reader, event = EVENTS[path]
    batch = [event(n) for n in range(3)]
    for _ in range(2):
        async with a_gateway(outlet) as http:
            for _ in range(2):
                answer = await http.post(f"/{path}", params={"reader": reader}, json=batch)
                assert answer.status_code == 204
    ids = [scan.event_id for scan in outlet.scans]
    assert len(set(ids)) == 3
    assert ids == ids[:3] * 2


@pytest.mark.parametrize("path", PATHS)
async def test_without_room_the_device_is_told_to_come_again(
    http: httpx.AsyncClient, outlet: FakeOutlet, path: str
) -> None:
    reader, event = EVENTS[path]
    outlet.room = 0
    answer = await http.post(f"/{path}", params={"reader": reader}, json=[event(1)])
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.json()["reason"] == "no_room"
    outlet.room = 1
    answer = await http.post(f"/{path}", params={"reader": reader}, json=[event(1)])
    assert (answer.status_code, len(outlet.scans)) == (204, 1)


async def test_of_a_great_batch_nothing_is_left_out_however_often_it_must_come(
    http: httpx.AsyncClient, outlet: FakeOutlet
) -> None:
    """More than is kept at once, and room for the first part only: the rest comes again."""
    count = ITEMS_MAX + 2
    body = json.dumps([zebra(n) for n in range(count)], separators=(",", ":")).encode()
    assert len(body) <= BODY_BYTES_MAX
    outlet.room = 1
    answer = await http.post("/zebra", params={"reader": "fx"}, content=body)
    assert (answer.status_code, len(outlet.scans)) == (503, ITEMS_MAX)
    outlet.room = 9
    answer = await http.post("/zebra", params={"reader": "fx"}, content=body)
    assert (answer.status_code, len(outlet.scans)) == (204, count)
    assert len({scan.event_id for scan in outlet.scans}) == count


@pytest.mark.parametrize("path", PATHS)
async def test_what_cannot_be_a_delivery_is_refused(
    http: httpx.AsyncClient, outlet: FakeOutlet, path: str
) -> None:
    reader, event = EVENTS[path]
    great = json.dumps(event(1)).encode().ljust(BODY_BYTES_MAX + 1)
    answer = await http.post(f"/{path}", params={"reader": reader}, content=great)
    assert answer.status_code == 413
    answer = await http.post(f"/{path}", params={"reader": reader}, content=great[:-1])
    assert (answer.status_code, len(outlet.scans)) == (204, 1)
    answer = await http.post(f"/{path}", params={"reader": "r 1"}, json=[event(2)])
    assert (answer.status_code, answer.json()["reason"]) == (400, "bad_reader")
    answer = await http.post(f"/{path}", json=[event(2)])
    assert (answer.status_code, answer.json()["detail"]) == (400, "the address lacks ?reader=…")
    assert len(outlet.kept) == 1


@pytest.mark.parametrize(
    ("reader", "path", "protocol"),
    [
        ("fx", "impinj", "http-zebra"),
        ("r700", "zebra", "http-impinj"),
        ("handheld", "zebra", "http-generic"),
        ("scanner", "impinj", "tcp"),
    ],
)
async def test_reads_of_a_reader_with_another_protocol_are_set_aside_for_a_replay(
    http: httpx.AsyncClient, outlet: FakeOutlet, reader: str, path: str, protocol: str
) -> None:
    answer = await http.post(f"/{path}", params={"reader": reader}, json=[EVENTS[path][1](1)])
    assert answer.status_code == 204
    (read,) = outlet.rejected
    assert (read.reason, read.read) == ("wrong_protocol", f"epc:E2{1:022X}")
    assert read.detail == (
        f"reader '{reader}' has protocol '{protocol}', and sent 'http-{path}': mend the readers'"
        " file, restart, replay; or the address to which it posts"
    )
    outlet.kept.clear()
    mended = {reader: ReaderSettings(id=reader, station="dock-1", protocol=f"http-{path}")}  # type: ignore[arg-type]
    outgoing: Any = outlet
    taken = await Intake("test", Known(mended, {"dock-1": DOCK}), outgoing).replay([read])
    assert (taken.accepted, outlet.scans[0].event_id) == (1, read.event_id)


async def test_the_generic_path_too_is_for_its_own_readers(
    http: httpx.AsyncClient, outlet: FakeOutlet
) -> None:
    code = {"code": "0109506000134352211"}
    answer = await http.post("/generic", params={"reader": "r700"}, json=code)
    assert answer.status_code == 200
    assert [each["reason"] for each in answer.json()["rejected"]] == ["wrong_protocol"]
    answer = await http.post("/generic", params={"reader": "handheld"}, json=code)
    assert answer.json() == {"accepted": 1, "rejected": []}
    assert len(outlet.scans) == 1


async def test_an_event_of_another_maker_is_named(
    http: httpx.AsyncClient, outlet: FakeOutlet
) -> None:
    await http.post("/impinj", params={"reader": "r700"}, json=[zebra(1)])
    await http.post("/zebra", params={"reader": "fx"}, json=[impinj(1)])
    assert [read.reason for read in outlet.rejected] == ["not_from_impinj", "not_from_zebra"]
    assert all("address" in read.detail for read in outlet.rejected)


async def test_a_reader_with_a_token_is_let_in_with_it_alone(
    http: httpx.AsyncClient, outlet: FakeOutlet
) -> None:
    body = {"code": "0109506000134352217"}
    for shown in ({}, {"Authorization": "Bearer wrong"}):
        answer = await http.post("/generic?reader=closed", json=body, headers=shown)
        assert (answer.status_code, answer.json()["reason"]) == (401, "bad_token")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert "`scantrail token` makes one" in answer.json()["detail"]
    assert outlet.calls == 0
    shown = {"Authorization": f"Bearer {TOKEN}"}
    answer = await http.post("/generic?reader=closed", json=body, headers=shown)
    assert answer.json() == {"accepted": 1, "rejected": []}
    answer = await http.post("/impinj?reader=closed", json=[impinj(1)], auth=("closed", TOKEN))
    assert answer.status_code == 204, "let in; its reads are set aside, for the path is not its own"
    assert [read.reason for read in outlet.rejected] == ["wrong_protocol"]


@pytest.mark.parametrize("told", [{"Origin": "https://b.example"}, {"Sec-Fetch-Site": "none"}])
async def test_what_a_page_sends_is_of_no_reader_unless_it_shows_a_token(
    http: httpx.AsyncClient, outlet: FakeOutlet, told: dict[str, str]
) -> None:
    body = {"code": "0109506000134352217"}
    # A browser shows of itself what it was asked for elsewhere.
    for shown in ({}, {"Authorization": f"Bearer {TOKEN}"}):
        for path in ("generic?reader=handheld", "impinj?reader=r700", "zebra?reader=fx"):
            answer = await http.post(f"/{path}", json=body, headers={**told, **shown})
            assert (answer.status_code, answer.json()["reason"]) == (403, "of_a_page")
    assert "give the reader a token" in answer.json()["detail"]
    assert outlet.calls == 0
    shown = {**told, "Authorization": f"Bearer {TOKEN}"}
    answer = await http.post("/generic?reader=closed", json=body, headers=shown)
    assert answer.json() == {"accepted": 1, "rejected": []}


async def test_a_reader_that_sends_too_fast_is_told_when_to_come_again(
    http: httpx.AsyncClient, outlet: FakeOutlet
) -> None:
    first = await http.post("/impinj?reader=slow", json=[impinj(n) for n in range(40)])
    assert first.status_code == 204
    answer = await http.post("/impinj?reader=slow", json=[impinj(41)])
    assert (answer.status_code, answer.json()["reason"]) == (429, "too_fast")
    assert 20 <= int(answer.headers["Retry-After"]) <= 30
    assert len(outlet.scans) == 40


async def test_a_replay_needs_the_services_own_token(outlet: FakeOutlet) -> None:
    async with a_gateway(outlet, service_token=lambda: "s3cret") as http:
        for shown in (b"", "Bearer \u00fc".encode(), b"Bearer s3cre"):
            headers = {b"Authorization": shown}
            answer = await http.post("/replay", json=[], headers=headers)
            assert (answer.status_code, answer.json()["reason"]) == (401, "bad_token")
        answer = await http.post("/replay", json=[], headers={"Authorization": "Bearer s3cret"})
        assert answer.json() == {"accepted": 0, "rejected": []}


async def test_what_cannot_be_read_counts_against_the_rate_too(outlet: FakeOutlet) -> None:
    quick = ReaderSettings(
        id="quick", station="dock-1", protocol="http-generic", reads_per_s_max=1.0
    )
    outgoing: Any = outlet
    intake = Intake("test", Known({"quick": quick}, {"dock-1": DOCK}), outgoing)
    app: Any = build_http(intake, Guards({"quick": quick}))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway/ingest/v1") as http:
        statuses = [
            (await http.post("/generic?reader=quick", content=b"{")).status_code for _ in range(20)
        ]
    assert statuses[0] == 400
    assert statuses[-1] == 429
    assert statuses.count(400) <= 12


@pytest.mark.parametrize("path", ["/replay", "/stock", "/keyed", "/corrections", "/captured"])
@pytest.mark.parametrize("header", ["Origin", "Sec-Fetch-Site"])
async def test_a_page_in_a_browser_is_not_the_api(
    http: httpx.AsyncClient, outlet: FakeOutlet, path: str, header: str
) -> None:
    answer = await http.post(path, content=b"[]", headers={header: "https://evil.example"})
    assert answer.status_code == 403
    assert (await http.post(path, content=b"[]")).status_code != 403
