"""What a supplier announced, and what came of it: unit by unit, while it is received.

An advance notice (DESADV, ASN) names units, cartons and pallets by their keys. Nothing here moves a
unit: what a notice says is a claim, and only scans tell where a unit is.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from scantrail.domain.identifiers import (
    NotIdentified,
    product_and_serial,
    product_serial,
)

#: Units and cartons of one notice: a lorry has some thousands.
UNITS_MAX: Final = 100_000

#: Levels of what stands on a pallet: pallet, carton, inner carton; more is a circle.
LEVELS_MAX: Final = 8

_LOGISTIC: Final = "sscc:"
_TAIL: Final = re.compile(r"(.*?)([0-9]+)", re.DOTALL)


class NoticeRefused(Exception):
    """The notice cannot be meant so; `field` is where, `reason` why and the mend."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class NoticeLine(NamedTuple):
    """One line of a notice, as it is worded.

    `keys` are units that were spelt out; `serials` and `ranges` (both ends included) are of
    `product`. `parent` is the key of the carton or pallet in which all of it comes. `kit` names the
    kit whose parts they are, where that has no serial of its own. `quantity` counts what has none.
    """

    product: str | None = None
    serials: tuple[str, ...] = ()
    ranges: tuple[tuple[str, str], ...] = ()
    keys: tuple[str, ...] = ()
    quantity: int = 0
    parent: str | None = None
    kit: str | None = None


class Announced(NamedTuple):
    """One unit, carton or pallet that is to come."""

    unit: str
    line: int
    parent: str | None = None
    kit: str | None = None


class Received(NamedTuple):
    """A receiving scan; `parent` is the carton that it names, if any. `at` is when it happened.
    `is_derived`: only that carton was scanned, and the unit is known to be inside."""

    unit: str
    event_id: str
    at: datetime
    station: str
    parent: str | None = None
    is_derived: bool = False


class Quantity(NamedTuple):
    """Of a product without serials: how many were announced, and how many a person counted."""

    product: str
    announced: int
    received: int = 0


class UnitStatus(StrEnum):
    """How a unit stands against its notice."""

    #: announced, and not yet here
    EXPECTED = "expected"
    RECEIVED = "received"
    #: its carton or pallet was received, and it was not scanned itself
    BY_CARTON = "by_carton"
    #: announced, and not here when the notice was closed
    SHORT = "short"
    #: here, in another carton than announced; or in the place of another product's unit
    SWAPPED = "swapped"
    #: not announced, of a product that was: or more than its quantity
    OVER = "over"
    #: not announced, nor is its product
    UNKNOWN = "unknown"


_HERE = frozenset({UnitStatus.RECEIVED, UnitStatus.BY_CARTON, UnitStatus.SWAPPED})

#: What a person has to look at.
DIFFERENT = (UnitStatus.SHORT, UnitStatus.OVER, UnitStatus.UNKNOWN, UnitStatus.SWAPPED)


class Compared(NamedTuple):
    """A unit as announced and as received. `instead_of` is the announced unit whose place it took;
    `received` is None where it was not scanned."""

    unit: str
    status: UnitStatus
    announced: Announced | None
    received: Received | None
    instead_of: str | None = None


class Comparison(NamedTuple):
    """A notice against what was received."""

    #: cartons and pallets apart from what is in them; each sorted by unit
    units: tuple[Compared, ...]
    cartons: tuple[Compared, ...]
    quantities: tuple[Quantity, ...]
    kits_announced: int
    kits_here: int

    @property
    def counts(self) -> dict[UnitStatus, int]:
        """How many units have each status."""
        counted = Counter(each.status for each in self.units)
        return {status: counted[status] for status in UnitStatus}

    @property
    def announced(self) -> int:
        """Units, and of products without serials the quantities."""
        units = sum(each.announced is not None for each in self.units)
        return units + sum(each.announced for each in self.quantities)

    @property
    def here(self) -> int:
        """How many of the announced are here."""
        units = sum(each.announced is not None and each.status in _HERE for each in self.units)
        return units + sum(min(each.received, each.announced) for each in self.quantities)

    @property
    def is_complete(self) -> bool:
        return self.here == self.announced

    @property
    def is_as_announced(self) -> bool:
        """Whether all of it is here, and nothing else, and nothing elsewhere than announced.

        Of a carton in which something comes that need not be scanned.
        """
        every = (*self.units, *self.cartons)
        holding = {each.announced.parent for each in every if each.announced is not None}
        as_counted = all(each.received == each.announced for each in self.quantities)
        differs = any(
            each.status in DIFFERENT
            and not (each.status is UnitStatus.SHORT and each.unit in holding)
            for each in every
        )
        return self.is_complete and as_counted and not differs


