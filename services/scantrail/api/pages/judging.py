"""One word for a person with a unit in the hand: whether it may go on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api.days import Days
from scantrail.api.folding import every_spelling
from scantrail.api.pages.find import reasons_by_key, sentence
from scantrail.api.pages.frame import Times
from scantrail.api.problems import Problem
from scantrail.api.recall_lookup import recalls_of_each
from scantrail.api.units import look_up
from scantrail.infra import tables

#: The word for a unit that was understood, and of which there is no row.
NEVER_SCANNED: Final = "never scanned"


class Tone(StrEnum):
    """How loud a word is."""

    GO = "go"
    LOOK = "look"
    STOP = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What was asked, as which unit it was understood, the word for it and what it is about."""

    code: str
    tone: Tone
    word: str
    text: str
    unit: str | None = None
    is_recalled: bool = False
    is_held: bool = False
    is_duplicate: bool = False


def judge(
    code: str,
    unit: Mapping[str, Any],
    *,
    recalls: Sequence[str],
    holds: Sequence[Mapping[str, Any]],
    where: str,
) -> Judged:
    """The loudest word that is true of a unit. Pure."""
    is_duplicate = any(alert["kind"] == "duplicate_serial" for alert in unit["alerts"])
    is_held = bool(holds) or unit["held"]
    about = where
    if recalls:
        tone, word = Tone.STOP, "recalled"
        about = f"Recall {', '.join(recalls)}. {where}"
    elif is_held:
        tone, word = Tone.STOP, "held"
        why = "; ".join(reason["text"] for reason in holds) or "a scan of it could not be folded"
        about = f"{why}. {where}"
    elif is_duplicate:
        tone, word = Tone.STOP, "duplicate"
    elif unit["alerts"]:
        tone, word = Tone.LOOK, unit["alerts"][0]["kind"].replace("_", " ")
        about = f"{unit['alerts'][0]['text']}. {where}"
    elif unit["phase"] == "shipped":
        tone, word = Tone.LOOK, "shipped"
    elif unit["phase"] == "gone":
        tone, word = Tone.LOOK, "decommissioned"
    else:
        tone, word = Tone.GO, "here"
    return Judged(
        code=code,
        tone=tone,
        word=word,
        text=about,
        unit=unit["unit"],
        is_recalled=bool(recalls),
        is_held=is_held,
        is_duplicate=is_duplicate,
    )


def unknown(code: str, problem: Problem) -> Judged:
    """The word for a code that names no unit here, or several."""
    key = (problem.body.get("understood") or {}).get("key")
    return Judged(
        code=code,
        tone=Tone.LOOK,
        word=problem.body["title"].lower(),
        text=problem.body["detail"],
        unit=key,
    )


async def judged(engine: AsyncEngine, code: str) -> Judged:
    """The word for whatever was scanned."""
    return (await judged_each(engine, [code]))[0]


async def judged_each(engine: AsyncEngine, codes: Sequence[str]) -> list[Judged]:
    """The same of each of several: what does not differ from unit to unit is asked once."""
    found = [await _found(engine, code) for code in codes]
    units = [each for each in found if not isinstance(each, Judged)]
    if not units:
        return [each for each in found if isinstance(each, Judged)]
    async with engine.connect() as connection:
        told = [(unit["unit"], *unit["aliases"]) for unit in units]
        every = await every_spelling(connection, told)
        reasons = await reasons_by_key(connection, [key for keys in every for key in keys])
        recalls = await recalls_of_each(connection, every)
        times = Times(await Days.read(connection))
    of_units = iter(zip(every, recalls, strict=True))
    judged = []
    for code, each in zip(codes, found, strict=True):
        if isinstance(each, Judged):
            judged.append(each)
            continue
        keys, recalled = next(of_units)
        holds = [reason for key in keys for reason in reasons.get(key, ())]
        where = sentence(each, times)
        judged.append(judge(code, each, recalls=recalled, holds=holds, where=where))
    return judged


async def _found(engine: AsyncEngine, code: str) -> dict[str, Any] | Judged:
    try:
        return await look_up(engine, code)
    except Problem as problem:
        if problem.status >= 500:
            raise
        return unknown(code, problem)


async def station_of(engine: AsyncEngine, station_id: str) -> dict[str, Any]:
    """A station as it was entered. Raises Problem 404."""
    query = select(tables.station.c.document).where(tables.station.c.id == station_id)
    async with engine.connect() as connection:
        document: dict[str, Any] | None = (await connection.execute(query)).scalar()
    if document is None:
        raise Problem(404, "Not found", f"there is no station {station_id!r}")
    return document
