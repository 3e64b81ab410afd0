"""Alerts, and what people do with them: acknowledge, resolve, reopen. Who did what is kept."""

from datetime import UTC, datetime
from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery
from sqlalchemy import Select, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.access import Role, caller_of
from scantrail.api.alert_samples import ALERT, ALERTS, RESOLUTION_OF_ALERT, STEP
from scantrail.api.bodies import ResolveBody, StepBody, decode_body, maybe_note, unit_keys
from scantrail.api.changes import Answer, Change, Changes
from scantrail.api.paging import Cursor, Limit, after, cursor_behind, number_behind, page
from scantrail.api.preconditions import with_etag
from scantrail.api.problems import Problem, bad_field
from scantrail.api.whereabouts import find_unit
from scantrail.domain.alert import AlertKind
from scantrail.domain.alert_life import AlertStanding, AlertStep, StepRefused, act
from scantrail.infra.alert_rows import Happened, life_of, write_happened
from scantrail.infra.tables import alert, alert_event

AnyRequest = Request[Any, Any, Any]

_LIFE = {"status", "withdrawn", "repeats", "events"}


def build_alerts(engine: AsyncEngine, changes: Changes) -> list[Any]:
    """The route handlers."""

    @get("/alerts", role=Role.READ, tells=ALERTS)
    async def get_alerts(
        status: FromQuery[AlertStanding | None] = None,
        kind: FromQuery[AlertKind | None] = None,
        severity: FromQuery[str | None] = None,
        unit: FromQuery[str | None] = None,
        site: FromQuery[str | None] = None,
        recall: FromQuery[str | None] = None,
        since: FromQuery[datetime | None] = None,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> dict[str, Any]:
        """Alerts by id. `since`: those whose cause happened then or later; `withdrawn` finds also
        those that are resolved."""
        if since is not None and since.tzinfo is None:
            raise bad_field("since", "say the time's offset, such as 2026-03-01T12:00:00Z")
        query = select(alert).where(alert.c.id > after(cursor, "alerts")).order_by(alert.c.id)
        wanted = {"kind": kind, "severity": severity, "site": site, "recall": recall}
        for name, value in wanted.items():
            if value is not None:
                query = query.where(alert.c[name] == value)
        if since is not None:
            query = query.where(alert.c.event_time >= since)
        if status is not None:
            query = _standing(query, status)
        if unit is not None:
            query = query.where(alert.c.unit.in_(await keys_of(engine, unit)))
        async with engine.connect() as connection:
            rows = (await connection.execute(query.limit(limit))).all()
        return page("alerts", [dict(row._mapping) for row in rows], limit)

    @get("/alerts/{alert_id:str}", role=Role.READ, tells=ALERT)
    async def get_alert(
        alert_id: FromPath[str],
        repeats: FromQuery[bool] = False,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> Response[Any]:
        """One alert with its history, in order, page by page. Repeats are only counted, or told one
        by one where `repeats` is true."""
        begin = number_behind(cursor, "history")
        async with engine.connect() as connection:
            told = await told_alert(
                connection, alert_id, repeats=repeats, behind=begin, limit=limit
            )
        return with_etag(told, told["events"])

    async def take_step(
        request: AnyRequest, alert_id: str, step: AlertStep, body: StepBody | ResolveBody
    ) -> Response[Any]:
        note = maybe_note(body.note)

        async def write(change: Change) -> Answer:
            connection = change.connection
            query = select(alert).where(alert.c.id == alert_id).with_for_update()
            row = (await connection.execute(query)).first()
            if row is None:
                raise _unknown(alert_id)
            if row.site is not None:
                change.caller.check_site(row.site)
            try:
                life = act(life_of(row), step)
            except StepRefused as error:
                raise Problem(409, "Not now", error.detail, reason=error.reason) from error
            happened = Happened(
                row={k: v for k, v in row._mapping.items() if k not in _LIFE},
                number=row.events + 1,
                step=step,
                life=life,
                at=datetime.now(UTC),
                who=caller_of(request).id,
                note=note,
            )
            await write_happened(connection, [happened])
            change.note("alert", alert_id, old=row.events, new=row.events + 1)
            return Answer(await told_alert(connection, alert_id))

        return await changes.make(request, write)

    @post(
        "/alerts/{alert_id:str}/acknowledge",
        status_code=200,
        role=Role.OPERATE,
        takes=STEP,
        tells=ALERT,
    )
    async def acknowledge(alert_id: FromPath[str], request: AnyRequest) -> Response[Any]:
        """Say that somebody sees to an open alert."""
        body = decode_body(await request.body(), StepBody)
        return await take_step(request, alert_id, AlertStep.ACKNOWLEDGED, body)

    @post(
        "/alerts/{alert_id:str}/resolve",
        status_code=200,
        role=Role.OPERATE,
        takes=RESOLUTION_OF_ALERT,
        tells=ALERT,
    )
    async def resolve(alert_id: FromPath[str], request: AnyRequest) -> Response[Any]:
        """Say, in a note, what was done about an alert."""
        body = decode_body(await request.body(), ResolveBody)
        return await take_step(request, alert_id, AlertStep.RESOLVED, body)

    @post(
        "/alerts/{alert_id:str}/reopen",
        status_code=200,
        role=Role.OPERATE,
        takes=STEP,
        tells=ALERT,
    )
    async def reopen(alert_id: FromPath[str], request: AnyRequest) -> Response[Any]:
        """Say that a resolved alert was not done with."""
        body = decode_body(await request.body(), StepBody)
        return await take_step(request, alert_id, AlertStep.REOPENED, body)

    return [get_alerts, get_alert, acknowledge, resolve, reopen]


def _standing(query: Select[Any], status: AlertStanding) -> Select[Any]:
    if status is AlertStanding.WITHDRAWN:
        return query.where(or_(alert.c.status == status.value, alert.c.withdrawn))
    return query.where(alert.c.status == status.value)


async def told_alert(
    connection: AsyncConnection,
    alert_id: str,
    *,
    repeats: bool = False,
    behind: int = 0,
    limit: int = 100,
) -> dict[str, Any]:
    """An alert with its history, as `GET /alerts/{id}` answers. Raises Problem 404."""
    row = (await connection.execute(select(alert).where(alert.c.id == alert_id))).first()
    if row is None:
        raise _unknown(alert_id)
    events = alert_event
    query = (
        select(
            events.c.number,
            events.c.step,
            events.c.status,
            events.c.at,
            events.c.cause,
            events.c.who,
            events.c.note,
        )
        .where(events.c.alert == alert_id, events.c.number > behind)
        .order_by(events.c.number)
        .limit(limit)
    )
    if not repeats:
        query = query.where(events.c.step != AlertStep.REPEATED.value)
    history = [dict(event._mapping) for event in await connection.execute(query)]
    is_more = len(history) == limit
    following = cursor_behind("history", str(history[-1]["number"])) if is_more else None
    return {**row._mapping, "history": history, "next": following}


def _unknown(alert_id: str) -> Problem:
    return Problem(404, "Not found", f"there is no alert {alert_id!r}: take `id` as it is listed")


async def keys_of(engine: AsyncEngine, spelling: str) -> list[str]:
    """Every key of the unit of any spelling. Raises Problem 400 for what names no unit."""
    every = list[str]()
    for key in unit_keys(spelling, "unit"):
        found = await find_unit(engine, key)
        every += [key] if found is None else [found["unit"], *found["aliases"]]
    return every
