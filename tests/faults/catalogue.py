"""The faults: what is done to a running site, and how it is healed."""

import asyncio
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg

from faults.brokers import NODES
from faults.installation import Installation
from faults.links import Mode
from faults.load import Load
from faults.releases import DEFECT
from scantrail.cli.addresses import page_address
from scantrail.cli.supervisor import python_command


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a fault is made, by which dice, amid which load, and whether in its long form."""

    site: Installation
    chosen: random.Random
    is_long: bool
    load: Load

    async def hold(self, short_s: float, long_s: float) -> None:
        """While it lasts."""
        await asyncio.sleep(long_s if self.is_long else short_s)


#: Makes the fault and heals it; returns the moment from which on recovery is counted.
Make = Callable[[Setting], Awaitable[float]]


@dataclass(frozen=True, slots=True)
class Fault:
    """`number`: as docs/faults.md has it. `within_s`: recovery takes no longer, which is that of
    alerts where it is they that have to wait (`of_alerts`). `in_full`: it lasts as long as the list
    says in every run. `lived_through`: of processes that are told nothing, none ends by it, but for
    trackers, which end rather than go on beyond their fence."""

    number: str
    name: str
    make: Make
    within_s: float = 60.0
    of_alerts: bool = False
    in_full: bool = False
    lived_through: bool = False


#: A broker without room on its disk has ended by then.
FULL_S_MAX = 120.0

#: Within this time what is waited for while a fault lasts has come.
SOON_S_MAX = 60.0

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
    lasts_s, step_s = (120.0, 5.0) if at.is_long else (10.0, 2.0)
    end = time.monotonic() + lasts_s
    while (begin := time.monotonic()) < end:
        name = at.chosen.choice(at.site.of("tracker"))
        await _blocking(lambda name=name: at.site.supervisor.restart(name, step_s))
        last = time.monotonic()
        await asyncio.sleep(max(0.0, begin + step_s - last))
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
    """It leads a third of the partitions; the controller is another."""
    controller = at.site.cluster.controller()
    node = at.chosen.choice([each for each in NODES if each != controller])
    return await _without(at, node)


async def kill_the_controller(at: Setting) -> float:
    """It leads a third of the partitions too, and nobody says who leads them now."""
    return await _without(at, at.site.cluster.controller())


async def _without(at: Setting, node: int) -> float:
    at.site.cluster.kill(node)
    begin = time.monotonic()
    await at.hold(8.0, 15.0)
    await _blocking(lambda: at.site.cluster.start(node))
    return begin


async def fill_a_broker_s_disk(at: Setting) -> float:
    """No file of one broker may grow, as where its disk is full; Kafka ends then by itself, and is
    started again where there is room."""
    node = at.chosen.choice(NODES)
    broker = at.site.cluster.brokers[node]
    assert broker.pid is not None
    _, most = resource.prlimit(broker.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(broker.pid, resource.RLIMIT_FSIZE, (1, most))
    begin = time.monotonic()
    while broker.running:
        assert time.monotonic() < begin + FULL_S_MAX, f"broker {node} goes on without a disk"
        await asyncio.sleep(0.1)
    ended = time.monotonic()
    await at.hold(5.0, 30.0)
    await _blocking(lambda: at.site.cluster.start(node))
    return ended


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


def pause_a_broker(lasts_s: float) -> Make:
    """Not dead, and silent."""

    async def make(at: Setting) -> float:
        pid = at.site.cluster.brokers[at.chosen.choice(NODES)].pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(lasts_s)
        finally:
            os.kill(pid, signal.SIGCONT)
        return time.monotonic()

    return make


def cut(client: str, mode: Mode, long_s: float = 300.0) -> Make:
    """The links of such clients to all brokers."""

    async def make(at: Setting) -> float:
        at.site.cluster.set(client, mode)
        try:
            await at.hold(5.0, long_s)
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


def cut_database(mode: Mode, long_s: float = 300.0) -> Make:
    """The links of all processes to PostgreSQL."""

    async def make(at: Setting) -> float:
        at.site.database.set(mode)
        try:
            await at.hold(5.0, long_s)
        finally:
            at.site.database.set(Mode.OPEN)
        return time.monotonic()

    return make


async def slow_database(at: Setting) -> float:
    """Each chunk to PostgreSQL and back takes some tens of milliseconds longer, and a batch has a
    dozen statements."""
    at.site.database.set(Mode.OPEN, 0.05)
    try:
        await at.hold(10.0, 60.0)
    finally:
        at.site.database.set(Mode.OPEN)
    return time.monotonic()


async def kill_postgres(at: Setting) -> float:
    """As a power failure."""
    at.site.postgres.kill()
    await at.hold(3.0, 10.0)
    await _blocking(at.site.postgres.start)
    return time.monotonic()


async def restore_postgres(at: Setting) -> float:
    """A base backup takes its place, and what came since is lost there. The apis begin when what
    people entered is taken over from Kafka: docs/operations.md, "Restoring"."""
    site, address = at.site, at.site.base.database_url
    data, backup = site.postgres.folder / "data", site.folder / "base-backup"
    await _blocking(lambda: _back_up(address, data, backup))
    await at.hold(8.0, 60.0)
    for name in site.of("api"):
        await _blocking(lambda name=name: site.supervisor.stop(name, 30.0))
    with psycopg.connect(address, autocommit=True) as database:
        before = _written(database)
    site.postgres.kill()
    shutil.rmtree(data)
    backup.rename(data)
    await _blocking(site.postgres.start)
    back = time.monotonic()
    with psycopg.connect(address, autocommit=True) as database:
        lost = before - _written(database)
        assert lost > 0, "nothing was lost"
        await _soon(lambda: _written(database) >= before, f"{lost} rows do not come back")
    await _blocking(lambda: _take_over(site))
    for name in site.of("api"):
        await _blocking(lambda name=name: site.supervisor.restart(name))
    await _blocking(lambda: site.await_ready(*site.of("api")))
    return back


def _back_up(address: str, data: Path, backup: Path) -> None:
    """A base backup of the server while it is written to (PostgreSQL 15, 26.3.3)."""
    with psycopg.connect(address, autocommit=True) as database:
        database.execute("SELECT pg_backup_start('faults', true)")
        # Files that go while they are copied are none of the backup's.
        subprocess.run(["cp", "-a", data, backup], check=False, stderr=subprocess.DEVNULL)
        told = database.execute("SELECT labelfile FROM pg_backup_stop(false)").fetchone()
    assert told is not None
    shutil.rmtree(backup / "pg_wal")
    subprocess.run(["cp", "-a", data / "pg_wal", backup / "pg_wal"], check=True)
    (backup / "postmaster.pid").unlink()
    label = backup / "backup_label"
    label.write_text(told[0])
    owner = (data / "PG_VERSION").stat()
    os.chown(label, owner.st_uid, owner.st_gid)


def _take_over(site: Installation) -> None:
    told = subprocess.run(
        python_command("scantrail.cli", "db", "take-over"),
        env={**os.environ, **site.base.environ()},
        check=False,
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr


def _written(database: "psycopg.Connection[Any]") -> int:
    """Rows of movements and alerts."""
    query = "SELECT (SELECT count(*) FROM movement) + (SELECT count(*) FROM alert)"
    found = database.execute(query).fetchone()
    return 0 if found is None else int(found[0])


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


async def deadlock(at: Setting) -> float:
    """Somebody's session has what the projector is going to write, and waits for what it has."""
    left = 10 if at.is_long else 3
    while left:
        left -= await _deadlock(at)
        await asyncio.sleep(at.chosen.uniform(0.2, 1.0))
    return time.monotonic()


