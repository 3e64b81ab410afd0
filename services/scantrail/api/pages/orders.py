"""Orders: who bought, what went out for each with its serials, and what came back."""

from collections.abc import Sequence
from functools import partial
from itertools import chain, repeat
from typing import Any

import msgspec
from litestar import Request, get
from litestar.params import FromQuery
from litestar.response import Stream, Template
from sqlalchemy import Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.access import Role
from scantrail.api.bodies import product_key
from scantrail.api.csv_file import csv_of_query
from scantrail.api.days import Days
from scantrail.api.orders import quantities, told_of_order
from scantrail.api.pages.frame import SCREEN, Times, screen
from scantrail.api.pages.newest import Newest
from scantrail.api.problems import Problem
from scantrail.domain.product import Product, policy_at
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra.tables import (
    party,
    product,
    return_authorisation,
    return_line,
    sales_order,
    sales_order_line,
    unit,
    warranty_claim,
)

AnyRequest = Request[Any, Any, Any]

SHOWN_MAX = 50
UNITS_MAX = 100

_NEWEST = Newest(sales_order.c.ordered_at, sales_order.c.ref)

#: As `POST /orders` takes them, so that a file that was sent out can come in again.
COLUMNS = (
    "order",
    "purchaser",
    "name",
    "address",
    "product",
    "quantity",
    "ordered_at",
    "deliver_by",
)
UNIT_COLUMNS = ("order", "unit", "product", "serial", "standing", "since", "lot", "produced_on")


