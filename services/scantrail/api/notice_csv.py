"""An advance notice as CSV: line by line, every fault with its line and the mend."""

import asyncio
import codecs
import csv
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, NamedTuple, TypeVar

from scantrail.api.bodies import TEXT_LENGTH_MAX
from scantrail.api.folding import identified
from scantrail.api.problems import Problem
from scantrail.domain.identifiers import NotIdentified, product_id
from scantrail.domain.order import QUANTITY_MAX
from scantrail.domain.receiving import NoticeLine, NoticeRefused, in_range

FAULTS_MAX: Final = 100
CHUNK_BYTES: Final = 1 << 16

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

T = TypeVar("T")


class Fault(NamedTuple):
    """What is wrong with a line of a file, and the mend. The first line is 1."""

    line: int
    field: str
    detail: str


class BadLine(Exception):
    """The line cannot be used."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.field = field
        self.detail = detail


Row = dict[str, str]


async def read_rows(
    content: bytes, columns: Sequence[str], made: Callable[[Row], T]
) -> AsyncIterator[tuple[int, T | Fault]]:
    """Each line of a CSV file with its number, and what `made` makes of it or its Fault.

    The first line names the columns, of `columns`, in any order. Empty lines are passed over.
    Raises Problem 400 for what is no such file.
    """
    head: list[str] | None = None
    number = 0
    async for text in _lines(content):
        number += 1
        try:
            (cells,) = csv.reader([text], strict=True) if text else ([],)
        except (csv.Error, ValueError) as error:
            if head is None:
                raise _no_csv(f"line {number}: {error}") from error
            yield number, Fault(number, "", f"{error}: a field ends on the line where it begins")
            continue
        if head is None:
            head = _head(cells, columns)
            continue
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(head):
            told = f"{len(cells)} fields, and the first line names {len(head)}: quote commas"
            yield number, Fault(number, "", told)
            continue
        row = {name: cell.strip() for name, cell in zip(head, cells, strict=True) if cell.strip()}
        try:
            yield number, made(row)
        except BadLine as error:
            yield number, Fault(number, error.field, error.detail)
    if head is None:
        raise _no_csv(f"it is empty: the first line names the columns, of {', '.join(columns)}")


async def _lines(content: bytes) -> AsyncIterator[str]:
    """Line by line, others having their turn in between: a file may have a hundred thousand."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    rest = ""
    try:
        for first in range(0, len(content), CHUNK_BYTES):
            chunk = content[first : first + CHUNK_BYTES]
            *whole, rest = (rest + decoder.decode(chunk)).split("\n")
            for line in whole:
                yield line.rstrip("\r")
            if len(rest) > CHUNK_BYTES:
                raise _no_csv(f"a line has more than {CHUNK_BYTES} characters")
            await asyncio.sleep(0)
        rest += decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _no_csv(f"it is not UTF-8: {error}") from error
    if rest:
        yield rest.rstrip("\r")


def _head(cells: Sequence[str], columns: Sequence[str]) -> list[str]:
    head = [cell.strip().casefold() for cell in cells]
    for name in head:
        if name not in columns:
            raise _no_csv(f"unknown column {name!r}: the first line names them, of {columns}")
    if len(set(head)) != len(head):
        raise _no_csv("a column is named twice")
    return head


def _no_csv(detail: str) -> Problem:
    return Problem(400, "Bad input", f"the file is no such CSV: {detail}", field="")


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
