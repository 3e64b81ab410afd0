"""How soon a tracker that was killed is back, how soon another takes over, and what two do."""

import asyncio
import contextlib
import itertools
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

from bench.installation import Ends, Usage, installed, leave_only, pid_of, reach
from bench.measure import Measure, Part, Unfinished, say
from bench.tracker import has_not_ended, own_settings, start
from bench.tracker_store import publish_states, until_ready
from bench.workload import PATH, SCANS, Record, encoded, publish, scans
from bench.workload import UNITS as UNITS_OF_RATIO
from scantrail.cli.stack import Stack
from scantrail.cli.supervisor import python_command
from scantrail.contracts.topics import Topic
from scantrail.infra.child_processes import free_ports
from scantrail.infra.kafka import connect_producer
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import apply_topics, name_of

UNITS = 200_000

#: The load under which trackers die, and for how long it lasts at most.
LOAD_PER_S = 1_000
LOAD_S_MAX = 150
TICK_S = 0.1

RESTARTS = 3
#: A group whose members do not come to share the partitions is not measured.
SHARE_S_MAX = 60.0
TAKEOVER_S_MAX = 90.0
#: What a tracker sent just before it died may become visible for so long.
SETTLE_S = 0.5
#: Workers that are stopped for longer lose their session.
PAUSE_S_MAX = 8.0
LOOK_EVERY_S = 0.02


def measure_workers() -> list[Measure]:
    """`tracker_restart_s`: a tracker with 200,000 units in its RocksDB is killed under a load of
    1,000 scans/s and started again, three times; from the start of the process until `/readyz`
    answers 200, the longest.
    `tracker_takeover_s`: two such trackers, one of them killed, then the other; from the kill to
    the first movement of a partition of the one that died, the longer.
    `tracker_two_workers_ratio`: 100,000 scans wait; the rate of two trackers by that of one, which
    is the mean of two runs, one before and one after theirs.
    """
    with installed() as stack:
        leave_only(stack)
        return asyncio.run(_measure(stack))


async def _measure(stack: Stack) -> list[Measure]:
    settings = own_settings(stack, "workers")
    await apply_topics(settings)
    await publish_states(settings, UNITS)
    workers = (settings, _second(settings))
    units: Sequence[int] = random.Random(1).choices(range(UNITS), k=LOAD_PER_S * LOAD_S_MAX)
    load = encoded(scans(units, PATH[1:2]), settings.partitions)
    _begin(stack, workers[0])
    await until_ready(stack, _name(workers[0]), workers[0], time.monotonic())
    async with _flowing(settings, load):
        restarts = [await _restart(stack, workers[0]) for _ in range(RESTARTS)]
        _begin(stack, workers[1])
        takeovers = [
            await _takeover(stack, workers, dead=workers[1]),
            await _takeover(stack, workers, dead=workers[0]),
        ]
    for worker in workers:
        stack.supervisor.stop(_name(worker))
    size = {"units": UNITS, "partitions": settings.partitions, "load_per_s": LOAD_PER_S}
    return [
        Measure(
            name="tracker_restart_s",
            value=round(max(each["ready_s"] for each in restarts), 2),
            unit="s",
            detail={
                **size,
                "ready_s": [round(each["ready_s"], 2) for each in restarts],
                "answers_s": [round(each["answers_s"], 2) for each in restarts],
                "moves_s": [round(each["moves_s"], 2) for each in restarts],
            },
        ),
        Measure(
            name="tracker_takeover_s",
            value=round(max(takeovers), 2),
            unit="s",
            detail={**size, "each_s": [round(seconds, 2) for seconds in takeovers]},
        ),
        await _two_by_one(stack),
    ]


def _second(settings: Settings) -> Settings:
    (port,) = free_ports(1)
    return replace(settings, tracker_ordinal=1, tracker_health_port=port)


def _name(worker: Settings) -> str:
    return f"tracker_{worker.topic_prefix}_{worker.tracker_ordinal}"


def _begin(stack: Stack, worker: Settings) -> None:
    start(stack, _name(worker), python_command("scantrail.tracker"), worker.environ())


