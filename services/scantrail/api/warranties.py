"""Warranty: what is promised with a product, who registered a unit, and how its warranty stands."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from litestar import Request, Response, get, post, put
from litestar.params import FromPath
from sqlalchemy import func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.access import Role
from scantrail.api.bodies import (
    PurchaserBody,
    checked_id,
    decode_body,
    product_key,
    short_text,
    told_time,
    unit_key,
)
from scantrail.api.changes import Answer, Change, Changes
from scantrail.api.histories import (
    Keys,
    as_keys,
    cover_for,
    default_zone,
    keys_of,
    line_of,
    lines_prove,
    plain,
    replacements_of,
    terms_of,
)
from scantrail.api.parties import enter_party, known_party
from scantrail.api.preconditions import with_etag
from scantrail.api.problems import Problem, bad_field
from scantrail.api.recall_lookup import recalls_of
from scantrail.api.warranty_bodies import RegistrationBody, TermBody, WarrantyDecisionBody
from scantrail.api.warranty_samples import (
    REGISTRATION,
    TERM,
    TERMS_TOLD,
    WARRANTY_DECISION,
    WARRANTY_TOLD,
)
from scantrail.domain.claim import remarks_on
from scantrail.domain.warranty import (
    MONTHS_MAX,
    Cover,
    HappeningKind,
    WarrantyState,
    state_on,
)
from scantrail.infra import tables
from scantrail.infra.tables import (
    party,
    warranty_claim,
    warranty_event,
    warranty_term,
)

AnyRequest = Request[Any, Any, Any]


def build_warranties(engine: AsyncEngine, changes: Changes) -> list[Any]:
    """The route handlers."""

    @put("/products/{name:str}/warranty", role=Role.ADMIN, takes=TERM, tells=TERMS_TOLD)
    async def put_term(name: FromPath[str], request: AnyRequest) -> Response[Any]:
        """What is promised with units that are sold from a day on: from today, where none is told.

        A term of another day stays: units keep what was promised when they were sold.
        """
        body = decode_body(await request.body(), TermBody)
        product = product_key(name, "id")
        if not 0 <= body.months <= MONTHS_MAX:
            raise bad_field("months", f"give 0 to {MONTHS_MAX}; 0: nothing is promised")
        values = {"months": body.months, "start": body.start.value}

        async def write(change: Change) -> Answer:
            connection = change.connection
            await _known_product(connection, product)
            await change.alone("warranty_term", product)
            old = await _terms_version(connection, product)
            day = body.valid_from or datetime.now(await default_zone(connection)).date()
            new = upsert(warranty_term).values(product=product, valid_from=day, **values)
            await connection.execute(
                new.on_conflict_do_update(
                    index_elements=[warranty_term.c.product, warranty_term.c.valid_from],
                    set_={**values, "version": warranty_term.c.version + 1},
                )
            )
            change.note("warranty_term", product, old=old, new=old + 1)
            return Answer(await _terms(connection, product))

        return await changes.make(request, write)

    @get("/products/{name:str}/warranty", role=Role.READ, tells=TERMS_TOLD)
    async def get_terms(name: FromPath[str]) -> Response[Any]:
        """All terms of a product, the oldest first."""
        product = product_key(name, "id")
        async with engine.connect() as connection:
            await _known_product(connection, product)
            told = await _terms(connection, product)
        return with_etag(told, told["version"])

    @post("/registrations", role=Role.OPERATE, takes=REGISTRATION, tells=WARRANTY_TOLD)
    async def post_registration(request: AnyRequest) -> Response[Any]:
        """Register a unit that was sold, today or when it is told; twice is once: the first counts.

        Whoever registers may be another than the purchaser of the order.
        """
        body = decode_body(await request.body(), RegistrationBody)
        key = unit_key(body.unit, "unit")
        now = datetime.now(UTC)
        at = body.at or now
        told_time(at, "at")
        if at > now:
            raise bad_field("at", "it lies ahead: give when it was registered")

        async def write(change: Change) -> Answer:
            connection = change.connection
            keys = await keys_of(connection, key)
            old = await _begun(change, keys)
            proof = None
            if body.order is not None:
                proof = await proven_by(connection, keys.product, body.order)
            cover = await cover_for(connection, keys, proof=body.order if proof else None)
            if cover is None:
                raise Problem(
                    409,
                    "Never shipped",
                    f"no shipping of {keys.unit} is known: scan it at its shipping, or give the"
                    " `order` that proves the purchase, where its product's units may go unscanned",
                    field="unit",
                    reason="never_shipped",
                )
            if at < cover.sold_at:
                raise bad_field("at", f"it was sold after that, at {cover.sold_at.isoformat()}")
            registrant = await _registrant(change, keys.unit, body.registrant)
            await _record(
                connection,
                keys,
                HappeningKind.REGISTERED,
                at=at,
                registrant=registrant,
                order=body.order if proof else None,
            )
            change.note("warranty", keys.unit, old=old, new=old + 1)
            return Answer(nameless(await warranty_of(connection, keys)), 201)

        return await changes.make(request, write)

    @post("/warranty-decisions", role=Role.QUALITY, takes=WARRANTY_DECISION, tells=WARRANTY_TOLD)
    async def post_decision(request: AnyRequest) -> Response[Any]:
        """Say that a unit's warranty is void, or that it is not any more, and why."""
        body = decode_body(await request.body(), WarrantyDecisionBody)
        key, reason = unit_key(body.unit, "unit"), short_text(body.reason, "reason")
        kind = HappeningKind.VOIDED if body.is_void else HappeningKind.REINSTATED

        async def write(change: Change) -> Answer:
            connection = change.connection
            keys = await keys_of(connection, key)
            old = await _begun(change, keys)
            cover = await cover_for(connection, keys)
            state = state_on(cover, today(cover))
            if cover is None or state in (WarrantyState.REPLACED, WarrantyState.TAKEN_BACK):
                last = f" ({cover.replaced_by})" if cover and cover.replaced_by else ""
                raise Problem(
                    409,
                    "No warranty",
                    f"{keys.unit} is {state}{last}: there is no warranty to decide about",
                    field="unit",
                    reason=state.value,
                )
            await _record(connection, keys, kind, at=datetime.now(UTC), note=reason)
            change.note("warranty", keys.unit, old=old, new=old + 1)
            return Answer(nameless(await warranty_of(connection, keys)), 201)

        return await changes.make(request, write)

    return [put_term, get_terms, post_registration, post_decision]


