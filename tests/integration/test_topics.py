"""Topics as `schemas/` says, on a real broker."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from integration.processes import READY_S_MAX, started
from scantrail.cli.commands import run
from scantrail.contracts.topics import FENCE, Topic, topic_specs
from scantrail.gateway.outlet import TOPICS, Outlet
from scantrail.gateway.spool import Outgoing, Spool
from scantrail.infra.health import Health
from scantrail.infra.kafka import connect_consumer
from scantrail.infra.partitions import PartitionsDiffer
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import apply_topics, check_partitions, name_of, topic_faults

LIVE = "live: Kafka takes the reads"


async def test_apply_topics_makes_all_topics_once(settings: Settings) -> None:
    fresh = replace(settings, topic_prefix=f"{settings.topic_prefix}-fresh")
    assert sorted(await apply_topics(fresh)) == sorted(name_of(fresh, topic) for topic in Topic)
    assert await apply_topics(fresh) == []
    assert await apply_topics(settings) == []


async def test_topics_are_kept_as_their_toml_says(settings: Settings) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    await admin.start()
    try:
        names = [name_of(settings, spec.topic) for spec in topic_specs()]
        described = {each["topic"]: each for each in await admin.describe_topics(names)}
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        answers = await admin.describe_configs(resources)
    finally:
        await admin.close()
    configs = {
        resource[3]: {entry[0]: entry[1] for entry in resource[4]}
        for answer in answers
        for resource in answer.resources
    }
    assert {spec.topic for spec in topic_specs()} == set(Topic)
    for spec in topic_specs():
        name = name_of(settings, spec.topic)
        expected = spec.partitions or settings.partitions
        assert len(described[name]["partitions"]) == expected, name
        assert spec.config, name
        found = {key: configs[name][key] for key in spec.config}
        assert found == spec.config, name
    assert configs[name_of(settings, Topic.MOVEMENTS)]["retention.ms"] == "-1"
    assert configs[name_of(settings, Topic.RECALLS)]["cleanup.policy"] == "compact"


async def own_config(settings: Settings, topic: Topic) -> dict[str, str]:
    """What was set for the topic itself."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    await admin.start()
    try:
        asked = ConfigResource(ConfigResourceType.TOPIC, name_of(settings, topic))
        (answer,) = await admin.describe_configs([asked])
    finally:
        await admin.close()
    of_the_topic = 1
    return {entry[0]: entry[1] for entry in answer.resources[0][4] if entry[3] == of_the_topic}


async def set_config(settings: Settings, topic: Topic, config: dict[str, str]) -> None:
    """Returns once every broker knows."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    await admin.start()
    try:
        name = name_of(settings, topic)
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, config)])
    finally:
        await admin.close()
    await until_config(settings, topic, config)


async def until_config(settings: Settings, topic: Topic, config: dict[str, str]) -> None:
    deadline = time.monotonic() + 10.0
    while (found := await own_config(settings, topic)) != config:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.05)


async def test_the_fence_is_set_and_taken_away_and_what_others_have_set_stays(
    settings: Settings,
) -> None:
    fenced = replace(settings, tracker_fence="on")
    (plain,) = (spec.config for spec in topic_specs() if spec.topic is Topic.UNITS)
    others = {**plain, "segment.bytes": "100000000"}
    await set_config(settings, Topic.UNITS, others)
    for _ in range(2):
        await apply_topics(fenced)
        await until_config(settings, Topic.UNITS, {**others, **FENCE})
    for _ in range(2):
        await apply_topics(settings)
        await until_config(settings, Topic.UNITS, others)
    fresh = replace(fenced, topic_prefix=f"{settings.topic_prefix}-fresh")
    await apply_topics(fresh)
    assert await own_config(fresh, Topic.UNITS) == {**plain, **FENCE}
    assert "message.timestamp.before.max.ms" not in await own_config(fresh, Topic.RECALLS)


async def test_a_topic_that_an_older_release_made_takes_larger_records_from_now_on(
    settings: Settings,
) -> None:
    (plain,) = (spec.config for spec in topic_specs() if spec.topic is Topic.RECALLS)
    older = {"cleanup.policy": "compact", "segment.bytes": "100000000"}
    for config in (older, {**older, "max.message.bytes": "9437184"}):
        await set_config(settings, Topic.RECALLS, config)
        for _ in range(2):
            await apply_topics(settings)
            await until_config(settings, Topic.RECALLS, {**older, **plain})
    larger = {**plain, **older, "max.message.bytes": "99999999"}
    await set_config(settings, Topic.RECALLS, larger)
    await apply_topics(settings)
    assert await own_config(settings, Topic.RECALLS) == larger


async def test_what_a_clock_that_is_hours_ahead_dates_is_taken(settings: Settings) -> None:
    """Kafka's own limit is an hour; a process that is refused would stop until its clock is set."""
    in_two_hours = int((time.time() + 7200) * 1000)
    fenced = replace(settings, tracker_fence="on", topic_prefix=f"{settings.topic_prefix}-fenced")
    await apply_topics(fenced)
    for each in (settings, fenced):
        producer = AIOKafkaProducer(bootstrap_servers=each.kafka_bootstrap)
        await producer.start()
        try:
            for topic in Topic:
                name = name_of(each, topic)
                await producer.send_and_wait(name, b"{}", key=b"k", timestamp_ms=in_two_hours)
        finally:
            await producer.stop()


