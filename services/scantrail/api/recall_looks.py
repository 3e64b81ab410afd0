"""Looking at units: what the active recalls mean for them is brought up to date, many together.

In the transaction of the caller: holds, clearances and findings, and rows of `recall_unit` that say
with what version of each unit that was so. Looked at twice, nothing changes.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Row, delete, exists, func, insert, or_, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from scantrail.api.findings import recalled_scope, restate_findings, stated_findings
from scantrail.api.folding import folding_among
from scantrail.api.holds import change_holds
from scantrail.api.outbox import Outbox
from scantrail.api.queries import HAPPENED_AT
from scantrail.domain.alert import AlertKind
from scantrail.domain.children import DEPTH_MAX
from scantrail.domain.custody import Outcome, Tie, Visit
from scantrail.domain.departures import Departures, departures
from scantrail.domain.finding import Finding
from scantrail.domain.hold import Clearance, Hold, by_recalls, is_inside
from scantrail.domain.product import spellings_of
from scantrail.domain.recall_look import (
    NO_CONCERN,
    Concern,
    Out,
    Told,
    concern,
    findings_of,
    out_of,
    reasons_inside,
    reasons_of,
)
from scantrail.domain.recall_match import RecallMatcher
from scantrail.domain.vocabulary import TAKING_OUT_STEPS, BusinessStep
from scantrail.infra.tables import (
    alert,
    consumer_offset,
    hold,
    movement,
    recall_cleared,
    recall_parent,
    recall_unit,
    unit,
)

#: Keys that were joined one into another, and parents one inside another: more is a circle.
_LEVELS_MAX = 64

#: Movements that are no visit of their own: they move nothing, or were seen to repeat one.
_NO_VISIT = [
    outcome.value
    for outcome in (
        Outcome.JOINED,
        Outcome.RELEASED,
        Outcome.REFOLDED,
        Outcome.VOIDED,
        Outcome.CORRECTED,
        Outcome.REPEAT_READ,
    )
]

_ABOUT_RECALLS = [AlertKind.RECALLED_ALREADY_SHIPPED.value, AlertKind.RECALLED_AT_SHIPPING.value]


async def look(
    connection: AsyncConnection,
    outbox: Outbox,
    matcher: RecallMatcher,
    keys: Iterable[str],
    now: datetime,
    movements: str,
) -> None:
    """Bring all that hangs on the units with these keys up to date, by the recalls of `matcher`.

    Those inside which they are or were are held for them, or not any more. `movements` is the
    topic's name.
    """
    keys = sorted(set(keys))
    lineage = await Lineage.of(connection, keys)
    looked = {lineage.unit_of(key) for key in keys}
    looked |= await _inside_of(connection, looked)
    looked = {lineage.unit_of(key) for key in looked}
    # Whoever marks one of them from here on waits, and has it looked at once more.
    locked = select(recall_unit, is_written(movements).label("is_written")).where(
        _among(recall_unit.c.unit, {*looked, *keys})
    )
    rows = await connection.execute(
        locked.order_by(recall_unit.c.unit).with_for_update(of=recall_unit)
    )
    before = {row.unit: row for row in rows}
    lineage = await Lineage.of(connection, {*looked, *keys})
    looked = {lineage.unit_of(key) for key in looked}
    found = await _facts(connection, lineage, looked)
    concerns = {
        key: concern(matcher, found[key].told, found[key].cleared, found[key].folds)
        if found[key].row is not None
        else NO_CONCERN
        for key in looked
    }
    acting = {
        key: _Acting(
            recalls=_ids(concerns[key], found[key].stated),
            held_by=_held_by(concerns[key]) if found[key].is_here else [],
            left_open=[each.id for each in concerns[key].undecided] if found[key].is_out else [],
        )
        for key in looked
    }
    parents_of = {key: lineage.parents_of(key) if acting[key].held_by else [] for key in looked}
    parents = await _put_inside(connection, parents_of, {*before, *keys})
    inside = await _inside(connection, looked | parents, acting)
    await _hold(connection, outbox, looked, parents, found, concerns, inside, now)
    await _state(connection, outbox, matcher, looked, found, concerns)
    waiting = {row.unit for row in before.values() if row.is_stale and not row.is_written}
    tracked = {
        key: _version(found[key].row)
        for key in looked
        if concerns[key].means or concerns[key].undecided or found[key].stated or key in inside
    }
    await _write(connection, acting, tracked, waiting, before)
    newly = {key: _version(lineage.row(key)) for key in parents - looked if key in inside}
    await _track_parents(connection, newly)
    idle = {key for key in looked if not acting[key].recalls and key not in tracked}
    joined = {*before, *keys} - looked
    # Those that came meanwhile are not locked, and have been marked by somebody.
    await _forget(connection, (idle | joined) & before.keys() - waiting, parents - looked)


def is_written(movements: str) -> Any:
    """Whether a row of `recall_unit` waits for no movement that has yet to be written."""
    offset = consumer_offset.c
    return or_(
        recall_unit.c.position.is_(None),
        exists().where(
            offset.topic == movements,
            offset.partition == recall_unit.c.partition,
            offset.next_offset > recall_unit.c.position,
        ),
    )


class Lineage:
    """Rows of `unit` with the keys into which they were joined and the units inside which they are.

    `unit_of` and `parents_of` know of units that were never scanned, too.
    """

    def __init__(self, rows: Mapping[str, Row[Any]]) -> None:
        self._rows = rows

    @classmethod
    async def of(cls, connection: AsyncConnection, keys: Iterable[str]) -> "Lineage":
        """Of these keys, upwards."""
        rows = dict[str, Row[Any]]()
        asked, wanted = set[str](), set(keys)
        for _ in range(_LEVELS_MAX):
            if not wanted:
                break
            asked |= wanted
            found = await connection.execute(select(unit).where(_among(unit.c.unit, wanted)))
            wanted = set()
            for row in found:
                rows[row.unit] = row
                wanted |= {row.joined, row.parent} - asked - {None}
        return cls(rows)

    def unit_of(self, key: str) -> str:
        """The key under which the unit is found; `key` itself where it was joined into none."""
        followed = {key}
        while (row := self._rows.get(key)) is not None and row.joined is not None:
            if row.joined in followed:
                break
            key = row.joined
            followed.add(key)
        return key

    def row(self, key: str) -> Row[Any] | None:
        """The unit's row, if it was scanned."""
        return self._rows.get(key)

    def parents_of(self, key: str) -> list[str]:
        """The units inside which it is, the nearest first."""
        found = list[str]()
        while (row := self._rows.get(key)) is not None and row.parent is not None:
            key = self.unit_of(row.parent)
            if key in found or len(found) >= 2 * DEPTH_MAX:
                break
            found.append(key)
        return found


