"""Reads become scans here, or are set aside with the reason; either is durable before it counts."""

import asyncio
import contextlib
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

import msgspec

from scantrail.contracts.captured import CAPTURE_READER, CapturedRead
from scantrail.contracts.corrections import CORRECTION_READER, CorrectionRead
from scantrail.contracts.keyed import KeyedRead
from scantrail.contracts.records import (
    RejectedRead,
)
from scantrail.contracts.stock import STOCK_READER, StockRead
from scantrail.contracts.topics import Topic
from scantrail.domain.station import Station
from scantrail.domain.verdict import asked_at
from scantrail.domain.vocabulary import BusinessStep
from scantrail.gateway.contexts import Context, Contexts, NotContext, changed
from scantrail.gateway.decoders.outcome import (
    MENDS,
    Control,
    Heartbeat,
    Invalid,
    Lost,
    NoRead,
    Outcome,
    Read,
)
from scantrail.gateway.outlet import Outlet
from scantrail.gateway.readers import Protocol, ReaderSettings
from scantrail.gateway.scans import Known, ScanMaker
from scantrail.gateway.spool import Outgoing, SpoolFull
from scantrail.gateway.statuses import LOST, Statuses
from scantrail.gateway.strays import Sightings, Strays, told_stray
from scantrail.infra import metrics
from scantrail.infra.logs import logger

log = logger(__name__)

#: Reads whose repetition within a reader's debounce_s is noticed.
REMEMBERED_READS = 20_000

#: Outcomes of a delivery after which others have their turn.
YIELD_EVERY = 100

#: As which reader reads are counted that come from none of the readers' file, or not as it would.
UNKNOWN = "unknown"

#: Reader, station, code, and what else is told of the unit: another story is another read.
_Seen = tuple[str | date | None, ...]


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why the read at `index` of what was sent made no scan."""

    index: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a delivery: all of it is durable."""

    accepted: int
    rejected: tuple[Rejection, ...]


