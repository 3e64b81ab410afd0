"""Readers, as their gateways last told of them."""

from typing import Any

from litestar import get
from litestar.params import FromPath
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api import answers
from scantrail.api.access import Role
from scantrail.api.paging import Cursor, Limit, after, page
from scantrail.api.problems import Problem
from scantrail.infra.tables import reader_status


def build_readers(engine: AsyncEngine) -> list[Any]:
    """The route handlers."""

    @get("/readers", role=Role.READ, tells=answers.READERS)
    async def list_readers(cursor: Cursor = None, limit: Limit = 100) -> dict[str, Any]:
        """Every reader: whether it is up, when it was last heard, what came of its reads."""
        query = select(reader_status).where(reader_status.c.id > after(cursor, "readers"))
        async with engine.connect() as connection:
            rows = await connection.execute(query.order_by(reader_status.c.id).limit(limit))
            return page("readers", [dict(row._mapping) for row in rows], limit)

    @get("/readers/{reader_id:str}", role=Role.READ, tells=answers.READER)
    async def get_reader(reader_id: FromPath[str]) -> dict[str, Any]:
        """One reader: whether it is up, when it was last heard, what came of its reads."""
        query = select(reader_status).where(reader_status.c.id == reader_id)
        async with engine.connect() as connection:
            row = (await connection.execute(query)).first()
        if row is None:
            raise Problem(
                404,
                "Not found",
                f"no gateway has told of a reader {reader_id!r}: they stand in the readers' file",
            )
        return dict(row._mapping)

    return [list_readers, get_reader]
