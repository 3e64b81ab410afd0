"""The tracker's shell: records in, the pure fold, records out. No rule lives here."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from scantrail import __version__
from scantrail.contracts.ages import read_at
from scantrail.contracts.records import (
    SCAN_BYTES_MAX,
    Headers,
    UnreadableRecord,
    cloud_event_headers,
    decode_link,
    decode_refold,
    decode_scan,
    decode_state,
    encode,
    encode_link,
    encode_movement,
    encode_state,
    folded_up_to,
    is_link,
    is_refold,
    rejection_headers,
    version_of,
)
from scantrail.contracts.topics import Topic, topic_name
from scantrail.domain.children import (
    Link,
    TooManyChildren,
    is_concerned,
    is_too_deep,
    learn,
    revealed,
    tell_children,
    tell_parents,
)
from scantrail.domain.custody import (
    Observation,
    Outcome,
    Overtaken,
    Rebase,
    TooManyKeys,
    UnitState,
    hold,
    observe,
    rebase,
)
from scantrail.domain.joining import (
    JoinedInACircle,
    forward,
    forward_link,
    hand_over,
    take_back,
)
from scantrail.domain.scan import Scan
from scantrail.infra import metrics
from scantrail.infra.credentials import kafka_access
from scantrail.infra.health import Health
from scantrail.infra.kafka_watch import watch_kafka
from scantrail.infra.logs import logger
from scantrail.infra.settings import Settings
from scantrail.tracker.failures import FailureLimit
from scantrail.tracker.faust_batches import BatchApp, BatchSettings, Outputs
from scantrail.tracker.restoring import Record

log = logger(__name__)

#: A larger record, with its headers, is set aside cut short, and says so.
REJECTED_BYTES_MAX = 900_000
KEY_BYTES_MAX = 1024

#: Scans and links that a part of a batch sends to other units: no more records are then decided, or
#: a run of full cartons would take longer than the group waits for a sign of life, and all memory.
TOLD_MAX = 5_000

#: Why a record was set aside on which the code raised.
CODE_FAILED = "code_failed"

#: Why one was set aside that can be read, and cannot be applied.
NOT_APPLIED: dict[type[Exception], str] = {
    TooManyChildren: "too_many_children",  # a link, beyond domain.children.CHILDREN_MAX
    JoinedInACircle: "joined_in_a_circle",  # a scan that came back to a key which forwarded it
    TooManyKeys: "too_many_keys",  # a scan that tells of one, beyond domain.custody.ALIASES_MAX
    Overtaken: "refold_overtaken",  # a new base, of another version of its unit
}

#: Scans of parents that a part of a batch holds against the stays of their children: full parents
#: that are folded anew, scan after scan, would else stop everything for half a minute.
COMPARED_MAX = 2_000_000

#: Every reason for which a record is set aside. Each is counted from 0 on: a rule that looks for a
#: rise would not see a count that begins with 1.
REASONS = (
    "no_value",
    "too_large",
    "not_json",
    "nul_character",
    "not_a_scan",
    "not_a_link",
    "not_a_refold",
    "no_time_zone",
    "wrong_key",
    Outcome.CONFLICTING_EVENT.value,
    *NOT_APPLIED.values(),
    CODE_FAILED,
)

Observe = Callable[..., Observation]
Load = Callable[[bytes], bytes | None]

#: What a record of `scans` can be: a scan, a child's link, or a unit's new base.
Content = Scan | Link | tuple[Scan, Rebase]


class Tracking:
    """Decides a batch: which movements and rejections it makes, what it tells to parents and
    children, and which states it ends in.

    A scan on which `observe` raises is set aside and its unit held; `failures` says when that
    happens too often.
    """

    def __init__(self, prefix: str, failures: FailureLimit, *, observe: Observe = observe) -> None:
        self._failures = failures
        self._observe = observe
        self._out = _Out(prefix)
        # Looked up once: under its lock, for each scan, it would cost as much as decoding the scan.
        self._age = metrics.SCAN_AGE_SECONDS.labels("movement")
        for reason in REASONS:
            metrics.REJECTED.labels(Topic.SCANS_REJECTED.value, reason)
        for outcome in Outcome:
            metrics.SCANS_PROCESSED.labels("tracker", outcome.value)

    def decide(self, records: Sequence[Any], load: Load) -> Outputs:
        """Fold `records` of one partition in their order; `load` gives a stored state by key."""
        part = _Part(self._out, self._observe, self._failures, load)
        for record in records:
            if len(part.told) >= TOLD_MAX or part.compared >= COMPARED_MAX:
                break
            part.take(record)
        self._failures.passed(part.taken)
        for result, count in part.results.items():
            metrics.SCANS_PROCESSED.labels("tracker", result).inc(count)
        now = datetime.now(UTC)  # no movement leaves before the last is made
        for at in part.read_at:
            self._age.observe(max((now - at).total_seconds(), 0.0))
        metrics.LAST_PROCESSED.labels("tracker").set_to_current_time()
        return part.outputs()


class _Part:
    """Records that are decided together, and what they have led to so far."""

    def __init__(self, out: "_Out", observe: Observe, failures: FailureLimit, load: Load) -> None:
        self._out, self._observe, self._failures, self._load = out, observe, failures, load
        self._states: dict[bytes, UnitState | None] = {}
        self._changed = set[bytes]()
        self._movements: list[Record] = []
        self._rejected: list[Record] = []
        #: scans and links for other units
        self.told: list[Record] = []
        self.taken = 0
        #: see COMPARED_MAX
        self.compared = 0
        #: what became of the records, counted
        self.results = Counter[str]()
        #: when a device read what made a movement
        self.read_at: list[datetime] = []

    def outputs(self) -> Outputs:
        """What is to be made durable."""
        out = self._out
        made = {
            out.rejected: self._rejected,
            out.movements: self._movements,
            out.scans: self.told,
        }
        return Outputs(
            records={topic: made[topic] for topic in made if made[topic]},
            states=[
                (key, encode_state(state))
                for key, state in self._states.items()
                if key in self._changed and state is not None
            ],
            taken=self.taken,
        )

    def take(self, record: Any) -> None:
        """Apply one record, or set it aside with its bytes."""
        self.taken += 1
        try:
            content = _decode(record)
        except UnreadableRecord as error:
            self._set_aside(record, error.reason, error.detail)
            return
        key = record.key
        known = self._states.get(key)
        # A store that fails is no fault of the record: it ends the process.
        stored = None if key in self._states else self._load(key)
        try:
            if stored is not None:
                known = decode_state(stored)
            if isinstance(content, Scan):
                self._take_scan(record, known, content)
            elif isinstance(content, Link):
                self._take_link(record, known, content)
            else:
                self._take_base(record, known, *content)
        except tuple(NOT_APPLIED) as error:
            self._set_aside(record, NOT_APPLIED[type(error)], str(error))
        except Exception as error:
            log.exception(
                "the code raised on a record",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
            )
            self._failures.failed()
            at = None
            if isinstance(content, Scan):  # no other needs its unit held: the scans are all there
                held = hold(known, content, offset=record.offset)
                at = held.version
                if isinstance(error, msgspec.MsgspecError):  # the state cannot be read: it stays
                    at = version_of(stored or b"")
                else:
                    self._becomes(key, held)
            self._set_aside(record, CODE_FAILED, repr(error), unit_version=at)

    def _take_scan(self, record: Any, known: UnitState | None, scan: Scan) -> None:
        seen = self._observe(known, scan, offset=record.offset)
        telling: list[Record] = []
        if seen.outcome in (Outcome.FORWARDED, Outcome.RELEASED):
            forwarded = forward(seen.state, scan)
            telling = [] if forwarded is None else [self._out.scan(forwarded)]
        elif seen.accepted and is_concerned(seen.state, scan):
            seen, telling = self._tell(known, seen, scan)
        elif seen.outcome is Outcome.LATE:
            seen = seen._replace(revealed=revealed(known, seen))
        self._end(record, known, seen, scan, telling)
        if seen.outcome is Outcome.CONFLICTING_EVENT:
            detail = f"event {scan.event_id} was accepted before with other content"
            self._set_aside(record, seen.outcome.value, detail)

    def _take_base(self, record: Any, known: UnitState | None, scan: Scan, anew: Rebase) -> None:
        seen = rebase(known, anew, scan, offset=record.offset)
        telling: list[Record] = []
        if seen.accepted:
            seen, telling = self._tell(known, seen, scan)
        self._end(record, known, seen, scan, telling)

    def _end(
        self,
        record: Any,
        known: UnitState | None,
        seen: Observation,
        scan: Scan,
        telling: list[Record],
    ) -> None:
        movement = self._out.movement(scan, known, seen) if seen.accepted else None
        self.results[seen.outcome.value] += 1
        if seen.outcome is Outcome.REPLAYED:
            self._states[record.key] = known
            return
        self._becomes(record.key, seen.state)
        self.told += telling
        if movement is not None:
            self._movements.append(movement)
            if (at := read_at(scan)) is not None:
                self.read_at.append(at)

    def _take_link(self, record: Any, known: UnitState | None, link: Link) -> None:
        """Take over what a child says, or pass it on where the key was joined into another."""
        if known is not None and record.offset <= known.offset:
            self._states[record.key] = known
            return
        if known is not None and known.joined is not None:
            state = known._replace(offset=record.offset)
            forwarded_link = forward_link(known, link)
            telling = [] if forwarded_link is None else [self._out.link(forwarded_link)]
        else:
            state, derived = learn(known, link, offset=record.offset)
            telling = [self._out.scan(each) for each in derived]
        self._becomes(record.key, state)
        self.told += telling
        self.results["link"] += 1

    def _tell(
        self, known: UnitState | None, seen: Observation, scan: Scan
    ) -> tuple[Observation, list[Record]]:
        """What other units learn of an accepted scan, and the observation with it in its state."""
        state, links = tell_parents(seen.state, scan)
        derived = tell_children(known, seen, scan)
        self.compared += len(state.children) * len(state.kept)
        if state.children and is_too_deep(scan):
            log.warning("what is inside does not follow: too many levels", unit=scan.unit)
        if state.joined is not None and (known is None or known.joined is None):
            derived, inside = hand_over(known, state, scan)
            links, state = links + inside, state._replace(children=())
        elif seen.outcome is Outcome.CORRECTED and known is not None and _parts(known, state, scan):
            derived, inside = take_back(known, state, scan)
            gone = {link.child for link in inside}
            left = tuple(child for child in state.children if child.unit not in gone)
            links, state = links + inside, state._replace(children=left)
        told = [self._out.link(link) for link in links]
        told += [self._out.scan(each) for each in derived]
        return seen._replace(state=state, revealed=revealed(known, seen)), told

    def _becomes(self, key: bytes, state: UnitState) -> None:
        self._states[key] = state
        self._changed.add(key)

    def _set_aside(
        self, record: Any, reason: str, detail: str, *, unit_version: int | None = None
    ) -> None:
        self._rejected.append(
            self._out.rejection(record, reason, detail, unit_version=unit_version)
        )


def _parts(known: UnitState, state: UnitState, scan: Scan) -> bool:
    """Whether a correction took a join back, here or at the key that was joined into this one."""
    return known.joined != state.joined or scan.same_as is not None


def _decode(record: Any) -> Content:
    """What the record holds. Raises UnreadableRecord."""
    if is_link(record.value):
        return decode_link(record.key, record.value)
    if is_refold(record.value):
        return decode_refold(record.key, record.value)
    return decode_scan(record.key, record.value)


class _Out:
    """Values to the records that leave."""

    def __init__(self, prefix: str) -> None:
        self.movements = topic_name(prefix, Topic.MOVEMENTS)
        self.rejected = topic_name(prefix, Topic.SCANS_REJECTED)
        self.scans = topic_name(prefix, Topic.SCANS)
        self._source = f"/{prefix}/tracker"

    def link(self, link: Link) -> Record:
        id_ = "/".join((link.child, *filter(None, (link.via,)), f"{link.version}"))
        headers = self._headers("scantrail.link.v1", id_, link.parent, link.since)
        return link.parent.encode(), encode_link(link), headers

    def scan(self, scan: Scan) -> Record:
        headers = self._headers("scantrail.scan.v1", scan.event_id, scan.unit, scan.event_time)
        return scan.unit.encode(), encode(scan), headers

    def movement(self, scan: Scan, known: UnitState | None, seen: Observation) -> Record:
        headers = self._headers("scantrail.movement.v1", scan.event_id, scan.unit, scan.event_time)
        value = encode_movement(scan, known.current if known else None, seen)
        return scan.unit.encode(), value, headers

    def _headers(self, type_: str, id_: str, subject: str, time: datetime) -> Headers:
        return cloud_event_headers(
            id=id_, source=self._source, type=type_, subject=subject, time=time
        )

    def rejection(
        self, record: Any, reason: str, detail: str, *, unit_version: int | None = None
    ) -> Record:
        metrics.REJECTED.labels(Topic.SCANS_REJECTED.value, reason).inc()
        log.warning(
            "scan rejected",
            reason=reason,
            detail=detail,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
        )
        headers = rejection_headers(
            reason=reason,
            detail=detail,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            version=__version__,
            unit_version=unit_version,
        )
        kept = sum(len(part) for part in (record.key or b"", record.value or b""))
        kept += sum(len(name) + len(value or b"") for name, value in record.headers)
        if kept > REJECTED_BYTES_MAX:  # it came compressed; whole, no topic would take it
            cut = ("__connect.errors.truncated", str(kept).encode())
            key = record.key and record.key[:KEY_BYTES_MAX]
            value = record.value and record.value[:SCAN_BYTES_MAX]
            return key, value, [*headers, cut]
        return record.key, record.value, [*record.headers, *headers]


def build_tracker(settings: Settings, health: Health) -> BatchApp:
    """The wired process; SystemExit where another tracker holds this ordinal, and where this
    release was stopped because it failed on too many scans."""
    prefix = settings.topic_prefix
    failures = FailureLimit(Path(settings.data_dir), __version__)
    failures.check()
    return BatchApp(
        BatchSettings(
            app_id=f"{prefix}.tracker",
            bootstrap=settings.kafka_bootstrap,
            access=kafka_access(settings),
            source=topic_name(prefix, Topic.SCANS),
            changelog=topic_name(prefix, Topic.UNITS),
            partitions=settings.partitions,
            folder=Path(settings.data_dir),
            store=settings.tracker_store,
            ordinal=settings.tracker_ordinal,
            fenced=settings.tracker_fence == "on",
        ),
        Tracking(prefix, failures).decide,
        folded_up_to,
        on_ready=lambda: health.has("units recovered"),
        on_unready=lambda: health.lacks("units recovered"),
        on_beat=health.beat,
        on_remaining=metrics.RECOVERY_REMAINING.set,
        beside=lambda batches: watch_kafka(settings, "tracker", batches.positions, health),
    )
