"""Which reads of tags count, and how much of them is remembered."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scantrail.gateway import strays
from scantrail.gateway.decoders.outcome import Read
from scantrail.gateway.decoders.tag_read import tag_read
from scantrail.gateway.readers import ReaderSettings
from scantrail.gateway.strays import Strays, told_stray

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def reader(**settings: Any) -> ReaderSettings:
    return ReaderSettings(id="r", station="s", protocol="http-zebra", **settings)


def read(at_s: float | None = 0.0, tag: str = "E1", **more: Any) -> Read:
    at = None if at_s is None else NOON + timedelta(seconds=at_s)
    return tag_read(tag, event_time=at, **({"antenna": 1, "rssi_dbm": -50.0} | more))


# One line is the reader's settings, a read, and why it is a stray.
ALONE: list[tuple[dict[str, Any], Read, str | None]] = [
    ({}, read(rssi_dbm=None), None),
    ({"rssi_min_dbm": -60.0}, read(rssi_dbm=-60.0), None),
    ({"rssi_min_dbm": -60.0}, read(rssi_dbm=-60.01), "-60.01 dBm is below the reader's"),
    ({"rssi_min_dbm": -60.0}, read(rssi_dbm=None), "the device tells no RSSI"),
    ({"direction": "in"}, read(direction="IN"), None),
    ({"direction": "in"}, read(direction="out"), "direction 'out' is not the reader's 'in'"),
    ({"direction": "in"}, read(), "the device tells no direction"),
    ({"rssi_min_dbm": -60.0, "direction": "in"}, read(direction="in"), None),
]


@pytest.mark.parametrize(("settings", "sent", "why"), ALONE)
def test_what_one_read_alone_shows(settings: dict[str, Any], sent: Read, why: str | None) -> None:
    told = told_stray(reader(**settings), sent)
    assert told == why if why is None else told is not None and told.startswith(why)


def counts(
    settings: ReaderSettings, sent: list[Read], memory: Strays, now: datetime = NOON
) -> list[bool]:
    """Which of the reads of one delivery count; all of it becomes durable."""
    added: strays.Sightings = {}
    told = [memory.why(settings, each, now, added) is None for each in sent]
    memory.remember(added)
    return told


THREE_IN_2_S = reader(reads_min=3, reads_window_s=2.0)

# One line is a row of reads, and which of them count.
ROWS: list[tuple[str, list[Read], list[bool]]] = [
    ("the third and all after it", [read(n / 2) for n in range(5)], [False] * 2 + [True] * 3),
    ("the window's end belongs to it", [read(0), read(1), read(2)], [False, False, True]),
    ("too slow", [read(0), read(1), read(2.1), read(4.2)], [False] * 4),
    ("each antenna by itself", [read(antenna=n) for n in (1, 2, 3)], [False] * 3),
    ("each tag by itself", [read(tag=tag) for tag in ("E1", "E2", "E3")], [False] * 3),
    ("the same read sent again", [read(0)] * 5, [False] * 5),
    ("several at a coarse time", [read(0, sequence=n) for n in (1, 2, 3)], [False, False, True]),
    ("told in one", [read(times_read=3)], [True]),
    ("told in two", [read(0, times_read=2), read(1)], [False, True]),
    ("not in order", [read(0), read(1), read(0.5), read(1.5)], [False, False, False, True]),
    ("without a time", [read(None)] * 3, [False, False, True]),
    ("seen again much later", [read(0), read(1), read(60), read(61), read(61.5)],
        [False, False, False, False, True]),
    ("kept and sent late, in order", [read(60), read(60.1), read(0), read(1), read(2)],
        [False, False, False, False, True]),
]  # fmt: skip


@pytest.mark.parametrize(("row", "counted"), [row[1:] for row in ROWS], ids=[r[0] for r in ROWS])
@pytest.mark.parametrize("at_once", [True, False])
def test_which_reads_of_a_row_count(row: list[Read], counted: list[bool], at_once: bool) -> None:
    memory = Strays()
    if at_once:
        assert counts(THREE_IN_2_S, row, memory) == counted
    else:
        told = [counts(THREE_IN_2_S, [each], memory) for each in row]
        assert [count for (count,) in told] == counted


def test_the_first_read_counts_where_one_is_enough() -> None:
    assert counts(reader(reads_min=1, reads_window_s=1.0), [read()], Strays()) == [True]


def test_a_weak_read_is_no_sighting() -> None:
    settings = reader(reads_min=2, reads_window_s=2.0, rssi_min_dbm=-60.0)
    row = [read(0, rssi_dbm=-70.0), read(1), read(1.5)]
    assert counts(settings, row, Strays()) == [False, False, True]


def test_two_readers_do_not_count_for_each_other() -> None:
    memory = Strays()
    for name in ("r1", "r2", "r3"):
        other = ReaderSettings(
            id=name, station="s", protocol="http-zebra", reads_min=3, reads_window_s=2.0
        )
        assert counts(other, [read(int(name[1]) / 10)], memory) == [False]


def test_a_delivery_that_is_not_kept_is_not_remembered() -> None:
    memory, lost = Strays(), strays.Sightings()
    for _ in range(3):
        memory.why(THREE_IN_2_S, read(None), NOON, lost)
    assert counts(THREE_IN_2_S, [read(None)] * 3, memory) == [False, False, True]


moments = st.lists(st.integers(0, 60).map(lambda n: n / 10), max_size=30)


@given(moments.map(sorted), st.integers(1, 4))
def test_of_a_batch_that_comes_again_nothing_counts_that_did_not_before(
    moments: list[float], reads_min: int
) -> None:
    settings, memory = reader(reads_min=reads_min, reads_window_s=1.0), Strays()
    row = [read(moment) for moment in moments]
    first, again = counts(settings, row, memory), counts(settings, row, memory)
    assert all(before for before, after in zip(first, again, strict=True) if after)
    assert counts(settings, row, Strays()) == first


@given(moments, st.integers(1, 4))
def test_a_read_counts_only_with_as_many_others_before_it(
    moments: list[float], reads_min: int
) -> None:
    settings = reader(reads_min=reads_min, reads_window_s=1.0)
    told = counts(settings, [read(moment) for moment in moments], Strays())
    for index, moment in enumerate(moments):
        near = {each for each in moments[: index + 1] if 0 <= round(moment - each, 6) <= 1}
        assert not told[index] or len(near) >= reads_min


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strays, "REMEMBERED_READS", 20)
    memory = Strays()
    for n in range(100):
        counts(THREE_IN_2_S, [read(m / 100, tag=f"{n:04X}") for m in range(50)], memory)
        assert memory._size == sum(map(len, memory._seen.values())) <= 20
    assert counts(THREE_IN_2_S, [read(0.5, tag="0063")], memory) == [True]
    assert counts(THREE_IN_2_S, [read(0.5, tag="0000")], memory) == [False]
