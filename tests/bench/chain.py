"""How long one scan takes through all processes."""

import asyncio
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from bench.installation import Usage, installed, pid_of, reach
from bench.load import load_http
from bench.load_http import HttpAnswer, HttpJob, HttpRequest
from bench.measure import Measure, Part, Unfinished, milliseconds, percentile
from bench.recalling import recall
from bench.rows import Offsets, stored_offsets
from bench.workload import code
from scantrail.cli.site import GATE, SHELF, Place
from scantrail.cli.stack import PROCESSES, Stack
from scantrail.contracts.records import alerts
from scantrail.contracts.topics import Topic
from scantrail.domain.alert import AlertKind
from scantrail.infra.kafka import connect_consumer
from scantrail.infra.settings import Settings

SCANS_PER_S = 500
SECONDS = 200
BATCH = 5
SCANS = SCANS_PER_S * SECONDS
#: Each second batch is read at the gate, and of these batches each fifth has a recalled unit.
RECALLED = tuple(range(0, SCANS, 10 * BATCH))
CONNECTIONS = 32
POLL_S = 0.003
SETTLE_S_MAX = 30.0

NAMES = (
    "scan_to_movement_p50_ms",
    "scan_to_movement_p99_ms",
    "scan_to_alert_p50_ms",
    "scan_to_alert_p99_ms",
    "scan_to_row_p50_ms",
    "scan_to_row_p99_ms",
)


def measure_chain() -> list[Measure]:
    """500 scans/s of different units for 200 s, posted in batches of 5 at set times, every process
    running; 2 % are of recalled units at the gate. From when its POST is due, for each scan:

    `scan_to_movement_…`: to its record of `movements` in the hands of a consumer
    `scan_to_alert_…`: to its record of `alerts` in the hands of a consumer
    `scan_to_row_…`: to the first sight of its row in PostgreSQL. Rows and offsets are committed
    together, so it is the stored offset that is looked at; the detail says how often.
    """
    readers = [
        f'[[reader]]\nid = "{place.reader}"\nstation = "{place.station}"\n'
        'protocol = "http-generic"\n'
        for place in (SHELF, GATE)
    ]
    with installed("\n".join(readers)) as stack:
        return asyncio.run(_measure(stack))


@dataclass(slots=True)
class Sightings:
    """time.monotonic_ns of what was seen, by the read that caused it."""

    movement: dict[int, int] = field(default_factory=dict)
    alert: dict[int, int] = field(default_factory=dict)
    #: partition -> the reads of its movements, in the order of their offsets
    reads: dict[int, list[int]] = field(default_factory=dict)
    #: (partition, next offset, when it was first seen in the database)
    stored: list[tuple[int, int, int]] = field(default_factory=list)
    polls_ms: list[float] = field(default_factory=list)

    def rows(self) -> dict[int, int]:
        """When the row of each read was first seen."""
        found: dict[int, int] = {}
        done: dict[int, int] = {}
        for partition, offset, at_ns in self.stored:
            for number in self.reads[partition][done.get(partition, 0) : offset]:
                found[number] = at_ns
            done[partition] = offset
        return found


async def _measure(stack: Stack) -> list[Measure]:
    settings, seen = stack.settings, Sightings()
    await recall(settings, RECALLED)
    async with stored_offsets(settings) as offsets:
        watching = [
            asyncio.create_task(_watch_movements(settings, seen)),
            asyncio.create_task(_watch_alerts(settings, seen)),
            asyncio.create_task(_watch_rows(offsets, seen)),
        ]
        try:
            await asyncio.sleep(1.0)
            before = _usage(stack)
            posts = [_post(first) for first in range(0, SCANS, BATCH)]
            answers = await load_http(HttpJob(settings.gateway_url, CONNECTIONS, posts))
            after = _usage(stack)
            await reach(SCANS, offsets.count)
            await _until_all_seen(seen, watching)
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
        if (count := await offsets.rows("movement")) != SCANS or len(seen.rows()) != SCANS:
            raise Unfinished(
                f"{count:,} rows of {SCANS:,} are there, {len(seen.rows()):,} were seen"
            )
    return _results(answers, seen, before, after)


def _post(first: int) -> HttpRequest:
    place = _place(first)
    at = time.time()
    reads = [
        {"code": code(n), "event_id": str(n), "timestamp": at + n / SCANS_PER_S}
        for n in range(first, first + BATCH)
    ]
    path = f"/ingest/v1/generic?reader={place.reader}"
    return HttpRequest(first / SCANS_PER_S, "POST", path, json.dumps({"reads": reads}))


