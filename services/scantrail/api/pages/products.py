"""Products: what their owner decided about serials, and what that brings and costs here."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from litestar import Request, get
from litestar.params import FromPath, FromQuery
from litestar.response import Stream, Template
from sqlalchemy import Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.access import Role
from scantrail.api.bodies import product_key
from scantrail.api.csv_file import csv_of_query
from scantrail.api.days import Days
from scantrail.api.histories import terms_of
from scantrail.api.pages.frame import SCREEN, Times, screen
from scantrail.api.pages.holdings import how_long
from scantrail.api.pages.product_words import brings, changes, choice_of, costs, why_serials
from scantrail.api.pages.seldom import Seldom
from scantrail.api.problems import Problem
from scantrail.api.product_figures import Counted, Figures, count_products
from scantrail.api.products import entered_policies
from scantrail.contracts.identity import SCHEMES
from scantrail.domain.product import PLAIN_SERIAL, Captured, Policy, Product, Serials, policy_at
from scantrail.domain.severity import Severity
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra.tables import product as products
from scantrail.infra.tables import regulation, station, unit, warranty_term

AnyRequest = Request[Any, Any, Any]

SHOWN_MAX = 100
POLICIES_SHOWN_MAX = 50

UNIT_COLUMNS = (
    "unit",
    "serial",
    "standing",
    "site",
    "location",
    "since",
    "order",
    "lot",
    "produced_on",
    "scans",
)


def build_products_screen(engine: AsyncEngine) -> list[Any]:
    """The route handlers. `engine` is one with transactions: all units are counted in one."""
    figures = Seldom[Counted](lambda: count_products(engine), "the figures of products")

    @get("/page/products", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show(
        request: AnyRequest, q: FromQuery[str] = "", after: FromQuery[str] = ""
    ) -> Template:
        """The products by id, page by page; `q`: an id's beginning, or a part of the name."""
        async with engine.connect() as connection:
            rows = (await connection.execute(_listed(q, after))).all()
            regulated = select(regulation.c.id).where(regulation.c.id.in_([r.id for r in rows]))
            mandated = set((await connection.execute(regulated)).scalars())
        counted = figures.known()
        found = [_now(row.document) for row in rows[:SHOWN_MAX]]
        return screen(
            request,
            "products.html",
            products=found,
            choice_of=choice_of,
            mandated=mandated,
            counted=counted,
            unentered=await _unentered(engine, counted) if not after and not q.strip() else [],
            following=rows[SHOWN_MAX - 1].id if len(rows) > SHOWN_MAX else None,
            wanted={"q": q},
            here={"q": q, "after": after},
            now=datetime.now(UTC),
            how_long=how_long,
        )

    @get("/page/products/{name:str}", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show_one(request: AnyRequest, name: FromPath[str]) -> Template:
        """What holds for a product now, held and will hold, and how its serials look."""
        key = product_key(name, "id")
        async with engine.connect() as connection:
            found = await _found(connection, key)
            is_regulated = await _is_regulated(connection, key)
            every = entered_policies(key)
            newest = select(every).order_by(every.c.version.desc()).limit(POLICIES_SHOWN_MAX + 1)
            entered = [_entered(row) for row in await connection.execute(newest)]
            terms = await terms_of(connection, key)
            version = select(func.coalesce(func.sum(warranty_term.c.version), 0))
            of_product = version.where(warranty_term.c.product == key)
            terms_version = (await connection.execute(of_product)).scalar_one()
            stations = await _stations_of_stock(connection)
            times = Times(await Days.read(connection))
        now = datetime.now(UTC)
        return screen(
            request,
            "product.html",
            product=found and policy_at(found, now),
            key=key,
            choice_of=choice_of,
            why=why_serials(is_regulated=is_regulated, is_entered=found is not None),
            policies=found.policies if found else (),
            entered=entered[:POLICIES_SHOWN_MAX],
            is_cut=len(entered) > POLICIES_SHOWN_MAX,
            terms=terms,
            terms_version=terms_version,
            stations=stations,
            times=times,
            now=now,
        )

    @get("/page/products/{name:str}/figures", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show_figures(request: AnyRequest, name: FromPath[str]) -> Template:
        """What serials bring and cost there, and what another policy would change."""
        key = product_key(name, "id")
        async with engine.connect() as connection:
            found = await _found(connection, key)
            is_regulated = await _is_regulated(connection, key)
        counted = await figures.told()
        now = datetime.now(UTC)
        choice = choice_of(Policy() if found is None else policy_at(found, now))
        of_product = counted.of(key)
        return screen(
            request,
            "product_figures.html",
            costs=costs(of_product),
            brings=brings(of_product),
            changes=changes(choice, of_product, is_regulated=is_regulated),
            choice=choice,
            counted=counted,
            now=now,
            how_long=how_long,
        )

    @get("/page/products/{name:str}/edit", role=Role.ADMIN, opt=SCREEN, include_in_schema=False)
    async def show_form(request: AnyRequest, name: FromPath[str]) -> Template:
        """The product as a form: it is sent as a whole."""
        key = product_key(name, "id")
        async with engine.connect() as connection:
            found = await _found(connection, key)
        now = datetime.now(UTC)
        return _form(request, found and policy_at(found, now), key)

    @get("/page/new-product", role=Role.ADMIN, opt=SCREEN, include_in_schema=False)
    async def show_new(request: AnyRequest) -> Template:
        """The empty form."""
        return _form(request, None, None)

    @get("/page/products/{name:str}/units.csv", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def as_csv(name: FromPath[str]) -> Stream:
        """All units whose key tells the product, by serial."""
        key = product_key(name, "id")
        query = (
            select(unit)
            .where(unit.c.product == key, unit.c.joined.is_(None))
            .order_by(unit.c.product, unit.c.serial, unit.c.unit)
        )
        name_of_file = f"units-{key.replace(':', '-')}"
        async with engine.connect() as connection:
            return await csv_of_query(connection, name_of_file, UNIT_COLUMNS, query, _line)

    return [show, show_one, show_figures, show_form, show_new, as_csv]


def _listed(q: str, after: str) -> Select[Any]:
    query = select(products.c.id, products.c.document).where(products.c.id > after)
    if asked := q.strip():
        named = products.c.document["name"].astext.icontains(asked, autoescape=True)
        begins = products.c.id.startswith(asked.zfill(14) if asked.isdecimal() else asked)
        query = query.where(or_(products.c.id.startswith(asked, autoescape=True), begins, named))
    return query.order_by(products.c.id).limit(SHOWN_MAX + 1)


def _now(document: dict[str, Any]) -> Product:
    return policy_at(msgspec.convert(document, Product), datetime.now(UTC))


async def _unentered(engine: AsyncEngine, counted: Counted | None) -> list[tuple[str, Figures]]:
    """Products of units that were scanned, which nobody entered: those with most units first."""
    if counted is None:
        return []
    async with engine.connect() as connection:
        named = select(products.c.id).where(products.c.id.in_(counted.products))
        known = set((await connection.execute(named)).scalars())
    found = [(name, of) for name, of in counted.products.items() if of.units and name not in known]
    return sorted(found, key=lambda each: (-each[1].units, each[0]))[:SHOWN_MAX]


async def _found(connection: AsyncConnection, key: str) -> Product | None:
    """The product as it was entered; None of one of which only units are known. Raises Problem
    404 where nothing is."""
    query = select(products.c.document).where(products.c.id == key)
    document = (await connection.execute(query)).scalar()
    if document is not None:
        return msgspec.convert(document, Product)
    seen = select(unit.c.unit).where(unit.c.product == key).limit(1)
    if (await connection.execute(seen)).first() is None:
        raise Problem(404, "Not found", f"there is no product {key}, and no unit of it")
    return None


async def _is_regulated(connection: AsyncConnection, key: str) -> bool:
    query = select(regulation.c.id).where(regulation.c.id == key)
    return (await connection.execute(query)).first() is not None


async def _stations_of_stock(connection: AsyncConnection) -> list[dict[str, Any]]:
    step = station.c.document["business_step"].astext
    query = select(station.c.document).where(step == BusinessStep.STOCK_TAKING.value)
    return list((await connection.execute(query.order_by(station.c.id).limit(SHOWN_MAX))).scalars())


def _entered(row: Any) -> dict[str, Any]:
    policy = msgspec.convert(row.document, Policy)
    return {
        "policy": policy,
        "valid_from": row.valid_from,
        "entered_at": row.entered_at,
        "version": row.version,
        "counts": row.counts,
    }


def _form(request: AnyRequest, found: Product | None, key: str | None) -> Template:
    return screen(
        request,
        "product_form.html",
        product=found,
        key=key,
        serials=list(Serials),
        captured=list(Captured),
        severities=list(Severity),
        steps=list(BusinessStep),
        schemes=sorted(SCHEMES | {PLAIN_SERIAL}),
    )


def _line(row: Any) -> tuple[Any, ...]:
    return (
        row.unit,
        row.serial,
        row.phase or "no scan counts",
        row.site,
        row.business_location or row.read_point,
        row.since,
        row.order_ref,
        row.lot,
        row.produced_on,
        row.version,
    )
