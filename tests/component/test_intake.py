"""The intake with an outlet that only remembers: what becomes of each read, and why."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
import structlog
from prometheus_client import REGISTRY

from component.fake_outlet import FakeOutlet
from scantrail.domain.product import Product
from scantrail.domain.scan import Transaction, content_digest
from scantrail.domain.station import Station
from scantrail.domain.vocabulary import BusinessStep
from scantrail.gateway.decoders.outcome import (
    Control,
    Heartbeat,
    Invalid,
    Lost,
    NoRead,
    Outcome,
    Read,
)
from scantrail.gateway.intake import Intake
from scantrail.gateway.readers import ReaderSettings
from scantrail.gateway.scans import READ_LENGTH_MAX, Known
from scantrail.gateway.spool import SpoolFull

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
GTIN = "09506000134352"
BARCODE = f"01{GTIN}21"
DOCK = Station(
    id="dock-1",
    site="north",
    business_step=BusinessStep.SHIPPING,
    read_point="dock-1.left",
    business_location="Hall A",
    disposition="in_transit",
    possessing_party="swift",
    repeat_window_s=10.0,
)


@pytest.fixture
def outlet() -> FakeOutlet:
    return FakeOutlet()


@pytest.fixture
def stations() -> dict[str, Station]:
    return {"dock-1": DOCK}


@pytest.fixture
def intake(outlet: FakeOutlet, stations: dict[str, Station]) -> Intake:
    return an_intake(outlet, stations)


def an_intake(
    outlet: FakeOutlet,
    stations: dict[str, Station],
    now: Callable[[], datetime] = lambda: NOW,
    products: Mapping[str, Product] = MappingProxyType({}),
) -> Intake:
    readers = {
        "scanner": ReaderSettings(id="scanner", station="dock-1", protocol="tcp"),
        "eager": ReaderSettings(id="eager", station="dock-1", protocol="tcp", debounce_s=0.0),
        "plain": ReaderSettings(id="plain", station="dock-1", protocol="tcp", product="PUMP-7"),
        "lost": ReaderSettings(id="lost", station="nowhere", protocol="http-generic"),
    }
    outgoing: Any = outlet
    return Intake("test", Known(readers, stations, products), outgoing, now=now)


async def test_a_read_becomes_a_scan_with_all_that_its_station_claims(
    intake: Intake, outlet: FakeOutlet
) -> None:
    at = NOW - timedelta(seconds=3)
    read = Read(f"{BARCODE}A1", aim="]d2", event_time=at, order="SO-1", event_id="77")
    taken = await intake.take("scanner", [read])
    assert (taken.accepted, taken.rejected) == (1, ())
    (record,) = outlet.kept
    assert record.key == f"sgtin:{GTIN}.A1".encode()
    assert msgspec.json.decode(record.value) == {
        "event_id": "scanner/77",
        "unit": f"sgtin:{GTIN}.A1",
        "event_time": "2026-03-01T11:59:57Z",
        "record_time": "2026-03-01T12:00:00Z",
        "reader": "scanner",
        "sequence": 0,
        "station": "dock-1",
        "site": "north",
        "read_point": "dock-1.left",
        "business_step": "shipping",
        "business_location": "Hall A",
        "disposition": "in_transit",
        "possessing_party": "swift",
        "transactions": [{"type": "order", "id": "SO-1"}],
        "repeat_window_s": 10.0,
        "clock_skew_s": None,
        "read": f"{BARCODE}A1",
        "corrects": None,
        "parent": None,
        "derived_from": None,
        "same_as": None,
        "expected_after": None,
        "expected_since": None,
        "keyed": False,
        "forwarded_from": [],
        "lot": None,
        "produced_on": None,
    }
    assert dict(record.headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"scanner/77",
        "ce_source": b"/test/gateway/scanner",
        "ce_type": b"scantrail.scan.v1",
        "ce_subject": f"sgtin:{GTIN}.A1".encode(),
        "ce_time": b"2026-03-01T11:59:57+00:00",
        "content-type": b"application/json",
    }


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("receiving packing shipping", (BusinessStep.PACKING, BusinessStep.SHIPPING)),
        ("shipping returning", ()),
        ("receiving storing", None),
        ("", None),
    ],
)
async def test_a_scan_says_after_which_steps_its_product_expects_it(
    outlet: FakeOutlet,
    stations: dict[str, Station],
    steps: str,
    expected: tuple[BusinessStep, ...] | None,
) -> None:
    phone = Product(id=GTIN, name="Phone", steps=tuple(map(BusinessStep, steps.split())))
    pump = Product(id="PUMP-7", name="Pump", steps=(BusinessStep.STORING, BusinessStep.SHIPPING))
    intake = an_intake(outlet, stations, products={GTIN: phone, "PUMP-7": pump})
    await intake.take("scanner", [Read(f"{BARCODE}A1"), Read("356938035643809")])
    await intake.take("plain", [Read("A7")])
    of_phone, of_imei, of_pump = outlet.scans
    assert of_phone.expected_after == expected
    assert of_imei.expected_after is None, "its key does not tell its product"
    assert of_pump.expected_after == pump.steps


async def test_a_reader_that_expects_imeis_takes_no_other_bare_code(outlet: FakeOutlet) -> None:
    bench = ReaderSettings(
        id="bench",
        station="dock-1",
        protocol="tcp",
        product="PHONE-1",
        schemes=frozenset({"imei"}),
    )
    outgoing: Any = outlet
    intake = Intake("test", Known({"bench": bench}, {"dock-1": DOCK}), outgoing, now=lambda: NOW)
    await intake.take("bench", [Read("356938035643809"), Read("SN-7"), Read(f"{BARCODE}1")])
    assert [scan.unit for scan in outlet.scans] == [
        "imei:35693803564380",
        "sn:PHONE-1.SN-7",
        f"sgtin:{GTIN}.1",
    ]


async def test_without_a_time_and_an_id_of_its_own_a_read_gets_the_gateways(
    intake: Intake, outlet: FakeOutlet
) -> None:
    await intake.take("scanner", [Read(f"{BARCODE}1"), Read(f"{BARCODE}2")])
    await intake.take("eager", [Read(f"{BARCODE}1")])
    ids = [scan.event_id for scan in outlet.scans]
    start = ids[0].split("/")[1]
    assert re.fullmatch(r"[0-9a-f]{8}", start)
    assert ids == [f"scanner/{start}/1", f"scanner/{start}/2", f"eager/{start}/3"]
    assert [scan.sequence for scan in outlet.scans] == [1, 2, 3]
    assert {scan.event_time for scan in outlet.scans} == {NOW}


async def test_ids_of_another_start_are_others(stations: dict[str, Station]) -> None:
    outlets = FakeOutlet(), FakeOutlet()
    for outlet in outlets:
        await an_intake(outlet, stations).take("scanner", [Read(f"{BARCODE}1")])
    assert outlets[0].scans[0].event_id != outlets[1].scans[0].event_id


async def test_a_devices_own_id_makes_the_same_record_again(
    intake: Intake, outlet: FakeOutlet
) -> None:
    read = Read(f"{BARCODE}1", event_time=NOW, event_id="7", sequence=41)
    assert (await intake.take("scanner", [read])).accepted == 1
    await intake.take("scanner", [Read(f"{BARCODE}other", event_time=NOW, event_id="8")])
    assert (await intake.take("scanner", [read])).accepted == 1
    first, _, again = outlet.kept
    assert first == again
    assert outlet.scans[0].sequence == 41


async def test_a_read_that_corrects_another_is_no_repetition_of_it(
    intake: Intake, outlet: FakeOutlet
) -> None:
    await intake.take("scanner", [Read(f"{BARCODE}1"), Read(f"{BARCODE}1", corrects="scanner/7")])
    assert [scan.corrects for scan in outlet.scans] == [None, "scanner/7"]


CARTON = "sscc:095060001343520017"


@pytest.mark.parametrize(
    "spelling",
    [
        "00095060001343520017",
        "(00)095060001343520017",
        "]C100095060001343520017",
        "https://id.gs1.org/00/095060001343520017",
        CARTON,
    ],
)
async def test_a_parent_is_resolved_from_any_spelling(
    intake: Intake, outlet: FakeOutlet, spelling: str
) -> None:
    reads = [Read(f"{BARCODE}1"), Read(f"{BARCODE}1", parent=spelling)]
    assert (await intake.take("scanner", reads)).accepted == 2
    assert [scan.parent for scan in outlet.scans] == [None, CARTON]


async def test_a_read_that_names_its_return_is_another_than_one_that_does_not(
    intake: Intake, outlet: FakeOutlet
) -> None:
    reads = [Read(f"{BARCODE}1"), Read(f"{BARCODE}1", rma="RMA-1"), Read(f"{BARCODE}1", rma="R 2 ")]
    taken = await intake.take("scanner", reads)
    assert [refused.reason for refused in taken.rejected] == ["bad_rma"]
    assert [scan.transactions for scan in outlet.scans] == [
        (),
        (Transaction(type="rma", id="RMA-1"),),
    ]


async def test_another_key_of_the_unit_is_resolved_from_its_spelling(
    intake: Intake, outlet: FakeOutlet, stations: dict[str, Station]
) -> None:
    stations["dock-1"] = replace(DOCK, business_step=BusinessStep.INSPECTING)
    reads = [Read(f"{BARCODE}1"), Read(f"{BARCODE}1", same_as="356938035643809")]
    assert (await intake.take("scanner", reads)).accepted == 2
    assert [scan.same_as for scan in outlet.scans] == [None, "imei:35693803564380"]


@pytest.mark.parametrize("more", [{"parent": CARTON}, {"corrects": "scanner/7"}])
async def test_a_read_that_joins_says_nothing_else(
    intake: Intake, outlet: FakeOutlet, more: dict[str, str]
) -> None:
    read = replace(Read(f"{BARCODE}1", same_as="356938035643809"), **more)
    (refused,) = (await intake.take("scanner", [read])).rejected
    assert (refused.reason, "stands alone" in refused.detail) == ("bad_same_as", True)
    assert outlet.scans == []


async def test_where_units_go_out_nobody_tells_of_another_key(
    intake: Intake, outlet: FakeOutlet
) -> None:
    """The read would move nothing, and the unit be gone."""
    read = Read(f"{BARCODE}1", same_as="356938035643809")
    (refused,) = (await intake.take("scanner", [read])).rejected
    assert (refused.reason, "another station" in refused.detail) == ("bad_same_as", True)
    assert outlet.scans == []


@pytest.mark.parametrize("name", ["parent", "same_as"])
@pytest.mark.parametrize("spelling", ["no code", f"{BARCODE}1", "x" * 300])
async def test_another_unit_that_is_none_is_refused_with_what_was_read(
    intake: Intake, outlet: FakeOutlet, name: str, spelling: str
) -> None:
    read = replace(Read(f"{BARCODE}1"), **{name: spelling})
    taken = await intake.take("scanner", [read])
    (refused,) = taken.rejected
    assert refused.reason == f"bad_{name}"
    assert f"`{name}`" in refused.detail
    (kept,) = outlet.rejected
    assert getattr(kept, name) == spelling[:256]
    assert outlet.scans == []
    again = await intake.replay([kept])
    assert [each.reason for each in again.rejected] == [f"bad_{name}"]


@pytest.mark.parametrize(
    ("off", "skew_s"),
    [
        (timedelta(minutes=5), None),
        (timedelta(minutes=5, seconds=1), 301.0),
        (timedelta(days=-30), None),
        (timedelta(days=-30, seconds=-1), -2_592_001.0),
        (datetime(2038, 1, 19, tzinfo=UTC) - NOW, (datetime(2038, 1, 19, tzinfo=UTC) - NOW)),
        (datetime(1970, 1, 1, tzinfo=UTC) - NOW, (datetime(1970, 1, 1, tzinfo=UTC) - NOW)),
    ],
)
async def test_a_clock_that_is_off_is_marked_and_the_scan_kept(
    intake: Intake, outlet: FakeOutlet, off: timedelta, skew_s: float | timedelta | None
) -> None:
    await intake.take("scanner", [Read(f"{BARCODE}1", event_time=NOW + off)])
    (scan,) = outlet.scans
    assert scan.event_time == NOW + off
    expected = skew_s.total_seconds() if isinstance(skew_s, timedelta) else skew_s
    assert scan.clock_skew_s == expected


@pytest.mark.parametrize(
    ("reader", "read", "reason", "detail"),
    [
        (
            "ghost",
            Read(f"{BARCODE}1"),
            "unknown_reader",
            "no [[reader]] has id 'ghost': add it to the readers' file, restart, replay",
        ),
        (
            "lost",
            Read(f"{BARCODE}1"),
            "unknown_station",
            "station 'nowhere' of reader 'lost' is not configured:"
            " PUT /stations/nowhere, then replay",
        ),
        (
            "scanner",
            Read(f"{BARCODE}1", event_id="7"),
            "no_event_time",
            "a read with its own event_id needs its time too: give `timestamp`, or its"
            " repetition cannot be told from another read",
        ),
        ("scanner", Read(""), "empty", "nothing was read; scan again"),
        (
            "scanner",
            Read("AB-77"),
            "unidentified_serial",
            "AB-77 may be a maker's serial; scan or name its product, or set the reader's product",
        ),
        (
            "scanner",
            Read("4012345678901"),
            "not_a_unit",
            "the text is GTIN 04012345678901: a product, not one unit of it; scan its serial",
        ),
        (
            "scanner",
            Read("490154203237519"),
            "bad_check_digit",
            None,
        ),
    ],
)
async def test_a_read_that_makes_no_scan_says_why_and_the_mend(
    intake: Intake, outlet: FakeOutlet, reader: str, read: Read, reason: str, detail: str | None
) -> None:
    taken = await intake.take(reader, [read])
    (told,) = taken.rejected
    assert (taken.accepted, told.index, told.reason) == (0, 0, reason)
    assert detail is None or told.detail == detail
    (kept,) = outlet.rejected
    assert (kept.reason, kept.detail) == (reason, told.detail)
    assert (kept.reader, kept.read, kept.event_time) == (reader, read.text, NOW)
    assert outlet.kept[0].key == reader.encode()
    assert outlet.scans == []


async def test_a_rejected_read_keeps_all_that_a_replay_needs(
    intake: Intake, outlet: FakeOutlet, stations: dict[str, Station]
) -> None:
    at = NOW - timedelta(hours=2)
    read = Read(
        f"{BARCODE}1",
        aim="]d2",
        order="SO-1",
        rma="RMA-1",
        event_id="7",
        sequence=41,
        event_time=at,
    )
    await intake.take("lost", [read])
    (kept,) = outlet.rejected
    assert (kept.station, kept.aim, kept.order, kept.sequence) == ("nowhere", "]d2", "SO-1", 41)
    stations["nowhere"] = DOCK
    assert (await intake.replay([kept])).accepted == 1
    (scan,) = outlet.scans
    assert (scan.event_id, scan.event_time, scan.sequence) == ("lost/7", at, 41)
    told = [(each.type, each.id) for each in scan.transactions]
    assert told == [("order", "SO-1"), ("rma", "RMA-1")]


async def test_a_read_without_an_id_keeps_the_minted_one_over_rejection_and_replay(
    intake: Intake, outlet: FakeOutlet, stations: dict[str, Station]
) -> None:
    await intake.take("lost", [Read(f"{BARCODE}1")])
    (kept,) = outlet.rejected
    refused = await intake.replay([kept])
    assert [each.reason for each in refused.rejected] == ["unknown_station"]
    assert [each.event_id for each in outlet.rejected] == [kept.event_id] * 2
    stations["nowhere"] = DOCK
    await intake.replay([kept])
    (scan,) = outlet.scans
    assert (scan.event_id, scan.event_time) == (kept.event_id, kept.event_time)


async def test_a_read_replayed_after_months_is_of_the_day_it_was_read(
    outlet: FakeOutlet, stations: dict[str, Station]
) -> None:
    clock = [NOW]
    intake = an_intake(outlet, stations, now=lambda: clock[0])
    await intake.take("lost", [Read(f"{BARCODE}1")])
    for _ in range(2):
        clock[0] += timedelta(days=45)
        await intake.replay([outlet.rejected[-1]])
    (first, second, third) = outlet.rejected
    assert first.first_record_time is None
    assert second.first_record_time == third.first_record_time == first.record_time
    assert third.record_time == NOW + timedelta(days=90)
    stations["nowhere"] = DOCK
    await intake.replay([third])
    (scan,) = outlet.scans
    assert (scan.event_time, scan.record_time, scan.clock_skew_s) == (NOW, NOW, None)


@pytest.mark.parametrize(
    "reason", ["unfinished_frame", "frame_too_long", "bad_encoding", "pattern_mismatch"]
)
async def test_what_is_no_whole_read_never_becomes_a_scan_by_replay(
    intake: Intake, outlet: FakeOutlet, reason: str
) -> None:
    """Half a code is another code: serial 12 of what was to be 12345."""
    await intake.take("scanner", [Invalid(reason, f"{BARCODE}12".encode())])
    replayed = await intake.replay(outlet.rejected)
    assert (replayed.accepted, [each.reason for each in replayed.rejected]) == (0, [reason])
    assert outlet.scans == []


async def test_bytes_that_are_no_read_are_set_aside_as_text(
    intake: Intake, outlet: FakeOutlet
) -> None:
    taken = await intake.take("scanner", [Invalid("bad_encoding", b"\xff\x00A")])
    (told,) = taken.rejected
    assert told.reason == "bad_encoding"
    assert told.detail == (
        "the bytes do not fit the reader's `encoding`: set it in the readers' file"
    )
    (kept,) = outlet.rejected
    assert kept.read == "\\xff\\x00A"
    assert b"\\u0000" not in outlet.kept[0].value


async def test_what_is_set_aside_is_cut(intake: Intake, outlet: FakeOutlet) -> None:
    await intake.take("scanner", [Read("A" * 5_000), Invalid("frame_too_long", b"B" * 5_000)])
    assert [kept.read for kept in outlet.rejected] == [
        "A" * READ_LENGTH_MAX,
        "B" * READ_LENGTH_MAX,
    ]


async def test_order_and_index_of_a_mixed_delivery(intake: Intake, outlet: FakeOutlet) -> None:
    outcomes: list[Outcome] = [
        Heartbeat(),
        Read(f"{BARCODE}1"),
        NoRead(),
        Read("AB-77"),
        Control("OK,LON"),
        Invalid("bad_encoding", b"\xff"),
        Read(f"{BARCODE}2"),
    ]
    taken = await intake.take("eager", outcomes)
    assert taken.accepted == 2
    assert [(each.index, each.reason) for each in taken.rejected] == [
        (3, "unidentified_serial"),
        (5, "bad_encoding"),
    ]
    assert outlet.calls == 1
    assert [record.topic for record in outlet.kept] == [
        "test.scans.v1",
        "test.reads.rejected.v1",
        "test.reads.rejected.v1",
        "test.scans.v1",
    ]


async def test_what_says_nothing_of_a_unit_is_not_written(
    intake: Intake, outlet: FakeOutlet
) -> None:
    taken = await intake.take("scanner", [Heartbeat(), NoRead(), Control("OK,LON")])
    assert (taken.accepted, taken.rejected, outlet.calls) == (0, (), 0)


async def test_the_readers_product_makes_plain_serials_units(
    intake: Intake, outlet: FakeOutlet
) -> None:
    await intake.take("plain", [Read("0042")])
    assert outlet.scans[0].unit == "sn:PUMP-7.0042"


class Clock:
    """The gateway's, moved by the test."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(intake, "_now", clock)
    return clock


