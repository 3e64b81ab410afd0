"""Faust, made to lose nothing: everything that touches a private name of Faust is in this module.

Faust keeps the consumer group, the assignment, the agent, the table and its store. Its loop of
one event per record is replaced by one event per fetched run of records of one partition, because
its costs are per event, and because only so can a batch be made durable in the right order:

1. gap guard: within a generation the batch starts where the last one ended, else the process
   exits. Died here: nothing was done, the batch is read again.
2. decide: every scan is folded against a local copy of the states. Died here: as 1.
3. outputs are sent, every acknowledgement awaited: what goes back into the source by its key, the
   rest to the partition of the batch. Died here: the batch is read again, and the
   same outputs are sent again, byte for byte, with the same versions.
4. changelog records are sent, every acknowledgement awaited; the first must directly follow our
   own position, else another worker wrote, and we exit without storing. Where trackers are fenced,
   they carry the time of our last sign of life, and the broker refuses those of a worker that
   may have been overtaken since: we exit then too. Died here: recovery reads
   them; the batch is read again, and every scan in it is skipped by its offset.
5. the local store is written, then its changelog position. Died in between: as 4.
   A long batch, and one that leads to very many records for other units, is worked on in parts,
   steps 2 to 5 for each. Died between two: as 4.
6. the batch is acknowledged, and its offset committed later. Died here: as 4.

Only in this order may a scan that was read before be skipped: that the state holds its offset
proves that its outputs are durable. What is shimmed, and why, stands at each class.
"""

import asyncio
import fcntl
import os
import shutil
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, NoReturn

import faust
import rocksdict
from aiokafka.errors import IllegalStateError, InvalidTimestampError, KafkaError
from faust.stores.rocksdb import Store as RocksStore
from faust.tables.recovery import RebalanceAgain, Recovery, ServiceStopped
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service

from scantrail.infra.failpoints import passing
from scantrail.infra.logs import logger
from scantrail.infra.partitions import FixedPartitioner
from scantrail.tracker.restoring import (
    OffsetOf,
    Overtaken,
    Record,
    StoreAhead,
    follows,
    produce,
    produce_by_key,
    restore,
)

log = logger(__name__)

#: Read in source and run together; another version may break what is shimmed here.
TESTED = {"faust-streaming": "0.15.3", "mode-streaming": "0.7.1", "aiokafka": "0.14.0"}

EXIT_TOLD_TWICE = 1
EXIT_FAILED = 70
EXIT_HALTED = 71
EXIT_STOP_TOO_SLOW = 72
EXIT_LOCKED = 73
EXIT_GAP = 75
EXIT_OVERTAKEN = 76

#: A stop with the broker away would hang: Faust waits for it without limit.
STOP_S_MAX = 15.0

#: A recovery, the wait for the group before it included, that stands still for so long.
HALT_S_MAX = 45.0

#: Scans that wait for so long while none is worked on.
STALL_S_MAX = 30.0
#: How often it is asked how many wait, and whether another worker wrote.
LOOK_S = 5.0
#: A worker without a sign of life for so long loses its partitions.
SESSION_S = 10

#: Records of all partitions in one run: enough that every partition has some of them, so that one
#: is decided while the broker acknowledges another.
RECORDS_PER_RUN = 8000
#: Of one partition, decided at once: nothing else runs meanwhile.
RECORDS_PER_PART = 2000

#: In a run of no more records, the batches begin together: what they send goes out in one request,
#: where each would wait for the one before it. Larger ones are decided while others are sent.
RECORDS_TOGETHER = 200
#: Seconds until a batch begins without the others: Faust has dropped one of them.
TOGETHER_S_MAX = 0.02

#: Bytes of records that are sent together: below the 1 MiB that Kafka takes. Of one partition one
#: such batch is sent after another, each when the last is acknowledged.
SENT_BYTES = 1_000_000


class UntestedFaust(Exception):
    """The installed Faust is not the one this module was written for."""


