"""`scantrail topics`: makes the topics of `schemas/`, or says how those that are there differ."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAlreadyExistsError, for_code

from scantrail.contracts.topics import FENCE, Topic, TopicSpec, topic_name, topic_specs
from scantrail.infra.connecting import begin
from scantrail.infra.credentials import kafka_access
from scantrail.infra.partitions import check_numbers
from scantrail.infra.settings import Settings, SettingsError

WAIT_S = 30.0

#: A broker that does not answer for so long is not waited for: another may.
ASK_MS_MAX = 5_000

#: Of what describes a topic's settings: this one was made for the topic, it is no default.
_OF_THE_TOPIC = 1

#: How large a record may be that a topic takes.
RECORD_SIZE = "max.message.bytes"

#: How long a record stays: whoever runs Kafka may like it longer.
RETENTION = "retention.ms"

#: Whose time a record has, and how far ahead it may be: without these, what a process with a clock
#: ahead by more than an hour writes is refused for ever.
TIMES = ("message.timestamp.type", "message.timestamp.after.max.ms")

#: With so many copies a record is acknowledged when two have it, and one may be away.
REPLICATION_SAFE = 3
SAFE = {"min.insync.replicas": "2"}


async def apply_topics(settings: Settings) -> list[str]:
    """Create what is missing and return its names. Of what is there the tracker's fence is set, or
    taken away, topics that take smaller records than they should take larger ones, and records'
    times are as they should be.

    Raises PartitionsDiffer where a topic exists with another number of partitions: the number is
    fixed at creation, for the key decides the partition; SettingsError where Kafka refuses.
    """
    admin = await _connected(settings)
    try:
        return await _apply(admin, settings)
    except KafkaError as error:
        raise SettingsError(
            f"SCANTRAIL_KAFKA_BOOTSTRAP={settings.kafka_bootstrap}: Kafka did not make the topics:"
            f" {error!r}"
        ) from error
    finally:
        await admin.close()


async def _apply(admin: AIOKafkaAdminClient, settings: Settings) -> list[str]:
    wanted = {}
    for spec in topic_specs():
        name = name_of(settings, spec.topic)
        wanted[name] = NewTopic(
            name=name,
            num_partitions=spec.partitions or settings.partitions,
            replication_factor=settings.replication,
            topic_configs=topic_config(settings, spec),
        )
    present = {t["topic"]: t for t in await admin.describe_topics() if t["topic"] in wanted}
    check_numbers(settings, _numbers(present.values()))
    missing = [topic for name, topic in wanted.items() if name not in present]
    if missing:
        answer = await admin.create_topics(missing)
        for name, code, *told in answer.topic_errors:
            if code and not issubclass(for_code(code), TopicAlreadyExistsError):
                raise SettingsError(f"topic {name} cannot be created: {told}")
        await _until_present(admin, {topic.name for topic in missing})
    for spec in topic_specs():
        if name_of(settings, spec.topic) in present:
            await _apply_settings(admin, settings, spec)
    return [topic.name for topic in missing]


def topic_config(settings: Settings, spec: TopicSpec) -> dict[str, str]:
    """The settings with which a topic is made in this installation."""
    config = dict(spec.config)
    if spec.topic is Topic.UNITS:
        config |= _fence(settings)
    if settings.replication >= REPLICATION_SAFE:
        config |= SAFE
    return config


def _fence(settings: Settings) -> dict[str, str]:
    return FENCE if settings.tracker_fence == "on" else {}


async def _apply_settings(admin: AIOKafkaAdminClient, settings: Settings, spec: TopicSpec) -> None:
    """Set what has to be as this release has it; all else may be as the operator likes."""
    name = name_of(settings, spec.topic)
    found = await _settings_of(admin, name)
    wanted = dict(found)
    if spec.topic is Topic.UNITS:
        wanted = {key: value for key, value in found.items() if key not in FENCE}
        wanted |= _fence(settings)
    wanted |= {key: spec.config[key] for key in TIMES if key in spec.config}
    size = int(spec.config.get(RECORD_SIZE, 0))
    if int(found.get(RECORD_SIZE, 0)) < size:  # an older release made it, or it has the default
        wanted[RECORD_SIZE] = str(size)
    if settings.replication >= REPLICATION_SAFE:
        wanted = SAFE | wanted
    if found != wanted:
        await _set(admin, name, wanted)


async def check_partitions(settings: Settings) -> None:
    """Hold the topics that are there against the settings, as a process does before it works.

    Raises PartitionsDiffer, and KafkaError where Kafka is away.
    """
    admin = AIOKafkaAdminClient(
        bootstrap_servers=settings.kafka_bootstrap,
        **kafka_access(settings),
        request_timeout_ms=ASK_MS_MAX,
    )
    await begin(admin)
    try:
        check_numbers(settings, _numbers(await admin.describe_topics()))
    finally:
        await admin.close()


async def topic_faults(settings: Settings) -> list[str]:
    """What is not as it must be, a line each with the mend: topics that are missing, have too few
    copies, or are kept in another way. How long records stay may be as the operator likes.

    Raises PartitionsDiffer; SettingsError where Kafka is away or does not tell.
    """
    admin = await _connected(settings)
    try:
        present = {topic["topic"]: topic for topic in await admin.describe_topics()}
        check_numbers(settings, _numbers(present.values()))
        faults = []
        for spec in topic_specs():
            name = name_of(settings, spec.topic)
            if name not in present:
                faults.append(f"topic {name} is missing: scantrail topics apply makes it")
                continue
            copies = min(len(part["replicas"]) for part in present[name]["partitions"])
            if copies < settings.replication:
                faults.append(
                    f"topic {name} has {copies} copies, not SCANTRAIL_REPLICATION="
                    f"{settings.replication}: kafka-reassign-partitions.sh makes more"
                )
            found = await _settings_of(admin, name)
            faults += [f"topic {name}: {told}" for told in _config_faults(settings, spec, found)]
        return faults
    except KafkaError as error:
        raise SettingsError(
            f"SCANTRAIL_KAFKA_BOOTSTRAP={settings.kafka_bootstrap}: Kafka does not tell of its"
            f" topics: {error!r}"
        ) from error
    finally:
        await admin.close()


def _config_faults(settings: Settings, spec: TopicSpec, found: Mapping[str, str]) -> list[str]:
    faults = []
    for key, value in topic_config(settings, spec).items():
        have = found.get(key)
        is_enough = key == RECORD_SIZE and have is not None and int(have) >= int(value)
        if have != value and key != RETENTION and not is_enough:
            is_applied = key in (RECORD_SIZE, *TIMES, *FENCE)
            mend = "scantrail topics apply sets it" if is_applied else "set it to that"
            faults.append(f"{key} is {have or 'not set'}, not {value}: {mend}")
    if spec.topic is Topic.UNITS and not _fence(settings):
        over = sorted(FENCE.keys() & found.keys())
        faults += [f"{key} is set without SCANTRAIL_TRACKER_FENCE=on: take it away" for key in over]
    return faults


def _numbers(told: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many partitions each topic has, of what Kafka told."""
    return {topic["topic"]: len(topic["partitions"]) for topic in told}