_WAITING = """
    SELECT w.pid FROM pg_locks w JOIN pg_locks h ON h.pid = w.pid
    WHERE NOT w.granted AND w.relation = 'unit'::regclass
    AND h.granted AND h.relation = 'movement'::regclass AND h.mode = 'RowExclusiveLock'
"""


async def _deadlock(at: Setting) -> bool:
    """Whoever waits for a second looks for a circle, and is ended: whether that was the projector,
    as it is where we were fast."""
    address = at.site.base.database_url
    with psycopg.connect(address) as ours, psycopg.connect(address, autocommit=True) as watcher:
        before = _deadlocks(watcher)
        ours.execute("SET LOCAL deadlock_timeout = '10s'")
        ours.execute("LOCK TABLE unit IN EXCLUSIVE MODE")
        await _soon(lambda: watcher.execute(_WAITING).fetchone(), "nobody writes units")
        try:
            await _blocking(lambda: ours.execute("LOCK TABLE movement IN EXCLUSIVE MODE"))
        except psycopg.errors.DeadlockDetected:
            return False
        finally:
            ours.rollback()
        await _soon(lambda: _deadlocks(watcher) > before, "PostgreSQL saw no deadlock")
        return True


def _deadlocks(database: "psycopg.Connection[Any]") -> int:
    query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    found = database.execute(query).fetchone()
    return 0 if found is None else int(found[0])


async def _soon(is_so: Callable[[], object], otherwise: str) -> None:
    """Raises AssertionError where it is not so in time."""
    deadline = time.monotonic() + SOON_S_MAX
    while not is_so():
        assert time.monotonic() < deadline, otherwise
        await asyncio.sleep(0.02)


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


