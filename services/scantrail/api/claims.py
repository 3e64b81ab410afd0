"""Warranty claims: filed with what there is to say of them, and followed; events are only added."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery
from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.access import Role
from scantrail.api.bodies import (
    checked_id,
    decode_body,
    maybe_short_text,
    product_key,
    short_text,
    unit_key,
)
from scantrail.api.changes import Answer, Change, Changes
from scantrail.api.histories import Keys, cover_for, keys_of, line_of, plain, purchaser_of
from scantrail.api.paging import Cursor, Limit, after, page
from scantrail.api.preconditions import with_etag
from scantrail.api.problems import Problem, bad_field
from scantrail.api.recall_lookup import recalls_of
from scantrail.api.replacements import lock_returns, replace_unit
from scantrail.api.warranties import named, nameless, proven_by, today
from scantrail.api.warranty_bodies import ClaimBody, ClaimEventBody
from scantrail.api.warranty_samples import CLAIM, CLAIM_EVENT, CLAIM_TOLD, CLAIMS_TOLD
from scantrail.domain.claim import (
    ClaimRefused,
    ClaimState,
    Remark,
    check_claim_step,
    remarks_on,
)
from scantrail.domain.identifiers import product_and_serial
from scantrail.domain.warranty import Cover
from scantrail.infra.tables import warranty_claim, warranty_claim_event

AnyRequest = Request[Any, Any, Any]


def build_claims(engine: AsyncEngine, changes: Changes) -> list[Any]:
    """The route handlers."""

    @post("/claims", role=Role.OPERATE, takes=CLAIM, tells=CLAIM_TOLD)
    async def post_claim(request: AnyRequest) -> Response[Any]:
        """File a claim. It is taken whatever there is to say of it; `remarks` say it."""
        body = decode_body(await request.body(), ClaimBody)
        claim_id, fault = checked_id(body.id, "id"), short_text(body.fault, "fault")
        key, told_name = _claimed(body)

        async def write(change: Change) -> Answer:
            connection = change.connection
            await lock_returns(connection)
            keys = None if key is None else await keys_of(connection, key)
            name = told_name or (keys.product if keys else None)
            proof = await _checked_order(connection, body.order, name)
            claim = {
                "id": claim_id,
                "unit": keys and keys.unit,
                "product": name,
                "serial": None if key is None else product_and_serial(key)[1],
                "order_ref": body.order,
                "line": proof,
            }
            cover, remarks = await _judged(connection, claim, keys)
            purchaser = cover and cover.purchaser
            if purchaser is None and body.order is not None:
                purchaser = await purchaser_of(connection, body.order)
            filed_at = datetime.now(UTC)
            new = upsert(warranty_claim).values(
                **claim,
                purchaser=purchaser,
                fault=fault,
                state=ClaimState.FILED.value,
                filed_at=filed_at,
                remarks=_shown(remarks),
            )
            stored = new.on_conflict_do_nothing().returning(warranty_claim.c.id)
            if (await connection.execute(stored)).first() is None:
                raise Problem(409, "Exists", f"claim {claim_id!r} exists: see it", field="id")
            await _add_event(connection, claim_id, 1, ClaimState.FILED, at=filed_at, note=fault)
            told = await told_claim(connection, await find_claim(connection, claim_id))
            change.note("claim", claim_id, old=0, new=1)
            return Answer(nameless(told), 201, {"Location": f"/claims/{claim_id}"})

        return await changes.make(request, write)

    @post("/claims/{claim_id:str}/events", role=Role.OPERATE, takes=CLAIM_EVENT, tells=CLAIM_TOLD)
    async def post_event(claim_id: FromPath[str], request: AnyRequest) -> Response[Any]:
        """Take a claim one step on; a unit that takes another's place is written down with it."""
        body = decode_body(await request.body(), ClaimEventBody)
        note = maybe_short_text(body.note, "note")

        async def write(change: Change) -> Answer:
            connection = change.connection
            await lock_returns(connection)
            row = await find_claim(connection, claim_id)
            version = await _version(connection, claim_id)
            change.expect(version)
            keys = None if row.unit is None else await keys_of(connection, row.unit)
            remarks = await remarks_now(connection, row)
            try:
                check_claim_step(
                    ClaimState(row.state),
                    body.state,
                    note=note,
                    replacement=body.replacement,
                    has_serial=keys is not None,
                    remarks=remarks,
                )
            except ClaimRefused as error:
                raise Problem(
                    409, "Not so", error.detail, field=error.field, remarks=_shown(remarks)
                ) from error
            new_unit = None
            if keys is not None and body.replacement is not None:
                new_unit = await replace_unit(connection, keys, body.replacement, claim=claim_id)
            await _add_event(
                connection,
                claim_id,
                version + 1,
                body.state,
                at=datetime.now(UTC),
                note=note,
                replacement=new_unit,
            )
            await connection.execute(
                update(warranty_claim)
                .where(warranty_claim.c.id == claim_id)
                .values(state=body.state.value)
            )
            told = await told_claim(connection, await find_claim(connection, claim_id))
            change.note("claim", claim_id, old=version, new=version + 1)
            return Answer(nameless(told), 201)

        return await changes.make(request, write)

    @get("/claims/{claim_id:str}", role=Role.READ, tells=CLAIM_TOLD)
    async def get_claim(claim_id: FromPath[str]) -> Response[Any]:
        """A claim with all that became of it."""
        async with engine.connect() as connection:
            told = await told_claim(connection, await find_claim(connection, claim_id))
        return with_etag(told, told["version"])

    @get("/claims", role=Role.READ, tells=CLAIMS_TOLD)
    async def list_claims(
        status: FromQuery[ClaimState | None] = None,
        unit: FromQuery[str | None] = None,
        product: FromQuery[str | None] = None,
        order: FromQuery[str | None] = None,
        purchaser: FromQuery[str | None] = None,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> dict[str, Any]:
        """Claims by id."""
        claims = warranty_claim
        query = (
            select(claims)
            .where(claims.c.id > after(cursor, "claims"))
            .order_by(claims.c.id)
            .limit(limit)
        )
        wanted = (
            (claims.c.state, status and status.value),
            (claims.c.product, None if product is None else product_key(product, "product")),
            (claims.c.order_ref, order),
            (claims.c.purchaser, purchaser),
        )
        for column, value in wanted:
            if value is not None:
                query = query.where(column == value)
        async with engine.connect() as connection:
            if unit is not None:
                keys = await keys_of(connection, unit_key(unit, "unit"))
                query = query.where(claims.c.unit.in_(keys.every))
            found = plain((await connection.execute(query)).all())
        return page("claims", found, limit)

    return [post_claim, post_event, get_claim, list_claims]


def _claimed(body: ClaimBody) -> tuple[str | None, str | None]:
    """The key of the unit, where a serial is told, and the product. Raises Problem 400."""
    if (body.unit is None) == (body.product is None):
        raise bad_field("unit", "give `unit`, or `product` with its `serial`: one of the two")
    if body.unit is not None:
        if body.serial is not None:
            raise bad_field("serial", "`unit` tells it already: leave it out")
        return unit_key(body.unit, "unit"), None
    name = product_key(body.product or "", "product")
    if body.serial is not None:
        return unit_key(body.serial, "serial", product=name), name
    if body.order is None:
        raise bad_field("order", "without a serial the order is the proof of purchase: give it")
    return None, name


async def _checked_order(
    connection: AsyncConnection, order: str | None, name: str | None
) -> int | None:
    """The line that proves the purchase, where it does. Raises Problem 400 for what is no order,
    or none of the product."""
    if order is None:
        return None
    is_proof = await proven_by(connection, name, order)
    line = await line_of(connection, order, name)
    if line is None and name is not None:
        raise bad_field("order", f"order {order!r} has no line of product {name}")
    return line.line if is_proof and line is not None else None


async def _judged(
    connection: AsyncConnection, claim: Mapping[str, Any], keys: Keys | None
) -> tuple[Cover | None, dict[Remark, str]]:
    """How the warranty stands, and what there is to say of the claim now."""
    order, name, line = claim["order_ref"], claim["product"], claim["line"]
    proof = order if line is not None else None
    recalls: list[str] = []
    if keys is not None:
        cover = await cover_for(connection, keys, proof=proof)
        recalls = await recalls_of(connection, keys)
    else:
        cover = await cover_for(connection, Keys(("",), name), proof=proof)
    claimed, bought = 1, None
    if proof is not None and (cover is None or cover.of_unit in (keys.every if keys else ("",))):
        known = await line_of(connection, proof, name)
        bought = None if known is None else known.bought
        claimed = await _claimed_of(connection, claim, keys)
    remarks = remarks_on(
        cover, today(cover), order=order, recalls=recalls, claimed=claimed, bought=bought
    )
    return cover, remarks


async def remarks_now(connection: AsyncConnection, row: Row[Any]) -> dict[Remark, str]:
    """What there is to say of a claim that was filed, as things stand now."""
    keys = None if row.unit is None else await keys_of(connection, row.unit)
    return (await _judged(connection, dict(row._mapping), keys))[1]


async def _claimed_of(
    connection: AsyncConnection, claim: Mapping[str, Any], keys: Keys | None
) -> int:
    """How many units of its product were claimed by its order, this one included."""
    claims = warranty_claim
    query = select(
        func.count(claims.c.unit.distinct()),
        func.count().filter(claims.c.unit.is_(None)),
    ).where(
        claims.c.order_ref == claim["order_ref"],
        claims.c.product == claim["product"],
        claims.c.id != claim["id"],
        claims.c.state != ClaimState.REFUSED.value,
    )
    if keys is not None:  # another claim on the same unit is no other unit
        query = query.where(claims.c.unit.is_(None) | claims.c.unit.not_in(keys.every))
    serials, others = (await connection.execute(query)).one()
    return int(serials) + int(others) + 1


async def find_claim(connection: AsyncConnection, claim_id: str) -> Row[Any]:
    """The claim. Raises Problem 404."""
    query = select(warranty_claim).where(warranty_claim.c.id == claim_id)
    row = (await connection.execute(query)).first()
    if row is None:
        raise Problem(404, "Not found", f"there is no claim {claim_id!r}: POST /claims")
    return row


async def _version(connection: AsyncConnection, claim_id: str) -> int:
    """How many events a claim has."""
    events = warranty_claim_event
    query = select(func.count()).select_from(events).where(events.c.claim == claim_id)
    return int((await connection.execute(query)).scalar_one())


async def _add_event(
    connection: AsyncConnection,
    claim_id: str,
    number: int,
    state: ClaimState,
    *,
    at: datetime,
    note: str | None = None,
    replacement: str | None = None,
) -> None:
    await connection.execute(
        insert(warranty_claim_event).values(
            claim=claim_id,
            number=number,
            state=state.value,
            at=at,
            note=note,
            replacement=replacement,
        )
    )


async def told_claim(connection: AsyncConnection, row: Row[Any]) -> dict[str, Any]:
    """A claim with all that became of it."""
    events = warranty_claim_event
    query = (
        select(events.c.state, events.c.at, events.c.note, events.c.replacement)
        .where(events.c.claim == row.id)
        .order_by(events.c.number)
    )
    told = (await connection.execute(query)).all()
    return {
        **row._mapping,
        "version": len(told),
        "purchaser": await named(connection, row.purchaser),
        "events": plain(told),
    }


def _shown(remarks: Mapping[Remark, str]) -> list[dict[str, str]]:
    return [{"reason": reason.value, "detail": detail} for reason, detail in remarks.items()]
