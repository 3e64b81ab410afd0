"""From where on each movement was judged with a recall, and when the desk may look for the rest.

A recall comes while scans are made. Of each partition of `movements` the alerter tells a position
from which on every movement is judged with the recall's version. What stands before it may have
been judged without: that is the desk's to find, once PostgreSQL has all of it. So no unit that goes
out falls between the two, and where both tell of one, they tell the same alert.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from scantrail.domain.recall import Recall, RecallStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What the alerter tells the desk of one version of a recall; `partitions` is how many
    `movements` has.

    Without a unit: from `position` on every movement of `partition` is judged with that version.
    With one: the movement at `position` is of that unit, and the recall means it or may mean it.
    """

    recall: str
    version: int
    partition: int
    partitions: int
    position: int
    unit: str | None = None


class Due(NamedTuple):
    """A version of a recall of which nobody told yet from where on a partition is judged by it."""

    recall: str
    version: int
    partition: int


class TakingOver:
    """The recalls that the desk has yet to look for, and of which partitions that was told.

    A position that was told stays true, whoever judges that partition later: it was told by one who
    could commit behind it, so that all others begin behind it too, and read the recalls first.
    """

    def __init__(self) -> None:
        self._unswept: dict[str, int] = {}
        self._told: dict[int, dict[str, int]] = {}
        self._settled: frozenset[int] | None = None  # of these partitions all was told

    def take(self, recall: Recall) -> None:
        """Take over a recall's newest version."""
        if recall.status is RecallStatus.ACTIVE and not recall.is_swept:
            self._unswept[recall.id] = recall.version
            self._settled = None
        else:
            self.remove(recall.id)

    def remove(self, recall_id: str) -> None:
        """Forget a recall; one that is not known is no error."""
        self._unswept.pop(recall_id, None)
        for told in self._told.values():
            told.pop(recall_id, None)

    def due(self, assigned: Collection[int]) -> list[Due]:
        """What is to be told of these partitions; of all others it will be told anew."""
        if self._settled == frozenset(assigned):
            return []
        for partition in self._told.keys() - set(assigned):
            del self._told[partition]
        found = [
            Due(recall_id, version, partition)
            for recall_id, version in self._unswept.items()
            for partition in sorted(assigned)
            if self._told.get(partition, {}).get(recall_id) != version
        ]
        if not found:
            self._settled = frozenset(assigned)
        return found

    def told(self, due: Iterable[Due]) -> None:
        """This was told."""
        for each in due:
            self._told.setdefault(each.partition, {})[each.recall] = each.version


class Taken(NamedTuple):
    """From where on a partition is judged with a recall."""

    partition: int
    partitions: int
    position: int


def is_passed(taken: Iterable[Taken], next_offsets: Mapping[int, int]) -> bool:
    """Whether PostgreSQL has every movement that may have been judged without the recall: `taken`
    is what was told of its version, `next_offsets` up to where the movements of each partition were
    written."""
    known = {each.partition: each for each in taken}
    if not known:
        return False
    count = max(each.partitions for each in known.values())
    return all(
        partition in known and next_offsets.get(partition, 0) >= known[partition].position
        for partition in range(count)
    )
