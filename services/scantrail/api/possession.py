"""Who has a unit and whose it is: two things, each told apart from the other."""

from collections.abc import Mapping
from typing import Any

from scantrail.domain.party import CARRIER, PURCHASER


def possession_of(row: Any, people: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """`possessing_party`, `owning_party`, `end_customer` and `loan_due` of a unit's row, which has
    its order's columns too; `people` are those whom it names, by id.

    After shipping the carrier has it, and from its delivery on the purchaser (or whoever the order
    ships to). It is the purchaser's unless the order names another owner, or lends it: then it is
    that one's, or nobody says whose. Of a unit that is here only the scans tell who has it.
    """
    has_order = row.phase == "shipped" and row.purchaser is not None
    custody: str | None = row.possessing_party
    possessor, owner = custody, None
    if has_order:
        # What an order says of its delivery is of what had left by then: the rest may follow.
        is_told = row.delivered_at is not None and row.since <= row.delivered_at
        if custody == PURCHASER or is_told:
            possessor = row.ship_to or row.purchaser
        elif custody in (None, CARRIER):
            possessor = row.carrier or custody
        owner = row.owning_party
        if owner is None and row.loan_due is None:
            owner = row.end_customer or row.purchaser

    def told(party_id: str | None) -> dict[str, Any] | None:
        unknown = {"id": party_id, "name": None, "address": None}
        return None if party_id is None else people.get(party_id, unknown)

    return {
        "possessing_party": told(possessor),
        "owning_party": told(owner),
        "end_customer": told(row.end_customer) if has_order else None,
        "loan_due": row.loan_due if has_order else None,
    }
