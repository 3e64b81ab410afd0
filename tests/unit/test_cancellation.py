"""A process that is told to stop stops, whatever happens at that moment."""

import asyncio
import re
from pathlib import Path
from typing import Any, cast

import pytest

import scantrail
from scantrail.api.outbox import Outbox

SOURCES = sorted(Path(scantrail.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("turns", range(4))
async def test_the_outbox_is_cancelled_also_while_it_is_kicked(turns: int) -> None:
    outbox = Outbox(cast(Any, None), cast(Any, None))
    waiting = asyncio.create_task(outbox._wait())
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    outbox._kick.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    was_done = waiting.done()
    waiting.cancel()
    await asyncio.wait({waiting})

    assert was_done or waiting.cancelled()


def test_nothing_waits_in_a_way_that_can_swallow_its_cancellation() -> None:
    """asyncio.wait_for of Python 3.11 returns what was just ready instead of being cancelled: a
    loop around it goes on for ever. asyncio.timeout does not."""
    assert SOURCES
    found = [path.name for path in SOURCES if re.search(r"asyncio\.wait_for\(", path.read_text())]
    assert found == []
