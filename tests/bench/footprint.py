"""What a scan costs each stage, in bytes on disk and in CPU, and how that grows with the units.

`docs/scale.md` makes machines and disks of these figures.
"""

import asyncio
import json
import random
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg

from bench import inventory
from bench.feed import Feed
from bench.installation import (
    Ends,
    Pace,
    Usage,
    installed,
    leave_only,
    pace_until,
    pid_of,
    postgres_cpu_s,
    reach,
)
from bench.inventory import FEW, MANY
from bench.load import load_http
from bench.load_http import HttpJob, HttpRequest
from bench.measure import Measure, Part, Unfinished, say
from bench.rows import stored_offsets
from bench.tracker import has_not_ended, own_settings, start
from bench.tracker_store import publish_states, until_ready
from bench.workload import PATH, code, encoded, publish, scans
from scantrail.cli.stack import PROCESSES, Stack
from scantrail.cli.supervisor import python_command
from scantrail.contracts.records import encode_state
from scantrail.contracts.topics import Topic, topic_specs
from scantrail.domain.custody import UnitState, observe
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import apply_topics, name_of

# ------------------------------------------------------------------------------ through the chain

UNITS = 20_000
SCANS = UNITS * len(PATH)
SCANS_PER_S = 1_000
BATCH = 20
#: As fast as it goes.
FULL_BATCH = 100
CONNECTIONS = 16

#: A batch as large as the tracker sends where it is busy.
ZLIB_BYTES = 64 << 10

#: The tables to which every scan leads.
TABLES = ("movement", "unit")

CHAIN_NAMES = (
    "bytes_per_scan_scans",
    "bytes_per_scan_movements",
    "bytes_per_scan_units",
    "bytes_per_scan_rows",
    "bytes_per_scan_wal",
    "cpu_us_per_scan",
    "cpu_us_per_scan_at_full_speed",
)


def measure_chain() -> list[Measure]:
    """20,000 units are scanned at five places each, posted in batches of 20 at 1,000 scans/s, every
    process running. When all rows are there, by the scans:

    `bytes_per_scan_scans`, `…_movements`, `…_units`: what Kafka's files have of that topic, with
    one copy, `units` before it is compacted
    `bytes_per_scan_rows`: what PostgreSQL's files have of rows and indexes, after a VACUUM
    `bytes_per_scan_wal`: what PostgreSQL wrote ahead
    `cpu_us_per_scan`: the CPU time of all processes, Kafka and PostgreSQL among them, in the detail
    each one's
    `cpu_us_per_scan_at_full_speed`: the same of 20,000 other units, in batches of 100, each posted
    when one before it is answered
    """
    readers = [
        f'[[reader]]\nid = "{place.reader}"\nstation = "{place.station}"\n'
        'protocol = "http-generic"\n'
        for place in PATH
    ]
    with installed("\n".join(readers)) as stack:
        return asyncio.run(_measure_chain(stack))


