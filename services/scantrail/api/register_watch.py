"""The desk's watch: it fills the register from movements, and minds licences and loans.

1. a regulated unit of which the projector tells that it changed is taken, and one whose orders or
   day is another than when it was entered.
2. its history is read, and the register's new entries, its hold and its findings are committed
   together, with the version up to which that was; what told of it is removed. Died before: it is
   taken again.

Two apis may watch: one at a time enters, and the other finds nothing left.
"""

import asyncio
import contextlib
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Select, delete, func, insert, select, text, union_all, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.days import Days
from scantrail.api.findings import state_findings
from scantrail.api.holds import change_hold
from scantrail.api.notice_queries import announcements_of
from scantrail.api.outbox import Outbox
from scantrail.api.queries import find_trail
from scantrail.api.whereabouts import find_unit
from scantrail.contracts.topics import Topic
from scantrail.domain.custody import Outcome
from scantrail.domain.finding import Finding, FindingKind
from scantrail.domain.hold import Hold, HoldReason, with_reason, without_reason
from scantrail.domain.party import PURCHASER, Licence, licence_gap
from scantrail.domain.register import (
    Entry,
    EntryKind,
    Move,
    OrderParties,
    Regulation,
    Source,
    Stay,
    announced_by,
    appended,
    missing,
    overdue,
    stays,
)
from scantrail.domain.scan import made_id
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra.database import is_away
from scantrail.infra.logs import logger
from scantrail.infra.regulated import tell_differing
from scantrail.infra.tables import (
    advance_notice,
    advance_notice_unit,
    identifier,
    movement,
    party,
    register,
    register_change,
    register_unit,
    regulation,
    sales_order,
    stay_of,
    unit,
)

log = logger(__name__)

POLL_S = 2.0
UNITS = 200

#: Each unit is compared with what was entered of it, whoever told: a projector of a former version,
#: still running, tells of none.
COMPARE_EVERY_S = 3_600.0

#: One watch at a time enters, or a stay could be entered twice.
_ENTERING = 7_264_511

#: The id of the reason under which a unit is held for its receiver's licence.
LICENCE_HOLD = "licence"

_LOANS = "loans"

#: Movements that tell of no visit to a station.
_NO_VISIT = (
    Outcome.NOT_INSIDE,
    Outcome.JOINED,
    Outcome.RELEASED,
    Outcome.REFOLDED,
    Outcome.VOIDED,
    Outcome.CORRECTED,
)


