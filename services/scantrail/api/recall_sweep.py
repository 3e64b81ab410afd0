"""The sweep: what a new recall means for units that were scanned before it.

1. once PostgreSQL has all movements that may have been judged without a recall's version
   (domain.recall_watch), every unit that it may mean, or that was held for an earlier version, is
   looked at, some hundred in one transaction (recall_looks). Died here: all are looked at again,
   and what was told already is not told twice. A recall of many units does not keep others waiting:
   of each some thousand are looked at in turn, and then those of 3.
2. then it is published as swept, with the row that says so. A newer version is swept itself.
3. from then on units are looked at again when they have another version, or when the alerter told
   of a movement that a recall may mean.

4. of a recall that leaves it open whether it means units that went out, that is stated once.

A recall that is not active any more is swept at once: what it held is let go.
Two apis may sweep: one at a time looks, by the recalls as they are then. An api that looked by
those of a moment before would take back what the other has just found by a newer version.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from sqlalchemy import and_, func, or_, select, text, true, union
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.findings import left_open_scope, restate_findings, stated_findings
from scantrail.api.outbox import Outbox
from scantrail.api.recall_looks import is_written, look
from scantrail.api.recall_queries import means, meant_units
from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain.recall import (
    Recall,
    RecallRefused,
    RecallStatus,
    goes_by_unread_marks,
)
from scantrail.domain.recall_look import left_open
from scantrail.domain.recall_match import RecallMatcher
from scantrail.domain.recall_watch import Taken, is_passed
from scantrail.infra import metrics
from scantrail.infra.database import is_away, sqlstate_of
from scantrail.infra.failpoints import passing
from scantrail.infra.logs import logger
from scantrail.infra.settings import Settings
from scantrail.infra.tables import (
    consumer_offset,
    recall,
    recall_position,
    recall_sweep,
    recall_unit,
    unit,
)
from scantrail.infra.topic_admin import name_of

log = logger(__name__)

POLL_S = 1.0

#: Units that are looked at in one transaction: the projector may have to wait for it.
UNITS = 500

#: So many, and then it is looked whether there is a new recall.
LOOKED_MAX = 10_000

#: Units of one recall that are looked at in turn with those of others: a few seconds' work.
TURN = 2_000

#: For the one statement that goes through all units.
FINDING_S_MAX = 120

#: One api at a time looks at units, or a hold could be put by what another has just seen change.
_LOOKING = 7_264_521


class _Version(NamedTuple):
    """A recall as it is to be swept."""

    id: str
    version: int


class RecallSweep:
    """Sweeps recalls and looks after their units, until cancelled or once when asked."""

    def __init__(self, settings: Settings, engine: AsyncEngine, outbox: Outbox) -> None:
        self._engine = engine
        self._outbox = outbox
        self._movements = name_of(settings, Topic.MOVEMENTS)
        self._kick = asyncio.Event()
        self._looking = asyncio.Lock()
        self._matcher = RecallMatcher()
        self._known: dict[str, int] = {}  # versions that were taken over, or refused
        self._recalls: dict[str, Recall] = {}  # those that can be applied
        self._since: dict[_Version, float] = {}  # when each version was first seen not swept
        self._is_told = False  # what recalls leave open, since anything was looked at
        self._telling_took_s, self._told_at = 0.0, 0.0
        self._left: dict[_Version, list[str]] = {}  # units at which its sweep has yet to look
        self._found_in: dict[_Version, int] = {}  # the table that had them: another may serve since

    def kick(self) -> None:
        """Something changed at the desk: look now."""
        self._kick.set()

    async def run(self) -> None:
        """Sweep until cancelled; waits while PostgreSQL is away."""
        while True:
            self._kick.clear()
            started, has_worked = time.monotonic(), False
            try:
                has_worked = await self.catch_up()
            except DBAPIError as error:
                if is_away(error):
                    log.warning("database is away", reason=str(error.orig))
                else:
                    log.exception("recalls cannot be swept")
            # To find that there is nothing takes a fifth of the time at most.
            took_s = 0.0 if has_worked else time.monotonic() - started
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(POLL_S, 4 * took_s)):
                    await self._kick.wait()

    async def catch_up(self) -> bool:
        """Sweep every recall that can be swept, and look at units that have changed; whether there
        were any."""
        async with self._looking:
            async with self._engine.connect() as connection:
                await self._refresh(connection)
            swept = [await self._try_to_sweep(each) for each in await self._unswept()]
            failed, looked = set[str](), 0
            while looked < LOOKED_MAX and (waiting := await self._waiting(failed)):
                failed.update(await self._look(waiting))
                looked += len(waiting)
            if has_worked := any(swept) or looked > len(failed):
                self._is_told = False
                await self._count()
            if not self._is_told:
                await self._tell_left_open()
            if looked >= LOOKED_MAX or (self._left and any(swept)):
                self.kick()
            return has_worked

    async def _refresh(self, connection: AsyncConnection) -> None:
        """Take over the recalls that have another version."""
        rows = await connection.execute(select(recall.c.id, recall.c.version))
        changed = [row.id for row in rows if self._known.get(row.id) != row.version]
        for recall_id in changed:
            query = select(recall.c.document, recall.c.version).where(recall.c.id == recall_id)
            row = (await connection.execute(query)).one()
            await asyncio.to_thread(self._take, recall_id, row.document)
            self._known[recall_id] = row.version

    def _take(self, recall_id: str, document: object) -> None:
        try:
            of = msgspec.convert(document, Recall)
            self._matcher.put(of)
        except (RecallRefused, msgspec.ValidationError) as error:
            # The version before stands, as it does everywhere.
            log.error("recall cannot be applied", recall=recall_id, reason=str(error))
        else:
            self._recalls[recall_id] = of

    async def _unswept(self) -> list[_Version]:
        done = recall_sweep
        query = (
            select(recall.c.id, recall.c.version)
            .outerjoin(done, and_(done.c.recall == recall.c.id, done.c.version == recall.c.version))
            .where(done.c.recall.is_(None))
            .order_by(recall.c.id)
        )
        async with self._engine.connect() as connection:
            found = [_Version(*row) for row in await connection.execute(query)]
        self._since = {each: self._since.get(each, time.monotonic()) for each in found}
        self._left = {each: self._left[each] for each in found if each in self._left}
        self._found_in = {each: self._found_in[each] for each in self._left}
        metrics.RECALLS_UNSWEPT.set(len(found))
        return found

    async def _try_to_sweep(self, what: _Version) -> bool:
        """As _sweep; one recall of which PostgreSQL does not find the units, or not in time, keeps
        none of the others waiting."""
        try:
            return await self._sweep(what)
        except DBAPIError as error:
            if sqlstate_of(error) is None:  # nobody answers, nor would anybody for the next
                raise
            log.error("recall cannot be swept", recall=what.id, reason=str(error.orig))
            return False

    async def _sweep(self, what: _Version) -> bool:
        """Look at the next units that a version may mean, if the time has come, and say so once
        all were looked at; whether anything was done."""
        of = self._recalls.get(what.id)
        if of is None or of.version != what.version:  # it cannot be applied, or has just come
            return False
        if what not in self._left and not await self._begin(what, of):
            return False
        left, failed = self._left[what], list[str]()
        turn = len(left) - TURN
        while len(left) > max(turn, 0):
            failed += await self._look(left[-UNITS:])
            del left[-UNITS:]
            passing("some swept")
        if left:
            left[:0] = failed
            return True
        if failed:
            log.error("recall waits for units that cannot be looked at", recall=of.id)
            self._left[what] = failed
            return False
        await self._finish(what)
        del self._left[what]
        return True

    async def _begin(self, what: _Version, of: Recall) -> bool:
        """Find the units of a version, if the time has come; whether it has."""
        is_active = of.status is RecallStatus.ACTIVE
        async with self._engine.begin() as connection:
            if is_active and not await self._is_passed(connection, what):
                return False
            # On whatever another api acted by the version before, it has acted behind this.
            await connection.execute(select(func.pg_advisory_xact_lock(_LOOKING)))
        async with self._engine.begin() as connection:
            self._found_in[what] = await _table_of_units(connection)
            await connection.execute(text(f"SET LOCAL statement_timeout = '{FINDING_S_MAX}s'"))
            self._left[what] = list(await _candidates(connection, of if is_active else None, of.id))
        return True

    async def _is_passed(self, connection: AsyncConnection, what: _Version) -> bool:
        told = select(recall_position).where(
            recall_position.c.recall == what.id, recall_position.c.version == what.version
        )
        taken = [
            Taken(row.partition, row.partitions, row.position)
            for row in await connection.execute(told)
        ]
        offsets = select(consumer_offset).where(consumer_offset.c.topic == self._movements)
        written = {row.partition: row.next_offset for row in await connection.execute(offsets)}
        return is_passed(taken, written)

    async def _finish(self, what: _Version) -> None:
        """Say that this version is swept, unless there is a newer one."""
        async with self._engine.begin() as connection:
            query = select(recall.c.document).where(
                recall.c.id == what.id, recall.c.version == what.version
            )
            document = (await connection.execute(query.with_for_update())).scalar()
            if document is None or await _is_swept(connection, what):
                return
            if self._found_in[what] != await _table_of_units(connection):
                return  # a rebuild exchanged it: what was missing before is looked for anew
            done = upsert(recall_sweep).values(
                recall=what.id, version=what.version, swept_at=func.now()
            )
            await connection.execute(
                done.on_conflict_do_update(
                    index_elements=[recall_sweep.c.recall],
                    set_={"version": what.version, "swept_at": func.now()},
                )
            )
            of = msgspec.convert(document, Recall)
            if of.status is RecallStatus.ACTIVE:
                swept = replace(of, is_swept=True)
                await connection.execute(
                    recall.update()
                    .where(recall.c.id == what.id)
                    .values(document=msgspec.to_builtins(swept))
                )
                await self._outbox.add(connection, Topic.RECALLS, what.id, encode(swept))
        if of.status is RecallStatus.ACTIVE:
            took_s = time.monotonic() - self._since.pop(what)
            metrics.RECALL_SWEEP_SECONDS.observe(took_s)
            log.info("recall is swept", recall=what.id, version=what.version, took_s=took_s)

    async def _waiting(self, failed: set[str]) -> Sequence[str]:
        """Units that were marked, and whose movement was written since; and those that have
        another version."""
        marked = select(recall_unit.c.unit).where(
            recall_unit.c.is_stale, is_written(self._movements)
        )
        moved = (
            select(recall_unit.c.unit)
            .join(unit, unit.c.unit == recall_unit.c.unit)
            .where(recall_unit.c.version.is_not(None), unit.c.version != recall_unit.c.version)
        )
        both = union(
            *(
                query.where(recall_unit.c.unit != func.all(sorted(failed)))
                .order_by(recall_unit.c.unit)
                .limit(UNITS)
                .subquery()
                .select()
                for query in (marked, moved)
            )
        )
        async with self._engine.connect() as connection:
            return (await connection.execute(both)).scalars().all()

    async def _look(self, keys: Sequence[str]) -> list[str]:
        """Look at some units; where that fails at each by itself. Those at which it failed."""
        try:
            await self._look_together(keys)
        except Exception as error:
            if isinstance(error, DBAPIError) and is_away(error):
                raise
            if len(keys) == 1:
                # One odd unit keeps none of the others waiting; it is tried again.
                log.exception("what recalls mean for a unit cannot be told", unit=keys[0])
                return list(keys)
            return [key for key in keys for _ in await self._look([key])]
        return []

    async def _look_together(self, keys: Sequence[str]) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(select(func.pg_advisory_xact_lock(_LOOKING)))
            await self._refresh(connection)
            now = datetime.now(UTC)
            await look(connection, self._outbox, self._matcher, keys, now, self._movements)
            passing("looked")

    async def _tell_left_open(self) -> None:
        """State of which recalls it stays open whether they mean units that went out, or not any
        more. A million may be: to count them takes a tenth of the time at most."""
        started = time.monotonic()
        if self._told_at and started - self._told_at < 10 * self._telling_took_s:
            return
        async with self._engine.begin() as connection:
            await connection.execute(select(func.pg_advisory_xact_lock(_LOOKING)))
            await self._refresh(connection)
            left = await _left_open(connection)
            swept = select(recall_sweep.c.recall, recall_sweep.c.version)
            versions = {row.recall: row.version for row in await connection.execute(swept)}
            done = {
                left_open_scope(of.id): of
                for of in self._recalls.values()
                if versions.get(of.id) == of.version
            }
            known = await stated_findings(connection, list(done))
            now = datetime.now(UTC)
            wanted = {
                scope: [left_open(of, left[of.id], now)] if of.id in left else []
                for scope, of in done.items()
                if of.id in left or scope in known
            }
            await restate_findings(connection, self._outbox, known, wanted)
        self._is_told, self._told_at = True, time.monotonic()
        self._telling_took_s = self._told_at - started

    async def _count(self) -> None:
        held = select(func.count()).where(func.cardinality(recall_unit.c.held_by) > 0)
        async with self._engine.connect() as connection:
            metrics.RECALLED_UNITS_HELD.set((await connection.execute(held)).scalar_one())


async def _left_open(connection: AsyncConnection) -> dict[str, int]:
    """For each recall that leaves it open whether it means units that went out, how many."""
    each = func.unnest(recall_unit.c.left_open).label("recall")
    some = select(each).where(text("left_open <> '{}'")).subquery()
    query = select(some.c.recall, func.count()).group_by(some.c.recall)
    return {row[0]: row[1] for row in await connection.execute(query)}


async def _table_of_units(connection: AsyncConnection) -> int:
    """Which table serves as `unit`; until the transaction ends, no other does."""
    await connection.execute(text("LOCK TABLE unit IN ACCESS SHARE MODE"))
    found: int = (await connection.execute(text("SELECT 'unit'::regclass::oid"))).scalar_one()
    return found


async def _is_swept(connection: AsyncConnection, what: _Version) -> bool:
    query = select(recall_sweep.c.version).where(recall_sweep.c.recall == what.id)
    return (await connection.execute(query)).scalar() == what.version


async def _candidates(
    connection: AsyncConnection, of: Recall | None, recall_id: str
) -> Sequence[str]:
    """Every unit at which a recall's sweep has to look: those that it means, those of which it
    leaves that open, those that have to be cleared, and those on which it acted before."""
    acted = select(recall_unit.c.unit).where(recall_unit.c.recalls.contains([recall_id]))
    if of is None:
        return (await connection.execute(acted)).scalars().all()
    if goes_by_unread_marks(of):
        named = unit.c.product.in_(of.products) if of.products else true()
        is_open = and_(named, or_(means(of).is_(None), unit.c.phase == "on_site"))
        wanted = [select(unit.c.unit).where(or_(means(of), is_open))]
    else:
        wanted = meant_units(of)
    query = union(acted, *wanted).order_by("unit")
    return (await connection.execute(query)).scalars().all()
