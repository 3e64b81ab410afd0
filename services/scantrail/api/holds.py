"""Holds of units: each reason is put and taken back by whoever told it.

A unit's reasons are one record of `holds`; with the last of them it is deleted there. In PostgreSQL
its row stays, without reasons, so that the version of the next one is higher. A reason is kept
under the id by which it was put, and found and taken back by every id of the unit.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import msgspec
from litestar import Request, Response, delete, get, put
from litestar.params import FromPath
from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api import answers, requested
from scantrail.api.access import Role
from scantrail.api.bodies import HoldBody, checked_id, decode_body, short_text, unit_keys
from scantrail.api.changes import Answer, Change, Changes
from scantrail.api.outbox import Outbox
from scantrail.api.paging import Cursor, Limit, after, page
from scantrail.api.preconditions import with_etag
from scantrail.api.problems import Problem, bad_field
from scantrail.api.queries import ids_of, unit_of
from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain.hold import (
    OF_RECALLS,
    REASONS_MAX,
    Hold,
    HoldReason,
    with_reason,
    without_reason,
)
from scantrail.infra.tables import hold as holds

AnyRequest = Request[Any, Any, Any]

_PREFIX = "/holds/"


def build_holds(engine: AsyncEngine, changes: Changes) -> list[Any]:
    """The route handlers."""
    outbox = changes.outbox

    async def rewrite(change: Change, unit: str, changed: Callable[[Hold], Hold]) -> Hold:
        """Write the next version of what holds `unit`; where nothing changes there is none."""
        known, new = await change_hold(change.connection, change.publish, unit, changed)
        if new.version != known.version:
            change.note("hold", unit, old=known.version, new=new.version)
        return new

    async def shown(hold: Hold, keys: Sequence[str]) -> dict[str, Any]:
        """A hold, with whether anything of `keys` has yet to leave."""
        async with engine.connect() as connection:
            waiting = await outbox.waiting(connection, Topic.HOLDS)
        return {**msgspec.to_builtins(hold), "published": waiting.isdisjoint(keys)}

    async def answer(change: Change, hold: Hold, keys: Sequence[str]) -> Answer:
        """The same for a change, which may have changed nothing."""
        waiting = await outbox.waiting(change.connection, Topic.HOLDS)
        change.version = await _version(change.connection, keys)
        return Answer({**msgspec.to_builtins(hold), "published": waiting.isdisjoint(keys)})

    @put("/holds/{place:path}", role=Role.QUALITY, takes=requested.HOLD, tells=answers.HOLD)
    async def put_hold(place: FromPath[str], request: AnyRequest) -> Response[Any]:
        """`PUT /holds/{any spelling}/{reason}`: hold the unit, or change why."""
        told, reason_id = _unit_and_reason(request)
        if reason_id.startswith(OF_RECALLS):
            detail = f"ids that begin with {' or '.join(OF_RECALLS)} are of recalls: give another"
            raise bad_field("reason", detail)
        body = decode_body(await request.body(), HoldBody)
        since = datetime.now(UTC)
        text = short_text(body.text, "text")
        reason = HoldReason(id=reason_id, text=text, since=since, kind=body.kind)

        async def write(change: Change) -> Answer:
            keys = await _keys_of(change.connection, told)
            change.expect(await _version(change.connection, {*told, *keys}, lock=True))
            hold = await rewrite(change, told[0], lambda known: with_reason(known, reason))
            return await answer(change, hold, keys)

        return await changes.make(request, write)

    @delete("/holds/{place:path}", role=Role.QUALITY, tells=answers.HOLD, status_code=200)
    async def delete_hold(place: FromPath[str], request: AnyRequest) -> Response[Any]:
        """`DELETE /holds/{any spelling}/{reason}`: take that reason back; twice is once.

        Whichever of the unit's ids it was put under. What a recall holds, it lets go itself.
        """
        asked, reason_id = _unit_and_reason(request)

        async def write(change: Change) -> Answer:
            keys = await _keys_of(change.connection, asked)
            change.expect(await _version(change.connection, keys, lock=True))
            left = {}
            for key in sorted(keys):  # in one order, so that two never wait for each other
                left[key] = await rewrite(change, key, lambda known: _without(known, reason_id))
            return await answer(change, _together(keys[0], [left[key] for key in keys]), keys)

        return await changes.make(request, write)

    @get("/holds/{place:path}", role=Role.READ, tells=answers.HOLD)
    async def get_hold(place: FromPath[str], request: AnyRequest) -> Response[Any]:
        """All that holds one unit, under any of its ids. 404 where nothing does."""
        asked = unit_keys(unquote(_sent(request)), "unit")
        async with engine.connect() as connection:
            keys = await _keys_of(connection, asked)
            query = select(holds.c.document).where(holds.c.id.in_(keys), _has_reasons())
            documents = (await connection.execute(query)).scalars()
            holding = [msgspec.convert(each, Hold) for each in documents]
            version = await _version(connection, keys)
        if not holding:
            raise Problem(404, "Not found", f"nothing holds {asked[0]}")
        holding.sort(key=lambda hold: keys.index(hold.id))
        hold = _together(keys[0], holding)
        return with_etag(await shown(hold, keys), version)

    @get("/holds", role=Role.READ, tells=answers.HOLDS)
    async def list_holds(cursor: Cursor = None, limit: Limit = 100) -> dict[str, Any]:
        """Units that are held, by key."""
        query = (
            select(holds.c.document)
            .where(holds.c.id > after(cursor, "holds"), _has_reasons())
            .order_by(holds.c.id)
            .limit(limit)
        )
        async with engine.connect() as connection:
            waiting = await outbox.waiting(connection, Topic.HOLDS)
            found = [
                {**document, "published": document["id"] not in waiting}
                for document in (await connection.execute(query)).scalars()
            ]
        return page("holds", found, limit)

    return [put_hold, delete_hold, get_hold, list_holds]


async def change_hold(
    connection: AsyncConnection,
    publish: Callable[[Topic, str, bytes | None], Awaitable[Any]],
    unit: str,
    changed: Callable[[Hold], Hold],
) -> tuple[Hold, Hold]:
    """Write and publish the next version of what holds `unit`: what held it, and what does.

    Where nothing changes there is no next version. Raises Problem 409 for too many reasons.
    """
    empty = _nothing(unit)
    query = select(holds.c.document).where(holds.c.id == unit).with_for_update()
    document = (await connection.execute(query)).scalar()
    if document is None and changed(empty) != empty:
        new_row = upsert(holds).values(id=unit, version=0, document=msgspec.to_builtins(empty))
        await connection.execute(new_row.on_conflict_do_nothing())
        document = (await connection.execute(query)).scalar_one()
    known = empty if document is None else msgspec.convert(document, Hold)
    new = changed(known)
    if (new.reasons, new.cleared) == (known.reasons, known.cleared):
        return known, known
    if len(new.reasons) > REASONS_MAX:
        raise Problem(409, "Too many", f"{unit} has {REASONS_MAX} reasons: take some back")
    new = replace(new, version=known.version + 1)
    await connection.execute(
        holds.update()
        .where(holds.c.id == unit)
        .values(version=new.version, document=msgspec.to_builtins(new))
    )
    await publish(Topic.HOLDS, unit, encode(new) if new.reasons or new.cleared else None)
    return known, new


async def change_holds(
    connection: AsyncConnection, outbox: Outbox, changed: Mapping[str, Callable[[Hold], Hold]]
) -> int:
    """As change_hold, of many units together; how many changed. Reasons must be few enough."""
    units = sorted(changed)
    wanted = [unit for unit in units if changed[unit](_nothing(unit)) != _nothing(unit)]
    if wanted:
        empty = [
            {"id": unit, "version": 0, "document": msgspec.to_builtins(_nothing(unit))}
            for unit in wanted
        ]
        await connection.execute(upsert(holds).on_conflict_do_nothing(), empty)
    query = (
        select(holds.c.document)
        .where(holds.c.id == func.any(units))
        .order_by(holds.c.id)
        .with_for_update()
    )
    new = list[Hold]()
    for document in (await connection.execute(query)).scalars():
        known = msgspec.convert(document, Hold)
        told = changed[known.id](known)
        if (told.reasons, told.cleared) != (known.reasons, known.cleared):
            new.append(replace(told, version=known.version + 1))
    if new:
        await connection.execute(
            holds.update()
            .where(holds.c.id == bindparam("of"))
            .values(version=bindparam("new_version"), document=bindparam("new_document")),
            [
                {
                    "of": hold.id,
                    "new_version": hold.version,
                    "new_document": msgspec.to_builtins(hold),
                }
                for hold in new
            ],
        )
    records = [(hold.id, encode(hold) if hold.reasons or hold.cleared else None) for hold in new]
    await outbox.add_all(connection, Topic.HOLDS, records)
    return len(new)


def _without(hold: Hold, reason_id: str) -> Hold:
    """The hold without that reason. Raises Problem 409 where a recall put it: nobody would put it
    again, for the recall still means the unit."""
    if (of := next((r.recall for r in hold.reasons if r.id == reason_id), None)) is not None:
        raise Problem(
            409,
            "Of a recall",
            f"recall {of} holds {hold.id}: say that the unit was remedied"
            f" (POST /recalls/{of}/remedied) or cleared (POST /recalls/{of}/cleared),"
            " or amend or close the recall",
            reason="of_a_recall",
        )
    return without_reason(hold, reason_id)


def _nothing(unit: str) -> Hold:
    return Hold(id=unit, reasons=(), version=0)


async def _keys_of(connection: AsyncConnection, asked: Sequence[str]) -> list[str]:
    """All ids of the unit that has these, its own key first."""
    units = [await unit_of(connection, key) for key in asked]
    links = [link.id for unit in units for link in await ids_of(connection, unit)]
    return list(dict.fromkeys((*units, *links)))


async def _version(
    connection: AsyncConnection, keys: Collection[str], *, lock: bool = False
) -> int:
    """What ETags of a unit are made of: it rises with what holds any of its ids.

    With `lock` nobody else changes them meanwhile, where there are no rows yet neither.
    """
    for key in sorted(keys) if lock else ():
        of_key = select(func.pg_advisory_xact_lock(func.hashtextextended(f"hold {key}", 0)))
        await connection.execute(of_key)
    query = select(func.coalesce(func.sum(holds.c.version), 0)).where(holds.c.id.in_(keys))
    return int((await connection.execute(query)).scalar_one())


def _together(unit: str, parts: Sequence[Hold]) -> Hold:
    """What holds a unit under its several ids; of a reason under two of them the first counts."""
    reasons = {reason.id: reason for hold in reversed(parts) for reason in hold.reasons}
    in_order = dict.fromkeys(reason.id for hold in parts for reason in hold.reasons)
    version = max(hold.version for hold in parts)
    return Hold(id=unit, reasons=tuple(reasons[each] for each in in_order), version=version)


def _has_reasons() -> Any:
    return func.jsonb_array_length(holds.c.document["reasons"]) > 0


def _sent(request: AnyRequest) -> str:
    """What stands in the address behind /holds/, as it was sent: spellings may have slashes."""
    return str(request.scope["raw_path"].decode("ascii", "replace")).removeprefix(_PREFIX)


def _unit_and_reason(request: AnyRequest) -> tuple[list[str], str]:
    """The keys of the unit, and the reason's id, in an address. Raises Problem 400."""
    spelling, slash, reason_id = _sent(request).rpartition("/")
    if not slash:
        raise bad_field("reason", "the address must end in the unit, a slash and the reason's id")
    return unit_keys(unquote(spelling), "unit"), checked_id(unquote(reason_id), "reason")
