"""How far the database is: rows and the next offset of their partition are committed together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from scantrail.contracts.topics import Topic
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import name_of


@dataclass(frozen=True, slots=True)
class Offsets:
    """The projector's stored offsets of `movements`."""

    database: psycopg.AsyncConnection
    topic: str

    async def by_partition(self) -> dict[int, int]:
        """The next offset of each partition: the rows of all before it can be seen."""
        found = await self.database.execute(
            "SELECT partition, next_offset FROM consumer_offset WHERE topic = %s", [self.topic]
        )
        return {int(partition): int(offset) for partition, offset in await found.fetchall()}

    async def count(self) -> int:
        """Movements whose rows can be seen."""
        return sum((await self.by_partition()).values())

    async def rows(self, table: str) -> int:
        """The rows of a table, counted."""
        query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
        row = await (await self.database.execute(query)).fetchone()
        return int(row[0]) if row else 0


@asynccontextmanager
async def stored_offsets(settings: Settings) -> AsyncIterator[Offsets]:
    """Over a connection of its own."""
    connecting = psycopg.AsyncConnection.connect(settings.database_url, autocommit=True)
    async with await connecting as database:
        yield Offsets(database, name_of(settings, Topic.MOVEMENTS))
