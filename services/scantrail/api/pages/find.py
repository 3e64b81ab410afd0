"""Find: one box, and the answer in words."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.access import Role
from scantrail.api.days import Days
from scantrail.api.folding import every_spelling
from scantrail.api.histories import as_keys
from scantrail.api.keyed import near_units
from scantrail.api.kinship import find_kinship
from scantrail.api.pages.frame import SCREEN, SECURITY_HEADERS, Times, screen
from scantrail.api.problems import Problem
from scantrail.api.queries import find_trail
from scantrail.api.recall_lookup import recalls_of
from scantrail.api.units import look_up
from scantrail.api.warranties import warranty_in_short
from scantrail.infra import tables

AnyRequest = Request[Any, Any, Any]

#: Of a long trail so many scans are shown at first: a screen is to be there at once.
TRAIL_SHOWN = 50

_UNITS, _EVENTS = "/page/units/", "/page/events/"


def build_find(engine: AsyncEngine) -> list[Any]:
    """The route handlers."""

    @get("/", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def find(
        request: AnyRequest, q: FromQuery[str] = "", whole: FromQuery[bool] = False
    ) -> Response[Any]:
        """The search box; with `q`, what it names, its trail `whole` where it is a long one."""
        told: dict[str, Any] = {"q": q, "most": None if whole else TRAIL_SHOWN}
        if q.strip():
            try:
                told |= await _once_more(_shown, engine, q)
            except Problem as problem:
                told |= {"problem": problem.body, "near": await _near(engine, problem)}
        return screen(request, "find.html", **told)

    @get("/page/units/{key:path}", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def find_again(
        request: AnyRequest, key: FromPath[str], version: FromQuery[int], q: FromQuery[str] = ""
    ) -> Response[Any]:
        """The answer about a unit, where it is not the one that is shown: else 204."""
        unit = await look_up(engine, _sent(request, _UNITS))
        if unit["version"] == version and not unit["alerts"]:
            return Response(None, status_code=204, headers=SECURITY_HEADERS)
        told = await _shown(engine, unit["unit"])
        told |= {"q": q or unit["unit"], "most": TRAIL_SHOWN}
        return screen(request, "find_unit.html", **told)

    @get("/page/kinship", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show_kinship(request: AnyRequest, unit: FromQuery[str]) -> Response[Any]:
        """What is and was inside the unit, and inside what it is and was."""
        found = await look_up(engine, unit)
        async with engine.connect() as connection:
            times = Times(await Days.read(connection))
        told = await find_kinship(engine, found)
        return screen(request, "kinship.html", kinship=told, times=times, site=found["site"])

    @get("/page/events/{event_id:path}", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show_event(
        request: AnyRequest, event_id: FromPath[str], unit: FromQuery[str]
    ) -> Response[Any]:
        """One scan with all that is kept of it, as JSON."""
        movement = tables.movement
        query = select(movement).where(
            movement.c.unit == unit, movement.c.event_id == _sent(request, _EVENTS)
        )
        async with engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        if not rows:
            raise Problem(404, "Not found", "there is no such scan any more")
        told = msgspec.json.encode([dict(row._mapping) for row in rows])
        shown = msgspec.json.format(told, indent=2).decode()
        return screen(request, "event.html", text=shown)

    return [find, find_again, show_kinship, show_event]


async def _once_more(ask: Any, engine: AsyncEngine, text: str) -> Any:
    """Asked again over a connection of after the restart, where PostgreSQL was restarted."""
    try:
        return await ask(engine, text)
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        return await ask(engine, text)


async def _shown(engine: AsyncEngine, text: str) -> dict[str, Any]:
    unit = await look_up(engine, text)
    every = (unit["unit"], *unit["aliases"])
    async with engine.connect() as connection:
        times = Times(await Days.read(connection))
        (spellings,) = await every_spelling(connection, [every])
        reasons = await reasons_by_key(connection, spellings)
        recalls = await recalls_of(connection, as_keys(every))
        named = select(tables.product.c.document["name"].astext)
        named = named.where(tables.product.c.id == unit["product"])
        product_name = (await connection.execute(named)).scalar()
    warranty = await warranty_in_short(engine, every if unit["has_warranty"] else ())
    return {
        "unit": unit,
        "product_name": product_name,
        "sentence": sentence(unit, times),
        "trail": list(reversed(await find_trail(engine, unit))),
        "times": times,
        "holds": [reason for key in spellings for reason in reasons.get(key, ())],
        "recalls": recalls,
        "warranty": warranty,
    }


async def reasons_by_key(
    connection: AsyncConnection, keys: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """Why what has one of these keys is held, by key."""
    query = select(tables.hold).where(tables.hold.c.id.in_(keys))
    return {row.id: row.document["reasons"] for row in await connection.execute(query)}


async def _near(engine: AsyncEngine, problem: Problem) -> list[str]:
    """Units near to one that was understood and never seen."""
    key = problem.body.get("understood", {}).get("key")
    if problem.status != 404 or key is None:
        return []
    async with engine.connect() as connection:
        return list(await near_units(connection, key))


def _sent(request: AnyRequest, prefix: str) -> str:
    """The rest of the address as it was sent, for keys and ids have slashes."""
    return unquote(request.scope["raw_path"].decode("ascii", "replace").removeprefix(prefix))


def sentence(unit: dict[str, Any], times: Times) -> str:
    """Where the unit is and who has it, in one sentence."""
    if unit["phase"] is None:
        return "Nothing is known of where it is: no scan of it counts."
    since = times.day(unit["since"], unit["site"])
    party = unit["custody"] or "somebody unknown"
    inside = f", inside {unit['parent']}" if unit["parent"] else ""
    if unit["phase"] == "shipped":
        order = f", order {unit['order']}" if unit["order"] else ""
        if unit["purchaser"]:
            who = f"{unit['purchaser']['name']}, {unit['purchaser']['address']}"
            has = unit["possessing_party"] or {"id": party, "name": None}
            party = has["name"] or has["id"]
            return f"Shipped on {since} to {who}{order}{inside}; last in custody of {party}."
        return f"Shipped on {since}{order or ' without an order'}{inside}; in custody of {party}."
    where = unit["location"] or unit["read_point"]
    if unit["phase"] == "gone":
        return f"Decommissioned on {since} at {where}, site {unit['site']}."
    return f"In {where}, site {unit['site']}{inside}, since {since}; in custody of {party}."
