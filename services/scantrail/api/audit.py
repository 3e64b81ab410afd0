"""The audit chain over HTTP: who changed what, and whether the chain holds."""

from typing import Any

from litestar import get
from litestar.params import FromQuery
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api import answers
from scantrail.api.access import Role
from scantrail.api.auditing import verify
from scantrail.api.paging import Cursor, Limit, number_behind, page
from scantrail.api.problems import bad_field
from scantrail.infra.tables import audit


def build_audit(engine: AsyncEngine) -> list[Any]:
    """The route handlers."""

    @get("/audit", role=Role.QUALITY, tells=answers.AUDIT)
    async def list_audit(
        entity: FromQuery[str | None] = None,
        reference: FromQuery[str | None] = None,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> dict[str, Any]:
        """Each change of an entity, the oldest first: who made it, when, by which route."""
        if reference is not None and entity is None:
            raise bad_field("entity", "give `entity` beside `reference`: station, recall …")
        behind = number_behind(cursor, "audit")
        query = select(audit).where(audit.c.number > behind).order_by(audit.c.number)
        for column, wanted in ((audit.c.entity, entity), (audit.c.reference, reference)):
            if wanted is not None:
                query = query.where(column == wanted)
        async with engine.connect() as connection:
            found = await connection.execute(query.limit(limit))
            rows = [dict(row._mapping) for row in found]
        return page("audit", rows, limit, key="number")

    @get("/audit/verify", role=Role.QUALITY, tells=answers.VERIFIED)
    async def verify_audit() -> dict[str, Any]:
        """Check the chain of hashes; names the first row that does not fit, where one does not."""
        verifier, broken = await verify(engine)
        return {
            "verifies": broken is None,
            "rows": verifier.rows,
            "last_hash": verifier.last_hash,
            "broken": None if broken is None else {"number": broken.number, "why": broken.why},
        }

    return [list_audit, verify_audit]
