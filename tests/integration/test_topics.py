"""Topics as `schemas/` says, on a real broker."""

import asyncio
import time
from dataclasses import replace

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from scantrail.contracts.topics import FENCE, Topic, topic_specs
from scantrail.infra.settings import Settings, SettingsError
from scantrail.infra.topic_admin import apply_topics, name_of


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
    larger = {**older, "max.message.bytes": "99999999"}
    await set_config(settings, Topic.RECALLS, larger)
    await apply_topics(settings)
    assert await own_config(settings, Topic.RECALLS) == larger


async def test_another_number_of_partitions_is_refused_with_the_mend(settings: Settings) -> None:
    other = replace(settings, partitions=settings.partitions + 1)
    with pytest.raises(SettingsError) as refusal:
        await apply_topics(other)
    name = str(refusal.value).split()[2]
    assert name in {name_of(settings, spec.topic) for spec in topic_specs() if not spec.partitions}
    assert str(refusal.value) == (
        f"SCANTRAIL_PARTITIONS: topic {name} has {settings.partitions} partitions, not"
        f" {other.partitions}; the number is fixed at creation:"
        f" set SCANTRAIL_PARTITIONS={settings.partitions}"
    )
