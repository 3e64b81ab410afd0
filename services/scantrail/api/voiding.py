"""Wrong scans: voided with a reason, and told again as they should have been.

Both go through the gateway as scans, the reason and by whom it was stay here.
1. the scan is looked for, and what is said of it is written. Died here: nothing happened.
2. the gateway has made durable the scan that voids it, and the right one. Died here: both are on
   their way, and the request, sent again, tells the same ids, which count once.
3. commit.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import httpx
from litestar import Request, Response, post
from litestar.params import FromPath
from sqlalchemy import Row, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api import answers, requested
from scantrail.api.access import Role
from scantrail.api.bodies import (
    RightScanBody,
    VoidBody,
    checked_id,
    decode_body,
    identified,
    maybe_short_text,
    short_text,
    unit_key,
)
from scantrail.api.changes import Answer, Change, Changes
from scantrail.api.handing_on import hand_on
from scantrail.api.problems import Problem, bad_field
from scantrail.api.stock import LOT_LENGTH_MAX
from scantrail.api.whereabouts import find_unit
from scantrail.contracts.corrections import CORRECTION_READER, CorrectionRead
from scantrail.contracts.records import encode
from scantrail.domain.custody import Outcome
from scantrail.domain.scan import CLOCK_AHEAD_MAX, CLOCK_BEHIND_MAX, is_order_reference, made_id
from scantrail.domain.unit_ids import TOLD_BY
from scantrail.infra.tables import movement, scan_void
from scantrail.infra.tables import station as stations

AnyRequest = Request[Any, Any, Any]

_PREFIX, _SUFFIX = "/scans/", "/void"


def build_voiding(engine: AsyncEngine, changes: Changes, gateway: httpx.AsyncClient) -> list[Any]:
    """The route handlers. `gateway` is a client with the gateway's address as its base."""

    @post(
        "/scans/{place:path}",
        role=Role.OPERATE,
        takes=requested.VOID,
        tells=answers.VOIDED,
        status_code=200,
    )
    async def void_scan(place: FromPath[str], request: AnyRequest) -> Response[Any]:
        """`POST /scans/{event id}/void`: the scan counts no more, and where `scan` says what it
        should have been, that counts in its place. Both stay in the unit's trail."""
        sent = request.scope["raw_path"].decode("ascii", "replace").removeprefix(_PREFIX)
        if not sent.endswith(_SUFFIX):
            raise Problem(404, "Not found", "the address must end in the event id and /void")
        event_id = unquote(sent.removesuffix(_SUFFIX))
        body = decode_body(await request.body(), VoidBody)
        key, reason = unit_key(body.unit, "unit"), short_text(body.reason, "reason")

        async def write(change: Change) -> Answer:
            change.expect_none()
            found = await find_unit(engine, key)
            keys = [key] if found is None else [found["unit"], *found["aliases"]]
            wrong = await _wrong_scan(change.connection, keys, event_id)
            reads = await _reads(change, wrong, body.scan)
            void, *right = [f"{CORRECTION_READER}/{read.id}" for read in reads]
            told = {
                "event_id": event_id,
                "unit": wrong.unit,
                "voided_by": void,
                "replaced_by": right[0] if right else None,
                "reason": reason,
                "who": change.caller.id,
                "at": datetime.now(UTC),
            }
            await _check_voided(change.connection, keys, event_id, void)
            written = await change.connection.execute(
                upsert(scan_void)
                .values(told | {"replaced_unit": reads[1].unit if right else None})
                .on_conflict_do_nothing()
                .returning(scan_void.c.event_id)
            )
            if written.scalar() is None:
                raise _already(event_id, void)
            await _send(gateway, reads)
            change.note("scan", event_id)
            return Answer(told)

        return await changes.make(request, write)

    return [void_scan]


async def _wrong_scan(connection: AsyncConnection, keys: Sequence[str], event_id: str) -> Row[Any]:
    """The movement of the scan that is to be voided. Raises Problem."""
    query = (
        select(movement)
        .where(movement.c.unit.in_(keys), movement.c.event_id == event_id)
        # of one that was forwarded, under the key for which it was read
        .order_by(movement.c.forwarded_from.is_not(None), movement.c.unit)
        .limit(1)
    )
    row = (await connection.execute(query)).first()
    if row is None:
        raise Problem(
            404,
            "Not found",
            f"{keys[0]} has no scan {event_id!r}: take `event_id` as it is told by its trail (a"
            " scan is to be found a moment after the gateway took it)",
        )
    if row.derived_from is not None:
        raise _refused(
            "derived",
            f"it came with scan {row.derived_event_id} of {row.derived_from}: void that one",
        )
    if row.corrects is not None:
        raise _refused(
            "correction",
            "it voids another scan, and is no claim of its own: what was voided in error, scan"
            " again, or tell it as `scan` of a void",
        )
    if row.reader == TOLD_BY:
        raise _refused(
            "link", f"it tells of a link: DELETE /identifiers/{row.same_as or row.unit} takes back"
        )
    if row.outcome == Outcome.REFOLDED.value:
        raise _refused("refold", "it tells that the unit was folded anew, and moved nothing itself")
    return row