def build_orders_screen(engine: AsyncEngine) -> list[Any]:
    """The route handlers."""

    @get("/page/orders", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show(
        request: AnyRequest,
        ref: FromQuery[str] = "",
        who: FromQuery[str] = "",
        product: FromQuery[str] = "",
        before: FromQuery[str] = "",
    ) -> Template:
        """The newest orders first, page by page, or those that were asked for."""
        query = _NEWEST.page(_listed(ref, who, product), before, SHOWN_MAX)
        async with engine.connect() as connection:
            rows = (await connection.execute(query)).all()
            counted = await _counted(connection, [row.ref for row in rows])
            times = Times(await Days.read(connection))
        return screen(
            request,
            "orders.html",
            orders=rows[:SHOWN_MAX],
            counted=counted,
            following=_NEWEST.following(rows, SHOWN_MAX),
            wanted={"ref": ref, "who": who, "product": product},
            here={"ref": ref, "who": who, "product": product, "before": before},
            times=times,
        )

    @get("/page/orders.csv", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def as_csv(
        ref: FromQuery[str] = "", who: FromQuery[str] = "", product: FromQuery[str] = ""
    ) -> Stream:
        """All of the list, a line for each line of an order, as it can be entered again."""
        found = _listed(ref, who, product).subquery()
        query = (
            select(found, sales_order_line.c.product, sales_order_line.c.quantity)
            .outerjoin(sales_order_line, sales_order_line.c.ref == found.c.ref)
            .order_by(found.c.ordered_at.desc(), found.c.ref.desc(), sales_order_line.c.line)
        )
        async with engine.connect() as connection:
            return await csv_of_query(connection, "orders", COLUMNS, query, _line)

    @get("/page/order", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show_one(
        request: AnyRequest, ref: FromQuery[str], after: FromQuery[str] = ""
    ) -> Template:
        """One order: its lines and purchaser, the units that went out for it, what came back."""
        async with engine.connect() as connection:
            order = await _one(connection, ref)
            ordered = (
                await connection.execute(
                    select(sales_order_line)
                    .where(sales_order_line.c.ref == ref)
                    .order_by(sales_order_line.c.line)
                )
            ).all()
            names = {line.product for line in ordered}
            known = await _known_products(connection, order, names)
            shipped = await _by_product(connection, ref)
            units = (await connection.execute(_units(ref, after).limit(UNITS_MAX + 1))).all()
            others = await told_of_order(connection, order)
            returns = (await connection.execute(_returns(ref))).all()
            claims = (
                await connection.execute(
                    select(warranty_claim)
                    .where(warranty_claim.c.order_ref == ref)
                    .order_by(warranty_claim.c.filed_at)
                    .limit(UNITS_MAX)
                )
            ).all()
            times = Times(await Days.read(connection))
        told = [(line.product, line.quantity) for line in ordered]
        every = chain.from_iterable(repeat(name, count) for name, count in shipped.items())
        return screen(
            request,
            "order.html",
            order=order,
            others=others,
            lines=ordered,
            known=known,
            quantities=quantities(told, every),
            units=units[:UNITS_MAX],
            count=sum(shipped.values()),
            after=after,
            following=units[UNITS_MAX - 1].unit if len(units) > UNITS_MAX else None,
            returns=returns,
            claims=claims,
            times=times,
        )

    @get("/page/order.csv", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def units_as_csv(ref: FromQuery[str]) -> Stream:
        """The serials that went out for an order."""
        line = partial(_unit_line, ref)
        async with engine.connect() as connection:
            await _one(connection, ref)
            query = _units(ref, "")
            return await csv_of_query(connection, "order-units", UNIT_COLUMNS, query, line)

    @get("/page/new-order", role=Role.OPERATE, opt=SCREEN, include_in_schema=False)
    async def show_new(request: AnyRequest) -> Template:
        """The form, and the one for a file."""
        return screen(request, "order_form.html", columns=COLUMNS)

    @get("/page/order-line", role=Role.OPERATE, opt=SCREEN, include_in_schema=False)
    async def show_line(request: AnyRequest) -> Template:
        """The fields of one more line."""
        return screen(request, "order_line.html", is_added=True)

    return [show, as_csv, show_one, units_as_csv, show_new, show_line]


def _listed(ref: str, who: str, name: str) -> Select[Any]:
    """Orders with their purchasers: whose reference begins with `ref`, bought by
    `who` (an id, or the beginning of a name), with a line of the product."""
    query = select(
        sales_order.c.ref,
        sales_order.c.ordered_at,
        sales_order.c.deliver_by,
        sales_order.c.delivered_at,
        sales_order.c.loan_due,
        party.c.id.label("purchaser"),
        party.c.name,
        party.c.address,
    ).join(party, party.c.id == sales_order.c.purchaser)
    if asked := ref.strip():
        query = query.where(sales_order.c.ref.startswith(asked, autoescape=True))
    if asked := who.strip():
        query = query.where(sales_order.c.purchaser.in_(bought_by(asked)))
    if asked := name.strip():
        having = select(sales_order_line.c.ref).where(
            sales_order_line.c.product == product_key(asked, "product")
        )
        query = query.where(sales_order.c.ref.in_(having))
    return query


def bought_by(who: str) -> Select[Any]:
    """The parties with this id, or whose names begin so, in small letters or not."""
    named = func.lower(party.c.name).startswith(who.lower(), autoescape=True)
    return select(party.c.id).where(or_(party.c.id == who, named))


async def _counted(connection: AsyncConnection, refs: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Of each order how many pieces were ordered, and how many units went out."""
    pieces = (
        select(sales_order_line.c.ref, func.sum(sales_order_line.c.quantity))
        .where(sales_order_line.c.ref.in_(refs))
        .group_by(sales_order_line.c.ref)
    )
    out = (
        select(unit.c.order_ref, func.count())
        .where(unit.c.order_ref.in_(refs), unit.c.joined.is_(None))
        .group_by(unit.c.order_ref)
    )
    ordered = {row[0]: int(row[1]) for row in await connection.execute(pieces)}
    shipped = {row[0]: int(row[1]) for row in await connection.execute(out)}
    return {ref: (ordered.get(ref, 0), shipped.get(ref, 0)) for ref in refs}


async def _one(connection: AsyncConnection, ref: str) -> Any:
    query = select(sales_order, party.c.id, party.c.name, party.c.address, party.c.erased_at).join(
        party, party.c.id == sales_order.c.purchaser
    )
    row = (await connection.execute(query.where(sales_order.c.ref == ref))).first()
    if row is None:
        raise Problem(404, "Not found", f"there is no order {ref!r}")
    return row


async def _known_products(
    connection: AsyncConnection, order: Any, names: set[str]
) -> dict[str, tuple[str, bool]]:
    """Of the order's products that were entered the name, and whether its line is the proof of
    purchase, by what held when it was ordered."""
    query = select(product.c.id, product.c.document).where(product.c.id.in_(names))
    found = {}
    for row in await connection.execute(query):
        known = policy_at(msgspec.convert(row.document, Product), order.ordered_at)
        found[row.id] = (known.name, not known.needs_serial_at(BusinessStep.SHIPPING))
    return found


async def _by_product(connection: AsyncConnection, ref: str) -> dict[str | None, int]:
    query = (
        select(unit.c.product, func.count())
        .where(unit.c.order_ref == ref, unit.c.joined.is_(None))
        .group_by(unit.c.product)
    )
    return {row[0]: row[1] for row in await connection.execute(query)}


def _units(ref: str, after: str) -> Select[Any]:
    """The units that went out for an order, by key; those that came back are on its returns."""
    return (
        select(unit)
        .where(unit.c.order_ref == ref, unit.c.joined.is_(None), unit.c.unit > after)
        .order_by(unit.c.unit)
    )


def _returns(ref: str) -> Select[Any]:
    """Its returns, each with what is on it."""
    return (
        select(
            return_authorisation.c.rma,
            return_authorisation.c.authorised_at,
            return_line.c.unit,
            return_line.c.product,
            return_line.c.quantity,
        )
        .join(return_line, return_line.c.rma == return_authorisation.c.rma)
        .where(return_authorisation.c.order_ref == ref)
        .order_by(return_authorisation.c.authorised_at, return_line.c.rma, return_line.c.line)
        .limit(UNITS_MAX)
    )


def _line(row: Any) -> tuple[Any, ...]:
    return (
        row.ref,
        row.purchaser,
        row.name,
        row.address,
        row.product,
        row.quantity,
        row.ordered_at,
        row.deliver_by,
    )


def _unit_line(ref: str, row: Any) -> tuple[Any, ...]:
    return (
        ref,
        row.unit,
        row.product,
        row.serial,
        row.phase,
        row.since,
        row.lot,
        row.produced_on,
    )
