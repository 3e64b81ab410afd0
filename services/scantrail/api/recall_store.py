"""Recalls in PostgreSQL: the whole of each in `document`, its listed serials row by row, and what
every version said."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Text, cast, delete, func, insert, literal, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from scantrail.api.changes import Change
from scantrail.api.folding import folded_recall
from scantrail.api.problems import Problem
from scantrail.contracts.notices import told_of
from scantrail.contracts.printed import Forms
from scantrail.contracts.records import encode, recalls
from scantrail.contracts.topics import Topic
from scantrail.domain.recall import Recall, RecallStatus
from scantrail.infra.kafka import RECORD_BYTES_MAX
from scantrail.infra.tables import recall as recalls_table
from scantrail.infra.tables import recall_serial, recall_unit, recall_version

#: Bytes of a recall's record; Kafka wants some of what it takes for itself.
RECALL_BYTES_MAX = RECORD_BYTES_MAX - (1 << 16)

#: A million serials take their time.
STORE_S_MAX = 60

_ROWS_AT_ONCE = 5_000


async def lock_recall(connection: AsyncConnection, recall_id: str) -> int:
    """Keep others from changing a recall until the transaction ends; its version, 0 where it is
    new: then it is stored, or the transaction is given up."""
    new = upsert(recalls_table).values(id=recall_id, version=0, document={})
    await connection.execute(new.on_conflict_do_nothing())
    query = select(recalls_table.c.version).where(recalls_table.c.id == recall_id)
    version: int = (await connection.execute(query.with_for_update())).scalar_one()
    return version


async def load_recall(connection: AsyncConnection, recall_id: str) -> Recall:
    """A recall with all its serials. Raises Problem 404."""
    query = select(cast(recalls_table.c.document, Text)).where(
        recalls_table.c.id == recall_id, recalls_table.c.version > 0
    )
    document: str | None = (await connection.execute(query)).scalar()
    if document is None:
        raise unknown(recall_id)
    return await asyncio.to_thread(recalls.decode, document.encode())


async def store_recall(
    change: Change,
    recall: Recall,
    old: int,
    *,
    note: str | None,
    listed: Mapping[str, Forms] | None = None,
) -> dict[str, Any]:
    """Write and publish the version behind `old`, which has yet to be swept; as it is told.

    `listed` are its serials with their other forms; None: as they are. A draft that names nothing
    yet is not published. Raises Problem 413 for one that Kafka would not take.
    """
    connection = change.connection
    stored = replace(recall, version=old + 1, is_swept=False)
    folded = await folded_recall(connection, stored)
    if folded is not stored:  # of what was told before, some is there already
        stored = replace(stored, selectors=tuple(dict.fromkeys(folded.selectors)))
        listed = listed and {serial: _folded(serial, forms) for serial, forms in listed.items()}
    value, summary = await asyncio.to_thread(_made, stored)
    await connection.execute(text(f"SET LOCAL statement_timeout = '{STORE_S_MAX}s'"))
    if listed is not None:
        await _replace_serials(connection, stored.id, listed)
    summary["serials"] = await _count_serials(connection, stored.id)
    await connection.execute(
        update(recalls_table)
        .where(recalls_table.c.id == stored.id)
        .values(
            version=stored.version,
            document=cast(literal(value.decode(), Text), JSONB),
            summary=summary,
        )
    )
    await connection.execute(
        insert(recall_version).values(
            recall=stored.id,
            version=stored.version,
            status=stored.status.value,
            at=datetime.now(UTC),
            who=change.caller.id,
            note=note,
            document=without_lists(summary),
        )
    )
    change.note("recall", stored.id, old=old, new=stored.version)
    if stored.selectors:
        await change.publish(Topic.RECALLS, stored.id, value)
    return {**summary, "published": False}  # which an answer tells anew of what is published


def summary_of(recall: Recall) -> dict[str, Any]:
    """A recall as it is told, of a list its beginning."""
    told: dict[str, Any] = msgspec.to_builtins(replace(recall, selectors=()))
    told["selectors"] = [told_of(selector) for selector in recall.selectors]
    told["serials"] = sum(len(selector.serials) for selector in recall.selectors)
    return told


def told_summary(row: Any) -> dict[str, Any]:
    """The same of a row, which may be of a time when none was kept; as it was swept since."""
    summary: dict[str, Any] | None = row.summary
    if summary is None:
        summary = summary_of(msgspec.convert(row.document, Recall))
    return {**summary, "is_swept": row.is_swept == "true"}


def without_lists(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A summary whose lists are told by their number alone."""
    clauses = [
        {name: value for name, value in clause.items() if name not in ("serials", "lots")}
        if clause["kind"] in ("list", "lot")
        else clause
        for clause in summary["selectors"]
    ]
    return {**summary, "selectors": clauses}


