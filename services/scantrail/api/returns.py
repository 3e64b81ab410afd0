"""Returns: authorised by order, followed by scans and by what people decide; nothing is altered."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery
from sqlalchemy import Row, func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.access import Role
from scantrail.api.bodies import decode_body, maybe_short_text, product_key, unit_key
from scantrail.api.changes import Answer, Change, Changes
from scantrail.api.histories import (
    Keys,
    keys_of,
    line_of,
    plain,
    purchaser_of,
    scans_of,
    step_scans,
)
from scantrail.api.paging import Cursor, Limit, after, page
from scantrail.api.preconditions import with_etag
from scantrail.api.problems import Problem, bad_field
from scantrail.api.replacements import lock_returns, replace_unit
from scantrail.api.warranties import named, nameless, proven_by
from scantrail.api.warranty_bodies import ReturnBody, ReturnDecisionBody, ReturnLineBody
from scantrail.api.warranty_samples import RETURN, RETURN_DECISION, RETURN_TOLD, RETURNS_TOLD
from scantrail.domain.returns import (
    ENDS,
    LINES_MAX,
    Decision,
    ReturnReason,
    ReturnRefused,
    ReturnState,
    check_counted,
    check_decision,
    check_quantity,
    comes_back,
    quantities,
    shipping_to,
    state_of_unit,
)
from scantrail.domain.scan import ORDER_LENGTH_MAX, is_order_reference
from scantrail.infra.tables import (
    movement,
    product,
    return_authorisation,
    return_decision,
    return_line,
)

AnyRequest = Request[Any, Any, Any]

_PREFIX = "/returns/"
_DECISIONS = "/decisions"


def build_returns(engine: AsyncEngine, changes: Changes) -> list[Any]:
    """The route handlers."""

    @post("/returns", role=Role.OPERATE, takes=RETURN, tells=RETURN_TOLD)
    async def post_return(request: AnyRequest) -> Response[Any]:
        """Authorise a return: of what was shipped to the purchaser of the order, and nothing else.

        The units may have come already.
        """
        body = decode_body(await request.body(), ReturnBody)
        rma, note = _reference(body.rma), maybe_short_text(body.note, "note")
        if not 1 <= len(body.lines) <= LINES_MAX:
            raise bad_field("lines", f"give 1 to {LINES_MAX}")

        async def write(change: Change) -> Answer:
            connection = change.connection
            await lock_returns(connection)
            purchaser = await purchaser_of(connection, body.order)
            if purchaser is None:
                raise bad_field(
                    "order", f"there is no order {body.order!r}: PUT /orders/{{ref}} first"
                )
            new = upsert(return_authorisation).values(
                rma=rma,
                order_ref=body.order,
                purchaser=purchaser,
                authorised_at=datetime.now(UTC),
                note=note,
            )
            stored = new.on_conflict_do_nothing().returning(return_authorisation.c.rma)
            if (await connection.execute(stored)).first() is None:
                raise Problem(409, "Exists", f"return {rma!r} exists: see it", field="rma")
            for number, line in enumerate(body.lines, start=1):
                try:
                    values = await _accepted(connection, body, line, number - 1, purchaser)
                except ReturnRefused as error:
                    raise Problem(
                        409,
                        "Not accepted",
                        error.detail,
                        field=f"lines[{number - 1}]",
                        reason=error.reason.value,
                    ) from error
                await connection.execute(insert(return_line).values(rma=rma, line=number, **values))
            told = await told_return(connection, await find_return(connection, rma))
            change.note("return", rma, old=0, new=1)
            return Answer(nameless(told), 201, {"Location": f"{_PREFIX}{rma}"})

        return await changes.make(request, write)

    @post("/returns/{reference:path}", role=Role.OPERATE, takes=RETURN_DECISION, tells=RETURN_TOLD)
    async def post_return_decision(reference: FromPath[str], request: AnyRequest) -> Response[Any]:
        """`POST /returns/{rma}/decisions`: what becomes of a line that has come."""
        sent = _sent(request)
        if not sent.endswith(_DECISIONS):
            raise Problem(404, "Not found", f"post to {_PREFIX}{{rma}}{_DECISIONS}")
        rma = unquote(sent.removesuffix(_DECISIONS))
        body = decode_body(await request.body(), ReturnDecisionBody)
        note = maybe_short_text(body.note, "note")

        async def write(change: Change) -> Answer:
            connection = change.connection
            await lock_returns(connection)
            row = await find_return(connection, rma)
            version = await _version(connection, rma)
            change.expect(version)
            query = select(return_line).where(
                return_line.c.rma == rma, return_line.c.line == body.line
            )
            line = (await connection.execute(query)).first()
            if line is None:
                raise bad_field("line", f"return {rma!r} has no line {body.line}")
            decisions = await _decisions(connection, rma, body.line)
            keys = None if line.unit is None else await keys_of(connection, line.unit)
            try:
                if keys is None:
                    if body.replacement is not None:
                        raise ValueError("without a serial no unit is known to take the place")
                    check_counted(line.quantity, decisions, body.state, body.quantity)
                else:
                    check_decision(
                        await _state_of(connection, line, keys, decisions),
                        body.state,
                        replacement=body.replacement,
                    )
            except ValueError as error:
                raise Problem(409, "Not so", f"line {body.line}: {error}", field="state") from error
            new_unit = None
            if keys is not None and body.replacement is not None:
                new_unit = await replace_unit(connection, keys, body.replacement, rma=rma)
            await connection.execute(
                insert(return_decision).values(
                    rma=rma,
                    line=body.line,
                    number=len(decisions) + 1,
                    state=body.state.value,
                    quantity=1 if keys is not None else body.quantity,
                    at=datetime.now(UTC),
                    note=note,
                    replacement=new_unit,
                )
            )
            told = await told_return(connection, row)
            change.note("return", rma, old=version, new=version + 1)
            return Answer(nameless(told), 201)

        return await changes.make(request, write)

    @get("/returns/{reference:path}", role=Role.READ, tells=RETURN_TOLD)
    async def get_return(reference: FromPath[str], request: AnyRequest) -> Response[Any]:
        """A return and how far it is; `unexpected` is what came by it and is on no line."""
        async with engine.connect() as connection:
            told = await told_return(
                connection, await find_return(connection, unquote(_sent(request)))
            )
        return with_etag(told, told["version"])

    @get("/returns", role=Role.READ, tells=RETURNS_TOLD)
    async def list_returns(
        order: FromQuery[str | None] = None,
        purchaser: FromQuery[str | None] = None,
        unit: FromQuery[str | None] = None,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> dict[str, Any]:
        """Returns by reference."""
        heads = return_authorisation
        query = (
            select(heads)
            .where(heads.c.rma > after(cursor, "returns"))
            .order_by(heads.c.rma)
            .limit(limit)
        )
        for column, value in ((heads.c.order_ref, order), (heads.c.purchaser, purchaser)):
            if value is not None:
                query = query.where(column == value)
        async with engine.connect() as connection:
            if unit is not None:
                keys = await keys_of(connection, unit_key(unit, "unit"))
                having = select(return_line.c.rma).where(return_line.c.unit.in_(keys.every))
                query = query.where(heads.c.rma.in_(having))
            found = plain((await connection.execute(query)).all())
        return page("returns", found, limit, key="rma")

    return [post_return, post_return_decision, get_return, list_returns]


def _reference(rma: str) -> str:
    """A return's reference, as scans may carry it. Raises Problem 400."""
    if not is_order_reference(rma) or rma.endswith(_DECISIONS):
        raise bad_field(
            "rma",
            f"give 1 to {ORDER_LENGTH_MAX} printable characters, none of them a space at its ends",
        )
    return rma


