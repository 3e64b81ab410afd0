"""The tables that come from topics, made anew beside those that serve, and exchanged for them.

1. a schema of its own is made, by the same migrations. Died here: the tables that serve are as
   they were, and the next rebuild removes the schema. So it is up to step 4.
2. the topics are projected into it from their first record, up to where the tables that serve are.
3. their writers wait, readers do not: what came meanwhile is projected, and what people did with
   alerts and rejected reads is carried over.
4. the tables are exchanged, active recalls are to be swept again, and the transaction is
   committed: whoever names a table finds the new one. Died after: they serve, and the next rebuild
   removes the old ones.
5. the old ones are removed.

All other tables come from no topic: they stay where they are.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psycopg.errors
from aiokafka import AIOKafkaConsumer, TopicPartition
from sqlalchemy import Row, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.contracts.topics import Topic
from scantrail.domain.alert_life import AlertStanding, AlertStep, LifeEvent, lived
from scantrail.infra import tables
from scantrail.infra.database import (
    DATABASE_ERRORS,
    MIGRATION_LOCK,
    REBUILD_LOCK,
    connect_database,
    is_away,
    is_full,
    is_lock,
    make_tables,
    newest_shape,
)
from scantrail.infra.failpoints import passing
from scantrail.infra.health import Health
from scantrail.infra.kafka import connect_consumer
from scantrail.infra.months import PARTS, hanging_on
from scantrail.infra.regulated import tell_differing
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import name_of, partitions_of
from scantrail.projector.writing import TOPICS, Batch, StaleWriter, Writer, stored_offsets

#: Of these the exchanged tables are made. What recalls have to do with units is looked up anew by
#: the desk whenever it must.
REBUILT = tuple(topic for topic in TOPICS if topic is not Topic.RECALL_WATCH)

#: What is exchanged, in the order in which a projector takes locks, so that none waits for us while
#: we wait for it.
TABLES = (
    "movement",
    "movement_removed",
    "unit",
    "alert",
    "alert_event",
    "rejected",
    "reader_status",
    "consumer_offset",
)

_LOCKED_S_MAX = 5.0

#: So many records may come between what is projected and the last step: some tenths of a second.
LAG_MAX = 5_000

#: A projector that did not go on for so long is not waited for.
STILL_S_MAX = 10.0

#: Below PostgreSQL's deadlock_timeout of 1 s: whoever waits for us in a circle is never the one
#: that is ended.
_LOCK_WAIT_MS = 800
_EXCHANGE_S_MAX = 60.0
_CATCH_UP_S_MAX = 20.0

_PROGRESS_EVERY_S = 2.0
_ALERTS_TOGETHER = 1_000

#: The position of each partition.
Offsets = dict[TopicPartition, int]


class CannotRebuild(Exception):
    """The text says why, and the mend. The tables that serve are as they were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What came of it: rows of each table before and after; `paused_s` is for how long writers
    waited, of which readers `exchanged_s`; `missed` alerts are those of which no record is left."""

    rows_before: Mapping[str, int]
    rows_after: Mapping[str, int]
    records: int
    took_s: float
    paused_s: float
    exchanged_s: float
    missed: int


class _NotNow(Exception):
    """The exchange did not come about; all was rolled back, and it may the next time."""


async def rebuild_database(settings: Settings, say: Callable[[str], None]) -> Rebuilt:
    """Rebuild; `say` is told of progress, a line each time. Raises CannotRebuild."""
    engine = connect_database(settings, statement_timeout_s=0)
    started = time.monotonic()
    try:
        async with _alone(engine) as connection:
            serving = (await connection.execute(text("SELECT current_schema()"))).scalar_one()
            await connection.commit()
            rebuild = _Rebuild(settings, engine, serving, say)
            try:
                await rebuild.prepare()
                done = await rebuild.run(started)
            finally:
                await rebuild.clean()
            return done
    finally:
        await engine.dispose()


@contextlib.asynccontextmanager
async def _alone(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Until the end no other rebuild begins. One that was killed a moment ago is waited for."""
    deadline = time.monotonic() + _LOCKED_S_MAX
    lock = text("SELECT pg_try_advisory_lock(:lock)")
    async with engine.connect() as connection:
        while not (await connection.execute(lock, {"lock": REBUILD_LOCK})).scalar_one():
            await connection.commit()
            if time.monotonic() > deadline:
                raise CannotRebuild("another rebuild runs: wait until it is done")
            await asyncio.sleep(0.1)
        await connection.commit()
        try:
            yield connection
        finally:
            await connection.invalidate()  # the lock goes with the session