async def active_since(connection: AsyncConnection, recall_id: str) -> datetime | None:
    """When a recall first became active; None where it never was."""
    query = select(func.min(recall_version.c.at)).where(
        recall_version.c.recall == recall_id,
        recall_version.c.status == RecallStatus.ACTIVE.value,
    )
    found: datetime | None = (await connection.execute(query)).scalar()
    return found


def short_part(name: str) -> Any:
    """A part of a recall that is short: out of the summary, where there is one."""
    table = recalls_table
    return func.coalesce(table.c.summary[name], table.c.document[name], type_=JSONB)


async def products_of(connection: AsyncConnection, recall_id: str) -> list[str]:
    """The products that a recall names. Raises Problem 404."""
    query = select(short_part("products")).where(
        recalls_table.c.id == recall_id, recalls_table.c.version > 0
    )
    row = (await connection.execute(query)).first()
    if row is None:
        raise unknown(recall_id)
    return list(row[0] or ())


def unknown(recall_id: str) -> Problem:
    """404."""
    return Problem(404, "Not found", f"there is no recall {recall_id!r}")


def _folded(serial: str, forms: Forms) -> Forms:
    capitals = (each.upper() for each in (serial, *forms))
    return tuple(dict.fromkeys((*forms, *(each for each in capitals if each != serial))))


def _made(recall: Recall) -> tuple[bytes, dict[str, Any]]:
    """Its record and its summary; of a million serials they take a second."""
    value = encode(recall)
    if len(value) > RECALL_BYTES_MAX:
        raise Problem(
            413,
            "Too large",
            f"{len(value)} bytes, at most {RECALL_BYTES_MAX}: make two recalls of it",
        )
    return value, summary_of(recall)


async def _count_serials(connection: AsyncConnection, recall_id: str) -> int:
    query = select(func.count()).where(recall_serial.c.recall == recall_id)
    return int((await connection.execute(query)).scalar_one())


async def _replace_serials(
    connection: AsyncConnection, recall_id: str, listed: Mapping[str, Forms]
) -> None:
    await connection.execute(delete(recall_serial).where(recall_serial.c.recall == recall_id))
    driver: Any = (await connection.get_raw_connection()).driver_connection
    async with (
        driver.cursor() as cursor,
        cursor.copy("COPY recall_serial (recall, serial, forms) FROM STDIN") as copy,
    ):
        for number, (serial, forms) in enumerate(sorted(listed.items())):
            await copy.write_row((recall_id, serial, list(forms) or None))
            if number % _ROWS_AT_ONCE == 0:
                await asyncio.sleep(0)  # others have their turn


async def mark_for_look(connection: AsyncConnection, units: Sequence[str]) -> None:
    """Have the desk look at these units once more. Whoever looks at one of them just now writes its
    row before this, or waits for it: so it comes before the holds of them."""
    if units:
        mark = upsert(recall_unit).on_conflict_do_update(
            index_elements=[recall_unit.c.unit], set_={"is_stale": True}
        )
        await connection.execute(mark, [{"unit": each, "is_stale": True} for each in units])
