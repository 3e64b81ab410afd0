"""Where is this unit, and how did it get there: by any spelling of any identifier."""

from typing import Any
from urllib.parse import unquote

from litestar import Request, Response, get
from litestar.params import FromPath
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api import answers
from scantrail.api.access import Role
from scantrail.api.folding import identified, keys_told
from scantrail.api.kinship import find_kinship
from scantrail.api.preconditions import with_etag
from scantrail.api.problems import Problem
from scantrail.api.queries import count_removed, find_by_serial, find_trail
from scantrail.api.warranties import find_warranty, warranty_in_short
from scantrail.api.whereabouts import find_unit
from scantrail.contracts.records import NAME_LENGTH_MAX
from scantrail.domain.identifiers import Identified, NotIdentified

AnyRequest = Request[Any, Any, Any]

_PREFIX = "/units/"
_TRAIL = "/trail"
#: How many scans were removed of the history.
_REMOVED = "Scans-Removed"
_KINSHIP = "/kinship"
_WARRANTY = "/warranty"


def build_units(engine: AsyncEngine) -> list[Any]:
    """The route handlers."""

    @get("/units/{spelling:path}", role=Role.READ, tells=answers.UNIT)
    async def get_unit(request: AnyRequest, spelling: FromPath[str]) -> Response[Any]:
        """`GET /units/{spelling}`, its `/trail`, its `/warranty`, and its `/kinship`: what is or
        was inside what.

        The spelling is taken from the address as it was sent, for a Digital Link has slashes.
        """
        sent = request.scope["raw_path"].decode("ascii", "replace").removeprefix(_PREFIX)
        tell = _warranty if sent.endswith(_WARRANTY) else _tell
        try:
            return await tell(engine, sent)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            return await tell(engine, sent)  # over a connection of after the restart

    return [get_unit]


async def _tell(engine: AsyncEngine, sent: str) -> Response[Any]:
    """What is asked of a unit by the address behind `/units/`."""
    if sent.endswith(_TRAIL):
        found = await look_up(engine, unquote(sent.removesuffix(_TRAIL)))
        trail = await find_trail(engine, found)
        removed = await count_removed(engine, found, trail)
        return Response(trail, headers={_REMOVED: str(removed)} if removed else {})
    if sent.endswith(_KINSHIP):
        found = await look_up(engine, unquote(sent.removesuffix(_KINSHIP)))
        return Response(await find_kinship(engine, found))
    found = await look_up(engine, unquote(sent))
    keys = (found["unit"], *found["aliases"]) if found.pop("has_warranty") else ()
    return Response(found | await warranty_in_short(engine, keys))


async def _warranty(engine: AsyncEngine, sent: str) -> Response[Any]:
    told = await find_warranty(engine, await _key(engine, unquote(sent.removesuffix(_WARRANTY))))
    return with_etag(told, told["version"])


async def _key(engine: AsyncEngine, text: str) -> str:
    """The key of the unit that `text` names, scanned or not. Raises Problem, as look_up."""
    try:
        key, *spelled = keys_told(text)
    except NotIdentified:
        found = await look_up(engine, text)
        return str(found["unit"])
    if spelled and await find_unit(engine, key) is None and await find_unit(engine, spelled[0]):
        return spelled[0]  # scanned before its product came to fold case
    return key


async def look_up(engine: AsyncEngine, text: str) -> dict[str, Any]:
    """The one unit that `text` names. Raises Problem 404, or 300 where it names several."""
    try:
        found = identified(text)
    except NotIdentified as error:
        understood = {"input": text[:200], "reason": error.reason, "detail": error.detail}
        return await _by_serial(engine, text, understood)
    understood = _understood(text, found)
    unit = await find_unit(engine, found.key)
    for spelled in keys_told(text)[1:] if unit is None else ():
        unit = await find_unit(engine, spelled)  # scanned before its product came to fold case
    if unit is None:
        raise Problem(
            404,
            "Never scanned",
            f"{found.key} was understood, and was never scanned here (a scan is to be found a"
            " moment after the gateway took it)",
            understood=understood,
        )
    return {**unit, "understood": understood}


async def _by_serial(engine: AsyncEngine, text: str, understood: dict[str, Any]) -> dict[str, Any]:
    """A bare serial may be several products'."""
    serial = text.strip()
    is_serial = 0 < len(serial) <= NAME_LENGTH_MAX and serial.isprintable()
    found = await find_by_serial(engine, serial) if is_serial else []
    if not found:
        raise Problem(404, "Not identified", f"{understood['detail']}", understood=understood)
    if len(found) > 1:
        raise Problem(
            300,
            "Several units",
            f"{len(found)} units carry the serial {serial}: ask for one of the candidates",
            understood=understood,
            candidates=found,
        )
    unit = await find_unit(engine, found[0]["unit"])
    if unit is None:
        raise Problem(404, "Never scanned", f"{found[0]['unit']} is gone", understood=understood)
    return {**unit, "understood": {"input": text[:200], "key": unit["unit"], "scheme": "serial"}}


def _understood(text: str, identified: Identified) -> dict[str, Any]:
    return {
        "input": text[:200],
        "key": identified.key,
        "scheme": identified.scheme,
        "gtin": identified.gtin,
        "serial": identified.serial,
        "lot": identified.lot,
        "expiry": identified.expiry,
        "production": identified.production,
        "notes": list(identified.notes),
    }