def _sent(request: AnyRequest) -> str:
    """What stands in the address behind /returns/, as it was sent: references may have slashes."""
    return str(request.scope["raw_path"].decode("ascii", "replace")).removeprefix(_PREFIX)


async def _accepted(
    connection: AsyncConnection, body: ReturnBody, line: ReturnLineBody, place: int, purchaser: str
) -> dict[str, Any]:
    """The columns of a line that is accepted. Raises ReturnRefused, or Problem 400."""
    field = f"lines[{place}]"
    if (line.unit is None) == (line.product is None):
        raise bad_field(field, "give `unit`, or `product` with its `quantity`: one of the two")
    if line.unit is None:
        name = product_key(line.product or "", f"{field}.product")
        if line.quantity < 1:
            raise bad_field(f"{field}.quantity", "give 1 or more")
        ordered = await line_of(connection, body.order, name)
        if ordered is not None and await _has_serials(connection, name, body.order):
            raise ReturnRefused(
                ReturnReason.SERIAL_WANTED,
                f"a line of an order does not show that units of {name} were shipped: name each"
                " `unit` that comes back",
            )
        check_quantity(
            product=name,
            ordered=0 if ordered is None else ordered.bought,
            announced_before=await _announced(connection, body.order, name),
            quantity=line.quantity,
            order=body.order,
        )
        return {"product": name, "quantity": line.quantity}
    if line.quantity != 1:
        raise bad_field(f"{field}.quantity", "a unit is one: leave it out")
    keys = await keys_of(connection, unit_key(line.unit, f"{field}.unit"))
    scans = step_scans(await scans_of(connection, keys))
    shipping = shipping_to(scans, purchaser=purchaser, rma=body.rma)
    query = (
        select(return_line.c.rma)
        .where(
            return_line.c.unit.in_(keys.every),
            return_line.c.shipped_event_id == shipping.event_id,
        )
        .limit(1)
    )
    before: str | None = (await connection.execute(query)).scalar()
    if before is not None:
        raise ReturnRefused(
            ReturnReason.ALREADY_ANNOUNCED, f"it is on return {before}: decide there about it"
        )
    return {
        "unit": keys.unit,
        "product": keys.product,
        "quantity": 1,
        "shipped_event_id": shipping.event_id,
        "shipped_at": shipping.at,
    }


