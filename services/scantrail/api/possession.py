"""Who has a unit and whose it is: two things, each told apart from the other."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from scantrail.domain.party import CARRIER, PURCHASER
from scantrail.infra.tables import party, sales_order


async def possession_of(connection: AsyncConnection, row: Any) -> dict[str, Any]:
    """`possessing_party`, `owning_party`, `end_customer` and `loan_due` of a unit's row.

    After shipping the carrier has it, and from its delivery on the purchaser (or whoever the order
    ships to). It is the purchaser's unless the order names another owner, or lends it: then it is
    that one's, or nobody says whose. Of a unit that is here only the scans tell who has it.
    """
    order = None
    if row.phase == "shipped" and row.order_ref is not None:
        query = select(sales_order).where(sales_order.c.ref == row.order_ref)
        order = (await connection.execute(query)).first()
    custody: str | None = row.possessing_party
    possessor, owner = custody, None
    if order is not None:
        # What an order says of its delivery is of what had left by then: the rest may follow.
        is_told = order.delivered_at is not None and row.since <= order.delivered_at
        if custody == PURCHASER or is_told:
            possessor = order.ship_to or order.purchaser
        elif custody in (None, CARRIER):
            possessor = order.carrier or custody
        owner = order.owning_party
        if owner is None and order.loan_due is None:
            owner = order.end_customer or order.purchaser
    wanted = {possessor, owner, order and order.end_customer} - {None}
    known = select(party.c.id, party.c.name, party.c.address).where(party.c.id.in_(wanted))
    people = {each.id: dict(each._mapping) for each in await connection.execute(known)}

    def told(party_id: str | None) -> dict[str, Any] | None:
        unknown = {"id": party_id, "name": None, "address": None}
        return None if party_id is None else people.get(party_id, unknown)

    return {
        "possessing_party": told(possessor),
        "owning_party": told(owner),
        "end_customer": told(order.end_customer) if order is not None else None,
        "loan_due": order.loan_due if order is not None else None,
    }
