"""Processes that err on purpose: a checker that finds nothing in them is broken.

`python -m faults.mutants NAME PROCESS` runs the process with one function changed.
"""

import importlib
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from scantrail.contracts.records import alerts
from scantrail.domain import custody
from scantrail.gateway.spool import Spool
from scantrail.projector import rows


def arrival_order() -> None:
    """The tracker folds scans in the order in which they came."""
    right = custody.observe

    def wrong(known: Any, scan: Any, *, offset: int) -> Any:
        return right(known, replace(scan, event_time=scan.record_time), offset=offset)

    custody.observe = wrong


def spool_forgets() -> None:
    """The gateway tells readers that their reads are kept, and keeps none of them."""

    async def wrong(self: Spool, records: Any, changes: Any = ()) -> None:
        return None

    Spool.append = wrong  # type: ignore[method-assign]


def rows_missing() -> None:
    """The projector leaves a movement out now and then."""
    right = rows._add_movement

    def wrong(into: Any, movement: Any) -> None:
        if zlib.crc32(movement.scan.event_id.encode()) % 50:
            right(into, movement)

    rows._add_movement = wrong


def alerts_missing() -> None:
    """The projector leaves all alerts of some units out: where the alerter forgot one, the sweep
    would find it."""
    right = rows._add_alert

    def wrong(into: Any, record: Any) -> None:
        if zlib.crc32((alerts.decode(record.value).unit or "").encode()) % 4:
            right(into, record)

    rows._add_alert = wrong


#: Each with its process, and the invariant that it breaks.
MUTANTS: dict[str, tuple[str, Callable[[], None], str]] = {
    "arrival_order": ("tracker", arrival_order, "I2"),
    "spool_forgets": ("gateway", spool_forgets, "I1"),
    "rows_missing": ("projector", rows_missing, "I1"),
    "alerts_missing": ("projector", alerts_missing, "I3"),
}


def main() -> None:
    _, name, process = sys.argv
    MUTANTS[name][1]()
    importlib.import_module(f"scantrail.{process}.__main__").main()


if __name__ == "__main__":
    main()