async def _check_voided(
    connection: AsyncConnection, keys: Sequence[str], event_id: str, void: str
) -> None:
    """Raises Problem where another scan voids it: a reader's."""
    query = select(movement.c.event_id).where(
        movement.c.unit.in_(keys), movement.c.corrects == event_id, movement.c.event_id != void
    )
    other = (await connection.execute(query.limit(1))).scalar()
    if other is not None:
        raise _already(event_id, other)


async def _reads(change: Change, wrong: Row[Any], right: RightScanBody | None) -> list[Any]:
    """What the gateway is told: the void, and the right scan where one is told. Raises Problem."""
    change.caller.check_site(wrong.site)
    sequence = min(wrong.sequence + 1, (1 << 63) - 1)
    at = wrong.event_time if wrong.clock_skew_s is None else wrong.record_time
    reads = [
        CorrectionRead(
            id=f"{made_id(wrong.event_id)}/void",
            unit=wrong.unit,
            station=wrong.station,
            at=wrong.event_time,
            sequence=sequence,
            corrects=wrong.event_id,
        )
    ]
    if right is None:
        return reads
    unit, lot, produced_on = wrong.unit, right.lot, right.produced_on
    if right.unit is not None:
        marked = identified(right.unit, "scan.unit")
        unit, lot = marked.key, marked.lot or lot
        produced_on = marked.production or produced_on
    station = wrong.station if right.station is None else checked_id(right.station, "scan.station")
    for name in ("order", "rma"):
        reference = getattr(right, name)
        if reference is not None and not is_order_reference(reference):
            raise bad_field(
                f"scan.{name}", "give 1 to 128 printable characters without spaces around"
            )
    parent = None if right.parent is None else unit_key(right.parent, "scan.parent")
    location = maybe_short_text(right.location, "scan.location")
    at, now = right.at or at, datetime.now(UTC)
    if not -CLOCK_BEHIND_MAX < at - now < CLOCK_AHEAD_MAX:
        raise bad_field(
            "scan.at",
            f"{at.isoformat()} is to come, or more than {CLOCK_BEHIND_MAX.days} days ago: such a"
            " scan would count as one of now; leave `scan` out, and scan the unit where it is",
        )
    query = select(stations.c.document["site"].astext).where(stations.c.id == station)
    site = (await change.connection.execute(query)).scalar()
    if site is None:
        raise bad_field("scan.station", f"there is no station {station}")
    change.caller.check_site(site)
    if lot is not None and not (0 < len(lot) <= LOT_LENGTH_MAX and lot.isprintable()):
        raise bad_field("scan.lot", f"give 1 to {LOT_LENGTH_MAX} printable characters")
    told = (
        *(wrong.event_id, unit, station, at, right.order, right.rma, parent, location),
        *(lot, produced_on),
    )
    reads.append(
        CorrectionRead(
            id=f"{made_id(*map(str, told))}/scan",
            unit=unit,
            station=station,
            at=at,
            sequence=sequence,
            order=right.order,
            rma=right.rma,
            parent=parent,
            location=location,
            lot=lot,
            produced_on=produced_on,
        )
    )
    return reads


async def _send(gateway: httpx.AsyncClient, reads: Sequence[CorrectionRead]) -> None:
    """Have the gateway make scans of them. Raises Problem; then it took none."""
    away = "nothing was voided that is told of, send it again"
    refused = await hand_on(gateway, "corrections", encode(reads), away=away)
    for index, refusal in refused.items():
        which = "scan" if index else "void"
        raise Problem(
            409, "Refused", f"{which}: {refusal['detail']}", reason=refusal["reason"], field=which
        )


def _refused(reason: str, detail: str) -> Problem:
    return Problem(409, "Cannot be voided", detail, reason=reason)


def _already(event_id: str, void: str) -> Problem:
    return _refused("already_voided", f"{event_id} was voided already, by {void}")
