"""Which day it is: where a unit is, or was. Dates that people tell begin and end there."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Column, ColumnElement, Date, case, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scantrail.infra.tables import site


class Days:
    """Days at sites, by the time zones that they had when this was read."""

    def __init__(self, zones: Mapping[str, tzinfo]) -> None:
        self._zones = zones
        told = set(zones.values())
        self._default: tzinfo = told.pop() if len(told) == 1 else UTC

    @classmethod
    async def read(cls, connection: AsyncConnection) -> "Days":
        """By what was told of sites until now."""
        rows = (await connection.execute(select(site))).all()
        return cls({row.id: ZoneInfo(row.time_zone) for row in rows})

    def day(self, at: datetime, where: str | None = None) -> date:
        """The day of a moment at a site; where it has no zone, or none is told, in the one of all
        sites, else in UTC."""
        return self.local(at, where).date()

    def local(self, at: datetime, where: str | None = None) -> datetime:
        """A moment as the clocks of that site show it."""
        return at.astimezone(self._zones.get(where or "", self._default))

    def latest(self, at: datetime) -> date:
        """The latest day of a moment at any site."""
        return max(self.day(at, where) for where in (None, *self._zones))

    def day_at(self, at: datetime, where: Column[Any]) -> ColumnElement[date]:
        """The same in a query: `where` is the column that has the site."""
        otherwise = self.day(at)
        others = {name: day for name in self._zones if (day := self.day(at, name)) != otherwise}
        if not others:
            return literal(otherwise, Date)
        days = {name: literal(day, Date) for name, day in others.items()}
        return case(days, value=where, else_=literal(otherwise, Date))
