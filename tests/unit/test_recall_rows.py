"""What the alerter tells of recalls, as rows."""

from types import SimpleNamespace
from typing import Any

import pytest

from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain.recall_watch import Watched
from scantrail.projector.rows import Rows, add_records


def told(version: int, position: int, unit: str | None = None, partition: int = 0) -> bytes:
    return encode(
        Watched(
            recall="R-1",
            version=version,
            partition=partition,
            partitions=2,
            position=position,
            unit=unit,
        )
    )


def rows_of(*values: bytes) -> Rows:
    rows = Rows()
    records: list[Any] = [
        SimpleNamespace(
            topic="t", partition=0, offset=n, key=b"k", value=value, headers=(), timestamp=0
        )
        for n, value in enumerate(values)
    ]
    add_records(rows, Topic.RECALL_WATCH, records)
    return rows


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ([(1, 5), (1, 7)], (1, 7)),
        ([(1, 7), (1, 5)], (1, 7)),
        ([(1, 7), (2, 3)], (2, 3)),
        ([(2, 3), (1, 7)], (2, 3)),
    ],
    ids=["later", "earlier", "newer", "older"],
)
def test_of_positions_the_newest_version_counts_and_of_that_the_latest(
    versions: list[tuple[int, int]], expected: tuple[int, int]
) -> None:
    rows = rows_of(*(told(*each) for each in versions))
    assert rows.recall_positions == {("R-1", 0): ("R-1", 0, expected[0], 2, expected[1])}
    assert rows.recall_hits == {}


def test_of_a_units_movements_the_last_one_is_waited_for() -> None:
    rows = rows_of(told(1, 5, "a"), told(1, 9, "a"), told(1, 7, "a"), told(1, 1, "b", 1))
    assert rows.recall_hits == {"a": (0, 9), "b": (1, 1)}
    assert rows.recall_positions == {}


def test_what_cannot_be_read_is_set_aside() -> None:
    rows = rows_of(b"{", told(0, 1), told(1, 2))
    assert [row[4] for row in rows.rejected.values()] == ["not_json", "not_a_recall_watch"]
    assert list(rows.recall_positions) == [("R-1", 0)]