def today(cover: Cover | None) -> date:
    """The day that it is where the unit was sold."""
    return datetime.now(UTC if cover is None else cover.zone).date()


async def find_warranty(engine: AsyncEngine, key: str) -> dict[str, Any]:
    """How the warranty of a unit stands, scanned or not."""
    async with engine.connect() as connection:
        return await warranty_of(connection, await keys_of(connection, key))


async def warranty_in_short(engine: AsyncEngine, every: Sequence[str]) -> dict[str, Any]:
    """`warranty_until`, `replaced_by` and `replaces` of the unit with these keys, its own first.

    Without keys, of a unit that has no warranty.
    """
    if not every:
        return {"warranty_until": None, "replaced_by": None, "replaces": None}
    keys = as_keys(every)
    async with engine.connect() as connection:
        cover = await cover_for(connection, keys)
        replacements = await replacements_of(connection, keys)
    return {"warranty_until": cover and cover.until, **replacements}


async def warranty_of(connection: AsyncConnection, keys: Keys) -> dict[str, Any]:
    """The answer of `GET /units/{any spelling}/warranty`."""
    cover = await cover_for(connection, keys)
    claims = await connection.execute(
        select(
            warranty_claim.c.id,
            warranty_claim.c.state,
            warranty_claim.c.filed_at,
            warranty_claim.c.fault,
        )
        .where(warranty_claim.c.unit.in_(keys.every))
        .order_by(warranty_claim.c.filed_at, warranty_claim.c.id)
    )
    registered = await _registration(connection, keys)
    recalls = await recalls_of(connection, keys)
    state = state_on(cover, today(cover))
    remarks = remarks_on(cover, today(cover), recalls=recalls)
    return {
        "unit": keys.unit,
        "version": await _version(connection, keys),
        "product": keys.product,
        "state": state.value,
        "why": list(remarks.values()),
        "order": cover and cover.order,
        "purchaser": await named(connection, None if cover is None else cover.purchaser),
        "sold_at": cover and cover.sold_at,
        "registered_at": cover and cover.registered_at,
        "registrant": await named(connection, registered),
        "since": cover and cover.since,
        "until": cover and cover.until,
        "time_zone": None if cover is None else _zone_name(cover),
        "months": cover and cover.term and cover.term.months,
        "void": (
            {"since": cover.void_since, "reason": cover.void_reason}
            if cover is not None and cover.void_since is not None
            else None
        ),
        **await replacements_of(connection, keys),
        "recalls": recalls,
        "claims": plain(claims.all()),
    }