async def _measure_chain(stack: Stack) -> list[Measure]:
    before, topics_before = await _disk(stack), _topic_bytes(stack)
    paced = await _load(stack, 0, _posts(0, BATCH, SCANS_PER_S))
    after = await _disk(stack)
    topics = {
        name: (size - topics_before[name]) / SCANS for name, size in _topic_bytes(stack).items()
    }
    tables = {name: (after[name] - before[name]) / SCANS for name in TABLES}
    zlib_ratio = _zlib_ratio(stack, Topic.MOVEMENTS)
    full = await _load(stack, SCANS, _posts(UNITS, FULL_BATCH, None))
    size = {"scans": SCANS, "units": UNITS, "scans_per_s": SCANS_PER_S}

    def measure(name: str, value: float, **detail: Any) -> Measure:
        return Measure(name=name, value=round(value), unit="bytes", detail={**size, **detail})

    wal = (after["wal"] - before["wal"]) / SCANS
    return [
        measure("bytes_per_scan_scans", topics["scans"], topics=_rounded(topics)),
        measure("bytes_per_scan_movements", topics["movements"], zlib_ratio=round(zlib_ratio, 3)),
        measure("bytes_per_scan_units", topics["units"]),
        measure("bytes_per_scan_rows", sum(tables.values()), tables=_rounded(tables)),
        measure("bytes_per_scan_wal", wal),
        paced.measure("cpu_us_per_scan"),
        full.measure("cpu_us_per_scan_at_full_speed"),
    ]


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What a load used, of each process, and how long it took until all rows were there."""

    cpu_us: dict[str, float]
    seconds: float

    def measure(self, name: str) -> Measure:
        """All processes together; in the detail each."""
        return Measure(
            name=name,
            value=round(sum(self.cpu_us.values())),
            unit="us",
            detail={
                "scans": SCANS,
                "scans_per_s": round(SCANS / self.seconds),
                "processes": {name: round(us, 1) for name, us in self.cpu_us.items()},
            },
        )


async def _load(stack: Stack, there: int, posts: list[HttpRequest]) -> _Loaded:
    """Send them, and wait for all rows; `there` are some already."""
    began, before = time.monotonic(), _cpu_s(stack)
    answers = await load_http(HttpJob(stack.settings.gateway_url, CONNECTIONS, posts))
    if refused := [answer.status for answer in answers if answer.status >= 300]:
        raise Unfinished(f"{len(refused)} of {len(answers)} posts were refused: {refused[0]}")
    async with stored_offsets(stack.settings) as offsets:
        await reach(there + SCANS, offsets.count)
        seconds = time.monotonic() - began
        cpu_us = {name: (used - before[name]) / SCANS * 1e6 for name, used in _cpu_s(stack).items()}
        if (count := await offsets.rows("movement")) != there + SCANS:
            raise Unfinished(f"{count:,} rows of {there + SCANS:,} are there")
    say(f"{SCANS:,} scans in {seconds:.0f} s: {cpu_us}")
    return _Loaded(cpu_us, seconds)


def _posts(first_unit: int, batch: int, per_s: int | None) -> list[HttpRequest]:
    """Every unit at the first place of the path, then every unit at the next, and so on; at that
    pace, or as fast as they are answered."""
    began, posts = time.time(), []
    for first in range(0, SCANS, batch):
        place = PATH[first // UNITS]
        reads = [
            {
                "code": code(first_unit + n % UNITS),
                "event_id": f"{first_unit}-{n}",
                "timestamp": began + n / SCANS_PER_S,
            }
            for n in range(first, first + batch)
        ]
        due_s = first / per_s if per_s else 0.0
        path = f"/ingest/v1/generic?reader={place.reader}"
        posts.append(HttpRequest(due_s, "POST", path, json.dumps({"reads": reads})))
    return posts


def _cpu_s(stack: Stack) -> dict[str, float]:
    used = {name: Usage.of(pid_of(stack, name)).cpu_s for name in PROCESSES}
    if stack.kafka is None or stack.kafka.pid is None:
        raise Unfinished("Kafka does not run")
    used["kafka"] = Usage.of(stack.kafka.pid).cpu_s
    return {**used, "postgres": postgres_cpu_s(stack)}


def _topic_bytes(stack: Stack) -> dict[str, int]:
    """What the broker's log files have of each topic, without their indexes."""
    if stack.kafka is None:
        raise Unfinished("Kafka's files are not on this machine")
    folder = stack.kafka.folder / "data"
    return {
        spec.topic.value: sum(
            path.stat().st_size
            for path in folder.glob(f"{name_of(stack.settings, spec.topic)}-*/*.log")
        )
        for spec in topic_specs()
    }


def _zlib_ratio(stack: Stack, topic: Topic) -> float:
    """What zlib makes of the topic's newest file, batches of ZLIB_BYTES at a time."""
    folder = Path() if stack.kafka is None else stack.kafka.folder / "data"
    newest = max(folder.glob(f"{name_of(stack.settings, topic)}-0/*.log"))
    data = newest.read_bytes()
    parts = [data[at : at + ZLIB_BYTES] for at in range(0, len(data), ZLIB_BYTES)]
    return sum(len(zlib.compress(part)) for part in parts) / len(data)


