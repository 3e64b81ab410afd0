"""Proof of purchase: of what carries no serial, the line of an order stands for that."""

from typing import Any

import msgspec
from litestar import get
from litestar.params import FromQuery
from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api.access import Role
from scantrail.api.bodies import product_key
from scantrail.api.paging import Cursor, Limit, after, cursor_behind
from scantrail.api.problems import bad_field
from scantrail.api.warranty_samples import PROOFS_TOLD
from scantrail.domain.product import Product, policy_at
from scantrail.infra.tables import party, product, sales_order, sales_order_line


def build_proofs(engine: AsyncEngine) -> list[Any]:
    """The route handlers."""

    @get("/proof-of-purchase", role=Role.READ, tells=PROOFS_TOLD)
    async def get_proofs(
        order: FromQuery[str | None] = None,
        purchaser: FromQuery[str | None] = None,
        product: FromQuery[str | None] = None,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> dict[str, Any]:
        """Lines of orders, by order and line: when, how many of what, and who bought.

        `purchaser` is the id of a party, or its name as it was entered, in small letters or not.
        """
        if order is None and purchaser is None and product is None:
            raise bad_field("order", "give `order`, `purchaser` or `product`: one or more of them")
        query = _lines()
        if order is not None:
            query = query.where(sales_order.c.ref == order)
        if purchaser is not None:
            named = party.c.name.ilike(_literally(purchaser), escape="\\")
            query = query.where((party.c.id == purchaser) | named)
        if product is not None:
            query = query.where(sales_order_line.c.product == product_key(product, "product"))
        if cursor:
            ref, line = _place(after(cursor, "proofs"))
            here = tuple_(sales_order_line.c.ref, sales_order_line.c.line)
            query = query.where(here > tuple_(ref, line))
        async with engine.connect() as connection:
            rows = (await connection.execute(query.limit(limit))).all()
        last = f"{rows[-1].ref} {rows[-1].line}" if len(rows) == limit else None
        following = last and cursor_behind("proofs", last)
        return {"lines": [_told(row) for row in rows], "next": following}

    return [get_proofs]


def _lines() -> Any:
    return (
        select(
            sales_order_line,
            sales_order.c.ordered_at,
            party.c.id,
            party.c.name,
            party.c.address,
            product.c.document.label("product_document"),
        )
        .join(sales_order, sales_order.c.ref == sales_order_line.c.ref)
        .join(party, party.c.id == sales_order.c.purchaser)
        .outerjoin(product, product.c.id == sales_order_line.c.product)
        .order_by(sales_order_line.c.ref, sales_order_line.c.line)
    )


def _literally(text: str) -> str:
    """`text` as a pattern that matches nothing else."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _place(after: str) -> tuple[str, int]:
    """The order and line behind which the page begins. Raises Problem 400."""
    ref, _, line = after.rpartition(" ")
    if not ref or not (line.isascii() and line.isdecimal() and len(line) < 10):
        raise bad_field("cursor", "give `next` of the page before")
    return ref, int(line)


def _told(row: Any) -> dict[str, Any]:
    of = row.product_document and msgspec.convert(row.product_document, Product)
    return {
        "order": row.ref,
        "line": row.line,
        "ordered_at": row.ordered_at,
        "product": row.product,
        "product_name": of and of.name,
        # as it held when it was ordered
        "serials": of and policy_at(of, row.ordered_at).serials,
        "quantity": row.quantity,
        "purchaser": {"id": row.id, "name": row.name, "address": row.address},
    }
