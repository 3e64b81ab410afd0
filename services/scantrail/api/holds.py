"""Holds of units: each reason is put and taken back by whoever told it.

A unit's reasons are one record of `holds`; with the last of them it is deleted there. In PostgreSQL
its row stays, without reasons, so that the version of the next one is higher.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import msgspec
from litestar import Request, delete, get, put
from litestar.params import FromPath, FromQuery
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api.bodies import HoldBody, checked_id, decode_body, short_text
from scantrail.api.outbox import PUBLISH_S_MAX, Outbox
from scantrail.api.problems import Problem, bad_field
from scantrail.api.worklists import Limit
from scantrail.contracts.identity import identify
from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain.hold import REASONS_MAX, Hold, HoldReason, with_reason, without_reason
from scantrail.domain.identifiers import NotIdentified
from scantrail.infra.tables import hold as holds

AnyRequest = Request[Any, Any, Any]

_PREFIX = "/holds/"


def build_holds(engine: AsyncEngine, outbox: Outbox) -> list[Any]:
    """The route handlers."""

    async def change(unit: str, changed: Callable[[Hold], Hold]) -> dict[str, Any]:
        """Commit the unit's next version with its outbox row; wait until Kafka has it.

        Where nothing changes there is no next version.
        """
        empty = Hold(id=unit, reasons=(), version=0)
        query = select(holds.c.document).where(holds.c.id == unit).with_for_update()
        async with engine.begin() as connection:
            document = (await connection.execute(query)).scalar()
            if document is None and changed(empty).reasons:
                new_row = upsert(holds).values(
                    id=unit, version=0, document=msgspec.to_builtins(empty)
                )
                await connection.execute(new_row.on_conflict_do_nothing())
                document = (await connection.execute(query)).scalar_one()
            known = empty if document is None else msgspec.convert(document, Hold)
            new, row = changed(known), None
            document = msgspec.to_builtins(known)
            if new.reasons != known.reasons:
                if len(new.reasons) > REASONS_MAX:
                    raise Problem(
                        409, "Too many", f"{unit} has {REASONS_MAX} reasons: take some back"
                    )
                new = replace(new, version=known.version + 1)
                document = msgspec.to_builtins(new)
                await connection.execute(
                    holds.update()
                    .where(holds.c.id == unit)
                    .values(version=new.version, document=document)
                )
                value = encode(new) if new.reasons else None
                row = await outbox.add(connection, Topic.HOLDS, unit, value)
        if row is None:
            return {**document, "published": await is_published(unit)}
        return {**document, "published": await outbox.published(row, within_s=PUBLISH_S_MAX)}

    async def is_published(unit: str) -> bool:
        async with engine.connect() as connection:
            return unit not in await outbox.waiting(connection, Topic.HOLDS)

    @put("/holds/{place:path}")
    async def put_hold(place: FromPath[str], request: AnyRequest) -> dict[str, Any]:
        """`PUT /holds/{any spelling}/{reason}`: hold the unit, or change why."""
        unit, reason_id = _unit_and_reason(request)
        body = decode_body(await request.body(), HoldBody)
        since = datetime.now(UTC)
        reason = HoldReason(id=reason_id, text=short_text(body.text, "text"), since=since)
        return await change(unit, lambda known: with_reason(known, reason))

    @delete("/holds/{place:path}", status_code=200)
    async def delete_hold(place: FromPath[str], request: AnyRequest) -> dict[str, Any]:
        """`DELETE /holds/{any spelling}/{reason}`: take that reason back; twice is once."""
        unit, reason_id = _unit_and_reason(request)
        return await change(unit, lambda known: without_reason(known, reason_id))

    @get("/holds/{place:path}")
    async def get_hold(place: FromPath[str], request: AnyRequest) -> dict[str, Any]:
        """All that holds one unit. 404 where nothing does."""
        unit = _unit(unquote(_sent(request)))
        query = select(holds.c.document).where(holds.c.id == unit, _has_reasons())
        async with engine.connect() as connection:
            document: dict[str, Any] | None = (await connection.execute(query)).scalar()
        if document is None:
            raise Problem(404, "Not found", f"nothing holds {unit}")
        return {**document, "published": await is_published(unit)}

    @get("/holds")
    async def list_holds(after: FromQuery[str] = "", limit: Limit = 100) -> dict[str, Any]:
        """Units that are held, by key; give `next` of one page as `after` of the following."""
        query = (
            select(holds.c.document)
            .where(holds.c.id > after, _has_reasons())
            .order_by(holds.c.id)
            .limit(limit)
        )
        async with engine.connect() as connection:
            waiting = await outbox.waiting(connection, Topic.HOLDS)
            found = [
                {**document, "published": document["id"] not in waiting}
                for document in (await connection.execute(query)).scalars()
            ]
        return {"holds": found, "next": found[-1]["id"] if len(found) == limit else None}

    return [put_hold, delete_hold, get_hold, list_holds]


def _has_reasons() -> Any:
    return func.jsonb_array_length(holds.c.document["reasons"]) > 0


def _sent(request: AnyRequest) -> str:
    """What stands in the address behind /holds/, as it was sent: spellings may have slashes."""
    return str(request.scope["raw_path"].decode("ascii", "replace")).removeprefix(_PREFIX)


def _unit_and_reason(request: AnyRequest) -> tuple[str, str]:
    """The key and the reason's id in an address. Raises Problem 400."""
    spelling, slash, reason_id = _sent(request).rpartition("/")
    if not slash:
        raise bad_field("reason", "the address must end in the unit, a slash and the reason's id")
    return _unit(unquote(spelling)), checked_id(unquote(reason_id), "reason")


def _unit(spelling: str) -> str:
    """The key that a spelling names. Raises Problem 400."""
    try:
        return identify(spelling).key
    except NotIdentified as error:
        raise bad_field("unit", error.detail) from error
