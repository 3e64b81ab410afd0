"""What people decide of units of which a recall leaves it open: that it does not mean them."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.params import FromPath
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from scantrail.api.access import Role
from scantrail.api.bodies import Body, decode_body, short_text, unit_keys
from scantrail.api.changes import Answer, Change, Changes
from scantrail.api.description import Sample
from scantrail.api.problems import Problem, bad_field
from scantrail.api.queries import ids_of, unit_of
from scantrail.api.recall_queries import means
from scantrail.api.recall_store import mark_for_look
from scantrail.api.recall_sweep import RecallSweep
from scantrail.domain.recall import Recall, RecallStatus
from scantrail.infra.tables import recall, recall_cleared, unit

AnyRequest = Request[Any, Any, Any]

#: Units that are cleared by one request.
UNITS_MAX = 1_000


class ClearedBody(Body, frozen=True, kw_only=True):
    """`POST /recalls/{id}/cleared`: units in any spelling, and what was seen of them."""

    units: tuple[str, ...]
    note: str


class Cleared(msgspec.Struct):
    """The keys of the units, and for which version of the recall that was decided."""

    recall: str
    version: int
    units: list[str]
    note: str


_UNIT = "sgtin:09506000134352.A1"
_NOTE = "label shows lot L2"
TAKES = Sample(kind=ClearedBody, example={"units": [_UNIT], "note": _NOTE})
TELLS = Sample(
    kind=Cleared, example={"recall": "R-1", "version": 2, "units": [_UNIT], "note": _NOTE}
)


def build_recall_clearing(changes: Changes, sweep: RecallSweep) -> list[Any]:
    """The route handlers."""

    @post(
        "/recalls/{recall_id:str}/cleared",
        status_code=200,
        role=Role.QUALITY,
        takes=TAKES,
        tells=TELLS,
    )
    async def clear_units(recall_id: FromPath[str], request: AnyRequest) -> Response[Any]:
        """Clear units of which a recall leaves it open whether it means them: this version does
        not hold them any more."""
        body = decode_body(await request.body(), ClearedBody)
        note = short_text(body.note, "note")
        if not 1 <= len(body.units) <= UNITS_MAX:
            raise bad_field("units", f"give 1 to {UNITS_MAX}, and the rest by another request")
        named = [unit_keys(each, f"units[{place}]") for place, each in enumerate(body.units)]

        async def write(change: Change) -> Answer:
            connection = change.connection
            change.expect_none()
            query = select(recall.c.document).where(recall.c.id == recall_id).with_for_update()
            document = (await connection.execute(query)).scalar()
            if document is None:
                raise Problem(404, "Not found", f"there is no recall {recall_id!r}")
            of = msgspec.convert(document, Recall)
            if of.status is not RecallStatus.ACTIVE:
                detail = f"recall {recall_id} is {of.status}: it holds no unit"
                raise Problem(409, "Not now", detail, reason="not_active")
            units = sorted({key for keys in named for key in await _open(connection, of, keys)})
            now = datetime.now(UTC)
            new = upsert(recall_cleared).values(recall=of.id, version=of.version)
            await connection.execute(
                new.on_conflict_do_nothing(),
                [{"unit": each, "note": note, "at": now} for each in units],
            )
            await mark_for_look(connection, units)
            for each in units:
                change.note("recall_clearance", f"{of.id} {each}")
            told = {"recall": of.id, "version": of.version, "units": units, "note": note}
            return Answer(told)

        made = await changes.make(request, write)
        sweep.kick()
        return made

    return [clear_units]


async def _open(connection: AsyncConnection, of: Recall, named: list[str]) -> list[str]:
    """The keys of one unit, told by its spellings, under which it was scanned. Raises Problem 409
    where it never was, or where the recall means it by what is known."""
    units = list(dict.fromkeys([await unit_of(connection, key) for key in named]))
    scanned = list[str]()
    for each in units:
        keys = [each, *(link.id for link in await ids_of(connection, each))]
        query = select(means(of)).where(unit.c.unit == func.any(keys))
        found = (await connection.execute(query)).scalars().all()
        if True in found:
            detail = f"recall {of.id} means {each} by what is told of it: amend the recall"
            raise Problem(409, "Recalled", detail, reason="recalled", field="units")
        scanned += [each] * bool(found)
    if not scanned:
        detail = f"{units[0]} was never scanned: nothing is held"
        raise Problem(409, "Not now", detail, reason="never_seen", field="units")
    return scanned