class Intake:
    """One for the gateway: mints event ids, and remembers what each reader just read."""

    def __init__(
        self,
        prefix: str,
        known: Known,
        outlet: Outlet,
        *,
        contexts: Contexts | None = None,
        statuses: Statuses | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._known = known
        self._maker = ScanMaker(prefix, known)
        self._outlet = outlet
        self._contexts = contexts or Contexts()
        self._statuses = statuses or Statuses(prefix, known.readers, self._contexts, now=now)
        self._now = now
        self._start = secrets.token_hex(4)  # ids of another start are others
        self._sequence = 0
        self._last: OrderedDict[_Seen, datetime] = OrderedDict()
        self._strays = Strays()
        self._turns: dict[str, asyncio.Lock] = {}

    async def take(
        self, reader_id: str, outcomes: Sequence[Outcome], *, sent_as: Protocol | None = None
    ) -> Taken:
        """Make scans of what reader `reader_id` told; returns once all of it is durable.

        `sent_as` is the protocol in which it came, where the sender could take another: reads of a
        reader that is configured for another one are set aside, as wrong_protocol.
        Raises SpoolFull where it cannot be made durable; then nothing of it counts.
        """
        reader = self._known.readers.get(reader_id)
        if reader is not None and sent_as not in (None, reader.protocol):
            # Not the reader speaks: nothing of its context, tags or state is touched.
            return await self._take(reader_id, None, outcomes, sent_as)
        if reader is None or reader.context is None:
            return await self._take(reader_id, reader, outcomes, sent_as)
        # What is scanned for a label comes behind it, also where two deliveries are under way.
        async with self._turns.setdefault(reader_id, asyncio.Lock()):
            return await self._take(reader_id, reader, outcomes, sent_as)

    async def _take(
        self,
        reader_id: str,
        reader: ReaderSettings | None,
        outcomes: Sequence[Outcome],
        sent_as: Protocol | None,
    ) -> Taken:
        records: list[Outgoing] = []
        rejected: list[Rejection] = []
        accepted, counts = 0, Counter[str]()
        seen: dict[_Seen, datetime] = {}
        sightings: Sightings = {}
        context = before = self._contexts.of(reader_id)
        for index, told in enumerate(outcomes):
            if index and index % YIELD_EVERY == 0:  # odd codes take a while: others have their turn
                await asyncio.sleep(0)
            outcome, context = self._in_context(reader, told, context)
            if outcome is None:
                counts["context"] += 1
                accepted += 1
                continue
            if isinstance(outcome, NoRead | Heartbeat | Control):
                word = "no_read" if isinstance(outcome, NoRead) else "control"
                counts[word] += 1
                continue
            if isinstance(outcome, Lost):
                counts[LOST] += outcome.count
                continue
            if (
                isinstance(outcome, Read)
                and reader is not None
                and self._strays.why(reader, outcome, self._now(), sightings) is not None
            ):
                counts["stray"] += 1
                accepted += 1
                continue
            if isinstance(outcome, Read) and self._is_repeat(reader, outcome, seen):
                counts["repeat"] += 1
                accepted += 1
                continue
            made = self._made(reader_id, outcome, sent_as)
            if isinstance(made, RejectedRead):
                if self._maker.passes_without_serial(made):
                    counts["unserialised"] += 1
                    accepted += 1
                    continue
                rejected.append(Rejection(index, made.reason, made.detail))
                counts["invalid"] += 1
                records.append(self._maker.set_aside(made))
                continue
            accepted += 1
            counts["accepted"] += 1
            records.append(made)
            if isinstance(outcome, Read) and reader is not None and outcome.event_id is None:
                seen[_seen(reader, outcome)] = self._time_of(outcome)
        await self._keep(reader_id, records, context, before)
        self._remember(seen)
        self._strays.remember(sightings)
        if counts[LOST]:
            log.warning("reader lost reads", reader=reader_id, count=counts[LOST])
        times = [o.event_time for o in outcomes if isinstance(o, Read) and o.event_time is not None]
        # Only now: what was refused for want of room comes again.
        heard = reader_id if reader is not None else UNKNOWN
        self._statuses.heard(heard, counts, max(times, default=None))
        for refusal in rejected:
            metrics.REJECTED.labels(Topic.READS_REJECTED.value, refusal.reason).inc()
        return Taken(accepted, tuple(rejected))

    async def _keep(
        self, reader_id: str, records: list[Outgoing], context: Context, before: Context
    ) -> None:
        """Make a delivery durable, and what it says of the reader's context. Raises SpoolFull, and
        then all is as it was."""
        if context != before:
            try:
                await self._contexts.write(reader_id, context)
            except OSError as error:
                raise SpoolFull(f"the reader's context cannot be written: {error}") from error
        try:
            if records:
                await self._outlet.keep(records)
        except SpoolFull:
            if context != before:
                with contextlib.suppress(OSError):  # the sender tries again, and so do we
                    await self._contexts.write(reader_id, before)
            raise
        if context != before:
            self._contexts.hold(reader_id, context)

    def _in_context(
        self, reader: ReaderSettings | None, told: Outcome, context: Context
    ) -> tuple[Outcome | None, Context]:
        """A read with what the reader's context says of it, and that context; no read where it only
        changes it."""
        if reader is None or reader.context is None or not isinstance(told, Read):
            return told, context
        now = self._now()
        try:
            after = changed(context, reader.context, told, now, self._known.products)
        except NotContext as error:
            raw = told.text.encode("utf-8", "surrogatepass")
            return Invalid(error.reason, raw), error.after
        if after is not None:
            return None, after
        return context.of(told, reader.context, now), context

    async def replay(self, reads: Sequence[RejectedRead]) -> Taken:
        """Take reads that were set aside once more, under the ids and times they had."""
        records: list[Outgoing] = []
        rejected: list[Rejection] = []
        sightings: Sightings = {}
        for index, read in enumerate(reads):
            made = self._again(read, sightings)
            if isinstance(made, RejectedRead):
                if self._maker.passes_without_serial(made):
                    continue  # its product needs no serial any more
                rejected.append(Rejection(index, made.reason, made.detail))
                made = self._maker.set_aside(made)
            records.append(made)
        if records:
            await self._outlet.keep(records)
        self._strays.remember(sightings)
        return Taken(len(reads) - len(rejected), tuple(rejected))

    async def take_stock(self, reads: Sequence[StockRead]) -> Taken:
        """Make scans of opening stock, at stations whose step says that it is that.

        Refusals are told and not set aside: whoever has the file mends its lines.
        """
        records: list[Outgoing] = []
        rejected: list[Rejection] = []
        for index, read in enumerate(reads):
            if index and index % YIELD_EVERY == 0:
                await asyncio.sleep(0)
            made = self._of_stock(read)
            if isinstance(made, RejectedRead):
                rejected.append(Rejection(index, made.reason, made.detail))
            elif isinstance(made, Rejection):
                rejected.append(replace(made, index=index))
            else:
                records.append(made)
        if records:
            await self._outlet.keep(records)
        return Taken(len(records), tuple(rejected))

    async def take_keyed(self, read: KeyedRead) -> Taken:
        """Make a scan of what a person typed and the api found to be right, or scanned on the page.

        A refusal is told and not set aside: the person is there and mends it.
        """
        now = self._now()
        made = self._maker.make(
            read.reader,
            Read(
                read.text,
                unit=read.unit,
                event_id=read.event_id,
                order=read.order,
                rma=read.rma,
                parent=read.parent,
                location=read.location,
                keyed=read.keyed,
                confirmed=read.keyed,
            ),
            event_id=read.event_id,
            sequence=0,
            event_time=read.at or now,
            record_time=now,
            station=read.station,
        )
        if isinstance(made, RejectedRead):
            return Taken(0, (Rejection(0, made.reason, made.detail),))
        await self._outlet.keep([made])
        return Taken(1, ())

    async def take_corrections(self, reads: Sequence[CorrectionRead]) -> Taken:
        """Make scans of what a person corrects: of all that is told together, or of nothing.

        Refusals are told and not set aside: whoever corrects mends them.
        """
        records: list[Outgoing] = []
        rejected: list[Rejection] = []
        for index, read in enumerate(reads):
            made = self._of_correction(read)
            if isinstance(made, RejectedRead):
                rejected.append(Rejection(index, made.reason, made.detail))
            else:
                records.append(made)
        if rejected:
            return Taken(0, tuple(rejected))
        await self._outlet.keep(records)
        return Taken(len(records), ())

    async def take_captured(self, reads: Sequence[CapturedRead], *, is_check: bool) -> Taken:
        """Make scans of what EPCIS events tell; where it is but a check, only tell what cannot be.

        Refusals are told and not set aside: the capture job keeps the event and the mend.
        """
        records: list[Outgoing] = []
        rejected: list[Rejection] = []
        for index, read in enumerate(reads):
            if index and index % YIELD_EVERY == 0:
                await asyncio.sleep(0)
            made = self._of_capture(read)
            if isinstance(made, RejectedRead):
                rejected.append(Rejection(index, made.reason, made.detail))
            else:
                records.append(made)
        if records and not is_check:
            await self._outlet.keep(records)
        return Taken(len(records), tuple(rejected))

    def _of_capture(self, read: CapturedRead) -> Outgoing | RejectedRead:
        event_id = f"{CAPTURE_READER}/{read.id}"
        told = Read(
            read.text,
            unit=read.unit,
            event_id=event_id,
            corrects=read.corrects,
            order=read.order,
            rma=read.rma,
            parent=read.parent,
            location=read.location,
            lot=read.lot,
            produced_on=read.produced_on,
        )

        def claims(station: Station) -> Station:
            disposition = read.disposition or station.disposition
            return replace(station, disposition=disposition)

        return self._maker.make(
            CAPTURE_READER,
            told,
            event_id=event_id,
            sequence=0,
            event_time=read.at,
            record_time=self._now(),
            station=read.station,
            claims=claims,
        )

    def _of_correction(self, read: CorrectionRead) -> Outgoing | RejectedRead:
        event_id = f"{CORRECTION_READER}/{read.id}"
        told = Read(
            read.unit,
            unit=read.unit,
            event_id=event_id,
            corrects=read.corrects,
            order=read.order,
            rma=read.rma,
            parent=read.parent,
            location=read.location,
            lot=read.lot,
            produced_on=read.produced_on,
        )
        return self._maker.make(
            CORRECTION_READER,
            told,
            event_id=event_id,
            sequence=read.sequence,
            event_time=read.at,
            record_time=self._now(),
            station=read.station,
        )

    def _of_stock(self, read: StockRead) -> Outgoing | RejectedRead | Rejection:
        station = self._known.stations.get(read.station)
        if station is not None and station.business_step is not BusinessStep.STOCK_TAKING:
            told = (
                f"station {read.station!r} has business step {station.business_step}: opening stock"
                f" is entered at one with {BusinessStep.STOCK_TAKING}"
            )
            return Rejection(0, "not_stock_taking", told)
        event_id = f"{STOCK_READER}/{read.id}"
        return self._maker.make(
            STOCK_READER,
            Read(
                read.unit,
                unit=read.unit,
                event_id=event_id,
                location=read.location,
                lot=read.lot,
                produced_on=read.produced_on,
            ),
            event_id=event_id,
            sequence=0,
            event_time=read.at,
            record_time=self._now(),
            station=read.station,
        )

    def _again(self, read: RejectedRead, sightings: Sightings) -> Outgoing | RejectedRead:
        first = read.first_record_time or read.record_time
        again: Outgoing | RejectedRead = read
        if read.reason not in MENDS:  # those are parts of a code: half a serial is another unit's
            again = self._recorded(read, first, sightings)
        if isinstance(again, RejectedRead):
            return msgspec.structs.replace(again, record_time=self._now(), first_record_time=first)
        return again

    def _recorded(
        self, read: RejectedRead, record_time: datetime, sightings: Sightings
    ) -> Outgoing | RejectedRead:
        reader = self._known.readers.get(read.reader)
        sent = _as_sent(read)
        why = reader and self._why_stray(read.reason, reader, sent, sightings)
        if why:
            detail = f"a stray: {why}; if it counts, mend the readers' file, restart, replay"
            return msgspec.structs.replace(read, reason="stray", detail=detail)
        # Of a conveyor's telegram the place decides the station, and it is not told here.
        is_at_a_place = reader is not None and reader.protocol == "tcp-osip"
        return self._maker.make(
            read.reader,
            sent,
            event_id=read.event_id,
            sequence=read.sequence,
            event_time=read.event_time,
            record_time=record_time,
            station=read.station if read.asked or is_at_a_place else None,
            claims=asked_at if read.asked else None,
        )

    def _why_stray(
        self, reason: str, reader: ReaderSettings, read: Read, sightings: Sightings
    ) -> str | None:
        """Only what was set aside before its reader was known has not yet been counted."""
        if reason in ("unknown_reader", "stray"):
            return self._strays.why(reader, read, self._now(), sightings)
        return told_stray(reader, read)

    def _made(
        self, reader_id: str, outcome: Read | Invalid, sent_as: Protocol | None
    ) -> Outgoing | RejectedRead:
        self._sequence += 1
        record_time = self._now()
        event_id, sequence = f"{reader_id}/{self._start}/{self._sequence}", self._sequence
        event_time = None
        if isinstance(outcome, Read):
            event_time = outcome.event_time
            own = outcome.event_id or outcome.fingerprint
            if own is not None:
                # The device's own id: the same after a retry, and so must be all that goes with it.
                event_id, sequence = f"{reader_id}/{own}", outcome.sequence or 0
        return self._maker.make(
            reader_id,
            outcome,
            event_id=event_id,
            sequence=sequence,
            event_time=event_time,
            record_time=record_time,
            sent_as=sent_as,
        )

    def _is_repeat(
        self, reader: ReaderSettings | None, read: Read, seen: Mapping[_Seen, datetime]
    ) -> bool:
        """The same code at the same reader within debounce_s; a device's own ids speak louder.

        By the device's time where it gives one: a reader that sends what it kept for an hour has
        seen the unit twice.
        """
        if reader is None or read.event_id is not None or not reader.debounce_s:
            return False
        known = _seen(reader, read)
        last = seen.get(known) or self._last.get(known)
        return (
            last is not None
            and abs((self._time_of(read) - last).total_seconds()) <= reader.debounce_s
        )

    def _time_of(self, read: Read) -> datetime:
        return read.event_time or self._now()

    def _remember(self, seen: Mapping[_Seen, datetime]) -> None:
        """Only what is durable: a repeat of a read that was lost must count."""
        for known, at in seen.items():
            self._last[known] = at
            self._last.move_to_end(known)
        while len(self._last) > REMEMBERED_READS:
            self._last.popitem(last=False)


def _as_sent(read: RejectedRead) -> Read:
    return Read(
        read.read,
        aim=read.aim,
        event_time=read.event_time,
        order=read.order,
        rma=read.rma,
        event_id=read.event_id,
        antenna=read.antenna,
        rssi_dbm=read.rssi_dbm,
        direction=read.direction,
        corrects=read.corrects,
        parent=read.parent,
        same_as=read.same_as,
        location=read.location,
        product=read.product,
        unit=read.unit,
        lot=read.lot,
        produced_on=read.produced_on,
        keyed=read.keyed,
        confirmed=read.confirmed,
    )


def _seen(reader: ReaderSettings, read: Read) -> _Seen:
    station = reader.station_at(read.antenna)
    told = read.order, read.rma, read.corrects, read.parent, read.same_as
    lot = read.lot, read.produced_on
    return reader.id, station, read.text, *told, *lot, read.location, read.product
