"""Opening stock: what was on site before anything was scanned, out of a file.

Each line becomes a scan, through the gateway as every other; the state of a unit changes by nothing
else. A unit that is known here already is none of the opening stock: it is counted.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import httpx
from litestar import Request, Response, post
from litestar.params import FromPath, FromQuery
from sqlalchemy import bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

from scantrail.api import receiving_answers as answers
from scantrail.api.access import Role
from scantrail.api.bodies import TEXT_LENGTH_MAX, checked_id, told_time
from scantrail.api.changes import Answer, Change, Changes
from scantrail.api.csv_rows import BadLine, Fault, Row, read_rows
from scantrail.api.folding import folded, identified
from scantrail.api.handing_on import hand_on
from scantrail.api.problems import bad_field
from scantrail.contracts.records import encode
from scantrail.contracts.stock import STOCK_READER, STOCK_READS_MAX, StockRead
from scantrail.domain.identifiers import NotIdentified, product_id, product_serial
from scantrail.domain.scan import CLOCK_AHEAD_MAX, made_id
from scantrail.infra.tables import station as stations

AnyRequest = Request[Any, Any, Any]

CSV_BYTES_MAX = 8 << 20

COLUMNS = ("code", "product", "serial", "location", "lot", "produced_on")

LOT_LENGTH_MAX = 64

#: Lines of one file: each that cannot be used is told.
LINES_MAX = 100_000

#: Files that are being entered: each holds a connection to the database for as long.
FILES_AT_ONCE_MAX = 2

#: The key of each unit, and whether a scan of it is known: the one of `ids`, or another one.
_KNOWN = text(
    """
    SELECT told.unit, m.event_id IS NOT NULL AS is_taken, u.phase, u.business_location
    FROM unnest(:units, :ids) AS told(unit, id)
    LEFT JOIN identifier i ON i.id = told.unit
    JOIN unit u ON u.unit = coalesce(i.unit, told.unit)
    LEFT JOIN movement m ON m.unit = u.unit AND m.event_id = told.id
    """
).bindparams(bindparam("units", type_=ARRAY(Text)), bindparam("ids", type_=ARRAY(Text)))


class StockLine(NamedTuple):
    """A unit of the file, where it stands, and what is known of its making."""

    unit: str
    location: str | None
    lot: str | None
    produced_on: date | None


def build_stock(changes: Changes, gateway: httpx.AsyncClient) -> list[Any]:
    """The route handlers. `gateway` is a client with the gateway's address as its base."""

    entering = asyncio.Semaphore(FILES_AT_ONCE_MAX)

    async def known(
        connection: AsyncConnection, reads: Sequence[StockRead]
    ) -> dict[str, tuple[bool, str]]:
        """Of those that were scanned before: whether by this very line, and where they are."""
        told = {
            "units": [read.unit for read in reads],
            "ids": [f"{STOCK_READER}/{read.id}" for read in reads],
        }
        rows = (await connection.execute(_KNOWN, told)).all()
        return {
            row.unit: (row.is_taken, " ".join(filter(None, (row.phase, row.business_location))))
            for row in rows
        }

    async def send(
        connection: AsyncConnection, numbered: Mapping[int, StockRead]
    ) -> tuple[int, int, list[Fault]]:
        """How many lines were taken, how many had been, and why others were not."""
        before = await known(connection, list(numbered.values()))
        faults, sent = list[Fault](), dict[int, StockRead]()
        already = 0
        for number, read in numbered.items():
            is_taken, where = before.get(read.unit, (False, ""))
            if is_taken:
                already += 1
            elif read.unit in before:
                told = f"{read.unit} is known here already ({where or 'every scan voided'})"
                faults.append(Fault(number, "", f"{told}: leave it out, or count it"))
            else:
                sent[number] = read
        if sent:
            refused = await _sent(gateway, list(sent.values()))
            numbers = list(sent)
            faults += [Fault(numbers[place], "", detail) for place, detail in refused.items()]
            return len(sent) - len(refused), already, faults
        return 0, already, faults

    @post(
        "/stock/{batch:str}/csv",
        status_code=200,
        request_max_body_size=CSV_BYTES_MAX,
        role=Role.OPERATE,
        takes=answers.TAKES_CSV,
        tells=answers.STOCK,
    )
    async def post_stock(
        batch: FromPath[str],
        request: AnyRequest,
        station: FromQuery[str],
        at: FromQuery[datetime],
    ) -> Response[Any]:
        """Take units that are on site, one a line: columns code, or product and serial; location,
        lot and produced_on.

        `station` is one with business step stock_taking, `at` when they were there. Lines that
        cannot be used are told, with the mend, and the others taken; sent again under the same
        `batch`, no line is taken twice.
        """
        checked_id(batch, "batch")
        checked_id(station, "station")
        if at.tzinfo is None:
            raise bad_field("at", "end the time in Z or an offset such as +01:00")
        if told_time(at, "at") > datetime.now(UTC) + CLOCK_AHEAD_MAX:
            raise bad_field("at", "this is to come: tell when the units were there")
        # The whole file is read before the first line is sent: what is no file does nothing.
        lines, unusable = await _lines(await request.body())

        async def enter(change: Change) -> Answer:
            change.expect_none()
            await _check_site(change, station)
            change.note("opening_stock", batch)
            taken, already, faults = 0, 0, list(unusable)
            numbers = list(lines)
            for first in range(0, len(numbers), STOCK_READS_MAX):
                some = {
                    number: StockRead(
                        id=f"{batch}/{made_id(lines[number].unit)}",
                        station=station,
                        at=at,
                        **lines[number]._asdict(),
                    )
                    for number in numbers[first : first + STOCK_READS_MAX]
                }
                now_taken, were, why = await send(change.connection, some)
                taken, already = taken + now_taken, already + were
                faults += why
            rejected = [each._asdict() for each in sorted(faults)]
            return Answer({"accepted": taken, "already": already, "rejected": rejected})

        async with entering:
            return await changes.make(request, enter)

    return [post_stock]


