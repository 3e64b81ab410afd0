"""Orders: entered here one by one, published by the outbox."""

from typing import Any

from litestar import Request, Response, get, put
from litestar.params import FromPath
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api import answers, requested
from scantrail.api.access import Role
from scantrail.api.bodies import (
    OrderBody,
    decode_body,
    product_key,
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
from scantrail.api.preconditions import with_etag
from scantrail.api.problems import Problem, bad_field
from scantrail.api.register_watch import RegisterWatch, mark_stale
from scantrail.contracts.topics import Topic
from scantrail.domain.order import LINES_MAX, QUANTITY_MAX, OrderLine
from scantrail.infra import tables

AnyRequest = Request[Any, Any, Any]


def build_order_entry(engine: AsyncEngine, changes: Changes, watch: RegisterWatch) -> list[Any]:
    """The route handlers."""
    outbox = changes.outbox

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

    return [put_order, get_order]


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
