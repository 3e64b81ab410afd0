"""Processes that err on purpose: a checker that finds nothing in them is broken.

`python -m faults.mutants NAME PROCESS` runs the process with one function changed.
"""

import asyncio
import importlib
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from scantrail.contracts.records import alerts
from scantrail.domain import custody
from scantrail.infra import tables


def _one_in(count: int, text: str) -> bool:
    return zlib.crc32(text.encode()) % count == 0


def arrival_order() -> None:
    """The tracker folds scans in the order in which they came."""
    right = custody.observe

    def wrong(known: Any, scan: Any, *, offset: int) -> Any:
        return right(known, replace(scan, event_time=scan.record_time), offset=offset)

    custody.observe = wrong


def repeats_new() -> None:
    """The tracker remembers no event: one that is sent again moves the unit again."""
    custody._remembered = lambda state, event_id: None


def versions_skipped() -> None:
    """The tracker counts some scans twice."""
    right = custody.observe

    def wrong(known: Any, scan: Any, *, offset: int) -> Any:
        seen = right(known, scan, offset=offset)
        if seen.accepted and _one_in(20, scan.event_id):
            return seen._replace(state=seen.state._replace(version=seen.state.version + 1))
        return seen

    custody.observe = wrong


def conflicts_missing() -> None:
    """The tracker sees no contradiction in some of the scans of a serial that left before."""
    right = custody._broken_rule

    def wrong(before: Any, visit: Any) -> Any:
        return None if _one_in(2, visit.event_id) else right(before, visit)

    custody._broken_rule = wrong


def spool_forgets() -> None:
    """The gateway tells readers that their reads are kept, and keeps none of them."""
    from scantrail.gateway.spool import Spool

    async def wrong(self: Spool, records: Any, changes: Any = ()) -> None:
        return None

    Spool.append = wrong  # type: ignore[method-assign]


def clocks_doubted() -> None:
    """The gateway takes clocks that are right for wrong. One that takes all for right is no mutant:
    what it would send of 1970 nobody takes for a scan."""
    from scantrail.domain import station

    right = station.clock_skew_s

    def wrong(event_time: datetime, record_time: datetime) -> float:
        return right(event_time, record_time) or 3600.0

    station.clock_skew_s = wrong


def recalled_released() -> None:
    """The gateway answers some questions as if it knew nothing against the unit."""
    from scantrail.gateway import verdicts

    right = verdicts.judge_unit

    def wrong(unit: str, recalls: Any, reasons: Any, *order: Any, **more: Any) -> Any:
        known = ((), ()) if _one_in(2, unit) else (recalls, reasons)
        return right(unit, *known, *order, **more)

    verdicts.judge_unit = wrong


def verdicts_late() -> None:
    """The gateway sends some of its answers long after the deadline."""
    from scantrail.gateway.verdicts import Verdicts

    right = Verdicts.ask

    async def wrong(self: Verdicts, reader_id: Any, asked: Any, **more: Any) -> Any:
        judged = await right(self, reader_id, asked, **more)
        if _one_in(2, judged.detail):
            await asyncio.sleep(1.5)
        return judged

    Verdicts.ask = wrong  # type: ignore[method-assign]


def rows_missing() -> None:
    """The projector leaves a movement out now and then."""
    from scantrail.projector import rows

    right = rows._add_movement

    def wrong(into: Any, movement: Any) -> None:
        if not _one_in(50, movement.scan.event_id):
            right(into, movement)

    rows._add_movement = wrong


def rows_appended() -> None:
    """The projector appends a second row of some movements, with a time of its own."""
    from scantrail.projector import rows

    right = rows._add_movement

    def wrong(into: Any, movement: Any) -> None:
        right(into, movement)
        if _one_in(50, movement.scan.event_id):
            key = movement.unit, movement.scan.event_id, movement.scan.record_time
            later = (*key[:2], key[2] + timedelta(milliseconds=1))
            into.movements[later] = (*later, *into.movements[key][3:])

    rows._add_movement = wrong


