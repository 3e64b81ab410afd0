"""How fast movements become rows where a million units are there already."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from bench import inventory
from bench.feed import Feed
from bench.installation import (
    TESTS,
    Pace,
    installed,
    leave_only,
    pace_until,
    pid_of,
    postgres_cpu_s,
)
from bench.measure import Measure, Part, Unfinished, say
from bench.rows import Offsets, stored_offsets
from bench.tracker import has_not_ended, start
from scantrail.cli.stack import Stack
from scantrail.cli.supervisor import python_command
from scantrail.contracts.topics import Topic
from scantrail.infra.topic_admin import name_of

UNITS = 1_000_000
SCANS = 200_000
PEER = "bench.peers.plain_projector"


def measure_projector() -> list[Measure]:
    """`projector_scans_per_s`: 1,000,000 units and 2,540,000 rows of their history are in the
    database, 200,000 movements wait in `movements`, eight of ten of random units among them, the
    others of new ones; from the first stored offset to that of the last movement. The mean of two
    runs, one before the peers and one after them, each with other movements.
    """
    with installed() as stack:
        leave_only(stack)
        return asyncio.run(_measure(stack))


async def _measure(stack: Stack) -> list[Measure]:
    settings = stack.settings
    inventory.fill(settings.database_url, range(UNITS))
    feed = Feed(settings, UNITS)
    scans_before = sum(map(inventory.versions, range(UNITS)))
    runs: dict[str, _Run] = {}
    async with stored_offsets(settings) as offsets:
        for name, begin in (
            ("first", lambda: stack.supervisor.restart("projector")),
            ("plain_copy", lambda: _start_peer(stack, "copy")),
            ("plain_upserts", lambda: _start_peer(stack, "upserts")),
            ("last", lambda: stack.supervisor.restart("projector")),
        ):
            await feed.publish(SCANS)
            process = name if name.startswith("plain") else "projector"
            runs[name] = await _run(stack, offsets, process, begin, feed.published)
            say(f"{name}: {runs[name].detail()}")
        await _check(offsets, feed, scans_before)
    own = [runs[name].pace.scans_per_s for name in ("first", "last")]
    rate = sum(own) / 2
    peers = {
        f"by_{name}": round(rate / runs[name].pace.scans_per_s, 2)
        for name in ("plain_copy", "plain_upserts")
    }
    return [
        Measure(
            name="projector_scans_per_s",
            value=round(rate),
            unit="scans/s",
            detail={
                "units": UNITS,
                "scans": SCANS,
                **peers,
                **{name: run.detail() for name, run in runs.items()},
            },
        )
    ]


@dataclass(frozen=True, slots=True)
class _Run:
    pace: Pace
    postgres_us_per_scan: float

    def detail(self) -> dict[str, float]:
        """Rounded, for a line of output."""
        return {
            **self.pace.detail(),
            "postgres_cpu_us_per_scan": round(self.postgres_us_per_scan, 1),
        }


def _start_peer(stack: Stack, form: str) -> None:
    settings = stack.settings
    topic = name_of(settings, Topic.MOVEMENTS)
    told = (settings.kafka_bootstrap, topic, settings.database_url, form)
    start(stack, f"plain_{form}", python_command(PEER, *told), {"PYTHONPATH": str(TESTS)})


async def _run(
    stack: Stack, offsets: Offsets, process: str, begin: Callable[[], None], goal: int
) -> _Run:
    before = postgres_cpu_s(stack)
    scans = goal - await offsets.count()
    begin()

    async def count() -> int:
        has_not_ended(stack, process)
        return await offsets.count()

    pace = await pace_until(goal, lambda: pid_of(stack, process), count)
    cpu_us = (postgres_cpu_s(stack) - before) / scans * 1e6
    stack.supervisor.stop(process)
    return _Run(pace, cpu_us)


async def _check(offsets: Offsets, feed: Feed, scans_before: int) -> None:
    """Every movement has its row, every unit its newest version."""
    if (rows := await offsets.rows("movement")) != (goal := scans_before + feed.published):
        raise Unfinished(f"movement has {rows:,} rows, not {goal:,}")
    told = await offsets.database.execute("SELECT unit, version FROM unit")
    stored = dict(await told.fetchall())
    wrong = [n for n, version in feed.seen.items() if stored.get(inventory.key(n)) != version]
    if wrong or len(stored) != UNITS + feed.new:
        raise Unfinished(
            f"{len(stored):,} units of {UNITS + feed.new:,}, {len(wrong):,} not the newest"
        )


PART = Part(names=("projector_scans_per_s",), run=measure_projector)
