"""Stations, orders and recalls: entered here, published by the outbox."""

import asyncio
from dataclasses import replace
from typing import Any, TypeVar

import msgspec
from litestar import Request, Response, get, post, put
from litestar.params import FromPath
from sqlalchemy import Table, bindparam, delete, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api import answers, requested
from scantrail.api.access import Role, caller_of
from scantrail.api.bodies import (
    NewRecallBody,
    OrderBody,
    RecallBody,
    SelectorBody,
    StationBody,
    checked_id,
    decode_body,
    maybe_short_text,
    product_key,
    short_text,
    told_time,
)
from scantrail.api.changes import Answer, Change, Changes
from scantrail.api.folding import folded_recall
from scantrail.api.orders import enter_order_parties, order_reference_at, quantities, told_of_order
from scantrail.api.paging import Cursor, Limit, after, page
from scantrail.api.preconditions import with_etag
from scantrail.api.problems import Problem, bad_field
from scantrail.api.register_watch import RegisterWatch, mark_stale
from scantrail.contracts.identity import identify
from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain.identifiers import (
    NotIdentified,
    luhn_checks,
    product_and_serial,
)
from scantrail.domain.order import LINES_MAX, QUANTITY_MAX, Order, OrderLine
from scantrail.domain.recall import Recall, RecallRefused, Selector, check_recall
from scantrail.domain.station import Station
from scantrail.infra import tables

AnyRequest = Request[Any, Any, Any]
Entity = TypeVar("Entity", Station, Recall)

#: What one record of an entity may have; infra.kafka and the topics allow a little more.
ENTITY_BYTES_MAX = 8 << 20