class _Facts(NamedTuple):
    """All that is known of one unit that recalls ask for."""

    row: Row[Any] | None
    told: list[Told]
    #: what people decided, and of what it was remedied
    cleared: list[Clearance]
    stated: list[Finding]
    #: whether a product folds case
    folds: Callable[[str], bool]

    @property
    def is_here(self) -> bool:
        return self.row is not None and self.row.phase == "on_site"

    @property
    def is_out(self) -> bool:
        return self.row is not None and self.row.phase == "shipped"


class _Acting(NamedTuple):
    """The recalls that have to do with a unit, those by which it holds what it is in, and those
    that leave it open and before which it went out."""

    recalls: list[str]
    held_by: list[str]
    left_open: list[str]


def _ids(found: Concern, stated: Iterable[Finding]) -> list[str]:
    told = (*found.means, *found.undecided, *found.decided, *found.remedied)
    return sorted({recall.id for recall in told} | {each.recall or "" for each in stated})


def _held_by(found: Concern) -> list[str]:
    return sorted({recall.id for recall in (*found.means, *found.undecided)})


async def _facts(
    connection: AsyncConnection, lineage: Lineage, looked: Collection[str]
) -> dict[str, _Facts]:
    told = {key: [_told(row) if (row := lineage.row(key)) else Told(key)] for key in looked}
    unit_of, wanted = {key: key for key in looked}, set(looked)
    for _ in range(_LEVELS_MAX):  # the keys that were joined into them, one after another
        if not wanted:
            break
        query = select(unit).where(_among(unit.c.joined, wanted)).order_by(unit.c.unit)
        wanted = set()
        for row in await connection.execute(query):
            if row.unit not in unit_of:
                of = unit_of[row.unit] = unit_of[row.joined]
                told[of].append(_told(row))
                wanted.add(row.unit)
    folds = (await folding_among(connection, unit_of)).__contains__
    units_of: dict[str, list[str]] = {}
    for key, of in unit_of.items():
        for name in spellings_of([key], folds):
            units_of.setdefault(name, []).append(of)
    cleared: dict[str, list[Clearance]] = {key: [] for key in looked}
    people = select(recall_cleared).where(_among(recall_cleared.c.unit, units_of))
    for row in await connection.execute(people):
        for of in units_of[row.unit]:
            cleared[of].append(Clearance(recall=row.recall, version=row.version))
    for row in await connection.execute(select(hold).where(_among(hold.c.id, units_of))):
        known = msgspec.convert(row.document, Hold).cleared
        for of in units_of[row.id]:
            cleared[of] += [each for each in known if each.version is None]
    stated = await stated_findings(connection, [recalled_scope(key) for key in looked])
    return {
        key: _Facts(
            lineage.row(key), told[key], cleared[key], stated.get(recalled_scope(key), []), folds
        )
        for key in looked
    }


