"""Recalls as notices word them, and which of them a unit falls under."""

import re
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from math import inf

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
    """Which active recalls a unit falls under, in time that hardly grows with their number.

    A change touches what it changes, and nothing else is made anew: 10,000 recalls and a million
    listed serials need no pause when one more comes.
    """

    def __init__(self) -> None:
        self._recalls: dict[str, Recall] = {}
        #: by serial, the recalls that list it: one id mostly, which needs no set of its own
        self._listed: dict[str, str | tuple[str, ...]] = {}
        self._clauses: dict[str, list[SerialRange | str | None]] = {}  # by recall id
        self._by_product: dict[str, set[str]] = {}  # recalls that have clauses
        self._indexes: dict[str, _ClauseIndex] = {}  # by product, once it is asked for
        self._of_any_product = _ClauseIndex()
        self._of_all = _ClauseIndex()
        self._naming: dict[str, set[str]] = {}  # recalls by the products that they name

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
        for product in recall.products:
            self._naming.setdefault(product, set()).add(recall.id)
        clauses: list[SerialRange | str | None] = []
        for selector in recall.selectors:
            if selector.kind == "list":
                self._list(recall.id, selector.serials)
            else:
                clauses.append(_clause(selector))
        if clauses:
            self._clauses[recall.id] = clauses
            for product in recall.products:
                self._by_product.setdefault(product, set()).add(recall.id)
            for index in self._indexes_of(recall):
                index.add(recall.id, clauses)

    def remove(self, recall_id: str) -> None:
        """Forget a recall; one that is not known is no error."""
        recall = self._recalls.pop(recall_id, None)
        if recall is None:
            return
        for product in recall.products:
            self._naming.get(product, set()).discard(recall_id)
        for selector in recall.selectors:
            self._unlist(recall_id, selector.serials)
        clauses = self._clauses.pop(recall_id, None)
        if clauses is not None:
            for index in self._indexes_of(recall):
                index.remove(recall_id, clauses)
            for product in recall.products:
                self._by_product.get(product, set()).discard(recall_id)

    def match(self, product: str | None, serial: str) -> list[Recall]:
        """The active recalls of unit `serial` of `product`, by id.

        A key such as `imei:` does not tell its product: then the serials of every product's
        recalls count, for an alert too many is better than one too few; only `all` cannot.
        """
        found = {
            recall_id
            for recall_id in _ids(self._listed.get(serial, ()))
            if product is None or self._concerns(recall_id, product)
        }
        if product is None:
            found.update(self._of_all.holding(serial))
        else:
            for index in (self._index(product), self._of_any_product):
                found.update(index.holding(serial), index.all)
        return [self._recalls[recall_id] for recall_id in sorted(found)]

    def meaning_some_of(self, product: str) -> list[Recall]:
        """The active recalls that name `product`, by which some of its units are recalled, or all,
        by id."""
        return [self._recalls[recall_id] for recall_id in sorted(self._naming.get(product, ()))]

    def _list(self, recall_id: str, serials: Iterable[str]) -> None:
        added = dict.fromkeys(serials, recall_id)
        if self._listed.keys().isdisjoint(added):  # of a long list, twenty times as fast
            self._listed.update(added)
            return
        for serial in added:
            known = self._listed.setdefault(serial, recall_id)
            if recall_id not in _ids(known):
                self._listed[serial] = (*_ids(known), recall_id)

    def _unlist(self, recall_id: str, serials: Iterable[str]) -> None:
        for serial in serials:
            left = [other for other in _ids(self._listed.get(serial, ())) if other != recall_id]
            if not left:
                self._listed.pop(serial, None)
            else:
                self._listed[serial] = left[0] if len(left) == 1 else tuple(left)

    def _concerns(self, recall_id: str, product: str) -> bool:
        products = self._recalls[recall_id].products
        return not products or product in products

    def _index(self, product: str) -> "_ClauseIndex":
        index = self._indexes.get(product)
        if index is None:
            if product not in self._by_product:
                return _NO_CLAUSES
            index = self._indexes[product] = _ClauseIndex()
            for recall_id in self._by_product[product]:
                index.add(recall_id, self._clauses[recall_id])
        return index

    def _indexes_of(self, recall: Recall) -> Iterator["_ClauseIndex"]:
        """Those that are there of all in which the recall's clauses stand."""
        yield self._of_all
        if not recall.products:
            yield self._of_any_product
        for product in dict.fromkeys(recall.products):
            if product in self._indexes:
                yield self._indexes[product]