async def test_the_same_read_within_the_readers_debounce_is_one(
    intake: Intake, outlet: FakeOutlet, clock: Clock
) -> None:
    read = Read(f"{BARCODE}1")
    for later_s in (0.0, 1.9, 0.1, 0.2, 2.1):  # at 0, 1.9, 2.0, 2.2, 4.3 s
        clock.later(later_s)
        assert (await intake.take("scanner", [read])).accepted == 1
    assert len(outlet.scans) == 3  # at 0, 2.2, 4.3 s: a repeat does not lengthen the time
    await intake.take("scanner", [Read(f"{BARCODE}2")])
    await intake.take("eager", [read])
    await intake.take("eager", [read])
    assert len(outlet.scans) == 6


@pytest.mark.parametrize("told", [{"lot": "L1"}, {"produced_on": date(2026, 3, 1)}])
async def test_a_read_that_tells_a_lot_or_a_day_is_no_repeat_of_one_that_did_not(
    intake: Intake, outlet: FakeOutlet, clock: Clock, told: dict[str, Any]
) -> None:
    """By a lot that is told at last a recall means the unit."""
    for more in ({}, told, told):
        await intake.take("scanner", [Read(f"{BARCODE}1", **more)])
    assert [(scan.lot, scan.produced_on) for scan in outlet.scans] == [
        (None, None),
        (told.get("lot"), told.get("produced_on")),
    ]