def check_versions() -> None:
    """Raise UntestedFaust, saying which version to install, unless all three are the tested."""
    for name, tested in TESTED.items():
        if version(name) != tested:
            raise UntestedFaust(f"{name} {version(name)} is installed: install {name}=={tested}")


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a batch leads to: records by topic name, and the new states by key.

    `taken` says of how many of its records: the rest is decided once these are durable.
    """

    records: dict[str, list[Record]]
    states: list[tuple[bytes, bytes]]
    taken: int


#: (records of one partition, state by key) -> outputs. Runs between two awaits: must not block.
Decide = Callable[[Sequence[Any], Callable[[bytes], bytes | None]], Outputs]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """What the app needs: names, and where the store is."""

    app_id: str
    bootstrap: str
    #: what aiokafka's clients are told besides: infra.credentials.kafka_access
    access: Mapping[str, Any] = field(default_factory=dict)
    source: str
    changelog: str
    partitions: int
    folder: Path
    store: str
    ordinal: int
    #: the changelog takes no old records: contracts.topics.FENCE
    fenced: bool = False


class BatchApp:
    """A Faust app with one agent and one table, run batch by batch."""

    def __init__(
        self,
        settings: BatchSettings,
        decide: Decide,
        offset_of: OffsetOf,
        *,
        on_ready: Callable[[], None],
        on_unready: Callable[[], None],
        on_beat: Callable[[], None],
        on_remaining: Callable[[int], None] = lambda records: None,
        beside: Callable[["BatchApp"], Awaitable[None]] | None = None,
    ) -> None:
        """`on_remaining` is told how many records of the changelog have yet to be restored, and
        `beside` runs along, from the start to the end of the worker."""
        check_versions()
        self._on_remaining = on_remaining
        self._beside = beside
        self._decide = decide
        self._offset_of = offset_of
        self._settings = settings
        self._expected: dict[int, tuple[int, int]] = {}  # partition -> generation, next offset
        self._done: dict[int, int] = {}  # partition -> the first offset that is not done
        self._working = set[asyncio.Task[None]]()
        #: whatever stands still while it does, the work on a batch goes on
        self.parts_done = 0
        self._positions: dict[int, int] = {}  # partition -> last changelog offset that is ours
        folder = settings.folder / f"tracker-{settings.ordinal}"
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock_ordinal(folder)
        self.app = faust.App(
            settings.app_id,
            broker=[f"kafka://{broker}" for broker in settings.bootstrap.split(",")],
            broker_credentials=_credentials(settings.access),
            store="rocksdb://" if settings.store == "rocksdb" else "memory://",
            datadir=str(folder),
            autodiscover=False,
            web_enabled=False,
            processing_guarantee="at_least_once",
            consumer_auto_offset_reset="earliest",
            consumer_group_instance_id=f"{settings.app_id}-{settings.ordinal}",
            broker_commit_interval=0.5,
            broker_session_timeout=SESSION_S,
            broker_heartbeat_interval=1,
            broker_max_poll_records=RECORDS_PER_RUN,
            stream_buffer_maxsize=16,
            table_standby_replicas=0,
            topic_partitions=settings.partitions,
            topic_allow_declare=False,
            topic_disable_leader=True,
            producer_acks=-1,
            producer_max_batch_size=SENT_BYTES,
            producer_max_request_size=8 << 20,
            producer_linger=0.0,
            producer_request_timeout=30,
            producer_partitioner=FixedPartitioner([settings.partitions]),
        )
        self.app.transport = _transport_for(settings.source)(
            self.app.conf.broker_consumer, self.app
        )
        raw = {"key_type": bytes, "value_type": bytes}
        source = self.app.topic(
            settings.source, key_serializer="raw", value_serializer="raw", **raw
        )
        options = {
            "driver": "rocksdict",
            "block_cache_size": 64 << 20,
            "write_buffer_size": 16 << 20,
            "max_open_files": 256,
        }
        self._units = self.app.Table(
            "units",
            partitions=settings.partitions,
            options=options if settings.store == "rocksdb" else None,
            changelog_topic=self.app.topic(
                settings.changelog,
                key_serializer="raw",
                value_serializer="raw",
                compacting=True,
                partitions=settings.partitions,
                **raw,
            ),
            **raw,
        )
        self._changelog = settings.changelog
        if isinstance(self._units.data, RocksStore):
            self._units.data._open_for_partition = self._open
        self.app.tables._recovery = GuardedRecovery(
            self.app, self.app.tables, beacon=self.app.tables.beacon, loop=self.app.loop
        )
        self.app.tables._recovery.guard(self, on_ready, on_unready, on_beat)
        self.agent = self.app.agent(source, concurrency=1)(self._run)

    def work(self) -> NoReturn:
        """Run the worker until it is stopped or dies; exits the process."""
        worker = BoundedWorker(self.app, quiet=True, loglevel="INFO", override_logging=False)
        worker.execute_from_commandline()
        raise SystemExit(0)

    async def _run(self, stream: Any) -> None:
        """The agent: a run's batches, one of each partition, are worked on side by side.

        The next run is fetched when all of them are done, so each partition keeps its order.
        """
        async for event in stream.noack().events():
            working = asyncio.create_task(self._work_on(event))
            self._working.add(working)
            working.add_done_callback(self._working.discard)

    async def _work_on(self, event: Any) -> None:
        try:
            await self.app.consumer.begin(event.message)
            if await self._process(event.message):
                event.ack()
                passing("acknowledged")
            self.app.consumer.done(event.message)
        except asyncio.CancelledError:  # the worker stops: as died, the batch is read again
            raise
        except BaseException as error:
            log.exception("a batch cannot be processed", partition=event.message.partition)
            if _is_corruption(error):
                self.discard_broken(error)
            os._exit(getattr(error, "exit_status", EXIT_FAILED))

    async def _process(self, message: Any) -> bool:
        """Steps 1 to 5; False where a rebalance made the batch another generation's business."""
        partition, generation = message.partition, message.generation_id
        if generation != self.app.consumer_generation_id:
            return False
        records = message.value
        expected = self._expected.get(partition)
        if expected and expected[0] == generation and expected[1] != records[0].offset:
            log.error(
                "records were skipped",
                partition=partition,
                expected=expected[1],
                offset=records[0].offset,
            )
            os._exit(EXIT_GAP)
        self._expected[partition] = (generation, records[-1].offset + 1)
        self._done.setdefault(partition, records[0].offset)
        passing("begun")

        rest = records
        while rest:
            part = rest[:RECORDS_PER_PART]
            taken = await self._make_durable(partition, generation, part)
            if generation != self.app.consumer_generation_id:
                return False
            rest = rest[taken:]
            self._done[partition] = rest[0].offset if rest else records[-1].offset + 1
            if rest and not self.app.consumer.flow_active:  # a rebalance waits for us
                return False
        return True

    async def _make_durable(self, partition: int, generation: int, records: Sequence[Any]) -> int:
        """Steps 2 to 5 for as many of `records` as are decided at once; returns how many.

        0 where a rebalance came in between: what was begun is another generation's business.
        """
        store = self._store(partition)
        outputs = self._decide(records, store.get)
        passing("decided")
        producer = self.app.producer._producer
        for topic, made in outputs.records.items():
            if topic == self._settings.source:  # of other units, on whatever partition
                await produce_by_key(producer, topic, made)
            else:
                await produce(producer, topic, partition, made)
            passing("sent")
        if generation != self.app.consumer_generation_id:
            return 0
        if outputs.states:
            changes: list[Record] = [(key, value, []) for key, value in outputs.states]
            if (stood := await self._log(partition, generation, changes)) is None:
                return 0
            first, last = stood
            passing("logged")
            if not follows(self._positions[partition], first, last, len(changes)):
                log.error(
                    "another worker wrote",
                    partition=partition,
                    offset=first,
                    position=self._positions[partition],
                )
                os._exit(EXIT_OVERTAKEN)
            self._positions[partition] = last
            store.write(outputs.states, last)
            passing("stored")
        self.parts_done += 1
        return outputs.taken

    async def _log(
        self, partition: int, generation: int, records: Sequence[Record]
    ) -> tuple[int, int] | None:
        """Send to the changelog; first and last offset, None where `generation` has passed.

        Where trackers are fenced, the records carry the time of the last heartbeat that the group
        has confirmed to this generation: not of a newer one, which does not make them any younger.
        """
        stamp_ms = None
        if self._settings.fenced:
            while (beat := self.app.consumer.confirmed)[0] != generation:
                if generation != self.app.consumer_generation_id:
                    return None
                await asyncio.sleep(0.02)  # the first comes a second after the group was joined
            stamp_ms = beat[1]
        passing("stamped")
        producer = self.app.producer._producer
        try:
            return await produce(producer, self._changelog, partition, records, stamp_ms)
        except InvalidTimestampError:
            log.error(
                "the broker refused states as too old: this worker was paused, or Kafka"
                " was away, or its clock is behind the broker's; or as hours ahead of its own time:"
                " then `scantrail topics apply` lets the topic take it",
                partition=partition,
                stamp_ms=stamp_ms,
                now_ms=int(time.time() * 1000),
            )
            os._exit(EXIT_OVERTAKEN)

    async def restore(
        self,
        partitions: Sequence[int],
        generation: int,
        on_progress: Callable[[int, int], None],
    ) -> None:
        """Restore the units of `partitions`; no batch is worked on meanwhile."""
        if self._working:  # what an older generation has begun, it finishes
            await asyncio.wait(self._working)
        self._positions = {}

        async def send(partition: int, records: Sequence[Record]) -> tuple[int, int]:
            sent = await self._log(partition, generation, records)
            if sent is None:
                raise RebalanceAgain
            passing("rewritten")
            return sent

        positions = await restore(
            {"bootstrap_servers": self._settings.bootstrap, **self._settings.access},
            self._changelog,
            {partition: self._store(partition) for partition in partitions},
            offset_of=self._offset_of,
            send=send,
            is_current=lambda: bool(generation == self.app.consumer_generation_id),
            on_progress=on_progress,
            on_remaining=self._on_remaining,
        )
        self._positions = positions or {}
        self._expected, self._done = {}, {}

    async def run_beside(self) -> None:
        """What was given as `beside`."""
        if self._beside is not None:
            await self._beside(self)

    async def positions(self) -> Mapping[TP, int]:
        """The first record that is not done of each partition of the source that is ours."""
        if not self.app.tables._recovery.is_ready:
            return {}
        consumer = self.app.consumer
        sources = [tp for tp in consumer.assignment() if tp.topic == self._settings.source]
        # Until a batch begins, Faust's own offset is where it has sought to, or that batch's first.
        return {
            tp: self._done.get(tp.partition, consumer._read_offset.get(tp) or 0) for tp in sources
        }

    async def waiting(self) -> dict[int, tuple[int, int]]:
        """Partitions of the source with scans that wait: next offset to work on, and the end."""
        consumer = self.app.consumer
        sources = [tp for tp in consumer.assignment() if tp.topic == self._settings.source]
        found = {}
        begins = await consumer.earliest_offsets(*sources)
        for tp, end in (await consumer.highwaters(*sources)).items():
            expected = self._expected.get(tp.partition)
            done = expected[1] if expected else consumer._read_offset.get(tp) or 0
            done = max(done, begins.get(tp) or 0)
            if end is not None and done < end:
                found[tp.partition] = (done, end)
        return found

    async def check_tails(self) -> None:
        """Exit where another worker wrote to a changelog that is ours, even if no scan comes."""
        before = dict(self._positions)
        tps = [TP(self._changelog, partition) for partition in before]
        for tp, end in (await self.app.consumer.highwaters(*tps)).items():
            ours = before[tp.partition]
            if end is not None and end > ours + 1 and self._positions.get(tp.partition) == ours:
                # What we send ourselves just now moves our position within a batch.
                if self._working:
                    return
                log.error("another worker wrote", partition=tp.partition, end=end, position=ours)
                os._exit(EXIT_OVERTAKEN)

    def _open(self, partition: int) -> Any:
        """Open a partition's store; a broken one is removed, and restored from its changelog."""
        data = self._units.data
        try:
            db = RocksStore._open_for_partition(data, partition)
            try:
                db.get(data.offset_key)  # which Faust reads next, and would crash by
            except BaseException:
                db.close()  # or it cannot be opened again
                raise
        except Exception as error:
            if not (_is_corruption(error) or _lacks_a_file(error)):
                raise
            self._discard(partition)
            return RocksStore._open_for_partition(data, partition)
        return db

    def discard_broken(self, error: BaseException) -> None:
        """Remove the store that `error` names, of those that are open; all where it names none."""
        data = self._units.data
        named = [each for each in data._dbs if f"{data.partition_path(each)}/" in str(error)]
        for partition in named or list(data._dbs):
            self._discard(partition)

    def _discard(self, partition: int) -> None:
        path = self._units.data.partition_path(partition)
        log.error("the local store is broken: it is restored from the changelog", folder=str(path))
        shutil.rmtree(path, ignore_errors=True)

    def _store(self, partition: int) -> "_Rocks | _Memory":
        data = self._units.data
        if isinstance(data, RocksStore):
            return _Rocks(data, partition)
        return _Memory(data)


