"""Readers of tags through the intake: which station a read is of, and which reads are strays."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from component.fake_outlet import FakeOutlet
from scantrail.domain.scan import content_digest
from scantrail.domain.station import Station
from scantrail.domain.vocabulary import BusinessStep
from scantrail.gateway.decoders.outcome import Read
from scantrail.gateway.decoders.tag_read import tag_read
from scantrail.gateway.intake import Intake
from scantrail.gateway.readers import ReaderSettings
from scantrail.gateway.scans import Known
from scantrail.gateway.spool import SpoolFull

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TAG = "E28011606000020500000001"
UNIT = f"epc:{TAG}"


def station(station_id: str) -> Station:
    return Station(
        id=station_id,
        site="north",
        business_step=BusinessStep.SHIPPING,
        read_point=f"{station_id}.portal",
    )


STATIONS = {each: station(each) for each in ("dock", "dock-1", "dock-2")}


@pytest.fixture
def outlet() -> FakeOutlet:
    return FakeOutlet()


def a_portal(outlet: Any, *, stations: dict[str, Station] | None = None, **settings: Any) -> Intake:
    """The intake of a gateway with one reader of tags; each call is another start of it."""
    portal = ReaderSettings(id="portal", station="dock", protocol="http-zebra", **settings)
    known = STATIONS if stations is None else stations
    return Intake("test", Known({"portal": portal}, known), outlet, now=lambda: NOW)


def read(at_s: float = 0.0, tag: str = TAG, antenna: int | None = 1, **more: Any) -> Read:
    at = NOW - timedelta(minutes=1) + timedelta(seconds=at_s)
    return tag_read(tag, event_time=at, antenna=antenna, **({"rssi_dbm": -50.0} | more))


def counted(outcome: str) -> float:
    """scantrail_reads_total of the portal's protocol, as it stands."""
    labels = {"reader": "portal", "station": "dock", "protocol": "http-zebra"}
    labels["outcome"] = outcome
    return REGISTRY.get_sample_value("scantrail_reads_total", labels) or 0.0


ANTENNAS = {1: "dock-1", 2: "dock-2"}


async def test_the_antenna_decides_the_station_and_others_are_of_the_readers_own(
    outlet: FakeOutlet,
) -> None:
    tags = [f"E2801160{n:016X}" for n in range(4)]
    reads = [read(tag=tag, antenna=at) for tag, at in zip(tags, (1, 2, 3, None), strict=True)]
    taken = await a_portal(outlet, antennas=ANTENNAS).take("portal", reads)
    assert (taken.accepted, taken.rejected) == (4, ())
    assert [(scan.station, scan.read_point) for scan in outlet.scans] == [
        ("dock-1", "dock-1.portal"),
        ("dock-2", "dock-2.portal"),
        ("dock", "dock.portal"),
        ("dock", "dock.portal"),
    ]


async def test_a_tag_at_two_stations_of_a_reader_is_at_both_however_soon(
    outlet: FakeOutlet,
) -> None:
    """And within the debounce only once at each, at whichever of its antennas."""
    reads = [read(0), read(0.1, antenna=2), read(0.2), read(0.3, antenna=3), read(0.4, antenna=4)]
    await a_portal(outlet, antennas=ANTENNAS).take("portal", reads)
    assert [scan.station for scan in outlet.scans] == ["dock-1", "dock-2", "dock"]


async def test_a_read_set_aside_for_its_antennas_station_is_replayed_there(
    outlet: FakeOutlet,
) -> None:
    stations = {"dock": STATIONS["dock"]}
    intake = a_portal(outlet, antennas=ANTENNAS, stations=stations)
    taken = await intake.take("portal", [read(antenna=2, direction="in")])
    assert [each.reason for each in taken.rejected] == ["unknown_station"]
    assert "PUT /stations/dock-2, then replay" in taken.rejected[0].detail
    (kept,) = outlet.rejected
    assert (kept.station, kept.antenna, kept.rssi_dbm, kept.direction) == ("dock-2", 2, -50.0, "in")
    stations["dock-2"] = STATIONS["dock-2"]
    assert (await intake.replay([kept])).accepted == 1
    assert [(scan.station, scan.event_id) for scan in outlet.scans] == [("dock-2", kept.event_id)]


@pytest.mark.parametrize(
    ("settings", "stray"),
    [
        ({"rssi_min_dbm": -60.0}, read(rssi_dbm=-61.0)),
        ({"rssi_min_dbm": -60.0}, read(rssi_dbm=None)),
        ({"direction": "in"}, read(direction="out")),
        ({"direction": "in"}, read()),
        ({"reads_min": 2, "reads_window_s": 1.0}, read()),
    ],
)
async def test_a_stray_is_counted_and_published_by_nobody(
    outlet: FakeOutlet, settings: dict[str, Any], stray: Read
) -> None:
    before = counted("stray"), counted("accepted")
    taken = await a_portal(outlet, **settings).take("portal", [stray])
    assert (taken.accepted, taken.rejected, outlet.kept) == (1, (), [])
    assert (counted("stray"), counted("accepted")) == (before[0] + 1, before[1])


