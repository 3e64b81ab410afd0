"""What surrounds Faust's loop, as far as it needs no broker."""

import asyncio
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from scantrail.contracts.records import encode, folded_up_to, is_link, movements
from scantrail.domain.scan import Scan
from scantrail.domain.vocabulary import BusinessStep
from scantrail.tracker import app as tracker_app
from scantrail.tracker import faust_batches
from scantrail.tracker.app import Tracking
from scantrail.tracker.failures import FailureLimit
from scantrail.tracker.faust_batches import (
    EXIT_FAILED,
    EXIT_HALTED,
    LOOK_S,
    RECORDS_PER_PART,
    STALL_S_MAX,
    BatchApp,
    BatchConsumer,
    BatchSettings,
    GuardedRecovery,
    Halt,
)
from scantrail.tracker.restoring import follows
from scantrail.tracker.stores import StoreUnreadable, opened_store

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CARTON = "sscc:095060001343520017"
SCANS, MOVEMENTS, UNITS = "t.scans.v1", "t.movements.v1", "t.units.v1"


def test_what_stands_still_for_too_long_is_told() -> None:
    halt = Halt(10.0)
    assert not halt.lasts({"a": 1}, 0.0)
    assert not halt.lasts({"a": 1}, 10.0)
    assert halt.lasts({"a": 1}, 10.1)


