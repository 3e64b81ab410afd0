"""Recalls: entered as their notices are worded, drafted, made active, amended, closed.

| a recall that is | may become | by |
|---|---|---|
| new | draft, active | POST, PUT |
| draft | draft, active, closed | PUT, activate, close |
| active | active, closed | PUT, close |
| closed | closed, draft, active | PUT that says which: it is opened by being amended |

Each is a version of its own, with who, when and why. Only an active one is watched for.
"""

import asyncio
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from litestar import Request, Response, get, post, put
from litestar.params import FromPath, FromQuery
from sqlalchemy import Select, case, cast, literal, null, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api import recall_bodies as bodies
from scantrail.api.access import Role
from scantrail.api.bodies import checked_id, decode_body, maybe_note, short_text
from scantrail.api.changes import Answer, Change, Changes
from scantrail.api.paging import Cursor, Limit, after, cursor_behind, page
from scantrail.api.preconditions import with_etag
from scantrail.api.problems import Problem, bad_field
from scantrail.api.recall_csv import read_serials
from scantrail.api.recall_store import (
    load_recall,
    lock_recall,
    products_of,
    short_part,
    store_recall,
    told_summary,
    unknown,
    without_lists,
)
from scantrail.contracts.notices import Read, list_of, read_notice
from scantrail.contracts.topics import Topic
from scantrail.domain.recall import (
    Recall,
    RecallRefused,
    RecallStatus,
    SelectorKind,
    check_recall,
)
from scantrail.infra.tables import recall as recalls_table
from scantrail.infra.tables import recall_serial, recall_version

AnyRequest = Request[Any, Any, Any]

#: A million lines, with a product and what else an export has.
CSV_BYTES_MAX = 64 << 20

REMEDY_LENGTH_MAX = 2_000


