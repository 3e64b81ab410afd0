"""A product and what its owner decided about its units."""

from dataclasses import dataclass
from enum import StrEnum

from scantrail.domain.vocabulary import OUTBOUND_STEPS, BusinessStep


class Serials(StrEnum):
    """Whether units of a product carry serials here."""

    MANDATORY = "mandatory"
    OPTIONAL = "optional"
    NOT_USED = "not_used"


class Captured(StrEnum):
    """From where on the serials of a product's units are read."""

    RECEIVING = "receiving"
    SHIPPING = "shipping"
    WARRANTY = "warranty"  # not before a claim: units leave without


#: In a product's schemes: its maker's serials, which have no mark of their own.
PLAIN_SERIAL = "serial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """`id` is the GTIN-14 where the product has one, else the owner's own number.

    `steps` is the order in which its units are expected at stations, each step once; empty: any.
    Steps that it does not name may come at any time. `schemes` are those of its units' codes that
    have no mark of their own (contracts.identity.SCHEMES, and PLAIN_SERIAL); none: any.
    """

    id: str
    name: str
    serials: Serials = Serials.MANDATORY
    steps: tuple[BusinessStep, ...] = ()
    captured: Captured = Captured.RECEIVING
    schemes: tuple[str, ...] = ()
    version: int = 1

    def needs_serial_at(self, step: BusinessStep) -> bool:
        """Whether its code without a serial is not enough there."""
        if self.serials is not Serials.MANDATORY or self.captured is Captured.WARRANTY:
            return False
        return self.captured is Captured.RECEIVING or step in OUTBOUND_STEPS


def expected_after(product: Product, step: BusinessStep) -> tuple[BusinessStep, ...] | None:
    """After which of the product's steps `step` is expected: the one before it, or itself again.

    None has to come before the first one, which begins anew; None where the order does not name it.
    """
    if step not in product.steps:
        return None
    place = product.steps.index(step)
    return (product.steps[place - 1], step) if place else ()
