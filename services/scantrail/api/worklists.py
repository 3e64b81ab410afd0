"""Set-aside reads: what waits for a person."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import httpx
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api import answers, requested
from scantrail.api.access import Role
from scantrail.api.bodies import ReplayBody, decode_body
from scantrail.api.changes import Answer, Change, Changes
from scantrail.api.paging import Cursor, Limit, after, cursor_behind, page
from scantrail.api.problems import Problem
from scantrail.api.queries import find_rejected, list_rejected, waiting_reads
from scantrail.api.replaying import check_sites, replay_reads
from scantrail.infra.tables import rejected

AnyRequest = Request[Any, Any, Any]


#: Reads that one call tries; `next` of its answer is where the following begins.
REPLAY_MAX = 500

_PREFIX = "/rejected/"


def build_worklists(engine: AsyncEngine, changes: Changes, gateway: httpx.AsyncClient) -> list[Any]:
    """The route handlers. `gateway` is a client with the gateway's address as its base."""

    @get("/rejected", role=Role.READ, tells=answers.REJECTED)
    async def get_rejected(
        reader: FromQuery[str | None] = None,
        reason: FromQuery[str | None] = None,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> dict[str, Any]:
        """Reads and scans that were set aside, with the reason."""
        behind = after(cursor, "rejected")
        found = await list_rejected(engine, reader=reader, reason=reason, after=behind, limit=limit)
        return page("rejected", found, limit)

    @get("/rejected/{row_id:path}", role=Role.READ, tells=answers.REJECTED_ROW)
    async def get_one(request: AnyRequest, row_id: FromPath[str]) -> dict[str, Any]:
        """One read or scan that was set aside, by its id: taken as it was sent, for ids have
        slashes."""
        sent = request.scope["raw_path"].decode("ascii", "replace").removeprefix(_PREFIX)
        found = await find_rejected(engine, unquote(sent))
        if found is None:
            told = f"nothing was set aside under {unquote(sent)!r}: take `id` as it is listed"
            raise Problem(404, "Not found", told)
        return found

    @post(
        "/rejected/replay",
        role=Role.OPERATE,
        takes=requested.REPLAY,
        tells=answers.REPLAY,
        status_code=200,
    )
    async def replay(request: AnyRequest) -> Response[Any]:
        """Send a reader's set-aside reads through the gateway again, under their own ids."""
        body = decode_body(await request.body(), ReplayBody)

        async def write(change: Change) -> Answer:
            change.expect_none()
            rows = await waiting_reads(
                change.connection,
                reader=body.reader,
                reason=body.reason,
                after=after(body.cursor, "replayed"),
                limit=REPLAY_MAX,
            )
            if not rows:
                return Answer({"replayed": 0, "rejected": [], "next": None})
            await check_sites(change, {row.station for row in rows})
            again = await replay_reads(gateway, [row.payload for row in rows])
            done = [row.id for index, row in enumerate(rows) if index not in again]
            refused = [{"id": rows[index].id, **refusal} for index, refusal in again.items()]
            await change.connection.execute(
                update(rejected)
                .where(rejected.c.id.in_(done))
                .values(replayed_at=datetime.now(UTC))
            )
            change.note("rejected", f"reader {body.reader}")
            is_last = len(rows) < REPLAY_MAX
            following = None if is_last else cursor_behind("replayed", rows[-1].id)
            return Answer({"replayed": len(done), "rejected": refused, "next": following})

        return await changes.make(request, write)

    return [get_rejected, get_one, replay]
