"""Topics as `schemas/` says, on a real broker."""

from dataclasses import replace

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from scantrail.contracts.topics import Topic, topic_specs
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