def _zone_name(cover: Cover) -> str:
    return cover.zone.key if isinstance(cover.zone, ZoneInfo) else "UTC"


async def named(connection: AsyncConnection, party_id: str | None) -> dict[str, Any] | None:
    """A party with its name and address, as they stand in `party` now."""
    if party_id is None:
        return None
    query = select(party.c.id, party.c.name, party.c.address).where(party.c.id == party_id)
    row = (await connection.execute(query)).first()
    return None if row is None else dict(row._mapping)


def nameless(told: dict[str, Any]) -> dict[str, Any]:
    """The answer to a change: it is kept for its retry, and names stand in `party` alone."""
    hidden = {
        role: {"id": told[role]["id"], "name": None, "address": None}
        for role in ("purchaser", "registrant")
        if told.get(role) is not None
    }
    return told | hidden


async def proven_by(connection: AsyncConnection, name: str | None, order: str) -> bool:
    """Whether a line of `order` stands for the shipping of units of a product.

    Raises Problem 400 where there is no such order.
    """
    query = select(tables.sales_order.c.ref).where(tables.sales_order.c.ref == order)
    if (await connection.execute(query)).first() is None:
        raise bad_field("order", f"there is no order {order!r}: PUT /orders/{{ref}} first")
    if name is None or not await lines_prove(connection, name, order):
        return False
    return await line_of(connection, order, name) is not None


async def _terms(connection: AsyncConnection, product: str) -> dict[str, Any]:
    return {
        "product": product,
        "version": await _terms_version(connection, product),
        "terms": [
            {"valid_from": term.valid_from, "months": term.months, "start": term.start.value}
            for term in await terms_of(connection, product)
        ],
    }


async def _terms_version(connection: AsyncConnection, product: str) -> int:
    """How often the terms of a product were changed."""
    query = select(func.coalesce(func.sum(warranty_term.c.version), 0))
    of_product = query.where(warranty_term.c.product == product)
    return int((await connection.execute(of_product)).scalar_one())


async def _known_product(connection: AsyncConnection, product: str) -> None:
    query = select(tables.product.c.id).where(tables.product.c.id == product)
    if (await connection.execute(query)).first() is None:
        raise Problem(404, "Not found", f"there is no product {product}: PUT /products/{product}")


async def _begun(change: Change, keys: Keys) -> int:
    """The version of a unit's warranty, which nobody else changes meanwhile. Raises Problem 412."""
    await change.alone("warranty", keys.unit)
    version = await _version(change.connection, keys)
    change.expect(version)
    return version


async def _version(connection: AsyncConnection, keys: Keys) -> int:
    """How often somebody registered the unit, or decided about its warranty."""
    query = select(func.count()).where(warranty_event.c.unit.in_(keys.every))
    return int((await connection.execute(query)).scalar_one())


async def _registrant(change: Change, unit: str, told: PurchaserBody | None) -> str | None:
    """The party that registers; of the unit alone, unless it is named."""
    if told is None:
        return None
    if told.name is None and told.address is None and told.id is not None:
        return await known_party(change.connection, told.id, "registrant.id")
    own = f"registrant of {unit}"
    party_id = own if told.id is None else checked_id(told.id, "registrant.id")
    name, address = told.name or "", told.address or ""
    await enter_party(change, party_id, name, address, field="registrant")
    return party_id


async def _registration(connection: AsyncConnection, keys: Keys) -> str | None:
    """Who registered last, as a party's id."""
    events = warranty_event
    query = (
        select(events.c.registrant)
        .where(events.c.unit.in_(keys.every), events.c.registrant.is_not(None))
        .order_by(events.c.id.desc())
        .limit(1)
    )
    found: str | None = (await connection.execute(query)).scalar()
    return found


async def _record(
    connection: AsyncConnection,
    keys: Keys,
    kind: HappeningKind,
    *,
    at: datetime,
    note: str | None = None,
    registrant: str | None = None,
    order: str | None = None,
) -> None:
    await connection.execute(
        insert(warranty_event).values(
            unit=keys.unit,
            kind=kind.value,
            at=at,
            note=note,
            registrant=registrant,
            order_ref=order,
            recorded_at=datetime.now(UTC),
        )
    )
