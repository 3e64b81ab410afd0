"""How long it takes until whoever has a recalled unit is known: one recall of much that is gone."""

import asyncio
import time
from itertools import islice
from typing import Any

import httpx
import psycopg

from bench import inventory
from bench.installation import Usage, installed, leave_only, pid_of, postgres_cpu_s
from bench.measure import Measure, Part, Unfinished, say
from scantrail.cli.addresses import page_address
from scantrail.cli.stack import Stack

UNITS = 1_000_000
SHIPPED = 100_000
PATIENCE_S = 900.0
LOOK_EVERY_S = 0.2
_GONE = 4  # the version by which a unit went out
_WATCHED = ("api", "alerter", "projector")


def measure_sweep() -> list[Measure]:
    """`recall_sweep_s`: 1,000,000 units are in the database; a recall lists 100,000 that were
    shipped: from the request to the alert of the last of them in PostgreSQL, each once. In the
    detail when the recall was swept, and what the processes used.
    """
    with installed() as stack:
        leave_only(stack, *_WATCHED)
        return asyncio.run(_measure(stack))


async def _measure(stack: Stack) -> list[Measure]:
    inventory.fill(stack.settings.database_url, range(UNITS))
    shipped = [
        inventory.serial(number) for number in islice(filter(_is_gone, range(UNITS)), SHIPPED)
    ]
    notice: dict[str, Any] = {
        "id": "sweep",
        "title": "Bench",
        "reason": "Bench",
        "selectors": [{"kind": "list", "serials": shipped}],
    }
    begin = {name: Usage.of(pid_of(stack, name)) for name in _WATCHED}
    postgres_s, at = postgres_cpu_s(stack), time.perf_counter()
    async with httpx.AsyncClient(base_url=page_address(stack.settings), timeout=60) as api:
        (await api.post("/recalls", json=notice)).raise_for_status()
    entered_s = time.perf_counter() - at
    swept_s: float | None = None
    connecting = psycopg.AsyncConnection.connect(stack.settings.database_url, autocommit=True)
    async with await connecting as database:
        while (alerts := await _count(database, "alert")) < SHIPPED or swept_s is None:
            if swept_s is None and await _count(database, "recall_sweep"):
                swept_s = time.perf_counter() - at
                say(f"swept after {swept_s:.1f} s, {alerts:,} alerts by then")
            if time.perf_counter() - at > PATIENCE_S:
                raise Unfinished(f"{alerts:,} of {SHIPPED:,} alerts after {PATIENCE_S:.0f} s")
            await asyncio.sleep(LOOK_EVERY_S)
        took_s = time.perf_counter() - at
        if alerts != SHIPPED:
            raise Unfinished(f"{alerts:,} alerts, not {SHIPPED:,}")
        repeats = await _count(database, "alert WHERE repeats > 0")
    used = {name: Usage.of(pid_of(stack, name)) for name in _WATCHED}
    detail = {
        "units": UNITS,
        "meant": SHIPPED,
        "entered_s": round(entered_s, 2),
        "swept_s": round(swept_s, 1),
        "told_twice": repeats,
        "cpu_s": {
            **{name: round(used[name].cpu_s - begin[name].cpu_s, 1) for name in _WATCHED},
            "postgres": round(postgres_cpu_s(stack) - postgres_s, 1),
        },
        "rss_mb": {name: round(used[name].rss_mb) for name in _WATCHED},
    }
    return [Measure(name="recall_sweep_s", value=round(took_s, 1), unit="s", detail=detail)]


def _is_gone(number: int) -> bool:
    return inventory.versions(number) == _GONE and inventory.key(number).startswith("sgtin:")


async def _count(database: psycopg.AsyncConnection, what: str) -> int:
    row = await (await database.execute(f"SELECT count(*) FROM {what}")).fetchone()
    return int(row[0]) if row else 0


PART = Part(names=("recall_sweep_s",), run=measure_sweep)
