"""May this unit leave? Answered from memory, recorded on disk, forwarded to Kafka.

1. the question is judged by recalls and holds in memory. Died here: no answer, so a hold.
2. its scans are written to the journal (SQLite, one fsync for all that come together).
   Died here: they are forwarded after the start; no answer, so a hold.
3. the answer is sent. Nothing of this waits for Kafka.
4. the journal's records go to Kafka as reads do (`Outlet`), and are removed from the journal. Died
   in between: they are sent again, under the same ids, and count once.

A question is a scan with step staging_outbound; where the answer is hold, a second one follows,
with step holding. Only an exit's confirmation (`confirm_exit`) claims what its station is for.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from scantrail.contracts.records import RejectedRead
from scantrail.contracts.topics import Topic
from scantrail.domain.station import Station
from scantrail.domain.verdict import Judgement, Verdict, Why, asked_at, held_at, judge_unit
from scantrail.gateway.decoders.outcome import Invalid, NoRead, Read
from scantrail.gateway.notices import Notices
from scantrail.gateway.outlet import Outlet, insistently
from scantrail.gateway.scans import Known, ScanMaker
from scantrail.gateway.spool import Outgoing, Spool, SpoolFull
from scantrail.gateway.statuses import Statuses
from scantrail.infra import metrics
from scantrail.infra.kafka import RETRY_S
from scantrail.infra.logs import logger

log = logger(__name__)

#: The reader of questions that name none.
NAMELESS: Final = "verdict"

FORWARD_RECORDS = 500

#: What is asked within so long is forwarded together: a question waits for the disk alone, not for
#: the removal of the one before it.
GATHER_S = 0.05

#: Refusals of a read that a person mends in the settings: the unit may be known well.
_UNSET: Final = frozenset({Why.UNKNOWN_STATION.value, Why.UNKNOWN_READER.value})


class Verdicts:
    """One for the gateway. `deadline_s` is from the question to the answer, `stale_s` as in
    domain.verdict.judge_unit."""

    def __init__(
        self,
        prefix: str,
        known: Known,
        notices: Notices,
        journal: Spool,
        statuses: Statuses,
        *,
        deadline_s: float,
        stale_s: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.deadline_ms = round(deadline_s * 1000)
        self._known = known
        self._maker = ScanMaker(prefix, known)
        self._notices = notices
        self._journal = journal
        self._statuses = statuses
        self._deadline_s = deadline_s
        self._stale_s = stale_s
        self._now = now
        self._clock = clock
        self._start = secrets.token_hex(4)
        self._sequence = 0
        self._added = asyncio.Event()
        self._behind = set[asyncio.Task[None]]()

    async def ask(
        self, reader_id: str | None, asked: Read | NoRead | Invalid, *, station: str | None = None
    ) -> Judgement:
        """The verdict on what reader `reader_id` read, at `station` where it is not the reader's.

        Never raises, and comes by the deadline unless the whole process stands still.
        """
        began, is_late = self._clock(), False
        judged, records = self._judged(reader_id, asked, station)
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._write(records)
        except SpoolFull as error:
            log.error("question is not recorded", reader=reader_id, reason=str(error))
            if judged.verdict is Verdict.RELEASE:
                detail = f"the question could not be recorded: {error}"
                judged = Judgement(Verdict.HOLD, Why.NOT_RECORDED, detail)
        except TimeoutError:  # what was begun is finished all the same
            is_late = True
        if judged.verdict is Verdict.RELEASE:
            spent_s = self._clock() - began
            if is_late or spent_s > self._deadline_s:
                detail = f"{spent_s * 1000:.0f} ms have passed, {self.deadline_ms} are allowed"
                judged = Judgement(Verdict.HOLD, Why.LATE, detail)
                self._record_behind(reader_id, asked, station)
        metrics.VERDICTS.labels(judged.verdict.value, str(judged.reason)).inc()
        metrics.VERDICT_SECONDS.observe(self._clock() - began)
        return judged

    def hear(self, reader_id: str) -> None:
        """The reader's other end is alive, and asked nothing."""
        self._count(reader_id, "control")

    async def confirm_exit(self, reader_id: str, read: Read, *, station: str) -> None:
        """Record that a unit passed `station`, as a scan of what that station is for.

        Returns once it is durable. Raises SpoolFull where it cannot be.
        """
        record, made = self._recorded(reader_id, read, station, self._now())
        await self._write([record])
        self._count(reader_id, "invalid" if isinstance(made, RejectedRead) else "accepted")

    async def forward(self, outlet: Outlet) -> None:
        """Send what is in the journal on its way to Kafka, until cancelled."""
        while True:
            self._added.clear()
            kept = await insistently(self._journal.oldest, FORWARD_RECORDS)
            if not kept:
                await self._added.wait()
                await asyncio.sleep(GATHER_S)
                continue
            try:
                await outlet.keep([record for _, record in kept])
            except SpoolFull as error:
                log.error("questions wait in their journal", reason=str(error))
                await asyncio.sleep(RETRY_S)
                continue
            await insistently(self._journal.remove, kept)

    async def stop(self) -> None:
        """Finish writing what was answered late."""
        await asyncio.gather(*self._behind)

    def _judged(
        self, reader_id: str | None, asked: Read | NoRead | Invalid, station: str | None
    ) -> tuple[Judgement, list[Outgoing]]:
        """The verdict by what is known, and what is to be recorded of the question."""
        if isinstance(asked, NoRead):
            self._count(reader_id, "no_read")
            told = "the reader was triggered and read nothing"
            return Judgement(Verdict.UNKNOWN, "no_read", told), []
        now = self._now()
        record, made = self._recorded(reader_id, asked, station, now, asked_at)
        self._count(reader_id, "invalid" if isinstance(made, RejectedRead) else "accepted")
        if isinstance(made, RejectedRead):
            verdict = Verdict.HOLD if made.reason in _UNSET else Verdict.UNKNOWN
            return Judgement(verdict, made.reason, made.detail), [record]
        unit = made.key.decode()
        keys = self._known.keys_of(unit)
        recalls, hold = self._notices.against(keys or (unit,))
        # Of a unit whose other ids cannot be told a recall of one of them may be missed.
        confirmed_s = None if keys is None else self._notices.confirmed_s()
        judged = judge_unit(unit, recalls, hold, confirmed_s=confirmed_s, stale_s=self._stale_s)
        if judged.verdict is Verdict.RELEASE:
            return judged, [record]
        return judged, [record, self._recorded(reader_id, asked, station, now, held_at)[0]]

    def _recorded(
        self,
        reader_id: str | None,
        asked: Read | Invalid,
        station: str | None,
        now: datetime,
        claims: Callable[[Station], Station] | None = None,
    ) -> tuple[Outgoing, Outgoing | RejectedRead]:
        """The record of a read, and what it was made of: its scan, or why there is none."""
        self._sequence += 1
        reader = NAMELESS if reader_id is None else reader_id
        event_id = f"{reader}/{self._start}/{self._sequence}"
        if reader_id is not None and reader_id not in self._known.readers:
            station = None  # of a reader that nobody configured not even its name is sure
        made = self._maker.make(
            reader,
            asked,
            event_id=event_id,
            sequence=self._sequence,
            event_time=None,
            record_time=now,
            station=station,
            claims=claims,
        )
        if isinstance(made, RejectedRead):
            metrics.REJECTED.labels(Topic.READS_REJECTED.value, made.reason).inc()
            return self._maker.set_aside(made), made
        return made, made

    def _record_behind(
        self, reader_id: str | None, asked: Read | NoRead | Invalid, station: str | None
    ) -> None:
        """The question is recorded, or is just being; that it ended in a hold follows it."""
        if isinstance(asked, NoRead):
            return
        record, _ = self._recorded(reader_id, asked, station, self._now(), held_at)
        behind = asyncio.create_task(self._write_late(record))
        self._behind.add(behind)
        behind.add_done_callback(self._behind.discard)

    async def _write_late(self, record: Outgoing) -> None:
        try:
            await self._write([record])
        except SpoolFull as error:
            log.error("hold is not recorded", reason=str(error))

    async def _write(self, records: list[Outgoing]) -> None:
        if records:
            await self._journal.append(records)
            self._added.set()

    def _count(self, reader_id: str | None, outcome: str) -> None:
        self._statuses.heard(NAMELESS if reader_id is None else reader_id, {outcome: 1}, None)
