"""Reads become scans here, or are set aside with the reason; either is durable before it counts."""

import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from scantrail.contracts.identity import identify
from scantrail.contracts.records import (
    NAME_LENGTH_MAX,
    RejectedRead,
    cloud_event_headers,
    encode,
)
from scantrail.contracts.topics import Topic, topic_name
from scantrail.domain.identifiers import NotIdentified
from scantrail.domain.scan import ORDER_LENGTH_MAX, is_order_reference
from scantrail.domain.station import Station, claim
from scantrail.domain.vocabulary import OUTBOUND_STEPS
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
from scantrail.gateway.spool import Outgoing
from scantrail.gateway.strays import Sightings, Strays, told_stray
from scantrail.infra import metrics
from scantrail.infra.logs import logger

log = logger(__name__)

#: Reads whose repetition within a reader's debounce_s is noticed.
REMEMBERED_READS = 20_000

#: A set-aside read is kept whole up to here: codes are far shorter.
READ_LENGTH_MAX = 2048

SAME_AS_ALONE = (
    "`same_as` stands alone: send what goes into a parent, or corrects a scan, as another read"
)

SAME_AS_ELSEWHERE = (
    "a read with `same_as` moves nothing, and a unit that goes out here would be missed: tell it at"
    " another station, and leave `same_as` out of the reads of this one"
)

#: A scan shows how its unit was read; it must stay within records.SCAN_BYTES_MAX.
SCAN_READ_LENGTH_MAX = 512

