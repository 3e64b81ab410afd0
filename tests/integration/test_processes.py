"""The five processes as operations runs them: ready on their port, and ended by SIGTERM."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from integration.processes import READY_S_MAX, Process, started
from scantrail.contracts.records import encode, movements
from scantrail.contracts.topics import Topic
from scantrail.infra.embedded_kafka import EmbeddedKafka
from scantrail.infra.group_admin import remove_members
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import apply_topics

PROCESSES = ("gateway", "tracker", "projector", "alerter", "api")


@pytest.mark.parametrize("store", ["rocksdb", "memory"])
def test_each_process_gets_ready_answers_its_probes_and_ends_on_sigterm(
    settings: Settings, tmp_path: Path, store: str
) -> None:
    names = PROCESSES if store == "rocksdb" else ("tracker",)
    settings = replace(settings, tracker_store=store)
    with started(settings, tmp_path, *names) as processes:
        for process in processes:
            process.await_ready()
            live, metrics = process.get("/livez"), process.get("/metrics")
            assert live is not None
            assert (live.status_code, live.json()) == (200, {"alive": True})
            assert metrics is not None
            assert "\nscantrail_ready 1.0\n" in metrics.text, process.name
        for process in processes:
            process.terminate()
        for process in processes:
            assert process.status_within(10.0) == 0, (process.name, process.log)
            assert "Traceback" not in process.log, process.log


async def test_a_scan_goes_through_the_tracker_as_a_process(site: Any, tmp_path: Path) -> None:
    scans = [site.scan("1", minute, station=f"s-{minute}") for minute in range(3)]
    with started(site.settings, tmp_path, "tracker"):
        for scan in (*scans, scans[1]):
            await site.publish(Topic.SCANS, scan.unit, encode(scan))
        records = await (await site.log(Topic.MOVEMENTS)).until(3, limit_s=READY_S_MAX)
        found = [movements.decode(record.value) for record in records]
        assert [(movement.version, movement.scan) for movement in found] == [
            (version, scan) for version, scan in enumerate(scans, start=1)
        ]


def test_a_second_tracker_of_the_same_ordinal_ends_at_once_and_says_the_mend(
    settings: Settings, tmp_path: Path
) -> None:
    with started(settings, tmp_path, "tracker") as (first,):
        first.await_ready()
        other = replace(settings, tracker_health_port=settings.api_health_port)
        with started(other, tmp_path, "tracker") as (second,):
            assert second.status_within(20.0) == 73
            assert "set SCANTRAIL_TRACKER_ORDINAL to another" in second.log
        assert first.process.poll() is None


async def test_members_that_were_killed_can_be_removed(settings: Settings, tmp_path: Path) -> None:
    names = ("tracker", "alerter")  # ready means that they have joined
    groups = [f"{settings.topic_prefix}.{name}" for name in names]
    assert await remove_members(settings, groups) == 0
    with started(settings, tmp_path, *names) as processes:
        for process in processes:
            process.await_ready()
    await _until_removed(settings, *groups)
    assert await remove_members(settings, groups) == 0


async def test_a_member_that_lives_joins_again_when_it_is_removed(
    settings: Settings, tmp_path: Path
) -> None:
    group = f"{settings.topic_prefix}.alerter"
    with started(settings, tmp_path, "alerter") as (alerter,):
        alerter.await_ready()
        await _until_removed(settings, group)
        await _until_removed(settings, group)
        assert alerter.process.poll() is None


async def _until_removed(settings: Settings, *groups: str) -> None:
    """Each group has one member, or soon will."""
    for group in groups:
        deadline = time.monotonic() + 20.0
        while (removed := await remove_members(settings, [group])) == 0:
            assert time.monotonic() < deadline, group
            await asyncio.sleep(0.1)
        assert removed == 1, group


@pytest.mark.parametrize("name", ["gateway", "api"])
def test_a_taken_port_ends_the_process_with_a_sentence_that_names_it(
    settings: Settings, tmp_path: Path, name: str
) -> None:
    """First the health port, which every process has, then the port it serves on."""
    taken = replace(settings, alerter_health_port=getattr(settings, f"{name}_health_port"))
    with started(taken, tmp_path, "alerter") as (alerter,):
        alerter.await_ready()
        with started(settings, tmp_path, name) as (second,):
            assert second.status_within(20.0) == 1
            variable = f"SCANTRAIL_{name.upper()}_HEALTH_PORT"
            assert f"is taken: set {variable} to another" in second.log
            assert "Traceback" not in second.log
        port = getattr(settings, f"{name}_health_port")
        free = replace(
            settings,
            **{f"{name}_port": port, f"{name}_health_port": settings.alerter_health_port},
        )
        with started(free, tmp_path, name) as (third,):
            assert third.status_within(20.0) != 0
            assert str(port) in third.log
            assert "Traceback" not in third.log


@contextmanager
def all_ready(settings: Settings, folder: Path) -> Iterator[list[Process]]:
    """All five, killed at the end."""
    with started(settings, folder, *PROCESSES) as processes:
        for process in processes:
            process.await_ready()
        yield processes


@pytest.fixture
async def own_kafka(
    tmp_path: Path,
    stack_cache: Path,
    database_url: str,
    make_settings: Callable[..., Settings],
) -> AsyncIterator[tuple[EmbeddedKafka, Settings]]:
    """A broker that a test may stop, with its topics, and what processes of it are told."""
    kafka = EmbeddedKafka(tmp_path / "kafka", stack_cache)
    try:
        settings = make_settings(tmp_path, kafka.start(), database_url)
        await apply_topics(settings)
        yield kafka, settings
    finally:
        kafka.kill()


async def test_with_kafka_killed_each_process_still_ends_on_sigterm(
    own_kafka: tuple[EmbeddedKafka, Settings], tmp_path: Path
) -> None:
    kafka, settings = own_kafka
    with all_ready(settings, tmp_path) as processes:
        kafka.kill()
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + 30.0
        for process in processes:
            process.status_within(max(deadline - time.monotonic(), 0.1))
    with started(settings, tmp_path, "tracker") as (tracker,):  # it waits for Kafka
        tracker.await_missing("units recovered")
        deadline = time.monotonic() + READY_S_MAX
        while tracker.log.count("kafka is away") < 2:
            assert time.monotonic() < deadline, tracker.log
            await asyncio.sleep(0.05)
        tracker.terminate()
        assert tracker.status_within(10.0) == 0, tracker.log


async def test_a_process_that_is_told_to_end_a_second_time_ends_at_once(
    own_kafka: tuple[EmbeddedKafka, Settings], tmp_path: Path
) -> None:
    """Kafka stands still: who has to take leave of it waits for it, until told again."""
    kafka, settings = own_kafka
    with all_ready(settings, tmp_path) as processes:
        assert kafka.pid is not None
        os.kill(kafka.pid, signal.SIGSTOP)
        for process in processes:
            process.process.send_signal(signal.SIGINT)
            process.await_logged("stopping")
        for process in processes:
            process.terminate()
        for process in processes:
            status = process.status_within(8.0)  # told once, it may take 15 s
            assert status in (0, 1), (process.name, status, process.log)
            if process.name == "tracker":
                assert status == 1, process.log
