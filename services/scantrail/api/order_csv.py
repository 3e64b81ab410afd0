"""Orders as CSV: a line is a line of an order, every fault is told with its line and the mend."""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, tzinfo
from typing import Any, Final, NamedTuple

import msgspec
from litestar import Request, Response, post
from litestar.params import FromQuery
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scantrail.api.access import Role
from scantrail.api.bodies import OrderBody, PurchaserBody, checked_id, short_text, told_time
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
from scantrail.api.histories import default_zone
from scantrail.api.notice_csv import quantity_of
from scantrail.api.orders import enter_order_parties, own_party, write_order
from scantrail.api.parties import ADDRESS_LENGTH_MAX
from scantrail.api.problems import Problem, bad_field
from scantrail.api.register_watch import RegisterWatch, mark_stale
from scantrail.domain.identifiers import NotIdentified, product_id
from scantrail.domain.order import LINES_MAX, OrderLine
from scantrail.domain.scan import ORDER_LENGTH_MAX, is_order_reference
from scantrail.infra.tables import sales_order

AnyRequest = Request[Any, Any, Any]

COLUMNS: Final = (
    "order",
    "purchaser",
    "name",
    "address",
    "product",
    "quantity",
    "ordered_at",
    "deliver_by",
)

#: Of one file: each is locked until all are entered.
ORDERS_MAX: Final = 1_000

#: What is told of an order as a whole, by whichever of its lines.
_OF_ORDER: Final = ("purchaser", "name", "address", "ordered_at", "deliver_by")


class OrdersEntered(msgspec.Struct):
    """How many orders were new, how many were changed, and the lines of all."""

    new: int
    changed: int
    lines: int
    published: bool | msgspec.UnsetType = msgspec.UNSET


TAKES_ORDERS = Sample(
    kind=str,
    example="order,name,address,product,quantity\n4711,Ada Byron,1 Dock Road,09506000134352,2\n",
    media="text/csv",
)
ORDERS_ENTERED = Sample(
    kind=OrdersEntered, example={"new": 1, "changed": 0, "lines": 1, "published": True}
)


class FileLine(NamedTuple):
    """One line of a file: of which order, what it tells of that, and a line of it, if any."""

    order: str
    told: dict[str, Any]
    line: OrderLine | None


@dataclass(slots=True)
class FileOrder:
    """An order as the lines of a file tell it. `number` is its first line's."""

    number: int
    told: dict[str, Any]
    lines: list[OrderLine] = field(default_factory=list)


def build_order_csv(changes: Changes, watch: RegisterWatch) -> list[Any]:
    """The route handlers."""

    @post(
        "/orders",
        status_code=200,
        role=Role.OPERATE,
        takes=TAKES_ORDERS,
        tells=ORDERS_ENTERED,
    )
    async def post_orders(
        request: AnyRequest, existing: FromQuery[Existing] = Existing.REFUSE
    ) -> Response[Any]:
        """Enter orders out of a CSV file, a line for each of their lines: columns order, purchaser
        (a party's id), name, address, product, quantity, ordered_at, deliver_by.

        All of it, or nothing where a line is wrong. Orders that exist are refused, or, with
        `existing=replace`, have these lines and this purchaser from now on.
        """
        orders = await orders_of(read_rows(await request.body(), COLUMNS, file_line))

        async def write(change: Change) -> Answer:
            # In one order, parties first as PUT does, so that none waits for the other for ever.
            parties = {
                of.told.get("purchaser") or own_party("purchaser", ref)
                for ref, of in orders.items()
            }
            for party_id in sorted(parties):
                await change.alone("party", party_id)
            known = await _versions(change.connection, orders)
            change.expect_many(known.values())
            if known and existing is Existing.REFUSE:
                raise _existing(orders, known)
            zone = await default_zone(change.connection)
            for ref in sorted(orders):
                of = orders[ref]
                columns = await _columns(change, ref, of, zone, is_new=ref not in known)
                version = await write_order(change, ref, columns, of.lines)
                if version != known.get(ref, 0) + 1:  # somebody entered it at this moment
                    raise _existing(orders, [ref])
                change.note_beside("order", ref, old=version - 1, new=version)
            await mark_stale(change.connection, orders=sorted(orders))
            count = sum(len(of.lines) for of in orders.values())
            return Answer({"new": len(orders) - len(known), "changed": len(known), "lines": count})

        made = await changes.make(request, write)
        watch.kick()
        return made

    return [post_orders]


def file_line(row: Row) -> FileLine:
    """What a line says. Raises BadLine."""
    ref = row.get("order", "")
    if not is_order_reference(ref):
        told = f"give the order's reference: 1 to {ORDER_LENGTH_MAX} printable characters"
        raise BadLine("order", told)
    if ("product" in row) != ("quantity" in row):
        raise BadLine("quantity", "give product and quantity, or neither of them")
    line = None
    if "product" in row:
        try:
            product = product_id(row["product"])
        except NotIdentified as error:
            raise BadLine("product", error.detail) from error
        line = OrderLine(product=product, quantity=quantity_of(row["quantity"]))
    of_order: dict[str, Any] = {name: row[name] for name in _OF_ORDER if name in row}
    try:
        _check(of_order)
    except Problem as problem:
        raise BadLine(problem.body["field"], problem.body["detail"]) from problem
    return FileLine(ref, of_order, line)