def announced_units(
    lines: Iterable[NoticeLine], one_key: Callable[[str], str] = str
) -> Iterator[Announced]:
    """Each unit of the lines, ranges written out; `one_key` gives the one key of a unit that may be
    spelled otherwise. Raises NoticeRefused, with the line's place."""
    count = 0
    for number, line in enumerate(lines, start=1):
        for unit in _units_of(line, f"lines[{number - 1}]"):
            count += 1
            if count > UNITS_MAX:
                raise NoticeRefused(
                    "lines", f"more than {UNITS_MAX} units: split the notice into several"
                )
            yield Announced(one_key(unit), number, line.parent, line.kit)


def check_announced(announced: Sequence[Announced]) -> None:
    """Refuse what is announced twice, and cartons that are inside themselves.

    Raises NoticeRefused.
    """
    lines = dict[str, int]()
    for each in announced:
        if each.unit in lines:
            raise NoticeRefused(
                f"lines[{each.line - 1}]",
                f"{each.unit} is announced by line {lines[each.unit]} already: leave one out",
            )
        lines[each.unit] = each.line
    parents = {each.unit: each.parent for each in announced}
    for each in announced:
        if each.unit.startswith(_LOGISTIC) and len(_above(each.unit, parents)) > LEVELS_MAX:
            raise NoticeRefused(
                f"lines[{each.line - 1}]",
                f"{each.unit} is inside more than {LEVELS_MAX} others, or inside itself: mend what"
                " stands on what",
            )


def in_range(low: str, high: str) -> Iterator[str]:
    """The serials from `low` to `high`, which differ in a number at their end; both included.

    Raises NoticeRefused, with `low` or `high` as its field.
    """
    if len(low) != len(high):
        raise NoticeRefused(
            "high", f"{high!r} has {len(high)} characters and {low!r} has {len(low)}: give as many"
        )
    first, last = _TAIL.fullmatch(low), _TAIL.fullmatch(high)
    if first is None or last is None or first[1] != last[1]:
        raise NoticeRefused(
            "high",
            f"{low!r} and {high!r} must begin alike and end in digits: list the serials instead",
        )
    width, begin, end = len(first[2]), int(first[2]), int(last[2])
    if begin > end:
        raise NoticeRefused("low", f"{low!r} is above {high!r}: give the lower one first")
    if end - begin >= UNITS_MAX:
        raise NoticeRefused("high", f"the range has more than {UNITS_MAX} serials: split it")
    return (f"{first[1]}{number:0{width}}" for number in range(begin, end + 1))


def _units_of(line: NoticeLine, at: str) -> Iterator[str]:
    yield from line.keys
    if not (line.serials or line.ranges):
        return
    if line.product is None:
        raise NoticeRefused(f"{at}.product", "serials are of a product: name it")
    place = f"{at}.serials"
    try:
        for serial in line.serials:
            yield product_serial(line.product, serial).key
        for number, (low, high) in enumerate(line.ranges):
            place = f"{at}.ranges[{number}]"
            for serial in in_range(low, high):
                yield product_serial(line.product, serial).key
    except NotIdentified as error:
        raise NoticeRefused(place, error.detail) from error
    except NoticeRefused as error:
        raise NoticeRefused(f"{place}.{error.field}", error.reason) from error