class RegisterWatch:
    """Looks after regulated units and loans, until cancelled or once when asked."""

    def __init__(self, engine: AsyncEngine, outbox: Outbox) -> None:
        self._engine = engine
        self._outbox = outbox
        self._kick = asyncio.Event()
        self._entering = asyncio.Lock()
        self._compare_at = time.monotonic()

    def kick(self) -> None:
        """Something changed at the desk: look now."""
        self._kick.set()

    async def run(self) -> None:
        """Watch until cancelled; waits while PostgreSQL is away."""
        while True:
            self._kick.clear()
            started = time.monotonic()
            try:
                await self.catch_up()
            except DBAPIError as error:
                log.warning("database is away", reason=str(error.orig))
            took_s = time.monotonic() - started
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(POLL_S, 4 * took_s)):  # a fifth of the time at most
                    await self._kick.wait()

    async def catch_up(self, now: datetime | None = None) -> None:
        """Enter all that movements tell by now; state what is due at `now`."""
        started = now or datetime.now(UTC)
        failed = set[str]()
        async with self._entering:
            await self._compare()
            await self._loans(started)
            while waiting := await self._waiting(started, failed):
                for key in waiting:
                    try:
                        # Not when it started: a unit may have come since, and be due already.
                        await self._enter(key, now or datetime.now(UTC))
                    except Exception as error:
                        if isinstance(error, DBAPIError) and is_away(error):
                            raise
                        # One odd unit keeps none of the others waiting; it is tried again.
                        log.exception("unit cannot be entered in the register", unit=key)
                        failed.add(key)

    async def _loans(self, now: datetime) -> None:
        query = (
            select(sales_order.c.ref, sales_order.c.loan_due, unit.c.unit, unit.c.event_id)
            .join(unit, unit.c.order_ref == sales_order.c.ref)
            .where(
                sales_order.c.loan_due.is_not(None),
                unit.c.phase == "shipped",
                unit.c.joined.is_(None),
            )
        )
        async with self._engine.begin() as connection:
            await one_at_a_time(connection)
            days = await Days.read(connection)
            query = query.where(sales_order.c.loan_due < days.day_at(now, unit.c.site))
            late = [
                Finding(
                    id=made_id("loan_overdue", row.ref, row.unit, row.loan_due),
                    kind=FindingKind.LOAN_OVERDUE,
                    at=datetime.combine(row.loan_due, datetime.min.time(), UTC),
                    text=f"{row.unit} was lent by order {row.ref} until {row.loan_due}"
                    " and is not back",
                    unit=row.unit,
                    document=f"order {row.ref}",
                )
                for row in await connection.execute(query)
            ]
            await state_findings(connection, self._outbox, _LOANS, late)

    async def _compare(self) -> None:
        if time.monotonic() < self._compare_at:
            return
        async with self._engine.begin() as connection:
            await tell_differing(connection)
        self._compare_at = time.monotonic() + COMPARE_EVERY_S

    async def _waiting(self, now: datetime, failed: Collection[str]) -> Sequence[str]:
        """Some of the units that are to be looked at. Each question has an index of its own."""
        known, told = register_unit, register_change.c.unit
        async with self._engine.connect() as connection:
            days = await Days.read(connection)
            somewhere = days.latest(now)
            due = (
                select(known.c.unit)
                .join(unit, unit.c.unit == known.c.unit)
                .where(
                    known.c.look_again_on <= somewhere,
                    known.c.look_again_on <= days.day_at(now, unit.c.site),
                )
            )
            waiting = set[str]()
            for query, column in (
                (select(told).distinct(), told),
                (select(known.c.unit).where(known.c.is_stale), known.c.unit),
                (due, known.c.unit),
            ):
                some = query.where(column.not_in(failed)).order_by(column).limit(UNITS)
                waiting.update((await connection.execute(some)).scalars())
            return sorted(waiting)

    async def _enter(self, key: str, now: datetime) -> None:
        """Bring all that hangs on one unit up to date."""
        async with self._engine.begin() as connection:
            await one_at_a_time(connection)
            # What tells of the unit from here on is seen the next time.
            told = delete(register_change).where(register_change.c.unit == key)
            await connection.execute(told)
            # Whoever marks the unit from here on waits, and has it looked at once more.
            marked = update(register_unit).where(register_unit.c.unit == key)
            seen = await connection.execute(marked.values(is_stale=False, look_again_on=None))
            row = (await connection.execute(select(unit).where(unit.c.unit == key))).first()
            rule = None if row is None else await _regulation(connection, row.product)
            if row is None or rule is None:  # the regulation was taken back meanwhile
                return
            found = await find_unit(self._engine, key)
            moves = [] if found is None else await self._moves(connection, found, key)
            refs = sorted({move.order for move in moves if move.order is not None})
            orders = await _parties_of(connection, refs)
            stayed = stays(moves, orders)
            lines = await lines_of(connection, key)
            await append_entries(connection, row, rule, appended(lines, stayed))
            current = [
                (line, entries[-1].stay)
                for line, entries in (await lines_of(connection, key)).items()
                if entries[-1].kind is not EntryKind.VOID
            ]
            assigned = _assigned(moves, stayed)
            days = await Days.read(connection)
            today = days.day(now, row.site)
            hold_text = await _why_held(connection, rule, assigned, orders, today)
            await self._hold(connection, key, hold_text, now)
            findings = [
                *_overdue(key, current, rule, now),
                *await _unlicensed(connection, key, current, rule, days),
            ]
            await state_findings(connection, self._outbox, f"register {key}", findings)
            again = None
            if assigned is not None or any(missing(stay) for _, stay in current):
                again = today + timedelta(days=1)
            values = {
                "version": row.version,
                "is_stale": seen.rowcount == 0,  # an order may have come meanwhile, and marked none
                "orders": refs,
                "look_again_on": again,
            }
            entered = upsert(register_unit).values(unit=key, **values)
            await connection.execute(
                entered.on_conflict_do_update(index_elements=[register_unit.c.unit], set_=values)
            )

    async def _moves(
        self, connection: AsyncConnection, found: Mapping[str, Any], key: str
    ) -> list[Move]:
        if found["unit"] != key and found["product"] is not None:
            return []  # joined into a unit that has a line of its own
        announced = await announcements_of(connection, [found["unit"], *found["aliases"]])
        moves = [
            Move(
                event_id=row["event_id"],
                at=(at := row["event_time"] if row["clock_skew_s"] is None else row["record_time"]),
                business_step=(step := BusinessStep(row["business_step"])),
                supplier=announced_by(announced, site=row["site"], at=at, business_step=step),
                order=row["order_ref"],
                is_delivery=row["business_step"] == BusinessStep.ARRIVING
                and row["possessing_party"] == PURCHASER,
            )
            for row in await find_trail(self._engine, found)
            if row["outcome"] not in _NO_VISIT
            and row["corrects"] is None
            and row["corrected_by"] is None
        ]
        last = stays(moves, {})[-1:]
        if found["phase"] == "shipped" and last and last[0].disposed_at is None:
            # Its carton was scanned before anybody knew that the unit was inside.
            moves.append(
                Move(
                    event_id=found["event_id"],
                    at=found["since"],
                    business_step=BusinessStep.SHIPPING,
                    order=found["order"],
                )
            )
        return moves

    async def _hold(
        self, connection: AsyncConnection, key: str, why: str | None, now: datetime
    ) -> None:
        async def publish(topic: Topic, unit_key: str, value: bytes | None) -> None:
            await self._outbox.add(connection, topic, unit_key, value)

        reason = HoldReason(id=LICENCE_HOLD, text=why or "", since=now)

        def changed(hold: Hold) -> Hold:
            return without_reason(hold, LICENCE_HOLD) if why is None else with_reason(hold, reason)

        await change_hold(connection, publish, key, changed)


