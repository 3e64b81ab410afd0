"""Stations: entered here, one by one or as a file, published by the outbox."""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final, NamedTuple

import msgspec
from litestar import Request, Response, get, post, put
from litestar.params import FromPath, FromQuery
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api import answers, requested
from scantrail.api.access import Role, caller_of
from scantrail.api.bodies import (
    StationBody,
    checked_id,
    decode_body,
    maybe_short_text,
    short_text,
)
from scantrail.api.changes import Answer, Change, Changes
from scantrail.api.csv_rows import (
    FAULTS_MAX,
    BadLine,
    Existing,
    Fault,
    Row,
    already_there,
    read_rows,
    unusable,
)
from scantrail.api.description import Sample
from scantrail.api.paging import Cursor, Limit, after, page
from scantrail.api.preconditions import with_etag
from scantrail.api.problems import Problem, bad_field
from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain.station import Station
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra.tables import station as stations

AnyRequest = Request[Any, Any, Any]

#: Of a file, in the order in which the page gives them.
COLUMNS: Final = (
    "id",
    "site",
    "business_step",
    "name",
    "read_point",
    "business_location",
    "disposition",
    "possessing_party",
    "repeat_window_s",
)

#: Of one file: each is locked until all are entered.
STATIONS_MAX: Final = 1_000


class StationsEntered(msgspec.Struct):
    """How many stations were new, and how many were changed."""

    new: int
    changed: int
    published: bool | msgspec.UnsetType = msgspec.UNSET


TAKES_STATIONS = Sample(
    kind=str,
    example="id,site,business_step,business_location\ndock-1,north,receiving,Dock 1\n",
    media="text/csv",
)
STATIONS_ENTERED = Sample(kind=StationsEntered, example={"new": 1, "changed": 0, "published": True})


class FileStation(NamedTuple):
    """A station and the line of the file that tells it."""

    number: int
    station: Station


def build_stations(engine: AsyncEngine, changes: Changes) -> list[Any]:
    """The route handlers."""
    outbox = changes.outbox

    @put(
        "/stations/{station_id:str}",
        role=Role.ADMIN,
        takes=requested.STATION,
        tells=answers.STATION,
    )
    async def put_station(station_id: FromPath[str], request: AnyRequest) -> Response[Any]:
        """Configure a place of reading; its next version where it exists."""
        new = station_of(station_id, decode_body(await request.body(), StationBody))
        caller_of(request).check_site(new.site)

        async def write(change: Change) -> Answer:
            stored = await _write(change, new)
            change.note("station", new.id, old=stored.version - 1, new=stored.version)
            return Answer(msgspec.to_builtins(stored))

        return await changes.make(request, write)

    @post(
        "/stations",
        status_code=200,
        role=Role.ADMIN,
        takes=TAKES_STATIONS,
        tells=STATIONS_ENTERED,
    )
    async def post_stations(
        request: AnyRequest, existing: FromQuery[Existing] = Existing.REFUSE
    ) -> Response[Any]:
        """Configure stations out of a CSV file, a line for each: columns id, site, business_step,
        name, read_point, business_location, disposition, possessing_party, repeat_window_s.

        All of it, or nothing where a line is wrong. Stations that exist are refused, or, with
        `existing=replace`, are as their line says from now on.
        """
        file = await _stations_of(await request.body())
        for each in file.values():
            caller_of(request).check_site(each.station.site)

        async def write(change: Change) -> Answer:
            wanted = select(stations.c.id, stations.c.version).where(stations.c.id.in_(file))
            rows = await change.connection.execute(wanted.order_by(stations.c.id).with_for_update())
            known: dict[str, int] = {row.id: row.version for row in rows}
            change.expect_many(known.values())
            if known and existing is Existing.REFUSE:
                raise _existing(file[name] for name in known)
            for name in sorted(file):
                stored = await _write(change, file[name].station)
                if stored.version != known.get(name, 0) + 1:  # somebody entered it at this moment
                    raise _existing([file[name]])
                change.note_beside("station", name, old=stored.version - 1, new=stored.version)
            return Answer({"new": len(file) - len(known), "changed": len(known)})

        return await changes.make(request, write)

    @get("/stations", role=Role.READ, tells=answers.STATIONS)
    async def list_stations(cursor: Cursor = None, limit: Limit = 100) -> dict[str, Any]:
        """The stations by id, page by page."""
        query = select(stations).where(stations.c.id > after(cursor, "stations"))
        async with engine.connect() as connection:
            rows = await connection.execute(query.order_by(stations.c.id).limit(limit))
            waiting = await outbox.waiting(connection, Topic.STATIONS)
        found = [{**row.document, "published": row.id not in waiting} for row in rows]
        return page("stations", found, limit)

    @get("/stations/{station_id:str}", role=Role.READ, tells=answers.STATION)
    async def get_station(station_id: FromPath[str]) -> Response[Any]:
        """One station as it was entered last."""
        query = select(stations.c.document).where(stations.c.id == station_id)
        async with engine.connect() as connection:
            document: dict[str, Any] | None = (await connection.execute(query)).scalar()
            waiting = await outbox.waiting(connection, Topic.STATIONS)
        if document is None:
            raise Problem(404, "Not found", f"there is no station {station_id!r}")
        told = {**document, "published": station_id not in waiting}
        return with_etag(told, document["version"])

    return [put_station, post_stations, list_stations, get_station]