async def _has_serials(connection: AsyncConnection, name: str, order: str) -> bool:
    """Whether units of a known product are scanned when they go out."""
    known = select(product.c.id).where(product.c.id == name)
    is_known = (await connection.execute(known)).first() is not None
    return is_known and not await proven_by(connection, name, order)


async def _announced(connection: AsyncConnection, order: str, name: str) -> int:
    """How many of a product were announced by all returns of an order, by serial or not."""
    query = (
        select(func.coalesce(func.sum(return_line.c.quantity), 0))
        .join(return_authorisation)
        .where(
            return_authorisation.c.order_ref == order,
            return_line.c.product == name,
        )
    )
    return int((await connection.execute(query)).scalar_one())


async def find_return(connection: AsyncConnection, rma: str) -> Row[Any]:
    """The authorisation. Raises Problem 404."""
    query = select(return_authorisation).where(return_authorisation.c.rma == rma)
    row = (await connection.execute(query)).first()
    if row is None:
        raise Problem(404, "Not found", f"there is no return {rma!r}: POST /returns")
    return row


async def _version(connection: AsyncConnection, rma: str) -> int:
    """One more than decisions were made of a return."""
    query = select(func.count()).select_from(return_decision).where(return_decision.c.rma == rma)
    return 1 + int((await connection.execute(query)).scalar_one())


async def _decisions(connection: AsyncConnection, rma: str, line: int) -> list[Decision]:
    decided = return_decision
    query = (
        select(decided)
        .where(decided.c.rma == rma, decided.c.line == line)
        .order_by(decided.c.number)
    )
    return [_decision(row) for row in await connection.execute(query)]


def _decision(row: Row[Any]) -> Decision:
    return Decision(state=ReturnState(row.state), at=row.at, quantity=row.quantity)


