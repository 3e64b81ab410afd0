"""Recalls as notices word them, and which of them a unit falls under."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate

#: Longer than any scheme's; a bound this long is a slip of the hand.
SERIAL_LENGTH_MAX = 64

_TAIL = re.compile(r"^(.*?)(\d+)$", re.DOTALL)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """One clause of a notice: `list` with serials, `range` with low and high, `prefix`, `all`."""

    kind: str
    serials: tuple[str, ...] = ()
    low: str | None = None
    high: str | None = None
    prefix: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """A notice. `products` are GTIN-14 or product ids; none means any product."""

    id: str
    title: str
    reason: str
    selectors: tuple[Selector, ...]
    products: tuple[str, ...] = ()
    status: RecallStatus = RecallStatus.ACTIVE
    version: int = 1


@dataclass(frozen=True, slots=True)
class SerialRange:
    """Both ends included: the same prefix, then numbers of the same length."""

    prefix: str
    digits: int
    low: int
    high: int


def check_recall(recall: Recall) -> None:
    """Raise RecallRefused where the notice has broken bounds or says nothing."""
    if not recall.id.strip():
        raise RecallRefused("id", "give the notice's number")
    if not recall.selectors:
        raise RecallRefused("selectors", "name the units: a list, a range, a prefix, or all")
    for place, selector in enumerate(recall.selectors):
        where = f"selectors[{place}]"
        if selector.kind == "list":
            if not selector.serials:
                raise RecallRefused(f"{where}.serials", "the list is empty")
        elif selector.kind == "range":
            serial_range(selector, where)
        elif selector.kind == "prefix":
            if not selector.prefix:
                raise RecallRefused(f"{where}.prefix", "give the first characters of the serials")
        elif selector.kind == "all":
            if not recall.products:
                raise RecallRefused("products", "a recall of all units must name its products")
        else:
            raise RecallRefused(f"{where}.kind", "give one of list, range, prefix, all")


def serial_range(selector: Selector, where: str) -> SerialRange:
    """The range of a `range` selector; RecallRefused for bounds that no serial lies between."""
    if not selector.low or not selector.high:
        raise RecallRefused(where, "a range needs low and high")
    if max(len(selector.low), len(selector.high)) > SERIAL_LENGTH_MAX:
        raise RecallRefused(where, f"a serial has at most {SERIAL_LENGTH_MAX} characters")
    if len(selector.low) != len(selector.high):
        raise RecallRefused(
            where,
            f"low has {len(selector.low)} characters and high {len(selector.high)}:"
            " write both in full, with leading zeros",
        )
    prefix = _common_prefix(selector.low, selector.high)
    low, high = selector.low[len(prefix) :], selector.high[len(prefix) :]
    if not (low.isascii() and low.isdigit() and high.isascii() and high.isdigit()):
        raise RecallRefused(
            where, f"{selector.low} to {selector.high} differ in more than a number at the end"
        )
    if int(low) > int(high):
        raise RecallRefused(where, f"low {selector.low} is above high {selector.high}")
    return SerialRange(prefix, len(low), int(low), int(high))


def _common_prefix(low: str, high: str) -> str:
    """What stands before the numbers; digits belong to the number."""
    match = _TAIL.match(low)
    head = match[1] if match else low
    return head if high.startswith(head) else ""


class RecallMatcher:
    """Which active recalls a unit falls under, in time that hardly grows with their number."""

    def __init__(self) -> None:
        self._recalls: dict[str, Recall] = {}
        self._listed: dict[str, set[str]] = {}  # serial -> recall ids
        self._clauses: dict[str, list[SerialRange | str | None]] = {}  # by recall id
        self._by_product: dict[str | None, set[str]] = {}  # recalls that have clauses
        self._indexes: dict[str | None, _ClauseIndex] = {}  # made when they are asked for
        self._whole_index: _ClauseIndex | None = None

    def __len__(self) -> int:
        return len(self._recalls)

    def put(self, recall: Recall) -> None:
        """Take over a recall's newest version; only an active one matches."""
        if recall.status is not RecallStatus.ACTIVE:
            self.remove(recall.id)
            return
        check_recall(recall)  # one that cannot be applied leaves the version before in force
        self.remove(recall.id)
        self._recalls[recall.id] = recall
        for selector in recall.selectors:
            if selector.kind == "list":
                for serial in selector.serials:
                    self._listed.setdefault(serial, set()).add(recall.id)
            else:
                self._clauses.setdefault(recall.id, []).append(_clause(selector))
        if recall.id in self._clauses:
            for product in recall.products or (None,):
                self._by_product.setdefault(product, set()).add(recall.id)
            self._forget_indexes(recall)

    def remove(self, recall_id: str) -> None:
        """Forget a recall; one that is not known is no error."""
        recall = self._recalls.pop(recall_id, None)
        if recall is None:
            return
        for selector in recall.selectors:
            for serial in selector.serials:
                ids = self._listed.get(serial, set())
                ids.discard(recall_id)
                if not ids:
                    self._listed.pop(serial, None)
        if self._clauses.pop(recall_id, None) is not None:
            for product in recall.products or (None,):
                self._by_product.get(product, set()).discard(recall_id)
            self._forget_indexes(recall)

    def match(self, product: str | None, serial: str) -> list[Recall]:
        """The active recalls of unit `serial` of `product`, by id.

        A key such as `imei:` does not tell its product: then the serials of every product's
        recalls count, for an alert too many is better than one too few; only `all` cannot.
        """
        found = {
            recall_id
            for recall_id in self._listed.get(serial, ())
            if product is None or self._concerns(recall_id, product)
        }
        if product is None:
            found.update(self._whole().holding(serial))
        else:
            for index in (self._index(product), self._index(None)):
                found.update(index.holding(serial), index.all)
        return [self._recalls[recall_id] for recall_id in sorted(found)]

    def _concerns(self, recall_id: str, product: str) -> bool:
        products = self._recalls[recall_id].products
        return not products or product in products

    def _index(self, product: str | None) -> "_ClauseIndex":
        if product not in self._by_product:
            return _NO_CLAUSES
        if product not in self._indexes:
            ids = self._by_product[product]
            self._indexes[product] = _ClauseIndex((i, self._clauses[i]) for i in ids)
        return self._indexes[product]

    def _whole(self) -> "_ClauseIndex":
        if self._whole_index is None:
            self._whole_index = _ClauseIndex(self._clauses.items())
        return self._whole_index

    def _forget_indexes(self, recall: Recall) -> None:
        self._whole_index = None
        for product in recall.products or (None,):
            self._indexes.pop(product, None)


