"""Whom an order names, what of it has gone out, and that it was delivered."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import httpx
from litestar import Request, Response, post
from litestar.params import FromPath
from sqlalchemy import delete, func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.access import Role
from scantrail.api.bodies import (
    OrderBody,
    PurchaserBody,
    checked_id,
    decode_body,
    told_time,
    unit_key,
)
from scantrail.api.changes import Answer, Change, Changes
from scantrail.api.days import Days
from scantrail.api.parties import enter_party, known_party
from scantrail.api.party_bodies import DELIVERED, DELIVERY, DeliveredBody
from scantrail.api.problems import Problem, bad_field
from scantrail.api.queries import unit_of
from scantrail.api.replaying import replay_reads
from scantrail.contracts.records import RejectedRead, encode
from scantrail.contracts.topics import Topic
from scantrail.domain.order import Order, OrderLine
from scantrail.domain.party import PURCHASER
from scantrail.domain.scan import (
    CLOCK_AHEAD_MAX,
    ORDER_LENGTH_MAX,
    is_order_reference,
    made_id,
)
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra.tables import (
    party,
    reader_status,
    sales_order,
    sales_order_line,
    station,
    unit,
)

AnyRequest = Request[Any, Any, Any]

_DELIVERED = "/delivered"

#: Parts of an order that name a party with its name and address, and what stands in front of the
#: reference in the id of one that is this order's alone.
_NAMED = {
    "purchaser": "order",
    "ship_to": "ship-to of order",
    "end_customer": "end customer of order",
}
#: Parts that name a party which was entered.
_KNOWN = ("carrier", "supplier", "owning_party")


def build_orders(engine: AsyncEngine, changes: Changes, gateway: httpx.AsyncClient) -> list[Any]:
    """The route handlers. `gateway` is a client with the gateway's address as its base."""

    @post(
        "/orders/{reference:path}",
        role=Role.OPERATE,
        takes=DELIVERED,
        tells=DELIVERY,
        status_code=200,
    )
    async def post_delivered(reference: FromPath[str], request: AnyRequest) -> Response[Any]:
        """`POST /orders/{ref}/delivered`: the purchaser has it. Of units a scan says so, of what
        has no serial the order does."""
        sent = str(request.scope["raw_path"].decode("ascii", "replace"))
        if not sent.endswith(_DELIVERED):
            raise Problem(405, "Not allowed", f"POST /orders/…{_DELIVERED}, or PUT the order")
        ref = order_reference_at(request, sent.removesuffix(_DELIVERED))
        body = decode_body(await request.body(), DeliveredBody)
        now = datetime.now(UTC)
        at = told_time(body.at, "at") if body.at else now
        if at > now + CLOCK_AHEAD_MAX:
            raise bad_field("at", "this is to come: tell when the purchaser had it")

        async def write(change: Change) -> Answer:
            change.expect_none()
            return Answer(await deliver(change, ref, body, at))

        return await changes.make(request, write)

    async def deliver(
        change: Change, ref: str, body: DeliveredBody, at: datetime
    ) -> dict[str, Any]:
        connection = change.connection
        known = select(sales_order.c.ref).where(sales_order.c.ref == ref)
        if (await connection.execute(known)).first() is None:
            raise Problem(404, "Not found", f"there is no order {ref!r}")
        under_way = await _under_way(connection, ref)
        units = under_way
        if body.units:
            units = [
                await unit_of(connection, unit_key(spelling, f"units[{n}]"))
                for n, spelling in enumerate(body.units)
            ]
            strange = [each for each in units if each not in under_way]
            if strange:
                raise Problem(
                    409,
                    "Not shipped",
                    f"{strange[0]} did not go out by order {ref}",
                    field="units",
                )
        if units:
            await _check_reader(change, body.reader)
        reads = [_read(each, ref, at, body.reader or "") for each in units]
        for refusal in (await replay_reads(gateway, reads)).values() if reads else ():
            raise Problem(409, "Refused by the gateway", **refusal)
        if set(units) == set(under_way):
            await connection.execute(
                sales_order.update()
                .where(sales_order.c.ref == ref)
                .values(delivered_at=func.coalesce(sales_order.c.delivered_at, at))
            )
        change.note("order", ref)
        return {"ref": ref, "delivered": list(units), "at": at.isoformat()}

    return [post_delivered]


def order_reference_at(request: AnyRequest, sent: str | None = None) -> str:
    """The reference in an address, as the gateway takes it from scans; it may have slashes.

    Raises Problem 400.
    """
    if sent is None:
        sent = str(request.scope["raw_path"].decode("ascii", "replace"))
    ref = unquote(sent.removeprefix("/orders/"))
    if not is_order_reference(ref):
        raise bad_field(
            "ref",
            f"give 1 to {ORDER_LENGTH_MAX} printable characters, none of them a space at its ends",
        )
    return ref


async def write_order(
    change: Change, ref: str, columns: dict[str, Any], ordered: Sequence[OrderLine]
) -> int:
    """Write an order with these columns and lines in place of what it was, and let its record
    leave; its version. Of one that exists, columns that are not told stay."""
    connection, orders, lines = change.connection, sales_order, sales_order_line
    new = upsert(orders).values(ref=ref, version=1, **columns)
    changed = new.on_conflict_do_update(
        index_elements=[orders.c.ref],
        set_={"version": orders.c.version + 1, **columns},
    )
    version: int = (await connection.execute(changed.returning(orders.c.version))).scalar_one()
    await connection.execute(delete(lines).where(lines.c.ref == ref))
    if ordered:
        await connection.execute(
            insert(lines),
            [
                {"ref": ref, "line": number, "product": line.product, "quantity": line.quantity}
                for number, line in enumerate(ordered, start=1)
            ],
        )
    # Of the purchaser, who has a name and an address, nothing leaves the database.
    record = encode(Order(id=ref, lines=tuple(ordered), version=version))
    await change.publish(Topic.ORDERS, ref, record)
    return version