class _ClauseIndex:
    """Clauses of some recalls, found by a serial: ranges by bisection, prefixes by their lengths.

    `all` are the recalls that mean every serial.
    """

    def __init__(self) -> None:
        self.all = set[str]()
        self._prefixes: dict[str, set[str]] = {}
        self._lengths = Counter[int]()  # of the prefixes
        self._ranges: dict[tuple[str, int], _Ranges] = {}
        #: by the length of a serial, how many digits at its end may be the number
        self._digits: dict[int, set[int]] = {}

    def add(self, recall_id: str, clauses: Iterable[SerialRange | str | None]) -> None:
        """Let the clauses of a recall match."""
        for clause in clauses:
            if clause is None:
                self.all.add(recall_id)
            elif isinstance(clause, str):
                if clause not in self._prefixes:
                    self._prefixes[clause] = set()
                    self._lengths[len(clause)] += 1
                self._prefixes[clause].add(recall_id)
            else:
                shape = (clause.prefix, clause.digits)
                if shape not in self._ranges:
                    self._ranges[shape] = _Ranges()
                    length = len(clause.prefix) + clause.digits
                    self._digits.setdefault(length, set()).add(clause.digits)
                self._ranges[shape].add((clause.low, clause.high, recall_id))

    def remove(self, recall_id: str, clauses: Iterable[SerialRange | str | None]) -> None:
        """Take back what was added of a recall. A shape of ranges that has none left stays."""
        for clause in clauses:
            if clause is None:
                self.all.discard(recall_id)
            elif isinstance(clause, str):
                ids = self._prefixes.get(clause, set())
                ids.discard(recall_id)
                if not ids and self._prefixes.pop(clause, None) is not None:
                    self._lengths[len(clause)] -= 1
                    self._lengths += Counter()  # lengths that none has any more are left out
            else:
                shape = (clause.prefix, clause.digits)
                self._ranges[shape].remove((clause.low, clause.high, recall_id))

    def holding(self, serial: str) -> Iterator[str]:
        """The recalls with a range or a prefix that `serial` is in."""
        for length in self._lengths:
            yield from self._prefixes.get(serial[:length], ())
        for digits in self._digits.get(len(serial), ()):
            ranges = self._ranges.get((serial[:-digits], digits))
            tail = serial[-digits:]
            if ranges is not None and tail.isascii() and tail.isdigit():
                yield from ranges.holding(int(tail))


#: Low, high, whose.
_Range = tuple[int, int, str]

#: Ranges that are looked through one by one; twice as many are cut in two.
_BLOCK = 64


class _Ranges:
    """Numbers from low to high, which may overlap, each with whose it is.

    They stand in their order, in blocks of which each tells how far up it reaches: of many that
    begin below a number, only blocks that reach it are looked through.
    """

    def __init__(self) -> None:
        self._blocks: list[list[_Range]] = []
        self._firsts: list[_Range] = []
        self._reach: list[int] = []

    def add(self, one: _Range) -> None:
        if not self._blocks:
            self._insert(0, [one])
            return
        place = self._place(one)
        block = self._blocks[place]
        insort(block, one)
        if len(block) > 2 * _BLOCK:
            rest = block[_BLOCK:]
            del block[_BLOCK:]
            self._insert(place + 1, rest)
        self._firsts[place], self._reach[place] = block[0], _reach(block)

    def remove(self, one: _Range) -> None:
        """One that was added; ValueError for another."""
        place = self._place(one)
        block = self._blocks[place]
        block.remove(one)
        if block:
            self._firsts[place], self._reach[place] = block[0], _reach(block)
        else:
            del self._blocks[place], self._firsts[place], self._reach[place]

    def holding(self, number: int) -> Iterator[str]:
        for place in range(bisect_right(self._firsts, (number, inf))):
            if self._reach[place] >= number:
                for low, high, whose in self._blocks[place]:
                    if low <= number <= high:
                        yield whose

    def _place(self, one: _Range) -> int:
        return max(bisect_right(self._firsts, one) - 1, 0)

    def _insert(self, place: int, block: list[_Range]) -> None:
        self._blocks.insert(place, block)
        self._firsts.insert(place, block[0])
        self._reach.insert(place, _reach(block))


def _reach(block: list[_Range]) -> int:
    return max(high for _, high, _ in block)


_NO_CLAUSES = _ClauseIndex()


def _ids(known: str | tuple[str, ...]) -> tuple[str, ...]:
    return (known,) if isinstance(known, str) else known


def _clause(selector: Selector) -> SerialRange | str | None:
    """A prefix as text, a range, or None for all."""
    if selector.kind == "range":
        return serial_range(selector, "selectors")
    return selector.prefix if selector.kind == "prefix" else None
