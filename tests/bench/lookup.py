"""How long a person waits for "where is it"."""

import asyncio
import random
from urllib.parse import quote

from bench.installation import Usage, installed, leave_only, pid_of, reach
from bench.load import load_http
from bench.load_http import HttpJob, HttpRequest
from bench.measure import Measure, Part, Unfinished, milliseconds, percentile, say
from bench.rows import stored_offsets
from bench.workload import code, encoded, publish, scans
from scantrail.cli.addresses import page_address
from scantrail.cli.site import DOCK
from scantrail.cli.stack import Stack
from scantrail.contracts.topics import Topic
from scantrail.infra.topic_admin import name_of

UNITS = 100_000
PER_S = 200
SECONDS = 20
CONNECTIONS = 32
SEED = 1


def measure_lookup() -> list[Measure]:
    """`lookup_p50_ms`, `lookup_p99_ms`: 100,000 units are in the database, each scanned once;
    random ones are asked for by their element string, 200 times a second for 20 s, at set times;
    from when `GET /units/{element string}` is due to the end of its answer.
    """
    with installed() as stack:
        leave_only(stack, "api", "tracker", "projector")
        return asyncio.run(_measure(stack))


async def _measure(stack: Stack) -> list[Measure]:
    await fill(stack)
    leave_only(stack, "api")
    chosen = random.Random(SEED)
    requests = [
        HttpRequest(n / PER_S, "GET", f"/units/{quote(code(chosen.randrange(UNITS)), safe='')}")
        for n in range(PER_S * SECONDS)
    ]
    begin = Usage.of(pid_of(stack, "api"))
    base_url = page_address(stack.settings).rstrip("/")
    answers = await load_http(HttpJob(base_url, CONNECTIONS, requests))
    end = Usage.of(pid_of(stack, "api"))
    waits = [milliseconds(answer.due_ns, answer.answered_ns) for answer in answers]
    late = [milliseconds(answer.due_ns, answer.sent_ns) for answer in answers]
    cpu_s = end.cpu_s - begin.cpu_s
    detail = {
        "units": UNITS,
        "requests": len(requests),
        "per_s": PER_S,
        "ms": {f"p{p}": round(percentile(waits, p), 2) for p in (50, 90, 99, 100)},
        "sent_late_ms_p99": round(percentile(late, 99), 2),
        "cpu_us_per_request": round(cpu_s / len(requests) * 1e6),
        "rss_mb": round(end.rss_mb),
    }
    return [
        Measure(
            name=f"lookup_p{p}_ms", value=round(percentile(waits, p), 2), unit="ms", detail=detail
        )
        for p in (50, 99)
    ]


async def fill(stack: Stack) -> None:
    """Every unit is scanned once, through the tracker and the projector."""
    settings = stack.settings
    records = encoded(scans(UNITS, (DOCK,)), settings.partitions)
    await publish(settings, name_of(settings, Topic.SCANS), records)
    async with stored_offsets(settings) as offsets:
        await reach(UNITS, offsets.count)
        if (count := await offsets.rows("unit")) != UNITS:
            raise Unfinished(f"unit has {count:,} rows, not {UNITS:,}")
    say(f"{UNITS:,} units are in the database")


PART = Part(names=("lookup_p50_ms", "lookup_p99_ms"), run=measure_lookup)