async def mark_stale(
    connection: AsyncConnection,
    *,
    orders: Iterable[str] = (),
    of_unit: str | None = None,
    notice: str | None = None,
    supplier: str | None = None,
) -> None:
    """Let the watch look again at units of these orders, at one, or at those that a notice, or any
    notice of a supplier, announces."""
    refs = list(orders)
    if refs:
        named = register_unit.c.orders.overlap(refs)
        await connection.execute(update(register_unit).where(named).values(is_stale=True))
    if of_unit is not None:
        await connection.execute(
            update(register_unit).where(register_unit.c.unit == of_unit).values(is_stale=True)
        )
    if notice is not None:
        of_notice = select(advance_notice_unit.c.unit).where(advance_notice_unit.c.notice == notice)
        await _mark_announced(connection, of_notice)
    if supplier is not None:
        told = select(advance_notice_unit.c.unit).join(
            advance_notice, advance_notice.c.id == advance_notice_unit.c.notice
        )
        await _mark_announced(connection, told.where(advance_notice.c.supplier == supplier))


async def _mark_announced(connection: AsyncConnection, announced: Select[tuple[str]]) -> None:
    """Mark units that are announced, under whichever of their ids."""
    own_key = select(identifier.c.unit).where(identifier.c.id.in_(announced))
    joined = select(unit.c.joined).where(unit.c.unit.in_(announced), unit.c.joined.is_not(None))
    named = register_unit.c.unit.in_(union_all(announced, own_key, joined))
    await connection.execute(update(register_unit).where(named).values(is_stale=True))


async def lines_of(connection: AsyncConnection, key: str) -> dict[int, list[Entry]]:
    """The register's lines of a unit, each with its entries in their order."""
    query = select(register).where(register.c.unit == key).order_by(register.c.number)
    lines: dict[int, list[Entry]] = {}
    for row in await connection.execute(query):
        lines.setdefault(row.line, []).append(entry_of(row))
    return lines


def entry_of(row: Any) -> Entry:
    """A row of the register as an entry."""
    return Entry(
        line=row.line,
        kind=EntryKind(row.kind),
        source=Source(row.source),
        stay=stay_of(row),
        reason=row.reason,
    )


async def append_entries(
    connection: AsyncConnection,
    of_unit: Any,
    rule: Regulation,
    entries: Iterable[Entry],
    entered_by: str | None = None,
) -> None:
    """Append entries of one unit. A line keeps what its first entry said of the product."""
    first: dict[int, Any] = {}
    rows = select(register).where(register.c.unit == of_unit.unit)
    for row in await connection.execute(rows.order_by(register.c.number.desc())):
        first[row.line] = row
    lines_of_new: dict[str, int] = {}
    for entry in entries:
        sequence = text("SELECT nextval(pg_get_serial_sequence('register', 'number'))")
        number: int = (await connection.execute(sequence)).scalar_one()
        line = entry.line or lines_of_new.setdefault(entry.stay.opened_event, number)
        words: Any = first.get(line, rule)
        await connection.execute(
            insert(register).values(
                number=number,
                line=line,
                kind=entry.kind.value,
                source=entry.source.value,
                entered_by=entered_by,
                reason=entry.reason,
                unit=of_unit.unit,
                product=of_unit.product,
                maker=words.maker,
                importer=words.importer,
                model=words.model,
                type=words.type,
                calibre=words.calibre,
                serial=of_unit.serial,
                **_values(entry.stay),
            )
        )


