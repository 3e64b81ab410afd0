"""How fast scans are folded, beside the same work in bare aiokafka and in Quix Streams."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench.installation import (
    TESTS,
    Ends,
    Pace,
    installed,
    leave_only,
    pace_until,
    pid_of,
)
from bench.measure import Measure, Part, Unfinished, say
from bench.workload import PATH, SCANS, UNITS, Record, encoded, publish, scans
from scantrail.cli.stack import Stack
from scantrail.cli.supervisor import Program, python_command
from scantrail.contracts.topics import Topic
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import apply_topics, name_of

AIOKAFKA = "bench.peers.bare_aiokafka"
QUIX = "bench.peers.quix_streams"

NAMES = (
    "tracker_scans_per_s",
    "tracker_vs_quix",
    "tracker_vs_aiokafka",
    "tracker_cpu_us_per_scan",
)


def measure_tracker() -> list[Measure]:
    """`tracker_scans_per_s`: one tracker process with RocksDB and an empty changelog folds 100,000
    scans of 20,000 units that wait in `scans`; from the first movement's offset to the last one's.
    `tracker_cpu_us_per_scan`: the CPU time of the process, all threads, between the two.
    `tracker_vs_quix`, `tracker_vs_aiokafka`: its rate by that of Quix Streams and of bare aiokafka.

    Tracker, aiokafka, Quix, tracker run in this order, and the tracker's figures are the means of
    both runs: whatever gets faster or slower with time counts for neither side.
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
    first = await _pace(stack, "tracker", settings)
    aiokafka = await _bare_aiokafka(stack)
    quix = await _quix_streams(stack)
    second = await _own_tracker(stack, "again", "rocksdb", records)
    memory = await _own_tracker(stack, "memory", "memory", records)

    rate = (first.scans_per_s + second.scans_per_s) / 2
    cpu_us = (first.cpu_us_per_scan + second.cpu_us_per_scan) / 2
    trackers = {"tracker_first": first.detail(), "tracker_last": second.detail()}
    value_bytes = sum(len(value) for rows in records.values() for _, value, _ in rows) / SCANS
    return [
        Measure(
            name="tracker_scans_per_s",
            value=round(rate),
            unit="scans/s",
            detail={
                "scans": SCANS,
                "units": UNITS,
                "partitions": settings.partitions,
                "scan_bytes": round(value_bytes),
                **trackers,
                "memory": memory.detail(),
            },
        ),
        _versus("quix", rate, cpu_us, quix, {**trackers, "quix_streams": quix.detail()}),
        _versus(
            "aiokafka", rate, cpu_us, aiokafka, {**trackers, "bare_aiokafka": aiokafka.detail()}
        ),
        Measure(name="tracker_cpu_us_per_scan", value=round(cpu_us, 1), unit="us", detail=trackers),
    ]


def _versus(
    peer: str, rate: float, cpu_us: float, pace: Pace, runs: dict[str, dict[str, float]]
) -> Measure:
    return Measure(
        name=f"tracker_vs_{peer}",
        value=round(rate / pace.scans_per_s, 2),
        unit="ratio",
        detail={"cpu_ratio": round(cpu_us / pace.cpu_us_per_scan, 2), **runs},
    )


async def _bare_aiokafka(stack: Stack) -> Pace:
    """The same topic, folded by bare aiokafka into topics of its own."""
    into = await _topics(stack, "aiokafka")
    command = python_command(
        AIOKAFKA,
        into.kafka_bootstrap,
        name_of(stack.settings, Topic.SCANS),
        name_of(into, Topic.MOVEMENTS),
        name_of(into, Topic.UNITS),
    )
    start(stack, "bare_aiokafka", command, {"PYTHONPATH": str(TESTS)})
    return await _pace(stack, "bare_aiokafka", into)


async def _quix_streams(stack: Stack) -> Pace:
    """The same topic, folded by Quix Streams; it makes its changelog itself."""
    into = await _topics(stack, "quix")
    command = python_command(
        QUIX,
        into.kafka_bootstrap,
        name_of(stack.settings, Topic.SCANS),
        name_of(into, Topic.MOVEMENTS),
        into.data_dir,
    )
    start(stack, "quix_streams", command, {"PYTHONPATH": str(TESTS)})
    return await _pace(stack, "quix_streams", into)


async def _own_tracker(
    stack: Stack, prefix: str, store: str, records: dict[int, list[Record]]
) -> Pace:
    """The same records in topics of their own, folded by a tracker with nothing on its disk."""
    own = replace(await _topics(stack, prefix), tracker_store=store)
    await publish(own, name_of(own, Topic.SCANS), records)
    name = f"tracker_{prefix}"
    start(stack, name, python_command("scantrail.tracker"), own.environ())
    return await _pace(stack, name, own)


async def _topics(stack: Stack, prefix: str) -> Settings:
    own = own_settings(stack, prefix)
    await apply_topics(own)
    return own


def own_settings(stack: Stack, prefix: str) -> Settings:
    """For topics, a group and a folder that nothing else uses; health ports stay those of stack."""
    return replace(stack.settings, topic_prefix=prefix, data_dir=str(stack.folder / prefix))


def start(stack: Stack, name: str, command: Sequence[str], env: Mapping[str, str]) -> None:
    """Start a process beside those of the stack, with a log where theirs are."""
    log: Path = stack.folder / "logs" / f"{name}.log"
    stack.supervisor.start(Program(name=name, command=command, log=log, env=env))


async def _pace(stack: Stack, name: str, settings: Settings) -> Pace:
    """Until all movements are there; the process is stopped then."""
    async with Ends(settings, Topic.MOVEMENTS) as movements:

        async def count() -> int:
            has_not_ended(stack, name)
            return await movements.count()

        pace = await pace_until(SCANS, lambda: pid_of(stack, name), count)
    stack.supervisor.stop(name)
    say(f"{name}: {pace.scans_per_s:,.0f} scans/s, {pace.cpu_us_per_scan:.1f} us of CPU each")
    return pace


def has_not_ended(stack: Stack, name: str) -> None:
    """Raise Unfinished, with the end of its log, where the process ended by itself."""
    if stack.supervisor.ends(name):
        lines = stack.supervisor.log(name).read_text(errors="replace").splitlines()
        raise Unfinished(f"{name} ended by itself: {' / '.join(lines[-3:])}")


PART = Part(names=NAMES, run=measure_tracker)
