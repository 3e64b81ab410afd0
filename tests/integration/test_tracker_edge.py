"""The tracker as a process on a real broker: killed, moved to another disk, joined and overtaken.

After each, an oracle that folds the same scans in one go tells what must be on the topics.
"""

import asyncio
import contextlib
import itertools
import os
import random
import secrets
import shutil
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from integration.processes import READY_S_MAX, Process, started
from scantrail.contracts.records import (
    decode_link,
    decode_scan,
    decode_state,
    encode,
    is_link,
    movements,
)
from scantrail.contracts.topics import FENCE, Topic
from scantrail.domain.children import learn, tell_parents
from scantrail.domain.custody import UnitState, observe
from scantrail.domain.scan import Scan
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra.failpoints import FAILPOINT
from scantrail.infra.group_admin import remove_members
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import apply_topics, name_of
from scantrail.tracker.app import TOLD_MAX

if TYPE_CHECKING:
    from integration.conftest import Site

UNITS = 60
#: For many scans: hundreds in the state of one unit are another matter.
MANY_UNITS = 2_000
#: So long lives at most a tracker that is killed by the clock: some three of it are its start.
LIFE_S_MAX = 6.0
#: Within this time a projector has written all that long faults made.
ROWS_S_MAX = 60.0
STEPS = (BusinessStep.RECEIVING, BusinessStep.STORING, BusinessStep.PICKING, BusinessStep.SHIPPING)


def scans_of_a_day(site: "Site", first: int, count: int, *, units: int = UNITS) -> list[Scan]:
    """Each unit from station to station; each tenth scan comes late, and each 25th comes twice."""
    made: list[Scan] = []
    for number in range(first, first + count):
        unit, turn = number % units, number // units
        minute = turn - (3.5 if number % 10 == 3 else 0)
        scan = site.scan(
            f"{unit}",
            minute,
            event_id=f"e{number}",
            sequence=number,
            station=f"s-{turn % 7}",
            business_step=STEPS[turn % 4],
        )
        made += [scan, scan] if number % 25 == 7 else [scan]
    return made


def with_a_disk(site: "Site") -> Settings:
    return replace(site.settings, tracker_store="rocksdb")


async def send(site: "Site", scans: Iterable[Scan]) -> None:
    await site.publish_all(Topic.SCANS, [(scan.unit, encode(scan)) for scan in scans])


async def movements_by_version(site: "Site") -> dict[tuple[str, int], bytes]:
    """What the topic says of each version of a unit; a repetition is the same to the byte."""
    told: dict[tuple[str, int], bytes] = {}
    for record in await (await site.log(Topic.MOVEMENTS)).records():
        movement = movements.decode(record.value)
        known = told.setdefault((movement.unit, movement.version), record.value)
        assert known == record.value
    return told


class Oracle:
    """What must be on the topics, folded from the records of `scans` in one go.

    It goes on as long as there are more: a tracker that was killed sends some of them once again,
    maybe after all that the test waits for is there.
    """

    def __init__(self) -> None:
        self.states: dict[str, UnitState] = {}
        self.events: dict[tuple[str, int], str] = {}
        self._taken = 0

    async def go_on(self, site: "Site") -> None:
        records = await (await site.log(Topic.SCANS)).records()
        for record in records[self._taken :]:
            self._take(record)
        self._taken = len(records)

    def _take(self, record: Any) -> None:
        if is_link(record.value):
            link = decode_link(record.key, record.value)
            known = self.states.get(link.parent)
            self.states[link.parent], _ = learn(known, link, offset=record.offset)
            return
        scan = decode_scan(record.key, record.value)
        seen = observe(self.states.get(scan.unit), scan, offset=record.offset)
        self.states[scan.unit] = seen.state
        if seen.accepted:
            self.states[scan.unit], _ = tell_parents(seen.state, scan)
            self.events[scan.unit, seen.state.version] = scan.event_id


