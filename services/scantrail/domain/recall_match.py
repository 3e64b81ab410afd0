"""Which of ten thousand recalls mean a unit, in time that hardly grows with their number."""

from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date
from math import inf
from typing import NamedTuple

from scantrail.domain.recall import (
    BY_LOT,
    DIGIT,
    Marks,
    Recall,
    RecallStatus,
    Selector,
    SelectorKind,
    TextRange,
    check_recall,
    fits_pattern,
    goes_by_unread_marks,
    text_range,
    within_days,
)


class Matched(NamedTuple):
    """The active recalls that may mean a unit, each by id."""

    #: these mean it
    recalled: list[Recall]
    #: these mean its serial, and nobody told whether it is of one of their products
    likely: list[Recall]
    #: these go by a lot or a day of production that is not told
    undecided: list[Recall]


class RecallMatcher:
    """Which active recalls a unit falls under: as domain.recall.Notice decides of each.

    A change touches what it changes, and nothing else is made anew: 10,000 recalls and a million
    listed serials need no pause when one more comes.
    """

    def __init__(self) -> None:
        self._recalls: dict[str, Recall] = {}
        #: by serial, the recalls that list it: one id mostly, which needs no set of its own
        self._listed: dict[str, str | tuple[str, ...]] = {}
        self._clauses: dict[str, list[_Clause]] = {}  # by recall id
        self._by_product: dict[str, set[str]] = {}  # recalls that have clauses
        self._indexes: dict[str, _ClauseIndex] = {}  # by product, once it is asked for
        self._of_any_product = _ClauseIndex()
        self._of_all = _ClauseIndex()
        self._naming: dict[str, set[str]] = {}  # recalls by the products that they name
        self._unnamed = set[str]()  # those that name none

    def __len__(self) -> int:
        return len(self._recalls)

    def __iter__(self) -> Iterator[Recall]:
        """The active recalls, in no order."""
        return iter(self._recalls.values())

    def get(self, recall_id: str) -> Recall | None:
        """The version of an active recall that is in force, if any."""
        return self._recalls.get(recall_id)

    def put(self, recall: Recall) -> None:
        """Take over a recall's newest version; only an active one matches."""
        if recall.status is not RecallStatus.ACTIVE:
            self.remove(recall.id)
            return
        check_recall(recall)  # one that cannot be applied leaves the version before in force
        self.remove(recall.id)
        self._recalls[recall.id] = recall
        if not recall.products:
            self._unnamed.add(recall.id)
        for product in recall.products:
            self._naming.setdefault(product, set()).add(recall.id)
        clauses: list[_Clause] = []
        for selector in recall.selectors:
            if selector.kind == SelectorKind.LIST:
                self._list(recall.id, selector.serials)
            else:
                clauses += _clauses(selector)
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
        self._unnamed.discard(recall_id)
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

    def match(self, marks: Marks) -> Matched:
        """The active recalls that may mean a unit with these marks, whose serial is told.

        A key such as `imei:` does not tell its product: then recalls of named products that mean
        its serial are `likely`, and those of all units, of lots or days are left out, for they
        would be every such unit's.
        """
        serial, product = marks.serial or "", marks.product
        indexes = [self._of_any_product]
        if product is not None:
            indexes.append(self._index(product))
        listed = _ids(self._listed.get(serial, ()))
        found = {one for one in listed if self._concerns(one, product)}
        lacking = set[str]()
        for index in indexes:
            found.update(index.meaning(marks))
            lacking.update(index.lacking(marks))
        likely = set[str]()
        if product is None:
            likely.update(listed)
            likely.update(self._of_all.serials.holding(serial))
            likely -= found
        lacking -= found
        return Matched(*(self._by_id(ids) for ids in (found, likely, lacking)))

    def meaning_some_of(self, product: str, *, has_serials: bool = True) -> list[Recall]:
        """The active recalls by which some units of `product` are recalled, or all, by id: those
        that name it, and of those that name none such as go by a lot or a day of production, and,
        where its units may have serials, all."""
        unnamed = (
            recall_id
            for recall_id in self._unnamed
            if has_serials or goes_by_unread_marks(self._recalls[recall_id])
        )
        return self._by_id({*self._naming.get(product, ()), *unnamed})

    def _by_id(self, ids: Iterable[str]) -> list[Recall]:
        return [self._recalls[recall_id] for recall_id in sorted(ids)]

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

    def _concerns(self, recall_id: str, product: str | None) -> bool:
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


class _Prefix(NamedTuple):
    text: str


class _Pattern(NamedTuple):
    text: str


class _Exactly(NamedTuple):
    text: str


class _Days(NamedTuple):
    first: date | None
    last: date | None


_Text = TextRange | _Prefix | _Pattern | _Exactly


class _Clause(NamedTuple):
    """A selector other than a list of serials, or one lot of several."""

    kind: SelectorKind
    what: _Text | _Days | None


def _clauses(selector: Selector) -> list[_Clause]:
    kind = SelectorKind(selector.kind)
    what: _Text | _Days | None = None
    match kind:
        case SelectorKind.RANGE | SelectorKind.LOT_RANGE:
            what = text_range(selector, "selectors")
        case SelectorKind.PREFIX:
            what = _Prefix(selector.prefix or "")
        case SelectorKind.PATTERN:
            what = _Pattern(selector.pattern or "")
        case SelectorKind.DATE:
            what = _Days(selector.first_day, selector.last_day)
        case SelectorKind.LOT:
            return [_Clause(kind, _Exactly(lot)) for lot in selector.lots]
    return [_Clause(kind, what)]


