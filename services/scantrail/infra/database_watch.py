"""Whether PostgreSQL answers, also where a process has nothing to write or to ask.

Asked on a connection of its own: among those of a process's work it would wait for a free one.
"""

import asyncio

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.infra.database import connect_database
from scantrail.infra.health import Health, Looks
from scantrail.infra.logs import logger
from scantrail.infra.settings import Settings

log = logger(__name__)

#: How often it is asked.
LOOK_EVERY_S = 5.0

#: How long an answer is waited for.
ANSWER_S_MAX = 5.0


async def watch_database(settings: Settings, health: Health) -> None:
    """Look every LOOK_EVERY_S until cancelled: `health` lacks `database` while nobody answers."""
    engine = connect_database(settings, statement_timeout_s=ANSWER_S_MAX)
    looks = Looks(health, "database")
    try:
        while True:
            looks.found(await _answers(engine))
            await asyncio.sleep(LOOK_EVERY_S)
    finally:
        await engine.dispose()


async def _answers(engine: AsyncEngine) -> bool:
    try:
        async with asyncio.timeout(ANSWER_S_MAX), engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
    except (DBAPIError, TimeoutError) as error:
        log.debug("database does not answer", reason=repr(error))
        return False
    return True