def build_recalls(engine: AsyncEngine, changes: Changes) -> list[Any]:
    """The route handlers."""
    outbox = changes.outbox

    async def enter(
        request: AnyRequest, recall_id: str, body: bodies.RecallBody, *, only_new: bool = False
    ) -> Response[Any]:
        note = maybe_note(body.note)
        read = await asyncio.to_thread(_read, recall_id, body)

        async def write(change: Change) -> Answer:
            old = await lock_recall(change.connection, recall_id)
            if only_new and old:
                raise Problem(
                    409,
                    "Exists",
                    f"recall {recall_id!r} exists: PUT it at its own address to change it",
                    field="id",
                )
            change.expect(old)
            before = await _status(change, recall_id) if old else None
            recall, listed = replace(read.recall, status=_next_status(before, body.status)), None
            if not body.keep_serials:
                listed = read.listed
            elif old:
                known = (await load_recall(change.connection, recall_id)).selectors
                kept = [each for each in known if each.kind == SelectorKind.LIST]
                recall = replace(recall, selectors=(*recall.selectors, *kept))
            told = await store_recall(change, _checked(recall), old, note=note, listed=listed)
            if not only_new:
                return Answer(told)
            return Answer(told, 201, {"Location": f"/recalls/{recall_id}"})

        return await changes.make(request, write)

    async def become(
        request: AnyRequest, recall_id: str, status: RecallStatus, note: str | None
    ) -> Response[Any]:
        """A recall's next version, which differs by its status; none where it has that already."""

        async def write(change: Change) -> Answer:
            old = await _known(change, recall_id)
            change.expect(old)
            before = await _status(change, recall_id)
            if before is status:
                query = _rows().where(recalls_table.c.id == recall_id)
                row = (await change.connection.execute(query)).one()
                waiting = await outbox.waiting(change.connection, Topic.RECALLS)
                return Answer(_told(row, waiting))
            if before is RecallStatus.CLOSED:
                told = f"recall {recall_id!r} is closed: PUT it with its status to open it again"
                raise Problem(409, "Closed", told)
            recall = replace(await load_recall(change.connection, recall_id), status=status)
            if status is RecallStatus.ACTIVE:
                recall = _checked(recall)
            return Answer(await store_recall(change, recall, old, note=note))

        return await changes.make(request, write)

    @post("/recalls", role=Role.QUALITY, takes=bodies.NEW_RECALL, tells=bodies.TOLD)
    async def post_recall(request: AnyRequest) -> Response[Any]:
        """Enter a recall as its notice is worded: active and watched for at once, or a draft."""
        body = decode_body(await request.body(), bodies.NewRecallBody)
        return await enter(request, checked_id(body.id, "id"), body, only_new=True)

    @put("/recalls/{recall_id:str}", role=Role.QUALITY, takes=bodies.RECALL, tells=bodies.TOLD)
    async def put_recall(recall_id: FromPath[str], request: AnyRequest) -> Response[Any]:
        """Amend a recall: as a whole in the place of what it was, its next version."""
        body = decode_body(await request.body(), bodies.RecallBody)
        return await enter(request, checked_id(recall_id, "id"), body)

    @post(
        "/recalls/{recall_id:str}/activate",
        status_code=200,
        role=Role.QUALITY,
        takes=bodies.ACTIVATE,
        tells=bodies.TOLD,
    )
    async def activate(recall_id: FromPath[str], request: AnyRequest) -> Response[Any]:
        """Watch for the units of a draft. Of an active recall nothing changes."""
        body = decode_body(await request.body() or b"{}", bodies.ActivateBody)
        return await become(request, recall_id, RecallStatus.ACTIVE, maybe_note(body.note))

    @post(
        "/recalls/{recall_id:str}/close",
        status_code=200,
        role=Role.QUALITY,
        takes=bodies.CLOSE,
        tells=bodies.TOLD,
    )
    async def close(recall_id: FromPath[str], request: AnyRequest) -> Response[Any]:
        """End the watch, and say why. Alerts that were raised stay."""
        body = decode_body(await request.body(), bodies.CloseBody)
        return await become(request, recall_id, RecallStatus.CLOSED, maybe_note(body.note))

    @put(
        "/recalls/{recall_id:str}/serials",
        request_max_body_size=CSV_BYTES_MAX,
        role=Role.QUALITY,
        takes=bodies.SERIALS_CSV,
        tells=bodies.SERIALS_ENTERED,
    )
    async def put_serials(
        recall_id: FromPath[str], request: AnyRequest, note: FromQuery[str | None] = None
    ) -> Response[Any]:
        """List a recall's serials by a CSV file, in the place of those that it listed; its other
        clauses stay. Up to a million; nothing is taken where a line is wrong."""
        why = maybe_note(note)
        content = await request.body()
        async with engine.connect() as connection:
            products = await products_of(connection, recall_id)
        serials = await asyncio.to_thread(read_serials, content, products)

        async def write(change: Change) -> Answer:
            old = await _known(change, recall_id)
            change.expect(old)
            before = await load_recall(change.connection, recall_id)
            if before.status is RecallStatus.CLOSED:
                told = f"recall {recall_id!r} is closed: PUT it with its status to open it again"
                raise Problem(409, "Closed", told)
            if list(before.products) != products:
                told = f"recall {recall_id!r} was amended meanwhile: send the file again"
                raise Problem(409, "Amended", told)
            others = [each for each in before.selectors if each.kind != SelectorKind.LIST]
            recall = replace(before, selectors=(*others, list_of(serials.listed)))
            stored = await store_recall(change, recall, old, note=why, listed=serials.listed)
            return Answer({**stored, "lines": serials.lines, "doubles": serials.doubles})

        return await changes.make(request, write)

    @get("/recalls", role=Role.READ, tells=bodies.RECALLS)
    async def list_recalls(
        status: FromQuery[RecallStatus | None] = None, cursor: Cursor = None, limit: Limit = 100
    ) -> dict[str, Any]:
        """The recalls by id, page by page; of what they list the number."""
        table = recalls_table
        query = _rows().where(table.c.id > after(cursor, "recalls")).order_by(table.c.id)
        if status is not None:
            query = query.where(short_part("status") == cast(literal(f'"{status.value}"'), JSONB))
        async with engine.connect() as connection:
            rows = await connection.execute(query.limit(limit))
            waiting = await outbox.waiting(connection, Topic.RECALLS)
        found = [without_lists(_told(row, waiting)) for row in rows]
        return page("recalls", found, limit)

    @get("/recalls/{recall_id:str}", role=Role.READ, tells=bodies.TOLD)
    async def get_recall(recall_id: FromPath[str]) -> Response[Any]:
        """One recall as it was entered last, of long lists the beginning."""
        async with engine.connect() as connection:
            row = (await connection.execute(_rows().where(recalls_table.c.id == recall_id))).first()
            waiting = await outbox.waiting(connection, Topic.RECALLS)
        if row is None:
            raise unknown(recall_id)
        return with_etag(_told(row, waiting), row.version)

    @get("/recalls/{recall_id:str}/versions", role=Role.READ, tells=bodies.VERSIONS)
    async def list_versions(
        recall_id: FromPath[str], cursor: Cursor = None, limit: Limit = 100
    ) -> dict[str, Any]:
        """What each version of a recall said, who made it, when and why; the oldest first."""
        rows_of = recall_version
        key = after(cursor, "versions") or "0"
        if not (key.isascii() and key.isdecimal() and len(key) < 19):
            raise bad_field("cursor", "give `next` of the page before, as it is")
        behind = int(key)
        query = (
            select(rows_of)
            .where(rows_of.c.recall == recall_id, rows_of.c.version > behind)
            .order_by(rows_of.c.version)
            .limit(limit)
        )
        async with engine.connect() as connection:
            rows = (await connection.execute(query)).all()
            if not rows and not behind:
                await products_of(connection, recall_id)
        found = [{k: v for k, v in row._mapping.items() if k != "recall"} for row in rows]
        following = cursor_behind("versions", str(rows[-1].version)) if len(rows) == limit else None
        return {"versions": found, "next": following}

    @get("/recalls/{recall_id:str}/serials", role=Role.READ, tells=bodies.SERIALS)
    async def list_serials(
        recall_id: FromPath[str], cursor: Cursor = None, limit: Limit = 100
    ) -> dict[str, Any]:
        """The serials that a recall lists, page by page, each as it was entered and, as `forms`, as
        unit keys have it, where that is another."""
        table = recall_serial
        query = (
            select(table.c.serial, table.c.forms)
            .where(table.c.recall == recall_id, table.c.serial > after(cursor, "serials"))
            .order_by(table.c.serial)
            .limit(limit)
        )
        async with engine.connect() as connection:
            rows = (await connection.execute(query)).all()
            if not rows:
                await products_of(connection, recall_id)
        found = [{"serial": row.serial, "forms": row.forms or []} for row in rows]
        return page("serials", found, limit, key="serial")

    return [
        post_recall,
        put_recall,
        activate,
        close,
        put_serials,
        list_recalls,
        get_recall,
        list_versions,
        list_serials,
    ]


