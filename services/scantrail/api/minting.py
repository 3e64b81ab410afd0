"""Serials given here to units that have none, such as jewellery, and their labels.

Each has the next number of its product, whose row is locked meanwhile: no two are the same,
whatever is asked at once and whenever the api ends.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery
from sqlalchemy import Row, func, insert, select, union
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api import product_samples as samples
from scantrail.api.access import Role
from scantrail.api.bodies import MintBody, decode_body, product_key
from scantrail.api.changes import Answer, Change, Changes
from scantrail.api.paging import Cursor, Limit, after, page
from scantrail.api.problems import Problem, bad_field
from scantrail.api.products import known_product
from scantrail.contracts.minting import MINTED_MAX, label, minted_serial
from scantrail.domain.identifiers import product_serial
from scantrail.infra.tables import advance_notice_unit, identifier, unit
from scantrail.infra.tables import minted_serial as minted
from scantrail.infra.tables import product as products

AnyRequest = Request[Any, Any, Any]

#: Serials of one request, and labels of one answer.
COUNT_MAX = 1000


def build_minting(engine: AsyncEngine, changes: Changes) -> list[Any]:
    """The route handlers."""

    @post(
        "/products/{name:str}/serials",
        role=Role.OPERATE,
        takes=samples.MINT,
        tells=samples.NEWLY_MINTED,
    )
    async def post_serials(name: FromPath[str], request: AnyRequest) -> Response[Any]:
        """Mint serials for units that have none. A unit is here once it is scanned.

        A serial that a unit has, or is announced with, is passed over. An Idempotency-Key makes a
        retry tell the same ones again; without it there are more.
        """
        body = decode_body(await request.body(), MintBody)
        product = product_key(name, "id")
        if not 1 <= body.count <= COUNT_MAX:
            raise bad_field("count", f"give 1 to {COUNT_MAX}")

        async def write(change: Change) -> Answer:
            change.expect_none()
            connection = change.connection
            lock = select(products.c.id).where(products.c.id == product).with_for_update()
            await connection.execute(lock)
            known = await known_product(connection, product)
            if not known.minted:
                told = (
                    f"serials of {product} are not minted here: PUT it with `minted`, if they are"
                )
                raise Problem(409, "Not minted", told, field="minted")
            query = select(func.max(minted.c.number)).where(minted.c.product == product)
            number = (await connection.execute(query)).scalar() or 0
            rows, now = list[dict[str, Any]](), datetime.now(UTC)
            while len(rows) < body.count:
                numbers = range(number + 1, number + 1 + body.count - len(rows))
                if numbers[-1] >= MINTED_MAX:
                    raise Problem(409, "No more", f"all {MINTED_MAX} serials are minted")
                serials = {minted_serial(each): each for each in numbers}
                used = await _used(connection, product, serials)
                rows += [
                    {"product": product, "number": each, "serial": serial, "minted_at": now}
                    for serial, each in serials.items()
                    if serial not in used
                ]
                number = numbers[-1]
            await connection.execute(insert(minted), rows)
            change.note("minted_serial", product)
            first = rows[0]["number"]
            return Answer(
                {
                    "product": product,
                    "serials": [_minted(**row) for row in rows],
                    "labels": f"/products/{product}/labels?first={first}&count={len(rows)}",
                },
                201,
            )

        return await changes.make(request, write)

    @get("/products/{name:str}/serials", role=Role.READ, tells=samples.MINTED)
    async def list_serials(
        name: FromPath[str], cursor: Cursor = None, limit: Limit = 100
    ) -> dict[str, Any]:
        """The serials that were minted for a product, in the order in which they were."""
        product = product_key(name, "id")
        behind = after(cursor, "serials") or "0"
        if not (behind.isascii() and behind.isdecimal() and len(behind) < 19):
            raise bad_field("cursor", "give `next` of the page before")
        rows = await _numbered(product, int(behind) + 1, limit)
        told = [_minted(**row._mapping) for row in rows]
        return page("serials", told, limit, key="number")

    @get("/products/{name:str}/labels", role=Role.READ, tells=samples.LABELS)
    async def get_labels(
        name: FromPath[str], first: FromQuery[int] = 1, count: FromQuery[int] = 1
    ) -> Response[str]:
        """Labels of minted serials in ZPL II, from number `first` on: send them to the printer."""
        product = product_key(name, "id")
        if not 1 <= count <= COUNT_MAX:
            raise bad_field("count", f"give 1 to {COUNT_MAX}")
        if not 0 <= first < MINTED_MAX:
            raise bad_field("first", "give the number of a minted serial")
        async with engine.connect() as connection:
            known = await known_product(connection, product)
        rows = await _numbered(product, first, count)
        if not rows:
            told = f"no serial of {product} from number {first} on was minted"
            raise Problem(404, "Not found", told)
        text = "".join(label(product, row.serial, known.name) for row in rows)
        return Response(text, media_type="text/plain; charset=utf-8")

    async def _numbered(product: str, first: int, limit: int) -> list[Row[Any]]:
        query = (
            select(minted)
            .where(minted.c.product == product, minted.c.number >= first)
            .order_by(minted.c.number)
            .limit(limit)
        )
        async with engine.connect() as connection:
            await known_product(connection, product)
            return list((await connection.execute(query)).all())

    return [post_serials, list_serials, get_labels]


async def _used(connection: AsyncConnection, product: str, serials: Iterable[str]) -> set[str]:
    """Those of these serials that units have, be they scanned, linked, or yet to come."""
    keys = {product_serial(product, serial).key: serial for serial in serials}
    columns = (unit.c.unit, identifier.c.id, identifier.c.unit, advance_notice_unit.c.unit)
    found = union(*(select(column).where(column.in_(keys)) for column in columns))
    return {keys[key] for key in (await connection.execute(found)).scalars()}


def _minted(*, product: str, number: int, serial: str, minted_at: datetime) -> dict[str, Any]:
    unit_of_it = product_serial(product, serial).key
    return {"number": number, "serial": serial, "unit": unit_of_it, "minted_at": minted_at}
