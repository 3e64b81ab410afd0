"""What is told of readers: at once when they come and go, and now and then what they sent."""

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from component.fake_outlet import FakeOutlet
from scantrail.contracts.records import reader_statuses
from scantrail.domain.reader import ReaderStatus
from scantrail.domain.station import Station
from scantrail.domain.vocabulary import BusinessStep
from scantrail.gateway import statuses as statuses_module
from scantrail.gateway.contexts import Contexts, ContextSettings
from scantrail.gateway.decoders.outcome import Heartbeat, Lost, NoRead, Outcome, Read
from scantrail.gateway.intake import Intake
from scantrail.gateway.readers import ReaderSettings
from scantrail.gateway.scans import Known
from scantrail.gateway.spool import Outgoing
from scantrail.gateway.statuses import COUNTS_EVERY_S, OUTCOMES, Statuses

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CODE = "010950600013435221A"
HALL = Station(id="hall", site="n", business_step=BusinessStep.STORING, read_point="hall")
READERS = {
    "scanner": ReaderSettings(
        id="scanner",
        station="hall",
        protocol="tcp",
        context=ContextSettings(location=re.compile("L-.+"), timeout_s=60),
    ),
    "portal": ReaderSettings(id="portal", station="hall", protocol="http-zebra"),
}


class Publisher(FakeOutlet):
    """Kafka, which is there or away."""

    def __init__(self) -> None:
        super().__init__()
        self.is_there = True
        self.offered: list[ReaderStatus] = []

    async def offer(self, records: Sequence[Outgoing]) -> bool:
        if self.is_there:
            self.offered += [reader_statuses.decode(record.value) for record in records]
            assert [record.key.decode() for record in records] == [
                status.id for status in self.offered[-len(records) :]
            ]
        return self.is_there


class World:
    """A gateway's statuses, in a time of their own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(statuses_module, "LOOK_S", 0.001)
        self.now = NOW
        self.kafka = Publisher()
        contexts = Contexts()
        self.statuses = Statuses("test", READERS, contexts, now=lambda: self.now)
        outlet: Any = self.kafka
        self.intake = Intake(
            "test",
            Known(READERS, {"hall": HALL}),
            outlet,
            contexts=contexts,
            statuses=self.statuses,
            now=lambda: self.now,
        )

    async def take(self, *outcomes: Outcome, reader: str = "scanner") -> None:
        await self.intake.take(reader, outcomes)

    async def told(self) -> list[ReaderStatus]:
        """What is published now, and not before."""
        outlet: Any = self.kafka
        self.kafka.offered = []
        telling = asyncio.create_task(self.statuses.tell(outlet))
        for _ in range(5):
            await asyncio.sleep(0.002)
        telling.cancel()
        return self.kafka.offered


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


async def test_each_reader_is_told_of_at_the_start_and_once(world: World) -> None:
    scanner, portal = await world.told()
    assert scanner == ReaderStatus(
        id="scanner",
        station="hall",
        protocol="tcp",
        started_at=NOW,
        told_at=NOW,
        is_up=False,
        since=NOW,
        counts={},
        context={},
    )
    assert (portal.id, portal.is_up, portal.since) == ("portal", None, None)
    assert await world.told() == []


async def test_a_reader_that_comes_or_goes_is_told_at_once(world: World) -> None:
    await world.told()
    world.now += timedelta(seconds=1)
    with world.statuses.connected("scanner"):
        (up,) = await world.told()
        assert (up.is_up, up.since) == (True, world.now)
        with world.statuses.connected("scanner"):
            pass
        assert await world.told() == [], "one of its connections is left"
        labels = {"reader": "scanner"}
        assert REGISTRY.get_sample_value("scantrail_reader_up", labels) == 1
    world.now += timedelta(seconds=1)
    world.statuses.now()
    (down,) = await world.told()
    assert (down.is_up, down.since) == (False, NOW + timedelta(seconds=1))
    assert REGISTRY.get_sample_value("scantrail_reader_up", labels) == 0


async def test_what_came_of_its_reads_is_told_now_and_then(world: World) -> None:
    await world.told()
    await world.take(Read(f"{CODE}1"), Read(f"{CODE}1"), NoRead(), Heartbeat(), Read("?"), Lost(7))
    assert await world.told() == [], "not each time"
    world.now += timedelta(seconds=COUNTS_EVERY_S)
    (status,) = await world.told()
    assert status.counts == {
        "accepted": 1,
        "control": 1,
        "invalid": 1,
        "lost": 7,
        "no_read": 1,
        "repeat": 1,
    }
    assert status.heard_at == NOW
    labels = {"reader": "scanner"}
    heard = REGISTRY.get_sample_value("scantrail_reader_last_seen_timestamp_seconds", labels)
    assert heard == NOW.timestamp()
    world.now += timedelta(seconds=COUNTS_EVERY_S)
    assert await world.told() == [], "nothing came since"


async def test_a_context_is_told_at_once_and_when_it_has_timed_out(world: World) -> None:
    await world.told()
    await world.take(Read("L-A-04"))
    (status,) = await world.told()
    assert status.context == {"location": "L-A-04"}
    world.now += timedelta(seconds=61)
    (status,) = await world.told()
    assert status.context == {}


async def test_a_clock_that_is_off_is_told(world: World) -> None:
    reads = [Read(f"{CODE}{n}", event_time=NOW + timedelta(seconds=n)) for n in (90, -5)]
    await world.take(*reads, reader="portal")
    (_, portal) = await world.told()
    assert portal.clock_ahead_s == 90
    labels = {"reader": "portal"}
    assert REGISTRY.get_sample_value("scantrail_reader_clock_ahead_seconds", labels) == 90


async def test_what_kafka_does_not_take_is_told_when_it_does(world: World) -> None:
    world.kafka.is_there = False
    assert await world.told() == []
    world.kafka.is_there = True
    assert [status.id for status in await world.told()] == ["scanner", "portal"]


async def test_of_readers_that_nobody_configured_nothing_is_kept(world: World) -> None:
    names = dict.fromkeys(("reader", "station", "protocol"), "unknown")
    labels = {**names, "outcome": "invalid"}
    before = REGISTRY.get_sample_value("scantrail_reads_total", labels) or 0
    await world.take(Read(CODE), reader="somebody")
    assert {status.id for status in await world.told()} == {"scanner", "portal"}
    assert REGISTRY.get_sample_value("scantrail_reads_total", labels) == before + 1


def test_what_rules_look_at_is_counted_from_0_on(world: World) -> None:
    names = {"reader": "scanner", "station": "hall", "protocol": "tcp"}
    for outcome in OUTCOMES:
        labels = {**names, "outcome": outcome}
        assert REGISTRY.get_sample_value("scantrail_reads_total", labels) is not None, outcome
    lost = REGISTRY.get_sample_value("scantrail_reader_lost_reads_total", {"reader": "portal"})
    assert lost is not None