def _rows() -> Select[Any]:
    table = recalls_table
    return select(
        table.c.id,
        table.c.version,
        table.c.summary,
        case((table.c.summary.is_(None), table.c.document), else_=null()).label("document"),
        table.c.document["is_swept"].astext.label("is_swept"),
    ).where(table.c.version > 0)


def _told(row: Any, waiting: Collection[str]) -> dict[str, Any]:
    """A recall's row; a draft that names nothing yet is not published."""
    told = told_summary(row)
    return {**told, "published": row.id not in waiting and bool(told["selectors"])}


async def _known(change: Change, recall_id: str) -> int:
    """The version of a recall that is there, locked. Raises Problem 404."""
    table = recalls_table
    query = select(table.c.version).where(table.c.id == recall_id, table.c.version > 0)
    version: int | None = (await change.connection.execute(query.with_for_update())).scalar()
    if version is None:
        raise unknown(recall_id)
    return version


async def _status(change: Change, recall_id: str) -> RecallStatus:
    query = select(short_part("status")).where(recalls_table.c.id == recall_id)
    return RecallStatus((await change.connection.execute(query)).scalar_one())


def _next_status(before: RecallStatus | None, asked: RecallStatus | None) -> RecallStatus:
    """Raises Problem 400 where that is no way for a recall to go, or nobody said which."""
    if before is RecallStatus.CLOSED and asked is None:
        raise bad_field("status", "it is closed: say active or draft to open it, or closed")
    status = asked or before or RecallStatus.ACTIVE
    if before is None and status is RecallStatus.CLOSED:
        raise bad_field("status", "a new recall is draft or active")
    if before is RecallStatus.ACTIVE and status is RecallStatus.DRAFT:
        raise bad_field("status", "it is active, and is watched for: close it first")
    return status


def _read(recall_id: str, body: bodies.RecallBody) -> Read:
    """Of a long list it takes seconds. Raises Problem 400."""
    if body.remedy is not None and not 0 < len(body.remedy.strip()) <= REMEDY_LENGTH_MAX:
        raise bad_field("remedy", f"give 1 to {REMEDY_LENGTH_MAX} characters, or leave it out")
    if body.keep_serials and any(each.serials for each in body.selectors):
        raise bad_field("keep_serials", "leave it out, or the list: other serials are listed")
    try:
        return read_notice(
            recall_id,
            short_text(body.title, "title"),
            body.reason,
            body.products,
            body.selectors,
            remedy=body.remedy,
        )
    except RecallRefused as error:
        raise bad_field(error.field, error.reason) from error


def _checked(recall: Recall) -> Recall:
    """Raises Problem 400. A draft may name its units later."""
    if recall.status is not RecallStatus.DRAFT or recall.selectors:
        try:
            check_recall(recall)
        except RecallRefused as error:
            raise bad_field(error.field, error.reason) from error
    return recall
