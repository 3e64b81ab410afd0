"""The shipping screen: what left last at one station, and the word for it, read from afar."""

from typing import Any

from litestar import Request, get
from litestar.params import FromQuery
from litestar.response import Template
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api.access import Role
from scantrail.api.days import Days
from scantrail.api.pages.frame import SCREEN, Times, screen
from scantrail.api.pages.judging import NEVER_SCANNED, Judged, Tone, judged_each, station_of
from scantrail.api.station_feed import StationFeed
from scantrail.domain.vocabulary import OUTBOUND_STEPS
from scantrail.infra import tables

AnyRequest = Request[Any, Any, Any]

#: Below the last one, smaller.
SHOWN_BELOW = 6


def build_shipping(engine: AsyncEngine, feed: StationFeed) -> list[Any]:
    """The route handlers."""

    @get("/page/shipping", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show(request: AnyRequest, station: FromQuery[str] = "") -> Template:
        """The stations at which units leave; or what left at one."""
        if not station:
            table = tables.station
            query = select(table.c.document).order_by(table.c.id)
            outbound = [step.value for step in OUTBOUND_STEPS]
            query = query.where(table.c.document["business_step"].astext.in_(outbound))
            async with engine.connect() as connection:
                stations = (await connection.execute(query)).scalars().all()
            return screen(request, "shipping_stations.html", stations=stations)
        chosen = await station_of(engine, station)
        async with engine.connect() as connection:
            times = Times(await Days.read(connection))
        last = (await feed.at(station))[: SHOWN_BELOW + 1]
        words = await judged_each(engine, [each.unit for each in last])
        shown = [(each, *out_word(told)) for each, told in zip(last, words, strict=True)]
        return screen(request, "shipping.html", station=chosen, last=shown, times=times)

    return [show]


def out_word(told: Judged) -> tuple[Tone, str, str]:
    """Tone, word and text for a unit that was scanned on its way out. Pure."""
    if told.word == NEVER_SCANNED:  # the feed is ahead of the rows by some tenths of a second
        return Tone.LOOK, "wait", "its scan is being written"
    if told.tone is Tone.STOP or told.word not in ("here", "shipped"):
        return told.tone, told.word, told.text
    return Tone.GO, "ok", told.text
