"""Stations as forms and as CSV: where reads are made, and what a read there claims."""

from typing import Any

from litestar import Request, get
from litestar.params import FromQuery
from litestar.response import Stream, Template
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api.access import Role
from scantrail.api.csv_file import csv_of_query
from scantrail.api.pages.frame import SCREEN, screen
from scantrail.api.pages.judging import station_of
from scantrail.api.stations import COLUMNS
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra.tables import station as stations

AnyRequest = Request[Any, Any, Any]


def build_stations_screen(engine: AsyncEngine) -> list[Any]:
    """The route handlers."""

    @get("/page/new-station", role=Role.ADMIN, opt=SCREEN, include_in_schema=False)
    async def show_new(request: AnyRequest) -> Template:
        """The empty form, and that for a file."""
        return _form(request, None)

    @get("/page/site/station/edit", role=Role.ADMIN, opt=SCREEN, include_in_schema=False)
    async def show_form(request: AnyRequest, station: FromQuery[str]) -> Template:
        """The station as a form: it is sent as a whole."""
        return _form(request, await station_of(engine, station))

    @get("/page/stations.csv", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def as_csv(site: FromQuery[str] = "") -> Stream:
        """All stations, or those of a site, as they can be entered again."""
        query = select(stations.c.document).order_by(stations.c.id)
        if site:
            query = query.where(stations.c.document["site"].astext == site)
        async with engine.connect() as connection:
            return await csv_of_query(connection, "stations", COLUMNS, query, _line)

    return [show_new, show_form, as_csv]


def _form(request: AnyRequest, station: Any) -> Template:
    return screen(
        request, "station_form.html", station=station, steps=list(BusinessStep), columns=COLUMNS
    )


def _line(row: Any) -> list[Any]:
    return [row.document.get(name) for name in COLUMNS]