def _kill(stack: Stack, worker: Settings) -> None:
    """SIGKILL; it stays down, where the supervisor would start it anew."""
    stack.supervisor.kill(_name(worker))
    stack.supervisor.stop(_name(worker))


# --------------------------------------------------------------------------- back, and taken over


@contextlib.asynccontextmanager
async def _flowing(settings: Settings, load: dict[int, list[Record]]) -> AsyncIterator[None]:
    """LOAD_PER_S of `load` are published all the while. Raises Unfinished where it is used up."""
    producer = await connect_producer(settings)
    publishing = asyncio.create_task(_publish_steadily(producer, settings, load))
    try:
        yield
        if publishing.done():
            publishing.result()
            raise Unfinished(f"the load of {LOAD_S_MAX} s was used up")
    finally:
        publishing.cancel()
        await asyncio.wait({publishing})
        await producer.stop()


async def _publish_steadily(
    producer: AIOKafkaProducer, settings: Settings, load: dict[int, list[Record]]
) -> None:
    topic, due = name_of(settings, Topic.SCANS), time.monotonic()
    per_tick = max(int(LOAD_PER_S * TICK_S / len(load)), 1)
    longest = max(len(records) for records in load.values())
    for first in range(0, longest, per_tick):
        sent = [
            await producer.send(topic, value, key=key, partition=partition, headers=headers)
            for partition, records in load.items()
            for key, value, headers in records[first : first + per_tick]
        ]
        await asyncio.gather(*sent)
        due += TICK_S
        await asyncio.sleep(max(due - time.monotonic(), 0.0))


async def _restart(stack: Stack, worker: Settings) -> dict[str, float]:
    """Kill it while it works and start it again: seconds until it is ready, and until it moves."""
    async with Ends(worker, Topic.MOVEMENTS) as made:
        before = await made.count()
        await reach(before + LOAD_PER_S, made.count)
        _kill(stack, worker)
        await asyncio.sleep(SETTLE_S)
        before, begin = await made.count(), time.monotonic()
        stack.supervisor.restart(_name(worker))
        ready = await until_ready(stack, _name(worker), worker, begin)
        await reach(before + 1, made.count)
        ready["moves_s"] = time.monotonic() - begin
    say(f"{_name(worker)}: ready again after {ready['ready_s']:.2f} s")
    return ready


async def _takeover(stack: Stack, workers: Sequence[Settings], *, dead: Settings) -> float:
    """Seconds from the kill of `dead` to the first movement of one of its partitions.

    It is started again then, and all share the partitions when the next is measured.
    """
    shares = await _shared(stack, workers)
    partitions = [
        TopicPartition(name_of(dead, Topic.MOVEMENTS), number)
        for number in shares[dead.tracker_ordinal]
    ]
    consumer = AIOKafkaConsumer(bootstrap_servers=dead.kafka_bootstrap)
    await consumer.start()
    try:
        async with Ends(dead, Topic.MOVEMENTS) as made:
            await reach(await made.count() + LOAD_PER_S, made.count)  # it is under load
        begin = time.monotonic()
        _kill(stack, dead)
        await asyncio.sleep(SETTLE_S)
        before = await consumer.end_offsets(partitions)
        while await consumer.end_offsets(partitions) == before:
            if time.monotonic() - begin > TAKEOVER_S_MAX:
                raise Unfinished(f"nobody took over within {TAKEOVER_S_MAX:.0f} s")
            await asyncio.sleep(LOOK_EVERY_S)
        took_s = time.monotonic() - begin
    finally:
        await consumer.stop()
    say(f"{len(partitions)} partitions of {_name(dead)} are taken over after {took_s:.2f} s")
    stack.supervisor.restart(_name(dead))
    return took_s


