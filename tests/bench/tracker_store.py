"""A tracker with many units: how soon it has them back, and what memory it needs for them."""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Sequence

import httpx

from bench.installation import Ends, Usage, installed, leave_only, pid_of, reach
from bench.measure import Measure, Part, Unfinished, say
from bench.tracker import has_not_ended, own_settings, start
from bench.workload import PATH, Record, encoded, partition_of, publish, scans
from scantrail.cli.addresses import reachable_host
from scantrail.cli.stack import Stack
from scantrail.cli.supervisor import python_command
from scantrail.contracts.records import encode_state, movements
from scantrail.contracts.topics import Topic
from scantrail.domain.custody import observe
from scantrail.infra.kafka import connect_consumer
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import apply_topics, name_of

UNITS = 1_000_000
SCANS = 50_000

#: States that are published at once: a million would not fit beside what is measured.
CHUNK = 50_000

#: A tracker that needs longer to have a million units, or what there are of them, is not measured.
RESTORE_S_MAX = 300.0
LOOK_EVERY_S = 0.05

NAME = "tracker_many"


def measure_store() -> list[Measure]:
    """`tracker_restore_units_per_s`: the changelog holds 1,000,000 units of one scan each, the disk
    nothing; units by the time from the start of the process until `/readyz` answers 200.
    `tracker_rss_mb`: that tracker's resident memory after it has then folded 50,000 scans of random
    units, RocksDB's caches and the file pages that it maps included.
    """
    with installed() as stack:
        leave_only(stack)
        return asyncio.run(_measure(stack))


async def _measure(stack: Stack) -> list[Measure]:
    settings = own_settings(stack, "many")
    await apply_topics(settings)
    state_bytes = await publish_states(settings, UNITS)
    restored = await _restore(stack, settings)
    pid = pid_of(stack, NAME)
    ready = Usage.of(pid)
    await _fold_random_units(settings)
    await _check_versions(settings)
    has_not_ended(stack, NAME)
    folded = Usage.of(pid)
    stack.supervisor.stop(NAME)
    say(f"{NAME}: {ready.rss_mb:.0f} MB when ready, {folded.rss_mb:.0f} MB after {SCANS:,} scans")
    size = {"units": UNITS, "partitions": settings.partitions, "state_bytes": round(state_bytes)}
    return [
        Measure(
            name="tracker_rss_mb",
            value=round(folded.rss_mb),
            unit="MB",
            detail={**size, "scans": SCANS, "when_ready_mb": round(ready.rss_mb)},
        ),
        Measure(
            name="tracker_restore_units_per_s",
            value=round(UNITS / restored["ready_s"]),
            unit="units/s",
            detail={
                **size,
                **{name: round(seconds, 2) for name, seconds in restored.items()},
                "cpu_us_per_unit": round(ready.cpu_s / UNITS * 1e6, 1),
            },
        ),
    ]


async def publish_states(settings: Settings, units: int) -> float:
    """One-scan states into the changelog, as the tracker writes them; their mean size in bytes.

    `scans` is empty, and its offsets will begin at 0: what the states were folded from lies before.
    """
    topic, size = name_of(settings, Topic.UNITS), 0
    chunk: dict[int, list[Record]] = defaultdict(list)
    for count, scan in enumerate(scans(range(units), PATH[:1]), start=1):
        key = scan.unit.encode()
        value = encode_state(observe(None, scan, offset=0).state._replace(offset=-1))
        chunk[partition_of(key, settings.partitions)].append((key, value, []))
        size += len(value)
        if count % CHUNK == 0 or count == units:
            await publish(settings, topic, chunk)
            chunk.clear()
    say(f"{units:,} units are in the changelog")
    return size / units


async def _restore(stack: Stack, settings: Settings) -> dict[str, float]:
    """Start a tracker with an empty disk: seconds until it answers, and until it is ready."""
    begin = time.monotonic()
    start(stack, NAME, python_command("scantrail.tracker"), settings.environ())
    restored = await until_ready(stack, NAME, settings, UNITS, begin)
    say(f"{NAME}: {UNITS:,} units are restored after {restored['ready_s']:.1f} s")
    return restored


async def until_ready(
    stack: Stack, name: str, settings: Settings, units: int, begin: float
) -> dict[str, float]:
    """Seconds since `begin`, by time.monotonic(), until the tracker answers, and until it is ready.

    Raises Unfinished where it ends, or does not have its units within RESTORE_S_MAX.
    """
    longest_s = RESTORE_S_MAX * max(1, units / UNITS)
    address = f"http://{reachable_host(settings.listen_host)}:{settings.tracker_health_port}"
    alive_s = 0.0
    async with httpx.AsyncClient(base_url=address, timeout=5) as health:
        while True:
            has_not_ended(stack, name)
            try:
                status = (await health.get("/readyz")).status_code
            except httpx.TransportError:
                status = 0
            since_s = time.monotonic() - begin
            alive_s = alive_s or (since_s if status else 0.0)
            if status == 200:
                return {"answers_s": alive_s, "ready_s": since_s}
            if since_s > longest_s:
                raise Unfinished(f"{name} was not ready in {longest_s:.0f} s")
            await asyncio.sleep(LOOK_EVERY_S)


async def _fold_random_units(settings: Settings) -> None:
    """Each of SCANS random units, which may be one unit twice, at the second place of the path."""
    units: Sequence[int] = random.Random(1).choices(range(UNITS), k=SCANS)
    records = encoded(scans(units, PATH[1:2]), settings.partitions)
    await publish(settings, name_of(settings, Topic.SCANS), records)
    async with Ends(settings, Topic.MOVEMENTS) as made:
        await reach(SCANS, made.count)


async def _check_versions(settings: Settings) -> None:
    """Raise Unfinished unless every movement goes on from a unit's restored state."""
    consumer = await connect_consumer(settings, Topic.MOVEMENTS)
    seen, fresh = 0, 0
    deadline = time.monotonic() + 60
    try:
        while seen < SCANS and time.monotonic() < deadline:
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                seen += len(records)
                fresh += sum(movements.decode(record.value).version == 1 for record in records)
    finally:
        await consumer.stop()
    if fresh or seen != SCANS:
        raise Unfinished(f"{seen:,} movements were read, {fresh:,} of units that were not restored")


PART = Part(names=("tracker_rss_mb", "tracker_restore_units_per_s"), run=measure_store)
