"""Alerts: the inbox, newest first, live."""

from collections.abc import Sequence
from typing import Any

from litestar import Request, get
from litestar.params import FromPath, FromQuery
from litestar.response import Template
from sqlalchemy import ColumnElement, Select, func, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.access import Role
from scantrail.api.alerts import keys_of, told_alert
from scantrail.api.days import Days
from scantrail.api.pages.frame import SCREEN, Times, screen
from scantrail.domain.alert import AlertKind
from scantrail.domain.alert_life import AlertStanding
from scantrail.domain.severity import Severity
from scantrail.infra.tables import alert

AnyRequest = Request[Any, Any, Any]

SHOWN_MAX = 50

#: What waits for somebody, and what nobody sees to any more.
_WAITING = (AlertStanding.OPEN, AlertStanding.ACKNOWLEDGED)


def build_alerts_screen(engine: AsyncEngine) -> list[Any]:
    """The route handlers."""

    @get("/page/alerts", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show(
        request: AnyRequest,
        status: FromQuery[str] = "",
        kind: FromQuery[str] = "",
        severity: FromQuery[str] = "",
        site: FromQuery[str] = "",
        unit: FromQuery[str] = "",
    ) -> Template:
        """The inbox; without a status, what waits for somebody."""
        standings = [status] if status else [each.value for each in _WAITING]
        given = (("kind", kind), ("severity", severity), ("site", site))
        filters = [alert.c[name] == value for name, value in given if value]
        if unit.strip():
            filters.append(alert.c.unit.in_(await keys_of(engine, unit)))
        async with engine.connect() as connection:
            query = _newest(standings, filters)
            rows = (await connection.execute(query)).all()
            counts = await _counts(connection)
            times = Times(await Days.read(connection))
        wanted = {"status": status, "kind": kind, "severity": severity, "site": site, "unit": unit}
        return screen(
            request,
            "alerts.html",
            alerts=rows[:SHOWN_MAX],
            is_cut=len(rows) > SHOWN_MAX,
            counts=counts,
            times=times,
            wanted=wanted,
            standings=[each.value for each in AlertStanding],
            kinds=sorted(each.value for each in AlertKind),
            severities=[each.value for each in Severity if each.value != "off"],
        )

    @get("/page/alerts/{alert_id:str}", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show_one(request: AnyRequest, alert_id: FromPath[str]) -> Template:
        """What happened to one alert, and what may be done."""
        async with engine.connect() as connection:
            told = await told_alert(connection, alert_id)
            times = Times(await Days.read(connection))
        return screen(request, "alert.html", alert=told, times=times)

    return [show, show_one]


def _newest(standings: Sequence[str], filters: Sequence[ColumnElement[bool]]) -> Select[Any]:
    """The newest of each standing, by its index, and of these the newest."""
    each = union_all(
        *(
            select(
                select(alert)
                .where(alert.c.status == standing, *filters)
                .order_by(alert.c.event_time.desc(), alert.c.id.desc())
                .limit(SHOWN_MAX + 1)
                .subquery()
            )
            for standing in standings
        )
    ).subquery()
    newest = each.c.event_time.desc(), each.c.id.desc()
    return select(each).order_by(*newest).limit(SHOWN_MAX + 1)


async def _counts(connection: AsyncConnection) -> dict[str, int]:
    """How many wait, by how they stand."""
    query = (
        select(alert.c.status, func.count())
        .where(alert.c.status.in_([each.value for each in _WAITING]))
        .group_by(alert.c.status)
    )
    return {row[0]: row[1] for row in await connection.execute(query)}