async def test_a_tag_counts_once_it_was_read_often_enough_and_is_then_debounced(
    outlet: FakeOutlet,
) -> None:
    intake = a_portal(outlet, reads_min=3, reads_window_s=2.0)
    for n in range(6):
        await intake.take("portal", [read(n / 10)])
    assert [scan.event_id for scan in outlet.scans] == [f"portal/{read(0.2).fingerprint}"]


BATCH = [read(n / 10, antenna=antenna) for n in range(8) for antenna in (1, 2)]


@pytest.mark.parametrize("debounce_s", [0.0, 2.0])
@pytest.mark.parametrize("reads_min", [1, 3])
async def test_a_batch_sent_again_counts_once(
    outlet: FakeOutlet, debounce_s: float, reads_min: int
) -> None:
    """By the same gateway, and by one that was started anew and remembers nothing."""
    settings = {
        "debounce_s": debounce_s,
        "antennas": ANTENNAS,
        "reads_min": reads_min,
        "reads_window_s": 1.0,
    }
    intake = a_portal(outlet, **settings)
    await intake.take("portal", BATCH)
    first = {scan.event_id: content_digest(scan) for scan in outlet.scans}
    assert len(first) == (2 if debounce_s else 2 * (8 - reads_min + 1))
    await intake.take("portal", BATCH)
    await a_portal(outlet, **settings).take("portal", BATCH)
    assert len(outlet.scans) >= 2 * len(first)
    for scan in outlet.scans:
        assert content_digest(scan) == first[scan.event_id]


async def test_reads_that_found_no_room_are_no_sightings_when_they_come_again(
    outlet: FakeOutlet,
) -> None:
    """A reader without a clock: nothing tells that it is the same read."""
    intake = a_portal(outlet, reads_min=3, reads_window_s=10.0, debounce_s=0.0)
    timeless = tag_read(TAG, event_time=None, antenna=1, rssi_dbm=-50.0)
    outlet.full = True
    for _ in range(5):
        with pytest.raises(SpoolFull):
            await intake.take("portal", [timeless, read(tag="E28011606000"), *[timeless] * 2])
    outlet.full = False
    await intake.take("portal", [timeless, timeless])
    assert outlet.scans == []
    await intake.take("portal", [timeless])
    assert [scan.unit for scan in outlet.scans] == [UNIT]


@pytest.mark.parametrize(
    ("settings", "strays"),
    [
        ({"rssi_min_dbm": -60.0}, [read(0, rssi_dbm=-61.0), read(1, rssi_dbm=None)]),
        ({"direction": "in"}, [read(0, direction="out"), read(1)]),
        ({"reads_min": 3, "reads_window_s": 2.0}, [read(0), read(1)]),
    ],
)
async def test_a_stray_of_a_reader_that_nobody_had_configured_does_not_ship_by_replay_either(
    outlet: FakeOutlet, settings: dict[str, Any], strays: list[Read]
) -> None:
    nobody: Any = outlet
    sent = [*strays, read(2, direction="in")]
    await Intake("test", Known({}, STATIONS), nobody, now=lambda: NOW).take("portal", sent)
    kept = outlet.rejected
    assert [each.reason for each in kept] == ["unknown_reader"] * 3
    intake = a_portal(outlet, **settings)
    replayed = await intake.replay(kept)
    assert [(each.index, each.reason) for each in replayed.rejected] == [(0, "stray"), (1, "stray")]
    assert all("mend the readers' file" in each.detail for each in replayed.rejected)
    assert [scan.event_id for scan in outlet.scans] == [kept[2].event_id]
    again = outlet.rejected[-2:]
    assert [each.event_id for each in again] == [each.event_id for each in kept[:2]]
    assert (await intake.replay(again)).accepted == 0
    assert (await a_portal(outlet, **settings).replay(again)).accepted == 0
    assert (await a_portal(outlet).replay(again)).accepted == 2


async def test_a_read_that_counted_before_it_was_set_aside_counts_in_its_replay(
    outlet: FakeOutlet,
) -> None:
    stations: dict[str, Station] = {}
    settings = {"reads_min": 3, "reads_window_s": 2.0}
    intake = a_portal(outlet, stations=stations, **settings)
    await intake.take("portal", [read(n / 2) for n in range(3)])
    (kept,) = outlet.rejected
    assert kept.reason == "unknown_station"
    stations["dock"] = STATIONS["dock"]
    assert (await a_portal(outlet, stations=stations, **settings).replay([kept])).accepted == 1
    assert [scan.event_id for scan in outlet.scans] == [f"portal/{read(1).fingerprint}"]
