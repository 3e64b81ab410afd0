"""A private installation for one part of the bench, and what its processes use."""

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition

from bench.measure import Unfinished
from scantrail.cli.addresses import page_address, private_settings
from scantrail.cli.floor import furnish
from scantrail.cli.stack import PROCESSES, Stack
from scantrail.contracts.topics import Topic
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import name_of

TESTS = Path(__file__).parents[1]
CACHE = TESTS.parent / ".scantrail" / "cache"

PATIENCE_S = 180.0
LOOK_EVERY_S = 0.05

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@contextmanager
def installed(readers_toml: str = "") -> Iterator[Stack]:
    """A new installation with the simulated site's stations and products; removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="scantrail-bench-") as folder:
        settings = private_settings(Path(folder) / "data", Settings(log_level="warning"))
        readers = Path(folder) / "readers.toml"
        readers.write_text(readers_toml)
        with Stack(replace(settings, readers_file=str(readers)), cache=CACHE) as stack:
            asyncio.run(_furnish(stack.settings))
            yield stack


async def _furnish(settings: Settings) -> None:
    async with httpx.AsyncClient(base_url=page_address(settings), timeout=30) as api:
        await furnish(api)


def leave_only(stack: Stack, *names: str) -> None:
    """Stop every process but these: on few cores, whoever runs is measured too."""
    for name in PROCESSES:
        if name not in names:
            stack.supervisor.stop(name)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used, when it was looked at."""

    at: float
    cpu_s: float
    rss_mb: float

    @classmethod
    def of(cls, pid: int) -> Self:
        """From /proc, all threads together. Unfinished where the process has ended."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except OSError as error:
            raise Unfinished(f"the measured process {pid} has ended") from error
        cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
        return cls(time.monotonic(), cpu_s, pages * os.sysconf("SC_PAGE_SIZE") / 1e6)


def pid_of(stack: Stack, name: str) -> int:
    """Of a process that must run. Unfinished where it does not."""
    pid = stack.pid(name)
    if pid is None:
        raise Unfinished(f"{name} does not run; its log is {stack.supervisor.log(name)}")
    return pid


def postgres_cpu_s(stack: Stack) -> float:
    """What the embedded PostgreSQL has used since its start, connections that ended included."""
    server = stack.postgres.pid if stack.postgres is not None else None
    if server is None:
        raise Unfinished("PostgreSQL does not run")
    ticks = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if folder.name == str(server):
                ticks += sum(map(int, fields[11:15]))
            elif fields[1] == str(server):
                ticks += sum(map(int, fields[11:13]))
    return ticks / _TICKS_PER_S


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a process went from the first sight of its output to the last."""

    scans_per_s: float
    cpu_us_per_scan: float
    cpu_share: float
    rss_mb: float
    seconds: float

    def detail(self) -> dict[str, float]:
        """Rounded, for a line of output."""
        return {
            "scans_per_s": round(self.scans_per_s),
            "cpu_us_per_scan": round(self.cpu_us_per_scan, 1),
            "cpu_share_of_one_core": round(self.cpu_share, 2),
            "rss_mb": round(self.rss_mb),
            "seconds": round(self.seconds, 2),
        }


async def pace_until(goal: int, pid: Callable[[], int], done: Callable[[], Awaitable[int]]) -> Pace:
    """Look at what is `done` until it is `goal`, and at the process from the first output on.

    Raises Unfinished when nothing was added for PATIENCE_S, or all came at one look.
    """
    count, moved = await done(), time.monotonic()
    while (first := await done()) == count:
        await _patience(moved, first, goal)
    begin = Usage.of(pid())
    last, moved = first, time.monotonic()
    while last < goal:
        await _patience(moved, last, goal)
        if (now := await done()) != last:
            last, moved = now, time.monotonic()
    end = Usage.of(pid())
    if last == first:
        raise Unfinished("all output came at once: give it more scans")
    seconds, cpu_s = end.at - begin.at, end.cpu_s - begin.cpu_s
    scans = last - first
    return Pace(scans / seconds, cpu_s / scans * 1e6, cpu_s / seconds, end.rss_mb, seconds)


async def _patience(moved: float, done: int, goal: int) -> None:
    if time.monotonic() - moved > PATIENCE_S:
        raise Unfinished(f"{done:,} of {goal:,} scans were done, and no more in {PATIENCE_S} s")
    await asyncio.sleep(LOOK_EVERY_S)


class Ends:
    """Counts the records of a topic by its end offsets."""

    def __init__(self, settings: Settings, topic: Topic) -> None:
        self._name = name_of(settings, topic)
        self._partitions = [TopicPartition(self._name, n) for n in range(settings.partitions)]
        self._consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap)

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def count(self) -> int:
        """Records in the topic now."""
        return sum((await self._consumer.end_offsets(self._partitions)).values())


async def reach(goal: int, done: Callable[[], Awaitable[int]]) -> None:
    """Return once `done` is `goal`. Raises Unfinished when nothing was added for PATIENCE_S."""
    count, moved = 0, time.monotonic()
    while count < goal:
        await _patience(moved, count, goal)
        if (now := await done()) != count:
            count, moved = now, time.monotonic()
