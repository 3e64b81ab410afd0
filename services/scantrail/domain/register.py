"""The register of regulated units: one line for each unit and stay, told from its movements.

A stay begins where a unit comes to us and ends where it leaves. Nothing that was entered is
changed: what a late or voided scan teaches, and what a person mends, is appended to the line.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Final

from scantrail.domain.vocabulary import ENTERING_STEPS, LEAVING_STEPS, BusinessStep

#: With these a unit is acquired; every other scan here only shows that it is.
ACQUIRING_STEPS: Final = ENTERING_STEPS | {BusinessStep.ARRIVING, BusinessStep.RETURNING}

#: These come back from whom the unit went to.
_COMING_BACK: Final = frozenset({BusinessStep.ARRIVING, BusinessStep.RETURNING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Regulation:
    """What is entered of a product's units, and how. `id` is the product's.

    Entries are due within `enter_within_days`, and kept for `retention_years` from disposition.
    Whoever receives a unit needs a licence of `licence_kind`.
    """

    id: str
    maker: str
    importer: str | None = None
    model: str
    type: str
    calibre: str
    licence_kind: str = "firearms"
    enter_within_days: int = 7
    retention_years: int = 20
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A scan of the unit that counts. `is_delivery`: it is with the purchaser, not here.
    `supplier` is who announced the unit that came by it."""

    event_id: str
    at: datetime
    business_step: BusinessStep
    order: str | None = None
    is_delivery: bool = False
    supplier: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """An advance notice of the unit: who supplies, and where and from when on it is received."""

    supplier: str
    site: str
    since: datetime


def announced_by(
    announcements: Iterable[Announcement], *, site: str, at: datetime, business_step: BusinessStep
) -> str | None:
    """The supplier of the newest notice under which a scan receives its unit, None under none."""
    if business_step is not BusinessStep.RECEIVING:
        return None
    told = [each for each in announcements if each.site == site and each.since <= at]
    return max(told, key=lambda each: (each.since, each.supplier)).supplier if told else None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderParties:
    """Ids of parties: who supplies by an order, and who receives."""

    supplier: str | None = None
    receiver: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """From whom and when a unit came, to whom and when it went. Parties are ids.

    `opened_event` is the scan that first shows it here, or shows it leaving; without `acquired_at`
    nobody scanned how it came. `disposal` is `shipped` or `destroyed`.
    """

    opened_event: str
    opened_at: datetime
    acquired_at: datetime | None = None
    acquired_from: str | None = None
    acquired_order: str | None = None
    disposed_event: str | None = None
    disposed_at: datetime | None = None
    disposed_to: str | None = None
    disposed_order: str | None = None
    disposal: str | None = None


#: What a person may mend; the events are those of the scans.
MENDABLE: Final = ("acquired_at", "acquired_from", "disposed_at", "disposed_to")

_STAY_FIELDS: Final = tuple(each.name for each in fields(Stay))


class EntryKind(StrEnum):
    ACQUISITION = "acquisition"
    DISPOSITION = "disposition"
    CORRECTION = "correction"
    #: no scan that counts tells of the stay any more
    VOID = "void"


class Source(StrEnum):
    SCANS = "scans"
    PERSON = "person"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry: `line` None begins a line, and otherwise replaces that line's last one in use."""

    line: int | None
    kind: EntryKind
    source: Source
    stay: Stay
    reason: str | None = None


def stays(moves: Iterable[Move], orders: Mapping[str, OrderParties]) -> list[Stay]:
    """The stays of a unit, from its moves in the order in which they happened."""
    found: list[Stay] = []
    is_here = False
    for move in moves:
        step, last = move.business_step, found[-1] if found else None
        parties = orders.get(move.order or "", OrderParties())
        if step is BusinessStep.VOID_SHIPPING and last is not None and not is_here:
            found[-1] = _without_disposition(last)
            is_here = True
        elif step in LEAVING_STEPS or step is BusinessStep.DECOMMISSIONING:
            if is_here and last is not None:
                found[-1] = _disposed(last, move, parties)
            elif last is None or last.disposed_at is None:
                opened = Stay(opened_event=move.event_id, opened_at=move.at)
                found.append(_disposed(opened, move, parties))
            elif last.disposed_order is None and move.order is not None:
                # shipping and departing are one leaving, whichever names the order
                found[-1] = replace(last, disposed_to=parties.receiver, disposed_order=move.order)
            is_here = False
        elif move.is_delivery:
            continue
        elif not is_here:
            found.append(_opened(move, parties, last))
            is_here = True
        elif step in ACQUIRING_STEPS and last is not None and last.acquired_at is None:
            found[-1] = replace(
                last,
                acquired_at=move.at,
                acquired_from=parties.supplier or move.supplier,
                acquired_order=move.order,
            )
    return found


def _opened(move: Move, parties: OrderParties, before: Stay | None) -> Stay:
    is_acquired = move.business_step in ACQUIRING_STEPS
    came_from = parties.supplier or move.supplier
    if came_from is None and move.business_step in _COMING_BACK and before is not None:
        came_from = before.disposed_to
    return Stay(
        opened_event=move.event_id,
        opened_at=move.at,
        acquired_at=move.at if is_acquired else None,
        acquired_from=came_from if is_acquired else None,
        acquired_order=move.order if is_acquired else None,
    )


