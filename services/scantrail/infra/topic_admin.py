"""`scantrail topics apply`: makes the topics of `schemas/`; nothing else does."""

import asyncio
import time

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAlreadyExistsError, for_code

from scantrail.contracts.topics import FENCE, Topic, TopicSpec, topic_name, topic_specs
from scantrail.infra.credentials import kafka_access
from scantrail.infra.settings import Settings, SettingsError

WAIT_S = 30.0

#: Of what describes a topic's settings: this one was made for the topic, it is no default.
_OF_THE_TOPIC = 1

#: How large a record may be that a topic takes.
RECORD_SIZE = "max.message.bytes"


async def apply_topics(settings: Settings) -> list[str]:
    """Create what is missing and return its names; the tracker's fence is set, or taken away, and
    topics that take smaller records than they should take larger ones.

    Raises SettingsError where `scans` exists with another number of partitions: the number is
    fixed at creation, for the key decides the partition; and where Kafka refuses.
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
        name = topic_name(settings.topic_prefix, spec.topic)
        wanted[name] = NewTopic(
            name=name,
            num_partitions=spec.partitions or settings.partitions,
            replication_factor=settings.replication,
            topic_configs=spec.config | (_fence(settings) if spec.topic is Topic.UNITS else {}),
        )
    present = {t["topic"]: t for t in await admin.describe_topics() if t["topic"] in wanted}
    for name, topic in present.items():
        have, want = len(topic["partitions"]), wanted[name].num_partitions
        if have != want:
            raise SettingsError(
                f"SCANTRAIL_PARTITIONS: topic {name} has {have} partitions, not {want}; the"
                f" number is fixed at creation: set SCANTRAIL_PARTITIONS={have}"
            )
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


def _fence(settings: Settings) -> dict[str, str]:
    return FENCE if settings.tracker_fence == "on" else {}


async def _apply_settings(admin: AIOKafkaAdminClient, settings: Settings, spec: TopicSpec) -> None:
    """Set what has to be as this release has it; all else may be as the operator likes."""
    size = int(spec.config.get(RECORD_SIZE, 0))
    if not size and spec.topic is not Topic.UNITS:
        return
    name = name_of(settings, spec.topic)
    found = await _settings_of(admin, name)
    wanted = dict(found)
    if spec.topic is Topic.UNITS:
        wanted = {key: value for key, value in found.items() if key not in FENCE}
        wanted |= _fence(settings)
    if int(found.get(RECORD_SIZE, 0)) < size:  # an older release made it, or it has the default
        wanted[RECORD_SIZE] = str(size)
    if found != wanted:
        await _set(admin, name, wanted)


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
            await admin.start()
            return admin
        except KafkaConnectionError as error:
            await admin.close()
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
