"""How long an advance notice of 10,000 serials takes, from the file to its comparison."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from bench.installation import Usage, installed, leave_only, pid_of, reach
from bench.measure import Measure, Part, Unfinished, say
from bench.rows import stored_offsets
from bench.workload import code, encoded, gtin, publish, scans, serial
from scantrail.cli.addresses import page_address
from scantrail.cli.site import DOCK
from scantrail.cli.stack import Stack
from scantrail.contracts.topics import Topic
from scantrail.infra.topic_admin import name_of

UNITS = 100_000
SERIALS = 10_000
RUNS = 5


def measure_receiving() -> list[Measure]:
    """`receive_10000_s`: 100,000 units are in the database, each received once; a notice of 10,000
    of them is entered as CSV, a serial a line, and its progress asked for, which must find all of
    them received: from the request with the file to the end of the answer. The slowest of five
    notices, each of other units. In the detail the same as JSON, and a notice replaced.
    """
    with installed() as stack:
        leave_only(stack, "api", "tracker", "projector")
        return asyncio.run(_measure(stack))


async def _measure(stack: Stack) -> list[Measure]:
    await _fill(stack)
    leave_only(stack, "api")
    since = (datetime.now(UTC) - timedelta(days=3)).isoformat()
    begin = Usage.of(pid_of(stack, "api"))
    base_url = page_address(stack.settings)
    async with httpx.AsyncClient(base_url=base_url, timeout=60) as api:

        async def timed(name: str, request: Callable[[str], Any]) -> float:
            at = time.perf_counter()
            entered = await request(f"/advance-notices/{name}")
            entered.raise_for_status()
            told = (await api.get(f"/advance-notices/{name}/progress")).raise_for_status().json()
            took_s = time.perf_counter() - at
            if (told["counts"]["received"], told["is_complete"]) != (SERIALS, True):
                raise Unfinished(f"not all was received: {told['counts']}")
            return took_s

        head = {"supplier": "maker", "site": DOCK.site, "since": since}
        csv_s, json_s = [], []
        for run in range(RUNS):
            numbers = range(run * SERIALS, (run + 1) * SERIALS)
            lines = "".join(f"{gtin(n)},{serial(n)}\n" for n in numbers)
            file = ("product,serial\n" + lines).encode()
            csv_s.append(
                await timed(
                    f"csv-{run}",
                    lambda at, file=file: api.put(f"{at}/csv", params=head, content=file),
                )
            )
            codes = [{"codes": [code(n) for n in numbers]}]
            body = {**head, "lines": codes}
            json_s.append(await timed(f"json-{run}", lambda at, body=body: api.put(at, json=body)))
        again_s = await timed(
            "json-0",
            lambda at: api.put(
                at, json={**head, "lines": [{"codes": [code(n) for n in range(SERIALS)]}]}
            ),
        )
    end = Usage.of(pid_of(stack, "api"))
    detail = {
        "units": UNITS,
        "serials": SERIALS,
        "csv_s": [round(each, 2) for each in csv_s],
        "json_s": [round(each, 2) for each in json_s],
        "replaced_s": round(again_s, 2),
        "cpu_s": round((end.cpu_s - begin.cpu_s) / (2 * RUNS + 1), 2),
        "rss_mb": round(end.rss_mb),
    }
    value = round(max(csv_s), 2)
    return [Measure(name="receive_10000_s", value=value, unit="s", detail=detail)]


async def _fill(stack: Stack) -> None:
    """Every unit is scanned once, through the tracker and the projector."""
    settings = stack.settings
    records = encoded(scans(UNITS, (DOCK,)), settings.partitions)
    await publish(settings, name_of(settings, Topic.SCANS), records)
    async with stored_offsets(settings) as offsets:
        await reach(UNITS, offsets.count)
        if (count := await offsets.rows("unit")) != UNITS:
            raise Unfinished(f"unit has {count:,} rows, not {UNITS:,}")
    say(f"{UNITS:,} units are in the database")


PART = Part(names=("receive_10000_s",), run=measure_receiving)
