"""Returns: what comes back by which authorisation, and what becomes of it."""

from typing import Any

from litestar import Request, get
from litestar.params import FromQuery
from litestar.response import Stream, Template
from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api.access import Role
from scantrail.api.bodies import unit_key
from scantrail.api.csv_file import csv_of_query
from scantrail.api.days import Days
from scantrail.api.histories import keys_of
from scantrail.api.pages.frame import SCREEN, Times, screen
from scantrail.api.pages.newest import Newest
from scantrail.api.pages.orders import bought_by
from scantrail.api.problems import bad_field
from scantrail.api.returns import find_return, told_return
from scantrail.domain.returns import FOLLOWING, SOURCES, ReturnState
from scantrail.infra.tables import party, return_authorisation, return_decision, return_line

AnyRequest = Request[Any, Any, Any]

SHOWN_MAX = 50

_NEWEST = Newest(return_authorisation.c.authorised_at, return_authorisation.c.rma)

COLUMNS = (
    "rma",
    "order",
    "purchaser",
    "authorised_at",
    "line",
    "unit",
    "product",
    "quantity",
    "decided",
    "decided_at",
    "replacement",
)

#: What people decide of something that came, and the word on the button.
DECISIONS = {
    ReturnState.RETURNED: "It came",
    ReturnState.INSPECTED: "It was inspected",
    ReturnState.RESTOCKED: "Restock it",
    ReturnState.REPAIRED: "It was repaired",
    ReturnState.REPLACED: "Replace it",
    ReturnState.SCRAPPED: "Scrap it",
}


def build_returns_screen(engine: AsyncEngine) -> list[Any]:
    """The route handlers."""

    async def listed(order: str, who: str, unit: str) -> Select[Any]:
        query = select(return_authorisation, party.c.name).join(
            party, party.c.id == return_authorisation.c.purchaser
        )
        if asked := order.strip():
            query = query.where(return_authorisation.c.order_ref == asked)
        if asked := who.strip():
            query = query.where(return_authorisation.c.purchaser.in_(bought_by(asked)))
        if asked := unit.strip():
            async with engine.connect() as connection:
                keys = await keys_of(connection, unit_key(asked, "unit"))
            having = select(return_line.c.rma).where(return_line.c.unit.in_(keys.every))
            query = query.where(return_authorisation.c.rma.in_(having))
        return query

    @get("/page/returns", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show(
        request: AnyRequest,
        order: FromQuery[str] = "",
        who: FromQuery[str] = "",
        unit: FromQuery[str] = "",
        before: FromQuery[str] = "",
    ) -> Template:
        """The newest returns first, page by page, or those that were asked for."""
        query = _NEWEST.page(await listed(order, who, unit), before, SHOWN_MAX)
        async with engine.connect() as connection:
            rows = (await connection.execute(query)).all()
            counts = (
                select(return_line.c.rma, func.sum(return_line.c.quantity))
                .where(return_line.c.rma.in_([row.rma for row in rows]))
                .group_by(return_line.c.rma)
            )
            pieces = {row[0]: int(row[1]) for row in await connection.execute(counts)}
            times = Times(await Days.read(connection))
        wanted = {"order": order, "who": who, "unit": unit}
        return screen(
            request,
            "returns.html",
            returns=rows[:SHOWN_MAX],
            pieces=pieces,
            following=_NEWEST.following(rows, SHOWN_MAX),
            wanted=wanted,
            here=wanted | {"before": before},
            times=times,
        )

    @get("/page/returns.csv", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def as_csv(
        order: FromQuery[str] = "", who: FromQuery[str] = "", unit: FromQuery[str] = ""
    ) -> Stream:
        """All of the list, a line for each decision, and for each line without one."""
        found = (await listed(order, who, unit)).subquery()
        decided = return_decision
        query = (
            select(found, return_line, decided.c.state, decided.c.at, decided.c.replacement)
            .join(return_line, return_line.c.rma == found.c.rma)
            .outerjoin(
                decided,
                (decided.c.rma == return_line.c.rma) & (decided.c.line == return_line.c.line),
            )
            .order_by(
                found.c.authorised_at.desc(), found.c.rma, return_line.c.line, decided.c.number
            )
        )
        async with engine.connect() as connection:
            return await csv_of_query(connection, "returns", COLUMNS, query, _line)

    @get("/page/return", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show_one(request: AnyRequest, rma: FromQuery[str]) -> Template:
        """One return: each line with its state, its scans, and what may be decided."""
        async with engine.connect() as connection:
            told = await told_return(connection, await find_return(connection, rma))
            times = Times(await Days.read(connection))
        return screen(
            request, "return.html", rma=told, choices=choices, words=DECISIONS, times=times
        )

    @get("/page/new-return", role=Role.OPERATE, opt=SCREEN, include_in_schema=False)
    async def show_new(
        request: AnyRequest, order: FromQuery[str] = "", unit: FromQuery[str] = ""
    ) -> Template:
        """The form, with what is known of the order or the unit already."""
        return screen(request, "return_form.html", order=order, unit=unit, kind="unit")

    @get("/page/return-line", role=Role.OPERATE, opt=SCREEN, include_in_schema=False)
    async def show_line(request: AnyRequest, kind: FromQuery[str]) -> Template:
        """The fields of one more line."""
        if kind not in ("unit", "quantity"):
            raise bad_field("kind", "give unit or quantity")
        return screen(request, "return_line.html", kind=kind, unit="", is_added=True)

    return [show, as_csv, show_one, show_new, show_line]


def choices(line: dict[str, Any]) -> list[ReturnState]:
    """What may be decided of a line of a return now, in the order in which it is done. Pure."""
    if line["unit"] is not None:
        following = FOLLOWING[ReturnState(line["state"])]
        return [state for state in DECISIONS if state in following]
    there = {ReturnState(name) for name in line["counts"]}
    return [state for state in DECISIONS if there.intersection(SOURCES[state])]


def _line(row: Any) -> tuple[Any, ...]:
    return (
        row.rma,
        row.order_ref,
        row.purchaser,
        row.authorised_at,
        row.line,
        row.unit,
        row.product,
        row.quantity,
        row.state,
        row.at,
        row.replacement,
    )
