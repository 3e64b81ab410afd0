"""What people entered since the dump of which PostgreSQL alone was restored, as Kafka still has it.

In one transaction, entity by entity, where Kafka has a later version than PostgreSQL: the row is as
its record says, with its version. Died before the end: nothing happened. What the dump's outbox
has of such an entity is older, and leaves no more. A recall becomes a version that all have yet to
sweep: who swept it before was known to what was lost. A hold of which Kafka tells nothing at all
may have been taken back or not: it is put again, and a person, or its recall, lets it go. Of what
the desk stated of recalls the rows come back, or nothing would ever withdraw it.

Orders, people, claims and the rest of what the api keeps are in no topic, or not whole.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Table, delete, func, insert, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from scantrail.api.auditing import COMMAND_LINE, add_rows, by_command
from scantrail.api.changes import Change
from scantrail.api.findings import left_open_scope, recalled_scope
from scantrail.api.identifiers import joined_by_readers
from scantrail.api.outbox import RELAY_LOCK, Outbox
from scantrail.api.preconditions import Precondition
from scantrail.api.recall_store import lock_recall, store_recall
from scantrail.contracts import records
from scantrail.contracts.printed import Forms, other_forms
from scantrail.contracts.records import Codec, UnreadableRecord, encode
from scantrail.contracts.topics import Topic
from scantrail.domain.finding import Finding, FindingKind, FindingStatus
from scantrail.domain.hold import Hold
from scantrail.domain.product import Product, policies_of
from scantrail.domain.recall import Recall, SelectorKind
from scantrail.domain.unit_ids import Identifier, join_id
from scantrail.infra import tables
from scantrail.infra.database import connect_database
from scantrail.infra.kafka import Mirror
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import name_of


class _Kind(NamedTuple):
    """How entities are read and kept, and what the audit calls them."""

    codec: Codec[Any]
    table: Table
    entity: str


#: In this order: what a recall means depends on products.
_KINDS: Final[Mapping[Topic, _Kind]] = {
    Topic.STATIONS: _Kind(records.stations, tables.station, "station"),
    Topic.PRODUCTS: _Kind(records.products, tables.product, "product"),
    Topic.ALERT_POLICIES: _Kind(records.alert_policies, tables.alert_policy, "alert_policy"),
    Topic.IDENTIFIERS: _Kind(records.identifiers, tables.identifier, "identifier"),
    Topic.HOLDS: _Kind(records.holds, tables.hold, "hold"),
    Topic.RECALLS: _Kind(records.recalls, tables.recall, "recall"),
}

#: What the desk states of recalls, and under which scope; of others whoever watches states it anew.
_SCOPES: Final[Mapping[FindingKind, Callable[[Finding], str]]] = {
    FindingKind.RECALLED_ALREADY_SHIPPED: lambda finding: recalled_scope(finding.unit or ""),
    FindingKind.RECALL_UNDECIDED: lambda finding: left_open_scope(finding.recall or ""),
}

_ROWS_AT_ONCE: Final = 1_000


class CannotTakeOver(Exception):
    """The text says why, and the mend."""


@dataclass(frozen=True, slots=True)
class TakenOver:
    """The keys that were taken over, by topic, and the records that cannot be read, with why.
    `held_again` are units of which Kafka tells no hold."""

    keys: dict[Topic, list[str]] = field(default_factory=dict)
    held_again: list[str] = field(default_factory=list)
    unreadable: list[tuple[Topic, str, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Told:
    """What a topic tells: the last entity by key, None where it is gone, and that of the highest
    version; of links every one that is still there, in their order."""

    last: dict[str, Any] = field(default_factory=dict)
    highest: dict[str, Any] = field(default_factory=dict)
    links: dict[str, list[Identifier]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)


async def take_over(settings: Settings, say: Callable[[str], None]) -> TakenOver:
    """Take over what Kafka has of a later version; `say` is told of progress, a line each time.

    Waits for Kafka. Raises CannotTakeOver while an api sends what its outbox has.
    """
    told = dict[Topic, _Told]()
    for topic, kind in _KINDS.items():
        told[topic] = await _read(settings, topic, kind.codec)
        say(f"{topic}: {len(told[topic].last):,} read")
    findings = await _read(settings, Topic.FINDINGS, records.findings)
    say(f"{Topic.FINDINGS}: {len(findings.last):,} read")
    engine = connect_database(settings, statement_timeout_s=0)
    done = TakenOver()
    try:
        async with engine.begin() as connection:
            lock = text("SELECT pg_try_advisory_xact_lock(:lock)")
            if not (await connection.execute(lock, {"lock": RELAY_LOCK})).scalar_one():
                raise CannotTakeOver(
                    "an api sends what PostgreSQL has: stop all apis, run it again"
                )
            outbox = Outbox(settings, engine)
            change = Change(
                connection, outbox, COMMAND_LINE, Precondition(None, None, is_demanded=False)
            )
            for topic, each in told.items():
                work = _TakingOver(change, outbox, topic, name_of(settings, topic), each, done)
                await work.run()
            await _take_findings(connection, name_of(settings, Topic.FINDINGS), findings, done)
            await add_rows(connection, by_command("db take-over"), change.noted)
    finally:
        await engine.dispose()
    return done


async def _read(settings: Settings, topic: Topic, codec: Codec[Any]) -> _Told:
    """All that `topic` has now."""
    told = _Told()

    def take(key: str, value: bytes | None) -> None:
        told.unreadable.pop(key, None)
        try:
            entity = None if value is None else codec.decode(value)
        except UnreadableRecord as error:
            told.unreadable[key] = str(error)
            told.last.pop(key, None)
            told.highest.pop(key, None)
            return
        told.last[key] = entity
        if entity is None or topic is Topic.FINDINGS:
            return
        if key not in told.highest or told.highest[key].version <= entity.version:
            told.highest[key] = entity
        if isinstance(entity, Identifier):
            told.links.setdefault(key, []).append(entity)

    mirror = Mirror(settings, topic, take)
    try:
        await mirror.start()
    finally:
        await mirror.stop()
    return told


@dataclass(slots=True)
class _TakingOver:
    """One topic, in the transaction of `change`."""

    change: Change
    outbox: Outbox
    topic: Topic
    name: str
    told: _Told
    done: TakenOver

    async def run(self) -> None:
        connection, (_, table, kind) = self.change.connection, _KINDS[self.topic]
        self.done.unreadable.extend(
            (self.topic, key, why) for key, why in sorted(self.told.unreadable.items())
        )
        rows = await connection.execute(select(table.c.id, table.c.version).with_for_update())
        known = {row.id: row.version for row in rows}
        later = {
            key: entity
            for key, entity in self.told.highest.items()
            if self.told.last[key] is not None and entity.version > known.get(key, 0)
        }
        sent = [
            key
            for key, entity in self.told.highest.items()
            if key in later or (entity is self.told.last[key] and entity.version == known.get(key))
        ]
        await _drop_waiting(connection, self.name, sent)
        gone = await self._gone(known) if self.topic is Topic.HOLDS else []
        if keys := sorted({*later, *(hold.id for hold in gone)}):
            self.done.keys[self.topic] = keys
        for key, entity in sorted(later.items()):
            if isinstance(entity, Recall):
                await self._take_recall(entity)
            elif isinstance(entity, Product):
                await self._add_policies(entity)
            if not isinstance(entity, Recall | Hold):
                old = known.get(key, 0)
                self.change.note(kind, key, old=old, new=entity.version)
        entities = [each for each in (*later.values(), *gone) if not isinstance(each, Recall)]
        await self._put([await self._row(each) for each in entities])
        # An api that ran before this sent an older version after the newer one.
        again = [
            (key, encode(entity))
            for key, entity in later.items()
            if entity is not self.told.last[key] and not isinstance(entity, Recall)
        ]
        await self.outbox.add_all(connection, self.topic, again)

    async def _gone(self, known: Mapping[str, int]) -> list[Hold]:
        """The holds that the rows have, as they are to be, of which Kafka says that they are gone;
        and those of which it says nothing, which are put again. Whatever waits to leave stays."""
        waiting = await self.outbox.waiting(self.change.connection, self.topic)
        missing = [
            key
            for key in known
            if self.told.last.get(key) is None
            and key not in self.told.unreadable
            and key not in waiting
        ]
        query = select(tables.hold.c.document).where(tables.hold.c.id == func.any(missing))
        found = await self.change.connection.scalars(query)
        holds = [msgspec.convert(document, Hold) for document in found]
        holding = [hold for hold in holds if hold.reasons or hold.cleared]
        again = [
            replace(hold, version=known[hold.id] + 1)
            for hold in holding
            if hold.id not in self.told.last
        ]
        records = [(hold.id, encode(hold)) for hold in again]
        await self.outbox.add_all(self.change.connection, Topic.HOLDS, records)
        self.done.held_again.extend(sorted(hold.id for hold in again if hold.reasons))
        nothing = [
            Hold(id=hold.id, reasons=(), version=known[hold.id] + 1)
            for hold in holding
            if hold.id in self.told.last
        ]
        return [*again, *nothing]

    async def _take_recall(self, recall: Recall) -> None:
        await lock_recall(self.change.connection, recall.id)
        listed = await asyncio.to_thread(as_entered, recall)
        note = "taken over from Kafka, since PostgreSQL was restored"
        await store_recall(self.change, recall, recall.version, note=note, listed=listed)

    async def _row(self, entity: Any) -> dict[str, Any]:
        if isinstance(entity, Identifier):
            return await self._link_row(entity)
        row = {
            "id": entity.id,
            "version": entity.version,
            "document": msgspec.to_builtins(entity),
        }
        return row | ({"fold_case": entity.fold_case} if isinstance(entity, Product) else {})

    async def _put(self, rows: Sequence[dict[str, Any]]) -> None:
        table = _KINDS[self.topic].table
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            some = upsert(table)
            names = [name for name in rows[first] if name != "id"]
            written = some.on_conflict_do_update(
                index_elements=[table.c.id], set_={name: some.excluded[name] for name in names}
            )
            await self.change.connection.execute(written, rows[first : first + _ROWS_AT_ONCE])

    async def _link_row(self, newest: Identifier) -> dict[str, Any]:
        """The tracker goes by the first scan that told it of the link, until it was taken back."""
        query = select(tables.identifier).where(tables.identifier.c.id == newest.id)
        known = (await self.change.connection.execute(query)).first()
        if known is None:
            readers = await joined_by_readers(self.change.connection, [newest.id])
            told_by = readers.get(newest.id)
        else:
            told_by = known.joined_by
        for link in sorted(self.told.links[newest.id], key=lambda each: each.version):
            if known is None or link.version > known.version:
                is_link = link.unit != link.id
                told_by = told_by or join_id(link.id, link.unit, link.version)
                told_by = told_by if is_link else None
        return {
            "id": newest.id,
            "unit": newest.unit,
            "version": newest.version,
            "linked_at": newest.linked_at,
            "joined_by": told_by,
        }

    async def _add_policies(self, product: Product) -> None:
        """What was decided since of a product: each decision made a version of it."""
        query = select(tables.product.c.document).where(tables.product.c.id == product.id)
        document = (await self.change.connection.execute(query)).scalar()
        known = msgspec.convert(document, Product) if document else None
        before = () if known is None else policies_of(known)
        new = [each for each in policies_of(product) if each not in before]
        for version, policy in enumerate(new, product.version - len(new) + 1):
            row = {
                "product": product.id,
                "version": version,
                "valid_from": policy.valid_from,
                "entered_at": func.now(),
                "document": msgspec.to_builtins(policy),
            }
            await self.change.connection.execute(insert(tables.product_policy).values(**row))


async def _take_findings(
    connection: AsyncConnection, name: str, told: _Told, done: TakenOver
) -> None:
    """Let rows say what was last told of each finding that recalls made."""
    done.unreadable.extend(
        (Topic.FINDINGS, key, why) for key, why in sorted(told.unreadable.items())
    )
    table = tables.desk_finding
    await _drop_waiting(connection, name, sorted(told.last))
    known = set((await connection.execute(select(table.c.id))).scalars())
    withdrawn = [
        key for key in known & told.last.keys() if told.last[key].status is FindingStatus.WITHDRAWN
    ]
    await connection.execute(delete(table).where(table.c.id == func.any(withdrawn)))
    stated = [
        {"id": key, "scope": _SCOPES[each.kind](each), "document": msgspec.to_builtins(each)}
        for key, each in told.last.items()
        if key not in known and each.status is FindingStatus.STATED and each.kind in _SCOPES
    ]
    if stated:
        await connection.execute(insert(table), stated)
    if keys := sorted([*withdrawn, *(row["id"] for row in stated)]):
        done.keys[Topic.FINDINGS] = keys


async def _drop_waiting(connection: AsyncConnection, name: str, keys: Sequence[str]) -> None:
    """What waits to leave of these: it left before, or something newer did."""
    waiting = tables.outbox
    await connection.execute(
        delete(waiting).where(waiting.c.topic == name, waiting.c.key == func.any(list(keys)))
    )


def as_entered(recall: Recall) -> dict[str, Forms]:
    """The serials that a recall lists, of which its record has every form: each with its others,
    in capitals too."""
    every = dict.fromkeys(
        serial
        for selector in recall.selectors
        if selector.kind == SelectorKind.LIST
        for serial in selector.serials
    )
    listed = dict[str, Forms]()
    others = set[str]()
    for serial in every:
        if serial not in others:
            listed[serial] = _forms_among(every, serial)
            others.update(listed[serial])
    return {serial: forms for serial, forms in listed.items() if serial not in others}


def _forms_among(every: Mapping[str, None], serial: str) -> Forms:
    """The forms of a serial, and theirs, as far as they are listed."""
    found = dict.fromkeys([serial])
    left = [serial]
    while left:
        each = left.pop()
        for form in (*other_forms(each), each.upper()):
            if form in every and form not in found:
                found[form] = None
                left.append(form)
    return tuple(found)[1:]