async def test_the_devices_own_times_decide_what_is_a_repeat(
    intake: Intake, outlet: FakeOutlet
) -> None:
    """What a reader kept for an hour arrives at once, and is two visits all the same."""
    for minutes in (60, 30):
        at = NOW - timedelta(minutes=minutes)
        for seconds in (0, 1):
            read = Read(f"{BARCODE}1", event_time=at + timedelta(seconds=seconds))
            assert (await intake.take("scanner", [read])).accepted == 1
    assert len(outlet.scans) == 2


async def test_the_same_read_twice_in_one_delivery_is_one(
    intake: Intake, outlet: FakeOutlet
) -> None:
    taken = await intake.take("scanner", [Read(f"{BARCODE}1"), Read(f"{BARCODE}1")])
    assert taken.accepted == 2
    assert len(outlet.scans) == 1


async def test_a_read_that_was_refused_for_want_of_room_counts_when_it_is_repeated(
    intake: Intake, outlet: FakeOutlet, clock: Clock
) -> None:
    outlet.full = True
    with pytest.raises(SpoolFull):
        await intake.take("scanner", [Read(f"{BARCODE}1")])
    outlet.full = False
    clock.later(0.1)
    assert (await intake.take("scanner", [Read(f"{BARCODE}1")])).accepted == 1
    assert len(outlet.scans) == 1