def _is_corruption(error: BaseException) -> bool:
    return "Corruption" in str(error)  # RocksDB's word; rocksdict raises plain exceptions


def _lacks_a_file(error: BaseException) -> bool:
    """Whether a store that is opened names a file that is not there."""
    return "No such file" in str(error)


class _Rocks:
    """One partition's RocksDB: states and position reach it together."""

    def __init__(self, store: RocksStore, partition: int) -> None:
        self._db = store._db_for_partition(partition)
        self._offset_key = store.offset_key
        self.get: Callable[[bytes], bytes | None] = self._db.get

    def write(self, states: Sequence[tuple[bytes, bytes]], position: int) -> None:
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value in states:
            batch.put(key, value)
        batch.put(self._offset_key, str(position).encode())
        self._db.write(batch)

    def position(self) -> int | None:
        stored = self._db.get(self._offset_key)
        return None if stored is None else int(stored)


class _Memory:
    """All partitions in one dictionary; recovery reads the whole changelog at each start."""

    def __init__(self, data: Any) -> None:
        self._data = data.data
        self.get: Callable[[bytes], bytes | None] = self._data.get

    def write(self, states: Sequence[tuple[bytes, bytes]], position: int) -> None:
        self._data.update(states)

    def position(self) -> int | None:
        return None


