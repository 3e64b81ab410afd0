"""Work: a station chosen once, then scan after scan; each goes through the gateway like any read.

The page sends each code to `POST /keyed`. What is scanned first (a shelf, an order, a carton) is
told apart here, by what the code is and what the station does.
"""

import re
from typing import Any, Final

from litestar import Request, Response, get
from litestar.params import FromQuery
from litestar.response import Template
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api.access import Role, caller_of
from scantrail.api.days import Days
from scantrail.api.folding import identified
from scantrail.api.pages.frame import SCREEN, SECURITY_HEADERS, Times, screen
from scantrail.api.pages.judging import Judged, Tone, judged, station_of
from scantrail.domain.identifiers import NotIdentified
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra import tables

AnyRequest = Request[Any, Any, Any]

STATIONS_MAX = 1_000

#: Labels of shelves and orders that say what they are, as readers' files have them in examples.
_LOCATION: Final = re.compile(r"L-(.+)")
_ORDER: Final = re.compile(r"O-(.+)")

#: Steps of something that goes into, or comes out of, something: that one is scanned first.
INTO_STEPS: Final = frozenset(
    {
        BusinessStep.PACKING,
        BusinessStep.UNPACKING,
        BusinessStep.ASSEMBLING,
        BusinessStep.DISASSEMBLING,
    }
)

#: Steps by which a unit comes back: by a return authorisation, where one is told.
BACK_STEPS: Final = frozenset({BusinessStep.RETURNING})


def build_work(engine: AsyncEngine) -> list[Any]:
    """The route handlers."""

    @get("/page/work", role=Role.OPERATE, opt=SCREEN, include_in_schema=False)
    async def show(
        request: AnyRequest, station: FromQuery[str] = "", location: FromQuery[str] = ""
    ) -> Template:
        """The stations; or the one that was chosen, with the box, and perhaps a shelf."""
        if station:
            chosen = await station_of(engine, station)
            step = BusinessStep(chosen["business_step"])
            return screen(
                request,
                "work.html",
                station=chosen,
                goes_into=step in INTO_STEPS,
                comes_back=step in BACK_STEPS,
                location=location,
            )
        table = tables.station
        query = select(table.c.document).order_by(table.c.id).limit(STATIONS_MAX)
        async with engine.connect() as connection:
            stations = (await connection.execute(query)).scalars().all()
        sites = caller_of(request).sites
        shown = [each for each in stations if not sites or each["site"] in sites]
        return screen(request, "work_stations.html", stations=shown)

    @get("/page/work/code", role=Role.OPERATE, opt=SCREEN, include_in_schema=False)
    async def tell_code(code: FromQuery[str], station: FromQuery[str]) -> Response[dict[str, str]]:
        """What a scanned code is at a station: `kind` location, order, parent or unit; `value`."""
        step = BusinessStep((await station_of(engine, station))["business_step"])
        kind, value = context_of(code.strip(), step)
        if kind == "unit" and await _is_order(engine, value):
            kind = "order"
        told = {"kind": kind, "value": value}
        return Response(told, headers=SECURITY_HEADERS)

    @get("/page/work/line", role=Role.OPERATE, opt=SCREEN, include_in_schema=False)
    async def tell_line(
        request: AnyRequest, unit: FromQuery[str], event: FromQuery[str], code: FromQuery[str] = ""
    ) -> Template:
        """What became of one scan."""
        judgement = await judged(engine, unit)
        movement = tables.movement
        query = select(movement).where(movement.c.event_id == event).limit(1)
        keys = [unit] if judgement.unit is None else [unit, judgement.unit]
        async with engine.connect() as connection:
            row = (await connection.execute(query.where(movement.c.unit.in_(keys)))).first()
            void = select(tables.scan_void.c.event_id).where(tables.scan_void.c.event_id == event)
            is_voided = (await connection.execute(void)).first() is not None
            times = Times(await Days.read(connection))
        told = outcome_word(judgement, None if row is None else row.outcome, is_voided=is_voided)
        return screen(
            request,
            "work_line.html",
            line=told,
            code=code or unit,
            scan=row,
            is_voided=is_voided,
            event=event,
            unit=unit,
            times=times,
        )

    return [show, tell_code, tell_line]


def context_of(code: str, step: BusinessStep) -> tuple[str, str]:
    """What a code is at a station of this step, without asking anybody: location, order, parent or
    unit, and its value. Pure."""
    if found := _LOCATION.fullmatch(code):
        return "location", found[1]
    if found := _ORDER.fullmatch(code):
        return "order", found[1]
    if step in INTO_STEPS:
        try:
            scheme = identified(code).scheme
        except NotIdentified:
            return "unit", code
        if scheme == "sscc":
            return "parent", code
    return "unit", code


def outcome_word(
    told: Judged, outcome: str | None, *, is_voided: bool = False
) -> tuple[Tone, str, str]:
    """Tone, word and text for a scan: what stops a unit, else what became of the scan. Pure."""
    if is_voided:
        return Tone.GO, "voided", "it counts no more"
    if told.tone is Tone.STOP:
        return told.tone, told.word, told.text
    if outcome is None:
        return Tone.GO, "sent", "on its way"
    if outcome == "moved":
        return Tone.GO, "done", told.text
    return Tone.LOOK, outcome.replace("_", " "), told.text


async def _is_order(engine: AsyncEngine, code: str) -> bool:
    query = select(tables.sales_order.c.ref).where(tables.sales_order.c.ref == code)
    async with engine.connect() as connection:
        return (await connection.execute(query)).first() is not None