async def send_again(at: Setting) -> float:
    """Whatever was accepted so far, all at once."""
    for _ in range(5 if at.is_long else 2):
        await asyncio.sleep(3.0)
        at.load.send_again()
    return time.monotonic()


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
        await _blocking(lambda name=name: at.site.replace(name, "next"))
    if at.is_long:
        for name in reversed(names):
            await _blocking(lambda name=name: at.site.replace(name, None))
    return time.monotonic()


async def fail_on_scans(at: Setting) -> float:
    """Trackers of a release that fails on some scans: each is set aside, its unit is held, and all
    others flow. What was set aside stays so, but for what is sent again when they are healed."""
    trackers = at.site.of("tracker")
    for name in trackers:
        await _blocking(lambda name=name: at.site.replace(name, "defect"))
    with psycopg.connect(at.site.base.database_url, autocommit=True) as database:
        await _soon(lambda: _failed(database), "the defect shows nowhere")
        await at.hold(3.0, 20.0)
        failed = _failed(database)
    async with httpx.AsyncClient(base_url=page_address(at.site.settings["api-1"])) as http:
        for unit in failed:
            told = (await http.get(f"/units/{unit}", timeout=30)).raise_for_status().json()
            assert told["held"], f"the code failed on a scan of {unit}, and it is not held"
    for name in trackers:
        await _blocking(lambda name=name: at.site.replace(name, None))
    return time.monotonic()


def _failed(database: "psycopg.Connection[Any]") -> list[str]:
    query = "SELECT DISTINCT unit FROM rejected WHERE strpos(detail, %s) > 0"
    return [unit for (unit,) in database.execute(query, (DEFECT,))]


#: What `make test` has of all this.
MIX = Fault("", "a mix", mix)

FAULTS = (
    Fault("F1", "trackers die", kill_trackers, within_s=15.0, in_full=True),
    Fault("F1", "a tracker stays away", stop_a_tracker, within_s=15.0),
    Fault("F3", "a paused tracker returns", pause_a_tracker),
    Fault("F4", "rebalance storm", storm, in_full=True),
    Fault("F5", "a local store is lost", lose_a_store),
    Fault("F5", "bytes of a store are flipped", flip_bytes),
    Fault("F7", "a broker dies", kill_a_broker, within_s=10.0, lived_through=True),
    Fault("F7", "the controller dies", kill_the_controller, lived_through=True),
    Fault("F7", "two of three brokers die", kill_two_brokers, lived_through=True),
    Fault("F7", "brokers are restarted one by one", roll_brokers, lived_through=True),
    Fault("F10", "a broker is paused", pause_a_broker(5.0), lived_through=True),
    Fault(
        "F10",
        "a broker is paused for a minute",
        pause_a_broker(60.0),
        in_full=True,
        lived_through=True,
    ),
    Fault("F11", "gateways are cut off Kafka", cut("gateway", Mode.CUT)),
    Fault("F11", "gateways are cut off Kafka, and die", cut_and_kill_gateways),
    Fault("F11", "packets of trackers are lost", cut("tracker", Mode.HUNG, 60.0)),
    Fault("F11", "all are cut off PostgreSQL", cut_database(Mode.CUT, 60.0)),
    Fault("F11", "packets to PostgreSQL are lost", cut_database(Mode.HUNG)),
    Fault("F12", "Kafka's answers to gateways are lost", cut("gateway", Mode.MUTE, 60.0)),
    Fault("F12", "Kafka's answers to trackers are lost", cut("tracker", Mode.MUTE, 60.0)),
    Fault("F12", "links to Kafka are slow", slow("tracker")),
    Fault("F14", "a broker's disk is full", fill_a_broker_s_disk),
    Fault("F17", "PostgreSQL is killed", kill_postgres),
    Fault("F17", "connections to PostgreSQL end", end_connections),
    Fault("F17", "a table is locked", lock_a_table, in_full=True),
    Fault("F17", "the projector is in a deadlock", deadlock),
    Fault("F18", "PostgreSQL is restored to a backup", restore_postgres),
    Fault("F20", "a paused projector returns", pause("projector")),
    Fault("F20", "projectors die", kill("projector")),
    Fault("F21", "everything is sent again", send_again),
    Fault("F25", "the code fails on some scans", fail_on_scans),
    Fault("F27", "PostgreSQL is slow", slow_database),
    Fault("F30", "alerters die", kill("alerter"), of_alerts=True),
    Fault("F30", "a paused alerter returns", pause("alerter"), of_alerts=True),
    Fault("F1", "gateways die", kill("gateway")),
    Fault("F1", "apis die", kill("api")),
    Fault("F33", "a release takes another's place", upgrade),
    # Last, for the checker reads all that was ever scanned.
    Fault("F11", "trackers' packets are lost for minutes", cut("tracker", Mode.HUNG), in_full=True),
    Fault("F11", "PostgreSQL is cut off for minutes", cut_database(Mode.CUT), in_full=True),
)
