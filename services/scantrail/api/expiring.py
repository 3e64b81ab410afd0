"""What is kept for a settled time goes when it is over, also where nobody asks for anything."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import delete, exists, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api.changes import KEPT_FOR as ANSWERS_KEPT_FOR
from scantrail.infra.database import is_away
from scantrail.infra.logs import logger
from scantrail.infra.tables import (
    epcis_capture,
    epcis_capture_event,
    idempotency,
    rejected,
    unit,
)

log = logger(__name__)

#: So long it can be asked what became of an EPCIS document.
CAPTURES_KEPT_FOR: Final = timedelta(days=30)

#: So long a read or a scan that was set aside can be sent again, and looked at: it has what was
#: read as it came, and that may name somebody.
REJECTED_KEPT_FOR: Final = timedelta(days=90)

LOOK_EVERY_S: Final = 3600.0

#: Documents of one transaction: each has up to 10,000 events.
CAPTURES_AT_ONCE: Final = 20

#: Rows of one transaction that were set aside.
REJECTED_AT_ONCE: Final = 5_000


async def expire(engine: AsyncEngine) -> None:
    """Every hour, until cancelled; waits while PostgreSQL is away."""
    while True:
        try:
            await expire_once(engine, now=datetime.now(UTC))
        except DBAPIError as error:
            if not is_away(error):
                raise
            log.warning("database is away", reason=str(error.orig))
        await asyncio.sleep(LOOK_EVERY_S)


async def expire_once(engine: AsyncEngine, *, now: datetime) -> None:
    """Forget answers to requests that come again no more, jobs of EPCIS documents, and what was set
    aside long ago."""
    old = delete(idempotency).where(idempotency.c.at <= now - ANSWERS_KEPT_FOR)
    async with engine.begin() as connection:
        await connection.execute(old)
    while await _expire_captures(engine, before=now - CAPTURES_KEPT_FOR):
        pass
    while await _expire_rejected(engine, before=now - REJECTED_KEPT_FOR):
        pass


async def _expire_captures(engine: AsyncEngine, *, before: datetime) -> bool:
    """Whether there were some."""
    told = epcis_capture.c
    query = select(told.id).where(told.finished_at < before).limit(CAPTURES_AT_ONCE)
    async with engine.begin() as connection:
        old = (await connection.execute(query.with_for_update(skip_locked=True))).scalars().all()
        events = epcis_capture_event
        await connection.execute(delete(events).where(events.c.capture.in_(old)))
        await connection.execute(delete(epcis_capture).where(told.id.in_(old)))
    return bool(old)


async def _expire_rejected(engine: AsyncEngine, *, before: datetime) -> bool:
    """Whether there may be more. A scan on which the tracker failed stays for as long as it holds
    its unit."""
    told = rejected.c
    is_over = exists().where(
        unit.c.unit == told.unit, unit.c.version > told.unit_version, ~unit.c.held
    )
    query = select(told.id).where(told.record_time < before, told.unit.is_(None) | is_over)
    some = query.limit(REJECTED_AT_ONCE).with_for_update(of=rejected, skip_locked=True)
    async with engine.begin() as connection:
        gone = await connection.execute(delete(rejected).where(told.id.in_(some)))
    return gone.rowcount == REJECTED_AT_ONCE
