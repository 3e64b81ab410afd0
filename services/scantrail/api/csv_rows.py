"""CSV files: of those that come in, line by line, every fault with its line and the mend; cells of
those that go out."""

import asyncio
import codecs
import csv
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from enum import StrEnum
from typing import Final, NamedTuple, TypeVar

from scantrail.api.problems import Problem

FAULTS_MAX: Final = 100
CHUNK_BYTES: Final = 1 << 16

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


class Existing(StrEnum):
    """What is done with lines of what exists already."""

    REFUSE = "refuse"
    REPLACE = "replace"


Row = dict[str, str]

#: What a spreadsheet takes for the beginning of a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


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
            fault = f"{len(cells)} fields, and the first line names {len(head)}: quote commas"
            yield number, Fault(number, "", fault)
            continue
        told = (as_told(cell.strip()) for cell in cells)
        row = {name: cell for name, cell in zip(head, told, strict=True) if cell}
        try:
            yield number, made(row)
        except BadLine as error:
            yield number, Fault(number, error.field, error.detail)
    if head is None:
        raise _no_csv(f"it is empty: the first line names the columns, of {', '.join(columns)}")


def harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: a barcode is attacker input."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def as_told(cell: str) -> str:
    """What `harmless` made of it is taken back: a list that went out may come in again."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(_FORMULA) else cell


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


def already_there(known: Iterable[tuple[int, str]], field: str, kind: str) -> Problem:
    """Lines, by their numbers, whose names of a kind exist, and may not be replaced by the file."""
    mend = "exists: send the file with existing=replace to have it so from now on"
    faults = [Fault(number, field, f"{kind} {name} {mend}") for number, name in known]
    return unusable(409, "Exists", sorted(faults))


def unusable(status: int, title: str, faults: Sequence[Fault]) -> Problem:
    """What is wrong with a file of which nothing is taken. `faults` is not empty."""
    some = faults[:FAULTS_MAX]
    lines = "1 line" if len(faults) == 1 else f"{len(faults)} lines"
    return Problem(
        status,
        title,
        f"{lines} cannot be used, the first is line {some[0].line}: {some[0].detail}; nothing was"
        " entered",
        field=some[0].field,
        lines=[fault._asdict() for fault in some],
    )