class _Rebuild:
    """One rebuild of the tables in schema `serving`."""

    def __init__(
        self, settings: Settings, engine: AsyncEngine, serving: str, say: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._serving = _quoted(serving)
        self._anew, self._before = _quoted(f"{serving}_rebuild"), _quoted(f"{serving}_before")
        search_path = self._anew.replace("\\", "\\\\").replace(" ", "\\ ")
        # What is lost with the server's power before the exchange is made anew; that commit counts.
        self._new_engine = connect_database(
            settings,
            statement_timeout_s=0,
            more_options=f"-c search_path={search_path} -c synchronous_commit=off",
        )
        self._topics = {name_of(settings, topic): topic for topic in REBUILT}
        self._writer = Writer(
            self._new_engine, self._topics, tells_webhooks=False, waits_for_room=False
        )
        self._made: tuple[int, ...] | None = None  # the schemas of this rebuild
        self._say = say
        self._told_at = time.monotonic()
        self._records = 0

    # ------------------------------------------------------------------------------ 1. beside it

    async def prepare(self) -> None:
        """Make empty tables. Raises CannotRebuild where that cannot come to a good end."""
        async with self._engine.begin() as connection:
            await self._check_database(connection)
            await self._drop(connection)
            for schema in (self._anew, self._before):
                try:
                    await connection.execute(text(f"CREATE SCHEMA {schema}"))
                except DBAPIError as error:
                    if not isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
                        raise
                    raise CannotRebuild(
                        "the database's user may not make a schema: GRANT CREATE ON DATABASE to it"
                    ) from error
            self._made = await self._there(connection)
        async with self._new_engine.connect() as connection:
            await connection.run_sync(make_tables)
            await self._take_parts(connection)
            for table in TABLES:
                await self._take_options(connection, table)
            await connection.commit()

    async def _parts(self, connection: AsyncConnection, schema: str) -> Sequence[Row[Any]]:
        """The parts of the history in a schema."""
        found = await connection.execute(PARTS, {"table": f"{schema}.movement"})
        return found.all()

    async def _take_parts(self, connection: AsyncConnection) -> None:
        """The same months as those that serve."""
        for part in await self._parts(connection, self._anew):
            await connection.execute(text(f"DROP TABLE {self._anew}.{part.name}"))
        for part in await self._parts(connection, self._serving):
            await connection.execute(
                text(
                    f"CREATE TABLE {self._anew}.{part.name}"
                    f" PARTITION OF {self._anew}.movement {part.bound}"
                )
            )
            await self._take_options(connection, part.name)

    async def _check_database(self, connection: AsyncConnection) -> None:
        await self._check_shape(connection)
        parts = await self._parts(connection, self._serving)
        names = [*self._serving_names(), *(f"{self._serving}.{part.name}" for part in parts)]
        if found := ", ".join(await connection.run_sync(hanging_on, names)):
            raise CannotRebuild(
                "on the tables that are to be exchanged hangs what would stay with the old ones:"
                f" {found}: drop it, and make it again after the rebuild"
            )

    async def _there(self, connection: AsyncConnection) -> tuple[int, ...]:
        """The schemas beside the one that serves, as they are now."""
        query = text("SELECT to_regnamespace(:anew)::oid, to_regnamespace(:before)::oid")
        found = await connection.execute(query, {"anew": self._anew, "before": self._before})
        return tuple(found.one())

    async def _take_options(self, connection: AsyncConnection, table: str) -> None:
        """What the owner of the database told of the table that serves, such as its fillfactor."""
        old = {"old": f"{self._serving}.{table}"}
        for option in (await connection.execute(_OPTIONS, old)).scalars():
            name, _, value = option.partition("=")
            told = value.replace("'", "''").replace(":", "\\:")
            await connection.execute(text(f"ALTER TABLE {table} SET ({name} = '{told}')"))

    async def _check_shape(self, connection: AsyncConnection) -> None:
        has = text("SELECT to_regclass(:name) IS NOT NULL")
        named = {"name": f"{self._serving}.alembic_version"}
        shape = None
        if (await connection.execute(has, named)).scalar_one():
            query = text(f"SELECT version_num FROM {self._serving}.alembic_version")
            shape = (await connection.execute(query)).scalar()
        if shape != newest_shape():
            raise CannotRebuild("the database has not the newest shape: scantrail db migrate first")

    def _serving_names(self) -> Sequence[str]:
        return [f"{self._serving}.{table}" for table in TABLES]

    async def clean(self) -> None:
        """Remove what a rebuild leaves beside the tables that serve."""
        await self._new_engine.dispose()
        try:
            async with self._engine.begin() as connection:
                if self._made in (None, await self._there(connection)):
                    await self._drop(connection)
        except DBAPIError as error:
            self._say(f"what is left beside the tables, the next rebuild removes: {error.orig}")

    async def _drop(self, connection: AsyncConnection) -> None:
        for schema in (self._anew, self._before):
            await connection.execute(text(f"DROP SCHEMA IF EXISTS {schema} CASCADE"))

    # -------------------------------------------------------------------------- 2. from topics

    async def run(self, started: float) -> Rebuilt:
        """All that follows. Raises CannotRebuild."""
        consumer = await connect_consumer(self._settings)
        try:
            ends = await self._begin(consumer)
            await self._approach(consumer, ends)
            passing("rebuilt")
            async with self._new_engine.begin() as connection:
                for table in TABLES:  # or the first questions would be answered by guess
                    await connection.execute(text(f"ANALYZE {table}"))
            return await self._exchange(consumer, started)
        except StaleWriter as error:
            raise CannotRebuild(_NOT_OURS) from error
        except DATABASE_ERRORS as error:
            if not is_full(error):
                raise
            raise CannotRebuild(
                "the disk of PostgreSQL is full, and what was made so far is removed: these tables"
                " need room twice"
            ) from error
        finally:
            await consumer.stop()

    async def _begin(self, consumer: AIOKafkaConsumer) -> Offsets:
        """Stand before the first record of each partition; where each of them ends."""
        found = await partitions_of(self._settings, *REBUILT)
        partitions = [tp for some in found.values() for tp in some]
        begins = await consumer.beginning_offsets(partitions)
        ends: Offsets = await consumer.end_offsets(partitions)
        serving = await self._serving_offsets()
        self._check_known(serving, partitions)
        for tp in partitions:
            if begins[tp] > 0 and self._topics[tp.topic] is Topic.MOVEMENTS:
                raise CannotRebuild(
                    f"partition {tp.partition} of {tp.topic} begins at offset {begins[tp]}: what"
                    " came before stands in the database only, and would be lost"
                )
            if serving.get(tp, 0) > ends[tp]:
                raise CannotRebuild(
                    f"partition {tp.partition} of {tp.topic} ends at offset {ends[tp]}, and the"
                    f" database has it up to {serving[tp]}: the topic was made anew or lost"
                    " records, and what they told would be lost here too"
                )
        consumer.assign(partitions)
        await self._writer.begin(partitions)
        for tp in partitions:
            consumer.seek(tp, begins[tp])
        return ends

    def _check_known(self, serving: Offsets, partitions: Collection[TopicPartition]) -> None:
        """Raises CannotRebuild where the tables that serve have rows of what is not read here."""
        marks = name_of(self._settings, Topic.RECALL_WATCH)
        for tp, offset in sorted(serving.items()):
            if offset and tp.topic != marks and tp not in partitions:
                raise CannotRebuild(
                    f"the database has partition {tp.partition} of {tp.topic} up to {offset}, which"
                    " is not read here and would be lost: is SCANTRAIL_TOPIC_PREFIX"
                    f" {self._settings.topic_prefix!r} right? If the partition is new, try again"
                )

    async def _serving_offsets(self) -> Offsets:
        async with self._engine.connect() as connection:
            return await stored_offsets(connection)

    async def _approach(self, consumer: AIOKafkaConsumer, ends: Offsets) -> None:
        """Project up to where the tables that serve are; beyond, where nobody goes on with them."""
        still_since = time.monotonic()
        last: Offsets | None = None
        while True:
            serving = await self._serving_offsets()
            targets = {tp: min(serving.get(tp, 0), end) for tp, end in ends.items()}
            await self._project(consumer, targets)
            ends = await consumer.end_offsets(list(ends))
            lag = sum(end - serving.get(tp, 0) for tp, end in ends.items())
            is_first, is_moving = last is None, last is not None and serving != last
            last = serving
            if lag == 0 or (is_moving and lag <= LAG_MAX):
                return
            if is_first or is_moving:  # while the most was projected nobody looked
                still_since = time.monotonic()
            if time.monotonic() - still_since > STILL_S_MAX:
                self._say(f"no projector goes on: {lag:,} records more than it took are projected")
                await self._project(consumer, self._without_alerts(ends, serving))
                return
            self._tell(f"the projector is {lag:,} records behind: waiting for it")
            await asyncio.sleep(0.1)

    def _without_alerts(self, ends: Offsets, serving: Offsets) -> Offsets:
        """Of alerts webhooks are told by whoever projects them first: that is not us."""
        return {
            tp: min(end, serving.get(tp, 0)) if self._topics[tp.topic] is Topic.ALERTS else end
            for tp, end in ends.items()
        }

    async def _project(
        self, consumer: AIOKafkaConsumer, targets: Offsets, *, deadline: float | None = None
    ) -> None:
        """Project each partition up to its target. Raises _NotNow at the deadline."""
        health = Health()
        while True:
            left = {tp: targets[tp] - await consumer.position(tp) for tp in targets}
            behind = [tp for tp, records in left.items() if records > 0]
            if not behind:
                return
            if deadline is not None and time.monotonic() > deadline:
                raise _NotNow("records come faster than they are projected")
            fetched: Batch = {}
            for tp, records in (await consumer.getmany(*behind, timeout_ms=200)).items():
                wanted = [record for record in records if record.offset < targets[tp]]
                if len(wanted) < len(records):
                    consumer.seek(tp, targets[tp])
                if wanted:
                    fetched[tp] = wanted
            total = self._records + sum(max(records, 0) for records in left.values())
            if fetched:
                await self._writer.take(fetched, health)
                self._records += sum(map(len, fetched.values()))
                passing("rebuilding")
            self._tell(f"{self._records:,} of {total:,} records")

    def _tell(self, told: str) -> None:
        now = time.monotonic()
        if now - self._told_at >= _PROGRESS_EVERY_S:
            self._told_at = now
            self._say(told)

    # ------------------------------------------------------------------------- 3., 4. the exchange

    async def _exchange(self, consumer: AIOKafkaConsumer, started: float) -> Rebuilt:
        deadline = time.monotonic() + _EXCHANGE_S_MAX
        while True:
            try:
                return await self._exchange_once(consumer, started)
            except (_NotNow, DBAPIError) as error:
                if isinstance(error, DBAPIError) and (not is_away(error) or is_full(error)):
                    raise
                is_held = isinstance(error, DBAPIError) and is_lock(error)
                why = "others hold the tables" if is_held else str(error).splitlines()[0]
                if time.monotonic() > deadline:
                    raise CannotRebuild(
                        f"the tables could not be exchanged within {_EXCHANGE_S_MAX:.0f} s: {why};"
                        " does a backup or a long query run? Try again after it"
                    ) from error
                self._tell(f"the tables cannot be exchanged yet: {why}")
                await asyncio.sleep(0.2)

    async def _exchange_once(self, consumer: AIOKafkaConsumer, started: float) -> Rebuilt:
        async with self._engine.begin() as connection:
            await connection.execute(text(f"SET LOCAL lock_timeout = {_LOCK_WAIT_MS}"))
            # Where we are gone and our connection is not, the tables serve again.
            await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 60000"))
            names = ", ".join(self._serving_names())
            await connection.execute(text(f"LOCK TABLE {names} IN EXCLUSIVE MODE"))
            paused = time.monotonic()
            locked = text("SELECT pg_try_advisory_xact_lock(:lock)")
            if not (await connection.execute(locked, {"lock": MIGRATION_LOCK})).scalar_one():
                raise _NotNow("the database is being migrated")
            await self._check_database(connection)
            if self._made != await self._there(connection):
                raise CannotRebuild(_NOT_OURS)
            serving = await stored_offsets(connection)
            self._check_known(serving, consumer.assignment())
            at = {tp: await consumer.position(tp) for tp in consumer.assignment()}
            targets = {tp: max(serving.get(tp, 0), position) for tp, position in at.items()}
            await self._project(consumer, targets, deadline=paused + _CATCH_UP_S_MAX)
            await self._check_whole(connection)
            missed = await self._carry_over(connection)
            for tp, offset in serving.items():  # the last record before it may be compacted away
                await connection.execute(
                    text(
                        f"INSERT INTO {self._anew}.consumer_offset AS anew"
                        " VALUES (:topic, :partition, :offset) ON CONFLICT (topic, partition)"
                        " DO UPDATE SET next_offset = greatest(anew.next_offset, :offset)"
                    ),
                    {"offset": offset, "topic": tp.topic, "partition": tp.partition},
                )
            passing("carried_over")
            exchanging = time.monotonic()
            for table in (part.name for part in await self._parts(connection, self._serving)):
                await self._put_aside(connection, table)
            for table in TABLES:
                await self._take_place(connection, table)
            for part in await self._parts(connection, self._serving):
                await self._bring_in(connection, part.name)
            await tell_differing(connection)
            await connection.execute(_SWEEP_AGAIN)
            passing("exchanged")
        done = time.monotonic()
        passing("committed")
        async with self._engine.connect() as connection:
            rows_before = await _counts(connection, self._before)
            rows_after = await _counts(connection, self._serving)
        return Rebuilt(
            rows_before=rows_before,
            rows_after=rows_after,
            records=self._records,
            took_s=done - started,
            paused_s=done - paused,
            exchanged_s=done - exchanging,
            missed=missed,
        )

    async def _check_whole(self, connection: AsyncConnection) -> None:
        """Raises CannotRebuild where PostgreSQL has not all that was projected: it was killed, and
        lost what it had not written to disk yet."""
        query = text(f"SELECT topic, partition, next_offset FROM {self._anew}.consumer_offset")
        stored = {
            TopicPartition(row.topic, row.partition): row.next_offset
            for row in await connection.execute(query)
        }
        if any(stored.get(tp, 0) != offset for tp, offset in self._writer.next.items()):
            raise CannotRebuild(_NOT_OURS)

    async def _take_place(self, connection: AsyncConnection, table: str) -> None:
        """The new table in place of the old one, with who owns and who may read it."""
        anew = f"{self._anew}.{table}"
        await self._put_aside(connection, table)
        for grant in (await connection.execute(_GRANTS, {"old": f"{self._before}.{table}"})).all():
            to = "PUBLIC" if grant.grantee is None else _quoted(grant.grantee)
            more = " WITH GRANT OPTION" if grant.is_grantable else ""
            some = f" ({_quoted(grant.of_column)})" if grant.of_column else ""
            granted = f"GRANT {grant.privilege_type}{some} ON {anew} TO {to}{more}"
            await connection.execute(text(granted))
        owners = {"old": f"{self._before}.{table}", "new": anew}
        if owner := (await connection.execute(_OTHER_OWNER, owners)).scalar():
            await connection.execute(text(f"ALTER TABLE {anew} OWNER TO {_quoted(owner)}"))
        await self._bring_in(connection, table)

    async def _put_aside(self, connection: AsyncConnection, table: str) -> None:
        await connection.execute(
            text(f"ALTER TABLE {self._serving}.{table} SET SCHEMA {self._before}")
        )

    async def _bring_in(self, connection: AsyncConnection, table: str) -> None:
        await connection.execute(
            text(f"ALTER TABLE {self._anew}.{table} SET SCHEMA {self._serving}")
        )

    async def _carry_over(self, connection: AsyncConnection) -> int:
        """What people did, and what the topics tell no more; the number of alerts of the latter.
        What was emptied when somebody was erased stays empty: the topics still have it."""
        old, new = self._serving, self._anew
        names = ", ".join(column.name for column in tables.rejected.columns)
        await connection.execute(
            text(
                f"UPDATE {new}.rejected AS new SET replayed_at = old.replayed_at"
                f" FROM {old}.rejected AS old WHERE new.id = old.id"
                " AND (old.record_time = new.record_time OR old.replayed_at >= new.record_time)"
                " AND old.replayed_at IS NOT NULL"
            )
        )
        await connection.execute(
            text(
                f"UPDATE {new}.rejected AS new SET payload = old.payload, detail = old.detail"
                f" FROM {old}.rejected AS old WHERE new.id = old.id AND old.detail = :erased"
                " AND old.record_time >= new.record_time"
            ),
            {"erased": tables.ERASED},
        )
        await connection.execute(
            text(
                f"INSERT INTO {new}.rejected ({names}) SELECT {names} FROM {old}.rejected"
                " ON CONFLICT DO NOTHING"
            )
        )
        await connection.execute(
            text(
                f"UPDATE {new}.alert AS new SET events = old.events FROM {old}.alert AS old"
                " WHERE new.id = old.id AND old.events > new.events"
            )
        )
        differing = text(
            f"SELECT alert FROM {old}.alert_event AS old WHERE cause IS NULL OR NOT EXISTS"
            f" (SELECT 1 FROM {new}.alert_event AS new"
            "   WHERE new.alert = old.alert AND new.cause = old.cause)"
            f" UNION SELECT id FROM {old}.alert AS old WHERE NOT EXISTS"
            f" (SELECT 1 FROM {new}.alert AS new WHERE new.id = old.id) ORDER BY 1"
        )
        ids = (await connection.execute(differing)).scalars().all()
        missed = 0
        for first in range(0, len(ids), _ALERTS_TOGETHER):
            missed += await self._relive(connection, ids[first : first + _ALERTS_TOGETHER])
        await connection.execute(
            text(
                f"UPDATE {new}.alert AS new SET text = old.text FROM {old}.alert AS old"
                " WHERE new.id = old.id AND position(:erased IN old.text) > 0"
            ),
            {"erased": tables.ERASED},
        )
        return missed

    async def _relive(self, connection: AsyncConnection, ids: Sequence[str]) -> int:
        """Put the lives of alerts together; how many no record told of."""
        alerts = {schema: await _alerts(connection, schema, ids) for schema in self._both()}
        events = {schema: await _events(connection, schema, ids) for schema in self._both()}
        named = {"ids": list(ids)}
        for table, column in (("alert", "id"), ("alert_event", "alert")):
            gone = f"DELETE FROM {self._anew}.{table} WHERE {column} = ANY(:ids)"
            await connection.execute(text(gone), named)
        rows, lives = [], []
        for id_ in ids:
            old, new = alerts[self._serving].get(id_), alerts[self._anew].get(id_)
            kept, told = events[self._serving].get(id_, []), events[self._anew].get(id_, [])
            if not kept and not told:
                rows += [old] if new is None and old is not None else []
                continue
            of = (new or old or {}).get("event_id", "")
            made, life = lived(kept, told, event_id=of)
            # Who told it first, told what it is of.
            is_told = new is not None and made[0].cause in {event.cause for event in told}
            row = new if is_told or old is None else old
            if row is None:
                continue  # events of an alert that nobody knows
            number = max(made[-1].number, old["events"] if old is not None else 0)
            rows.append(
                {
                    **row,
                    "status": life.standing.value,
                    "withdrawn": life.withdrawn,
                    "repeats": life.repeats,
                    "events": number,
                }
            )
            lives += [{"alert": id_, **asdict(event)} for event in made]
        await _insert(connection, f"{self._anew}.alert", rows)
        await _insert(connection, f"{self._anew}.alert_event", lives)
        return sum(id_ not in alerts[self._anew] for id_ in ids)

    def _both(self) -> tuple[str, str]:
        return self._serving, self._anew


async def _alerts(
    connection: AsyncConnection, schema: str, ids: Sequence[str]
) -> dict[str, dict[str, Any]]:
    query = text(f"SELECT * FROM {schema}.alert WHERE id = ANY(:ids)")
    rows = await connection.execute(query, {"ids": list(ids)})
    return {row.id: dict(row._mapping) for row in rows}


async def _events(
    connection: AsyncConnection, schema: str, ids: Sequence[str]
) -> dict[str, list[LifeEvent]]:
    query = text(
        f"SELECT * FROM {schema}.alert_event WHERE alert = ANY(:ids) ORDER BY alert, number"
    )
    found: dict[str, list[LifeEvent]] = {}
    for row in await connection.execute(query, {"ids": list(ids)}):
        told = dict(row._mapping)
        event = LifeEvent(
            **{name: told[name] for name in ("number", "at", "cause", "who", "note")},
            step=AlertStep(row.step),
            status=AlertStanding(row.status),
        )
        found.setdefault(row.alert, []).append(event)
    return found


async def _insert(connection: AsyncConnection, table: str, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        names = ", ".join(rows[0])
        values = ", ".join(f":{name}" for name in rows[0])
        await connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), rows)