async def _lines(content: bytes) -> tuple[dict[int, StockLine], list[Fault]]:
    """The lines of a file by their numbers, and those that cannot be used. Raises Problem 400."""
    if content.count(b"\n") > LINES_MAX:
        raise bad_field("", f"the file has more than {LINES_MAX} lines: split it")
    lines, faults, first_at = dict[int, StockLine](), list[Fault](), dict[str, int]()
    async for number, made in read_rows(content, COLUMNS, stock_line):
        if isinstance(made, Fault):
            faults.append(made)
        elif first_at.setdefault(made.unit, number) != number:
            told = f"{made.unit} stands in line {first_at[made.unit]} already: leave one out"
            faults.append(Fault(number, "", told))
        else:
            lines[number] = made
    return lines, faults


async def _check_site(change: Change, station: str) -> None:
    """Raises Problem 403 where the caller's token is of other sites than the station."""
    query = select(stations.c.document["site"].astext).where(stations.c.id == station)
    site = (await change.connection.execute(query)).scalar()
    if site is not None:
        change.caller.check_site(site)


def stock_line(row: Row) -> StockLine:
    """The unit of a line. Raises BadLine."""
    if ("code" in row) == ("serial" in row):
        raise BadLine("", "give either code, or product and serial")
    location = row.get("location")
    if location is not None and (len(location) > TEXT_LENGTH_MAX or not location.isprintable()):
        raise BadLine("location", f"give at most {TEXT_LENGTH_MAX} printable characters")
    lot = row.get("lot")
    if lot is not None and (len(lot) > LOT_LENGTH_MAX or not lot.isprintable()):
        raise BadLine("lot", f"give at most {LOT_LENGTH_MAX} printable characters")
    try:
        produced_on = date.fromisoformat(row["produced_on"]) if "produced_on" in row else None
    except ValueError as error:
        raise BadLine("produced_on", "give the day of production as 2026-03-31") from error
    if "serial" in row and "product" not in row:
        raise BadLine("product", "a serial is of a product: name it")
    field = "code" if "code" in row else "product"
    try:
        product = product_id(row["product"]) if "product" in row else None
        if "code" in row:
            unit = identified(row["code"], product=product)
        else:
            field = "serial"
            unit = product_serial(product or "", row["serial"])
    except NotIdentified as error:
        raise BadLine(field, error.detail) from error
    return StockLine(folded(unit.key), location, unit.lot or lot, unit.production or produced_on)


async def _sent(gateway: httpx.AsyncClient, reads: Sequence[StockRead]) -> dict[int, str]:
    """Why reads were refused, by their place. Raises Problem 503 where the gateway is away."""
    away = "send the file again, no line is taken twice"
    refused = await hand_on(gateway, "stock", encode(reads), away=away)
    return {index: refusal["detail"] for index, refusal in refused.items()}
