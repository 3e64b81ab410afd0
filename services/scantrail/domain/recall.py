"""Recalls as notices word them, and which of them a unit falls under."""

import re
from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum

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

    def __contains__(self, serial: str) -> bool:
        tail = serial[len(self.prefix) :]
        return (
            len(tail) == self.digits
            and serial.startswith(self.prefix)
            and tail.isascii()
            and tail.isdigit()
            and self.low <= int(tail) <= self.high
        )


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
    """Which active recalls a unit falls under: by product, then sets, prefixes and ranges."""

    def __init__(self) -> None:
        self._recalls: dict[str, Recall] = {}
        self._listed: dict[str | None, dict[str, set[str]]] = defaultdict(dict)
        self._clauses: dict[str | None, list[tuple[SerialRange | str | None, str]]] = {}

    def __len__(self) -> int:
        return len(self._recalls)

    def get(self, recall_id: str) -> Recall | None:
        return self._recalls.get(recall_id)

    def put(self, recall: Recall) -> None:
        """Take over a recall's newest version; only an active one matches."""
        self.remove(recall.id)
        if recall.status is not RecallStatus.ACTIVE:
            return
        check_recall(recall)
        self._recalls[recall.id] = recall
        for product in recall.products or (None,):
            for selector in recall.selectors:
                self._index(product, selector, recall.id)

    def remove(self, recall_id: str) -> None:
        recall = self._recalls.pop(recall_id, None)
        if recall is None:
            return
        for product in recall.products or (None,):
            listed = self._listed[product]
            for selector in recall.selectors:
                for serial in selector.serials:
                    ids = listed.get(serial, set())
                    ids.discard(recall_id)
                    if not ids:
                        listed.pop(serial, None)
            clauses = self._clauses.get(product, [])
            self._clauses[product] = [clause for clause in clauses if clause[1] != recall_id]

    def match(self, product: str | None, serial: str) -> list[Recall]:
        """The active recalls of unit `serial` of `product`, by id."""
        found = set[str]()
        for key in {product, None}:
            found |= self._listed[key].get(serial, set()) if key in self._listed else set()
            for clause, recall_id in self._clauses.get(key, ()):
                if (
                    clause is None
                    or (isinstance(clause, str) and serial.startswith(clause))
                    or (isinstance(clause, SerialRange) and serial in clause)
                ):
                    found.add(recall_id)
        return [self._recalls[recall_id] for recall_id in sorted(found)]

    def _index(self, product: str | None, selector: Selector, recall_id: str) -> None:
        if selector.kind == "list":
            for serial in selector.serials:
                self._listed[product].setdefault(serial, set()).add(recall_id)
            return
        clause: SerialRange | str | None = None  # all
        if selector.kind == "range":
            clause = serial_range(selector, "selectors")
        elif selector.kind == "prefix":
            clause = selector.prefix
        self._clauses.setdefault(product, []).append((clause, recall_id))
