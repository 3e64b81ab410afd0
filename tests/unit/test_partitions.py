"""The number of partitions is fixed: whoever has another is told which setting, and the mend."""

from dataclasses import replace

import pytest
from aiokafka.partitioner import DefaultPartitioner

from scantrail.contracts.topics import Topic
from scantrail.infra.partitions import (
    FixedPartitioner,
    PartitionsChanged,
    PartitionsDiffer,
    check_numbers,
    partitions_of_topics,
)
from scantrail.infra.process import _refusal
from scantrail.infra.settings import Settings, SettingsError
from scantrail.infra.topic_admin import name_of, topic_config, topic_specs

SITE = Settings(topic_prefix="site", partitions=12)
THERE = partitions_of_topics(SITE)


def test_an_installation_has_one_number_and_entities_have_one_partition() -> None:
    numbers = {topic: THERE[name_of(SITE, topic)] for topic in Topic}
    assert {topic for topic, number in numbers.items() if number == 12} == {
        Topic.SCANS,
        Topic.MOVEMENTS,
        Topic.UNITS,
        Topic.SCANS_REJECTED,
        Topic.ALERTS,
        Topic.FINDINGS,
        Topic.RECALL_WATCH,
    }
    assert set(numbers.values()) == {1, 12}


@pytest.mark.parametrize(
    "present", [{}, THERE, {"site.scans.v1": 12}, THERE | {"other.scans.v1": 3}], ids=str
)
def test_topics_that_are_to_be_made_and_those_of_others_are_no_matter(
    present: dict[str, int],
) -> None:
    check_numbers(SITE, present)


def test_another_number_is_refused_with_the_setting_that_mends_it() -> None:
    with pytest.raises(PartitionsDiffer) as refusal:
        check_numbers(replace(SITE, partitions=4), THERE)
    assert str(refusal.value) == (
        "SCANTRAIL_PARTITIONS: topic site.alerts.v1 has 12 partitions, not 4; the number is fixed"
        " at creation: set SCANTRAIL_PARTITIONS=12"
    )


@pytest.mark.parametrize(
    ("added", "told"),
    [
        ({"site.scans.v1": 16}, "site.scans.v1 has 16, not 12"),
        ({"site.recalls.v1": 2}, "site.recalls.v1 has 2, not 1"),
        (
            {"site.recalls.v1": 2, "site.scans.v1": 16},
            "site.recalls.v1 has 2, not 1, site.scans.v1 has 16, not 12",
        ),
    ],
)
def test_where_partitions_were_added_no_setting_mends_it(added: dict[str, int], told: str) -> None:
    with pytest.raises(PartitionsDiffer) as refusal:
        check_numbers(SITE, THERE | added)
    assert str(refusal.value) == (
        "SCANTRAIL_TOPIC_PREFIX=site: partitions were added to topics, whose number is fixed at"
        f" creation: {told}: docs/scale.md#partitions-that-were-added says what to do"
    )


def test_a_key_goes_where_every_producer_sends_it_while_the_number_stays() -> None:
    fixed, plain = FixedPartitioner([1, 12]), DefaultPartitioner()
    every = list(range(12))
    for number in range(100):
        key = f"sn:PUMP.{number}".encode()
        assert fixed(key, every, every) == plain(key, every, every)
        assert fixed(key, [0], [0]) == 0
    with pytest.raises(PartitionsChanged, match=r"16 partitions now.*docs/scale\.md#partitions"):
        fixed(b"sn:PUMP.1", list(range(16)), every)


def test_three_copies_are_acknowledged_by_two() -> None:
    for spec in topic_specs():
        assert "min.insync.replicas" not in topic_config(replace(SITE, replication=2), spec)
        safe = topic_config(replace(SITE, replication=3), spec)
        assert safe == spec.config | {"min.insync.replicas": "2"}


def test_what_a_task_of_a_process_refuses_is_told_in_its_sentence() -> None:
    refused = SettingsError("SCANTRAIL_PARTITIONS: …")
    nested = ExceptionGroup("tasks", [ValueError(), ExceptionGroup("more", [refused])])
    assert _refusal(refused) is refused
    assert _refusal(nested) is refused
    assert _refusal(ExceptionGroup("tasks", [ValueError()])) is None
