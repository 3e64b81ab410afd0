"""What goes with a party's name and address where they came in unasked, and where else they stand.

They are in `party` alone, unless somebody sent them where they do not belong. What machines wrote
down of that is emptied; what a person typed is told, for that person to mend.
"""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Text, any_, case, cast, func, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from scantrail.contracts.records import RejectedRead, encode
from scantrail.contracts.topics import Topic
from scantrail.infra.tables import (
    ERASED,
    alert,
    epcis_capture_event,
    metadata,
    rejected,
    webhook_delivery,
)

#: Where no person writes: as large as what happened, and nobody may wait for all of it. Nor for the
#: parts of `movement`, which are tables of their own.
FILLED_BY_MACHINES = frozenset(
    {
        "alert",
        "audit",
        "consumer_offset",
        "count_session_unit",
        "epcis_capture",
        "epcis_capture_event",
        "identifier",
        "movement",
        "outbox",
        "reader_status",
        "register_unit",
        "rejected",
        "unit",
        "webhook_delivery",
    }
)

#: A shorter name is part of many words: what its address is not in, is not emptied.
LETTERS_MIN: Final = 4

#: All reads that were ever set aside are looked through: some 2 s for 100,000 of them.
LOOK_S_MAX: Final = 300

#: Letters that mean another thing to LIKE.
_OF_LIKE: Final = re.compile(r"[\\%_]")
_ESCAPED: Final = r"\\\g<0>"

_read = msgspec.json.Decoder(RejectedRead)


async def erase_words(connection: AsyncConnection, words: Sequence[str]) -> list[str]:
    """Empty what machines wrote down with one of the words in it, whatever its case; tells where
    one still stands: `table.column`, or the topic that lets go of it by itself."""
    bare = [stripped for word in words if (stripped := word.strip())]
    left = {place for word in bare for place in await _typed(connection, word)}
    long_enough = [word for word in bare if len(word) >= LETTERS_MIN]
    if forms := _forms(long_enough):
        parts = {part for word in long_enough for part in _parts(word)}
        await connection.execute(text(f"SET LOCAL statement_timeout = '{LOOK_S_MAX}s'"))
        await _erase_captured(connection, parts, _whole(forms))
        if await _erase_rejected(connection, parts, _whole(forms)):
            left.add(f"topic {Topic.READS_REJECTED.value}")
        if await _erase_alerts(connection, parts, _whole(forms)):
            left.add(f"topic {Topic.ALERTS.value}")
    return sorted(left)


def _forms(words: Iterable[str]) -> list[str]:
    """Words as they may stand in text, in JSON, and in JSON inside of JSON; in small letters."""
    found = set[str]()
    for word in words:
        for told in (word, json.dumps(word)[1:-1], repr(word)[1:-1]):
            for _ in range(3):
                found.add(told.lower())
                told = msgspec.json.encode(told).decode()[1:-1]
    return sorted(found)


def _parts(word: str) -> Iterable[str]:
    """What is in each form of a word: its longest run of letters that are never escaped, to look
    for one thing instead of many; all forms where there is no such run."""
    longest = max(re.findall("[a-z0-9]+", word.lower()), key=len, default="")
    if len(longest) >= LETTERS_MIN:
        return [longest]
    return {each for form in _forms([word]) for each in (form, _octal(form))}


def _whole(forms: Sequence[str]) -> re.Pattern[str]:
    """One of them as a word of its own; before it may stand the escape of a new line."""
    either = "|".join(re.escape(form) for form in forms)
    return re.compile(rf"(?:(?<!\w)|(?<=\\[bfnrt]))(?:{either})(?!\w)", re.IGNORECASE)


def _has_one(told: ColumnElement[str], parts: Iterable[str]) -> ColumnElement[bool]:
    """Which rows are to be looked at: each text is put into small letters once."""
    patterns = [f"%{re.sub(_OF_LIKE, _ESCAPED, part)}%" for part in sorted(parts)]
    return func.lower(told).like(any_(cast(patterns, ARRAY(Text))))