async def test_a_rejected_read_is_not_remembered_as_read(
    intake: Intake, outlet: FakeOutlet, stations: dict[str, Station]
) -> None:
    await intake.take("lost", [Read(f"{BARCODE}1")])
    stations["nowhere"] = DOCK
    await intake.take("lost", [Read(f"{BARCODE}1")])
    assert len(outlet.scans) == 1


async def test_a_replay_without_room_raises(intake: Intake, outlet: FakeOutlet) -> None:
    await intake.take("lost", [Read(f"{BARCODE}1")])
    outlet.full = True
    with pytest.raises(SpoolFull):
        await intake.replay(outlet.rejected)


def counted(outcome: str, protocol: str = "tcp") -> float:
    """scantrail_reads_total, as it stands."""
    labels = {"reader": "scanner", "protocol": protocol, "outcome": outcome, "station": "dock-1"}
    return REGISTRY.get_sample_value("scantrail_reads_total", labels) or 0.0


async def test_reads_that_the_device_lost_are_counted_and_told(
    intake: Intake, outlet: FakeOutlet
) -> None:
    lost = partial(
        REGISTRY.get_sample_value, "scantrail_reader_lost_reads_total", {"reader": "scanner"}
    )
    before = lost() or 0.0
    with structlog.testing.capture_logs() as logs:
        taken = await intake.take("scanner", [Lost(40), Read(f"{BARCODE}1"), Lost(2)])
    assert (taken.accepted, taken.rejected, len(outlet.scans)) == (1, (), 1)
    assert lost() == before + 42
    (told,) = [log for log in logs if log["event"] == "reader lost reads"]
    assert (told["reader"], told["count"]) == ("scanner", 42)


async def test_a_read_sent_again_by_a_device_without_ids_has_the_event_id_it_had(
    stations: dict[str, Station],
) -> None:
    """The gateway was started anew between: nothing of the first delivery is remembered."""
    read = Read(f"{BARCODE}1", event_time=NOW, sequence=41, fingerprint="f1")
    outlets = FakeOutlet(), FakeOutlet()
    for outlet in outlets:
        await an_intake(outlet, stations).take("scanner", [read])
    first, again = (outlet.scans[0] for outlet in outlets)
    assert first.event_id == again.event_id == "scanner/f1"
    assert content_digest(first) == content_digest(again)


async def test_reads_of_a_device_without_ids_are_debounced(
    intake: Intake, outlet: FakeOutlet
) -> None:
    reads = [
        Read(f"{BARCODE}1", event_time=NOW + timedelta(seconds=n), fingerprint=f"f{n}")
        for n in (0, 1, 3)
    ]
    assert (await intake.take("scanner", reads)).accepted == 3
    assert [scan.event_id for scan in outlet.scans] == ["scanner/f0", "scanner/f3"]
