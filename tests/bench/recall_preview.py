"""How long quality waits for "which units does this notice mean, and where are they"."""

import asyncio
import random
import time
from typing import Any

import httpx

from bench import inventory
from bench.installation import Usage, installed, leave_only, pid_of, postgres_cpu_s
from bench.measure import Measure, Part, Unfinished, say
from scantrail.cli.addresses import page_address
from scantrail.cli.stack import Stack

UNITS = 1_000_000
LISTED = 100_000
RUNS = 5
SEED = 1
#: Of ten million serials a tenth, of all products.
RANGE = {"kind": "range", "low": "SN0000000", "high": "SN0999999"}


def measure_preview() -> list[Measure]:
    """`recall_preview_range_s`: 1,000,000 units are in the database; a draft names a range of
    1,000,000 serials of any product, and `GET /recalls/{id}/preview` tells where its units are:
    from the request to the end of the answer, the slowest of five. `recall_preview_list_s`: the
    same of 100,000 serials that the draft lists. The detail says how long it took to enter.
    """
    with installed() as stack:
        leave_only(stack, "api")
        return asyncio.run(_measure(stack))


async def _measure(stack: Stack) -> list[Measure]:
    inventory.fill(stack.settings.database_url, range(UNITS))
    numbers = random.Random(SEED).sample(range(UNITS), LISTED)
    listed = {"kind": "list", "serials": [inventory.serial(n) for n in numbers]}
    in_range = sum(RANGE["low"] <= inventory.serial(n) <= RANGE["high"] for n in range(UNITS))
    phones = sum(inventory.key(n).startswith("imei:") for n in numbers)
    wanted = {"range": in_range - _phones_in_range(), "list": LISTED - phones}
    return [
        await _preview(stack, "range", RANGE, wanted["range"]),
        await _preview(stack, "list", listed, wanted["list"]),
    ]


def _phones_in_range() -> int:
    """A phone's key is its IMEI: its maker's serial is told by nothing but its other id."""
    return sum(
        RANGE["low"] <= inventory.serial(n) <= RANGE["high"]
        for n in range(UNITS)
        if inventory.key(n).startswith("imei:")
    )


async def _preview(stack: Stack, name: str, selector: dict[str, Any], units: int) -> Measure:
    draft = {"id": name, "title": "Bench", "reason": "Bench", "status": "draft"}
    async with httpx.AsyncClient(base_url=page_address(stack.settings), timeout=60) as api:
        at = time.perf_counter()
        entered = await api.post("/recalls", json=draft | {"selectors": [selector]})
        entered.raise_for_status()
        entered_s = time.perf_counter() - at
        begin, postgres_s = Usage.of(pid_of(stack, "api")), postgres_cpu_s(stack)
        took_s = []
        for _ in range(RUNS):
            at = time.perf_counter()
            told = (await api.get(f"/recalls/{name}/preview")).raise_for_status().json()
            took_s.append(time.perf_counter() - at)
            if told["units"] != units:
                raise Unfinished(f"{name}: {told['units']:,} units are told, not {units:,}")
        end = Usage.of(pid_of(stack, "api"))
    say(f"{name}: {units:,} units in {max(took_s):.2f} s")
    return Measure(
        name=f"recall_preview_{name}_s",
        value=round(max(took_s), 2),
        unit="s",
        detail={
            "units": UNITS,
            "meant": units,
            "seconds": [round(each, 2) for each in took_s],
            "entered_s": round(entered_s, 2),
            "api_cpu_s": round((end.cpu_s - begin.cpu_s) / RUNS, 2),
            "postgres_cpu_s": round((postgres_cpu_s(stack) - postgres_s) / RUNS, 2),
        },
    )


PART = Part(names=("recall_preview_range_s", "recall_preview_list_s"), run=measure_preview)
