"""Which message goes first, and which are forgotten, with a real PostgreSQL and real sockets."""

import asyncio
import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from component.test_delivering import SECRET, receiving
from scantrail.api.delivering import SENDERS, deliver, prune_delivered
from scantrail.infra.database import connect_database

if TYPE_CHECKING:
    from integration.conftest import Site

NOW = datetime.now(UTC)


def put_webhook(site: "Site", webhook_id: str, port: int) -> None:
    site.execute(
        "INSERT INTO webhook VALUES (%s, 1, %s, %s, '[]', 'info')",
        webhook_id,
        f"http://127.0.0.1:{port}/alerts",
        SECRET,
    )


def put_message(
    site: "Site",
    webhook_id: str,
    number: int,
    at: datetime,
    state: str = "waiting",
    done_at: datetime | None = None,
) -> None:
    site.execute(
        "INSERT INTO webhook_delivery VALUES (%s, %s, 'a', '{}', %s, 0, %s, NULL, %s, %s)",
        webhook_id,
        f"a.open.{number}",
        state,
        at,
        at,
        done_at,
    )


async def test_a_receiver_that_does_not_answer_keeps_no_other_waiting_for_its_messages(
    site: "Site",
) -> None:
    settings = replace(
        site.settings,
        webhook_private_addresses="allow",
        webhook_timeout_s=0.5,
        webhook_backoff_s=60.0,
    )
    async with receiving(None) as silent, receiving() as other:
        put_webhook(site, "silent", silent.port)
        put_webhook(site, "other", other.port)
        for number in range(10 * SENDERS):
            put_message(site, "silent", number, NOW - timedelta(hours=1))
        delivering = asyncio.create_task(deliver(settings))
        try:
            await site.until(lambda: len(silent.requests) == SENDERS)
            for number in range(20):
                put_message(site, "other", number, NOW)
            await site.until(lambda: len(other.requests) == 20)
            assert len(silent.requests) <= 4 * SENDERS
        finally:
            delivering.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await delivering


async def test_what_was_delivered_long_ago_is_forgotten_and_what_waits_or_is_parked_is_not(
    site: "Site",
) -> None:
    put_webhook(site, "w-1", 1)
    old, new = NOW - timedelta(days=31), NOW
    put_message(site, "w-1", 1, old, "delivered", old)
    put_message(site, "w-1", 2, old, "delivered", new)
    put_message(site, "w-1", 3, old, "parked", old)
    put_message(site, "w-1", 4, old)
    engine = connect_database(site.settings)
    try:
        before = NOW - timedelta(days=30)
        assert [await prune_delivered(engine, before=before) for _ in range(2)] == [1, 0]
    finally:
        await engine.dispose()
    assert site.rows("SELECT id FROM webhook_delivery ORDER BY id") == [
        (f"a.open.{number}",) for number in (2, 3, 4)
    ]
    # The api does it by itself.
    put_message(site, "w-1", 5, old, "delivered", old)
    await site.start("api")
    gone = "SELECT count(*) FROM webhook_delivery WHERE id = 'a.open.5'"
    await site.until(lambda: site.rows(gone) == [(0,)])
