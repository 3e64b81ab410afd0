"""What a process says of Kafka: what waits, what it has done, and which brokers live."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from prometheus_client import REGISTRY

from faults.brokers import Cluster
from faults.links import Network
from integration.processes import Process, started
from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.infra import kafka_watch
from scantrail.infra.beside import beside
from scantrail.infra.settings import Settings

if TYPE_CHECKING:
    from integration.conftest import Site


@pytest.fixture(autouse=True)
def looked_at_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_watch, "LOOK_EVERY_S", 0.2)


def told(name: str, group: str, topic: str) -> dict[str, float]:
    """One of the metrics of a topic's partitions, by partition."""
    [metric] = [each for each in REGISTRY.collect() if each.name == f"scantrail_consumer_{name}"]
    return {
        sample.labels["partition"]: sample.value
        for sample in metric.samples
        if (sample.labels["group"], sample.labels["topic"]) == (group, topic)
    }


async def test_what_the_projector_cannot_write_waits_and_stands_still(site: "Site") -> None:
    def lag() -> float:
        return sum(told("lag_records", "projector", "movements").values())

    def done() -> float:
        return sum(told("next_offset", "projector", "movements").values())

    async def move(serial: str) -> None:
        (movement,) = site.movements(site.scan(serial))
        await site.put_movement(movement, site.unit(serial))

    projector = await site.start("projector")
    await move("1")
    await site.until(lambda: done() == 1 and lag() == 0)
    assert set(told("lag_records", "projector", "movements")) == {"0", "1"}
    assert REGISTRY.get_sample_value("scantrail_kafka_brokers") == 1
    with psycopg.connect(site.settings.database_url) as connection:
        connection.execute("LOCK TABLE movement IN ACCESS EXCLUSIVE MODE")
        for serial in ("2", "3", "4"):
            await move(serial)
        await site.until(lambda: lag() == 3)
        assert done() == 1, "what is fetched is not done"
        connection.rollback()
    await site.until(lambda: lag() == 0 and done() == 4)
    await site.stop(projector)
    assert told("lag_records", "projector", "movements") == {}, "they are another's now"


async def test_what_the_alerter_has_judged_is_done(site: "Site") -> None:
    alerter = await site.start("alerter")
    (movement,) = site.movements(site.scan("1"))
    await site.put_movement(movement, site.unit("1"))
    at = {"group": "alerter", "topic": "movements"}
    await site.until(lambda: sum(told("next_offset", *at.values()).values()) == 1)
    await site.until(lambda: sum(told("lag_records", *at.values()).values()) == 0)
    await site.stop(alerter)


def of_tracker(process: Process, name: str) -> dict[str, float]:
    """One of its metrics, by partition."""
    answer = process.get("/metrics")
    found = re.findall(rf'^{name}{{.*partition="(\d+)".*}} (\S+)$', answer.text, re.MULTILINE)
    return {partition: float(value) for partition, value in found}


async def test_a_tracker_that_starts_again_knows_what_it_had_done(
    site: Any, tmp_path: Path
) -> None:
    def stands(process: Process, *, done: int) -> bool:
        nexts = of_tracker(process, "scantrail_consumer_next_offset")
        lags = of_tracker(process, "scantrail_consumer_lag_records")
        return len(nexts) == 2 and sum(nexts.values()) == done and sum(lags.values()) == 0

    with started(site.settings, tmp_path, "tracker") as (tracker,):
        tracker.await_ready()
        for number in range(5):
            scan = site.scan(str(number))
            await site.publish(Topic.SCANS, scan.unit, encode(scan))
        await site.until(lambda: stands(tracker, done=5), 30.0)
        tracker.terminate()
        assert tracker.status_within(15.0) == 0
        tracker.start()
        tracker.await_ready()
        await site.until(lambda: stands(tracker, done=5), 30.0)
        remaining = tracker.get("/metrics").text
        assert "\nscantrail_table_recovery_remaining_records 0.0\n" in remaining


async def until(is_so: Callable[[], bool], limit_s: float) -> None:
    async with asyncio.timeout(limit_s):
        while not is_so():
            await asyncio.sleep(0.1)


@pytest.mark.long
@pytest.mark.alone
async def test_of_three_brokers_one_that_dies_is_missed_and_all_are_seen_to_be_away(
    tmp_path: Path, stack_cache: Path
) -> None:
    def live() -> float | None:
        return REGISTRY.get_sample_value("scantrail_kafka_brokers")

    with Network() as network:
        cluster = Cluster(tmp_path, stack_cache, network)
        cluster.start()
        watching = kafka_watch.watch_kafka(Settings(kafka_bootstrap=cluster.bootstrap("others")))
        try:
            async with beside(watching):
                await until(lambda: live() == 3, 20.0)
                cluster.kill(1)
                await until(lambda: live() == 2, 30.0)
                await asyncio.to_thread(cluster.start, 1)
                await until(lambda: live() == 3, 30.0)
                cluster.kill()
                await until(lambda: live() == 0, 30.0)
        finally:
            cluster.kill()