def _check(told: dict[str, Any]) -> None:
    """Check what a line tells of its order; dates are dates from then on. Raises Problem 400."""
    if "purchaser" in told:
        checked_id(told["purchaser"], "purchaser")
    if "name" in told:
        short_text(told["name"], "name")
    if len(told.get("address", "")) > ADDRESS_LENGTH_MAX:
        raise bad_field("address", f"give at most {ADDRESS_LENGTH_MAX} characters")
    if "ordered_at" in told:
        told["ordered_at"] = _when(told["ordered_at"])
    if "deliver_by" in told:
        told["deliver_by"] = _day(told["deliver_by"])


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise bad_field("deliver_by", "give a day as 2026-03-31") from error


def _when(text: str) -> date:
    """A moment, or a day of which it is the beginning at the sites."""
    mend = "give a day as 2026-03-31, or a time with its zone as 2026-03-31T10:00:00+02:00"
    try:
        moment = date.fromisoformat(text) if len(text) <= 10 else datetime.fromisoformat(text)
    except ValueError as error:
        raise bad_field("ordered_at", mend) from error
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise bad_field("ordered_at", mend)
        return told_time(moment, "ordered_at")
    told_time(datetime.combine(moment, time(), UTC), "ordered_at")
    return moment


async def orders_of(rows: AsyncIterator[tuple[int, FileLine | Fault]]) -> dict[str, FileOrder]:
    """The orders of a file by their references. Raises Problem 400: nothing is taken where a line
    is wrong."""
    orders, faults = dict[str, FileOrder](), list[Fault]()
    async for number, made in rows:
        fault = made if isinstance(made, Fault) else _joined(orders, number, made)
        if fault is not None:
            faults.append(fault)
            if len(faults) == FAULTS_MAX:
                break
    if not faults:
        faults = [*_lacking(orders)][:FAULTS_MAX]
    if faults:
        raise unusable(400, "Bad input", sorted(faults))
    if not orders:
        raise bad_field("", "the file has no order: its first line names the columns")
    if len(orders) > ORDERS_MAX:
        raise bad_field("", f"the file has {len(orders)} orders: give at most {ORDERS_MAX}")
    return orders


def _joined(orders: dict[str, FileOrder], number: int, made: FileLine) -> Fault | None:
    """Put a line to its order; or what is wrong with it there."""
    of = orders.setdefault(made.order, FileOrder(number, {}))
    for name, value in made.told.items():
        if of.told.setdefault(name, value) != value:
            told = f"order {made.order} has another {name} by a line before: mend one of them"
            return Fault(number, name, told)
    if made.line is not None:
        if len(of.lines) == LINES_MAX:
            return Fault(number, "order", f"order {made.order} has more than {LINES_MAX} lines")
        of.lines.append(made.line)
    return None


def _lacking(orders: dict[str, FileOrder]) -> Iterable[Fault]:
    """Orders of which no line says who bought."""
    for ref, of in orders.items():
        told = of.told
        if ("name" in told) != ("address" in told):
            lacks = "address" if "name" in told else "name"
            yield Fault(of.number, lacks, f"order {ref}: give name and address, or neither of them")
        elif "name" not in told and "purchaser" not in told:
            mend = "give name and address, or purchaser: the id of a party that was entered"
            yield Fault(of.number, "purchaser", f"order {ref}: {mend}")


async def _versions(connection: AsyncConnection, orders: Iterable[str]) -> dict[str, int]:
    """Of those that exist, which nobody else changes meanwhile."""
    query = (
        select(sales_order.c.ref, sales_order.c.version)
        .where(sales_order.c.ref == func.any([*orders]))
        .order_by(sales_order.c.ref)
        .with_for_update()
    )
    return {row.ref: row.version for row in await connection.execute(query)}


async def _columns(
    change: Change, ref: str, of: FileOrder, zone: tzinfo, *, is_new: bool
) -> dict[str, Any]:
    """What the file says of an order; of one that exists, what it does not say stays as it was."""
    told = of.told
    whom = PurchaserBody(
        id=told.get("purchaser"), name=told.get("name"), address=told.get("address")
    )
    body = OrderBody(purchaser=whom, deliver_by=told.get("deliver_by"))
    try:
        columns = await enter_order_parties(change, ref, body)
    except Problem as problem:
        fault = Fault(of.number, "purchaser", f"order {ref}: {problem.body['detail']}")
        raise unusable(problem.status, problem.body["title"], [fault]) from problem
    if not is_new:
        said = {"purchaser", *told}
        columns = {name: value for name, value in columns.items() if name in said}
    if (ordered_at := told.get("ordered_at")) is not None:
        is_moment = isinstance(ordered_at, datetime)
        day = ordered_at if is_moment else datetime.combine(ordered_at, time(), zone)
        columns["ordered_at"] = day
    return columns


def _existing(orders: Mapping[str, FileOrder], known: Iterable[str]) -> Problem:
    return already_there([(orders[ref].number, ref) for ref in known], "order", "order")