#: Reader, station, code, order, what it corrects, parent, what it is the same as.
_Seen = tuple[str, str, str, str | None, str | None, str | None, str | None]


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
        readers: Mapping[str, ReaderSettings],
        stations: Mapping[str, Station],
        outlet: Outlet,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._prefix = prefix
        self._readers = readers
        self._stations = stations
        self._outlet = outlet
        self._now = now
        self._start = secrets.token_hex(4)  # ids of another start are others
        self._sequence = 0
        self._last: OrderedDict[_Seen, datetime] = OrderedDict()
        self._strays = Strays()

    async def take(
        self, reader_id: str, outcomes: Sequence[Outcome], *, sent_as: Protocol | None = None
    ) -> Taken:
        """Make scans of what reader `reader_id` told; returns once all of it is durable.

        `sent_as` is the protocol in which it came, where the sender could take another: reads of a
        reader that is configured for another one are set aside, as wrong_protocol.
        Raises SpoolFull where it cannot be made durable; then nothing of it counts.
        """
        reader = self._readers.get(reader_id)
        protocol = reader.protocol if reader else "unknown"
        records: list[Outgoing] = []
        rejected: list[Rejection] = []
        accepted, counts = 0, Counter[str]()
        seen: dict[_Seen, datetime] = {}
        sightings: Sightings = {}
        for index, outcome in enumerate(outcomes):
            if isinstance(outcome, NoRead | Heartbeat | Control):
                word = "no_read" if isinstance(outcome, NoRead) else "control"
                counts[word] += 1
                continue
            if isinstance(outcome, Lost):
                counts["lost"] += outcome.count
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
            made = self._made(reader_id, reader, outcome, sent_as)
            if isinstance(made, RejectedRead):
                rejected.append(Rejection(index, made.reason, made.detail))
                counts["invalid"] += 1
                records.append(self._set_aside(made))
                continue
            accepted += 1
            counts["accepted"] += 1
            records.append(made)
            if isinstance(outcome, Read) and reader is not None and outcome.event_id is None:
                seen[_seen(reader, outcome)] = self._time_of(outcome)
        if records:
            await self._outlet.keep(records)
        self._remember(seen)
        self._strays.remember(sightings)
        if counts["lost"]:
            log.warning("reader lost reads", reader=reader_id, count=counts["lost"])
        for word, count in counts.items():  # what was refused for want of room comes again
            metrics.READS.labels(protocol, word).inc(count)
        for told in rejected:
            metrics.REJECTED.labels(Topic.READS_REJECTED.value, told.reason).inc()
        return Taken(accepted, tuple(rejected))

    async def replay(self, reads: Sequence[RejectedRead]) -> Taken:
        """Take reads that were set aside once more, under the ids and times they had."""
        records: list[Outgoing] = []
        rejected: list[Rejection] = []
        sightings: Sightings = {}
        for index, read in enumerate(reads):
            made = self._again(read, sightings)
            if isinstance(made, RejectedRead):
                rejected.append(Rejection(index, made.reason, made.detail))
                made = self._set_aside(made)
            records.append(made)
        if records:
            await self._outlet.keep(records)
        self._strays.remember(sightings)
        return Taken(len(reads) - len(rejected), tuple(rejected))

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
        reader = self._readers.get(read.reader)
        sent = Read(
            read.read,
            aim=read.aim,
            event_time=read.event_time,
            order=read.order,
            event_id=read.event_id,
            antenna=read.antenna,
            rssi_dbm=read.rssi_dbm,
            direction=read.direction,
            corrects=read.corrects,
            parent=read.parent,
            same_as=read.same_as,
        )
        why = reader and self._why_stray(read.reason, reader, sent, sightings)
        if why:
            detail = f"a stray: {why}; if it counts, mend the readers' file, restart, replay"
            return msgspec.structs.replace(read, reason="stray", detail=detail)
        return self._scan(
            read.reader,
            reader,
            sent,
            event_id=read.event_id,
            sequence=read.sequence,
            event_time=read.event_time,
            record_time=record_time,
        )

    def _why_stray(
        self, reason: str, reader: ReaderSettings, read: Read, sightings: Sightings
    ) -> str | None:
        """Only what was set aside before its reader was known has not yet been counted."""
        if reason in ("unknown_reader", "stray"):
            return self._strays.why(reader, read, self._now(), sightings)
        return told_stray(reader, read)

    def _made(
        self,
        reader_id: str,
        reader: ReaderSettings | None,
        outcome: Read | Invalid,
        sent_as: Protocol | None,
    ) -> Outgoing | RejectedRead:
        self._sequence += 1
        record_time = self._now()
        minted = f"{reader_id}/{self._start}/{self._sequence}"
        if isinstance(outcome, Invalid):
            return RejectedRead(
                event_id=minted,
                reader=reader_id,
                station=reader.station if reader else None,
                reason=outcome.reason,
                detail=MENDS[outcome.reason],
                read=_text(outcome.raw),
                event_time=record_time,
                record_time=record_time,
                sequence=self._sequence,
            )
        event_id, sequence = minted, self._sequence
        own = outcome.event_id or outcome.fingerprint
        if own is not None:
            # The device's own id: the same after a retry, and so must be all that goes with it.
            event_id, sequence = f"{reader_id}/{own}", outcome.sequence or 0
        return self._scan(
            reader_id,
            reader,
            outcome,
            event_id=event_id,
            sequence=sequence,
            event_time=outcome.event_time,
            record_time=record_time,
            sent_as=sent_as,
        )

    def _scan(
        self,
        reader_id: str,
        reader: ReaderSettings | None,
        read: Read,
        *,
        event_id: str,
        sequence: int,
        event_time: datetime | None,
        record_time: datetime,
        sent_as: Protocol | None = None,
    ) -> Outgoing | RejectedRead:
        station_id = reader.station_at(read.antenna) if reader else None

        def refused(reason: str, detail: str) -> RejectedRead:
            return RejectedRead(
                event_id=event_id,
                reader=reader_id,
                station=station_id,
                reason=reason,
                detail=detail,
                read=_text(read.text),
                event_time=event_time or record_time,
                record_time=record_time,
                sequence=sequence,
                aim=read.aim,
                order=read.order and read.order[:ORDER_LENGTH_MAX],
                corrects=read.corrects and read.corrects[:NAME_LENGTH_MAX],
                parent=read.parent and read.parent[:NAME_LENGTH_MAX],
                same_as=read.same_as and read.same_as[:NAME_LENGTH_MAX],
                antenna=read.antenna,
                rssi_dbm=read.rssi_dbm,
                direction=read.direction,
            )

        if reader is None or station_id is None:
            return refused(
                "unknown_reader",
                f"no [[reader]] has id {reader_id!r}: add it to the readers' file, restart, replay",
            )
        if sent_as not in (None, reader.protocol):
            return refused(
                "wrong_protocol",
                f"reader {reader_id!r} has protocol {reader.protocol!r}, and sent {sent_as!r}: mend"
                " the readers' file, restart, replay; or the address to which it posts",
            )
        station = self._stations.get(station_id)
        if station is None:
            return refused(
                "unknown_station",
                f"station {station_id!r} of reader {reader_id!r} is not configured:"
                f" PUT /stations/{station_id}, then replay",
            )
        if read.event_id is not None and event_time is None:
            return refused(
                "no_event_time",
                "a read with its own event_id needs its time too: give `timestamp`, or its"
                " repetition cannot be told from another read",
            )
        if read.order is not None and not is_order_reference(read.order):
            return refused("bad_order", MENDS["bad_order"])
        if read.corrects is not None and not 0 < len(read.corrects) <= NAME_LENGTH_MAX:
            return refused("bad_corrects", MENDS["bad_corrects"])
        try:
            unit = identify(read.text, aim=read.aim, product=reader.product)
        except NotIdentified as error:
            return refused(error.reason, error.detail)
        if read.same_as is not None and (read.parent or read.corrects):
            return refused("bad_same_as", SAME_AS_ALONE)
        if read.same_as is not None and station.business_step in OUTBOUND_STEPS:
            return refused("bad_same_as", SAME_AS_ELSEWHERE)
        named = dict.fromkeys(("parent", "same_as"))
        for name in named:
            spelling = getattr(read, name)
            if spelling is None:
                continue
            try:
                named[name] = identify(spelling).key
            except NotIdentified as error:
                return refused(f"bad_{name}", f"`{name}`: {error.detail}")
            if named[name] == unit.key or len(spelling) > NAME_LENGTH_MAX:
                return refused(f"bad_{name}", MENDS[f"bad_{name}"])
        scan = claim(
            station,
            unit.key,
            event_id=event_id,
            reader=reader_id,
            sequence=sequence,
            event_time=event_time or record_time,
            record_time=record_time,
            order=read.order,
            read=_text(read.text)[:SCAN_READ_LENGTH_MAX],
            corrects=read.corrects,
            **named,
        )
        headers = cloud_event_headers(
            id=event_id,
            source=f"/{self._prefix}/gateway/{reader_id}",
            type="scantrail.scan.v1",
            subject=unit.key,
            time=scan.event_time,
        )
        topic = topic_name(self._prefix, Topic.SCANS)
        return Outgoing(topic, unit.key.encode(), encode(scan), headers)

    def _set_aside(self, read: RejectedRead) -> Outgoing:
        topic = topic_name(self._prefix, Topic.READS_REJECTED)
        return Outgoing(topic, read.reader.encode(), encode(read), [])

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


def _seen(reader: ReaderSettings, read: Read) -> _Seen:
    station = reader.station_at(read.antenna)
    return reader.id, station, read.text, read.order, read.corrects, read.parent, read.same_as


def _text(raw: bytes | str) -> str:
    """What was read, as text that every store takes: bytes that are none are escaped."""
    text = raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw
    return text.replace("\0", "\\x00")[:READ_LENGTH_MAX]