def build_entities(engine: AsyncEngine, changes: Changes, watch: RegisterWatch) -> list[Any]:
    """The route handlers."""
    outbox = changes.outbox

    async def store(
        request: AnyRequest, table: Table, topic: Topic, entity: Entity, *, only_new: bool = False
    ) -> Response[Any]:
        """Commit an entity's next version with its record; wait until Kafka has it."""

        async def write(change: Change) -> Answer:
            connection = change.connection
            version = await _next_version(connection, table, entity.id, only_new=only_new)
            if version is None:
                raise Problem(
                    409,
                    "Exists",
                    f"{table.name} {entity.id!r} exists: PUT it at its own address to change it",
                    field="id",
                )
            if table is tables.station and version > 1:
                known = select(table.c.document["site"].astext).where(table.c.id == entity.id)
                change.caller.check_site((await connection.execute(known)).scalar_one())
            change.note(table.name, entity.id, old=version - 1, new=version)
            stored = replace(entity, version=version)
            if isinstance(stored, Recall):
                stored = await folded_recall(connection, stored)
            document = msgspec.to_builtins(stored)
            await connection.execute(
                table.update().where(table.c.id == stored.id).values(document=document)
            )
            value = encode(stored)
            if len(value) > ENTITY_BYTES_MAX:
                raise Problem(
                    413, "Too large", f"{len(value)} bytes, at most {ENTITY_BYTES_MAX}: split it"
                )
            await change.publish(topic, stored.id, value)
            if not only_new:
                return Answer(document)
            return Answer(document, 201, {"Location": f"/{table.name}s/{stored.id}"})

        return await changes.make(request, write)

    async def load(table: Table, topic: Topic, entity_id: str) -> Response[Any]:
        query = select(table.c.document).where(table.c.id == entity_id)
        async with engine.connect() as connection:
            document: dict[str, Any] | None = (await connection.execute(query)).scalar()
            waiting = await outbox.waiting(connection, topic)
        if document is None:
            raise Problem(404, "Not found", f"there is no {table.name} {entity_id!r}")
        told = {**document, "published": entity_id not in waiting}
        return with_etag(told, document["version"])

    async def load_page(
        table: Table, topic: Topic, cursor: str | None, limit: int
    ) -> dict[str, Any]:
        name = f"{table.name}s"
        query = select(table).where(table.c.id > after(cursor, name)).order_by(table.c.id)
        async with engine.connect() as connection:
            rows = await connection.execute(query.limit(limit))
            waiting = await outbox.waiting(connection, topic)
        found = [{**row.document, "published": row.id not in waiting} for row in rows]
        return page(name, found, limit)

    @put(
        "/stations/{station_id:str}",
        role=Role.ADMIN,
        takes=requested.STATION,
        tells=answers.STATION,
    )
    async def put_station(station_id: FromPath[str], request: AnyRequest) -> Response[Any]:
        """Configure a place of reading; its next version where it exists."""
        body = decode_body(await request.body(), StationBody)
        if not 0 <= body.repeat_window_s <= 86_400:
            raise bad_field("repeat_window_s", "give seconds from 0 to 86400")
        new = Station(
            id=checked_id(station_id, "id"),
            site=checked_id(body.site, "site"),
            business_step=body.business_step,
            read_point=short_text(body.read_point or station_id, "read_point"),
            name=maybe_short_text(body.name, "name"),
            business_location=maybe_short_text(body.business_location, "business_location"),
            disposition=maybe_short_text(body.disposition, "disposition"),
            possessing_party=maybe_short_text(body.possessing_party, "possessing_party"),
            repeat_window_s=body.repeat_window_s,
        )
        caller_of(request).check_site(new.site)
        return await store(request, tables.station, Topic.STATIONS, new)

    @get("/stations", role=Role.READ, tells=answers.STATIONS)
    async def list_stations(cursor: Cursor = None, limit: Limit = 100) -> dict[str, Any]:
        """The stations by id, page by page."""
        return await load_page(tables.station, Topic.STATIONS, cursor, limit)

    @get("/stations/{station_id:str}", role=Role.READ, tells=answers.STATION)
    async def get_station(station_id: FromPath[str]) -> Response[Any]:
        """One station as it was entered last."""
        return await load(tables.station, Topic.STATIONS, station_id)

    @post("/recalls", role=Role.QUALITY, takes=requested.NEW_RECALL, tells=answers.RECALL)
    async def post_recall(request: AnyRequest) -> Response[Any]:
        """Enter a recall as its notice is worded. Active recalls are watched for at once."""
        body = decode_body(await request.body(), NewRecallBody)
        new = await asyncio.to_thread(_recall, body.id, body)
        return await store(request, tables.recall, Topic.RECALLS, new, only_new=True)

    @put(
        "/recalls/{recall_id:str}", role=Role.QUALITY, takes=requested.RECALL, tells=answers.RECALL
    )
    async def put_recall(recall_id: FromPath[str], request: AnyRequest) -> Response[Any]:
        """Replace a recall as a whole: its next version, active, or closed."""
        body = decode_body(await request.body(), RecallBody)
        new = await asyncio.to_thread(_recall, recall_id, body)
        return await store(request, tables.recall, Topic.RECALLS, new)

    @get("/recalls", role=Role.READ, tells=answers.RECALLS)
    async def list_recalls(cursor: Cursor = None, limit: Limit = 100) -> dict[str, Any]:
        """The recalls by id, page by page."""
        return await load_page(tables.recall, Topic.RECALLS, cursor, limit)

    @get("/recalls/{recall_id:str}", role=Role.READ, tells=answers.RECALL)
    async def get_recall(recall_id: FromPath[str]) -> Response[Any]:
        """One recall as it was entered last."""
        return await load(tables.recall, Topic.RECALLS, recall_id)

    @put(
        "/orders/{reference:path}",
        role=Role.OPERATE,
        takes=requested.ORDER,
        tells=answers.ORDER_ENTERED,
    )
    async def put_order(reference: FromPath[str], request: AnyRequest) -> Response[Any]:
        """Enter an order and its purchaser, before or after its units are scanned."""
        ref = order_reference_at(request)
        body = decode_body(await request.body(), OrderBody)
        ordered = _order_lines(body)
        if body.ordered_at is not None:
            told_time(body.ordered_at, "ordered_at")

        async def write(change: Change) -> Answer:
            connection = change.connection
            named = await enter_order_parties(change, ref, body)
            orders = tables.sales_order
            made = {} if body.ordered_at is None else {"ordered_at": body.ordered_at}
            new = upsert(orders).values(ref=ref, version=1, **named, **made)
            changed = new.on_conflict_do_update(
                index_elements=[orders.c.ref],
                set_={"version": orders.c.version + 1, **named, **made},
            )
            version = (await connection.execute(changed.returning(orders.c.version))).scalar_one()
            change.note("order", ref, old=version - 1, new=version)
            lines = tables.sales_order_line
            await connection.execute(delete(lines).where(lines.c.ref == ref))
            if ordered:
                await connection.execute(
                    insert(lines),
                    [
                        {
                            "ref": ref,
                            "line": number,
                            "product": line.product,
                            "quantity": line.quantity,
                        }
                        for number, line in enumerate(ordered, start=1)
                    ],
                )
            # Of the purchaser, who has a name and an address, nothing leaves the database.
            record = encode(Order(id=ref, lines=ordered, version=version))
            await change.publish(Topic.ORDERS, ref, record)
            await mark_stale(connection, orders=[ref])
            return Answer(
                {
                    "ref": ref,
                    "version": version,
                    "purchaser": named["purchaser"],
                    "lines": len(ordered),
                }
            )

        made = await changes.make(request, write)
        watch.kick()
        return made

    @get("/orders/{reference:path}", role=Role.READ, tells=answers.ORDER)
    async def get_order(reference: FromPath[str], request: AnyRequest) -> Response[Any]:
        """One order: its purchaser, its lines, and the units that were shipped for it."""
        ref = order_reference_at(request)
        orders, parties, lines = tables.sales_order, tables.party, tables.sales_order_line
        query = select(orders, parties).join(parties).where(orders.c.ref == ref)
        async with engine.connect() as connection:
            order = (await connection.execute(query)).first()
            if order is None:
                raise Problem(404, "Not found", f"there is no order {ref!r}")
            ordered = await connection.execute(
                select(lines).where(lines.c.ref == ref).order_by(lines.c.line)
            )
            shipped = (
                await connection.execute(
                    select(tables.unit.c.unit, tables.unit.c.product)
                    .where(tables.unit.c.order_ref == ref, tables.unit.c.joined.is_(None))
                    .order_by(tables.unit.c.unit)
                )
            ).all()
            others = await told_of_order(connection, order)
            lines_told = [(row.product, row.quantity) for row in ordered]
            waiting = await outbox.waiting(connection, Topic.ORDERS)
        told = {
            "ref": ref,
            "version": order.version,
            "ordered_at": order.ordered_at,
            "purchaser": {"id": order.id, "name": order.name, "address": order.address},
            **others,
            "lines": [{"product": name, "quantity": number} for name, number in lines_told],
            "units": [row.unit for row in shipped],
            "quantities": quantities(lines_told, [row.product for row in shipped]),
            "published": ref not in waiting,
        }
        return with_etag(told, order.version)

    return [
        put_station,
        list_stations,
        get_station,
        post_recall,
        put_recall,
        list_recalls,
        get_recall,
        put_order,
        get_order,
    ]


