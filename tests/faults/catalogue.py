"""The faults: what is done to a running site, and how it is healed."""

import asyncio
import os
import random
import shutil
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import psycopg

from faults.brokers import NODES
from faults.installation import Installation
from faults.links import Mode


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a fault is made, by which dice, and for how long its long form lasts."""

    site: Installation
    chosen: random.Random
    is_long: bool

    async def hold(self, short_s: float, long_s: float) -> None:
        """While it lasts."""
        await asyncio.sleep(long_s if self.is_long else short_s)


#: Makes the fault and heals it; returns the moment from which on recovery is counted.
Make = Callable[[Setting], Awaitable[float]]


@dataclass(frozen=True, slots=True)
class Fault:
    """`number`: as docs/faults.md has it. `within_s`: recovery takes no longer."""

    number: str
    name: str
    make: Make
    within_s: float = 60.0


_END_CONNECTIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
)


async def _blocking(work: Callable[[], object]) -> None:
    await asyncio.to_thread(work)


async def kill_trackers(at: Setting) -> float:
    """One, again and again, at random moments."""
    for _ in range(20 if at.is_long else 3):
        at.site.kill(at.chosen.choice(at.site.of("tracker")))
        last = time.monotonic()
        await asyncio.sleep(at.chosen.uniform(0.5, 4.0))
    return last


async def stop_a_tracker(at: Setting) -> float:
    """It does not come back before its partitions are taken over."""
    name = at.chosen.choice(at.site.of("tracker"))
    at.site.pause(name)  # nobody restarts what still runs
    begin = time.monotonic()
    await at.hold(16.0, 20.0)
    at.site.kill(name)
    return begin


async def pause_a_tracker(at: Setting) -> float:
    """Past its session, so that it comes back to partitions that are another's."""
    name = at.chosen.choice(at.site.of("tracker"))
    at.site.pause(name)
    begin = time.monotonic()
    await at.hold(14.0, 20.0)
    at.site.resume(name)
    return begin


async def storm(at: Setting) -> float:
    """Workers come and go."""
    for _ in range(24 if at.is_long else 4):
        name = at.chosen.choice(at.site.of("tracker"))
        await _blocking(lambda name=name: at.site.supervisor.restart(name, 5.0))
        last = time.monotonic()
        await asyncio.sleep(5.0 if at.is_long else 2.0)
    return last


async def lose_a_store(at: Setting) -> float:
    """The folder of a tracker's tables is gone."""
    name = at.chosen.choice(at.site.of("tracker"))
    await _blocking(lambda: at.site.supervisor.stop(name, 5.0))
    shutil.rmtree(at.site.folder / name / "data")
    await _blocking(lambda: at.site.supervisor.restart(name))
    return time.monotonic()


async def flip_bytes(at: Setting) -> float:
    """Some bytes in the largest file of a tracker's tables."""
    name = at.chosen.choice(at.site.of("tracker"))
    await _blocking(lambda: at.site.supervisor.stop(name, 5.0))
    files = [each for each in (at.site.folder / name / "data").rglob("*.sst") if each.is_file()]
    files += [each for each in (at.site.folder / name / "data").rglob("*.log") if each.is_file()]
    largest = max(files, key=lambda each: each.stat().st_size)
    content = bytearray(largest.read_bytes())
    for _ in range(8):
        if content:
            content[at.chosen.randrange(len(content))] ^= 0xFF
    largest.write_bytes(content)
    await _blocking(lambda: at.site.supervisor.restart(name))
    return time.monotonic()


async def kill_a_broker(at: Setting) -> float:
    """It leads a third of the partitions, and may be the controller."""
    node = at.chosen.choice(NODES)
    at.site.cluster.kill(node)
    begin = time.monotonic()
    await at.hold(8.0, 15.0)
    await _blocking(lambda: at.site.cluster.start(node))
    return begin


async def kill_two_brokers(at: Setting) -> float:
    """No quorum and no writing: whatever is accepted meanwhile is on the gateways' disks."""
    nodes = at.chosen.sample(NODES, 2)
    at.site.cluster.kill(*nodes)
    await at.hold(6.0, 20.0)
    await _blocking(lambda: at.site.cluster.start(*nodes))
    return time.monotonic()


async def roll_brokers(at: Setting) -> float:
    """Each is stopped in order, and started again."""
    for node in NODES:
        await _blocking(lambda node=node: at.site.cluster.brokers[node].stop())
        await _blocking(lambda node=node: at.site.cluster.start(node))
        await asyncio.sleep(5.0 if at.is_long else 2.0)
    return time.monotonic()


async def pause_a_broker(at: Setting) -> float:
    """Not dead, and silent."""
    pid = at.site.cluster.brokers[at.chosen.choice(NODES)].pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        await at.hold(5.0, 60.0)
    finally:
        os.kill(pid, signal.SIGCONT)
    return time.monotonic()


def cut(client: str, mode: Mode) -> Make:
    """The links of such clients to all brokers."""

    async def make(at: Setting) -> float:
        at.site.cluster.set(client, mode)
        try:
            await at.hold(5.0, 60.0)
        finally:
            at.site.cluster.set(client, Mode.OPEN)
        return time.monotonic()

    return make


async def cut_and_kill_gateways(at: Setting) -> float:
    """What they accepted meanwhile is on their disks alone."""
    at.site.cluster.set("gateway", Mode.CUT)
    try:
        await at.hold(5.0, 30.0)
        for name in at.site.of("gateway"):
            at.site.kill(name)
        await at.hold(2.0, 10.0)
    finally:
        at.site.cluster.set("gateway", Mode.OPEN)
    return time.monotonic()


