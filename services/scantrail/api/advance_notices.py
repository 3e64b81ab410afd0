"""Advance notices: entered as a supplier words them, compared while they are received, closed.

What a notice says moves no unit, and neither does its comparison: only scans do.
"""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from litestar import Request, Response, get, post, put
from litestar.params import FromPath, FromQuery
from sqlalchemy import Row, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api import receiving_answers as answers
from scantrail.api.access import Role
from scantrail.api.bodies import (
    AdvanceNoticeBody,
    NoticeLineBody,
    QuantityBody,
    checked_id,
    decode_body,
    maybe_short_text,
    product_key,
    told_time,
    unit_key,
)
from scantrail.api.changes import Answer, Change, Changes
from scantrail.api.csv_rows import FAULTS_MAX, Fault, read_rows
from scantrail.api.folding import folded
from scantrail.api.notice_csv import COLUMNS, notice_line
from scantrail.api.notice_queries import NoticeHead, compare_notice, find_notice, store_notice
from scantrail.api.paging import Cursor, Limit, after, page
from scantrail.api.preconditions import with_etag
from scantrail.api.problems import Problem, bad_field
from scantrail.api.register_watch import mark_stale
from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain.finding import Finding, FindingKind, FindingStatus
from scantrail.domain.order import QUANTITY_MAX
from scantrail.domain.receiving import (
    DIFFERENT,
    Announced,
    Compared,
    Comparison,
    NoticeLine,
    NoticeRefused,
    Quantity,
    UnitStatus,
    announced_units,
    check_announced,
)
from scantrail.domain.scan import made_id
from scantrail.infra.tables import advance_notice

AnyRequest = Request[Any, Any, Any]

#: A file of 100,000 units spelt out.
CSV_BYTES_MAX = 32 << 20

STATIONS_MAX = 100


