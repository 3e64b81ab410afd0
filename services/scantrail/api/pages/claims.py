"""Warranty claims: filed at the desk, followed to their end."""

from typing import Any

from litestar import Request, get
from litestar.params import FromPath, FromQuery
from litestar.response import Stream, Template
from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api.access import Role
from scantrail.api.bodies import product_key, unit_key
from scantrail.api.claims import find_claim, remarks_now, told_claim
from scantrail.api.csv_file import csv_of_query
from scantrail.api.days import Days
from scantrail.api.histories import keys_of
from scantrail.api.pages.frame import SCREEN, Times, screen
from scantrail.api.pages.newest import Newest
from scantrail.api.pages.orders import bought_by
from scantrail.api.problems import bad_field
from scantrail.api.warranties import warranty_of
from scantrail.domain.claim import FOLLOWING, WEIGHTY, ClaimState
from scantrail.infra.tables import party, warranty_claim

AnyRequest = Request[Any, Any, Any]

SHOWN_MAX = 50

_NEWEST = Newest(warranty_claim.c.filed_at, warranty_claim.c.id)

#: What waits for somebody.
_WAITING = (ClaimState.FILED, ClaimState.ACCEPTED)

COLUMNS = (
    "claim",
    "state",
    "filed_at",
    "unit",
    "product",
    "serial",
    "order",
    "purchaser",
    "fault",
    "remarks",
)

#: Each step, as it stands on the button.
STEPS = {
    ClaimState.ACCEPTED: "Accept it",
    ClaimState.REFUSED: "Refuse it",
    ClaimState.REPAIRED: "It was repaired",
    ClaimState.REPLACED: "It was replaced",
    ClaimState.CLOSED: "Close it",
}


def build_claims_screen(engine: AsyncEngine) -> list[Any]:
    """The route handlers."""

    async def listed(status: str, unit: str, product: str, order: str, who: str) -> Select[Any]:
        claims = warranty_claim
        query = select(claims, party.c.name).outerjoin(party, party.c.id == claims.c.purchaser)
        if status == "waiting":
            query = query.where(claims.c.state.in_([each.value for each in _WAITING]))
        elif status in [*ClaimState]:
            query = query.where(claims.c.state == status)
        elif status != "all":
            raise bad_field("status", f"give waiting, all or one of {', '.join(ClaimState)}")
        if asked := product.strip():
            query = query.where(claims.c.product == product_key(asked, "product"))
        if asked := order.strip():
            query = query.where(claims.c.order_ref == asked)
        if asked := who.strip():
            query = query.where(claims.c.purchaser.in_(bought_by(asked)))
        if asked := unit.strip():
            async with engine.connect() as connection:
                keys = await keys_of(connection, unit_key(asked, "unit"))
            query = query.where(claims.c.unit.in_(keys.every))
        return query

    @get("/page/claims", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show(
        request: AnyRequest,
        status: FromQuery[str] = "",
        unit: FromQuery[str] = "",
        product: FromQuery[str] = "",
        order: FromQuery[str] = "",
        who: FromQuery[str] = "",
        before: FromQuery[str] = "",
    ) -> Template:
        """What waits, the newest first; where something is asked for, whatever its state."""
        wanted = {"unit": unit, "product": product, "order": order, "who": who}
        wanted["status"] = status or ("all" if any(wanted.values()) else "waiting")
        query = _NEWEST.page(await listed(**wanted), before, SHOWN_MAX)
        waiting = (
            select(warranty_claim.c.state, func.count())
            .where(warranty_claim.c.state.in_([each.value for each in _WAITING]))
            .group_by(warranty_claim.c.state)
        )
        async with engine.connect() as connection:
            rows = (await connection.execute(query)).all()
            counts = {row[0]: row[1] for row in await connection.execute(waiting)}
            times = Times(await Days.read(connection))
        return screen(
            request,
            "claims.html",
            claims=rows[:SHOWN_MAX],
            counts=counts,
            following=_NEWEST.following(rows, SHOWN_MAX),
            wanted=wanted,
            here=wanted | {"before": before},
            statuses=["waiting", "all", *(each.value for each in ClaimState)],
            times=times,
        )

    @get("/page/claims.csv", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def as_csv(
        status: FromQuery[str] = "all",
        unit: FromQuery[str] = "",
        product: FromQuery[str] = "",
        order: FromQuery[str] = "",
        who: FromQuery[str] = "",
    ) -> Stream:
        """All of the list."""
        query = _NEWEST.first(await listed(status, unit, product, order, who))
        async with engine.connect() as connection:
            return await csv_of_query(connection, "claims", COLUMNS, query, _line)

    @get("/page/claims/{claim_id:str}", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show_one(request: AnyRequest, claim_id: FromPath[str]) -> Template:
        """One claim: what there was and is to say of it, what became of it, and what may follow."""
        async with engine.connect() as connection:
            row = await find_claim(connection, claim_id)
            told = await told_claim(connection, row)
            remarks = await remarks_now(connection, row)
            warranty = None
            if row.unit is not None:
                warranty = await warranty_of(connection, await keys_of(connection, row.unit))
            times = Times(await Days.read(connection))
        following = FOLLOWING[ClaimState(row.state)]
        return screen(
            request,
            "claim.html",
            claim=told,
            remarks=remarks,
            is_weighty=bool(WEIGHTY.intersection(remarks)),
            warranty=warranty,
            steps={step: word for step, word in STEPS.items() if step in following},
            times=times,
        )

    @get("/page/new-claim", role=Role.OPERATE, opt=SCREEN, include_in_schema=False)
    async def show_new(
        request: AnyRequest, unit: FromQuery[str] = "", order: FromQuery[str] = ""
    ) -> Template:
        """The forms: by serial, or by the order that is the proof of purchase."""
        return screen(request, "claim_form.html", unit=unit, order=order)

    return [show, as_csv, show_one, show_new]


def _line(row: Any) -> tuple[Any, ...]:
    return (
        row.id,
        row.state,
        row.filed_at,
        row.unit,
        row.product,
        row.serial,
        row.order_ref,
        row.purchaser,
        row.fault,
        ", ".join(each["reason"] for each in row.remarks),
    )