def slow(client: str) -> Make:
    """Each chunk takes some tens of milliseconds longer, both ways."""

    async def make(at: Setting) -> float:
        at.site.cluster.set(client, Mode.OPEN, 0.05)
        try:
            await at.hold(6.0, 30.0)
        finally:
            at.site.cluster.set(client, Mode.OPEN)
        return time.monotonic()

    return make


def cut_database(mode: Mode) -> Make:
    """The links of all processes to PostgreSQL."""

    async def make(at: Setting) -> float:
        at.site.database.set(mode)
        try:
            await at.hold(5.0, 60.0)
        finally:
            at.site.database.set(Mode.OPEN)
        return time.monotonic()

    return make


async def kill_postgres(at: Setting) -> float:
    """As a power failure."""
    at.site.postgres.kill()
    await at.hold(3.0, 10.0)
    await _blocking(at.site.postgres.start)
    return time.monotonic()


async def end_connections(at: Setting) -> float:
    """All that anybody has, some times."""
    for _ in range(20 if at.is_long else 4):
        with psycopg.connect(at.site.base.database_url, autocommit=True) as database:
            database.execute(_END_CONNECTIONS)
        await asyncio.sleep(0.5)
    return time.monotonic()


async def lock_a_table(at: Setting) -> float:
    """Somebody's session locks what the projector writes."""
    with psycopg.connect(at.site.base.database_url) as database:
        database.execute("LOCK TABLE movement IN ACCESS EXCLUSIVE MODE")
        await at.hold(5.0, 60.0)
    return time.monotonic()


def kill(process: str) -> Make:
    """Both of them, some times."""

    async def make(at: Setting) -> float:
        for _ in range(10 if at.is_long else 3):
            for name in at.site.of(process):
                at.site.kill(name)
            last = time.monotonic()
            await asyncio.sleep(at.chosen.uniform(1.0, 3.0))
        return last

    return make


def pause(process: str) -> Make:
    """One of them, past its session: the other takes over, and it comes back."""

    async def make(at: Setting) -> float:
        name = at.chosen.choice(at.site.of(process))
        at.site.pause(name)
        begin = time.monotonic()
        await at.hold(14.0, 40.0)
        at.site.resume(name)
        return begin

    return make


async def mix(at: Setting) -> float:
    """A broker, a tracker, a gateway and every connection to PostgreSQL, one soon after another."""
    node = at.chosen.choice(NODES)
    at.site.cluster.kill(node)
    for process in at.chosen.sample(("tracker", "gateway", "projector"), 3):
        at.site.kill(at.chosen.choice(at.site.of(process)))
        await asyncio.sleep(at.chosen.uniform(0.2, 1.5))
    with psycopg.connect(at.site.base.database_url, autocommit=True) as database:
        database.execute(_END_CONNECTIONS)
    await _blocking(lambda: at.site.cluster.start(node))
    return time.monotonic()


async def upgrade(at: Setting) -> float:
    """Each process, one after the other, those that read before those that write, becomes one of a
    release whose records have a field more; in the long form each is taken back then."""
    names = [
        name
        for process in ("tracker", "alerter", "projector", "api", "gateway")
        for name in at.site.of(process)
    ]
    for name in names:
        await _blocking(lambda name=name: at.site.replace(name, is_next=True))
    if at.is_long:
        for name in reversed(names):
            await _blocking(lambda name=name: at.site.replace(name, is_next=False))
    return time.monotonic()


#: What `make test` has of all this.
MIX = Fault("", "a mix", mix)

FAULTS = (
    Fault("F1", "trackers die", kill_trackers),
    Fault("F1", "a tracker stays away", stop_a_tracker, within_s=15.0),
    Fault("F3", "a paused tracker returns", pause_a_tracker),
    Fault("F4", "rebalance storm", storm),
    Fault("F5", "a local store is lost", lose_a_store),
    Fault("F5", "bytes of a store are flipped", flip_bytes),
    Fault("F7", "a broker dies", kill_a_broker, within_s=10.0),
    Fault("F7", "two of three brokers die", kill_two_brokers),
    Fault("F7", "brokers are restarted one by one", roll_brokers),
    Fault("F10", "a broker is paused", pause_a_broker),
    Fault("F11", "gateways are cut off Kafka", cut("gateway", Mode.CUT)),
    Fault("F11", "gateways are cut off Kafka, and die", cut_and_kill_gateways),
    Fault("F11", "packets of trackers are lost", cut("tracker", Mode.HUNG)),
    Fault("F11", "all are cut off PostgreSQL", cut_database(Mode.CUT)),
    Fault("F11", "packets to PostgreSQL are lost", cut_database(Mode.HUNG)),
    Fault("F12", "Kafka's answers to gateways are lost", cut("gateway", Mode.MUTE)),
    Fault("F12", "Kafka's answers to trackers are lost", cut("tracker", Mode.MUTE)),
    Fault("F12", "links to Kafka are slow", slow("tracker")),
    Fault("F17", "PostgreSQL is killed", kill_postgres),
    Fault("F17", "connections to PostgreSQL end", end_connections),
    Fault("F17", "a table is locked", lock_a_table),
    Fault("F20", "a paused projector returns", pause("projector")),
    Fault("F20", "projectors die", kill("projector")),
    Fault("F30", "alerters die", kill("alerter")),
    Fault("F30", "a paused alerter returns", pause("alerter")),
    Fault("F1", "gateways die", kill("gateway")),
    Fault("F33", "a release takes another's place", upgrade),
)
