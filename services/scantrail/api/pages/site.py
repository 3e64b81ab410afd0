"""Site: what lies where and for how long, and what comes from each station and its readers."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from litestar import Request, get
from litestar.params import FromQuery
from litestar.response import Template
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api.access import Role
from scantrail.api.days import Days
from scantrail.api.pages.frame import SCREEN, Times, screen
from scantrail.api.pages.holdings import Branch, Counted, Holdings, branch_of, how_long, tree_of
from scantrail.api.pages.judging import station_of
from scantrail.api.station_feed import StationFeed
from scantrail.infra import tables

AnyRequest = Request[Any, Any, Any]

#: A reader that calls when it has something, and had nothing for so long, is called silent.
SILENT_AFTER: Final = timedelta(minutes=10)

SHOWN: Final = 50
STATIONS_MAX: Final = 1_000

#: Places of a list that is looked at, and of each list inside it.
LISTED: Final = 50
NESTED: Final = 8


@dataclass(frozen=True, slots=True)
class Reader:
    """A reader as people see it."""

    id: str
    station: str
    word: str
    is_well: bool
    since: datetime | None
    reads: int
    no_reads: int

    @property
    def no_read_share(self) -> float | None:
        """Of all it tried; None where it tried nothing."""
        tried = self.reads + self.no_reads
        return self.no_reads / tried if tried else None


def build_site(engine: AsyncEngine, feed: StationFeed) -> list[Any]:
    """The route handlers."""
    holdings = Holdings(engine)

    made: tuple[Counted, Branch] | None = None

    async def tree() -> tuple[Counted, Branch]:
        """Made once a count, beside the loop: there may be tens of thousands of places."""
        nonlocal made
        counted = await holdings.told()
        if made is None or made[0] is not counted:
            made = (counted, await asyncio.to_thread(tree_of, counted.places))
        return made

    @get("/page/site", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show(
        request: AnyRequest,
        site: FromQuery[str] = "",
        at: FromQuery[str] = "",
        skip: FromQuery[int] = 0,
    ) -> Template:
        """The tree of locations, or what is below `at`, and the stations."""
        counted, root = await tree()
        branch = branch_of(root, site, at)
        table = tables.station
        async with engine.connect() as connection:
            found = select(table.c.document).order_by(table.c.id).limit(STATIONS_MAX + 1)
            if site:
                found = found.where(table.c.document["site"].astext == site)
            stations = (await connection.execute(found)).scalars().all()
            readers = (await connection.execute(select(tables.reader_status))).all()
            times = Times(await Days.read(connection))
        if branch is None:
            branch = Branch("", tuple(name for name in (site, at) if name))
        skip = min(max(skip, 0), len(branch.below))
        now = datetime.now(UTC)
        wanted = {"site": site, "at": at, "skip": skip or ""}
        return screen(
            request,
            "site.html",
            branch=branch,
            above=[branch.path[: number + 1] for number in range(len(branch.path))],
            wanted={name: value for name, value in wanted.items() if value},
            skip=skip,
            listed=LISTED,
            nested=NESTED,
            levels=levels_of(branch),
            counted=counted,
            now=now,
            how_long=how_long,
            stations=stations[:STATIONS_MAX],
            is_cut=len(stations) > STATIONS_MAX,
            readers=by_station(readers, now),
            per_minute=await feed.per_minute(each["id"] for each in stations),
            times=times,
        )

    @get("/page/site/station", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show_station(request: AnyRequest, station: FromQuery[str]) -> Template:
        """What came last at a station, and how its readers are."""
        chosen = await station_of(engine, station)
        table = tables.reader_status
        async with engine.connect() as connection:
            query = select(table).where(table.c.station == station)
            readers = (await connection.execute(query)).all()
            times = Times(await Days.read(connection))
        now = datetime.now(UTC)
        return screen(
            request,
            "station.html",
            station=chosen,
            last=(await feed.at(station))[:SHOWN],
            per_minute=(await feed.per_minute([station]))[station],
            readers=by_station(readers, now)[station],
            times=times,
        )

    return [show, show_station]


def levels_of(branch: Branch) -> int:
    """How far down is shown at once: a screen is to be made in some milliseconds. Pure."""
    return 3 if len(branch.below) <= NESTED else 2


def by_station(rows: Sequence[Any], now: datetime) -> Mapping[str, list[Reader]]:
    """Readers by their stations, in the order of their ids."""
    found = defaultdict[str, list[Reader]](list)
    for row in sorted(rows, key=lambda row: row.id):
        found[row.station].append(reader_of(row, now))
    return found


def reader_of(row: Any, now: datetime) -> Reader:
    """A reader's status in a word. One without a connection of its own is there when it calls."""
    if row.is_up is None:
        is_well = row.heard_at is not None and now - row.heard_at <= SILENT_AFTER
        word = "heard" if is_well else ("silent" if row.heard_at else "never heard")
        since = row.heard_at
    else:
        is_well, word, since = row.is_up, "up" if row.is_up else "away", row.since
    counts = row.counts
    reads = sum(counts.get(name, 0) for name in ("accepted", "repeat", "stray", "unserialised"))
    return Reader(row.id, row.station, word, is_well, since, reads, counts.get("no_read", 0))
