"""Conveyors over TCP: each question answered on its connection, in the order in which they came."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime

from scantrail.domain.verdict import Judgement, Verdict
from scantrail.gateway.decoders.osip import Telegram, encode_response, encode_sync
from scantrail.gateway.decoders.outcome import Invalid, NoRead, Outcome, Read
from scantrail.gateway.readers import ReaderSettings
from scantrail.gateway.verdicts import Verdicts
from scantrail.infra.logs import logger

log = logger(__name__)

#: Sends bytes to the connection's other end.
Send = Callable[[bytes], Awaitable[None]]

#: Exits of one connection that may be on their way to the disk before it is listened to again.
CONFIRMING_MAX = 100


async def answer_lines(
    reader: ReaderSettings,
    answers: Mapping[Verdict, str],
    outcomes: Sequence[Outcome],
    verdicts: Verdicts,
    send: Send,
    *,
    heard: float | None = None,
) -> None:
    """Answer a line: one text for each read, no-read and unreadable frame, as soon as it is there.

    `heard` is when they came, as in Verdicts.ask.
    """
    asked = [each for each in outcomes if isinstance(each, Read | NoRead | Invalid)]
    if len(asked) < len(outcomes):
        verdicts.hear(reader.id)
    asking = [asyncio.create_task(verdicts.ask(reader.id, each, heard=heard)) for each in asked]
    try:
        for each in asking:
            await send(_line(answers, await each))
    finally:
        for each in asking:
            each.cancel()


class Controller:
    """One connection of a controller: `SYNC` and `RES_` answer it, other telegrams have no answer.

    `UPD_` at a place that has a station is the confirmation of an exit. It holds up nothing: where
    it cannot be made durable, SpoolFull is raised, by what is called next. What is no telegram is
    set aside.
    """

    def __init__(
        self,
        reader: ReaderSettings,
        verdicts: Verdicts,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._reader = reader
        self._verdicts = verdicts
        self._now = now
        self._confirming = set[asyncio.Task[None]]()

    async def answer(
        self, telegrams: Sequence[Telegram | Invalid], send: Send, *, heard: float | None = None
    ) -> None:
        """Answer each as soon as its answer is there, in their order."""
        answers = [self._begun(telegram, heard) for telegram in telegrams]
        try:
            for answer in answers:
                if answer is not None and (told := await answer):
                    await send(told)
        finally:
            for answer in answers:
                if answer is not None:
                    answer.cancel()
        await asyncio.sleep(0)  # what fails at once has failed then
        self._raise_failed()
        while len(self._confirming) > CONFIRMING_MAX:
            await asyncio.wait(self._confirming, return_when=asyncio.FIRST_COMPLETED)
            self._raise_failed()

    async def finish(self) -> None:
        """Wait for the exits that are still being confirmed."""
        if self._confirming:
            await asyncio.wait(self._confirming)
        self._raise_failed()

    def _begun(
        self, telegram: Telegram | Invalid, heard: float | None
    ) -> asyncio.Task[bytes] | None:
        """What will answer the telegram, if anything does."""
        if isinstance(telegram, Invalid):
            return asyncio.create_task(self._set_aside(telegram))
        station = self._reader.osip.locations.get(telegram.actual)
        match telegram.type:
            case "SYNQ":
                self._verdicts.hear(self._reader.id)
                return asyncio.create_task(self._synced(telegram))
            case "REQ_":
                return asyncio.create_task(self._judged(telegram, station, heard))
            case "UPD_" if station is not None and telegram.barcode:
                read = Read(telegram.barcode)
                confirming = asyncio.create_task(
                    self._verdicts.confirm_exit(self._reader.id, read, station=station)
                )
                self._confirming.add(confirming)
                confirming.add_done_callback(self._confirmed)
            case _:
                self._verdicts.hear(self._reader.id)
                log.debug(
                    "telegram",
                    reader=self._reader.id,
                    type=telegram.type,
                    place=telegram.actual,
                )
        return None

    async def _set_aside(self, invalid: Invalid) -> bytes:
        await self._verdicts.ask(self._reader.id, invalid)
        return b""

    async def _synced(self, asked: Telegram) -> bytes:
        return encode_sync(asked, self._now(), self._reader.osip)

    async def _judged(self, asked: Telegram, station: str | None, heard: float | None) -> bytes:
        read = Read(asked.barcode) if asked.barcode else NoRead()
        judged = await self._verdicts.ask(self._reader.id, read, station=station, heard=heard)
        return encode_response(asked, judged.verdict, self._now(), self._reader.osip)

    def _confirmed(self, confirming: asyncio.Task[None]) -> None:
        if not confirming.cancelled() and (error := confirming.exception()) is not None:
            log.error("exit is not recorded", reader=self._reader.id, reason=str(error))

    def _raise_failed(self) -> None:
        done = {confirming for confirming in self._confirming if confirming.done()}
        self._confirming -= done
        for confirming in done:
            confirming.result()


def _line(answers: Mapping[Verdict, str], judged: Judgement) -> bytes:
    text = answers[judged.verdict].replace("{reason}", judged.reason)
    return text.encode("latin-1", "replace")
