"""Counts: what should stand at a place against what is scanned there, live."""

from typing import Any, Final

from litestar import Request, get
from litestar.params import FromPath, FromQuery
from litestar.response import Stream, Template
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api.access import Role
from scantrail.api.counts import DIFFERENT, find_count, units_of_count
from scantrail.api.csv_file import Lines, csv_file
from scantrail.api.days import Days
from scantrail.api.pages.frame import SCREEN, Times, screen
from scantrail.domain.counting import CountStatus, count_statuses
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra.tables import count_session, station

AnyRequest = Request[Any, Any, Any]

SHOWN_MAX: Final = 100

COLUMNS: Final = ("unit", "status", "counted_at", "event_id")


def build_counts_screen(engine: AsyncEngine) -> list[Any]:
    """The route handlers."""

    @get("/page/counts", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show(request: AnyRequest) -> Template:
        """Counts: the open ones, then the newest that were closed; and a form that begins one."""
        counts, closed = count_session, count_session.c.closed_at
        newest = select(counts).order_by(closed.is_not(None), counts.c.opened_at.desc())
        async with engine.connect() as connection:
            rows = (await connection.execute(newest.limit(SHOWN_MAX))).all()
            times = Times(await Days.read(connection))
        return screen(request, "counts.html", counts=rows, most=SHOWN_MAX, times=times)

    @get("/page/counts/{count_id:str}", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show_one(
        request: AnyRequest,
        count_id: FromPath[str],
        status: FromQuery[str] = "",
        after: FromQuery[str] = "",
    ) -> Template:
        """How a count stands: what differs, or the units of one status."""
        step, site = (station.c.document[name].astext for name in ("business_step", "site"))
        async with engine.connect() as connection:
            row = await find_count(connection, count_id)
            units = await units_of_count(connection, row)
            counting = select(station.c.document).where(
                step == BusinessStep.CYCLE_COUNTING.value, site == row.site
            )
            found = await connection.execute(counting.order_by(station.c.id).limit(SHOWN_MAX))
            stations = found.scalars().all()
            times = Times(await Days.read(connection))
        wanted = tuple(each for each in CountStatus if each == status) or DIFFERENT
        listed = [each for each in units if each.status in wanted and each.unit > after]
        return screen(
            request,
            "count.html",
            count=row,
            counts=count_statuses(units),
            statuses=list(CountStatus),
            units=listed[:SHOWN_MAX],
            following=listed[SHOWN_MAX - 1].unit if len(listed) > SHOWN_MAX else None,
            wanted={"status": wanted[0].value if len(wanted) == 1 else "", "after": after},
            stations=stations,
            times=times,
        )

    @get("/page/counts/{count_id:str}/csv", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def as_csv(count_id: FromPath[str]) -> Stream:
        """All units of a count, each with how it stands."""

        async def write(lines: Lines) -> None:
            lines([_line(each) for each in units])

        async with engine.connect() as connection:
            row = await find_count(connection, count_id)
            units = await units_of_count(connection, row)
        return await csv_file(f"count-{row.id.replace(':', '-')}", COLUMNS, write)

    return [show, show_one, as_csv]


def _line(each: Any) -> tuple[Any, ...]:
    scan = each.counted
    return (each.unit, each.status.value, scan and scan.at, scan and scan.event_id)
