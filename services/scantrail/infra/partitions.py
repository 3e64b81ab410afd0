"""How many partitions topics have: fixed when they are made, and refused where it differs.

The key of a record decides its partition by that number. With another one a unit's next scan would
go elsewhere than its last, and be folded by a tracker that does not know the unit.
"""

from collections.abc import Iterable, Mapping, Sequence

from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner

from scantrail.contracts.topics import topic_name, topic_specs
from scantrail.infra.settings import Settings, SettingsError

_MEND = "docs/scale.md#partitions-that-were-added says what to do"


class PartitionsDiffer(SettingsError):
    """Topics have another number of partitions than they must have. The text says the mend."""


class PartitionsChanged(KafkaError):  # type: ignore[misc]
    """Somebody added partitions to a topic while we ran. Nothing was sent."""


def partitions_of_topics(settings: Settings) -> dict[str, int]:
    """How many partitions each topic of the installation must have, by its full name."""
    return {
        topic_name(settings.topic_prefix, spec.topic): spec.partitions or settings.partitions
        for spec in topic_specs()
    }


def check_numbers(settings: Settings, present: Mapping[str, int]) -> None:
    """Raise PartitionsDiffer unless every topic that is `present`, with so many partitions, has as
    many as it must have. Topics of others, and those that are yet to be made, are no matter."""
    wanted = partitions_of_topics(settings)
    differing = {
        name: present[name]
        for name, number in wanted.items()
        if name in present and present[name] != number
    }
    if not differing:
        return
    of_settings = {
        topic_name(settings.topic_prefix, spec.topic)
        for spec in topic_specs()
        if not spec.partitions
    }
    found = {present[name] for name in of_settings if name in present}
    name, have = next(iter(differing.items()))
    if len(found) == 1 and differing.keys() <= of_settings:
        raise PartitionsDiffer(
            f"SCANTRAIL_PARTITIONS: topic {name} has {have} partitions, not {wanted[name]}; the"
            f" number is fixed at creation: set SCANTRAIL_PARTITIONS={have}"
        )
    told = ", ".join(f"{name} has {have}, not {wanted[name]}" for name, have in differing.items())
    raise PartitionsDiffer(
        f"SCANTRAIL_TOPIC_PREFIX={settings.topic_prefix}: partitions were added to topics, whose"
        f" number is fixed at creation: {told}: {_MEND}"
    )


class FixedPartitioner:
    """Where a key goes, as every producer of Kafka has it, while the number stays what it was.

    Raises PartitionsChanged where a topic has a number of partitions that is none of `numbers`.
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        self._numbers = frozenset(numbers)
        self._place = DefaultPartitioner()

    def __call__(
        self, key: bytes | None, partitions: Sequence[int], available: Sequence[int]
    ) -> int:
        if len(partitions) not in self._numbers:
            raise PartitionsChanged(
                f"a topic has {len(partitions)} partitions now, which none may have: {_MEND}"
            )
        place: int = self._place(key, partitions, available)
        return place