async def test_a_topic_of_an_older_release_takes_them_once_it_was_applied_again(
    settings: Settings,
) -> None:
    plain = {spec.topic: spec.config for spec in topic_specs()}
    for topic in (Topic.HOLDS, Topic.UNITS):
        older = {"cleanup.policy": "compact", "segment.bytes": "100000000"}
        await set_config(settings, topic, older)
        faults = [told for told in await topic_faults(settings) if "message.timestamp" in told]
        assert [told.endswith(": scantrail topics apply sets it") for told in faults] == [True]
        await apply_topics(settings)
        times = {key: value for key, value in plain[topic].items() if "timestamp" in key}
        assert times
        found = await own_config(settings, topic)
        assert {**older, **times}.items() <= found.items()


async def test_another_number_of_partitions_is_refused_with_the_mend(settings: Settings) -> None:
    other = replace(settings, partitions=settings.partitions + 1)
    name = name_of(settings, Topic.ALERTS)
    told = (
        f"SCANTRAIL_PARTITIONS: topic {name} has {settings.partitions} partitions, not"
        f" {other.partitions}; the number is fixed at creation:"
        f" set SCANTRAIL_PARTITIONS={settings.partitions}"
    )
    for ask in (apply_topics, check_partitions, topic_faults):
        with pytest.raises(PartitionsDiffer) as refusal:
            await ask(other)
        assert str(refusal.value) == told


async def test_what_is_not_as_it_must_be_is_told_with_the_mend(settings: Settings) -> None:
    assert await topic_faults(settings) == []
    fenced = replace(settings, tracker_fence="on", replication=3)
    faults = await topic_faults(fenced)
    units, scans = name_of(settings, Topic.UNITS), name_of(settings, Topic.SCANS)
    applied = "scantrail topics apply sets it"
    assert f"topic {units}: message.timestamp.type is not set, not CreateTime: {applied}" in faults
    assert f"topic {scans}: min.insync.replicas is not set, not 2: set it to that" in faults
    assert (
        f"topic {scans} has 1 copies, not SCANTRAIL_REPLICATION=3:"
        " kafka-reassign-partitions.sh makes more"
    ) in faults
    (plain,) = (spec.config for spec in topic_specs() if spec.topic is Topic.SCANS)
    await set_config(
        settings,
        Topic.SCANS,
        {**plain, "retention.ms": "1", "message.timestamp.type": "CreateTime"},
    )
    assert await topic_faults(settings) == [
        f"topic {scans}: message.timestamp.type is CreateTime, not LogAppendTime: {applied}"
    ]
    elsewhere = replace(settings, topic_prefix=f"{settings.topic_prefix}-none")
    missing = await topic_faults(elsewhere)
    assert len(missing) == len(Topic)
    assert (
        f"topic {name_of(elsewhere, Topic.HOLDS)} is missing: scantrail topics apply makes it"
        in (missing)
    )


