"""Recalls as notices word them, and whether a notice means one unit.

A notice decides by what is marked on a unit: its product, serial, lot and production date. Where
it goes by a mark that is not told of the unit, it does not decide, and a person must:

| the notice's products | its clauses | decision |
|---|---|---|
| name another one | any | not recalled |
| none, or name the unit's | one means the unit | recalled |
| none, or name the unit's | none does, and one lacks a mark | undecided |
| none, or name the unit's | none does | not recalled |
| some, and the unit's is not told | none does | not recalled |
| some, and the unit's is not told | one does, or lacks a mark | undecided |

Serials and lots are text: leading zeros count, case counts.
"""

import re
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import NamedTuple

#: Longer than any scheme's; a bound this long is a slip of the hand.
SERIAL_LENGTH_MAX = 64

#: In a pattern: one digit, 0 to 9. Every other character is meant as it stands.
DIGIT = "#"

_TAIL = re.compile(r"^(.*?)(\d+)$", re.DOTALL | re.ASCII)


class RecallRefused(Exception):
    """A notice that cannot be applied as worded. `field` says where, the text says the mend."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class RecallStatus(StrEnum):
    DRAFT = "draft"
    ACTIVE = "active"
    CLOSED = "closed"


class SelectorKind(StrEnum):
    """What a clause of a notice goes by."""

    LIST = "list"
    RANGE = "range"
    PREFIX = "prefix"
    PATTERN = "pattern"
    LOT = "lot"
    LOT_RANGE = "lot_range"
    DATE = "date"
    ALL = "all"


#: They go by what a scan need not show.
BY_LOT = frozenset({SelectorKind.LOT, SelectorKind.LOT_RANGE})
BY_UNREAD_MARKS = BY_LOT | {SelectorKind.DATE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """One clause of a notice: of `list` the serials, of `range` and `lot_range` low and high, both
    included, of `prefix` the first characters, of `pattern` the serial with `#` for each digit
    that is left open, of `lot` the lots, of `date` the first and last day of production, both
    included, of which one may be left open. `all` needs nothing."""

    kind: str
    serials: tuple[str, ...] = ()
    low: str | None = None
    high: str | None = None
    prefix: str | None = None
    pattern: str | None = None
    lots: tuple[str, ...] = ()
    first_day: date | None = None
    last_day: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """A notice. `products` are GTIN-14 or product ids; none means any product.

    `remedy` tells a person what to do with a unit. `is_swept` says that, of this version, the units
    on site and those that had been shipped before were found: until then a unit whose mark is not
    told by its scan may still be one.
    """

    id: str
    title: str
    reason: str
    selectors: tuple[Selector, ...]
    products: tuple[str, ...] = ()
    status: RecallStatus = RecallStatus.ACTIVE
    version: int = 1
    remedy: str | None = None
    is_swept: bool = False


class Marks(NamedTuple):
    """What is known to be marked on a unit; None: that it has none, or that nobody told it."""

    product: str | None
    serial: str | None
    lot: str | None = None
    produced_on: date | None = None


class Decision(NamedTuple):
    """Whether a notice means a unit; None: it does not decide. `why` tells a person."""

    recalled: bool | None
    why: str


@dataclass(frozen=True, slots=True)
class TextRange:
    """Both ends included: the same prefix, then numbers of the same length."""

    prefix: str
    digits: int
    low: int
    high: int

    def holds(self, text: str) -> bool:
        """Whether a serial, or a lot, is in it."""
        tail = text[len(self.prefix) :]
        return (
            len(tail) == self.digits
            and text.startswith(self.prefix)
            and tail.isascii()
            and tail.isdigit()
            and self.low <= int(tail) <= self.high
        )


def check_recall(recall: Recall) -> None:
    """Raise RecallRefused where the notice has broken bounds or says nothing, or where it would
    mean every unit of every product."""
    check_notice(recall)
    if not recall.products and any(s.kind == SelectorKind.ALL for s in recall.selectors):
        raise RecallRefused("products", "a recall of all units must name its products")


def check_notice(recall: Recall) -> None:
    """Raise RecallRefused where the notice has broken bounds or says nothing."""
    if not recall.id.strip():
        raise RecallRefused("id", "give the notice's number")
    if not recall.selectors:
        raise RecallRefused(
            "selectors", "name the units: a list, a range, a prefix, a pattern, lots, days, or all"
        )
    for place, selector in enumerate(recall.selectors):
        _check_selector(selector, f"selectors[{place}]")


def _check_selector(selector: Selector, where: str) -> None:
    match selector.kind:
        case SelectorKind.LIST:
            if not selector.serials:
                raise RecallRefused(f"{where}.serials", "the list is empty")
        case SelectorKind.LOT:
            if not selector.lots:
                raise RecallRefused(f"{where}.lots", "the list is empty")
        case SelectorKind.RANGE | SelectorKind.LOT_RANGE:
            text_range(selector, where)
        case SelectorKind.PREFIX:
            if not selector.prefix:
                raise RecallRefused(f"{where}.prefix", "give the first characters of the serials")
        case SelectorKind.PATTERN:
            _check_pattern(selector.pattern or "", f"{where}.pattern")
        case SelectorKind.DATE:
            first, last = selector.first_day, selector.last_day
            if first is None and last is None:
                raise RecallRefused(where, "give the first day of production, the last, or both")
            if first is not None and last is not None and first > last:
                raise RecallRefused(where, f"the first day {first} is after the last day {last}")
        case SelectorKind.ALL:
            pass
        case _:
            raise RecallRefused(f"{where}.kind", f"give one of {', '.join(SelectorKind)}")


def _check_pattern(pattern: str, where: str) -> None:
    if not pattern:
        raise RecallRefused(where, f"give the serial with {DIGIT} for each digit left open")
    if len(pattern) > SERIAL_LENGTH_MAX:
        raise RecallRefused(where, f"a serial has at most {SERIAL_LENGTH_MAX} characters")
    if "*" in pattern or "?" in pattern:
        raise RecallRefused(
            where,
            f"* and ? stand for nothing here: write {DIGIT} for each digit, or give a prefix",
        )


def text_range(selector: Selector, where: str) -> TextRange:
    """The range of a `range` or `lot_range`; RecallRefused for bounds that nothing lies between."""
    if not selector.low or not selector.high:
        raise RecallRefused(where, "a range needs low and high")
    if max(len(selector.low), len(selector.high)) > SERIAL_LENGTH_MAX:
        raise RecallRefused(where, f"a bound has at most {SERIAL_LENGTH_MAX} characters")
    if len(selector.low) != len(selector.high):
        raise RecallRefused(
            where,
            f"low has {len(selector.low)} characters and high {len(selector.high)}:"
            " write both in full, with leading zeros",
        )
    prefix = _common_prefix(selector.low, selector.high)
    low, high = selector.low[len(prefix) :], selector.high[len(prefix) :]
    if not (low.isascii() and low.isdigit() and high.isascii() and high.isdigit()):
        if low == high:
            raise RecallRefused(where, f"low and high are both {selector.low}: list it")
        raise RecallRefused(
            where,
            f"{selector.low} to {selector.high} differ in more than a number at the end: give a"
            " pattern, or list them",
        )
    if int(low) > int(high):
        raise RecallRefused(where, f"low {selector.low} is above high {selector.high}")
    return TextRange(prefix, len(low), int(low), int(high))


def _common_prefix(low: str, high: str) -> str:
    """What stands before the numbers; digits belong to the number."""
    match = _TAIL.match(low)
    head = match[1] if match else low
    return head if high.startswith(head) else ""


def fits_pattern(text: str, pattern: str) -> bool:
    """Whether `text` is as long as `pattern` and has a digit wherever that has `#`, and the same
    character elsewhere."""
    return len(text) == len(pattern) and all(
        "0" <= each <= "9" if open_ == DIGIT else each == open_
        for each, open_ in zip(text, pattern, strict=True)
    )


class Notice:
    """A recall, made ready to decide about many units. Raises RecallRefused for broken bounds."""

    def __init__(self, recall: Recall) -> None:
        check_notice(recall)
        self.recall = recall
        self._products = frozenset(recall.products)
        self._clauses = [_Clause(selector) for selector in recall.selectors]

    def decide(self, marks: Marks) -> Decision:
        """Whether the notice means a unit with these marks; its status is not asked."""
        id_ = self.recall.id
        names_it: bool | None = True
        if self._products:
            names_it = None if marks.product is None else marks.product in self._products
        if names_it is False:
            return Decision(False, f"{id_} is not of product {marks.product}")
        lacking: list[str] = []
        for clause in self._clauses:
            meant = clause.means(marks)
            if meant is None:
                lacking.append(_LACKING[clause.kind])
            elif meant and names_it:
                return Decision(True, f"{clause.told(marks)}, as {id_} says")
            elif meant:
                lacking.append("product")
        if not lacking:
            return Decision(False, f"no clause of {id_} means it")
        if names_it is None:
            lacking.append("product")
        told = " and ".join(dict.fromkeys(lacking))
        return Decision(None, f"{id_} goes by the {told}, which nobody told of it")


#: The mark without which a clause does not decide.
_LACKING = {
    SelectorKind.LIST: "serial",
    SelectorKind.RANGE: "serial",
    SelectorKind.PREFIX: "serial",
    SelectorKind.PATTERN: "serial",
    SelectorKind.LOT: "lot",
    SelectorKind.LOT_RANGE: "lot",
    SelectorKind.DATE: "production date",
}


class _Clause:
    """A selector that is asked about many units."""

    def __init__(self, selector: Selector) -> None:
        self.kind = SelectorKind(selector.kind)
        self._selector = selector
        self._listed = frozenset(selector.serials or selector.lots)
        self._range = (
            text_range(selector, "selectors")
            if self.kind in (SelectorKind.RANGE, SelectorKind.LOT_RANGE)
            else None
        )

    def means(self, marks: Marks) -> bool | None:
        """None where it goes by a mark that is not told."""
        if self.kind is SelectorKind.ALL:
            return True
        selector = self._selector
        if self.kind is SelectorKind.DATE:
            day = marks.produced_on
            return None if day is None else within_days(day, selector.first_day, selector.last_day)
        text = marks.lot if _LACKING[self.kind] == "lot" else marks.serial
        if text is None:
            return None
        if self._range is not None:
            return self._range.holds(text)
        if self.kind is SelectorKind.PREFIX:
            return text.startswith(selector.prefix or "")
        if self.kind is SelectorKind.PATTERN:
            return fits_pattern(text, selector.pattern or "")
        return text in self._listed

    def told(self, marks: Marks) -> str:
        """Why it means a unit with these marks."""
        selector = self._selector
        match self.kind:
            case SelectorKind.LIST:
                return f"serial {marks.serial} is listed"
            case SelectorKind.RANGE:
                return f"serial {marks.serial} is between {selector.low} and {selector.high}"
            case SelectorKind.PREFIX:
                return f"serial {marks.serial} begins with {selector.prefix}"
            case SelectorKind.PATTERN:
                return f"serial {marks.serial} fits {selector.pattern}"
            case SelectorKind.LOT:
                return f"lot {marks.lot} is listed"
            case SelectorKind.LOT_RANGE:
                return f"lot {marks.lot} is between {selector.low} and {selector.high}"
            case SelectorKind.DATE:
                return f"it was produced on {marks.produced_on}"
        return "all units of the product are meant"


def within_days(day: date, first: date | None, last: date | None) -> bool:
    """Whether a day is in a window, both ends included; None: it is open there."""
    return (first is None or first <= day) and (last is None or day <= last)


def goes_by_unread_marks(recall: Recall) -> bool:
    """Whether it has a clause by lot or production date, which a scan need not show."""
    return any(selector.kind in BY_UNREAD_MARKS for selector in recall.selectors)
