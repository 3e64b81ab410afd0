"""Stations and orders: entered here, published by the outbox."""

from dataclasses import replace
from typing import Any

import msgspec
from litestar import Request, Response, get, put
from litestar.params import FromPath
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api import answers, requested
from scantrail.api.access import Role, caller_of
from scantrail.api.bodies import (
    OrderBody,
    StationBody,
    checked_id,
    decode_body,
    maybe_short_text,
    product_key,
    short_text,
    told_time,
)
from scantrail.api.changes import Answer, Change, Changes
from scantrail.api.orders import (
    enter_order_parties,
    order_reference_at,
    quantities,
    told_of_order,
    write_order,
)
from scantrail.api.paging import Cursor, Limit, after, page
from scantrail.api.preconditions import with_etag
from scantrail.api.problems import Problem, bad_field
from scantrail.api.register_watch import RegisterWatch, mark_stale
from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain.order import LINES_MAX, QUANTITY_MAX, OrderLine
from scantrail.domain.station import Station
from scantrail.infra import tables

AnyRequest = Request[Any, Any, Any]


def build_entities(engine: AsyncEngine, changes: Changes, watch: RegisterWatch) -> list[Any]:
    """The route handlers."""
    outbox = changes.outbox

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

        async def write(change: Change) -> Answer:
            connection, table = change.connection, tables.station
            version = await _next_version(connection, new.id)
            if version > 1:
                known = select(table.c.document["site"].astext).where(table.c.id == new.id)
                change.caller.check_site((await connection.execute(known)).scalar_one())
            change.note("station", new.id, old=version - 1, new=version)
            stored = replace(new, version=version)
            document = msgspec.to_builtins(stored)
            await connection.execute(
                table.update().where(table.c.id == new.id).values(document=document)
            )
            await change.publish(Topic.STATIONS, new.id, encode(stored))
            return Answer(document)

        return await changes.make(request, write)

    @get("/stations", role=Role.READ, tells=answers.STATIONS)
    async def list_stations(cursor: Cursor = None, limit: Limit = 100) -> dict[str, Any]:
        """The stations by id, page by page."""
        table = tables.station
        query = select(table).where(table.c.id > after(cursor, "stations")).order_by(table.c.id)
        async with engine.connect() as connection:
            rows = await connection.execute(query.limit(limit))
            waiting = await outbox.waiting(connection, Topic.STATIONS)
        found = [{**row.document, "published": row.id not in waiting} for row in rows]
        return page("stations", found, limit)

    @get("/stations/{station_id:str}", role=Role.READ, tells=answers.STATION)
    async def get_station(station_id: FromPath[str]) -> Response[Any]:
        """One station as it was entered last."""
        query = select(tables.station.c.document).where(tables.station.c.id == station_id)
        async with engine.connect() as connection:
            document: dict[str, Any] | None = (await connection.execute(query)).scalar()
            waiting = await outbox.waiting(connection, Topic.STATIONS)
        if document is None:
            raise Problem(404, "Not found", f"there is no station {station_id!r}")
        told = {**document, "published": station_id not in waiting}
        return with_etag(told, document["version"])

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
            made = {} if body.ordered_at is None else {"ordered_at": body.ordered_at}
            version = await write_order(change, ref, {**named, **made}, ordered)
            change.note("order", ref, old=version - 1, new=version)
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
        put_order,
        get_order,
    ]


async def _next_version(connection: AsyncConnection, station_id: str) -> int:
    stations = tables.station
    new = upsert(stations).values(id=station_id, version=1, document={})
    statement = new.on_conflict_do_update(
        index_elements=[stations.c.id], set_={"version": stations.c.version + 1}
    )
    told = await connection.execute(statement.returning(stations.c.version))
    version: int = told.scalar_one()
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
