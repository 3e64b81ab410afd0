"""`scantrail check`: what the tracker, its changelog and the database say of each unit, compared.

Lag is no difference. The changelog is read first; then the projector is waited for, up to where
`movements` ended after that: what the changelog tells was in `movements` before. Whatever differs
then is looked at again, on both sides, until nothing of it moves.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from scantrail.api.auditing import verify
from scantrail.cli.compared import (
    DIFFERENCES_MAX,
    Difference,
    has_row,
    history_differences,
    keep_told,
    movement_differences,
    unit_differences,
    version_in,
)
from scantrail.cli.tracked import Changelog, store_differences
from scantrail.contracts.records import UnreadableRecord, movements
from scantrail.contracts.topics import Topic
from scantrail.infra.credentials import kafka_access
from scantrail.infra.database import connect_database
from scantrail.infra.kafka import connect_consumer, until_partitions_fit
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import name_of, partitions_of
from scantrail.projector.rows import Row, Rows, add_records
from scantrail.projector.writing import TOPICS, stored_offsets
from scantrail.tracker.stores import StoreUnreadable, opened_store, store_folders

CHECK_HELP = """\
Compare, unit by unit, what the tracker keeps (its changelog, and its stores where they are on this
machine), and what the database has: version, place, phase, parent, joined, hold. In the database,
that each unit's history has each version and each event once, and that the audit chain verifies.