class GuardedRecovery(Recovery):
    """Recovery by `restore`, in place of Faust's, which reads record by record through its own
    consumer and takes the last record of a unit for the one that counts.

    Faust resumes fetching and then clears the queues, so that scans fetched in between are
    skipped: here fetching stays stopped until Faust itself resumes it (faust-streaming/faust#596).
    It also beats from the start on, where Faust's timers wait for the recovery's end, and ends the
    process where a recovery or the work on scans comes to a halt, which a restart mends.
    """

    def guard(
        self,
        batches: BatchApp,
        on_ready: Callable[[], None],
        on_unready: Callable[[], None],
        on_beat: Callable[[], None],
    ) -> None:
        self._batches, self._on_ready = batches, on_ready
        self._on_unready, self._on_beat = on_unready, on_beat
        self.is_ready = False
        self._progress: dict[int, int] = {}  # changelog offset by partition
        #: a restore that was cancelled may still be ending
        self._restoring = asyncio.Lock()

    @Service.task
    async def _slurp_changelogs(self) -> None:
        """Faust's reads what it fetches of changelogs; it fetches nothing of them here."""

    @Service.task
    async def _restart_recovery(self) -> None:
        while not await self.wait_for_stopped(self.signal_recovery_start):
            self.signal_recovery_start.clear()
            generation = self._generation_id
            try:
                self._set_recovery_started()
                await self._wait(self._restore(generation))
                await self._wait(self.on_recovery_completed(generation))
            except (RebalanceAgain, IllegalStateError):
                continue  # the signal is set again
            except ServiceStopped:
                break
            except (StoreAhead, Overtaken) as error:
                log.error("units cannot be restored", reason=str(error))
                os._exit(EXIT_OVERTAKEN if isinstance(error, Overtaken) else EXIT_FAILED)
            except BaseException as error:
                if isinstance(error, asyncio.CancelledError):
                    raise
                log.exception("units cannot be restored")
                if _is_corruption(error):
                    self._batches.discard_broken(error)
                os._exit(EXIT_FAILED)

    def _crash(self, reason: BaseException) -> None:
        """Whatever of the worker crashes, every part of it does: by a store that is broken it would
        at every start."""
        if _is_corruption(reason):
            self._batches.discard_broken(reason)
            os._exit(EXIT_FAILED)
        super()._crash(reason)

    async def _restore(self, generation: int) -> None:
        async with self._restoring:
            if generation != self.app.consumer_generation_id:
                return
            partitions = sorted(tp.partition for tp in self.active_tps)
            await self._batches.restore(partitions, generation, self._note)

    def _note(self, partition: int, offset: int) -> None:
        self._progress[partition] = offset

    @Service.task
    async def _watch(self) -> None:
        recovery = Halt(HALT_S_MAX)
        while not self.should_stop:
            self._on_beat()
            progress = None if self.is_ready else (self._generation_id, dict(self._progress))
            if recovery.lasts(progress, time.monotonic()):
                log.error("the recovery of units does not go on", offsets=str(progress))
                os._exit(EXIT_HALTED)
            await self.sleep(1.0)

    @Service.task
    async def _run_beside(self) -> None:
        await self._batches.run_beside()

    @Service.task
    async def _look(self) -> None:
        work, waiting = Halt(STALL_S_MAX), dict[int, tuple[int, int]]()
        while not self.should_stop:
            await self.sleep(LOOK_S)
            if not self.is_ready:
                waiting = {}
            else:
                try:
                    async with asyncio.timeout(LOOK_S):
                        waiting = await self._batches.waiting()
                        await self._batches.check_tails()
                except (TimeoutError, KafkaError) as error:
                    waiting = {}
                    log.warning("kafka is away", reason=repr(error))
            done = {partition: next_offset for partition, (next_offset, _) in waiting.items()}
            progress = (self._batches.parts_done, done) if done else None
            if work.lasts(progress, time.monotonic()):
                log.error("scans wait and none is worked on", waiting=str(waiting))
                os._exit(EXIT_HALTED)

    async def on_rebalance(self, *args: Any, **kwargs: Any) -> None:
        self.is_ready = False
        self._on_unready()
        await super().on_rebalance(*args, **kwargs)

    async def on_recovery_completed(self, generation_id: int = 0) -> None:
        if self.app.consumer_generation_id != generation_id:
            return  # it recovers again
        self.app.flow_control.suspend()
        self.app.consumer.stop_flow()
        await super().on_recovery_completed(generation_id)
        if self.app.consumer_generation_id == generation_id:
            self.is_ready = True
            self._on_ready()