def build_advance_notices(engine: AsyncEngine, changes: Changes) -> list[Any]:
    """The route handlers."""

    async def store(
        request: AnyRequest,
        notice: str,
        head: NoticeHead,
        announced: list[Announced],
        quantities: list[Quantity],
    ) -> Response[Any]:
        async def write(change: Change) -> Answer:
            change.caller.check_site(head.site)
            await change.alone("advance_notice", notice)
            before = await find_notice(change.connection, notice, lock=True)
            change.expect(before.version if before else 0)
            if before is not None:
                change.caller.check_site(before.site)
            if before is not None and before.closed_at is not None:
                told = f"notice {notice} is closed: enter what comes now as another"
                raise Problem(409, "Closed", told)
            await mark_stale(change.connection, notice=notice)  # what it announced before
            await store_notice(change.connection, notice, head, announced, quantities)
            await mark_stale(change.connection, notice=notice)
            row = await _existing(change.connection, notice)
            change.note("advance_notice", notice, old=row.version - 1, new=row.version)
            counted = Counter(each.unit.startswith("sscc:") for each in announced)
            quantity = sum(each.announced for each in quantities)
            sums = {"units": counted[False], "cartons": counted[True], "quantity": quantity}
            return Answer({**_told(row), **sums})

        return await changes.make(request, write)

    @put(
        "/advance-notices/{notice_id:str}",
        role=Role.OPERATE,
        takes=answers.TAKES_NOTICE,
        tells=answers.ENTERED,
    )
    async def put_notice(notice_id: FromPath[str], request: AnyRequest) -> Response[Any]:
        """Enter what a supplier announced; as a whole in the place of what it was."""
        notice = checked_id(notice_id, "id")
        body = decode_body(await request.body(), AdvanceNoticeBody)
        head = _head(body.supplier, body.site, body.stations, body.since)
        announced, quantities = await asyncio.to_thread(_announced, body)
        return await store(request, notice, head, announced, quantities)

    @put(
        "/advance-notices/{notice_id:str}/csv",
        request_max_body_size=CSV_BYTES_MAX,
        role=Role.OPERATE,
        takes=answers.TAKES_CSV,
        tells=answers.ENTERED,
    )
    async def put_csv(
        notice_id: FromPath[str],
        request: AnyRequest,
        supplier: FromQuery[str],
        site: FromQuery[str],
        stations: FromQuery[list[str] | None] = None,
        since: FromQuery[datetime | None] = None,
    ) -> Response[Any]:
        """As `PUT /advance-notices/{id}`, the lines as CSV: columns code, product, serial, low,
        high, quantity, carton, pallet, kit. Nothing is taken where a line is wrong."""
        notice = checked_id(notice_id, "id")
        if since is not None and since.tzinfo is None:
            raise bad_field("since", "end the time in Z or an offset such as +01:00")
        head = _head(supplier, site, stations or (), since)
        lines, numbers = list[NoticeLine](), list[int]()
        on_pallet = dict[str, str | None]()
        faults = list[Fault]()
        async for number, made in read_rows(await request.body(), COLUMNS, notice_line):
            if isinstance(made, Fault):
                faults.append(made)
                if len(faults) == FAULTS_MAX:
                    break
                continue
            line, standing = made
            lines.append(line)
            numbers.append(number)
            if standing is not None:
                carton, pallet = standing
                if on_pallet.setdefault(carton, pallet) != pallet:
                    told = f"{carton} stands on {on_pallet[carton]} by a line before: mend one"
                    faults.append(Fault(number, "pallet", told))
        if not faults:
            try:
                announced, quantities = await asyncio.to_thread(_in_notice, lines, on_pallet)
            except NoticeRefused as error:
                faults.append(_fault(error, numbers))
        if faults:
            raise Problem(
                400,
                "Bad input",
                f"{len(faults)} lines cannot be used, the first is line {faults[0].line}:"
                f" {faults[0].detail}; mend them and send the file again",
                field=faults[0].field,
                lines=[fault._asdict() for fault in faults],
            )
        return await store(request, notice, head, announced, quantities)

    @get("/advance-notices", role=Role.READ, tells=answers.NOTICES)
    async def list_notices(
        is_closed: FromQuery[bool | None] = None,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> dict[str, Any]:
        """Notices by id."""
        query = (
            select(advance_notice)
            .where(advance_notice.c.id > after(cursor, "advance_notices"))
            .order_by(advance_notice.c.id)
            .limit(limit)
        )
        if is_closed is not None:
            closed_at = advance_notice.c.closed_at
            query = query.where(closed_at.is_not(None) if is_closed else closed_at.is_(None))
        async with engine.connect() as connection:
            found = [_told(row) for row in (await connection.execute(query)).all()]
        return page("advance_notices", found, limit)

    @get("/advance-notices/{notice_id:str}", role=Role.READ, tells=answers.NOTICE)
    async def get_notice(notice_id: FromPath[str]) -> Response[Any]:
        """Who announced it, where and since when it is received."""
        async with engine.connect() as connection:
            row = await _existing(connection, notice_id)
        return with_etag(_told(row), row.version)

    @get("/advance-notices/{notice_id:str}/progress", role=Role.READ, tells=answers.PROGRESS)
    async def get_progress(
        notice_id: FromPath[str],
        status: FromQuery[list[UnitStatus] | None] = None,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> dict[str, Any]:
        """What is here of it, and the units of the named statuses: short, over, unknown and swapped
        where none is named."""
        async with engine.connect() as connection:
            notice = await _existing(connection, notice_id)
            compared = await compare_notice(connection, notice)
        wanted, behind = frozenset(status or DIFFERENT), after(cursor, "units")
        listed = [
            _compared(each)
            for each in sorted((*compared.units, *compared.cartons))
            if each.status in wanted and each.unit > behind
        ][:limit]
        return page("units", listed, limit, key="unit", **_told(notice), **_summed(compared))

    @put(
        "/advance-notices/{notice_id:str}/quantities/{product:str}",
        role=Role.OPERATE,
        takes=answers.TAKES_QUANTITY,
        tells=answers.QUANTITY,
    )
    async def put_quantity(
        notice_id: FromPath[str], product: FromPath[str], request: AnyRequest
    ) -> Response[Any]:
        """Tell how many of a product without serials are here, as a person counted them."""
        body = decode_body(await request.body(), QuantityBody)
        if not 0 <= body.received <= QUANTITY_MAX:
            raise bad_field("received", "give 0 or more, below 2^31")
        key = product_key(product, "product")

        async def write(change: Change) -> Answer:
            notice = await _existing(change.connection, notice_id, lock=True)
            change.caller.check_site(notice.site)
            change.expect(notice.version)
            if notice.closed_at is not None:
                raise Problem(409, "Closed", f"notice {notice_id} is closed: enter another")
            told = await change.connection.execute(
                text(
                    "UPDATE advance_notice_quantity SET received = :received"
                    " WHERE notice = :notice AND product = :product RETURNING announced"
                ),
                {"notice": notice_id, "product": key, "received": body.received},
            )
            announced = told.scalar()
            if announced is None:
                detail = f"notice {notice_id} announces no quantity of {key}"
                raise Problem(404, "Not found", detail)
            await change.connection.execute(
                update(advance_notice)
                .where(advance_notice.c.id == notice_id)
                .values(version=notice.version + 1)
            )
            change.note("advance_notice", notice_id, old=notice.version, new=notice.version + 1)
            return Answer({"product": key, "announced": announced, "received": body.received})

        return await changes.make(request, write)

    @post(
        "/advance-notices/{notice_id:str}/close",
        status_code=200,
        role=Role.OPERATE,
        tells=answers.CLOSED,
    )
    async def close_notice(notice_id: FromPath[str], request: AnyRequest) -> Response[Any]:
        """Say that no more comes: what differs is a finding, and an alert. Closed once more, it is
        compared once more: what came since is taken out of the finding."""

        async def write(change: Change) -> Answer:
            before = await _existing(change.connection, notice_id, lock=True)
            change.caller.check_site(before.site)
            change.expect(before.version)
            if before.closed_at is None:
                await change.connection.execute(
                    update(advance_notice)
                    .where(advance_notice.c.id == notice_id)
                    .values(closed_at=datetime.now(UTC), version=before.version + 1)
                )
            notice = await _existing(change.connection, notice_id)
            change.note("advance_notice", notice_id, old=before.version, new=notice.version)
            compared = await compare_notice(change.connection, notice)
            if before.closed_at is not None or not compared.is_as_announced:
                finding = _finding(notice, compared)
                await change.publish(Topic.FINDINGS, finding.id, encode(finding))
            return Answer({**_told(notice), **_summed(compared)})

        return await changes.make(request, write)

    return [
        put_notice,
        put_csv,
        list_notices,
        get_notice,
        get_progress,
        put_quantity,
        close_notice,
    ]


async def _existing(connection: AsyncConnection, notice: str, *, lock: bool = False) -> Row[Any]:
    row = await find_notice(connection, notice, lock=lock)
    if row is None:
        raise Problem(404, "Not found", f"there is no advance notice {notice!r}")
    return row


def _head(supplier: str, site: str, stations: Any, since: datetime | None) -> NoticeHead:
    if len(stations) > STATIONS_MAX:
        raise bad_field("stations", f"give at most {STATIONS_MAX}")
    return NoticeHead(
        supplier=checked_id(supplier, "supplier"),
        site=checked_id(site, "site"),
        stations=[checked_id(each, "stations") for each in stations],
        since=None if since is None else told_time(since, "since"),
    )


def _announced(body: AdvanceNoticeBody) -> tuple[list[Announced], list[Quantity]]:
    """What a body announces; of a hundred thousand units it takes a while. Raises Problem 400."""
    lines = [_line(line, f"lines[{place}]") for place, line in enumerate(body.lines)]
    cartons = dict[str, str | None]()
    for place, each in enumerate(body.cartons):
        carton = _sscc(each.sscc, f"cartons[{place}].sscc")
        cartons[carton] = None if each.on is None else _sscc(each.on, f"cartons[{place}].on")
    try:
        return _in_notice(lines, cartons)
    except NoticeRefused as error:
        raise bad_field(error.field, error.reason) from error


def _line(body: NoticeLineBody, at: str) -> NoticeLine:
    has_units = bool(body.codes or body.serials or body.ranges)
    if has_units == (body.quantity is not None):
        raise bad_field(at, "give units (codes, serials, ranges), or a quantity")
    if body.product is None and (body.quantity is not None or body.serials or body.ranges):
        raise bad_field(f"{at}.product", "name the product")
    if body.quantity is not None and not 1 <= body.quantity <= QUANTITY_MAX:
        raise bad_field(f"{at}.quantity", "give 1 or more, below 2^31")
    product = None if body.product is None else product_key(body.product, f"{at}.product")
    return NoticeLine(
        product=product,
        serials=body.serials,
        ranges=tuple((each.low, each.high) for each in body.ranges),
        keys=tuple(unit_key(code, f"{at}.codes", product=product) for code in body.codes),
        quantity=body.quantity or 0,
        parent=None if body.carton is None else _sscc(body.carton, f"{at}.carton"),
        kit=maybe_short_text(body.kit, f"{at}.kit"),
    )


def _sscc(spelling: str, field: str) -> str:
    key = unit_key(spelling, field)
    if not key.startswith("sscc:"):
        raise bad_field(field, f"{key} is no carton: give an SSCC, 18 digits")
    return key


def _in_notice(
    lines: list[NoticeLine], on_pallet: dict[str, str | None]
) -> tuple[list[Announced], list[Quantity]]:
    """The units of the lines, the cartons in which they come and what these stand on, and the
    quantities by product. Raises NoticeRefused."""
    announced = list(announced_units(lines, folded))
    named = {each.unit for each in announced}
    places = {line.parent: number for number, line in enumerate(lines, start=1) if line.parent}
    cartons = {**dict.fromkeys(places), **on_pallet}
    cartons |= {on: None for on in on_pallet.values() if on is not None and on not in cartons}
    announced += [
        Announced(carton, places.get(carton, 1), on)
        for carton, on in cartons.items()
        if carton not in named
    ]
    check_announced(announced)
    quantities = Counter[str]()
    for line in lines:
        if line.quantity and line.product is not None:
            quantities[line.product] += line.quantity
    for product, quantity in quantities.items():
        if quantity > QUANTITY_MAX:
            raise NoticeRefused("lines", f"more than {QUANTITY_MAX} of {product}")
    return announced, [Quantity(*each) for each in sorted(quantities.items())]


def _fault(error: NoticeRefused, numbers: list[int]) -> Fault:
    """A refusal of `lines[n]…`, told by the line of the file."""
    place, _, field = error.field.partition("]")
    _, _, index = place.partition("[")
    line = numbers[int(index)] if index.isdecimal() else 1
    return Fault(line, field.lstrip("."), error.reason)


def _told(row: Row[Any]) -> dict[str, Any]:
    return dict(row._mapping)


def _summed(compared: Comparison) -> dict[str, Any]:
    return {
        "announced": compared.announced,
        "here": compared.here,
        "is_complete": compared.is_complete,
        "counts": compared.counts,
        "cartons": Counter(each.status for each in compared.cartons),
        "quantities": [each._asdict() for each in compared.quantities],
        "kits": {"announced": compared.kits_announced, "here": compared.kits_here},
    }


def _compared(each: Compared) -> dict[str, Any]:
    announced, received = each.announced, each.received
    return {
        "unit": each.unit,
        "status": each.status,
        "line": announced and announced.line,
        "carton": announced and announced.parent,
        "kit": announced and announced.kit,
        "instead_of": each.instead_of,
        "received": received
        and {
            "at": received.at,
            "station": received.station,
            "event_id": received.event_id,
            "carton": received.parent,
        },
    }


def _finding(notice: Row[Any], compared: Comparison) -> Finding:
    """One for the notice, however many units differ; taken back where none does any more."""
    counts = compared.counts
    missing = compared.announced - compared.here
    differing = ", ".join(f"{counts[each]} {each}" for each in DIFFERENT[1:])
    status = FindingStatus.WITHDRAWN if compared.is_as_announced else FindingStatus.STATED
    return Finding(
        id=made_id("receiving_discrepancy", notice.id),
        kind=FindingKind.RECEIVING_DISCREPANCY,
        at=notice.closed_at,
        text=f"advance notice {notice.id} was closed with {missing} of {compared.announced} units"
        f" short, {differing}",
        status=status,
        document=f"advance_notice {notice.id}",
        site=notice.site,
    )
