"""The projector's work in its plainest forms: `copy` or `upserts`.

The same decoding, rows, batches and stored offsets; no guard against a second writer, no alerts, no
rejected records, no metrics, and one thing after another.
"""

import asyncio
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition
from psycopg import sql

from scantrail.contracts.topics import Topic
from scantrail.infra import tables
from scantrail.projector.rows import Rows, add_records

RECORDS_PER_BATCH = 5_000


async def project(bootstrap: str, topic: str, database_url: str, form: str) -> None:
    """Write until ended, from the stored offsets on."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, max_poll_records=RECORDS_PER_BATCH)
    await consumer.start()
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as database:
        stored = await database.execute("SELECT * FROM consumer_offset WHERE topic = %s", [topic])
        nexts = {partition: int(offset) for _, partition, offset in await stored.fetchall()}
        consumer.assign([TopicPartition(topic, partition) for partition in nexts])
        for partition, offset in nexts.items():
            consumer.seek(TopicPartition(topic, partition), offset)
        write = _copy if form == "copy" else _upsert
        while True:
            batch = await consumer.getmany(timeout_ms=200)
            rows = Rows()
            for records in batch.values():
                add_records(rows, Topic.MOVEMENTS, records)
            async with database.transaction(), database.cursor() as cursor:
                await write(cursor, "movement", list(rows.movements.values()))
                await write(cursor, "unit", list(rows.units.values()))
                for tp, records in batch.items():
                    await cursor.execute(
                        "UPDATE consumer_offset SET next_offset = %s"
                        " WHERE topic = %s AND partition = %s",
                        [records[-1].offset + 1, topic, tp.partition],
                    )


async def _upsert(cursor: psycopg.AsyncCursor, table: str, rows: Sequence[Any]) -> None:
    values = sql.SQL(", ").join([sql.Placeholder()] * len(tables.metadata.tables[table].columns))
    query = sql.SQL("INSERT INTO {} VALUES ({}) {}")
    if rows:
        await cursor.executemany(query.format(sql.Identifier(table), values, _newer(table)), rows)


async def _copy(cursor: psycopg.AsyncCursor, table: str, rows: Iterable[Any]) -> None:
    names = {"into": sql.Identifier(table), "staging": sql.Identifier(f"staging_{table}")}
    staging = "CREATE TEMP TABLE IF NOT EXISTS {staging} (LIKE {into}) ON COMMIT DELETE ROWS"
    await cursor.execute(sql.SQL(staging).format(**names))
    async with cursor.copy(sql.SQL("COPY {staging} FROM STDIN").format(**names)) as copy:
        for row in rows:
            await copy.write_row(row)
    merge = sql.SQL("INSERT INTO {into} SELECT * FROM {staging} {newer}")
    await cursor.execute(merge.format(**names, newer=_newer(table)))


def _newer(table: str) -> sql.Composable:
    described = tables.metadata.tables[table]
    told = "ON CONFLICT ({}) DO UPDATE SET {} WHERE excluded.version > {}.version"
    return sql.SQL(told).format(
        sql.SQL(", ").join(sql.Identifier(column.name) for column in described.primary_key),
        sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(column.name))
            for column in described.columns
        ),
        sql.Identifier(table),
    )


if __name__ == "__main__":
    asyncio.run(project(*sys.argv[1:]))
