"""What people entered since the dump of which PostgreSQL alone was restored, as Kafka still has it.

In one transaction, entity by entity, where Kafka has a later version than PostgreSQL: the row is as
its record says, with its version. Died before the end: nothing happened. What the dump's outbox
has of such an entity is older, and leaves no more. A recall that is watched for becomes a version
that all have yet to sweep: who swept it before was known to what was lost.

Orders, people, claims and the rest of what the api keeps are in no topic, or not whole.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

import msgspec
from sqlalchemy import Table, delete, func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.access import Caller, Role
from scantrail.api.auditing import MadeBy, add_rows
from scantrail.api.changes import Change
from scantrail.api.outbox import Outbox
from scantrail.api.preconditions import Precondition
from scantrail.api.recall_store import lock_recall, store_recall
from scantrail.contracts import records
from scantrail.contracts.printed import Forms, other_forms
from scantrail.contracts.records import Codec, UnreadableRecord
from scantrail.contracts.topics import Topic
from scantrail.domain.hold import Hold
from scantrail.domain.product import Product, policy_of
from scantrail.domain.recall import Recall, SelectorKind
from scantrail.domain.unit_ids import Identifier, join_id
from scantrail.infra import tables
from scantrail.infra.database import connect_database
from scantrail.infra.kafka import Mirror
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import name_of

#: In this order: what a recall means depends on products.
_CODECS: Final[Mapping[Topic, Codec[Any]]] = {
    Topic.STATIONS: records.stations,
    Topic.PRODUCTS: records.products,
    Topic.ALERT_POLICIES: records.alert_policies,
    Topic.IDENTIFIERS: records.identifiers,
    Topic.HOLDS: records.holds,
    Topic.RECALLS: records.recalls,
}

_TABLES: Final[Mapping[Topic, Table]] = {
    Topic.STATIONS: tables.station,
    Topic.PRODUCTS: tables.product,
    Topic.ALERT_POLICIES: tables.alert_policy,
    Topic.IDENTIFIERS: tables.identifier,
    Topic.HOLDS: tables.hold,
    Topic.RECALLS: tables.recall,
}

_ENTITIES: Final[Mapping[Topic, str]] = {
    Topic.STATIONS: "station",
    Topic.PRODUCTS: "product",
    Topic.ALERT_POLICIES: "alert_policy",
    Topic.IDENTIFIERS: "identifier",
    Topic.HOLDS: "hold",
    Topic.RECALLS: "recall",
}

_WHO: Final = Caller(id="command line", role=Role.ADMIN)
_COMMAND: Final = "db take-over"


@dataclass(frozen=True, slots=True)
class TakenOver:
    """The keys that were taken over, by topic, and the records that cannot be read, with why."""

    keys: dict[Topic, list[str]] = field(default_factory=dict)
    unreadable: list[tuple[Topic, str, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Told:
    """What a topic tells: the newest entity by key, None where it is gone; of links all that are
    still there, for which scan told the tracker is seen by those before."""

    newest: dict[str, Any] = field(default_factory=dict)
    links: dict[str, list[Identifier]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)


async def take_over(settings: Settings) -> TakenOver:
    """Take over what Kafka has of a later version. Waits for Kafka."""
    told = {topic: await _read(settings, topic, codec) for topic, codec in _CODECS.items()}
    engine = connect_database(settings, statement_timeout_s=0)
    try:
        return await _write(Outbox(settings, engine), engine, settings, told)
    finally:
        await engine.dispose()


async def _write(
    outbox: Outbox, engine: AsyncEngine, settings: Settings, told: Mapping[Topic, _Told]
) -> TakenOver:
    done = TakenOver()
    async with engine.begin() as connection:
        change = Change(connection, outbox, _WHO, Precondition(None, None, is_demanded=False))
        for topic, each in told.items():
            done.unreadable.extend((topic, key, why) for key, why in each.unreadable.items())
            later = await _later(connection, outbox, topic, each.newest)
            if not later:
                continue
            name = name_of(settings, topic)
            waiting = tables.outbox
            await connection.execute(
                delete(waiting).where(
                    waiting.c.topic == name, waiting.c.key == func.any(sorted(later))
                )
            )
            for key, (version, entity) in sorted(later.items()):
                await _take(change, topic, entity, version, each.links.get(key, ()))
            done.keys[topic] = sorted(later)
        made_by = MadeBy(
            who=_WHO.id,
            role=_WHO.role.value,
            method="COMMAND",
            route=f"scantrail {_COMMAND}",
            request_sha256=sha256(_COMMAND.encode()).hexdigest(),
        )
        await add_rows(connection, made_by, change.noted)
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
            told.newest.pop(key, None)
            return
        told.newest[key] = entity
        if isinstance(entity, Identifier):
            told.links.setdefault(key, []).append(entity)

    mirror = Mirror(settings, topic, take)
    try:
        await mirror.start()
    finally:
        await mirror.stop()
    return told


async def _later(
    connection: AsyncConnection, outbox: Outbox, topic: Topic, newest: Mapping[str, Any]
) -> dict[str, tuple[int, Any]]:
    """The entities of which Kafka has a later version than the rows, with the version of these, 0
    where there is none. Of what is gone in Kafka no version is told: a hold that the rows have, and
    of which nothing waits to leave, was taken back since."""
    table = _TABLES[topic]
    known = {
        row.id: row.version
        for row in await connection.execute(select(table.c.id, table.c.version).with_for_update())
    }
    later = {
        key: (known.get(key, 0), entity)
        for key, entity in newest.items()
        if entity is not None and entity.version > known.get(key, 0)
    }
    if topic is Topic.HOLDS:
        gone = {key for key, hold in newest.items() if hold is None and key in known}
        query = select(table.c.document).where(table.c.id == func.any(sorted(gone)))
        held = [msgspec.convert(each, Hold) for each in await connection.scalars(query)]
        waiting = await outbox.waiting(connection, topic)
        for hold in held:
            if (hold.reasons or hold.cleared) and hold.id not in waiting:
                nothing = Hold(id=hold.id, reasons=(), version=known[hold.id] + 1)
                later[hold.id] = (known[hold.id], nothing)
    return later


async def _take(
    change: Change, topic: Topic, entity: Any, old: int, links: Iterable[Identifier]
) -> None:
    if isinstance(entity, Recall):
        await lock_recall(change.connection, entity.id)
        listed = await asyncio.to_thread(_as_entered, entity)
        note = "taken over from Kafka, since PostgreSQL was restored"
        await store_recall(change, entity, entity.version, note=note, listed=listed)
        return
    if isinstance(entity, Identifier):
        values = await _link_row(change.connection, entity, links)
    else:
        values = {"version": entity.version, "document": msgspec.to_builtins(entity)}
    if isinstance(entity, Product):
        values["fold_case"] = entity.fold_case
        await _add_policies(change.connection, entity)
    table = _TABLES[topic]
    row = upsert(table).values(id=entity.id, **values)
    await change.connection.execute(
        row.on_conflict_do_update(index_elements=[table.c.id], set_=values)
    )
    change.note(_ENTITIES[topic], entity.id, old=old, new=entity.version)


async def _link_row(
    connection: AsyncConnection, newest: Identifier, links: Iterable[Identifier]
) -> dict[str, Any]:
    """A link's columns; the tracker goes by the first scan that told it of the link, until it was
    taken back."""
    query = select(tables.identifier).where(tables.identifier.c.id == newest.id)
    known = (await connection.execute(query)).first()
    told_by = None if known is None else known.joined_by
    for link in sorted(links, key=lambda each: each.version):
        if known is not None and link.version <= known.version:
            continue
        is_link = link.unit != link.id
        told_by = (told_by or join_id(link.id, link.unit, link.version)) if is_link else None
    return {
        "unit": newest.unit,
        "version": newest.version,
        "linked_at": newest.linked_at,
        "joined_by": told_by,
    }


async def _add_policies(connection: AsyncConnection, product: Product) -> None:
    """What was decided since of a product: each decision made a version of it."""
    query = select(tables.product.c.document).where(tables.product.c.id == product.id)
    document = (await connection.execute(query)).scalar()
    known = msgspec.convert(document, Product) if document else None
    before = () if known is None else known.policies or (policy_of(known),)
    new = [each for each in product.policies or (policy_of(product),) if each not in before]
    first = product.version - len(new) + 1
    for version, policy in enumerate(new, first):
        await connection.execute(
            insert(tables.product_policy).values(
                product=product.id,
                version=version,
                valid_from=policy.valid_from,
                entered_at=func.now(),
                document=msgspec.to_builtins(policy),
            )
        )


def _as_entered(recall: Recall) -> dict[str, Forms]:
    """The serials that a recall lists, of which its record has every form: each with its others."""
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
            forms = tuple(form for form in other_forms(serial) if form in every)
            listed[serial] = forms
            others.update(forms)
    return {serial: forms for serial, forms in listed.items() if serial not in others}