async def _erase_captured(
    connection: AsyncConnection, parts: Iterable[str], whole: re.Pattern[str]
) -> None:
    """A refusal cites what was sent: of such an event its place and the reason stay."""
    table, told = epcis_capture_event, epcis_capture_event.c
    left_out = func.array_to_string(told.left_out, "\n")
    cited = func.concat_ws("\n", told.event_id, told.field, told.detail, left_out, told.document)
    query = select(told.capture, told.number, cited.label("cited")).where(_has_one(cited, parts))
    emptied: dict[str, Any] = {"event_id": None, "field": None, "left_out": [], "document": None}
    detail = case((told.detail.is_not(None), ERASED))
    for row in (await connection.execute(query)).all():
        if whole.search(row.cited):
            of_row = (told.capture == row.capture) & (told.number == row.number)
            await connection.execute(update(table).where(of_row).values(**emptied, detail=detail))


async def _erase_rejected(
    connection: AsyncConnection, parts: Iterable[str], whole: re.Pattern[str]
) -> bool:
    """Of reads and scans that were set aside, what was read goes. Whether there was any."""
    told, found = rejected.c, False
    # a scan that is none may be no text: bytes beyond ASCII are escaped
    text_of = case(
        (told.source == "read", func.convert_from(told.payload, "UTF8")),
        else_=func.encode(told.payload, "escape"),
    )
    has_one = _has_one(func.concat_ws("\n", text_of, told.detail), parts)
    query = select(told.id, told.source, told.payload, told.detail).where(has_one)
    for row in (await connection.execute(query.with_for_update())).all():
        if row.source == "read":
            emptied = _emptied(row.payload, whole)
        else:
            cited = row.payload.decode("utf-8", "replace") + row.detail
            emptied = ERASED.encode() if whole.search(cited) else None
        if emptied is not None:
            of_row = update(rejected).where(told.id == row.id)
            await connection.execute(of_row.values(payload=emptied, detail=ERASED))
            found = True
    return found


async def _erase_alerts(
    connection: AsyncConnection, parts: Iterable[str], whole: re.Pattern[str]
) -> bool:
    """Of alerts, whose text cites what a person gave as the reason of a hold or a recall, and of
    what webhooks are told of them, the words go. Whether there were any.

    Only what has a word is locked: the projector writes alerts, and would wait for the others too.
    No text is changed elsewhere. What a webhook is told may have another text than its alert, which
    keeps its first."""
    found = False
    texts = select(alert.c.id, alert.c.text).where(_has_one(alert.c.text, parts))
    for row in (await connection.execute(texts.order_by(alert.c.id))).all():
        if whole.search(row.text):
            of_row = update(alert).where(alert.c.id == row.id)
            await connection.execute(of_row.values(text=whole.sub(ERASED, row.text)))
            found = True
    told = webhook_delivery.c
    body = func.convert_from(told.body, "UTF8")
    messages = select(told.webhook, told.id, body.label("body")).where(_has_one(body, parts))
    for message in (await connection.execute(messages.order_by(told.webhook, told.id))).all():
        if whole.search(message.body):
            of_message = (told.webhook == message.webhook) & (told.id == message.id)
            emptied = whole.sub(ERASED, message.body).encode()
            await connection.execute(
                update(webhook_delivery).where(of_message).values(body=emptied)
            )
            found = True
    return found


def _octal(form: str) -> str:
    """As PostgreSQL's `encode(…, 'escape')` has it."""
    told = form.replace("\\", "\\\\").encode()
    return "".join(chr(each) if each < 128 else f"\\{each:03o}" for each in told)


def _emptied(payload: bytes, whole: re.Pattern[str]) -> bytes | None:
    """A read that was set aside without what was read; None where that says nothing of it."""
    read = _read.decode(payload)
    named = {
        name
        for name, value in msgspec.structs.asdict(read).items()
        if isinstance(value, str) and whole.search(value)
    }
    if not named:
        return None
    return encode(
        msgspec.structs.replace(read, **dict.fromkeys({*named, "read", "detail"}, ERASED))
    )


async def _typed(connection: AsyncConnection, word: str) -> list[str]:
    """Where a person typed `word` into a note or a name: `table.column`."""
    columns = await connection.execute(
        text(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = current_schema() AND data_type IN ('text', 'jsonb')"
            " AND table_name = ANY(:tables) ORDER BY table_name, column_name"
        ),
        {"tables": sorted(metadata.tables.keys() - FILLED_BY_MACHINES)},
    )
    found = []
    quoted = connection.dialect.identifier_preparer.quote
    for table, column in columns.all():
        query = (
            f"SELECT EXISTS (SELECT FROM {quoted(table)}"
            f" WHERE position(lower(:word) IN lower({quoted(column)}::text)) > 0)"
        )
        if (await connection.execute(text(query), {"word": word})).scalar():
            found.append(f"{table}.{column}")
    return found