async def _state_of(
    connection: AsyncConnection, line: Row[Any], keys: Keys, decisions: Sequence[Decision]
) -> ReturnState:
    scans = step_scans(await scans_of(connection, keys))
    return state_of_unit(scans, decisions, shipped_at=line.shipped_at, rma=line.rma)


async def told_return(connection: AsyncConnection, head: Row[Any]) -> dict[str, Any]:
    """A return with its lines, how far each is, and what came by it and is on none."""
    query = select(return_line).where(return_line.c.rma == head.rma).order_by(return_line.c.line)
    lines, expected = [], set[str]()
    decided = return_decision
    every = (
        select(decided).where(decided.c.rma == head.rma).order_by(decided.c.line, decided.c.number)
    )
    by_line: dict[int, list[Row[Any]]] = {}
    for decision in await connection.execute(every):
        by_line.setdefault(decision.line, []).append(decision)
    for row in (await connection.execute(query)).all():
        told = by_line.get(row.line, [])
        decisions = [_decision(each) for each in told]
        line: dict[str, Any] = {"line": row.line, "unit": row.unit, "product": row.product}
        if row.unit is None:
            counts = quantities(row.quantity, decisions)
            line |= {
                "quantity": row.quantity,
                "counts": {state.value: count for state, count in counts.items() if count},
            }
        else:
            keys = await keys_of(connection, row.unit)
            expected.update(keys.every)
            scans = step_scans(await scans_of(connection, keys))
            state = state_of_unit(scans, decisions, shipped_at=row.shipped_at, rma=head.rma)
            line |= {
                "state": state.value,
                "shipped_at": row.shipped_at,
                "scans": [
                    {"event_id": scan.event_id, "at": scan.at, "business_step": scan.step.value}
                    for scan in scans
                    if scan.at > row.shipped_at and scan.rma in (None, head.rma)
                ],
            }
        line["decisions"] = [
            {
                "state": each.state,
                "quantity": each.quantity,
                "at": each.at,
                "note": each.note,
                "replacement": each.replacement,
            }
            for each in told
        ]
        lines.append(line)
    return {
        **head._mapping,
        "version": 1 + sum(len(told) for told in by_line.values()),
        "purchaser": await named(connection, head.purchaser),
        "is_done": bool(lines) and all(_is_done(line) for line in lines),
        "lines": lines,
        "unexpected": await _unexpected(connection, head, expected),
    }


def _is_done(line: dict[str, Any]) -> bool:
    """Whether nothing is left to decide: all was restocked, scrapped, repaired or replaced."""
    done = {state.value for state in (*ENDS, ReturnState.REPAIRED, ReturnState.REPLACED)}
    return done.issuperset(line["counts"] if line["unit"] is None else [line["state"]])


async def _unexpected(
    connection: AsyncConnection, head: Row[Any], expected: set[str]
) -> list[dict[str, Any]]:
    """Units that came by this return and are on none of its lines, each with the reason why."""
    query = (
        select(movement.c.unit)
        .where(movement.c.rma == head.rma, movement.c.unit.not_in(expected))
        .distinct()
        .order_by(movement.c.unit)
        .limit(LINES_MAX)
    )
    found: dict[str, dict[str, Any]] = {}
    for unit in (await connection.execute(query)).scalars().all():
        keys = await keys_of(connection, unit)
        if keys.unit in expected or keys.unit in found:
            continue
        scans = step_scans(await scans_of(connection, keys))
        came = [scan for scan in scans if scan.rma == head.rma and comes_back(scan, head.rma)]
        if not came:
            continue
        reason, detail = "not_announced", "it is on no line: authorise it by another return"
        try:
            shipping_to(scans, purchaser=head.purchaser, rma=head.rma)
        except ReturnRefused as error:
            reason, detail = error.reason.value, error.detail
        found[keys.unit] = {
            "unit": keys.unit,
            "event_id": came[0].event_id,
            "at": came[0].at,
            "reason": reason,
            "detail": detail,
        }
    return list(found.values())
