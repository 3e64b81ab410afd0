"""How many alerts wait for somebody, as a metric."""

import asyncio
import time

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.domain.alert_life import AlertStanding
from scantrail.infra import metrics
from scantrail.infra.logs import logger
from scantrail.infra.tables import alert

log = logger(__name__)

LOOK_S = 5.0

#: With very many alerts a count takes its time: it is made anew once it is so many times as old.
TIMES_ITS_COST = 20.0


async def count_open_alerts(engine: AsyncEngine) -> None:
    """Tell it every LOOK_S until cancelled; the last count stands while PostgreSQL is away."""
    query = select(func.count()).where(alert.c.status == AlertStanding.OPEN.value)
    while True:
        started = time.monotonic()
        try:
            async with engine.connect() as connection:
                metrics.ALERTS_OPEN.set((await connection.execute(query)).scalar_one())
        except (DBAPIError, PoolTimeoutError) as error:
            log.warning("open alerts are not counted anew", reason=str(error))
        await asyncio.sleep(max(LOOK_S, TIMES_ITS_COST * (time.monotonic() - started)))