def test_what_goes_on_or_has_nothing_to_do_is_no_halt() -> None:
    halt = Halt(10.0)
    for second in range(100):
        assert not halt.lasts({"a": second // 5}, float(second))
    for second in range(100, 200):
        assert not halt.lasts(None, float(second))
    assert not halt.lasts({"a": 1}, 200.0)
    assert not halt.lasts({"a": 1}, 209.0)


def test_what_another_worker_wrote_before_or_between_is_seen() -> None:
    assert follows(99, 100, 103, 4)
    assert not follows(98, 100, 103, 4)  # before
    assert not follows(99, 100, 104, 4)  # between two record batches of one send


class Ended(Exception):
    """In place of the process."""


# ---------------------------------------------------------------------------- stores that break


UNITS_STORED = {f"sn:P.{number}".encode(): bytes(range(200)) for number in range(300)}


def batches_in(folder: Path, *, partitions: int, store: str) -> BatchApp:
    settings = BatchSettings(
        app_id="t.tracker",
        bootstrap="nowhere:1",
        source=SCANS,
        changelog=UNITS,
        partitions=partitions,
        folder=folder,
        store=store,
        ordinal=0,
    )
    return BatchApp(
        settings,
        Tracking("t", FailureLimit(folder, "1")).decide,
        folded_up_to,
        on_ready=lambda: None,
        on_unready=lambda: None,
        on_beat=lambda: None,
    )


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[BatchApp]:
    batches = batches_in(tmp_path, partitions=12, store="rocksdb")
    yield batches
    batches._lock.close()


def filled(batches: BatchApp, partition: int) -> Path:
    """Store some units up to offset 41; the store's folder, in which all is in one table."""
    store = batches._store(partition)
    assert isinstance(store, faust_batches._Rocks)
    store.write(list(UNITS_STORED.items()), 41)
    store._db.flush()
    return Path(batches._units.data.partition_path(partition))


def kept(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "LOCK"}


def told_by(db: Any, key: bytes) -> str:
    try:
        return "as stored" if db.get(key) == UNITS_STORED[key] else "wrong"
    except Exception as error:  # noqa: BLE001  rocksdict raises plain exceptions
        return "Corruption" if faust_batches._is_corruption(error) else str(error)


def read_beside(folder: Path) -> tuple[int, dict[bytes, bytes]]:
    with opened_store(folder) as store:
        assert store is not None
        return store.position, dict(store.states)


def test_a_store_that_is_broken_anywhere_opens_right_or_empty(on_disk: BatchApp) -> None:
    folder = filled(on_disk, 0)
    on_disk._units.data._dbs.pop(0).close()
    whole = kept(folder)
    (table,) = (name for name in whole if name.endswith(".sst"))
    places = [(name, place) for name in ("CURRENT", table) for place in range(0, 20_000, 97)]
    opened = set()
    for name, place in places:
        if place >= len(whole[name]):
            continue
        shutil.rmtree(folder)
        folder.mkdir()
        for each, content in whole.items():
            broken = bytearray(content)
            if each == name:
                broken[place] ^= 0x08
            (folder / each).write_bytes(broken)
        db = on_disk._open(0)
        position = db.get(on_disk._units.data.offset_key)
        assert position in (None, b"41")
        opened.add(position)
        told = [told_by(db, key) for key in UNITS_STORED] if position else []
        wrong = [each for each in told if each not in ("as stored", "Corruption")]
        assert wrong == [], (name, place)
        db.close()
    assert opened == {None, b"41"}


@pytest.mark.parametrize("is_named", [True, False])
def test_by_whatever_a_broken_store_lets_the_worker_crash_it_is_removed(
    on_disk: BatchApp, monkeypatch: pytest.MonkeyPatch, is_named: bool
) -> None:
    folders = {partition: filled(on_disk, partition) for partition in (1, 11)}
    where = f" in {folders[1]}/000009.sst offset 0" if is_named else ""

    def end(status: int) -> None:
        raise Ended(status)

    monkeypatch.setattr(faust_batches, "os", SimpleNamespace(_exit=end))
    recovery = on_disk.app.tables._recovery
    with pytest.raises(Ended, match=str(EXIT_FAILED)):
        recovery._crash(Exception(f"Corruption: block checksum mismatch{where}"))
    assert {partition for partition in folders if folders[partition].exists()} == (
        {11} if is_named else set()
    )


def test_a_worker_that_crashes_by_something_else_keeps_its_stores(on_disk: BatchApp) -> None:
    folder = filled(on_disk, 1)
    on_disk.app.tables._recovery._crash(RuntimeError("something else"))
    assert folder.exists()
    assert on_disk.app.tables._recovery.crashed


def test_what_reads_a_broken_store_beside_its_tracker_says_so(on_disk: BatchApp) -> None:
    folder = filled(on_disk, 0)
    on_disk._units.data._dbs.pop(0).close()
    assert read_beside(folder) == (41, UNITS_STORED)
    (table,) = folder.glob("*.sst")
    whole = table.read_bytes()
    for place in (100, len(whole) // 2):  # where its position is, and where only units are
        table.write_bytes(whole[:place] + bytes([whole[place] ^ 0x08]) + whole[place + 1 :])
        with pytest.raises(StoreUnreadable, match="remove the folder"):
            read_beside(folder)


# ------------------------------------------------------------------------------- the watchdog


async def look_on(batches: Any, monkeypatch: pytest.MonkeyPatch, *, for_s: float) -> None:
    """The watchdog looks at `batches` for so long, by a clock of its own. Raises Ended."""
    clock = [0.0]
    recovery = SimpleNamespace(should_stop=False, is_ready=True, _batches=batches)

    async def sleep(seconds: float) -> None:
        clock[0] += seconds
        recovery.should_stop = clock[0] >= for_s

    def end(status: int) -> None:
        raise Ended(status, clock[0])

    recovery.sleep = sleep
    monkeypatch.setattr(faust_batches, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(faust_batches, "os", SimpleNamespace(_exit=end))
    await GuardedRecovery._look.fun(recovery)


class Waiting:
    """Scans wait behind a batch that is worked on all the while."""

    def __init__(self, looks_per_part: int | None) -> None:
        self.parts_done = 0
        self._looks_per_part = looks_per_part
        self._looks = 0

    async def waiting(self) -> dict[int, tuple[int, int]]:
        self._looks += 1
        if self._looks_per_part and self._looks % self._looks_per_part == 0:
            self.parts_done += 1
        return {0: (2_000, 9_000)}

    async def check_tails(self) -> None:
        pass


async def test_one_large_batch_that_goes_on_in_parts_is_no_halt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches = Waiting(looks_per_part=4)
    await look_on(batches, monkeypatch, for_s=20 * STALL_S_MAX)
    assert batches.parts_done > 10


async def test_a_batch_of_which_no_part_ends_is_a_halt(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Ended) as ended:
        await look_on(Waiting(looks_per_part=None), monkeypatch, for_s=20 * STALL_S_MAX)
    status, after_s = ended.value.args
    assert status == EXIT_HALTED
    assert STALL_S_MAX < after_s <= STALL_S_MAX + 2 * LOOK_S


# -------------------------------------------------------------------- a batch that is interrupted


@dataclass
class Record:
    offset: int
    key: bytes
    value: bytes
    topic: str = SCANS
    partition: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()


class Builder:
    def __init__(self) -> None:
        self.records: list[tuple[bytes, bytes]] = []

    def append(self, *, key: bytes, value: bytes, **_: Any) -> bool:
        self.records.append((key, value))
        return True

    def close(self) -> None:
        pass


class Broker:
    """A producer, and what it sent by topic; `on_sent(topic)` is told after each send."""

    def __init__(self) -> None:
        self.topics = defaultdict[str, list[tuple[bytes, bytes]]](list)
        self.on_sent: Callable[[str], None] = lambda topic: None

    def create_batch(self) -> Builder:
        return Builder()

    async def send_batch(self, batch: Builder, topic: str, *, partition: int) -> Any:
        return self._took(topic, batch.records)

    async def send(self, topic: str, value: bytes, *, key: bytes, headers: Any) -> Any:
        return self._took(topic, [(key, value)])

    def _took(self, topic: str, records: list[tuple[bytes, bytes]]) -> Any:
        stands: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        stands.set_result(SimpleNamespace(offset=len(self.topics[topic])))
        self.topics[topic] += records
        self.on_sent(topic)
        return stands


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def batches(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchApp]:
    """Of generation 1, its partition restored and empty; two links make a part."""
    monkeypatch.setattr(tracker_app, "TOLD_MAX", 2)
    batches = batches_in(tmp_path, partitions=1, store="memory")
    batches.app = SimpleNamespace(
        consumer=SimpleNamespace(flow_active=True),
        consumer_generation_id=1,
        producer=SimpleNamespace(_producer=broker),
    )
    batches._positions = {0: -1}
    yield batches
    batches._lock.close()


PACKED = [
    Scan(
        event_id=f"p{number}",
        unit=f"sgtin:09506000134352.{number}",
        event_time=NOON,
        record_time=NOON,
        reader="r",
        sequence=number,
        station="pack-1",
        site="north",
        read_point="pack-1",
        business_step=BusinessStep.PACKING,
        business_location="packing",
        possessing_party="acme",
        parent=CARTON,
    )
    for number in range(6)
]


async def work_on_batch(batches: BatchApp, generation: int) -> bool:
    """Whether the batch of all that was packed is done, as this generation was given it."""
    records = [Record(n, scan.unit.encode(), encode(scan)) for n, scan in enumerate(PACKED)]
    message = SimpleNamespace(partition=0, generation_id=generation, value=records)
    async with asyncio.timeout(10):
        return await batches._process(message)


def told(broker: Broker) -> list[tuple[str, int]]:
    made = [movements.decode(value) for _, value in broker.topics[MOVEMENTS]]
    return [(movement.scan.event_id, movement.version) for movement in made]


def links(broker: Broker) -> int:
    assert all(is_link(value) for _, value in broker.topics[SCANS])
    return len(broker.topics[SCANS])


EVERY = [(scan.event_id, 1) for scan in PACKED]


async def test_a_batch_is_worked_on_in_parts_and_each_is_counted(
    batches: BatchApp, broker: Broker
) -> None:
    assert await work_on_batch(batches, 1)
    assert batches.parts_done == 3
    assert (told(broker), links(broker), len(broker.topics[UNITS])) == (EVERY, 6, 6)


async def test_a_batch_is_given_up_between_two_parts_where_a_rebalance_waits(
    batches: BatchApp, broker: Broker
) -> None:
    def rebalance_begins(topic: str) -> None:
        if topic == UNITS:
            batches.app.consumer.flow_active = False

    broker.on_sent = rebalance_begins
    assert not await work_on_batch(batches, 1)
    assert batches.parts_done == 1
    assert (told(broker), links(broker), len(broker.topics[UNITS])) == (EVERY[:2], 2, 2)

    broker.on_sent = lambda topic: None
    batches.app.consumer.flow_active, batches.app.consumer_generation_id = True, 2
    assert await work_on_batch(batches, 2)
    assert (told(broker), links(broker), len(broker.topics[UNITS])) == (EVERY, 6, 6)


async def test_a_part_whose_outputs_took_longer_than_its_generation_is_decided_again(
    batches: BatchApp, broker: Broker
) -> None:
    def generation_passes(topic: str) -> None:
        if len(broker.topics[SCANS]) == 4:  # the second part's links
            batches.app.consumer_generation_id = 2

    broker.on_sent = generation_passes
    assert not await work_on_batch(batches, 1)
    assert batches.parts_done == 1
    assert len(broker.topics[UNITS]) == 2

    broker.on_sent = lambda topic: None
    first = broker.topics[MOVEMENTS][:4]
    assert await work_on_batch(batches, 2)
    assert told(broker) == EVERY[:4] + EVERY[2:]
    assert broker.topics[MOVEMENTS][4:6] == first[2:]  # the same to the byte
    assert len(broker.topics[UNITS]) == 6


async def test_a_long_batch_is_made_durable_in_parts_in_its_order(batches: BatchApp) -> None:
    parts = []

    async def make_durable(partition: int, generation: int, records: Sequence[Any]) -> int:
        parts.append([record.offset for record in records])
        return len(records) - 1 if len(parts) == 1 else len(records)  # one is left for the next

    batches._make_durable = make_durable  # type: ignore[method-assign]
    records = [SimpleNamespace(offset=offset) for offset in range(2 * RECORDS_PER_PART)]
    assert await batches._process(SimpleNamespace(partition=0, generation_id=1, value=records))
    assert [(part[0], part[-1]) for part in parts] == [
        (0, RECORDS_PER_PART - 1),
        (RECORDS_PER_PART - 1, 2 * RECORDS_PER_PART - 2),
        (2 * RECORDS_PER_PART - 1, 2 * RECORDS_PER_PART - 1),
    ]


async def test_batches_of_a_small_run_begin_together() -> None:
    consumer = a_consumer(to_begin=2)
    first = asyncio.create_task(consumer.begin(a_batch(0)))
    await asyncio.sleep(0)
    assert not first.done()
    await consumer.begin(a_batch(1))
    await first


async def test_a_batch_begins_without_one_that_was_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faust_batches, "TOGETHER_S_MAX", 0.0)
    consumer = a_consumer(to_begin=2)
    await consumer.begin(a_batch(0))
    assert consumer._begun == {(TP("test.scans.v1", 0), 0, 1)}


async def test_batches_of_a_large_run_begin_one_by_one() -> None:
    consumer = a_consumer(to_begin=0)
    await consumer.begin(a_batch(0))


def a_consumer(*, to_begin: int) -> BatchConsumer:
    """One that has just handed out a run, without Faust around it."""
    consumer = BatchConsumer.__new__(BatchConsumer)
    consumer._begun, consumer._to_begin = set(), to_begin
    consumer._all_begun = asyncio.Event()
    return consumer


def a_batch(partition: int) -> Any:
    return SimpleNamespace(tp=TP("test.scans.v1", partition), offset=0, generation_id=1)