async def compare(site: "Site") -> None:
    """The topics say what the oracle says of all that is in `scans`."""
    oracle = Oracle()

    async def told() -> bool:
        await oracle.go_on(site)
        return len(await movements_by_version(site)) >= len(oracle.events)

    await site.until(told, READY_S_MAX)

    async def kept() -> bool:
        await oracle.go_on(site)
        changelog = await (await site.log(Topic.UNITS)).records()
        newest = {record.key.decode(): record.value for record in changelog}
        return {unit: decode_state(value) for unit, value in newest.items()} == oracle.states

    await site.until(kept, READY_S_MAX)
    found = await movements_by_version(site)
    events = {at: movements.decode(value).scan.event_id for at, value in found.items()}
    assert events == oracle.events
    versions = defaultdict[str, list[int]](list)
    for unit, version in sorted(found):
        versions[unit].append(version)
    for unit, given in versions.items():
        assert given == list(range(1, len(given) + 1)), unit


async def compare_rows(site: "Site") -> None:
    """PostgreSQL says what the topics say, once a projector has read them."""
    told = [movements.decode(value) for value in (await movements_by_version(site)).values()]
    newest = {each.unit: each for each in sorted(told, key=lambda each: each.version)}
    ends: dict[int, int] = {}
    for record in await (await site.log(Topic.MOVEMENTS)).records():
        ends[record.partition] = record.offset + 1

    def stored() -> dict[int, int]:
        query = "SELECT partition, next_offset FROM consumer_offset WHERE topic = %s"
        return dict(site.rows(query, name_of(site.settings, Topic.MOVEMENTS)))

    projector = await site.start("projector")
    await site.until(lambda: stored() == ends, ROWS_S_MAX)
    await site.stop(projector)
    history = site.rows("SELECT unit, version, event_id, business_location FROM movement")
    assert sorted(history) == sorted(
        (each.unit, each.version, each.scan.event_id, each.scan.business_location) for each in told
    )
    rows = site.rows("SELECT unit, version, event_id, station, business_location, phase FROM unit")
    places = {unit: (each.version, each.after) for unit, each in newest.items()}
    assert {unit: (version, *place) for unit, version, *place in rows} == {
        unit: (version, at.event_id, at.station, at.business_location, at.phase)
        for unit, (version, at) in places.items()
        if at is not None
    }


@contextlib.asynccontextmanager
async def flowing(site: "Site", scans_per_s: int, units: int) -> AsyncIterator[None]:
    """Scans are published all the while, at this pace."""
    every_s = 0.2

    async def publish() -> None:
        burst, due = int(scans_per_s * every_s), time.monotonic()
        for first in itertools.count(0, burst):
            await send(site, scans_of_a_day(site, first, burst, units=units))
            due += every_s
            await asyncio.sleep(max(due - time.monotonic(), 0.0))

    publishing = asyncio.create_task(publish())
    try:
        yield
        assert not publishing.done(), publishing.exception()
    finally:
        publishing.cancel()
        await asyncio.wait({publishing})


@contextlib.contextmanager
def seeded(seed: int | None) -> Iterator[random.Random]:
    """Chance that can be repeated: whatever fails says the seed, and `--seed` takes it."""
    seed = secrets.randbits(32) if seed is None else seed
    try:
        yield random.Random(seed)
    except BaseException as error:
        error.add_note(f"again with --seed {seed}")
        raise


async def some_more_movements(site: "Site", than: int) -> None:
    async def told() -> bool:
        return len(await (await site.log(Topic.MOVEMENTS)).records()) > than

    await site.until(told, READY_S_MAX)


