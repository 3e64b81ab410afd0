"""How fast scans are folded."""

import asyncio
from dataclasses import replace
from pathlib import Path

from bench.installation import TESTS, Ends, Pace, installed, leave_only, pace_until, pid_of
from bench.measure import Measure, Part, say
from bench.workload import PATH, SCANS, UNITS, Record, encoded, publish, scans
from scantrail.cli.stack import Stack
from scantrail.cli.supervisor import Program, python_command
from scantrail.contracts.topics import Topic
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import apply_topics, name_of

PEER = "bench.peers.bare_aiokafka"


def measure_tracker() -> list[Measure]:
    """`tracker_scans_per_s`: one tracker process with RocksDB and an empty changelog folds 100,000
    scans of 20,000 units that wait in `scans`; from the first movement's offset to the last one's.
    `tracker_vs_aiokafka`: its rate by that of bare aiokafka, which folds the same topic.
    """
    with installed() as stack:
        leave_only(stack)
        return asyncio.run(_measure(stack))


async def _measure(stack: Stack) -> list[Measure]:
    settings = stack.settings
    records = encoded(scans(UNITS, PATH), settings.partitions)
    await publish(settings, name_of(settings, Topic.SCANS), records)
    say("the scans wait")

    stack.supervisor.restart("tracker")
    rocksdb = await _pace(stack, "tracker", settings)
    peer = await _peer(stack)
    memory = await _in_memory(stack, records)
    value_bytes = sum(len(value) for rows in records.values() for _, value, _ in rows) / SCANS
    return [
        Measure(
            name="tracker_scans_per_s",
            value=round(rocksdb.scans_per_s),
            unit="scans/s",
            detail={
                "scans": SCANS,
                "units": UNITS,
                "partitions": settings.partitions,
                "scan_bytes": round(value_bytes),
                "rocksdb": rocksdb.detail(),
                "memory": memory.detail(),
            },
        ),
        Measure(
            name="tracker_vs_aiokafka",
            value=round(rocksdb.scans_per_s / peer.scans_per_s, 2),
            unit="ratio",
            detail={"tracker": rocksdb.detail(), "bare_aiokafka": peer.detail()},
        ),
    ]


async def _peer(stack: Stack) -> Pace:
    """The same topic, folded by bare aiokafka into topics of its own."""
    source, into = stack.settings, replace(stack.settings, topic_prefix="peer")
    await apply_topics(into)
    command = python_command(
        PEER,
        source.kafka_bootstrap,
        *(name_of(source, Topic.SCANS), name_of(into, Topic.MOVEMENTS), name_of(into, Topic.UNITS)),
    )
    _start(stack, "bare_aiokafka", command, {"PYTHONPATH": str(TESTS)})
    return await _pace(stack, "bare_aiokafka", into)


async def _in_memory(stack: Stack, records: dict[int, list[Record]]) -> Pace:
    """The same scans in topics of their own, folded by a tracker that keeps units in memory."""
    folder = stack.folder / "in-memory"
    own = replace(
        stack.settings, topic_prefix="memory", tracker_store="memory", data_dir=str(folder)
    )
    await apply_topics(own)
    await publish(own, name_of(own, Topic.SCANS), records)
    _start(stack, "tracker_in_memory", python_command("scantrail.tracker"), own.environ())
    return await _pace(stack, "tracker_in_memory", own)


def _start(stack: Stack, name: str, command: tuple[str, ...], env: dict[str, str]) -> None:
    log: Path = stack.folder / "logs" / f"{name}.log"
    stack.supervisor.start(Program(name=name, command=command, log=log, env=env))


async def _pace(stack: Stack, name: str, settings: Settings) -> Pace:
    """Until all movements are there; the process is stopped then."""
    async with Ends(settings, Topic.MOVEMENTS) as movements:
        pace = await pace_until(SCANS, lambda: pid_of(stack, name), movements.count)
    stack.supervisor.stop(name)
    say(f"{name}: {pace.scans_per_s:,.0f} scans/s, {pace.cpu_us_per_scan:.1f} us of CPU each")
    return pace


PART = Part(names=("tracker_scans_per_s", "tracker_vs_aiokafka"), run=measure_tracker)
