"""Conveyors over TCP: each question answered on its connection, in the order in which they came."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from scantrail.domain.verdict import Judgement, Verdict
from scantrail.gateway.decoders.osip import Telegram, encode_response, encode_sync
from scantrail.gateway.decoders.outcome import Invalid, NoRead, Outcome, Read
from scantrail.gateway.readers import ReaderSettings
from scantrail.gateway.verdicts import Verdicts
from scantrail.infra.logs import logger

log = logger(__name__)


async def answer_lines(
    reader: ReaderSettings,
    answers: Mapping[Verdict, str],
    outcomes: Sequence[Outcome],
    verdicts: Verdicts,
) -> bytes:
    """What a line is answered: one text for each read, no-read and unreadable frame."""
    asked = [each for each in outcomes if isinstance(each, Read | NoRead | Invalid)]
    if len(asked) < len(outcomes):
        verdicts.hear(reader.id)
    judged = await asyncio.gather(*(verdicts.ask(reader.id, each) for each in asked))
    return b"".join(_line(answers, judgement) for judgement in judged)


async def answer_telegrams(
    reader: ReaderSettings,
    telegrams: Sequence[Telegram | Invalid],
    verdicts: Verdicts,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> bytes:
    """What a controller is answered: `SYNC` and `RES_`; other telegrams have no answer.

    `UPD_` at a place that has a station is the confirmation of an exit. What is no telegram is set
    aside. Raises SpoolFull where a confirmation cannot be made durable.
    """
    answers = []
    for telegram in telegrams:
        if isinstance(telegram, Invalid):
            await verdicts.ask(reader.id, telegram)
            continue
        station = reader.osip.locations.get(telegram.actual)
        match telegram.type:
            case "SYNQ":
                verdicts.hear(reader.id)
                answers.append(encode_sync(telegram, now(), reader.osip))
            case "REQ_":
                read = Read(telegram.barcode) if telegram.barcode else NoRead()
                judged = await verdicts.ask(reader.id, read, station=station)
                answers.append(encode_response(telegram, judged.verdict, now(), reader.osip))
            case "UPD_" if station is not None and telegram.barcode:
                await verdicts.confirm_exit(reader.id, Read(telegram.barcode), station=station)
            case _:
                verdicts.hear(reader.id)
                log.debug("telegram", reader=reader.id, type=telegram.type, place=telegram.actual)
    return b"".join(answers)


def _line(answers: Mapping[Verdict, str], judged: Judgement) -> bytes:
    text = answers[judged.verdict].replace("{reason}", judged.reason)
    return text.encode("latin-1", "replace")