def _told(row: Row[Any]) -> Told:
    return Told(row.unit, row.lot, row.produced_on)


async def _inside_of(connection: AsyncConnection, parents: Collection[str]) -> set[str]:
    """The units that are held by recalls, and were inside one of these when they were looked at."""
    query = select(recall_parent.c.unit).where(_among(recall_parent.c.parent, parents))
    return set((await connection.execute(query)).scalars())


async def _put_inside(
    connection: AsyncConnection, parents_of: Mapping[str, list[str]], keys: Collection[str]
) -> set[str]:
    """Remember inside what units are that hold it; all that were or are held so."""
    units = {*parents_of, *keys}
    query = select(recall_parent).where(_among(recall_parent.c.unit, units))
    known = {(row.parent, row.unit) for row in await connection.execute(query)}
    now = {(parent, key) for key, parents in parents_of.items() for parent in parents}
    if known != now:
        await connection.execute(delete(recall_parent).where(_among(recall_parent.c.unit, units)))
    if now and known != now:
        told = [{"parent": parent, "unit": key} for parent, key in sorted(now)]
        await connection.execute(insert(recall_parent), told)
    return {parent for parent, _ in known | now}


async def _inside(
    connection: AsyncConnection, parents: set[str], acting: Mapping[str, _Acting]
) -> dict[str, list[tuple[str, str]]]:
    """For each parent, the recall and the unit of what holds it from inside."""
    query = (
        select(recall_parent, recall_unit.c.held_by)
        .join(recall_unit, recall_unit.c.unit == recall_parent.c.unit, isouter=True)
        .where(_among(recall_parent.c.parent, parents))
    )
    found: dict[str, list[tuple[str, str]]] = {}
    for row in await connection.execute(query):
        held_by = acting[row.unit].held_by if row.unit in acting else row.held_by or ()
        found.setdefault(row.parent, []).extend((each, row.unit) for each in held_by)
    return found


async def _hold(
    connection: AsyncConnection,
    outbox: Outbox,
    looked: Collection[str],
    parents: Collection[str],
    found: Mapping[str, _Facts],
    concerns: Mapping[str, Concern],
    inside: Mapping[str, list[tuple[str, str]]],
    now: datetime,
) -> None:
    def of_looked(key: str, known: Hold) -> Hold:
        facts, about = found[key], concerns[key]
        own = reasons_of(about, facts.told, now) if facts.is_here else []
        decided = [Clearance(recall=each.id, version=each.version) for each in about.decided]
        # What is elsewhere is cleared when it comes back; what was cleared stays so.
        cleared = [each for each in decided if facts.is_here or each in known.cleared]
        return by_recalls(known, [*own, *reasons_inside(inside.get(key, ()), now)], cleared)

    def of_parent(key: str, known: Hold) -> Hold:
        own = [each for each in known.reasons if each.recall is not None and not is_inside(each)]
        cleared = [each for each in known.cleared if each.version is not None]
        return by_recalls(known, [*own, *reasons_inside(inside.get(key, ()), now)], cleared)

    changed: dict[str, Callable[[Hold], Hold]] = {
        key: partial(of_looked if key in looked else of_parent, key) for key in {*looked, *parents}
    }
    await change_holds(connection, outbox, changed)


async def _state(
    connection: AsyncConnection,
    outbox: Outbox,
    matcher: RecallMatcher,
    looked: Collection[str],
    found: Mapping[str, _Facts],
    concerns: Mapping[str, Concern],
) -> None:
    out = {key for key in looked if found[key].is_out and concerns[key].means}
    concerned = out | {key for key in looked if found[key].stated}
    if not concerned:
        return
    visits, corrected = await _visits(connection, concerned)
    alerts = select(alert.c.unit, alert.c.recall, alert.c.event_id).where(
        _among(alert.c.unit, out),
        alert.c.kind.in_(_ABOUT_RECALLS),
        alert.c.recall.is_not(None),
        alert.c.withdrawn.is_(False),
    )
    alerted: dict[str, set[tuple[str, str]]] = {}
    for row in await connection.execute(alerts):
        alerted.setdefault(row.unit, set()).add((row.recall, row.event_id))
    wanted = {}
    for key in sorted(concerned):
        left, facts = departures(visits.get(key, ())), found[key]
        wanted[recalled_scope(key)] = findings_of(
            key,
            concerns[key],
            _out(facts.row, left) if key in out else None,
            left,
            facts.stated,
            alerted.get(key, ()),
            corrected.get(key, ()),
            matcher,
        )
    known = {recalled_scope(key): found[key].stated for key in concerned}
    await restate_findings(connection, outbox, known, wanted)


