"""What processes say of themselves while PostgreSQL or Kafka is away, and what waits meanwhile."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from integration.processes import Process, started
from scantrail.api import outbox
from scantrail.contracts.records import stations
from scantrail.contracts.topics import Topic
from scantrail.infra import database_watch, kafka_watch
from scantrail.infra.embedded_kafka import EmbeddedKafka
from scantrail.infra.embedded_postgres import EmbeddedPostgres
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import apply_topics

#: From a look that finds nobody to the third in a row, where each waits for its answer.
NOTICED_S_MAX = 45.0


def status(process: Process) -> int | None:
    answer = process.get("/readyz")
    return None if answer is None else answer.status_code


async def test_without_postgresql_api_and_projector_are_not_ready_though_nothing_is_asked(
    own_settings: Settings,
    own_postgres: EmbeddedPostgres,
    tmp_path: Path,
) -> None:
    with started(own_settings, tmp_path, "api", "projector") as processes:
        for process in processes:
            await asyncio.to_thread(process.await_ready)
        own_postgres.kill()
        for process in processes:
            await asyncio.to_thread(process.await_missing, "database")
            assert status(process) == 503, process.name
            answer = process.get("/livez")
            assert answer is not None
            assert answer.status_code == 200, process.name
        await asyncio.to_thread(own_postgres.start)
        for process in processes:
            await asyncio.to_thread(process.await_ready)


async def test_a_postgresql_that_is_restarted_makes_nobody_unready(
    own_settings: Settings,
    own_postgres: EmbeddedPostgres,
    open_site: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is away for one look, or two."""
    looks: list[bool] = []
    asked = database_watch._answers
    restarted = asyncio.Event()

    async def answers(engine: Any) -> bool:
        if looks and looks[-1] is False:
            await restarted.wait()
        looks.append(await asked(engine))
        return looks[-1]

    monkeypatch.setattr(database_watch, "LOOK_EVERY_S", 0.2)
    monkeypatch.setattr(database_watch, "_answers", answers)
    async with open_site(own_settings) as site:
        projector = await site.start("projector")
        await site.until(lambda: looks)
        own_postgres.kill()
        await site.until(lambda: False in looks)
        assert projector.ready
        await asyncio.to_thread(own_postgres.start)
        restarted.set()
        await site.until(lambda: looks[-3:] == [True] * 3)
        assert projector.ready
        assert 1 <= looks.count(False) <= 2


def waits_s() -> float | None:
    """For how long the oldest record of the outbox waits, as the api tells."""
    return REGISTRY.get_sample_value("scantrail_outbox_oldest_seconds")


async def test_without_kafka_who_can_work_is_ready_and_what_waits_in_the_outbox_is_told(
    own_kafka: EmbeddedKafka,
    database_url: str,
    tmp_path: Path,
    make_settings: Any,
    open_site: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka_watch, "LOOK_EVERY_S", 0.2)
    monkeypatch.setattr(outbox, "LOOK_S", 0.2)
    settings = make_settings(tmp_path, own_kafka.address, database_url)
    await apply_topics(settings)
    async with open_site(settings) as site:
        serving = [await site.start(name) for name in ("gateway", "api")]
        working = [await site.start(name) for name in ("projector", "alerter")]
        with started(settings, tmp_path, "tracker") as (tracker,):
            await asyncio.to_thread(tracker.await_ready)
            await site.until(lambda: waits_s() == 0)
            await site.close_clients()
            own_kafka.kill()
            for each in working:
                await site.until(lambda each=each: each.health.lacking == ["kafka"], NOTICED_S_MAX)
            await asyncio.to_thread(tracker.await_missing, "kafka")
            station = {"site": "north", "business_step": "receiving"}
            answer = await site.ask("PUT", "/stations/dock-1", json=station)
            assert answer.is_success, answer.text
            assert answer.json()["published"] is False
            await site.until(lambda: (waits_s() or 0.0) > 1.0)
            told = await site.ask("GET", "/stations/dock-1")
            assert told.status_code == 200, "it answers"
            assert [each.health.lacking for each in serving] == [[], []]
            own_kafka.start()
            await site.until(lambda: waits_s() == 0, NOTICED_S_MAX)
            for each in working:
                await site.until(lambda each=each: each.ready, NOTICED_S_MAX)
            await asyncio.to_thread(tracker.await_ready)
        (record,) = await (await site.log(Topic.STATIONS)).records()
        assert stations.decode(record.value).site == "north"