def _disposed(stay: Stay, move: Move, parties: OrderParties) -> Stay:
    is_destroyed = move.business_step is BusinessStep.DECOMMISSIONING
    return replace(
        stay,
        disposed_event=move.event_id,
        disposed_at=move.at,
        disposed_to=None if is_destroyed else parties.receiver,
        disposed_order=move.order,
        disposal="destroyed" if is_destroyed else "shipped",
    )


def _without_disposition(stay: Stay) -> Stay:
    return replace(
        stay,
        disposed_event=None,
        disposed_at=None,
        disposed_to=None,
        disposed_order=None,
        disposal=None,
    )


def appended(lines: Mapping[int, Sequence[Entry]], told: Sequence[Stay]) -> list[Entry]:
    """What must be appended so that the register tells the stays that scans tell now.

    `lines` are the entries that stand, in their order. What a person mended stays as it was
    mended; a line whose scans were voided takes the next stay that has no line, or becomes void.
    """
    pairs, free = _matched(lines, told)
    new: list[Entry] = []
    for line, stay in pairs.items():
        entries = lines[line]
        last = entries[-1]
        if stay is None:
            if last.kind is not EntryKind.VOID:
                new.append(_entry(line, EntryKind.VOID, last.stay, "its scans were voided"))
            continue
        wanted = replace(stay, **{name: getattr(last.stay, name) for name in _mended(entries)})
        if wanted == last.stay and last.kind is not EntryKind.VOID:
            continue
        is_filled = last.stay.disposed_at is None and wanted.disposed_at is not None
        if is_filled and _without_disposition(wanted) == last.stay:
            new.append(_entry(line, EntryKind.DISPOSITION, wanted))
        else:
            told_by = "scans that came late, were corrected, or their order"
            new.append(_entry(line, EntryKind.CORRECTION, wanted, told_by))
    for stay in free:
        if stay.opened_event != stay.disposed_event:
            new.append(_entry(None, EntryKind.ACQUISITION, _without_disposition(stay)))
        if stay.disposed_at is not None:
            new.append(_entry(None, EntryKind.DISPOSITION, stay))
    return new


def _entry(line: int | None, kind: EntryKind, stay: Stay, reason: str | None = None) -> Entry:
    return Entry(line=line, kind=kind, source=Source.SCANS, stay=stay, reason=reason)


def _matched(
    lines: Mapping[int, Sequence[Entry]], told: Sequence[Stay]
) -> tuple[dict[int, Stay | None], list[Stay]]:
    """The stay of each line, by their scans, else in their order; and stays without a line."""
    pairs: dict[int, Stay | None] = dict.fromkeys(lines)
    free = list(told)
    for line, entries in lines.items():
        known = entries[-1].stay
        same = [
            stay
            for stay in free
            if stay.opened_event == known.opened_event
            or (stay.disposed_event is not None and stay.disposed_event == known.disposed_event)
        ]
        if same:
            pairs[line] = same[0]
            free.remove(same[0])
    for line, stay in pairs.items():
        if stay is None and free and lines[line][-1].kind is not EntryKind.VOID:
            pairs[line] = free.pop(0)
    return pairs, free


def _mended(entries: Sequence[Entry]) -> set[str]:
    """The fields that a person told: those stay."""
    told = set[str]()
    for before, entry in pairwise(entries):
        if entry.source is Source.PERSON:
            told |= {
                name for name in MENDABLE if getattr(before.stay, name) != getattr(entry.stay, name)
            }
    return told


def mended(entry: Entry, changes: Mapping[str, datetime | str | None], reason: str) -> Entry:
    """A person's correction of a line's last entry; `changes` are of MENDABLE."""
    unknown = set(changes) - set(MENDABLE)
    if unknown:
        raise ValueError(f"no person mends {', '.join(sorted(unknown))}")
    values = {name: getattr(entry.stay, name) for name in _STAY_FIELDS} | dict(changes)
    return Entry(
        line=entry.line,
        kind=EntryKind.CORRECTION,
        source=Source.PERSON,
        stay=Stay(**values),
        reason=reason,
    )


def missing(stay: Stay) -> list[str]:
    """What the line lacks, in words of its columns."""
    lacks = []
    if stay.acquired_at is None:
        lacks.append("acquired_at")
    if stay.acquired_from is None:
        lacks.append("acquired_from")
    if stay.disposed_at is not None and stay.disposed_to is None and stay.disposal == "shipped":
        lacks.append("disposed_to")
    return lacks


def overdue(stay: Stay, now: datetime, enter_within_days: int) -> list[str]:
    """What the line lacks although it was due."""
    allowed = timedelta(days=enter_within_days)
    due = {"disposed_to": stay.disposed_at or now}
    return [name for name in missing(stay) if due.get(name, stay.opened_at) + allowed < now]


def entered_late(at: datetime | None, entered_at: datetime, enter_within_days: int) -> bool:
    """Whether what happened at `at` was entered later than allowed."""
    return at is not None and entered_at - at > timedelta(days=enter_within_days)


def kept_until(stay: Stay, retention_years: int) -> date | None:
    """The last day on which the line must tell from whom and to whom; None while it is here."""
    if stay.disposed_at is None:
        return None
    day = stay.disposed_at.date()
    try:
        return day.replace(year=day.year + retention_years)
    except ValueError:  # 29 February
        return day.replace(year=day.year + retention_years, day=28)