Each difference is one line, with what mends it. The exit status is 1 where there is any, and 0
with a count of what was compared where there is none. Everything may run, and scans may come: a
projector that is behind is waited for.
"""

REBUILD = "scantrail db rebuild"

_SEE_REFUSED = "scantrail rejected list --reason refused_by_database"

#: So long nothing moves before the projector is said to stand still, and the tracker, whose batches
#: are larger.
STILL_S_MAX = 15.0
TRACKER_STILL_S_MAX = 60.0

_PROGRESS_EVERY_S = 2.0
_AGAIN_S = 0.3


class CannotCheck(Exception):
    """The text says what is missing, and the mend."""


@dataclass(slots=True)
class Checked:
    """What came of it: a line for each difference, and counts of what was compared."""

    differences: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def told(self) -> str:
        """What to print: differences first."""
        compared = ", ".join(f"{count:,} {what}" for what, count in self.counts.items())
        if not self.differences:
            end = f"no differences: {compared} compared"
        else:
            known = len(self.differences)
            more = f"{known:,} or more" if known >= DIFFERENCES_MAX else f"{known:,}"
            end = f"{more} difference{'s' if known != 1 else ''}: {compared} compared"
        return "\n".join([*self.differences, *self.notes, end])


async def check(settings: Settings, say: Callable[[str], None], *, history: bool) -> Checked:
    """Compare; with `history` each movement of the topic too. Raises CannotCheck, and SettingsError
    where the topics are not those of the settings."""
    await until_partitions_fit(settings)
    engine = connect_database(settings, statement_timeout_s=0)
    consumer = await connect_consumer(settings)
    try:
        async with engine.connect() as connection:
            checking = _Check(settings, consumer, connection, say)
            await checking.read_changelog()
            await checking.compare_units()
            await checking.compare_history(whole=history)
        verifier, broken = await verify(engine)
        checking.done.counts["audit rows"] = verifier.rows
        if broken is not None:
            told = f"audit: row {broken.number} is broken: {broken.why}"
            checking.done.differences.append(f"{told}: restore the audit from a backup")
        return checking.done
    finally:
        await consumer.stop()
        await engine.dispose()


class _Check:
    """One check; `connection` keeps what the tracker told in tables of its own session."""

    def __init__(
        self,
        settings: Settings,
        consumer: AIOKafkaConsumer,
        connection: AsyncConnection,
        say: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        self._connection = connection
        self._say = say
        self._told_at = time.monotonic()
        self._changelog: dict[TopicPartition, Changelog] = {}
        self._projected: list[TopicPartition] = []
        self.done = Checked()

    async def read_changelog(self) -> None:
        """Read the whole of it, and hold the stores against it."""
        found = await partitions_of(self._settings, Topic.UNITS, *TOPICS)
        changelog = found.pop(Topic.UNITS)
        self._projected = [tp for some in found.values() for tp in some]
        self._consumer.assign(changelog)
        await self._consumer.seek_to_beginning(*changelog)
        folders = defaultdict(list)
        for partition, folder in store_folders(Path(self._settings.data_dir)):
            folders[partition].append(folder)
        if not folders:
            self.done.notes.append(
                f"no tracker's store is in {self._settings.data_dir}: the changelog stands for it"
            )
        await keep_told(self._connection, [])
        units = stored = 0
        for tp in changelog:
            self._changelog[tp] = part = Changelog(tp)
            await self._read_on(part)
            for folder in folders[tp.partition]:
                stored += await self._compare_store(folder, part)
            for unit, tracked in part.units.items():
                if tracked.fault is not None:
                    self._differs(unit, tracked.fault, f"scantrail refold {unit}")
            await keep_told(
                self._connection,
                (one.row for one in part.units.values() if one.row is not None),
            )
            units += len(part.units)
            self._tell(f"{units:,} units read from the changelog")
        self.done.counts |= {"units": units, "units in local stores": stored}

    async def _read_on(self, part: Changelog) -> set[str]:
        """Read a partition to where it ends now; the units of which anything was told."""
        end = (await self._consumer.end_offsets([part.partition]))[part.partition]
        return await part.read_on(self._consumer, end)

    async def _compare_store(self, folder: Path, part: Changelog) -> int:
        """How many units were compared."""
        mend = f"stop its tracker, remove {folder}, and start it"
        try:
            with opened_store(folder) as store:
                if store is None:
                    return 0
                await self._read_on(part)  # the store has nothing that the changelog has not
                for unit, what in store_differences(store, part.units):
                    self._differs(unit, what, mend)
                return sum(each.offset <= store.position for each in part.units.values())
        except StoreUnreadable as error:
            self.done.differences.append(str(error))
            return 0

    async def compare_units(self) -> None:
        """Hold each unit's row against its state."""
        found = await self._settled()
        if not found:
            return
        newest = await self._newest(found)
        refused = await self._refused()
        for each in found:
            row = newest.get(each.unit)
            mend = REBUILD
            if each.unit in refused:
                mend = _SEE_REFUSED
            elif row is not None and await has_row(self._connection, row):
                mend = f"scantrail refold {each.unit}"
            self._differs(each.unit, each.what, mend)

    async def _settled(self) -> list[Difference]:
        """What differs, and stays so when both sides were looked at again."""
        found: list[Difference] = []
        last: dict[str, object] | None = None
        still_since = time.monotonic()
        while True:
            await self._until_projected()
            units = None if last is None else list(last)
            found = await unit_differences(self._connection, units)
            seen = {each.unit: each.seen for each in found}
            changed = set[str]()
            is_tracking = False
            for part in self._changelog.values():
                all_told = await self._read_on(part)
                is_tracking = is_tracking or bool(all_told)
                told = all_told & seen.keys()
                rows = (part.units[unit].row for unit in told)
                await keep_told(self._connection, [row for row in rows if row is not None])
                changed |= told
            now = time.monotonic()
            if not found:
                return []
            is_ahead = any(each.is_ahead for each in found)
            if seen != last or changed or (is_ahead and is_tracking):
                still_since = now
            elif not is_ahead:
                return found
            elif now - still_since > TRACKER_STILL_S_MAX:
                await self._check_tracker()
                return found
            last = seen
            self._tell(f"{len(found):,} units are looked at again")
            await asyncio.sleep(_AGAIN_S)

    async def _until_projected(self) -> dict[TopicPartition, int]:
        """Wait until the database has all that is in its topics now; where they end. Raises
        CannotCheck where nobody brings it there."""
        ends: dict[TopicPartition, int] = await self._consumer.end_offsets(self._projected)
        still_since, last = time.monotonic(), -1
        while True:
            stored = await stored_offsets(self._connection)
            await self._connection.commit()
            behind = sum(max(end - stored.get(tp, 0), 0) for tp, end in ends.items())
            if not behind:
                return ends
            now = time.monotonic()
            if behind != last:
                last, still_since = behind, now
            if now - still_since > STILL_S_MAX:
                raise CannotCheck(
                    f"the projector is {behind:,} records behind and does not go on: is it running?"
                )
            self._tell(f"the projector is {behind:,} records behind: waiting for it")
            await asyncio.sleep(_AGAIN_S)

    async def _check_tracker(self) -> None:
        """Raises CannotCheck where the tracker has scans to fold and does not."""
        scans = (await partitions_of(self._settings, Topic.SCANS))[Topic.SCANS]
        ends = await self._consumer.end_offsets(scans)
        admin = AIOKafkaAdminClient(
            bootstrap_servers=self._settings.kafka_bootstrap, **kafka_access(self._settings)
        )
        await admin.start()
        try:
            group = f"{self._settings.topic_prefix}.tracker"
            done = await admin.list_consumer_group_offsets(group)
        finally:
            await admin.close()
        behind = sum(
            end - max(done[tp].offset, 0) if tp in done else end for tp, end in ends.items()
        )
        if behind:
            raise CannotCheck(
                f"the tracker is {behind:,} scans behind and does not go on: is it running?"
            )

    async def compare_history(self, *, whole: bool) -> None:
        """Hold the movements of each unit against its version, and, where it is wished, each one
        against its record."""
        refused = await self._refused()
        for each in await history_differences(self._connection):
            self._differs(each.unit, each.what, _SEE_REFUSED if each.unit in refused else REBUILD)
        query = text("SELECT count(*) FROM movement")
        self.done.counts["movements"] = (await self._connection.execute(query)).scalar_one()
        query = text("SELECT sum(scans) FROM movement_removed")
        if removed := (await self._connection.execute(query)).scalar_one():
            self.done.notes.append(
                f"of the history {removed:,} scans were removed (SCANTRAIL_HISTORY_MONTHS):"
                " they are counted, and not compared"
            )
        await self._connection.commit()
        if whole:
            self.done.counts["records of movements"] = await self._compare_records(refused)

    async def _compare_records(self, refused: Collection[str]) -> int:
        compared = 0
        async for rows, count in self._movements(lambda record: True):
            for each in await movement_differences(self._connection, list(rows.movements.values())):
                self._differs(
                    each.unit, each.what, _SEE_REFUSED if each.unit in refused else REBUILD
                )
            compared += count
            self._tell(f"{compared:,} movements compared with the topic")
        return compared

    async def _newest(self, found: Iterable[Difference]) -> dict[str, Row]:
        """The rows of these units by the last movements that the topic has of them."""
        wanted = {each.unit.encode() for each in found}
        newest: dict[str, Row] = {}
        async for rows, _ in self._movements(lambda record: record.key in wanted):
            for unit, row in rows.units.items():
                if unit not in newest or version_in(newest[unit]) < version_in(row):
                    newest[unit] = row
        return newest

    async def _movements(
        self, is_wanted: Callable[[ConsumerRecord], bool]
    ) -> AsyncIterator[tuple[Rows, int]]:
        """The rows of the topic's movements, some at a time, and of how many records they are: up
        to where the database is."""
        ends = await self._until_projected()
        name = name_of(self._settings, Topic.MOVEMENTS)
        ends = {tp: end for tp, end in ends.items() if tp.topic == name}
        reader = await connect_consumer(self._settings)
        try:
            reader.assign(list(ends))
            await reader.seek_to_beginning(*ends)
            while behind := [tp for tp, end in ends.items() if await reader.position(tp) < end]:
                for tp, records in (await reader.getmany(*behind, timeout_ms=500)).items():
                    # what came since may not be in the database yet
                    known = (record for record in records if record.offset < ends[tp])
                    wanted = [record for record in known if is_wanted(record)]
                    rows = Rows()
                    add_records(rows, Topic.MOVEMENTS, wanted)
                    yield rows, len(wanted)
                self._tell("reading the movements of what differs")
        finally:
            await reader.stop()

    async def _refused(self) -> set[str]:
        """Units of which PostgreSQL refuses a movement: no rebuild brings it in."""
        query = text("SELECT payload FROM rejected WHERE reason = 'refused_by_database'")
        payloads = (await self._connection.execute(query)).scalars().all()
        await self._connection.commit()
        found = set()
        for payload in payloads:
            with contextlib.suppress(UnreadableRecord):
                found.add(movements.decode(payload).unit)
        return found

    def _differs(self, unit: str, what: str, mend: str) -> None:
        if len(self.done.differences) < DIFFERENCES_MAX:
            self.done.differences.append(f"{unit}: {what}: {mend}")

    def _tell(self, told: str) -> None:
        now = time.monotonic()
        if now - self._told_at >= _PROGRESS_EVERY_S:
            self._told_at = now
            self._say(told)
