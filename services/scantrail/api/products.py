"""Products: how their units are named, and what was decided about them, since when."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
from litestar import Request, Response, get, put
from litestar.params import FromPath
from sqlalchemy import Row, Subquery, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api import product_samples as samples
from scantrail.api.access import Role
from scantrail.api.bodies import ProductBody, decode_body, product_key, short_text
from scantrail.api.changes import Answer, Change, Changes
from scantrail.api.folding import check_folding
from scantrail.api.paging import Cursor, Limit, after, page
from scantrail.api.preconditions import with_etag
from scantrail.api.problems import Problem, bad_field
from scantrail.contracts.identity import SCHEMES
from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain.product import (
    PLAIN_SERIAL,
    POLICIES_MAX,
    Policy,
    Product,
    policies_of,
    policy_at,
    policy_of,
    under,
    with_policy,
)
from scantrail.domain.serial_format import FORMATS_MAX, BadFormat, check_format
from scantrail.infra.tables import product as products
from scantrail.infra.tables import product_policy

AnyRequest = Request[Any, Any, Any]

_YEARS = range(1971, 2200)


def build_products(engine: AsyncEngine, changes: Changes) -> list[Any]:
    """The route handlers."""
    outbox = changes.outbox

    @put(
        "/products/{name:str}",
        role=Role.ADMIN,
        takes=samples.NEW_PRODUCT,
        tells=samples.PRODUCT,
    )
    async def put_product(name: FromPath[str], request: AnyRequest) -> Response[Any]:
        """Name a product and decide about its units; its next version where it exists.

        What was decided before stays for what was scanned before: `valid_from` says from when on
        the new holds (now, where it is not told), in place of what was to hold from that moment on.
        Names, schemes, formats and folding are of all times.
        """
        body = decode_body(await request.body(), ProductBody)
        product = product_key(name, "id")
        _check(body)

        async def write(change: Change) -> Answer:
            connection = change.connection
            now = datetime.now(UTC)
            version, known = await _next_version(connection, product)
            new = _decided(product, body, known, now)
            was_folding = known is not None and known.fold_case
            if new.fold_case != was_folding and known is not None:
                await check_folding(connection, product, folds=new.fold_case)
            elif new.fold_case and known is None:
                await check_folding(connection, product, folds=True)
            change.note("product", product, old=version - 1, new=version)
            policies = policies_of(new)
            stored = replace(new, version=version, policies=policies if len(policies) > 1 else ())
            before = () if known is None else policies_of(known)
            for policy in policies:
                if policy not in before:
                    row = {
                        "product": product,
                        "version": version,
                        "valid_from": policy.valid_from,
                        "entered_at": now,
                        "document": msgspec.to_builtins(policy),
                    }
                    await connection.execute(insert(product_policy).values(row))
            document = msgspec.to_builtins(stored)
            await connection.execute(
                update(products)
                .where(products.c.id == product)
                .values(document=document, fold_case=stored.fold_case)
            )
            await change.publish(Topic.PRODUCTS, product, encode(stored))
            return Answer(document)

        return await changes.make(request, write)

    @get("/products", role=Role.READ, tells=samples.PRODUCTS)
    async def list_products(cursor: Cursor = None, limit: Limit = 100) -> dict[str, Any]:
        """The products by id, page by page."""
        query = select(products).where(products.c.id > after(cursor, "products"))
        async with engine.connect() as connection:
            rows = await connection.execute(query.order_by(products.c.id).limit(limit))
            waiting = await outbox.waiting(connection, Topic.PRODUCTS)
        return page("products", [_told(row, waiting) for row in rows], limit)

    @get("/products/{name:str}", role=Role.READ, tells=samples.PRODUCT)
    async def get_product(name: FromPath[str]) -> Response[Any]:
        """One product: what holds now, and where that changes or changed, all `policies`."""
        product = product_key(name, "id")
        async with engine.connect() as connection:
            query = select(products).where(products.c.id == product)
            row = (await connection.execute(query)).first()
            waiting = await outbox.waiting(connection, Topic.PRODUCTS)
        if row is None:
            raise Problem(404, "Not found", f"there is no product {product!r}")
        return with_etag(_told(row, waiting), row.version)

    @get("/products/{name:str}/policies", role=Role.READ, tells=samples.POLICIES)
    async def list_policies(
        name: FromPath[str], cursor: Cursor = None, limit: Limit = 100
    ) -> dict[str, Any]:
        """All that was ever decided about a product's units, in the order in which it was entered.

        Of those with one `valid_from` the last `counts`.
        """
        product = product_key(name, "id")
        every = entered_policies(product)
        behind = after(cursor, "policies") or "0"
        if not (behind.isascii() and behind.isdecimal() and len(behind) < 19):
            raise bad_field("cursor", "give `next` of the page before")
        query = select(every).where(every.c.version > int(behind)).order_by(every.c.version)
        async with engine.connect() as connection:
            rows = (await connection.execute(query.limit(limit))).all()
            if not rows and not cursor:
                await known_product(connection, product)
        told = [
            {
                **row.document,
                "version": row.version,
                "entered_at": row.entered_at,
                "counts": row.counts,
            }
            for row in rows
        ]
        return page("policies", told, limit, key="version")

    return [put_product, list_products, get_product, list_policies]


def entered_policies(product: str) -> Subquery:
    """All that was ever decided about a product's units; of those with one `valid_from` the last
    `counts`."""
    last = func.max(product_policy.c.version).over(partition_by=product_policy.c.valid_from)
    return (
        select(product_policy, (last == product_policy.c.version).label("counts"))
        .where(product_policy.c.product == product)
        .subquery()
    )


async def known_product(connection: AsyncConnection, product: str) -> Product:
    """The product as it was entered last. Raises Problem 404."""
    query = select(products.c.document).where(products.c.id == product)
    document = (await connection.execute(query)).scalar()
    if document is None:
        raise Problem(404, "Not found", f"there is no product {product}: PUT /products/{product}")
    return msgspec.convert(document, Product)


def _check(body: ProductBody) -> None:
    """Raises Problem 400."""
    again = [step for place, step in enumerate(body.steps) if step in body.steps[:place]]
    if again:
        raise bad_field("steps", f"{again[0]} is named twice: an order has each step once")
    known = SCHEMES | {PLAIN_SERIAL}
    for place, scheme in enumerate(body.schemes):
        if scheme not in known or scheme in body.schemes[:place]:
            raise bad_field("schemes", f"give some of {', '.join(sorted(known))}, each once")
    if len(body.serial_formats) > FORMATS_MAX:
        raise bad_field("serial_formats", f"give at most {FORMATS_MAX}")
    for place, each in enumerate(body.serial_formats):
        try:
            check_format(each, folds_case=body.fold_case)
        except BadFormat as error:
            raise bad_field(f"serial_formats[{place}]", str(error)) from error
    if body.valid_from is not None and body.valid_from.year not in _YEARS:
        raise bad_field("valid_from", "give a time from 1971 to 2199, or leave it out: now")


async def _next_version(connection: AsyncConnection, product: str) -> tuple[int, Product | None]:
    """The version that is being made, and the product as it was; its row is locked."""
    new = upsert(products).values(id=product, version=1, document={})
    row = (
        await connection.execute(
            new.on_conflict_do_update(
                index_elements=[products.c.id], set_={"version": products.c.version + 1}
            ).returning(products.c.version, products.c.document)
        )
    ).one()
    return row.version, msgspec.convert(row.document, Product) if row.document else None


def _decided(product: str, body: ProductBody, known: Product | None, now: datetime) -> Product:
    """The product with what was decided among its policies, as it is now."""
    policy = Policy(
        valid_from=body.valid_from,
        serials=body.serials,
        steps=body.steps,
        captured=body.captured,
        serial_missing=body.serial_missing,
        serial_not_expected=body.serial_not_expected,
    )
    new = Product(
        id=product,
        name=short_text(body.name, "name"),
        schemes=body.schemes,
        serial_formats=body.serial_formats,
        fold_case=body.fold_case,
        minted=body.minted,
    )
    if known is None:
        return replace(under(new, policy), policies=(policy,))
    before = policies_of(known)
    if policy.valid_from is None:
        current = policy_of(policy_at(known, now))
        # The same again begins nothing.
        is_same = policy == replace(current, valid_from=None)
        policy = current if is_same else replace(policy, valid_from=now)
    policies = with_policy(before, policy)[-POLICIES_MAX:]
    if policy not in policies:
        oldest = policies[0].valid_from
        assert oldest is not None  # one was left out before it
        told = f"is older than the newest {POLICIES_MAX} policies, which count: the first is"
        raise bad_field("valid_from", f"{told} of {oldest.isoformat()}")
    return policy_at(replace(under(new, policies[0]), policies=policies), now)


def _told(row: Row[Any], waiting: set[str]) -> dict[str, Any]:
    stored = msgspec.convert(row.document, Product)
    now = policy_at(stored, datetime.now(UTC))
    return {**msgspec.to_builtins(now), "published": row.id not in waiting}
