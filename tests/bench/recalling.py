"""Units of the workload under recall, over the API."""

import asyncio
import time
from collections.abc import Sequence

import httpx

from bench.measure import Unfinished, say
from bench.workload import gtin, serial
from scantrail.cli.addresses import page_address
from scantrail.infra.settings import Settings

PUBLISHED_S_MAX = 60.0


async def recall(settings: Settings, numbers: Sequence[int]) -> None:
    """Enter units as one notice per product; return once these are published."""
    async with httpx.AsyncClient(base_url=page_address(settings), timeout=30) as api:
        for product in sorted({gtin(n) for n in numbers}):
            serials = [serial(n) for n in numbers if gtin(n) == product]
            notice = {
                "id": f"bench-{product}",
                "title": "Bench",
                "reason": "Bench",
                "products": [product],
                "selectors": [{"kind": "list", "serials": serials}],
            }
            answer = (await api.post("/recalls", json=notice)).raise_for_status()
            deadline = time.monotonic() + PUBLISHED_S_MAX
            while not answer.json()["published"]:
                if time.monotonic() > deadline:
                    raise Unfinished(f"recall {notice['id']} is not published")
                await asyncio.sleep(0.2)
                answer = (await api.get(f"/recalls/{notice['id']}")).raise_for_status()
    say(f"{len(numbers)} units are recalled")
