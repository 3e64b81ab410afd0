"""One word for a person with a unit in the hand: whether it may go on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api.days import Days
from scantrail.api.histories import as_keys
from scantrail.api.pages.find import reasons_of, sentence
from scantrail.api.pages.frame import Times
from scantrail.api.problems import Problem
from scantrail.api.recall_lookup import recalls_of
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
    try:
        unit = await look_up(engine, code)
    except Problem as problem:
        if problem.status >= 500:
            raise
        return unknown(code, problem)
    every = (unit["unit"], *unit["aliases"])
    async with engine.connect() as connection:
        holds = await reasons_of(connection, every)
        recalls = await recalls_of(connection, as_keys(every))
        times = Times(await Days.read(connection))
    return judge(code, unit, recalls=recalls, holds=holds, where=sentence(unit, times))


async def station_of(engine: AsyncEngine, station_id: str) -> dict[str, Any]:
    """A station as it was entered. Raises Problem 404."""
    query = select(tables.station.c.document).where(tables.station.c.id == station_id)
    async with engine.connect() as connection:
        document: dict[str, Any] | None = (await connection.execute(query)).scalar()
    if document is None:
        raise Problem(404, "Not found", f"there is no station {station_id!r}")
    return document