async def enter_order_parties(change: Change, ref: str, body: OrderBody) -> dict[str, Any]:
    """Enter the parties of an order; its columns that name them, and its dates.

    Raises Problem 400, and 409 where one of them was erased.
    """
    named = {part: told for part in _NAMED if (told := getattr(body, part)) is not None}
    ids = {told.id or own_party(part, ref) for part, told in named.items()}
    for party_id in sorted(ids):  # in one order, so that two never wait for each other
        await change.alone("party", party_id)
    columns: dict[str, Any] = {
        "loan_due": body.loan and body.loan.due,
        "deliver_by": body.deliver_by,
    }
    for part in _NAMED:
        whom: PurchaserBody | None = named.get(part)
        columns[part] = whom and await _entered(change, whom, own_party(part, ref), part)
    for part in _KNOWN:
        known: str | None = getattr(body, part)
        columns[part] = known and await known_party(change.connection, known, part)
    return columns


def own_party(part: str, ref: str) -> str:
    """The id of a party that is this order's alone."""
    return f"{_NAMED[part]} {ref}"


async def _entered(change: Change, told: PurchaserBody, own_id: str, part: str) -> str:
    """The id of a party; of this order alone, unless it is named."""
    if told.id is not None:
        checked_id(told.id, f"{part}.id")
        if told.name is None and told.address is None:
            return await known_party(change.connection, told.id, f"{part}.id")
    for field in ("name", "address"):
        if getattr(told, field) is None:
            raise bad_field(f"{part}.{field}", "required: or give the `id` of a known party alone")
    party_id = told.id or own_id
    await enter_party(change, party_id, told.name or "", told.address or "", field=part)
    return party_id


async def told_of_order(connection: AsyncConnection, order: Any) -> dict[str, Any]:
    """What an order says beside its purchaser and its lines."""
    parts = ("ship_to", "end_customer", *_KNOWN)
    ids = {getattr(order, part) for part in parts} - {None}
    query = select(party.c.id, party.c.name, party.c.address).where(party.c.id.in_(ids))
    people = {row.id: dict(row._mapping) for row in await connection.execute(query)}
    loan = None
    if order.loan_due is not None:
        today = (await Days.read(connection)).day(datetime.now(UTC))
        loan = {"due": order.loan_due, "is_past": order.loan_due < today}
    return {
        **{part: people.get(getattr(order, part)) for part in parts},
        "loan": loan,
        "deliver_by": order.deliver_by,
        "delivered_at": order.delivered_at,
    }


def quantities(
    lines: Iterable[tuple[str, int]], shipped: Iterable[str | None]
) -> list[dict[str, Any]]:
    """Of each product how many were ordered and went out, and what is short or too many; products
    without serials are counted as ordered alone."""
    ordered: Counter[str] = Counter()
    for name, quantity in lines:
        ordered[name] += quantity
    out = Counter(name for name in shipped if name is not None)
    return [
        {
            "product": name,
            "ordered": ordered[name],
            "shipped": out[name],
            "short": max(ordered[name] - out[name], 0),
            "surplus": max(out[name] - ordered[name], 0),
        }
        for name in dict.fromkeys((*ordered, *sorted(out)))
    ]


async def _under_way(connection: AsyncConnection, ref: str) -> Sequence[str]:
    """Units that went out by an order, those inside others too, and are not with the purchaser."""
    query = (
        select(unit.c.unit)
        .where(
            unit.c.order_ref == ref,
            unit.c.phase == "shipped",
            unit.c.joined.is_(None),
            unit.c.possessing_party.is_distinct_from(PURCHASER),
        )
        .order_by(unit.c.unit)
    )
    return (await connection.execute(query)).scalars().all()


async def _check_reader(change: Change, reader: str | None) -> None:
    """Raises Problem 400 for a reader whose scan would say something else, 403 for one of a site
    to which the caller's token is not bound."""
    if reader is None:
        raise bad_field(
            "reader", "give one whose station has step arriving and possessing_party purchaser"
        )
    query = (
        select(station.c.document)
        .join(reader_status, reader_status.c.station == station.c.id)
        .where(reader_status.c.id == reader)
    )
    document = (await change.connection.execute(query)).scalar()
    if document is None:
        raise bad_field("reader", f"the gateway told of no reader {reader!r} at a known station")
    tells = (document.get("business_step"), document.get("possessing_party"))
    if tells != (BusinessStep.ARRIVING, PURCHASER):
        raise bad_field(
            "reader",
            f"its station {document['id']!r} must have business_step arriving and possessing_party"
            f" {PURCHASER}",
        )
    change.caller.check_site(document["site"])


def _read(key: str, ref: str, at: datetime, reader: str) -> bytes:
    """A read of the unit at that reader: told again at the same time it is the same."""
    return encode(
        RejectedRead(
            event_id=f"delivered/{made_id(key, ref, at.astimezone(UTC).isoformat())}",
            reader=reader,
            station=None,
            reason="delivered",
            detail="told at the desk",
            read=key,
            event_time=at,
            record_time=datetime.now(UTC),
            sequence=0,
            order=ref,
            unit=key,
        )
    )
