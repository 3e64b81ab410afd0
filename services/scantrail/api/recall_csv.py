"""The serials of a recall as CSV: a million lines, every fault with its line and the mend."""

import csv
import io
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from scantrail.api.csv_rows import FAULTS_MAX, Fault
from scantrail.api.problems import Problem
from scantrail.contracts.printed import (
    Forms,
    flaw_of,
    forms_and_product,
    plain_of,
    product_named,
)
from scantrail.domain.identifiers import TEXT_LENGTH_MAX, NotIdentified
from scantrail.domain.recall import DIGIT

SERIAL: Final = "serial"
PRODUCT: Final = "product"


class Serials(NamedTuple):
    """`listed` are the serials with their other forms; of `lines` that have one `doubles` have one
    that came before."""

    listed: dict[str, Forms]
    lines: int
    doubles: int


def read_serials(content: bytes, products: Collection[str]) -> Serials:
    """The serials of a file whose first line names the columns: `serial`, and any others, which
    say nothing, but that a `product` must be one of the recall's `products`, if that names any.

    Of a million lines it takes seconds. Raises Problem 400: nothing is taken where a line is wrong.
    """
    listed = dict[str, Forms]()
    lines = 0
    faults = list[Fault]()
    try:
        rows = _rows(content)
        place, product_place, width = _columns(next(rows, (1, []))[1])
        for number, cells in rows:
            if not cells or not any(cell.strip() for cell in cells):
                continue
            fault = _fault(number, cells, place, product_place, width, products)
            if fault is None and (plain := plain_of(cells[place])) not in listed:
                forms, product = forms_and_product(plain)
                if product is None or [product] == [*products]:
                    listed[plain] = forms
                else:
                    told = f"its code names product {product}: let the recall name it alone"
                    fault = Fault(number, SERIAL, told)
            if fault is None:
                lines += 1
                continue
            faults.append(fault)
            if len(faults) == FAULTS_MAX:
                break
    except (csv.Error, UnicodeDecodeError) as error:
        raise Problem(400, "Bad input", f"the file is no such CSV: {error}", field="") from error
    if faults:
        first = faults[0]
        raise Problem(
            400,
            "Bad input",
            f"{len(faults)} lines cannot be used, the first is line {first.line}: {first.detail};"
            " mend them and send the file again",
            field=first.field,
            lines=[fault._asdict() for fault in faults],
        )
    if not listed:
        raise Problem(400, "Bad input", "no line has a serial", field=SERIAL)
    return Serials(listed, lines, lines - len(listed))


def _rows(content: bytes) -> Iterator[tuple[int, list[str]]]:
    """Each record with the number of the line on which it ends; decoded a little at a time."""
    text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="")
    reader = csv.reader(text, strict=True)
    for cells in reader:
        yield reader.line_num, cells


def _columns(head: list[str]) -> tuple[int, int | None, int]:
    """Where a line has its serial and its product, and how many fields it has."""
    names = [name.strip().casefold() for name in head]
    for name in (SERIAL, PRODUCT):
        if names.count(name) > 1:
            raise csv.Error(f"the column {name} is named twice")
    if SERIAL not in names:
        raise csv.Error("the first line must name the columns, one of them serial")
    return (
        names.index(SERIAL),
        names.index(PRODUCT) if PRODUCT in names else None,
        len(names),
    )


def _fault(
    number: int,
    cells: list[str],
    place: int,
    product_place: int | None,
    width: int,
    products: Collection[str],
) -> Fault | None:
    if len(cells) != width:
        told = f"{len(cells)} fields, and the first line names {width}: quote commas"
        return Fault(number, "", told)
    serial = plain_of(cells[place])
    if not serial:
        return Fault(number, SERIAL, "the serial is missing")
    if len(serial) > TEXT_LENGTH_MAX:
        return Fault(number, SERIAL, f"{len(serial)} characters: no serial is that long")
    if "\0" in serial:
        return Fault(number, SERIAL, "the character U+0000 cannot be stored: leave it out")
    if (flaw := flaw_of(serial)) is not None:
        return Fault(number, SERIAL, flaw)
    if serial.startswith('="') and serial.endswith('"'):
        return Fault(number, SERIAL, f"{serial} is a formula of a spreadsheet: give its text alone")
    if DIGIT in serial:
        told = f"{DIGIT} stands for a digit in a pattern alone: no serial has it"
        return Fault(number, SERIAL, told)
    if product_place is None or not products or not plain_of(cells[product_place]):
        return None
    try:
        product = product_named(cells[product_place])
    except NotIdentified as error:
        return Fault(number, PRODUCT, error.detail)
    if product not in products:
        return Fault(number, PRODUCT, f"the recall is not of {product}: name it there, or leave it")
    return None
