"""A product and what its owner decided about its units."""

from dataclasses import dataclass
from enum import StrEnum

from scantrail.domain.vocabulary import BusinessStep


class Serials(StrEnum):
    """Whether units of a product carry serials here."""

    MANDATORY = "mandatory"
    OPTIONAL = "optional"
    NOT_USED = "not_used"


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """`id` is the GTIN-14 where the product has one, else the owner's own number.

    `steps` is the order in which its units are expected at stations, each step once; empty: any.
    Steps that it does not name may come at any time.
    """

    id: str
    name: str
    serials: Serials = Serials.MANDATORY
    steps: tuple[BusinessStep, ...] = ()
    version: int = 1


def expected_after(product: Product, step: BusinessStep) -> tuple[BusinessStep, ...] | None:
    """After which of the product's steps `step` is expected: the one before it, or itself again.

    None has to come before the first one, which begins anew; None where the order does not name it.
    """
    if step not in product.steps:
        return None
    place = product.steps.index(step)
    return (product.steps[place - 1], step) if place else ()
