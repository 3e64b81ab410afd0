"""Which units were released for which order: by this a conveyor knows what is one too many.

A unit counts for the order for which it was released last, and no more once it is held, for
whatever reason and at whatever question: it was taken out of the flow. Units are counted in memory,
some 0.5 kB each, and in a table beside the questions (150 bytes each), changed in the transaction
that records the question: a restart finds what was told. An order for which nothing was released
any more within FORGOTTEN_AFTER is forgotten.

Each gateway counts for itself: the questions of one order belong to one gateway.
"""

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from scantrail.gateway.spool import Change, Spool

#: Since the last release for an order; it counts for at least so long.
FORGOTTEN_AFTER: Final = timedelta(days=30)

#: Orders that one release forgets at most, so that no question waits for many.
FORGOTTEN_TOGETHER: Final = 2

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS released (
    unit TEXT PRIMARY KEY, ref TEXT NOT NULL, product TEXT NOT NULL, at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS released_by_order ON released (ref);
"""


class Release(NamedTuple):
    """One release of a unit; the same unit released again is another."""

    reference: str
    product: str


class _Order:
    """The units released for one order, by their product; `last` is in seconds since 1970."""

    __slots__ = ("last", "units")

    def __init__(self) -> None:
        self.last = 0.0
        self.units: dict[str, set[str]] = {}


class Releases:
    """What was released, as the journal has it. Changes are for the caller to write with the
    question that made them; where it cannot, the disk says too much rather than too little."""

    def __init__(self, journal: Spool) -> None:
        self._of: dict[str, Release] = {}
        self._orders: OrderedDict[str, _Order] = OrderedDict()
        journal.make_tables(_SCHEMA)
        for unit, reference, product, at in journal.rows(
            "SELECT unit, ref, product, at FROM released ORDER BY at"
        ):
            self._put(unit, Release(reference, product), at)

    def others(self, reference: str, product: str, keys: Sequence[str]) -> int:
        """How many units of a product count for an order, beside the one that has these keys."""
        order = self._orders.get(reference)
        units = set[str]() if order is None else order.units.get(product, set[str]())
        return len(units) - sum(key in units for key in keys)

    def add(
        self, keys: Sequence[str], reference: str, product: str, at: datetime
    ) -> tuple[Release, list[Change]]:
        """Count the unit of these keys, its own first, for an order and for no other any more."""
        changes = self.take_back(keys)
        release, seconds = Release(reference, product), at.timestamp()
        self._put(keys[0], release, seconds)
        put = "INSERT OR REPLACE INTO released VALUES (?, ?, ?, ?)"
        changes.append((put, (keys[0], reference, product, seconds)))
        return release, changes + self._forget(seconds - FORGOTTEN_AFTER.total_seconds())

    def take_back(self, keys: Sequence[str], only: Release | None = None) -> list[Change]:
        """Count the unit of these keys for no order; where `only` is given, if it is by that."""
        changes: list[Change] = []
        for key in keys:
            release = self._of.get(key)
            if release is None or (only is not None and release is not only):
                continue
            del self._of[key]
            order = self._orders[release.reference]
            order.units[release.product].remove(key)
            if not order.units[release.product]:
                del order.units[release.product]
            if not order.units:
                del self._orders[release.reference]
            changes.append(("DELETE FROM released WHERE unit = ?", (key,)))
        return changes

    def _put(self, unit: str, release: Release, at: float) -> None:
        self._of[unit] = release
        order = self._orders.setdefault(release.reference, _Order())
        order.units.setdefault(release.product, set()).add(unit)
        order.last = at
        self._orders.move_to_end(release.reference)

    def _forget(self, before: float) -> list[Change]:
        changes: list[Change] = []
        while len(changes) < FORGOTTEN_TOGETHER:
            reference, order = next(iter(self._orders.items()))
            if order.last >= before:
                break
            del self._orders[reference]
            for units in order.units.values():
                for unit in units:
                    del self._of[unit]
            changes.append(("DELETE FROM released WHERE ref = ?", (reference,)))
        return changes