def compare(
    announced: Sequence[Announced],
    received: Iterable[Received],
    quantities: Sequence[Quantity] = (),
    *,
    is_closed: bool = False,
) -> Comparison:
    """What was announced against the receiving scans, in whatever order; keys on both sides are the
    units' own.

    Of several scans of a unit its own count before those of its carton, and then the first, with
    the carton that any of them names. Units of a product that was announced by quantity count
    towards that.
    """
    scans = _each_once(received)
    parents = {each.unit: each.parent for each in announced}
    expected = {each.unit: each for each in announced}
    found = [_of_announced(each, scans, parents, is_closed=is_closed) for each in announced]
    counted = {each.product: each.received for each in quantities}
    surplus = [scan for scan in scans.values() if scan.unit not in expected]
    found += _of_others(surplus, found, {each.product: each for each in quantities}, counted)
    found.sort(key=lambda each: each.unit)
    kits = dict[str, bool]()
    for each in found:
        if each.announced is not None and each.announced.kit is not None:
            kit = each.announced.kit
            kits[kit] = kits.get(kit, True) and each.status in _HERE
    return Comparison(
        units=tuple(each for each in found if not each.unit.startswith(_LOGISTIC)),
        cartons=tuple(each for each in found if each.unit.startswith(_LOGISTIC)),
        quantities=tuple(each._replace(received=counted[each.product]) for each in quantities),
        kits_announced=len(kits),
        kits_here=sum(kits.values()),
    )


def _each_once(received: Iterable[Received]) -> dict[str, Received]:
    scans = dict[str, Received]()
    for scan in sorted(received, key=lambda each: (each.is_derived, each.at, each.event_id)):
        known = scans.get(scan.unit)
        if known is None:
            scans[scan.unit] = scan
        elif known.parent is None and scan.parent is not None:
            scans[scan.unit] = known._replace(parent=scan.parent)
    return scans


def _of_announced(
    announced: Announced,
    scans: Mapping[str, Received],
    parents: Mapping[str, str | None],
    *,
    is_closed: bool,
) -> Compared:
    scan, above = scans.get(announced.unit), _above(announced.unit, parents)
    if scan is not None:
        is_elsewhere = bool(above) and scan.parent is not None and scan.parent not in above
        here = UnitStatus.BY_CARTON if scan.is_derived else UnitStatus.RECEIVED
        status = UnitStatus.SWAPPED if is_elsewhere else here
    elif any(parent in scans for parent in above):
        status = UnitStatus.BY_CARTON
    else:
        status = UnitStatus.SHORT if is_closed else UnitStatus.EXPECTED
    return Compared(announced.unit, status, announced, scan)


def _of_others(
    surplus: Iterable[Received],
    found: Iterable[Compared],
    quantities: Mapping[str, Quantity],
    counted: dict[str, int],
) -> list[Compared]:
    """What nobody announced; adds to `counted` what counts towards a quantity."""
    missing = dict[str, str]()
    products = set[str]()
    for each in found:
        product, serial = product_and_serial(each.unit)
        if product is not None:
            products.add(product)
            if each.status not in _HERE:
                missing.setdefault(serial, each.unit)
    others = []
    for scan in surplus:
        product, serial = product_and_serial(scan.unit)
        status, twin = UnitStatus.UNKNOWN, None
        if product is not None and product in quantities:
            counted[product] += 1
            is_within = counted[product] <= quantities[product].announced
            status = UnitStatus.RECEIVED if is_within else UnitStatus.OVER
        elif product is not None and serial in missing:
            status, twin = UnitStatus.SWAPPED, missing.pop(serial)
        elif product in products:
            status = UnitStatus.OVER
        others.append(Compared(scan.unit, status, None, scan, twin))
    return others


def _above(unit: str, parents: Mapping[str, str | None]) -> list[str]:
    """The carton of a unit, its pallet, and so on; not without end where they are a circle."""
    above = list[str]()
    parent = parents.get(unit)
    while parent is not None and len(above) <= LEVELS_MAX:
        above.append(parent)
        parent = parents.get(parent)
    return above