@pytest.mark.parametrize("store", ["rocksdb", pytest.param("memory", marks=pytest.mark.long)])
async def test_killed_again_and_again_in_mid_stream_it_is_exact(
    site: "Site", tmp_path: Path, store: str
) -> None:
    settings = replace(site.settings, tracker_store=store)
    count, turns = 3_000, 4
    for turn in range(turns):
        before = len(await (await site.log(Topic.MOVEMENTS)).records())
        with started(settings, tmp_path, "tracker"):  # and killed at its end
            await send(site, scans_of_a_day(site, turn * count, count, units=MANY_UNITS))
            await some_more_movements(site, before + count // 4)
    assert len(await movements_by_version(site)) < turns * count, "nothing was left to do again"
    with started(settings, tmp_path, "tracker"):
        await compare(site)


@pytest.mark.long
@pytest.mark.parametrize("store", ["rocksdb", "memory"])
async def test_killed_at_twenty_random_moments_under_load_it_is_exact(
    site: "Site", tmp_path: Path, store: str, seed: int | None
) -> None:
    settings = replace(site.settings, tracker_store=store)
    were_ready: list[bool] = []
    with seeded(seed) as chance:
        async with flowing(site, 1_000, 5 * MANY_UNITS):
            for _ in range(20):
                with started(settings, tmp_path, "tracker") as (tracker,):  # and killed at its end
                    await asyncio.sleep(chance.uniform(0.0, LIFE_S_MAX))
                    assert tracker.process.poll() is None, tracker.log
                    ready = await asyncio.to_thread(tracker.get, "/readyz")
                    were_ready.append(ready is not None and ready.status_code == 200)
        assert set(were_ready) == {False, True}, "it died at one kind of moment only"
        with started(settings, tmp_path, "tracker"):
            await compare(site)
        await compare_rows(site)


async def test_on_an_empty_disk_it_goes_on_from_its_changelog(site: "Site", tmp_path: Path) -> None:
    settings = with_a_disk(site)
    with started(settings, tmp_path, "tracker") as (tracker,):
        await send(site, scans_of_a_day(site, 0, 500))
        await compare(site)
        tracker.terminate()
        assert tracker.status_within(20.0) == 0
    shutil.rmtree(Path(settings.data_dir) / "tracker-0")
    with started(settings, tmp_path, "tracker"):
        await send(site, scans_of_a_day(site, 500, 500))
        await compare(site)


@pytest.mark.long
async def test_a_second_tracker_joins_and_leaves_while_scans_flow(
    site: "Site", tmp_path: Path
) -> None:
    second = replace(
        site.settings,
        tracker_ordinal=1,
        tracker_health_port=site.settings.api_health_port,
    )
    (tmp_path / "second").mkdir()
    burst = 2_000
    with started(site.settings, tmp_path, "tracker") as (tracker,):
        await asyncio.to_thread(tracker.await_ready)
        for turn in range(2):
            await send(site, scans_of_a_day(site, 3 * turn * burst, burst, units=MANY_UNITS))
            with started(second, tmp_path / "second", "tracker") as (other,):
                await asyncio.to_thread(other.await_ready)
                await send(
                    site, scans_of_a_day(site, (3 * turn + 1) * burst, burst, units=MANY_UNITS)
                )
                await compare(site)
                assert processed(tracker) > 0
                assert processed(other) > 0
                await send(
                    site, scans_of_a_day(site, (3 * turn + 2) * burst, burst, units=MANY_UNITS)
                )
                other.terminate()
                assert await asyncio.to_thread(other.status_within, 20.0) == 0, other.log
        await compare(site)
        assert tracker.process.poll() is None, tracker.log


@pytest.mark.long
async def test_two_trackers_join_and_leave_every_five_seconds_for_a_minute_and_it_is_exact(
    site: "Site", tmp_path: Path
) -> None:
    """Each is there for ten seconds and away for ten. The group waits ten for one that left: each
    of them comes while the other is there, is awaited, or is forgotten."""
    moved = [0.0, 0.0]
    with contextlib.ExitStack() as processes:

        def start(number: int) -> Process:
            own = replace(
                with_a_disk(site),
                tracker_ordinal=number,
                tracker_health_port=(
                    site.settings.tracker_health_port,
                    site.settings.api_health_port,
                )[number],
            )
            folder = tmp_path / f"tracker-{number}"
            folder.mkdir(exist_ok=True)
            (tracker,) = processes.enter_context(started(own, folder, "tracker"))
            return tracker

        there: dict[int, Process] = {}
        async with flowing(site, 1_000, 5 * MANY_UNITS):
            due = time.monotonic()
            for turn in range(12):
                number = turn % 2
                tracker = there.pop(number, None)
                if tracker is None:
                    there[number] = start(number)
                else:
                    moved[number] += await asyncio.to_thread(processed, tracker)
                    tracker.terminate()
                    assert await asyncio.to_thread(tracker.status_within, 20.0) == 0, tracker.log
                due += 5.0
                await asyncio.sleep(due - time.monotonic())
        assert all(moved), moved
        start(0)
        await compare(site)
    await compare_rows(site)


def processed(tracker: Process, result: str = "moved") -> float:
    answer = tracker.get("/metrics")
    if answer is None:
        return 0.0
    name = f'scantrail_scans_processed_total{{process="tracker",result="{result}"}}'
    return sum(float(line.split()[-1]) for line in answer.text.splitlines() if name in line)


async def test_where_another_has_written_it_ends_and_begins_again_from_what_is_durable(
    site: "Site", tmp_path: Path
) -> None:
    scans = scans_of_a_day(site, 0, 200)
    with started(site.settings, tmp_path, "tracker") as (tracker,):
        await send(site, scans[:100])
        await compare(site)
        (newest, *_) = reversed(await (await site.log(Topic.UNITS)).records())
        await site.publish(  # the same state again: what is harmful is that somebody else wrote
            Topic.UNITS, newest.key.decode(), newest.value, partition=newest.partition
        )
        await send(site, [scan for scan in scans[100:] if scan.unit.encode() == newest.key])
        assert tracker.status_within(READY_S_MAX) == 76
        assert "another worker wrote" in tracker.log
    with started(site.settings, tmp_path, "tracker"):
        await send(site, scans[100:])
        await compare(site)


async def test_where_another_writes_while_no_scan_comes_it_ends_all_the_same(
    site: "Site", tmp_path: Path
) -> None:
    with started(site.settings, tmp_path, "tracker") as (tracker,):
        await send(site, scans_of_a_day(site, 0, 20))
        await compare(site)
        (newest, *_) = reversed(await (await site.log(Topic.UNITS)).records())
        await site.publish(
            Topic.UNITS, newest.key.decode(), newest.value, partition=newest.partition
        )
        assert await asyncio.to_thread(tracker.status_within, READY_S_MAX) == 76
        assert "another worker wrote" in tracker.log


@pytest.mark.parametrize("disk", ["kept", "lost"])
async def test_an_older_state_written_last_counts_for_nothing_and_is_written_over(
    site: "Site", tmp_path: Path, disk: str
) -> None:
    """As by a worker that was paused, and overtaken, between its check and its write."""
    settings = with_a_disk(site)
    with started(settings, tmp_path, "tracker") as (tracker,):
        await send(site, scans_of_a_day(site, 0, 3 * UNITS))
        await compare(site)
        await send(site, scans_of_a_day(site, 3 * UNITS, UNITS))
        await compare(site)
        tracker.process.kill()
        tracker.process.wait()
        changelog = await (await site.log(Topic.UNITS)).records()
        first = {record.key: record for record in reversed(changelog)}
        for record in list(first.values())[:10]:
            await site.publish(
                Topic.UNITS, record.key.decode(), record.value, partition=record.partition
            )
        last = changelog[-1]
        await site.publish(
            Topic.UNITS, last.key.decode(), b"\xc1 no state", partition=last.partition
        )
    if disk == "lost":
        shutil.rmtree(Path(site.settings.data_dir) / "tracker-0")
    with started(settings, tmp_path, "tracker") as (tracker,):
        await asyncio.to_thread(tracker.await_ready)
        assert "states were written again" in tracker.log
        await send(site, scans_of_a_day(site, 4 * UNITS, UNITS))
        await compare(site)


#: Each is passed once a batch, in this order.
FAILPOINTS = ("begun", "decided", "sent", "logged", "stored", "acknowledged")


@pytest.mark.parametrize("store", ["rocksdb", pytest.param("memory", marks=pytest.mark.long)])
async def test_killed_between_any_two_steps_of_a_batch_it_is_exact(
    site: "Site", tmp_path: Path, store: str
) -> None:
    settings = replace(site.settings, tracker_store=store)
    count = 600
    for turn, name in enumerate(FAILPOINTS):
        failing = {FAILPOINT: f"{name}:2"}
        with started(settings, tmp_path, "tracker", environ=failing) as (tracker,):
            await send(site, scans_of_a_day(site, turn * count, count))
            assert await asyncio.to_thread(tracker.status_within, READY_S_MAX) == -signal.SIGKILL
    with started(settings, tmp_path, "tracker"):
        await compare(site)


async def test_killed_after_states_were_written_again_it_writes_them_once_more(
    site: "Site", tmp_path: Path
) -> None:
    settings = with_a_disk(site)
    with started(settings, tmp_path, "tracker"):
        for turn in range(2):
            await send(site, scans_of_a_day(site, turn * UNITS, UNITS))
            await compare(site)
    changelog = await (await site.log(Topic.UNITS)).records()
    oldest = changelog[0]
    await site.publish(Topic.UNITS, oldest.key.decode(), oldest.value, partition=oldest.partition)
    failing = {FAILPOINT: "rewritten:1"}
    with started(settings, tmp_path, "tracker", environ=failing) as (tracker,):
        assert await asyncio.to_thread(tracker.status_within, READY_S_MAX) == -signal.SIGKILL
    with started(settings, tmp_path, "tracker"):
        await send(site, scans_of_a_day(site, 2 * UNITS, UNITS))
        await compare(site)


@pytest.mark.parametrize("every", [100, None], ids=["all over", "where the position is"])
async def test_on_a_disk_whose_bytes_flipped_it_restores_its_units(
    site: "Site", tmp_path: Path, every: int | None
) -> None:
    settings = with_a_disk(site)
    folder = Path(settings.data_dir) / "tracker-0"
    count = 400
    for turn in range(2):
        with started(settings, tmp_path, "tracker"):
            await send(site, scans_of_a_day(site, turn * count, count))
            await compare(site)

    def is_in_tables() -> bool:
        return not any(log.stat().st_size for log in folder.rglob("0*.log"))

    with started(settings, tmp_path, "tracker"):  # a start moves what is only logged into tables
        await site.until(is_in_tables)
    tables = sorted(folder.rglob("*.sst"))
    assert tables
    for table in tables:
        flip_bytes(table, every)
    await send(site, scans_of_a_day(site, 2 * count, count))
    log = ""
    for _ in range(2 * settings.partitions + 1):  # as its supervisor would
        with started(settings, tmp_path, "tracker") as (tracker,):
            with contextlib.suppress(AssertionError):
                await compare(site)
            log = tracker.log
            if tracker.process.poll() is None:
                break
    assert "the local store is broken" in log
    await compare(site)


def flip_bytes(path: Path, every: int | None) -> None:
    """One of so many, from the hundredth on; none but that one where nothing is told."""
    content = bytearray(path.read_bytes())
    for place in range(100, len(content), every or len(content)):
        content[place] ^= 0xFF
    path.write_bytes(content)


async def test_a_store_ahead_of_its_changelog_is_told_with_its_folder(
    site: "Site", tmp_path: Path
) -> None:
    settings = with_a_disk(site)
    with started(settings, tmp_path, "tracker"):
        await send(site, scans_of_a_day(site, 0, 20))
        await compare(site)
    other = replace(settings, topic_prefix=f"{settings.topic_prefix}-anew")
    await apply_topics(other)
    with started(other, tmp_path, "tracker") as (tracker,):
        assert await asyncio.to_thread(tracker.status_within, READY_S_MAX) == 70
        assert "remove the store's folder" in tracker.log


@contextlib.asynccontextmanager
async def supervised(*processes: Process) -> AsyncIterator[list[int]]:
    """Started again whenever they end, as operations runs them; their statuses, as they end."""
    statuses: list[int] = []

    async def start_again() -> None:
        while True:
            for process in processes:
                if (status := process.process.poll()) is not None:
                    statuses.append(status)
                    process.start()
            await asyncio.sleep(0.1)

    starting = asyncio.create_task(start_again())
    try:
        yield statuses
    finally:
        starting.cancel()


async def test_paused_beyond_its_session_and_overtaken_it_changes_nothing_when_it_comes_back(
    site: "Site", tmp_path: Path, long_form: bool
) -> None:
    settings = with_a_disk(site)
    second = replace(settings, tracker_ordinal=1, tracker_health_port=settings.api_health_port)
    (tmp_path / "second").mkdir()
    burst = 2_000
    for turn in range(3 if long_form else 1):
        first = 3 * turn * burst
        with started(settings, tmp_path, "tracker") as (paused,):
            await asyncio.to_thread(paused.await_ready)
            told = len(await (await site.log(Topic.MOVEMENTS)).records())
            await send(site, scans_of_a_day(site, first, burst, units=MANY_UNITS))
            await some_more_movements(site, told + random.Random(turn).randrange(burst // 2))
            paused.process.send_signal(signal.SIGSTOP)
            with started(second, tmp_path / "second", "tracker") as (other,):
                await send(site, scans_of_a_day(site, first + burst, burst, units=MANY_UNITS))
                await compare(site)  # nothing waits for the one that is paused
                async with supervised(paused, other) as statuses:
                    paused.process.send_signal(signal.SIGCONT)
                    await send(
                        site, scans_of_a_day(site, first + 2 * burst, burst, units=MANY_UNITS)
                    )
                    await compare(site)
                # In mid-batch it writes once more; both then see that they are not alone.
                assert set(statuses) <= {75, 76}, paused.log + other.log


async def stopped(site: "Site", process: Process) -> None:
    """It stands at its failpoint."""

    def stands() -> bool:
        assert process.process.poll() is None, process.log
        flags = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, process.process.pid, flags) is not None

    await site.until(stands, READY_S_MAX)


@pytest.mark.parametrize("fence", ["on", "off"])
@pytest.mark.parametrize("where", ["batch", pytest.param("restore", marks=pytest.mark.long)])
async def test_what_an_overtaken_tracker_writes_is_refused_if_it_is_fenced(
    site: "Site", tmp_path: Path, where: str, fence: str
) -> None:
    """It is stopped right before a state leaves, in a batch or where states are written again, and
    goes on when another has taken over. Without the fence that state is then the last one."""
    settings = replace(with_a_disk(site), tracker_fence=fence)
    await apply_topics(settings)
    second = replace(settings, tracker_ordinal=1, tracker_health_port=settings.api_health_port)
    (tmp_path / "second").mkdir()
    scans = [site.scan("1", minute, station=f"s-{minute}") for minute in range(4)]
    unit = scans[0].unit

    async def states() -> list[int]:
        changelog = await (await site.log(Topic.UNITS)).records()
        return [decode_state(record.value).version for record in changelog]

    if where == "restore":
        with started(settings, tmp_path, "tracker"):
            for scan in scans[:2]:
                await send(site, [scan])
                await compare(site)
        first, _ = await (await site.log(Topic.UNITS)).records()
        await site.publish(Topic.UNITS, unit, first.value, partition=first.partition)
    failing = {FAILPOINT: f"stamped:{1 if where == 'restore' else 2}:stop"}
    with started(settings, tmp_path, "tracker", environ=failing) as (paused,):
        if where == "batch":
            await send(site, scans[:1])
            await compare(site)
            await send(site, scans[1:2])
        await stopped(site, paused)
        with started(second, tmp_path / "second", "tracker") as (other,):
            await send(site, scans[2:3])
            await compare(site)
            before = await states()
            assert before[-1] == 3
            paused.process.send_signal(signal.SIGCONT)
            assert await asyncio.to_thread(paused.status_within, READY_S_MAX) == 76, paused.log
            if fence == "on":
                assert "the broker refused states as too old" in paused.log
                assert await states() == before
                await send(site, scans[3:])
                await compare(site)
                assert other.process.poll() is None, other.log
            else:
                assert await states() == [*before, 2]


async def test_with_the_fence_a_tracker_that_had_no_scan_for_long_goes_on(
    site: "Site", tmp_path: Path
) -> None:
    settings = replace(with_a_disk(site), tracker_fence="on")
    await apply_topics(settings)
    with started(settings, tmp_path, "tracker") as (tracker,):
        await send(site, scans_of_a_day(site, 0, 20))
        await compare(site)
        await asyncio.sleep(int(FENCE["message.timestamp.before.max.ms"]) / 1000 + 1.0)
        await send(site, scans_of_a_day(site, 20, 20))
        await compare(site)
        assert tracker.process.poll() is None, tracker.log


async def test_what_is_no_scan_is_set_aside_as_it_came_and_holds_up_nothing(
    site: "Site", tmp_path: Path
) -> None:
    scan = site.scan("1")
    odd: list[tuple[str, bytes | None, str]] = [
        (scan.unit, None, "no_value"),
        (scan.unit, b"\x00\xff{", "not_json"),
        (scan.unit, b"{}", "not_a_scan"),
        ("another key", encode(scan), "wrong_key"),
        (scan.unit, b" " * 9_000, "too_large"),
    ]
    sent = []
    for key, value, _ in odd:
        headers = [("traceparent", b"00-1-2-01")]
        sent.append(await site.publish(Topic.SCANS, key, value, headers=headers, partition=0))
    sent.append(await site.publish(Topic.SCANS, scan.unit, encode(scan), partition=0))
    with started(site.settings, tmp_path, "tracker"):
        (movement,) = await (await site.log(Topic.MOVEMENTS)).until(1, READY_S_MAX)
        assert movements.decode(movement.value).scan == scan
        rejected = await (await site.log(Topic.SCANS_REJECTED)).until(len(odd))
    for record, place, (key, value, reason) in zip(rejected, sent, odd, strict=False):
        assert (record.key, record.value) == (key.encode(), value)
        headers: dict[str, Any] = dict(record.headers)
        assert headers["traceparent"] == b"00-1-2-01"
        told = {
            name: headers[f"__connect.errors.{name}"].decode()
            for name in ("topic", "partition", "offset", "exception.class.name")
        }
        assert told == {
            "topic": name_of(site.settings, Topic.SCANS),
            "partition": "0",
            "offset": str(place.offset),
            "exception.class.name": reason,
        }


CARTON = "sscc:095060001343520017"


async def test_what_is_packed_is_shipped_with_its_carton_once_although_the_tracker_is_killed(
    site: "Site", tmp_path: Path
) -> None:
    settings = with_a_disk(site)
    packing: dict[str, Any] = {
        "station": "pack-1",
        "business_step": BusinessStep.PACKING,
        "business_location": "Packing",
        "parent": CARTON,
    }
    packed = [site.scan(f"{n}", 1, **packing) for n in range(3)]
    shipped = site.scan(
        "carton",
        60,
        event_id="shipped",
        unit=CARTON,
        station="gate",
        business_step=BusinessStep.SHIPPING,
        business_location=None,
        order="SO-1",
    )
    units = {scan.unit for scan in packed}
    failing = {FAILPOINT: "sent:2"}  # movements, and what goes back into `scans`; no state yet
    with started(settings, tmp_path, "tracker", environ=failing) as (tracker,):
        await send(site, packed)
        assert await asyncio.to_thread(tracker.status_within, READY_S_MAX) == -signal.SIGKILL
    with started(settings, tmp_path, "tracker"):
        await all_known_to_their_carton(site, len(packed))
        await compare(site)
    with started(settings, tmp_path, "tracker", environ=failing) as (tracker,):
        await send(site, [shipped])
        assert await asyncio.to_thread(tracker.status_within, READY_S_MAX) == -signal.SIGKILL
    with started(settings, tmp_path, "tracker"):

        async def all_shipped() -> bool:
            return len(await movements_by_version(site)) == 2 * len(units) + 1

        await site.until(all_shipped, READY_S_MAX)
        await compare(site)
    told = [movements.decode(value) for value in (await movements_by_version(site)).values()]
    for unit in units:
        first, then = sorted((m for m in told if m.unit == unit), key=lambda m: m.version)
        assert (first.version, first.scan.business_step) == (1, "packing")
        assert (then.version, then.outcome, then.scan.business_step) == (2, "moved", "shipping")
        assert then.after
        assert (then.after.phase, then.after.parent, then.after.order) == (
            "shipped",
            CARTON,
            "SO-1",
        )
        assert then.scan.derived_from
        assert then.scan.derived_from.event_id == "shipped"
    assert not await (await site.log(Topic.SCANS_REJECTED)).records()


async def all_known_to_their_carton(site: "Site", count: int) -> None:
    async def known() -> bool:
        changelog = await (await site.log(Topic.UNITS)).records()
        cartons = [decode_state(r.value) for r in changelog if r.key.decode() == CARTON]
        return bool(cartons) and len(cartons[-1].children) == count

    await site.until(known, READY_S_MAX)


@pytest.mark.long
async def test_a_batch_in_parts_that_a_rebalance_interrupts_is_exact(
    site: "Site", tmp_path: Path
) -> None:
    """It stands between two parts when the group forgets it: of the rest no part is begun, or the
    group would wait for it. What it had done by then is read again, and skipped."""
    settings = with_a_disk(site)
    children, moves = 1_000, 48  # for seconds: a heartbeat tells it within one
    packing: dict[str, Any] = {"business_step": BusinessStep.PACKING, "parent": CARTON}
    with started(settings, tmp_path, "tracker") as (tracker,):
        await send(site, [site.scan(f"{n}", 1, **packing) for n in range(children)])
        await all_known_to_their_carton(site, children)
        tracker.terminate()
        assert await asyncio.to_thread(tracker.status_within, 20.0) == 0
    assert children * moves / 4 > TOLD_MAX, "these are no parts"
    carton: dict[str, Any] = {"unit": CARTON, "business_step": BusinessStep.STORING}
    await send(
        site,
        [site.scan("carton", 10 + n, station=f"s-{n}", **carton) for n in range(moves)],
    )
    failing = {FAILPOINT: "stored:1:stop"}
    with started(settings, tmp_path, "tracker", environ=failing) as (tracker,):
        await stopped(site, tracker)
        group = f"{settings.topic_prefix}.tracker"
        assert await remove_members(settings, [group]) == 1
        tracker.process.send_signal(signal.SIGCONT)
        count = children + moves + children * moves

        async def all_moved() -> bool:
            assert tracker.process.poll() is None, tracker.log
            return len(await (await site.log(Topic.MOVEMENTS)).records()) >= count

        await site.until(all_moved, 2 * READY_S_MAX)
        await compare(site)
        assert len(await movements_by_version(site)) == count
        replayed = await site.until(lambda: processed(tracker, "replayed"))  # it is busy
        assert 0 < replayed < moves