def _out(row: Row[Any] | None, left: Departures) -> Out | None:
    """The last visit in which it went out; of a history that does not tell, its last move."""
    if left.leaving:
        return out_of(left.leaving[-1])
    return row and Out(row.event_id, row.station, row.site, row.since)


async def _visits(
    connection: AsyncConnection, keys: Collection[str]
) -> tuple[dict[str, list[Visit]], dict[str, set[str]]]:
    """For each unit its visits that no correction voids, in their order, and what was voided."""
    corrections = select(movement.c.unit, movement.c.corrects).where(
        _among(movement.c.unit, keys), movement.c.corrects.is_not(None)
    )
    corrected: dict[str, set[str]] = {}
    for row in await connection.execute(corrections):
        corrected.setdefault(row.unit, set()).add(row.corrects)
    query = (
        select(movement, HAPPENED_AT.label("at"))
        .where(_among(movement.c.unit, keys), movement.c.outcome != func.all(_NO_VISIT))
        .order_by("at", movement.c.station, movement.c.sequence, movement.c.event_id)
    )
    visits: dict[str, list[Visit]] = {}
    for row in (await connection.execute(query)).all():
        if row.event_id not in corrected.get(row.unit, ()):
            visits.setdefault(row.unit, []).append(_visit(row))
    return visits, corrected


def _visit(row: Any) -> Visit:
    """What a fold asks for of a scan; a repeat is none here, so no window is needed."""
    tie = None
    if row.derived_from is not None:
        tie = Tie(row.derived_from, 1)
    elif row.parent not in (None, row.unit) and row.business_step not in TAKING_OUT_STEPS:
        tie = Tie(row.parent, 0)
    return Visit(
        row.at,
        row.station,
        row.sequence,
        row.event_id,
        b"",
        row.site,
        row.read_point,
        BusinessStep(row.business_step),
        row.business_location,
        row.disposition,
        row.possessing_party,
        row.order_ref,
        0.0,
        tie,
    )


async def _write(
    connection: AsyncConnection,
    acting: Mapping[str, _Acting],
    tracked: Mapping[str, int],
    waiting: Collection[str],
    before: Collection[str],
) -> None:
    """The rows as they are now, not stale unless their movement has yet to be written.

    `tracked` are those that are to be looked at again when they have another version than this. Of
    a row that was not there `before`, and so not locked, whoever marked it meanwhile knows more.
    """
    values = [
        {
            "unit": key,
            "is_stale": key in waiting,
            "version": tracked.get(key),
            **acting[key]._asdict(),
        }
        for key in sorted(acting)
        if acting[key].recalls or key in tracked or key in waiting
    ]
    new = upsert(recall_unit)
    names = ("version", *_Acting._fields)
    stale = {True: new.excluded.is_stale, False: recall_unit.c.is_stale}
    for is_locked, is_stale in stale.items():
        some = [value for value in values if (value["unit"] in before) is is_locked]
        written = new.on_conflict_do_update(
            index_elements=[recall_unit.c.unit],
            set_={"is_stale": is_stale} | {name: new.excluded[name] for name in names},
        )
        if some:
            await connection.execute(written, some)


async def _track_parents(connection: AsyncConnection, versions: Mapping[str, int]) -> None:
    """Have these looked at again when they have another version: they may be put into a third.

    Of one that is there its own look says with which version it was seen.
    """
    told = [{"unit": key, "version": versions[key]} for key in sorted(versions)]
    new = upsert(recall_unit)
    seen = new.on_conflict_do_update(
        index_elements=[recall_unit.c.unit],
        set_={"version": func.coalesce(recall_unit.c.version, new.excluded.version)},
    )
    if told:
        await connection.execute(seen, told)


async def _forget(
    connection: AsyncConnection, keys: Collection[str], parents: Collection[str]
) -> None:
    """Of `keys` nothing is to be said: they are no units of their own, or no recall acts on them.
    Nor of those parents on which none acts, and that nothing holds from inside any more."""
    if keys:
        await connection.execute(delete(recall_unit).where(_among(recall_unit.c.unit, keys)))
    if parents:
        await connection.execute(
            delete(recall_unit).where(
                _among(recall_unit.c.unit, parents),
                recall_unit.c.is_stale.is_(False),
                func.cardinality(recall_unit.c.recalls) == 0,
                ~exists().where(recall_parent.c.parent == recall_unit.c.unit),
            )
        )


def _version(row: Row[Any] | None) -> int:
    """0 for what was never scanned: it is looked at when it is."""
    return 0 if row is None else int(row.version)


def _among(column: Any, keys: Iterable[str]) -> Any:
    """One parameter, however many there are."""
    return column == func.any(sorted(keys))