class Halt:
    """Whether what should go on has stood still for `limit_s`."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._progress: object = None
        self._since: float | None = None

    def lasts(self, progress: object, now: float) -> bool:
        """`progress` is whatever changes while it goes on, None while nothing is to go on."""
        if progress is None or progress != self._progress or self._since is None:
            self._progress, self._since = progress, now
            return False
        return now - self._since > self._limit_s


class BoundedWorker(faust.Worker):
    """Ends on SIGTERM and SIGINT within STOP_S_MAX, the broker away or not, and at once when it is
    told a second time, which mode's worker does not hear."""

    def _schedule_shutdown(self, number: signal.Signals) -> None:
        if self._signal_stop_time:
            os._exit(EXIT_TOLD_TWICE)
        log.info("stopping")
        timer = threading.Timer(STOP_S_MAX, os._exit, [EXIT_STOP_TOO_SLOW])
        timer.daemon = True
        timer.start()
        super()._schedule_shutdown(number)


class BatchConsumer(driver.Consumer):
    """Yields one message per partition and fetch of the source; its value is the list of records.

    It fetches again only when the agent has finished the last run. Batches then grow with the
    load, memory stays bounded, and Faust's own back-pressure, which sleeps a whole second when all
    partitions are full, is never reached.
    """

    source: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._last_offset: dict[TP, dict[int, int]] = {}  # first offset of a batch -> its last
        #: batches that were handed out, and those of them that are worked on
        self._in_hand: set[tuple[TP, int, int]] = set()
        self._begun: set[tuple[TP, int, int]] = set()
        self._hand_free = asyncio.Event()
        #: batches of the last run that have not begun yet, where they begin together
        self._to_begin = 0
        self._all_begun = asyncio.Event()
        #: the last heartbeat that the group confirmed: its generation, and when it was sent, in ms
        #: since 1970. Written by the consumer's thread.
        self.confirmed = (-1, 0)

    def _new_consumer_thread(self) -> "BeatingThread":
        return BeatingThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:  # noqa: ASYNC109
        await self._wait_until_done()
        records, active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if records is None or self.should_stop:
            return
        if not self.flow_active:
            try:
                await self.perform_seek()
            except Exception as error:  # noqa: BLE001  as Faust's own: whoever resumes seeks again
                log.warning("seek while the flow is stopped", reason=repr(error))
            return

        def is_current() -> bool:
            return bool(self.flow_active and generation == self.app.consumer_generation_id)

        batches = [
            (tp, list(run))
            for tp, run in records.items()  # changelogs stay paused here: `restore` reads them
            if run and tp.topic == self.source and (active is None or tp in active)
        ]
        is_small = sum(len(batch) for _, batch in batches) <= RECORDS_TOGETHER
        self._to_begin = len(batches) if is_small else 0
        self._all_begun.clear()
        for tp, batch in batches:
            if not is_current():
                return
            message = self._to_message(tp, batch[0])
            message.key, message.value = None, batch
            self._last_offset.setdefault(tp, {})[batch[0].offset] = batch[-1].offset
            self._in_hand.add(_batch_of(message))
            yield tp, message

    async def _wait_until_done(self) -> None:
        while not self.should_stop:
            generation = self.app.consumer_generation_id
            # Faust drops batches of an older generation without acknowledging them.
            self._in_hand = {batch for batch in self._in_hand if batch[2] == generation}
            if not self._in_hand:
                return
            self._hand_free.clear()
            try:
                # Not wait_for(): it may lose a cancellation, and a stop would wait for ever.
                async with asyncio.timeout(0.5):
                    await self._hand_free.wait()
            except TimeoutError:
                continue

    def stop_flow(self) -> None:
        """Faust clears the queues then: what nobody has begun is not in hand any more."""
        super().stop_flow()
        self._in_hand &= self._begun
        self._hand_free.set()

    async def begin(self, message: Any) -> None:
        """The agent begins to work on this batch; of a small run once all of it is here."""
        self._begun.add(_batch_of(message))
        self._to_begin -= 1
        if self._to_begin <= 0:
            self._all_begun.set()
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(TOGETHER_S_MAX):
                await self._all_begun.wait()

    def done(self, message: Any) -> None:
        """The agent has finished with this batch, acknowledged or of an older generation.

        Faust waits at each rebalance and stop until nothing is unacknowledged, and would wait for
        ever for a batch that never will be, as long as anything still refers to it.
        """
        self._unacked_messages.discard(message)
        self._in_hand.discard(_batch_of(message))
        self._begun.discard(_batch_of(message))
        self._hand_free.set()

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        if tp.topic != self.source:  # the offsets inside a batch are no gap
            await super()._add_gap(tp, offset_from, offset_to)

    def _new_offset(self, tp: TP) -> int | None:
        """Next offset to commit: one past the newest acknowledged batch; they end in order."""
        if tp.topic != self.source:
            offset: int | None = super()._new_offset(tp)
            return offset
        acked = self._acked[tp]
        if not acked:
            return None
        ends = self._last_offset[tp]
        newest = max(ends.pop(offset) for offset in acked)
        self._acked_index[tp].difference_update(acked)
        acked.clear()
        return newest + 1


