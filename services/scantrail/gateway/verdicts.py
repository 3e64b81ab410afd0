"""May this unit leave? Answered from memory, recorded on disk, forwarded to Kafka.

1. the question is judged by recalls, holds and orders, and a release for an order is counted in
   memory. Died here: no answer, so a hold.
2. its scans and what is counted are written to the journal (SQLite, one fsync for all that come
   together). Died here: they are forwarded after the start; no answer, so a hold, and the unit has
   its place in the order when it is asked for again.
3. the answer is sent. Nothing of this waits for Kafka.
4. the journal's records go to Kafka as reads do (`Outlet`), and are removed from the journal. Died
   in between: they are sent again, under the same ids, and count once.

A question is a scan with step staging_outbound; where the answer is hold, a second one follows,
with step holding. Only an exit's confirmation (`confirm_exit`) claims what its station is for.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, NamedTuple

from scantrail.contracts.records import RejectedRead, decode_scan
from scantrail.contracts.topics import Topic
from scantrail.domain.identifiers import product_and_serial
from scantrail.domain.product import Product, Serials, policy_at
from scantrail.domain.station import Station
from scantrail.domain.verdict import (
    ForOrder,
    Judgement,
    Verdict,
    Why,
    asked_at,
    held_at,
    judge_product,
    judge_unit,
)
from scantrail.gateway.contexts import Contexts
from scantrail.gateway.decoders.outcome import Invalid, NoRead, Read
from scantrail.gateway.notices import Notices
from scantrail.gateway.orders import Orders
from scantrail.gateway.outlet import Outlet, insistently
from scantrail.gateway.releases import Release, Releases
from scantrail.gateway.scans import Known, ScanMaker
from scantrail.gateway.spool import Change, Outgoing, Spool, SpoolFull
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

#: So often `watch` looks whether the process runs; what stood still twice as long is seen.
TURN_S = 0.02

#: Refusals of a read that a person mends in the settings: the unit may be known well.
_UNSET: Final = frozenset({Why.UNKNOWN_STATION.value, Why.UNKNOWN_READER.value})


class _Question(NamedTuple):
    """A judged question, what is to be written of it, and by what it counts for its order."""

    judged: Judgement
    records: list[Outgoing]
    changes: Sequence[Change] = ()
    keys: tuple[str, ...] = ()
    release: Release | None = None


class Verdicts:
    """One for the gateway. `deadline_s` is from a question's arrival to its answer, `stale_s` as
    in domain.verdict.judge_unit; `unknown_order` is the verdict where nobody entered the order."""

    def __init__(
        self,
        prefix: str,
        known: Known,
        notices: Notices,
        orders: Orders,
        journal: Spool,
        contexts: Contexts,
        statuses: Statuses,
        *,
        deadline_s: float,
        stale_s: float,
        unknown_order: Verdict = Verdict.HOLD,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.deadline_ms = round(deadline_s * 1000)
        self._known = known
        self._maker = ScanMaker(prefix, known)
        self._notices = notices
        self._orders = orders
        self._releases = Releases(journal)
        self._journal = journal
        self._contexts = contexts
        self._statuses = statuses
        self._deadline_s = deadline_s
        self._stale_s = stale_s
        self._unknown_order = unknown_order
        self._now = now
        self._clock = clock
        self._start = secrets.token_hex(4)
        self._sequence = 0
        self._turned: float | None = None
        self._added = asyncio.Event()
        self._behind = set[asyncio.Task[None]]()
        for verdict in Verdict:
            metrics.VERDICT_SECONDS.labels(verdict.value)

    def arrived(self) -> float:
        """When that came which is read from a connection now: at the earliest, where the process
        stood still meanwhile. That is seen only while `watch` runs."""
        now = self._clock()
        if self._turned is not None and now - self._turned > 2 * TURN_S:
            return self._turned
        return now

    async def watch(self) -> None:
        """Keep `arrived` right until cancelled."""
        try:
            while True:
                if self._turned is not None and self._clock() - self._turned > 2 * TURN_S:
                    # The process stood still, and what came meanwhile is read only after this: in
                    # the next turn of the loop its connections are looked at behind us.
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                self._turned = self._clock()
                await asyncio.sleep(TURN_S)
        finally:
            self._turned = None

    async def ask(
        self,
        reader_id: str | None,
        asked: Read | NoRead | Invalid,
        *,
        station: str | None = None,
        heard: float | None = None,
    ) -> Judgement:
        """The verdict on what reader `reader_id` read, at `station` where it is not the reader's.

        `heard` is when the question came (None: now), as `arrived` told it. Never raises, and comes
        by the deadline unless the whole process stands still.
        """
        began, is_late = self._clock() if heard is None else heard, False
        if isinstance(asked, Read):
            asked = self._with_order(reader_id, asked)
        question = self._judged(reader_id, asked, station)
        judged = question.judged
        try:
            async with asyncio.timeout(self._deadline_s - (self._clock() - began)):
                await self._write(question.records, question.changes)
        except SpoolFull as error:
            log.error("question is not recorded", reader=reader_id, reason=str(error))
            if judged.verdict is Verdict.RELEASE:
                detail = f"the question could not be recorded: {error}"
                judged = Judgement(Verdict.HOLD, Why.NOT_RECORDED, detail)
                self._taken_back(question)  # not on this disk: a start may count too many
        except TimeoutError:  # what was begun is finished all the same
            is_late = True
        if judged.verdict is Verdict.RELEASE:
            spent_s = self._clock() - began
            if is_late or spent_s > self._deadline_s:
                detail = f"{spent_s * 1000:.0f} ms have passed, {self.deadline_ms} are allowed"
                judged = Judgement(Verdict.HOLD, Why.LATE, detail)
                self._record_behind(reader_id, asked, station, self._taken_back(question))
        metrics.VERDICTS.labels(judged.verdict.value, str(judged.reason)).inc()
        metrics.VERDICT_SECONDS.labels(judged.verdict.value).observe(self._clock() - began)
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
                if not self._journal.count:  # of what is still being written nobody may tell
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

    def _with_order(self, reader_id: str | None, read: Read) -> Read:
        """The read with the order that was scanned at its reader before, unless it names one."""
        reader = None if reader_id is None else self._known.readers.get(reader_id)
        if reader is None or read.order is not None:
            return read
        standing = self._contexts.standing(reader.id, reader.context, self._now())
        return replace(read, order=standing.get("order"))

    def _judged(
        self, reader_id: str | None, asked: Read | NoRead | Invalid, station: str | None
    ) -> _Question:
        """The verdict by what is known, and what is to be written of the question."""
        if isinstance(asked, NoRead):
            self._count(reader_id, "no_read")
            told = "the reader was triggered and read nothing"
            return _Question(Judgement(Verdict.UNKNOWN, "no_read", told), [])
        now = self._now()
        record, made = self._recorded(reader_id, asked, station, now, asked_at)
        if isinstance(made, RejectedRead) and isinstance(asked, Read):
            product = self._maker.product_of(made)
            if product is not None:
                product = policy_at(product, now)
                return self._judged_by_product(reader_id, asked, product, record, made.reason)
        self._count(reader_id, "invalid" if isinstance(made, RejectedRead) else "accepted")
        if isinstance(made, RejectedRead):
            metrics.REJECTED.labels(Topic.READS_REJECTED.value, made.reason).inc()
            verdict = Verdict.HOLD if made.reason in _UNSET else Verdict.UNKNOWN
            return _Question(Judgement(verdict, made.reason, made.detail), [record])
        unit = made.key.decode()
        known_keys = self._known.keys_of(unit)
        keys = known_keys or (unit,)
        # By the unit's own code, or by what is told beside it, as its scan has them.
        marks = decode_scan(made.key, made.value)
        against = self._notices.against(keys, lot=marks.lot, produced_on=marks.produced_on)
        confirmed_s = self._notices.confirmed_s()
        for_order = None
        if isinstance(asked, Read) and asked.order is not None:
            named = dict.fromkeys(product_and_serial(key)[0] for key in keys)
            products = [product for product in named if product is not None]
            for_order = self._for_order(asked.order, keys, products)
            confirmed_s = _older(confirmed_s, self._orders.confirmed_s())
        if known_keys is None:
            # Of a unit whose other ids cannot be told a recall of one of them may be missed, and
            # the product of another is not seen.
            for_order = confirmed_s = None
        judged = judge_unit(
            unit,
            against.recalls,
            against.reasons,
            for_order,
            undecided=against.undecided,
            unreadable=self._notices.unreadable(
                keys, of_product=self._product_told(reader_id, asked)
            ),
            confirmed_s=confirmed_s,
            stale_s=self._stale_s,
        )
        if judged.verdict is not Verdict.RELEASE:
            held, _ = self._recorded(reader_id, asked, station, now, held_at)
            return _Question(judged, [record, held], self._releases.take_back(keys), keys)
        if for_order is None or not for_order.products:
            return _Question(judged, [record])
        ordered = for_order.order and for_order.order.ordered_of(for_order.products)
        release, changes = self._releases.add(
            keys, for_order.reference, ordered or for_order.products[0], now
        )
        return _Question(judged, [record], changes, keys, release)

    def _judged_by_product(
        self,
        reader_id: str | None,
        asked: Read,
        product: Product,
        record: Outgoing,
        refusal: str,
    ) -> _Question:
        """The verdict on a unit of which only its product was read. No scan tells of it: where it
        leaves without a serial it is counted, else it is set aside as a read is that names none."""
        confirmed_s, for_order = self._notices.confirmed_s(), None
        if asked.order is not None:
            for_order = self._for_order(asked.order, (), [product.id])
            confirmed_s = _older(confirmed_s, self._orders.confirmed_s())
        has_serials = product.serials is not Serials.NOT_USED
        judged = judge_product(
            product,
            self._notices.against_some_of(product.id, has_serials=has_serials),
            for_order,
            unreadable=self._notices.unreadable_of([product.id]),
            confirmed_s=confirmed_s,
            stale_s=self._stale_s,
        )
        if judged.reason != Why.NO_SERIAL:
            self._count(reader_id, "unserialised")
            return _Question(judged, [])
        self._count(reader_id, "invalid")
        metrics.REJECTED.labels(Topic.READS_REJECTED.value, refusal).inc()
        return _Question(judged, [record])

    def _product_told(self, reader_id: str | None, asked: Read | Invalid) -> str | None:
        """The product by which a code without a mark of its own was read."""
        reader = None if reader_id is None else self._known.readers.get(reader_id)
        told = asked.product if isinstance(asked, Read) else None
        return told or (None if reader is None else reader.product)

    def _for_order(self, reference: str, keys: Sequence[str], products: Sequence[str]) -> ForOrder:
        """The order that a question names, as far as it is known, for the unit of these keys and
        products. Of a unit without keys nobody can tell which others were released."""
        return ForOrder(
            reference=reference,
            order=self._orders.find(reference),
            products=products,
            released={
                each: self._releases.others(reference, each, keys) if keys else 0
                for each in products
            },
            must_be_known=self._unknown_order is not Verdict.RELEASE,
            is_unreadable=self._orders.is_unreadable(reference),
        )

    def _taken_back(self, question: _Question) -> list[Change]:
        """A release that nobody was told of is none, unless the unit was asked for again since."""
        if question.release is None:
            return []
        return self._releases.take_back(question.keys, question.release)

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
            return self._maker.set_aside(made), made
        return made, made

    def _record_behind(
        self,
        reader_id: str | None,
        asked: Read | NoRead | Invalid,
        station: str | None,
        changes: list[Change],
    ) -> None:
        """The question is recorded, or is just being; that it ended in a hold follows it."""
        if isinstance(asked, NoRead):
            return
        record, _ = self._recorded(reader_id, asked, station, self._now(), held_at)
        behind = asyncio.create_task(self._write_late(record, changes))
        self._behind.add(behind)
        behind.add_done_callback(self._behind.discard)

    async def _write_late(self, record: Outgoing, changes: list[Change]) -> None:
        try:
            await self._write([record], changes)
        except SpoolFull as error:
            log.error("hold is not recorded", reason=str(error))

    async def _write(self, records: list[Outgoing], changes: Sequence[Change] = ()) -> None:
        if records:
            await self._journal.append(records, changes)
            self._added.set()

    def _count(self, reader_id: str | None, outcome: str) -> None:
        self._statuses.heard(NAMELESS if reader_id is None else reader_id, {outcome: 1}, None)


def _older(first_s: float | None, second_s: float | None) -> float | None:
    """The greater of two ages; None where one of them is."""
    return None if first_s is None or second_s is None else max(first_s, second_s)