def custody_missing() -> None:
    """The projector leaves out who has some of the units."""
    from scantrail.projector import rows

    right = rows.unit_row
    place = [column.name for column in tables.unit.columns].index("possessing_party")

    def wrong(unit: str, *told: Any, **more: Any) -> Any:
        row = right(unit, *told, **more)
        return (*row[:place], None, *row[place + 1 :]) if _one_in(5, unit) else row

    rows.unit_row = wrong


def offsets_stay() -> None:
    """The projector writes rows, and leaves the offsets where they are."""
    from scantrail.projector import writing

    async def wrong(*_: Any) -> None:
        return None

    writing._advance = wrong


def alerts_missing() -> None:
    """The projector leaves all alerts of some units out: where the alerter forgot one, the sweep
    would find it."""
    from scantrail.projector import rows

    right = rows._add_alert

    def wrong(into: Any, record: Any) -> None:
        if not _one_in(4, alerts.decode(record.value).unit or ""):
            right(into, record)

    rows._add_alert = wrong


def alerts_doubled() -> None:
    """The alerter raises each alert again under a second id."""
    _tell_again(lambda alert: replace(alert, id=alert.id[::-1]))


def alerts_repeated() -> None:
    """The alerter raises each alert again, as if another scan told it."""
    _tell_again(lambda alert: replace(alert, told_by=f"{alert.told_by}-again"))


def _tell_again(otherwise: Callable[[Any], Any]) -> None:
    from scantrail.alerter import app

    right = app._send

    async def wrong(producer: Any, settings: Any, raised: Any) -> Any:
        return await right(producer, settings, [*raised, *map(otherwise, raised)])

    app._send = wrong


def offsets_forgotten() -> None:
    """The alerter does its work, and tells Kafka nothing of how far it is."""
    from scantrail.alerter.ending import Ending

    async def wrong(self: Ending) -> bool:
        return True

    Ending._commit = wrong  # type: ignore[method-assign]


def chain_broken() -> None:
    """The api writes rows of the audit that do not follow from those before them."""
    from scantrail.api import auditing

    right = auditing.chained

    def wrong(entry: Any, previous_hash: str) -> Any:
        return right(entry, previous_hash[::-1] if entry.number % 3 == 0 else previous_hash)

    auditing.chained = wrong


@dataclass(frozen=True, slots=True)
class Mutant:
    """A process, what errs in it, and what the checker counts then: invariants, and columns."""

    process: str
    change: Callable[[], None]
    breaks: tuple[str, ...]


MUTANTS: dict[str, Mutant] = {
    each.change.__name__: each
    for each in (
        Mutant("tracker", arrival_order, ("I2",)),
        Mutant("tracker", repeats_new, ("I1", "doubled")),
        Mutant("tracker", versions_skipped, ("I7",)),
        Mutant("tracker", conflicts_missing, ("I6",)),
        Mutant("gateway", spool_forgets, ("I1", "lost")),
        Mutant("gateway", clocks_doubted, ("I2",)),
        Mutant("gateway", recalled_released, ("I3",)),
        Mutant("gateway", verdicts_late, ("L2",)),
        Mutant("projector", rows_missing, ("I1", "I8", "lost")),
        Mutant("projector", rows_appended, ("I1", "doubled")),
        Mutant("projector", custody_missing, ("I5",)),
        Mutant("projector", offsets_stay, ("I8", "L1")),
        Mutant("projector", alerts_missing, ("I3", "I8")),
        Mutant("alerter", alerts_doubled, ("I4", "I6", "doubled")),
        Mutant("alerter", alerts_repeated, ("I4", "doubled")),
        Mutant("alerter", offsets_forgotten, ("L1",)),
        Mutant("api", chain_broken, ("I9",)),
    )
}


def main() -> None:
    _, name, process = sys.argv
    MUTANTS[name].change()
    importlib.import_module(f"scantrail.{process}.__main__").main()


if __name__ == "__main__":
    main()
