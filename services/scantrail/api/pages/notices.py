"""Advance notices: what was announced, and how far receiving is."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from litestar import Request, get
from litestar.params import FromPath, FromQuery
from litestar.response import Stream, Template
from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.access import Role
from scantrail.api.csv_file import Lines, csv_file
from scantrail.api.days import Days
from scantrail.api.notice_csv import COLUMNS as TAKEN_COLUMNS
from scantrail.api.notice_queries import compare_notice, find_notice
from scantrail.api.pages.frame import SCREEN, Times, screen
from scantrail.api.pages.newest import Newest
from scantrail.api.problems import Problem
from scantrail.domain.identifiers import product_and_serial
from scantrail.domain.receiving import DIFFERENT, Compared, Comparison, UnitStatus
from scantrail.infra.tables import (
    advance_notice,
    advance_notice_quantity,
    advance_notice_unit,
    site,
    station,
)

AnyRequest = Request[Any, Any, Any]

SHOWN_MAX: Final = 25
UNITS_MAX: Final = 100
LINES_MAX: Final = 50

#: Of a notice with more units the list does not say how far it is: its own screen does.
LISTED_UNITS_MAX: Final = 2_000

_NEWEST = Newest(advance_notice.c.entered_at, advance_notice.c.id)

COLUMNS = (
    "unit",
    "status",
    "line",
    "carton",
    "kit",
    "instead_of",
    "received_at",
    "station",
    "received_in",
)

#: What a unit that was announced may be; the others are of no line.
_OF_LINES = (
    UnitStatus.EXPECTED,
    UnitStatus.RECEIVED,
    UnitStatus.BY_CARTON,
    UnitStatus.SHORT,
    UnitStatus.SWAPPED,
)


@dataclass(slots=True)
class Line:
    """A line of a notice: what it announces, and how many of its units stand how."""

    number: int
    announced: int = 0
    product: str | None = None
    first: str = ""
    last: str = ""
    counts: dict[UnitStatus, int] = field(default_factory=lambda: dict.fromkeys(_OF_LINES, 0))

    @property
    def is_complete(self) -> bool:
        """Whether all of it is here."""
        return not (self.counts[UnitStatus.EXPECTED] or self.counts[UnitStatus.SHORT])


def build_notices_screen(engine: AsyncEngine) -> list[Any]:
    """The route handlers."""

    @get("/page/notices", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show(
        request: AnyRequest,
        status: FromQuery[str] = "open",
        before: FromQuery[str] = "",
    ) -> Template:
        """The notices, the newest first; without a status those that are open."""
        table = advance_notice
        query = select(table)
        if status == "open":
            query = query.where(table.c.closed_at.is_(None))
        elif status == "closed":
            query = query.where(table.c.closed_at.is_not(None))
        async with engine.connect() as connection:
            rows = (await connection.execute(_NEWEST.page(query, before, SHOWN_MAX))).all()
            times = Times(await Days.read(connection))
        return screen(
            request,
            "notices.html",
            notices=rows[:SHOWN_MAX],
            following=_NEWEST.following(rows, SHOWN_MAX),
            wanted={"status": status},
            here={"status": status, "before": before},
            times=times,
        )

    @get("/page/notices/{notice:str}/sum", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show_sum(request: AnyRequest, notice: FromPath[str]) -> Template:
        """How far a notice is, in a line of the list."""
        async with engine.connect() as connection:
            row = await _found(connection, notice)
            few = (
                select(advance_notice_unit.c.unit)
                .where(advance_notice_unit.c.notice == notice)
                .limit(LISTED_UNITS_MAX + 1)
                .subquery()
            )
            count = (await connection.execute(select(func.count()).select_from(few))).scalar_one()
            compared = None
            if count <= LISTED_UNITS_MAX:
                compared = await compare_notice(connection, row)
        return screen(
            request, "notice_sum.html", compared=compared, most=LISTED_UNITS_MAX, notice=row
        )

    @get("/page/notices/{notice:str}", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show_one(request: AnyRequest, notice: FromPath[str]) -> Template:
        """One notice: who sent it, where it is received; its progress is a part of its own."""
        async with engine.connect() as connection:
            row = await _found(connection, notice)
            table = advance_notice_quantity
            counted = select(table).where(table.c.notice == notice).order_by(table.c.product)
            quantities = (await connection.execute(counted)).all()
            times = Times(await Days.read(connection))
        return screen(request, "notice.html", notice=row, quantities=quantities, times=times)

    @get("/page/notices/{notice:str}/progress", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show_progress(
        request: AnyRequest,
        notice: FromPath[str],
        status: FromQuery[str] = "",
        line: FromQuery[int] = 0,
        after: FromQuery[str] = "",
    ) -> Template:
        """How far it is as a whole and line by line, from behind `line` on; and the units that
        differ, or those of a status, from behind `after` on."""
        wanted = frozenset([UnitStatus(status)] if status in [*UnitStatus] else DIFFERENT)
        async with engine.connect() as connection:
            row = await _found(connection, notice)
            compared = await compare_notice(connection, row)
            times = Times(await Days.read(connection))
        lines = [each for each in lines_of(compared) if each.number > line]
        units = [
            each
            for each in sorted((*compared.units, *compared.cartons))
            if each.status in wanted and each.unit > after
        ]
        return screen(
            request,
            "notice_progress.html",
            notice=row,
            compared=compared,
            lines=lines[:LINES_MAX],
            next_line=lines[LINES_MAX - 1].number if len(lines) > LINES_MAX else None,
            others=others_of(compared),
            units=units[:UNITS_MAX],
            next_unit=units[UNITS_MAX - 1].unit if len(units) > UNITS_MAX else None,
            of_lines=_OF_LINES,
            statuses=list(UnitStatus),
            wanted={"status": status, "line": line, "after": after},
            times=times,
        )

    @get(
        "/page/notices/{notice:str}/progress.csv",
        role=Role.READ,
        opt=SCREEN,
        include_in_schema=False,
    )
    async def as_csv(notice: FromPath[str]) -> Stream:
        """Each unit and carton, announced or not, with how it stands."""
        async with engine.connect() as connection:
            compared = await compare_notice(connection, await _found(connection, notice))

        async def write(lines: Lines) -> None:
            lines([_line(each) for each in sorted((*compared.units, *compared.cartons))])

        return await csv_file(f"notice-{notice.replace(':', '-')}", COLUMNS, write)

    @get("/page/new-notice", role=Role.OPERATE, opt=SCREEN, include_in_schema=False)
    async def show_new(request: AnyRequest) -> Template:
        """The form for a file."""
        async with engine.connect() as connection:
            sites = (await connection.execute(select(site.c.id).order_by(site.c.id))).scalars()
            known = station.c.document["site"].astext
            others = (await connection.execute(select(known).distinct())).scalars()
            names = sorted({*sites, *others})
        return screen(request, "notice_form.html", sites=names, columns=TAKEN_COLUMNS)

    return [show, show_sum, show_one, show_progress, as_csv, show_new]


async def _found(connection: AsyncConnection, notice: str) -> Row[Any]:
    row = await find_notice(connection, notice)
    if row is None:
        raise Problem(404, "Not found", f"there is no advance notice {notice!r}")
    return row


def lines_of(compared: Comparison) -> list[Line]:
    """The lines that announce units, in their order; cartons are counted apart. Pure."""
    lines = dict[int, Line]()
    for each in compared.units:  # sorted by unit
        if each.announced is None:
            continue
        number = each.announced.line
        of = lines.setdefault(number, Line(number))
        product, serial = product_and_serial(each.unit)
        if not of.announced:
            of.product, of.first = product, serial
        elif product != of.product:
            of.product = None
        of.last = serial
        of.announced += 1
        of.counts[each.status] += 1
    return [lines[number] for number in sorted(lines)]


def others_of(compared: Comparison) -> Mapping[UnitStatus, int]:
    """Units that came and were not announced, by how they stand. Pure."""
    counts = dict[UnitStatus, int]()
    for each in _unannounced(compared.units):
        counts[each.status] = counts.get(each.status, 0) + 1
    return counts


def _unannounced(units: Iterable[Compared]) -> Iterable[Compared]:
    return (each for each in units if each.announced is None)


def _line(each: Compared) -> tuple[Any, ...]:
    announced, received = each.announced, each.received
    return (
        each.unit,
        each.status.value,
        announced and announced.line,
        announced and announced.parent,
        announced and announced.kit,
        each.instead_of,
        received and received.at,
        received and received.station,
        received and received.parent,
    )
