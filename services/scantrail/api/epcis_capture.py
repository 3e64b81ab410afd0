"""EPCIS 2.0 capture: `POST /epcis/capture` makes scans of events, and a job tells what became of
each of them.

The job is done when it is answered: its rows are written in the transaction in which the document
was taken, so that no job is there that nobody finishes. It tells of each event its place and its
id, not the event itself: whoever sent it has it, and it may say what is not ours to keep.
"""

import asyncio
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import httpx
from litestar import Request, Response, get, post
from litestar.params import FromPath, HeaderParameter
from sqlalchemy import Row, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api import epcis_samples as samples
from scantrail.api.access import Role
from scantrail.api.bodies import decode_body
from scantrail.api.changes import Answer, Change, Changes
from scantrail.api.epcis import (
    HEADERS,
    NextPageToken,
    PerPage,
    check_parameters,
    next_link,
)
from scantrail.api.epcis_capturing import (
    ErrorBehaviour,
    Event,
    EventStatus,
    capture_events,
)
from scantrail.api.paging import Cursor, Limit, after, cursor_behind, page
from scantrail.api.problems import Problem, bad_field
from scantrail.contracts.epcis_capture import events_in
from scantrail.contracts.epcis_hash import told_moment
from scantrail.contracts.epcis_uris import Uris
from scantrail.infra.tables import epcis_capture, epcis_capture_event

AnyRequest = Request[Any, Any, Any]

#: Events of one document.
EVENTS_MAX: Final = 10_000

BODY_BYTES_MAX: Final = 8 << 20

#: Documents that are being taken: each holds a connection to the database for as long.
CAPTURES_AT_ONCE_MAX: Final = 2

#: Errors that a job tells at once; all are in its events.
ERRORS_MAX: Final = 1000

_CAPTURES: Final = "/epcis/capture"
_BEHAVIOUR: Final = "GS1-Capture-Error-Behaviour"

Behaviour = Annotated[
    str | None,
    HeaderParameter(
        name=_BEHAVIOUR,
        description="what becomes of the others where an event cannot be scans: `rollback` or none,"
        " nothing is sent; `proceed`, they are",
        enum=[each.value for each in ErrorBehaviour],
    ),
]


def build_epcis_capture(
    engine: AsyncEngine, changes: Changes, gateway: httpx.AsyncClient, base: str
) -> list[Any]:
    """The route handlers. `gateway` is a client with the gateway's address as its base, `base` how
    the installation's own URIs begin."""
    uris = Uris(base)
    capturing = asyncio.Semaphore(CAPTURES_AT_ONCE_MAX)

    @post(
        _CAPTURES,
        status_code=202,
        request_max_body_size=BODY_BYTES_MAX,
        role=Role.OPERATE,
        takes=samples.CAPTURE,
        tells=samples.JOB,
    )
    async def post_capture(request: AnyRequest, error_behaviour: Behaviour = None) -> Response[Any]:
        """Make scans of object, aggregation and association events. `Location` is the job's
        address: it tells of each event that cannot be scans why, and the mend.

        With the header GS1-Capture-Error-Behaviour: rollback (or none) nothing is taken where one
        event cannot be, with proceed the others are. Sent again, nothing is doubled.
        """
        behaviour = _behaviour(error_behaviour)
        told = _events(await request.body())

        async def capture(change: Change) -> Answer:
            change.expect_none()
            begun = datetime.now(UTC)
            events = await capture_events(
                change.connection, gateway, uris, change.caller, told, behaviour
            )
            job_id = f"{begun:%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(4)}"
            await _write(change, job_id, begun, behaviour, events)
            change.note("epcis_capture", job_id)
            job = await _job(change.connection, job_id)
            headers = {**HEADERS, "Location": f"{_CAPTURES}/{job_id}"}
            return Answer(job, status=202, headers=headers)

        async with capturing:
            return await changes.make(request, capture)

    @get(_CAPTURES, role=Role.READ, tells=samples.JOBS)
    async def list_captures(
        request: AnyRequest, perPage: PerPage = 30, nextPageToken: NextPageToken = None
    ) -> Response[Any]:
        """Capture jobs, the oldest first; `Link` leads to the following page."""
        check_parameters(request, ("perPage", "nextPageToken"))
        try:
            behind = after(nextPageToken, "captures")
        except Problem as problem:
            told = "give it as the `Link` of the page before has it"
            raise bad_field("nextPageToken", told) from problem
        table = epcis_capture
        query = select(table.c.id).where(table.c.id > behind).order_by(table.c.id).limit(perPage)
        async with engine.connect() as connection:
            ids = (await connection.execute(query)).scalars().all()
            jobs = [await _job(connection, each) for each in ids]
        headers = dict(HEADERS)
        if len(ids) == perPage:
            token = cursor_behind("captures", ids[-1])
            headers["Link"] = next_link(request, _CAPTURES, token)
        return Response(jobs, headers=headers)

    @get("/epcis/capture/{capture_id:str}", role=Role.READ, tells=samples.JOB)
    async def get_capture(capture_id: FromPath[str]) -> Response[Any]:
        """What became of a document; its first 1,000 errors, all are in its events."""
        async with engine.connect() as connection:
            return Response(await _job(connection, capture_id), headers=HEADERS)

    @get("/epcis/capture/{capture_id:str}/events", role=Role.READ, tells=samples.OUTCOMES)
    async def list_outcomes(
        capture_id: FromPath[str], cursor: Cursor = None, limit: Limit = 100
    ) -> dict[str, Any]:
        """What became of each event of a document, in its order."""
        behind = _number(after(cursor, "outcomes"))
        table = epcis_capture_event
        query = (
            select(table)
            .where(table.c.capture == capture_id, table.c.number > behind)
            .order_by(table.c.number)
            .limit(limit)
        )
        async with engine.connect() as connection:
            await _job_row(connection, capture_id)
            rows = (await connection.execute(query)).all()
        told = page("outcomes", [_outcome(row) for row in rows], limit, key="number")
        return {"events": told["outcomes"], "next": told["next"]}

    return [post_capture, list_captures, get_capture, list_outcomes]