def station_of(station_id: str, body: StationBody) -> Station:
    """The station that a caller tells. Raises Problem 400."""
    if not 0 <= body.repeat_window_s <= 86_400:
        raise bad_field("repeat_window_s", "give seconds from 0 to 86400")
    return Station(
        id=checked_id(station_id, "id"),
        site=checked_id(body.site, "site"),
        business_step=body.business_step,
        read_point=short_text(body.read_point or station_id, "read_point"),
        name=maybe_short_text(body.name, "name"),
        business_location=maybe_short_text(body.business_location, "business_location"),
        disposition=maybe_short_text(body.disposition, "disposition"),
        possessing_party=maybe_short_text(body.possessing_party, "possessing_party"),
        repeat_window_s=body.repeat_window_s,
    )


def file_line(row: Row) -> Station:
    """The station that a line tells; an empty field is one that is left out. Raises BadLine."""
    for name in ("id", "site", "business_step"):
        if name not in row:
            raise BadLine(name, "is missing")
    told: dict[str, Any] = {name: value for name, value in row.items() if name != "id"}
    try:
        told["business_step"] = BusinessStep(row["business_step"])
    except ValueError as error:
        choices = ", ".join(BusinessStep)
        raise BadLine("business_step", f"give one of {choices}") from error
    if "repeat_window_s" in row:
        told["repeat_window_s"] = _seconds(row["repeat_window_s"])
    try:
        return station_of(row["id"], StationBody(**told))
    except Problem as problem:
        raise BadLine(problem.body["field"], problem.body["detail"]) from problem


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise BadLine("repeat_window_s", "give seconds from 0 to 86400")
    return seconds


async def _stations_of(content: bytes) -> dict[str, FileStation]:
    """The stations of a file by their ids. Raises Problem 400: nothing is taken where a line is
    wrong."""
    found, faults = dict[str, FileStation](), list[Fault]()
    async for number, made in read_rows(content, COLUMNS, file_line):
        if isinstance(made, Fault):
            faults.append(made)
        elif made.id in found:
            told = f"station {made.id} is on line {found[made.id].number} already: leave one out"
            faults.append(Fault(number, "id", told))
        else:
            found[made.id] = FileStation(number, made)
        if len(faults) == FAULTS_MAX:
            break
    if faults:
        raise unusable(400, "Bad input", faults)
    if not found:
        raise bad_field("", "the file has no station: its first line names the columns")
    if len(found) > STATIONS_MAX:
        raise bad_field("", f"the file has {len(found)} stations: give at most {STATIONS_MAX}")
    return found


async def _write(change: Change, new: Station) -> Station:
    """Store its next version and let it leave. Raises Problem 403 where it is of another's site."""
    row = upsert(stations).values(id=new.id, version=1, document={})
    counted = row.on_conflict_do_update(
        index_elements=[stations.c.id], set_={"version": stations.c.version + 1}
    ).returning(stations.c.version, stations.c.document["site"].astext.label("site"))
    known = (await change.connection.execute(counted)).one()
    if known.version > 1:
        change.caller.check_site(known.site)
    stored = replace(new, version=known.version)
    await change.connection.execute(
        stations.update()
        .where(stations.c.id == new.id)
        .values(document=msgspec.to_builtins(stored))
    )
    await change.publish(Topic.STATIONS, new.id, encode(stored))
    return stored


def _existing(known: Iterable[FileStation]) -> Problem:
    return already_there([(each.number, each.station.id) for each in known], "id", "station")