async def _counts(connection: AsyncConnection, schema: str) -> dict[str, int]:
    counted = ", ".join(f"(SELECT count(*) FROM {schema}.{table}) AS {table}" for table in TABLES)
    row = (await connection.execute(text(f"SELECT {counted}"))).one()
    return dict(row._mapping)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


_NOT_OURS = (
    "the tables beside those that serve are not as this rebuild left them: PostgreSQL was killed"
    " meanwhile, or another rebuild began since: run it again"
)

#: Of a table, and of what PostgreSQL keeps of its long values beside it.
_OPTIONS = text(
    """
    SELECT unnest(reloptions) FROM pg_class WHERE oid = CAST(:old AS regclass)
    UNION ALL SELECT 'toast.' || unnest(beside.reloptions) FROM pg_class c
    JOIN pg_class beside ON beside.oid = c.reltoastrelid WHERE c.oid = CAST(:old AS regclass)
    """
)

#: Units may have been missing where a sweep looked at them, or have been otherwise.
_SWEEP_AGAIN = text(
    "DELETE FROM recall_sweep USING recall"
    " WHERE recall.id = recall_sweep.recall AND recall.document ->> 'status' = 'active'"
)

#: Whoever was let at a table besides its owner.
_GRANTS = text(
    """
    SELECT CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END AS grantee,
        a.privilege_type, a.is_grantable, a.of_column
    FROM pg_class c, LATERAL (
        SELECT *, NULL AS of_column FROM aclexplode(c.relacl)
        UNION ALL SELECT told.*, attname FROM pg_attribute, aclexplode(attacl) told
            WHERE attrelid = c.oid
    ) a
    WHERE c.oid = CAST(:old AS regclass) AND a.grantee <> c.relowner
    """
)

_OTHER_OWNER = text(
    """
    SELECT pg_get_userbyid(o.relowner) FROM pg_class o, pg_class n
    WHERE o.oid = CAST(:old AS regclass) AND n.oid = CAST(:new AS regclass)
    AND o.relowner <> n.relowner
    """
)