def test_each_process_refuses_another_number_of_partitions_with_the_mend(
    settings: Settings, tmp_path: Path
) -> None:
    """The gateway goes on taking reads, which it keeps on its disk, and says that it lacks it."""
    other = replace(settings, partitions=settings.partitions + 1)
    told = f"set SCANTRAIL_PARTITIONS={settings.partitions}"
    names = ("gateway", "tracker", "projector", "alerter", "api")
    with started(other, tmp_path, *names) as (gateway, *others):
        for process in others:
            assert process.status_within(READY_S_MAX) == 1, process.name
            assert f"scantrail {process.name}: SCANTRAIL_PARTITIONS: topic " in process.log
            assert told in process.log
            assert "Traceback" not in process.log, process.log
        gateway.await_missing(TOPICS)
        assert told in gateway.log
        gateway.terminate()
        assert gateway.status_within(10.0) == 0


def test_commands_refuse_another_number_of_partitions(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in settings.environ().items():
        monkeypatch.setenv(name, value)
    assert run(["topics", "check"]) == 0
    assert capsys.readouterr().out == "all topics are as they must be\n"
    monkeypatch.setenv("SCANTRAIL_REPLICATION", "2")
    assert run(["topics", "check"]) == 1
    assert "has 1 copies, not SCANTRAIL_REPLICATION=2" in capsys.readouterr().out
    monkeypatch.setenv("SCANTRAIL_PARTITIONS", str(settings.partitions + 1))
    for command in (["topics", "check"], ["topics", "apply"], ["check"]):
        told = run(command)
        assert str(told).startswith(f"scantrail {command[0]}: SCANTRAIL_PARTITIONS: topic ")
        assert str(told).endswith(f"set SCANTRAIL_PARTITIONS={settings.partitions}")


async def test_added_partitions_get_no_scan_and_reads_stay_on_the_gateways_disk(
    site: Any, tmp_path: Path
) -> None:
    spool, health = Spool(tmp_path / "spool.db", bytes_max=1 << 20), Health()
    outlet = Outlet(site.settings, spool, health)
    scans = name_of(site.settings, Topic.SCANS)
    draining = asyncio.create_task(outlet.drain())
    try:
        await site.until_logged(LIVE)
        await outlet.keep([Outgoing(scans, b"sn:PUMP.0", b"{}", [])])
        assert spool.count == 0
        await add_partitions(site.settings, Topic.SCANS, site.settings.partitions + 1)
        assert outlet._producer is not None
        await outlet._producer.client.force_metadata_update()
        for number in range(20):
            await outlet.keep([Outgoing(scans, f"sn:PUMP.{number}".encode(), b"{}", [])])
        await site.until(lambda: health.lacking == [TOPICS])
        assert spool.count == 20
        with pytest.raises(PartitionsDiffer, match="partitions were added to topics"):
            await check_partitions(site.settings)
    finally:
        draining.cancel()
        await asyncio.wait({draining})
        await outlet.stop()
        await spool.close()
    consumer = await connect_consumer(site.settings, Topic.SCANS)
    try:
        ends = await consumer.end_offsets([TopicPartition(scans, n) for n in range(3)])
    finally:
        await consumer.stop()
    assert sum(ends.values()) == 1


async def add_partitions(settings: Settings, topic: Topic, number: int) -> None:
    """Returns once Kafka tells of them."""
    name = name_of(settings, topic)
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    await admin.start()
    try:
        await admin.create_partitions({name: NewPartitions(number)})
        deadline = time.monotonic() + 10.0
        while len((await admin.describe_topics([name]))[0]["partitions"]) != number:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
    finally:
        await admin.close()