async def _shared(stack: Stack, workers: Sequence[Settings]) -> dict[int, list[int]]:
    """Partitions by ordinal, once every worker is ready and has an equal share of them."""
    deadline = time.monotonic() + SHARE_S_MAX
    wanted = workers[0].partitions // len(workers)
    admin = AIOKafkaAdminClient(bootstrap_servers=workers[0].kafka_bootstrap)
    await admin.start()
    try:
        while True:
            shares = await _shares(admin, workers)
            if [len(numbers) for numbers in shares.values()] == [wanted] * len(workers):
                break
            if time.monotonic() > deadline:
                raise Unfinished(f"the trackers share partitions as {shares}")
            await asyncio.sleep(LOOK_EVERY_S)
    finally:
        await admin.close()
    for worker in workers:
        await until_ready(stack, _name(worker), worker, time.monotonic())
    return shares


async def _shares(admin: AIOKafkaAdminClient, workers: Sequence[Settings]) -> dict[int, list[int]]:
    """As the group's coordinator has it; a static member's id begins with its instance's."""
    group, scans_topic = f"{workers[0].topic_prefix}.tracker", name_of(workers[0], Topic.SCANS)
    (answer,) = await admin.describe_consumer_groups([group])
    *_, members = answer.groups[0]
    shares: dict[int, list[int]] = {worker.tracker_ordinal: [] for worker in workers}
    for (member_id, *_, assignment), ordinal in itertools.product(members, shares):
        if member_id.startswith(f"{group}-{ordinal}-") and assignment:
            told = ConsumerProtocolMemberAssignment.decode(assignment)
            shares[ordinal] += [tp.partition for tp in told.partitions() if tp.topic == scans_topic]
    return shares


# ---------------------------------------------------------------------------------- two by one


async def _two_by_one(stack: Stack) -> Measure:
    """The same scans for one tracker and for two, in topics of their own."""
    records = encoded(scans(UNITS_OF_RATIO, PATH), stack.settings.partitions)
    first, two, last = (own_settings(stack, name) for name in ("first", "two", "last"))
    before = await _pace_of(stack, [first], records)
    both = await _pace_of(stack, [two, _second(two)], records)
    after = await _pace_of(stack, [last], records)
    alone_per_s = (before["scans_per_s"] + after["scans_per_s"]) / 2
    return Measure(
        name="tracker_two_workers_ratio",
        value=round(both["scans_per_s"] / alone_per_s, 2),
        unit="ratio",
        detail={
            "cores": os.cpu_count(),
            "scans": SCANS,
            "one_first": before,
            "two": both,
            "one_last": after,
        },
    )


async def _pace_of(
    stack: Stack, workers: Sequence[Settings], records: dict[int, list[Record]]
) -> dict[str, float]:
    """From when stopped workers with equal shares go on, with all scans there, to the last one."""
    settings = workers[0]
    await apply_topics(settings)
    for worker in workers:
        _begin(stack, worker)
    await _shared(stack, workers)
    pids = [pid_of(stack, _name(worker)) for worker in workers]
    async with Ends(settings, Topic.MOVEMENTS) as made:
        paused = time.monotonic()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            await publish(settings, name_of(settings, Topic.SCANS), records)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        begins = [Usage.of(pid) for pid in pids]
        if (paused_s := begins[0].at - paused) > PAUSE_S_MAX:
            raise Unfinished(f"to publish the scans took {paused_s:.1f} s: the session may be over")

        async def count() -> int:
            for worker in workers:
                has_not_ended(stack, _name(worker))
            return await made.count()

        await reach(SCANS, count)
    ends = [Usage.of(pid) for pid in pids]
    for worker in workers:
        stack.supervisor.stop(_name(worker))
    seconds = ends[0].at - begins[0].at
    cpu_s = sum(end.cpu_s - begin.cpu_s for begin, end in zip(begins, ends, strict=True))
    pace = {
        "scans_per_s": round(SCANS / seconds),
        "cpu_us_per_scan": round(cpu_s / SCANS * 1e6, 1),
        "cpu_share_of_one_core": round(cpu_s / seconds, 2),
        "seconds": round(seconds, 2),
    }
    say(f"{len(workers)} trackers: {pace['scans_per_s']:,} scans/s")
    return pace


PART = Part(
    names=("tracker_restart_s", "tracker_takeover_s", "tracker_two_workers_ratio"),
    run=measure_workers,
)