async def _next_version(
    connection: AsyncConnection, table: Table, entity_id: str, *, only_new: bool
) -> int | None:
    new = upsert(table).values(id=bindparam("id", entity_id), version=1, document={})
    if only_new:
        statement = new.on_conflict_do_nothing()
    else:
        statement = new.on_conflict_do_update(
            index_elements=[table.c.id], set_={"version": table.c.version + 1}
        )
    version: int | None = (await connection.execute(statement.returning(table.c.version))).scalar()
    return version


def _order_lines(body: OrderBody) -> tuple[OrderLine, ...]:
    """The lines of an order, products as unit keys have them. Raises Problem 400."""
    if len(body.lines) > LINES_MAX:
        raise bad_field("lines", f"give at most {LINES_MAX}, and the rest as another order")
    for place, line in enumerate(body.lines):
        if not 1 <= line.quantity <= QUANTITY_MAX:
            raise bad_field(f"lines[{place}].quantity", "give 1 or more, below 2^31")
    return tuple(
        OrderLine(product=product_key(line.product, "lines.product"), quantity=line.quantity)
        for line in body.lines
    )


def _recall(recall_id: str, body: RecallBody) -> Recall:
    """The recall of a body; of a million serials it takes seconds. Raises Problem 400."""
    recall = Recall(
        id=checked_id(recall_id, "id"),
        title=short_text(body.title, "title"),
        reason=body.reason,
        selectors=tuple(
            selector for clause in body.selectors for selector in _as_keys_have_them(clause)
        ),
        products=tuple(product_key(name, "products") for name in body.products),
        status=body.status,
    )
    try:
        check_recall(recall)
    except RecallRefused as error:
        raise bad_field(error.field, error.reason) from error
    return recall


def _as_keys_have_them(clause: SelectorBody) -> tuple[Selector, ...]:
    """A clause with each serial as unit keys have it, beside the form in the notice.

    Notices print IMEIs with their check digit, VINs in any case, and whole barcodes.
    """
    told = Selector(**msgspec.structs.asdict(clause))
    forms = dict.fromkeys(form for serial in told.serials for form in _forms(serial))
    low, high = told.low and told.low.strip(), told.high and told.high.strip()
    prefix = told.prefix and told.prefix.strip()
    meant = replace(told, serials=tuple(forms), low=low, high=high, prefix=prefix)
    if low and high and _is_imei(low) and _is_imei(high):
        return meant, replace(meant, low=low[:14], high=high[:14])
    return (meant,)


def _forms(serial: str) -> tuple[str, ...]:
    plain = serial.strip()
    try:
        return plain, product_and_serial(identify(plain).key)[1]
    except NotIdentified:
        return (plain,) if plain else ()


def _is_imei(text: str) -> bool:
    return len(text) == 15 and text.isascii() and text.isdigit() and luhn_checks(text)
