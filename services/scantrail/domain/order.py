"""What a sales order asks for: products and quantities, and nobody's name."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

#: Lines that one order may have: its record stays within what Kafka takes by default.
LINES_MAX: Final = 5000

QUANTITY_MAX: Final = (1 << 31) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderLine:
    """`product` is a product's id, `quantity` a number of its units, 1 or more."""

    product: str
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """`id` is the order's reference. Without lines it says nothing of what may leave for it.

    Who bought stands in the query database and nowhere else.
    """

    id: str
    lines: tuple[OrderLine, ...] = ()
    version: int = 1

    def quantity_of(self, product: str) -> int:
        """Units of a product in all lines together; 0 where none asks for it."""
        return sum(line.quantity for line in self.lines if line.product == product)

    def ordered_of(self, products: Sequence[str]) -> str | None:
        """The first of a unit's products that a line asks for."""
        asked = {line.product for line in self.lines}
        return next((product for product in products if product in asked), None)