def _behaviour(told: str | None) -> ErrorBehaviour:
    try:
        return ErrorBehaviour(told or ErrorBehaviour.ROLLBACK)
    except ValueError as error:
        raise bad_field(_BEHAVIOUR, f"give one of {', '.join(ErrorBehaviour)}, or none") from error


def _events(body: bytes) -> list[Any]:
    """The events of a document. Raises Problem 400."""
    document: dict[str, Any] = decode_body(body, dict)
    kind = document.get("type")
    if kind not in ("EPCISDocument", "EPCISQueryDocument"):
        raise bad_field(
            "type", "give an EPCISDocument, or an EPCISQueryDocument as it was answered"
        )
    version = document.get("schemaVersion")
    if not (isinstance(version, str) and version.partition(".")[0] == "2"):
        raise bad_field("schemaVersion", 'give "2.0": documents of EPCIS 1 are another format')
    events = events_in(document)
    place = "eventList" if kind == "EPCISDocument" else "queryResults.resultsBody.eventList"
    if events is None:
        raise bad_field(f"epcisBody.{place}", "give a list of events")
    if len(events) > EVENTS_MAX:
        raise bad_field(f"epcisBody.{place}", f"give at most {EVENTS_MAX} events: split it")
    return events


async def _write(
    change: Change,
    job_id: str,
    begun: datetime,
    behaviour: ErrorBehaviour,
    events: Sequence[Event],
) -> None:
    job = {
        "id": job_id,
        "created_at": begun,
        "finished_at": datetime.now(UTC),
        "who": change.caller.id,
        "error_behaviour": behaviour.value,
        "success": not any(event.refused for event in events),
        "events": len(events),
    }
    await change.connection.execute(insert(epcis_capture).values(job))
    rows = [_row(job_id, event) for event in events]
    if rows:
        await change.connection.execute(insert(epcis_capture_event), rows)


def _row(job_id: str, event: Event) -> dict[str, Any]:
    refused = event.refused
    return {
        "capture": job_id,
        "number": event.number,
        "status": event.status.value,
        "event_id": event.event_id,
        "scans": len(event.reads) if event.status is EventStatus.CAPTURED else 0,
        "reason": refused and refused.reason,
        "field": refused and refused.field,
        "detail": refused and refused.detail,
        "left_out": list(event.claim.left_out) if event.claim is not None else [],
    }


async def _job_row(connection: AsyncConnection, job_id: str) -> Row[Any]:
    query = select(epcis_capture).where(epcis_capture.c.id == job_id)
    row = (await connection.execute(query)).first()
    if row is None:
        raise Problem(404, "Not found", f"there is no capture job {job_id!r}")
    return row


async def _job(connection: AsyncConnection, job_id: str) -> dict[str, Any]:
    """A job as EPCIS tells it. Raises Problem 404."""
    job = await _job_row(connection, job_id)
    table = epcis_capture_event
    of_job = table.c.capture == job_id
    query = select(table.c.status, func.count()).where(of_job).group_by(table.c.status)
    counted = {row[0]: int(row[1]) for row in await connection.execute(query)}
    wrong = select(table).where(of_job, table.c.reason.is_not(None)).order_by(table.c.number)
    errors = (await connection.execute(wrong.limit(ERRORS_MAX))).all()
    return {
        "captureID": job.id,
        "createdAt": told_moment(job.created_at),
        "finishedAt": told_moment(job.finished_at),
        "running": False,
        "success": job.success,
        "captureErrorBehaviour": job.error_behaviour,
        "errors": [_error(row) for row in errors],
        "counts": {status.value: counted.get(status.value, 0) for status in EventStatus},
    }


def _error(row: Row[Any]) -> dict[str, Any]:
    return {
        "type": "epcisException:ValidationException",
        "title": "Event rejected",
        "status": 400,
        "detail": row.detail,
        "event": row.number,
        "eventID": row.event_id,
        "reason": row.reason,
        "field": row.field,
    }


def _outcome(row: Row[Any]) -> dict[str, Any]:
    return {
        "number": row.number,
        "status": row.status,
        "eventID": row.event_id,
        "scans": row.scans,
        "reason": row.reason,
        "field": row.field,
        "detail": row.detail,
        "leftOut": row.left_out,
    }


def _number(key: str) -> int:
    """The event behind which a page begins; -1 at the beginning."""
    if not key:
        return -1
    if not (key.isascii() and key.isdecimal() and len(key) <= 9):
        raise bad_field("cursor", "give `next` of the page before, as it is")
    return int(key)