class _ClauseIndex:
    """Clauses of some recalls, found by a serial: ranges by bisection, prefixes by their lengths.

    `all` are the recalls that mean every serial.
    """

    def __init__(self, clauses: Iterable[tuple[str, list[SerialRange | str | None]]]) -> None:
        self.all = set[str]()
        self._prefixes: dict[str, set[str]] = {}
        ranges: dict[tuple[str, int], list[tuple[int, int, str]]] = {}
        for recall_id, some in clauses:
            for clause in some:
                if clause is None:
                    self.all.add(recall_id)
                elif isinstance(clause, str):
                    self._prefixes.setdefault(clause, set()).add(recall_id)
                else:
                    shape = (clause.prefix, clause.digits)
                    ranges.setdefault(shape, []).append((clause.low, clause.high, recall_id))
        self._lengths = sorted({len(prefix) for prefix in self._prefixes})
        self._ranges = {shape: _Ranges(some) for shape, some in ranges.items()}
        #: by the length of a serial, how many digits at its end may be the number
        self._digits: dict[int, set[int]] = {}
        for prefix, digits in ranges:
            self._digits.setdefault(len(prefix) + digits, set()).add(digits)

    def holding(self, serial: str) -> Iterator[str]:
        """The recalls with a range or a prefix that `serial` is in."""
        for length in self._lengths:
            yield from self._prefixes.get(serial[:length], ())
        for digits in self._digits.get(len(serial), ()):
            ranges = self._ranges.get((serial[:-digits], digits))
            tail = serial[-digits:]
            if ranges is not None and tail.isascii() and tail.isdigit():
                yield from ranges.holding(int(tail))


class _Ranges:
    """Numbers from low to high, which may overlap, each with whose it is."""

    def __init__(self, ranges: list[tuple[int, int, str]]) -> None:
        self._ranges = sorted(ranges)
        self._lows = [low for low, _, _ in self._ranges]
        #: at each place, the highest end of all up to it: none before reaches further
        self._reach = list(accumulate((high for _, high, _ in self._ranges), max))

    def holding(self, number: int) -> Iterator[str]:
        place = bisect_right(self._lows, number) - 1
        while place >= 0 and self._reach[place] >= number:
            _, high, whose = self._ranges[place]
            if number <= high:
                yield whose
            place -= 1


_NO_CLAUSES = _ClauseIndex(())


def _clause(selector: Selector) -> SerialRange | str | None:
    """A prefix as text, a range, or None for all."""
    if selector.kind == "range":
        return serial_range(selector, "selectors")
    return selector.prefix if selector.kind == "prefix" else None