async def _disk(stack: Stack) -> dict[str, int]:
    """Bytes of each of TABLES, indexes included, and of all that was written ahead."""
    url = stack.settings.database_url
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as database:
        await database.execute("VACUUM movement, unit")
        sizes = ", ".join(  # `movement` has a part for each month
            f"(SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('{table}'))"
            for table in TABLES
        )
        asked = await database.execute(
            f"SELECT {sizes}, pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"
        )
        row = await asked.fetchone()
    if row is None or not all(row):
        raise Unfinished(f"PostgreSQL did not tell its sizes: {row}")
    return dict(zip((*TABLES, "wal"), map(int, row), strict=True))


def _rounded(values: dict[str, float]) -> dict[str, int]:
    return {name: round(value) for name, value in values.items() if round(value)}


CHAIN = Part(names=CHAIN_NAMES, run=measure_chain)


# ---------------------------------------------------------------------------- with ever more units

GROWTH_SCANS = 50_000
#: Scans of one unit, a place of the path each, after which its state is weighed.
WEIGHED_AFTER = (1, 5, 10, 16, 20, 40)

TRACKER = "tracker_grown"


def measure_tracker_growth() -> list[Measure]:
    """`tracker_cpu_growth`: CPU per scan of a tracker with 1,000,000 units in its RocksDB by that
    of one with 100,000; each folds 50,000 scans of random ones. `bytes_per_unit_store`: its
    RocksDB's files by unit, most of them of one scan; in the detail what a state weighs after more.
    """
    with installed() as stack:
        leave_only(stack)
        return asyncio.run(_measure_tracker_growth(stack, FEW, MANY))