class _ClauseIndex:
    """Clauses of some recalls, found by a unit's marks."""

    def __init__(self) -> None:
        self.serials = _TextIndex()
        self._all = set[str]()
        self._lots = _TextIndex()
        self._days: dict[_Days, set[str]] = {}
        #: recalls with clauses by lot, and by day: how many of each
        self._by_lot = Counter[str]()
        self._by_day = Counter[str]()

    def add(self, recall_id: str, clauses: Iterable[_Clause]) -> None:
        """Let the clauses of a recall match."""
        for clause in clauses:
            what = clause.what
            if what is None:
                self._all.add(recall_id)
            elif isinstance(what, _Days):
                self._days.setdefault(what, set()).add(recall_id)
                self._by_day[recall_id] += 1
            elif clause.kind in BY_LOT:
                self._lots.add(recall_id, what)
                self._by_lot[recall_id] += 1
            else:
                self.serials.add(recall_id, what)

    def remove(self, recall_id: str, clauses: Iterable[_Clause]) -> None:
        """Take back what was added of a recall."""
        self._all.discard(recall_id)
        self._by_lot.pop(recall_id, None)
        self._by_day.pop(recall_id, None)
        for clause in clauses:
            what = clause.what
            if isinstance(what, _Days):
                ids = self._days.get(what, set())
                ids.discard(recall_id)
                if not ids:
                    self._days.pop(what, None)
            elif clause.kind in BY_LOT:
                if what is not None:
                    self._lots.remove(recall_id, what)
            elif what is not None:
                self.serials.remove(recall_id, what)

    def meaning(self, marks: Marks) -> Iterator[str]:
        """The recalls that mean a unit with these marks."""
        yield from self._all
        yield from self.serials.holding(marks.serial or "")
        if marks.lot is not None:
            yield from self._lots.holding(marks.lot)
        if marks.produced_on is not None:
            for (first, last), ids in self._days.items():
                if within_days(marks.produced_on, first, last):
                    yield from ids

    def lacking(self, marks: Marks) -> Iterator[str]:
        """The recalls that go by a lot or a day, where it is not told."""
        if marks.lot is None:
            yield from self._by_lot
        if marks.produced_on is None:
            yield from self._by_day


class _TextIndex:
    """Texts that recalls mean: ranges found by bisection, prefixes and patterns by their lengths,
    whole ones by themselves."""

    def __init__(self) -> None:
        self._whole: dict[str, set[str]] = {}
        self._prefixes: dict[str, set[str]] = {}
        self._lengths = Counter[int]()  # of the prefixes
        #: by length and what stands before the first open digit
        self._patterns: dict[tuple[int, str], dict[str, set[str]]] = {}
        self._shapes = Counter[tuple[int, int]]()  # of the patterns: length, and that of the head
        self._ranges: dict[tuple[str, int], _Ranges] = {}
        #: by the length of a text, how many digits at its end may be the number
        self._digits: dict[int, set[int]] = {}

    def add(self, recall_id: str, what: _Text) -> None:
        match what:
            case _Exactly(text):
                self._whole.setdefault(text, set()).add(recall_id)
            case _Prefix(text):
                if text not in self._prefixes:
                    self._prefixes[text] = set()
                    self._lengths[len(text)] += 1
                self._prefixes[text].add(recall_id)
            case _Pattern(text):
                place = _shape(text)
                same_head = self._patterns.setdefault(place, {})
                if text not in same_head:
                    same_head[text] = set()
                    self._shapes[len(text), len(place[1])] += 1
                same_head[text].add(recall_id)
            case TextRange():
                shape = (what.prefix, what.digits)
                if shape not in self._ranges:
                    self._ranges[shape] = _Ranges()
                    length = len(what.prefix) + what.digits
                    self._digits.setdefault(length, set()).add(what.digits)
                self._ranges[shape].add((what.low, what.high, recall_id))

    def remove(self, recall_id: str, what: _Text) -> None:
        """What was added. A shape of ranges that has none left stays."""
        match what:
            case _Exactly(text):
                self._take(self._whole, text, recall_id)
            case _Prefix(text):
                if self._take(self._prefixes, text, recall_id):
                    self._lengths[len(text)] -= 1
                    self._lengths += Counter()  # lengths that none has any more are left out
            case _Pattern(text):
                place = _shape(text)
                same_head = self._patterns.get(place, {})
                if self._take(same_head, text, recall_id):
                    self._shapes[len(text), len(place[1])] -= 1
                    self._shapes += Counter()
                    if not same_head:
                        del self._patterns[place]
            case TextRange():
                self._ranges[what.prefix, what.digits].remove((what.low, what.high, recall_id))

    def holding(self, text: str) -> Iterator[str]:
        """The recalls that mean `text`."""
        yield from self._whole.get(text, ())
        for length in self._lengths:
            yield from self._prefixes.get(text[:length], ())
        for length, head in self._shapes:
            if length == len(text):
                for pattern, ids in self._patterns.get((length, text[:head]), {}).items():
                    if fits_pattern(text, pattern):
                        yield from ids
        for digits in self._digits.get(len(text), ()):
            ranges = self._ranges.get((text[:-digits], digits))
            tail = text[-digits:]
            if ranges is not None and tail.isascii() and tail.isdigit():
                yield from ranges.holding(int(tail))

    @staticmethod
    def _take(known: dict[str, set[str]], text: str, recall_id: str) -> bool:
        """Take a recall from those of `text`; whether there is none of it any more."""
        ids = known.get(text)
        if ids is None:
            return False
        ids.discard(recall_id)
        if not ids:
            del known[text]
        return not ids


def _shape(pattern: str) -> tuple[int, str]:
    """A pattern's length, and what stands before its first open digit."""
    return len(pattern), pattern.partition(DIGIT)[0]


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
