"""How fast movements become rows."""

import asyncio

from bench.installation import Ends, Pace, installed, leave_only, pace_until, pid_of, reach
from bench.measure import Measure, Part, Unfinished, say
from bench.rows import stored_offsets
from bench.workload import PATH, SCANS, UNITS, encoded, publish, scans
from scantrail.cli.stack import Stack
from scantrail.contracts.topics import Topic
from scantrail.infra.topic_admin import name_of


def measure_projector() -> list[Measure]:
    """`projector_scans_per_s`: 100,000 movements of 20,000 units wait in `movements`, the database
    is empty; from the first stored offset to that of the last movement. The detail `rows_present`
    is the same again, with the next 100,000 movements of the same units.
    """
    with installed() as stack:
        leave_only(stack)
        return asyncio.run(_measure(stack))


async def _measure(stack: Stack) -> list[Measure]:
    empty = await _project(stack, run=0)
    rows_present = await _project(stack, run=1)
    return [
        Measure(
            name="projector_scans_per_s",
            value=round(empty.scans_per_s),
            unit="scans/s",
            detail={
                "scans": SCANS,
                "units": UNITS,
                "empty": empty.detail(),
                "rows_present": rows_present.detail(),
            },
        )
    ]


async def _project(stack: Stack, *, run: int) -> Pace:
    settings, goal = stack.settings, (run + 1) * SCANS
    records = encoded(scans(UNITS, PATH, run=run), settings.partitions)
    await publish(settings, name_of(settings, Topic.SCANS), records)
    stack.supervisor.restart("tracker")
    async with Ends(settings, Topic.MOVEMENTS) as movements:
        await reach(goal, movements.count)
    stack.supervisor.stop("tracker")
    say(f"{goal:,} movements are there")

    async with stored_offsets(settings) as offsets:
        stack.supervisor.restart("projector")
        pace = await pace_until(goal, lambda: pid_of(stack, "projector"), offsets.count)
        stack.supervisor.stop("projector")
        if (count := await offsets.rows("movement")) != goal:
            raise Unfinished(f"movement has {count:,} rows, not {goal:,}")
    say(f"projector: {pace.scans_per_s:,.0f} scans/s, {pace.cpu_us_per_scan:.1f} us of CPU each")
    return pace


PART = Part(names=("projector_scans_per_s",), run=measure_projector)