def _place(number: int) -> Place:
    """Where read `number` is made: batches alternate."""
    return (GATE, SHELF)[number // BATCH % 2]


async def _watch_movements(settings: Settings, seen: Sightings) -> None:
    consumer = await connect_consumer(settings, Topic.MOVEMENTS)
    try:
        while True:
            batch = await consumer.getmany(timeout_ms=1000)
            now = time.monotonic_ns()
            for tp, records in batch.items():
                for record in records:
                    number = _number(dict(record.headers)["ce_id"].decode())
                    seen.movement.setdefault(number, now)
                    seen.reads.setdefault(tp.partition, []).append(number)
    finally:
        await consumer.stop()


async def _watch_alerts(settings: Settings, seen: Sightings) -> None:
    consumer = await connect_consumer(settings, Topic.ALERTS)
    try:
        while True:
            batch = await consumer.getmany(timeout_ms=1000)
            now = time.monotonic_ns()
            for records in batch.values():
                for record in records:
                    alert = alerts.decode(record.value)
                    if alert.kind is AlertKind.RECALLED_AT_SHIPPING:
                        seen.alert.setdefault(_number(alert.event_id), now)
    finally:
        await consumer.stop()


async def _watch_rows(offsets: Offsets, seen: Sightings) -> None:
    """Note when each stored offset was first seen; reads are told to it afterwards."""
    known: dict[int, int] = {}
    last_ns = time.monotonic_ns()
    while True:
        found = await offsets.by_partition()
        now = time.monotonic_ns()
        seen.polls_ms.append(milliseconds(last_ns, now))
        last_ns = now
        for partition, offset in found.items():
            if offset > known.get(partition, 0):
                known[partition] = offset
                seen.stored.append((partition, offset, now))
        await asyncio.sleep(POLL_S)


def _number(event_id: str) -> int:
    """The read that an event id of ours was minted for."""
    return int(event_id.rpartition("/")[2])


async def _until_all_seen(seen: Sightings, watching: list[asyncio.Task[None]]) -> None:
    """Raises Unfinished, or what ended a watcher."""
    deadline = time.monotonic() + SETTLE_S_MAX
    while len(seen.movement) < SCANS or len(seen.alert) < len(RECALLED):
        for task in watching:
            if task.done():
                task.result()
        if time.monotonic() > deadline:
            raise Unfinished(
                f"{len(seen.movement):,} of {SCANS:,} movements and {len(seen.alert)} of"
                f" {len(RECALLED)} alerts were seen"
            )
        await asyncio.sleep(0.1)


def _usage(stack: Stack) -> dict[str, Usage]:
    pids = {name: pid_of(stack, name) for name in PROCESSES}
    if stack.kafka is not None and stack.kafka.pid is not None:
        pids["kafka"] = stack.kafka.pid
    return {name: Usage.of(pid) for name, pid in pids.items()}


def _results(
    answers: list[HttpAnswer],
    seen: Sightings,
    before: dict[str, Usage],
    after: dict[str, Usage],
) -> list[Measure]:
    posted = {
        number: answer
        for place, answer in enumerate(answers)
        for number in range(place * BATCH, (place + 1) * BATCH)
    }
    if set(seen.alert) != set(RECALLED):
        raise Unfinished(f"{len(seen.alert)} reads raised alerts, not {len(RECALLED)}")
    acks = [milliseconds(answer.due_ns, answer.answered_ns) for answer in answers]
    load = {
        "scans_per_s": SCANS_PER_S,
        "batch": BATCH,
        "posted_late_ms_p99": _round(
            percentile([milliseconds(a.due_ns, a.sent_ns) for a in answers], 99)
        ),
        "ack_ms": {f"p{p}": _round(percentile(acks, p)) for p in (50, 99)},
        "cpu_share_of_one_core": {
            name: round((after[name].cpu_s - was.cpu_s) / (after[name].at - was.at), 2)
            for name, was in before.items()
        },
    }
    polls = {f"poll_ms_p{p}": _round(percentile(seen.polls_ms, p)) for p in (50, 99)}
    measures = []
    for stage, told, detail in (
        ("movement", seen.movement, load),
        ("alert", seen.alert, load),
        ("row", seen.rows(), {**load, **polls}),
    ):
        spread = _spread(milliseconds(posted[n].due_ns, at_ns) for n, at_ns in told.items())
        from_sent = _spread(milliseconds(posted[n].sent_ns, at_ns) for n, at_ns in told.items())
        for p in (50, 99):
            measures.append(
                Measure(
                    name=f"scan_to_{stage}_p{p}_ms",
                    value=spread[f"p{p}"],
                    unit="ms",
                    detail={
                        "samples": len(told),
                        "ms": spread,
                        "ms_from_sent": from_sent,
                        **detail,
                    },
                )
            )
    return measures


def _spread(waits_ms: Iterable[float]) -> dict[str, float]:
    waits = list(waits_ms)
    return {f"p{p}": _round(percentile(waits, p)) for p in (50, 90, 99, 100)}


def _round(value: float) -> float:
    return round(value, 1)


PART = Part(names=NAMES, run=measure_chain)
