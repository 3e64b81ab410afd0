"""A product and what its owner decided about serials."""

from dataclasses import dataclass
from enum import StrEnum


class Serials(StrEnum):
    """Whether units of a product carry serials here."""

    MANDATORY = "mandatory"
    OPTIONAL = "optional"
    NOT_USED = "not_used"


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """`id` is the GTIN-14 where the product has one, else the owner's own number."""

    id: str
    name: str
    serials: Serials = Serials.MANDATORY
    version: int = 1
