"""People and companies by what they are to units: their roles, and the licences they hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

#: In a station's `possessing_party`: whoever the unit's order names for it. A scan names no person.
PURCHASER = "purchaser"
CARRIER = "carrier"


class Role(StrEnum):
    """What a party is to units; it may be several."""

    CARRIER = "carrier"
    END_CUSTOMER = "end_customer"
    IMPORTER = "importer"
    MAKER = "maker"
    OWNER = "owner"
    PURCHASER = "purchaser"
    SUPPLIER = "supplier"


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """Leave to receive regulated products of a `kind`, both days included; None: without end."""

    number: str
    kind: str
    valid_from: date
    valid_until: date | None = None


def licence_gap(licences: Sequence[Licence], kind: str, day: date) -> str | None:
    """Why none of `licences` is one of `kind` on `day`, in words; None where one is."""
    of_kind = [each for each in licences if each.kind == kind]
    if not of_kind:
        return f"has no licence of kind {kind}"
    begun = [each for each in of_kind if each.valid_from <= day]
    if not begun:
        first = min(each.valid_from for each in of_kind)
        return f"has a licence of kind {kind} only from {first} on"
    last = max((each.valid_until or date.max) for each in begun)
    return None if last >= day else f"has a licence of kind {kind} that expired on {last}"
