"""Serials that wait for somebody who says whose they are, and what was typed and not confirmed.

1. the read is locked, and sent through the gateway with what the person told. Died here: it waits.
2. it is marked as replayed. Died before: it waits still, and told again in the same words it makes
   the same scan, which counts once.
"""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import httpx
import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery
from sqlalchemy import Row, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api import answers, requested
from scantrail.api.access import Role
from scantrail.api.bodies import ResolutionBody, decode_body, product_key, unit_key
from scantrail.api.changes import Answer, Change, Changes
from scantrail.api.folding import identified
from scantrail.api.keyed import near_units
from scantrail.api.paging import Cursor, Limit, after, page
from scantrail.api.problems import Problem, bad_field
from scantrail.api.queries import find_by_serial, unit_of
from scantrail.api.replaying import check_sites, replay_reads
from scantrail.contracts.identity import readings, serial_in
from scantrail.contracts.records import RejectedRead, encode, rejected_reads
from scantrail.domain.identifiers import NotIdentified, product_and_serial
from scantrail.domain.product import Product, Serials, policy_at
from scantrail.infra.tables import product, rejected

AnyRequest = Request[Any, Any, Any]

#: Why a read waits here: each of these a person can resolve, and no setting alone.
REASONS = ("ambiguous", "keyed_unconfirmed", "unidentified_serial")

#: More products than a person can choose among are cut.
PRODUCTS_MAX = 1000

_PREFIX = "/unidentified/"

_WAITS = (
    rejected.c.source == "read",
    rejected.c.reason.in_(REASONS),
    rejected.c.replayed_at.is_(None),
)


def build_unidentified(
    engine: AsyncEngine, changes: Changes, gateway: httpx.AsyncClient
) -> list[Any]:
    """The route handlers. `gateway` is a client with the gateway's address as its base."""

    async def near_ones(read: RejectedRead) -> list[dict[str, Any]]:
        """The unit that was typed, and those that it may have been meant to be."""
        try:
            key = identified(read.read, aim=read.aim, product=read.product).key
        except NotIdentified:
            return []
        async with engine.connect() as connection:
            return [_candidate(each) for each in (key, *await near_units(connection, key))]

    async def shown(row: Row[Any]) -> dict[str, Any]:
        read = rejected_reads.decode(row.payload)
        serial = serial_in(read.read, aim=read.aim)
        can_be = [_candidate(each.key) for each in readings(read.read, aim=read.aim)]
        known = await find_by_serial(engine, serial) if serial else []
        if read.keyed:
            known += await near_ones(read)
        candidates = {each["unit"]: each for each in (*can_be, *known)}
        return {
            "id": row.id,
            "reader": read.reader,
            "station": read.station,
            "read": read.read,
            "event_time": read.event_time,
            "reason": read.reason,
            "detail": read.detail,
            "serial": serial,
            "candidates": list(candidates.values()),
        }

    @get("/unidentified", role=Role.READ, tells=answers.UNIDENTIFIED)
    async def get_unidentified(
        reader: FromQuery[str | None] = None,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> dict[str, Any]:
        """Reads of serials without their product, each with the units that it may be; `products`
        are those whose units carry serials."""
        query = select(rejected).where(*_WAITS, rejected.c.id > after(cursor, "unidentified"))
        if reader is not None:
            query = query.where(rejected.c.reader == reader)
        async with engine.connect() as connection:
            rows = (await connection.execute(query.order_by(rejected.c.id).limit(limit))).all()
            products = await _products(connection)
        found = [await shown(row) for row in rows]
        return page("unidentified", found, limit, products=products)

    @post(
        "/unidentified/{row_id:path}",
        role=Role.OPERATE,
        takes=requested.RESOLUTION,
        tells=answers.RESOLUTION,
        status_code=200,
    )
    async def resolve(request: AnyRequest, row_id: FromPath[str]) -> Response[Any]:
        """Say which unit was read, or of which product: the read goes through the gateway, under
        its own event id and time."""
        body = decode_body(await request.body(), ResolutionBody)
        if (body.product is None) == (body.unit is None):
            raise bad_field("product", "give `product` or `unit`: one of the two")
        asked = unquote(request.scope["raw_path"].decode("ascii", "replace").removeprefix(_PREFIX))

        async def write(change: Change) -> Answer:
            change.expect_none()
            connection = change.connection
            read = await _waiting(connection, asked)
            await check_sites(change, [read.station])
            if body.product is not None:
                name = await _known_product(connection, body.product)
                told = msgspec.structs.replace(read, product=name, confirmed=True)
                key = unit_key(read.read, "product", aim=read.aim, product=name)
            else:
                key = unit_key(body.unit or "", "unit")
                told = msgspec.structs.replace(read, unit=key)
            for refusal in (await replay_reads(gateway, [encode(told)])).values():
                raise Problem(409, "Refused again", **refusal)
            await connection.execute(
                update(rejected).where(rejected.c.id == asked).values(replayed_at=func.now())
            )
            change.note("rejected", asked)
            unit = await unit_of(connection, key)
            return Answer({"id": asked, "event_id": read.event_id, "unit": unit})

        return await changes.make(request, write)

    return [get_unidentified, resolve]


async def _waiting(connection: AsyncConnection, row_id: str) -> RejectedRead:
    """The read, for nobody else meanwhile. Raises Problem."""
    query = select(rejected).where(rejected.c.id == row_id).with_for_update()
    row = (await connection.execute(query)).first()
    if row is None:
        raise Problem(404, "Not found", f"there is no read {row_id!r}: take `id` as it is listed")
    if row.source != "read" or row.reason not in REASONS:
        raise Problem(
            409, "Not unidentified", f"{row_id} was set aside as {row.reason}: see /rejected"
        )
    if row.replayed_at is not None:
        raise Problem(409, "Resolved", f"{row_id} was resolved at {row.replayed_at.isoformat()}")
    return rejected_reads.decode(row.payload)


async def _known_product(connection: AsyncConnection, name: str) -> str:
    """A product's id; a misspelt one would make a unit that nobody finds. Raises Problem 400."""
    known = product_key(name, "product")
    query = select(product.c.id).where(product.c.id == known)
    if (await connection.execute(query)).first() is None:
        raise bad_field("product", f"there is no product {known}: PUT /products/{known} first")
    return known


async def _products(connection: AsyncConnection) -> list[dict[str, Any]]:
    query = select(product.c.document).order_by(product.c.id).limit(PRODUCTS_MAX)
    now = datetime.now(UTC)
    known = (msgspec.convert(each, Product) for each in await connection.scalars(query))
    return [
        {"id": each.id, "name": each.name}
        for each in known
        if policy_at(each, now).serials is not Serials.NOT_USED
    ]


def _candidate(key: str) -> dict[str, Any]:
    of_product, serial = product_and_serial(key)
    return {"unit": key, "product": of_product, "serial": serial}