def _values(stay: Stay) -> dict[str, Any]:
    return {name: getattr(stay, name) for name in Stay.__dataclass_fields__}


async def one_at_a_time(connection: AsyncConnection) -> None:
    """Wait until nobody else enters, for as long as the transaction of `connection` lasts."""
    await connection.execute(select(func.pg_advisory_xact_lock(_ENTERING)))


async def _regulation(connection: AsyncConnection, product: str) -> Regulation | None:
    query = select(regulation.c.document).where(regulation.c.id == product)
    document = (await connection.execute(query)).scalar()
    return None if document is None else msgspec.convert(document, Regulation)


async def _parties_of(connection: AsyncConnection, refs: Sequence[str]) -> dict[str, OrderParties]:
    query = select(sales_order).where(sales_order.c.ref.in_(refs))
    return {
        row.ref: OrderParties(supplier=row.supplier, receiver=row.ship_to or row.purchaser)
        for row in await connection.execute(query)
    }


def _assigned(moves: Sequence[Move], told: Sequence[Stay]) -> str | None:
    """The order for which a unit that is here was scanned last, since it came."""
    if not told or told[-1].disposed_at is not None:
        return None
    since = [move.event_id for move in moves].index(told[-1].opened_event)
    orders = [move.order for move in moves[since:] if move.order is not None]
    return orders[-1] if orders and orders[-1] != told[-1].acquired_order else None


async def _licence_gap(
    connection: AsyncConnection, party_id: str, kind: str, day: date
) -> str | None:
    query = select(party.c.licences).where(party.c.id == party_id)
    found = (await connection.execute(query)).scalar() or []
    return licence_gap([msgspec.convert(each, Licence) for each in found], kind, day)


async def _why_held(
    connection: AsyncConnection,
    rule: Regulation,
    ref: str | None,
    orders: Mapping[str, OrderParties],
    today: date,
) -> str | None:
    """Why a unit that was scanned for an order must not leave; nobody is named."""
    if ref is None:
        return None
    receiver = orders[ref].receiver if ref in orders else None
    if receiver is None:
        return f"order {ref} was not entered: nobody knows whether its receiver has a licence"
    gap = await _licence_gap(connection, receiver, rule.licence_kind, today)
    return gap and f"the receiver by order {ref} {gap}"


async def _unlicensed(
    connection: AsyncConnection,
    key: str,
    lines: Sequence[tuple[int, Stay]],
    rule: Regulation,
    days: Days,
) -> list[Finding]:
    """Units that went to somebody who had no licence on that day, where they left."""
    found = []
    for line, stay in lines:
        if stay.disposed_to is None or stay.disposed_at is None:
            continue
        left = select(movement.c.site).where(
            movement.c.unit == key, movement.c.event_id == stay.disposed_event
        )
        site = (await connection.execute(left.limit(1))).scalar()
        day = days.day(stay.disposed_at, site)
        gap = await _licence_gap(connection, stay.disposed_to, rule.licence_kind, day)
        erased = select(party.c.erased_at).where(party.c.id == stay.disposed_to)
        if gap is None or (await connection.execute(erased)).scalar() is not None:
            continue
        found.append(
            Finding(
                id=made_id("licence_missing", key, stay.disposed_event),
                kind=FindingKind.LICENCE_MISSING,
                at=stay.disposed_at,
                text=f"{key} went out by order {stay.disposed_order}, and its receiver {gap}"
                f" (line {line} of the register)",
                unit=key,
                event_id=stay.disposed_event,
            )
        )
    return found


def _overdue(
    key: str, lines: Sequence[tuple[int, Stay]], rule: Regulation, now: datetime
) -> list[Finding]:
    return [
        Finding(
            id=made_id("register_overdue", key, line),
            kind=FindingKind.REGISTER_OVERDUE,
            at=stay.opened_at,
            text=f"line {line} of the register ({key}) lacks {', '.join(lacks)}, due within"
            f" {rule.enter_within_days} days",
            unit=key,
            document=f"register {line}",
        )
        for line, stay in lines
        if (lacks := overdue(stay, now, rule.enter_within_days))
    ]
