"""Lists as CSV, made as a whole before they are sent: a file that breaks off would look like one
that is complete."""

import csv
import io
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import IO, Any

from litestar.response import Stream
from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncConnection

from scantrail.api.csv_rows import harmless

#: More than that goes to a file.
_MEMORY_BYTES_MAX = 8 << 20
_CHUNK_BYTES = 1 << 16

#: Rows that are taken from the database and written together.
ROWS_AT_ONCE = 1_000

Lines = Callable[[Sequence[Sequence[Any]]], None]


async def csv_file(
    name: str, columns: Sequence[str], write: Callable[[Lines], Awaitable[None]]
) -> Stream:
    """The file `name`: `write` is given a function that takes lines, a cell for each column."""
    kept: IO[bytes] = tempfile.SpooledTemporaryFile(_MEMORY_BYTES_MAX)  # noqa: SIM115 (_sent closes)
    try:
        text = io.TextIOWrapper(kept, encoding="utf-8", newline="")
        rows = csv.writer(text)
        rows.writerow(columns)
        await write(lambda lines: rows.writerows([*map(_cell, line)] for line in lines))
        text.detach()
    except BaseException:
        kept.close()
        raise
    size = kept.tell()
    kept.seek(0)
    headers = {
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",  # names and addresses may be in it
        "Content-Length": str(size),
        "Content-Disposition": f'attachment; filename="{name}.csv"',
    }
    return Stream(_sent(kept), media_type="text/csv; charset=utf-8", headers=headers)


async def csv_of_query(
    connection: AsyncConnection,
    name: str,
    columns: Sequence[str],
    query: Select[Any],
    line: Callable[[Any], Sequence[Any]],
) -> Stream:
    """As csv_file, of the rows of a query, each by `line`."""

    async def write(lines: Lines) -> None:
        await write_rows(connection, query, line, lines)

    return await csv_file(name, columns, write)


async def write_rows(
    connection: AsyncConnection,
    query: Select[Any],
    line: Callable[[Any], Sequence[Any]],
    lines: Lines,
) -> None:
    """Each row of a query by `line`, some taken together."""
    async for rows in (await connection.stream(query)).partitions(ROWS_AT_ONCE):
        lines([*map(line, rows)])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Iterable) and not isinstance(value, str):
        return harmless(", ".join(value))
    return harmless(str(value))


async def _sent(kept: IO[bytes]) -> AsyncIterator[bytes]:
    with kept:
        while chunk := kept.read(_CHUNK_BYTES):
            yield chunk