async def _settings_of(admin: AIOKafkaAdminClient, name: str) -> dict[str, str]:
    """The settings that were made for the topic; defaults are none."""
    asked = ConfigResource(ConfigResourceType.TOPIC, name)
    ((code, told, _, _, entries),) = (await admin.describe_configs([asked]))[0].resources
    if code:
        raise SettingsError(f"topic {name}: its settings cannot be read: {told}")
    return {key: value for key, value, _, source, *_ in entries if source == _OF_THE_TOPIC}


async def _set(admin: AIOKafkaAdminClient, name: str, wanted: dict[str, str]) -> None:
    """Give a topic these settings; all that is not named is taken away."""
    changed = ConfigResource(ConfigResourceType.TOPIC, name, wanted)
    ((code, told, *_),) = (await admin.alter_configs([changed]))[0].resources
    if code:
        raise SettingsError(f"topic {name}: its settings cannot be changed: {told}")


async def _connected(settings: Settings) -> AIOKafkaAdminClient:
    deadline = time.monotonic() + WAIT_S
    while True:
        admin = AIOKafkaAdminClient(
            bootstrap_servers=settings.kafka_bootstrap, **kafka_access(settings)
        )
        try:
            await begin(admin)
            return admin
        except KafkaConnectionError as error:
            if time.monotonic() > deadline:
                raise SettingsError(
                    f"SCANTRAIL_KAFKA_BOOTSTRAP={settings.kafka_bootstrap}: no Kafka answers there"
                ) from error
            await asyncio.sleep(0.2)


async def partitions_of(settings: Settings, *topics: Topic) -> dict[Topic, list[TopicPartition]]:
    """The partitions of each topic. Raises SettingsError where Kafka is away, or has none such."""
    admin = await _connected(settings)
    try:
        there = {t["topic"]: t["partitions"] for t in await admin.describe_topics()}
    finally:
        await admin.close()
    found = {}
    for topic in topics:
        name = name_of(settings, topic)
        if name not in there:
            raise SettingsError(
                f"SCANTRAIL_TOPIC_PREFIX={settings.topic_prefix}: Kafka has no topic {name}:"
                " scantrail topics apply makes it"
            )
        numbers = sorted(partition["partition"] for partition in there[name])
        found[topic] = [TopicPartition(name, number) for number in numbers]
    return found


async def _until_present(admin: AIOKafkaAdminClient, names: set[str]) -> None:
    """Created topics reach the brokers' metadata a moment later; clients would stumble."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        described = await admin.describe_topics(sorted(names))
        if all(
            topic["error_code"] == 0 and all(p["leader"] >= 0 for p in topic["partitions"])
            for topic in described
        ):
            return
        await asyncio.sleep(0.1)
    raise SettingsError(f"topics {sorted(names)} were created and are not there after {WAIT_S} s")


def name_of(settings: Settings, topic: Topic) -> str:
    """The full name of `topic` in this installation."""
    return topic_name(settings.topic_prefix, topic)