class BeatingThread(driver.AIOKafkaConsumerThread):
    """Tells when the last heartbeat was sent that the group has confirmed.

    aiokafka keeps that to itself, in a local variable, and by the time of the answer: a pause
    between the two would count as life.
    """

    async def on_start(self) -> None:
        await super().on_start()
        coordinator = self._consumer._coordinator
        heartbeat = coordinator._do_heartbeat

        async def noted() -> bool:
            generation, sent_ms = coordinator.generation, int(time.time() * 1000)
            confirmed = bool(await heartbeat())
            if confirmed:
                self.consumer.confirmed = (generation, sent_ms)
            return confirmed

        coordinator._do_heartbeat = noted


def _batch_of(message: Any) -> tuple[TP, int, int]:
    """What a batch is known by: its partition, first offset and generation."""
    return message.tp, message.offset, message.generation_id


class DurableProducer(driver.Producer):
    """Idempotent also without transactions, which Faust does not offer."""

    def _settings_extra(self) -> dict[str, Any]:
        return {"acks": "all", "enable_idempotence": True}


def _transport_for(source: str) -> type[driver.Transport]:
    consumer = type("SourceConsumer", (BatchConsumer,), {"source": source})
    return type(
        "BatchTransport",
        (driver.Transport,),
        {"Consumer": consumer, "Producer": DurableProducer},
    )


def _credentials(access: Mapping[str, Any]) -> Any:
    """What aiokafka's clients are told, in Faust's words; None for nothing."""
    if not access:
        return None
    if access["security_protocol"] == "SSL":
        return faust.SSLCredentials(access["ssl_context"])
    return faust.SASLCredentials(
        username=access["sasl_plain_username"],
        password=access["sasl_plain_password"],
        mechanism=access["sasl_mechanism"],
        ssl_context=access["ssl_context"],
    )


def _lock_ordinal(folder: Path) -> IO[str]:
    """Two workers with one instance id both keep all partitions: a lock per ordinal, while we live.

    Exits the process where another holds it.
    """
    lock = (folder / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        log.error(
            "another tracker has this ordinal: set SCANTRAIL_TRACKER_ORDINAL to another",
            folder=str(folder),
        )
        lock.close()
        raise SystemExit(EXIT_LOCKED) from None
    return lock
