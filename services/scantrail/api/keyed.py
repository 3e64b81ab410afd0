"""What a person typed: taken where the unit is known or like no other, else told with those that it
may be, and taken once the person says that it is right.

Only the database knows all units, so that it is compared here; the scan is the gateway's, as every
other. Died after the gateway took it: it is no second scan when it is sent again with its `at`,
and without one a repeat of the first.
"""

import secrets
from typing import Any

import httpx
from litestar import Request, Response, post
from sqlalchemy import literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scantrail.api import product_samples as samples
from scantrail.api.access import Role
from scantrail.api.bodies import (
    KeyedBody,
    checked_id,
    decode_body,
    maybe_short_text,
    product_key,
    unit_key,
)
from scantrail.api.changes import Answer, Change, Changes
from scantrail.api.handing_on import hand_on
from scantrail.api.problems import Problem, bad_field
from scantrail.api.queries import unit_of
from scantrail.contracts.keyed import KeyedRead
from scantrail.contracts.records import NAME_LENGTH_MAX, encode
from scantrail.domain.identifiers import product_and_serial
from scantrail.domain.near import near_serials
from scantrail.domain.scan import is_order_reference, made_id
from scantrail.infra.tables import advance_notice_unit, identifier, minted_serial, unit
from scantrail.infra.tables import station as stations

AnyRequest = Request[Any, Any, Any]

#: More than a person can choose among are cut.
CANDIDATES_MAX = 10


def build_keyed(changes: Changes, gateway: httpx.AsyncClient) -> list[Any]:
    """The route handlers. `gateway` is a client with the gateway's address as its base."""

    @post(
        "/keyed",
        role=Role.OPERATE,
        takes=samples.KEYED,
        tells=samples.KEYED_TOLD,
        status_code=200,
    )
    async def post_keyed(request: AnyRequest) -> Response[Any]:
        """Scan a unit by what a person typed, or `scanned` where no reader of ours is. One that was
        typed, is not known, and near to units that are, is answered by 409 with these as
        `candidates`: send the right one, or `confirmed`."""
        body = decode_body(await request.body(), KeyedBody)
        station = checked_id(body.station, "station")
        product = None if body.product is None else product_key(body.product, "product")
        key = unit_key(body.code, "code", product=product)
        for name in ("order", "rma"):
            if (told := getattr(body, name)) is not None and not is_order_reference(told):
                raise bad_field(name, "give a short printable text, without blanks at its ends")
        if body.parent is not None and len(body.parent) > NAME_LENGTH_MAX:
            raise bad_field("parent", f"give at most {NAME_LENGTH_MAX} characters")
        location = maybe_short_text(body.location, "location")

        async def enter(change: Change) -> Answer:
            change.expect_none()
            connection = change.connection
            site = select(stations.c.document["site"].astext).where(stations.c.id == station)
            at_site = (await connection.execute(site)).scalar()
            if at_site is None:
                raise bad_field("station", f"there is no station {station!r}: PUT /stations/{{id}}")
            change.caller.check_site(at_site)
            is_known = await _is_known(connection, key)
            if not (is_known or body.confirmed or body.scanned):
                candidates = await near_units(connection, key)
                if candidates:
                    raise Problem(
                        409,
                        "Near match",
                        f"{key} was never seen, and is near to {', '.join(candidates)}: type the"
                        " right one, or send it with `confirmed`, if it is that",
                        field="code",
                        reason="near_match",
                        candidates=candidates,
                    )
            at = body.at
            by = (change.caller.id, body.code, station, at and at.timestamp(), body.parent)
            read = KeyedRead(
                id=made_id(*by) if at is not None else secrets.token_hex(16),
                unit=key,
                text=body.code,
                station=station,
                at=at,
                order=body.order,
                rma=body.rma,
                parent=body.parent,
                location=location,
                keyed=not body.scanned,
            )
            await _send(gateway, read)
            change.note("keyed", read.id)
            return Answer(
                {
                    "event_id": read.event_id,
                    "unit": await unit_of(connection, key),
                    "known": is_known,
                }
            )

        return await changes.make(request, enter)

    return [post_keyed]


async def _is_known(connection: AsyncConnection, key: str) -> bool:
    """Whether a unit was scanned, linked, announced or minted under this key."""
    product, serial = product_and_serial(key)
    told = (
        select(unit.c.unit).where(unit.c.unit == key),
        select(identifier.c.id).where((identifier.c.id == key) | (identifier.c.unit == key)),
        select(advance_notice_unit.c.unit).where(advance_notice_unit.c.unit == key),
        select(minted_serial.c.serial).where(
            minted_serial.c.product == product, minted_serial.c.serial == serial
        ),
    )
    for query in told:
        if (await connection.execute(query.limit(1))).first() is not None:
            return True
    return False


async def near_units(connection: AsyncConnection, key: str) -> list[str]:
    """Units that are known whose serials are near to that of `key`, of the same product."""
    product, serial = product_and_serial(key)
    head = key.removesuffix(serial)
    serials = near_serials(serial)
    near = [f"{head}{each}" for each in serials]
    found = select(unit.c.unit).where(unit.c.unit.in_(near))
    told = [
        select(column).where(column.in_(near))
        for column in (identifier.c.id, identifier.c.unit, advance_notice_unit.c.unit)
    ]
    if product is not None:
        of_product = minted_serial.c.product == product, minted_serial.c.serial.in_(serials)
        told.append(select(literal(head).concat(minted_serial.c.serial)).where(*of_product))
    query = found.union(*told).order_by("unit").limit(CANDIDATES_MAX)
    return list((await connection.execute(query)).scalars())


async def _send(gateway: httpx.AsyncClient, read: KeyedRead) -> None:
    """Raises Problem 503 where the gateway is away, 409 where it refuses."""
    refused = await hand_on(gateway, "keyed", encode(read), away="nothing was taken, try again")
    for refusal in refused.values():
        told = {"reason": refusal["reason"], "detail": refusal["detail"]}
        raise Problem(409, "Refused", field="code", **told)