async def _measure_tracker_growth(stack: Stack, *units: int) -> list[Measure]:
    grown = {count: await _tracker_with(stack, count) for count in units}
    few, many = grown[units[0]], grown[units[-1]]
    detail = {f"{count:_}_units": each.detail() for count, each in grown.items()}
    return [
        Measure(
            name="tracker_cpu_growth",
            value=round(many.pace.cpu_us_per_scan / few.pace.cpu_us_per_scan, 2),
            unit="ratio",
            detail=detail,
        ),
        Measure(
            name="bytes_per_unit_store",
            value=round(many.store_bytes / many.units),
            unit="bytes",
            detail={**detail, "state_bytes_after_scans": weigh_states()},
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Tracker:
    """A tracker that had so many units, and what it used."""

    units: int
    pace: Pace
    ready_s: float
    state_bytes: float
    store_bytes: int
    changelog_bytes: int

    def detail(self) -> dict[str, float]:
        """Rounded, for a line of output."""
        return {
            **self.pace.detail(),
            "ready_s": round(self.ready_s, 1),
            "state_bytes": round(self.state_bytes),
            "store_bytes_per_unit": round(self.store_bytes / self.units),
            "changelog_bytes_per_unit": round(self.changelog_bytes / self.units),
        }


async def _tracker_with(stack: Stack, units: int) -> _Tracker:
    """Let a tracker with an empty disk have these units, and fold scans of some of them."""
    settings = own_settings(stack, f"of-{units}")
    await apply_topics(settings)
    state_bytes = await publish_states(settings, units)
    changelog_bytes = _bytes_of(stack, settings, Topic.UNITS)
    begin = time.monotonic()
    start(stack, TRACKER, python_command("scantrail.tracker"), settings.environ())
    ready = await until_ready(stack, TRACKER, settings, units, begin)
    chosen: Sequence[int] = random.Random(1).choices(range(units), k=GROWTH_SCANS)
    records = encoded(scans(chosen, PATH[1:2]), settings.partitions)
    await publish(settings, name_of(settings, Topic.SCANS), records)
    async with Ends(settings, Topic.MOVEMENTS) as made:

        async def count() -> int:
            has_not_ended(stack, TRACKER)
            return await made.count()

        pace = await pace_until(GROWTH_SCANS, lambda: pid_of(stack, TRACKER), count)
    stack.supervisor.stop(TRACKER)
    store = Path(settings.data_dir) / f"tracker-{settings.tracker_ordinal}"
    told = _Tracker(
        units, pace, ready["ready_s"], state_bytes, folder_bytes(store), changelog_bytes
    )
    say(f"{units:,} units: {told.detail()}")
    return told


def _bytes_of(stack: Stack, settings: Settings, topic: Topic) -> int:
    if stack.kafka is None:
        raise Unfinished("Kafka's files are not on this machine")
    files = (stack.kafka.folder / "data").glob(f"{name_of(settings, topic)}-*/*.log")
    return sum(path.stat().st_size for path in files)


def folder_bytes(folder: Path) -> int:
    """What the files in it have, those in folders within it too."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def weigh_states() -> dict[str, int]:
    """Bytes of a unit's state after so many scans, five a day."""
    weights: dict[str, int] = {}
    state: UnitState | None = None
    for count in range(1, max(WEIGHED_AFTER) + 1):
        day, place = divmod(count - 1, len(PATH))
        (scan,) = scans(1, PATH[place : place + 1], run=day)
        at = scan.event_time + timedelta(hours=place)
        scan = replace(scan, event_id=f"{scan.reader}.bench.{count}", event_time=at)
        state = observe(state, scan, offset=count).state
        if count in WEIGHED_AFTER:
            weights[str(count)] = len(encode_state(state))
    return weights


TRACKER_GROWTH = Part(
    names=("tracker_cpu_growth", "bytes_per_unit_store"), run=measure_tracker_growth
)


def measure_projector_growth() -> list[Measure]:
    """`projector_cpu_growth`: CPU per scan of projector and PostgreSQL together with 1,000,000
    units in the database by that with 100,000; each writes 50,000 movements, eight of ten of units
    that are there. `bytes_per_row`: PostgreSQL's files by row of `movement`, indexes included.
    """
    with installed() as stack:
        leave_only(stack)
        return asyncio.run(_measure_projector_growth(stack))


async def _measure_projector_growth(stack: Stack) -> list[Measure]:
    grown: dict[int, dict[str, float]] = {}
    feed = Feed(stack.settings, FEW)
    for begin, end in ((0, FEW), (FEW, MANY)):
        inventory.fill(stack.settings.database_url, range(begin, end))
        feed.units = end
        sizes = await _disk(stack)
        rows = sum(map(inventory.versions, range(end))) + feed.published
        told = {
            "movement_bytes_per_row": round(sizes["movement"] / rows),
            "unit_bytes_per_row": round(sizes["unit"] / (end + feed.new)),
        }
        grown[end] = await _project(stack, feed) | told
        say(f"{end:,} units: {grown[end]}")
    few, many = grown[FEW], grown[MANY]
    detail = {f"{count:_}_units": each for count, each in grown.items()}
    return [
        Measure(
            name="projector_cpu_growth",
            value=round(_cpu_us(many) / _cpu_us(few), 2),
            unit="ratio",
            detail=detail,
        ),
        Measure(
            name="bytes_per_row",
            value=many["movement_bytes_per_row"],
            unit="bytes",
            detail=detail,
        ),
    ]


async def _project(stack: Stack, feed: Feed) -> dict[str, float]:
    """Let the projector write the next movements; what that took."""
    await feed.publish(GROWTH_SCANS)
    async with stored_offsets(stack.settings) as offsets:
        before = postgres_cpu_s(stack)
        stack.supervisor.restart("projector")

        async def count() -> int:
            has_not_ended(stack, "projector")
            return await offsets.count()

        pace = await pace_until(feed.published, lambda: pid_of(stack, "projector"), count)
    postgres_us = (postgres_cpu_s(stack) - before) / GROWTH_SCANS * 1e6
    stack.supervisor.stop("projector")
    return {**pace.detail(), "postgres_cpu_us_per_scan": round(postgres_us, 1)}


def _cpu_us(run: dict[str, float]) -> float:
    return run["cpu_us_per_scan"] + run["postgres_cpu_us_per_scan"]


PROJECTOR_GROWTH = Part(
    names=("projector_cpu_growth", "bytes_per_row"), run=measure_projector_growth
)
