"""A line of an advance notice that comes as CSV."""

from typing import Final

from scantrail.api.bodies import TEXT_LENGTH_MAX
from scantrail.api.csv_rows import BadLine, Row
from scantrail.api.folding import identified
from scantrail.domain.identifiers import NotIdentified, product_id
from scantrail.domain.order import QUANTITY_MAX
from scantrail.domain.receiving import NoticeLine, NoticeRefused, in_range

COLUMNS: Final = (
    "code",
    "product",
    "serial",
    "low",
    "high",
    "quantity",
    "carton",
    "pallet",
    "kit",
)


def notice_line(row: Row) -> tuple[NoticeLine, tuple[str, str] | None]:
    """The line of a notice, and its carton with the pallet on which it stands. Raises BadLine.

    One of `code`, `product` with `serial`, `product` with `low` and `high`, `product` with
    `quantity`.
    """
    told = {name for name in ("code", "serial", "low", "high", "quantity") if name in row}
    if told not in ({"code"}, {"serial"}, {"low", "high"}, {"quantity"}):
        raise BadLine("", "give one of: code; serial; low and high; quantity")
    if "code" not in told and "product" not in row:
        raise BadLine("product", "name the product")
    carton, pallet = (_sscc(row, name) for name in ("carton", "pallet"))
    try:
        product = product_id(row["product"]) if "product" in row else None
    except NotIdentified as error:
        raise BadLine("product", error.detail) from error
    kit = row.get("kit")
    if kit is not None and (len(kit) > TEXT_LENGTH_MAX or not kit.isprintable()):
        raise BadLine("kit", f"give at most {TEXT_LENGTH_MAX} printable characters")
    line = NoticeLine(product=product, parent=carton or pallet, kit=kit)
    on_pallet = (carton, pallet) if carton is not None and pallet is not None else None
    if "quantity" in told:
        return line._replace(quantity=quantity_of(row["quantity"])), on_pallet
    if "code" in told:
        return line._replace(keys=(_key(row["code"], "code", product),)), on_pallet
    if "serial" in told:
        return line._replace(serials=(row["serial"],)), on_pallet
    try:
        in_range(row["low"], row["high"])
    except NoticeRefused as error:
        raise BadLine(error.field, error.reason) from error
    return line._replace(ranges=((row["low"], row["high"]),)), on_pallet


def _sscc(row: Row, name: str) -> str | None:
    if name not in row:
        return None
    key = _key(row[name], name, None)
    if not key.startswith("sscc:"):
        raise BadLine(name, "give the SSCC, 18 digits")
    return key


def _key(spelling: str, field: str, product: str | None) -> str:
    try:
        return identified(spelling, product=product).key
    except NotIdentified as error:
        raise BadLine(field, error.detail) from error


def quantity_of(text: str) -> int:
    """How many, of a field `quantity`. Raises BadLine."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):
        raise BadLine("quantity", "give a whole number")
    quantity = int(text)
    if not 1 <= quantity <= QUANTITY_MAX:
        raise BadLine("quantity", "give 1 or more, below 2^31")
    return quantity
