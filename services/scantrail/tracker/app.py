"""The tracker's shell: records in, the pure fold, records out. No rule lives here."""

import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from scantrail import __version__
from scantrail.contracts.records import (
    SCAN_BYTES_MAX,
    Headers,
    UnreadableRecord,
    cloud_event_headers,
    decode_link,
    decode_scan,
    decode_state,
    encode,
    encode_link,
    encode_movement,
    encode_state,
    folded_up_to,
    is_link,
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
from scantrail.domain.custody import Observation, Outcome, UnitState, hold, observe
from scantrail.domain.joining import JoinedInACircle, forward, forward_link, hand_over
from scantrail.domain.scan import Scan
from scantrail.infra import metrics
from scantrail.infra.health import Health
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

#: Why a scan was set aside on which the code raised.
CODE_FAILED = "code_failed"

#: Why a link was set aside that goes beyond domain.children.CHILDREN_MAX.
TOO_MANY_CHILDREN = "too_many_children"

#: Why a scan was set aside whose key was joined into one that was joined into it.
JOINED_IN_A_CIRCLE = "joined_in_a_circle"

Observe = Callable[..., Observation]


class Tracking:
    """Decides a batch: which movements and rejections it makes, what it tells to parents and
    children, and which states it ends in.

    A scan on which `observe` raises is set aside and its unit held; `failures` says when that
    happens too often.
    """

    def __init__(self, prefix: str, failures: FailureLimit, *, observe: Observe = observe) -> None:
        self._failures = failures
        self._observe = observe
        self._movements = topic_name(prefix, Topic.MOVEMENTS)
        self._rejected = topic_name(prefix, Topic.SCANS_REJECTED)
        self._scans = topic_name(prefix, Topic.SCANS)
        self._source = f"/{prefix}/tracker"
        # Looked up once: under its lock, for each scan, it would cost as much as decoding the scan.
        self._age = metrics.SCAN_AGE_SECONDS.labels("movement")

    def decide(self, records: Sequence[Any], load: Callable[[bytes], bytes | None]) -> Outputs:
        """Fold `records` of one partition in their order; `load` gives a stored state by key."""
        states: dict[bytes, UnitState | None] = {}
        changed = set[bytes]()
        movements: list[Record] = []
        rejected: list[Record] = []
        told: list[Record] = []
        outcomes = Counter[Outcome]()
        recorded = list[datetime]()
        taken = 0
        for record in records:
            if len(told) >= TOLD_MAX:
                break
            taken += 1
            if is_link(record.value):
                self._take_link(record, load, states, changed, told, rejected)
                continue
            try:
                scan = decode_scan(record.key, record.value)
            except UnreadableRecord as error:
                rejected.append(self._rejection(record, error.reason, error.detail))
                continue
            known = states.get(record.key)
            stored = None if record.key in states else load(record.key)
            try:
                if stored is not None:
                    known = decode_state(stored)
                seen = self._observe(known, scan, offset=record.offset)
                telling: list[Record] = []
                if seen.outcome is Outcome.FORWARDED:
                    telling = self._forward(seen.state, scan)
                elif seen.accepted and is_concerned(seen.state, scan):
                    seen, telling = self._tell(known, seen, scan)
                movement = self._movement(scan, known, seen) if seen.accepted else None
            except JoinedInACircle as error:
                rejected.append(self._rejection(record, JOINED_IN_A_CIRCLE, str(error)))
                continue
            except Exception as error:  # noqa: BLE001  whatever the code may raise on a scan
                traceback.print_exc()
                self._failures.failed()
                held = hold(known, scan, offset=record.offset)
                at = held.version
                if isinstance(error, msgspec.MsgspecError):  # the state cannot be read: it stays
                    at = version_of(stored or b"")
                else:
                    states[record.key] = held
                    changed.add(record.key)
                rejected.append(self._rejection(record, CODE_FAILED, repr(error), unit_version=at))
                continue
            outcomes[seen.outcome] += 1
            states[record.key] = known
            if seen.outcome is Outcome.REPLAYED:
                continue
            states[record.key] = seen.state
            changed.add(record.key)
            told += telling
            if seen.outcome is Outcome.CONFLICTING_EVENT:
                rejected.append(
                    self._rejection(
                        record,
                        seen.outcome.value,
                        f"event {scan.event_id} was accepted before with other content",
                    )
                )
            if movement is not None:
                movements.append(movement)
                recorded.append(scan.record_time)
        self._failures.passed(taken)
        for outcome, count in outcomes.items():
            metrics.SCANS_PROCESSED.labels("tracker", outcome.value).inc(count)
        now = datetime.now(UTC)  # no movement leaves before the last is made
        for record_time in recorded:
            self._age.observe(max((now - record_time).total_seconds(), 0.0))
        metrics.LAST_PROCESSED.labels("tracker").set_to_current_time()
        made = {self._rejected: rejected, self._movements: movements, self._scans: told}
        return Outputs(
            records={topic: made[topic] for topic in made if made[topic]},
            states=[
                (key, encode_state(state))
                for key, state in states.items()
                if key in changed and state is not None
            ],
            taken=taken,
        )

    def _tell(
        self, known: UnitState | None, seen: Observation, scan: Scan
    ) -> tuple[Observation, list[Record]]:
        """What other units learn of an accepted scan, and the observation with it in its state."""
        state, links = tell_parents(seen.state, scan)
        derived = tell_children(known, seen, scan)
        if state.children and is_too_deep(scan):
            log.warning("what is inside does not follow: too many levels", unit=scan.unit)
        if state.joined is not None and (known is None or known.joined is None):
            derived, inside = hand_over(known, state, scan)
            links, state = links + inside, state._replace(children=())
        told = [self._link(link) for link in links] + [self._scan(each) for each in derived]
        return seen._replace(state=state, revealed=revealed(known, seen)), told

    def _forward(self, state: UnitState, scan: Scan) -> list[Record]:
        forwarded = forward(state, scan)
        return [] if forwarded is None else [self._scan(forwarded)]

    def _take_link(
        self,
        record: Any,
        load: Callable[[bytes], bytes | None],
        states: dict[bytes, UnitState | None],
        changed: set[bytes],
        told: list[Record],
        rejected: list[Record],
    ) -> None:
        """Take over what a child says; one that cannot be taken over is set aside, with its bytes.

        It holds no unit: the parent's own scans are all there.
        """
        try:
            link = decode_link(record.key, record.value)
        except UnreadableRecord as error:
            rejected.append(self._rejection(record, error.reason, error.detail))
            return
        known = states.get(record.key)
        stored = None if record.key in states else load(record.key)
        try:
            if stored is not None:
                known = decode_state(stored)
            state, derived, forwarded = _learned(known, link, record.offset)
        except TooManyChildren as error:
            rejected.append(self._rejection(record, TOO_MANY_CHILDREN, str(error)))
            return
        except Exception as error:  # noqa: BLE001  whatever the code may raise on a link
            traceback.print_exc()
            self._failures.failed()
            rejected.append(self._rejection(record, CODE_FAILED, repr(error)))
            return
        states[record.key] = known
        if known is not None and state is known:
            return
        states[record.key] = state
        changed.add(record.key)
        told += [self._scan(each) for each in derived]
        told += [self._link(each) for each in forwarded]
        metrics.SCANS_PROCESSED.labels("tracker", "link").inc()

    def _link(self, link: Link) -> Record:
        id_ = "/".join((link.child, *filter(None, (link.via,)), f"{link.version}"))
        headers = self._headers("scantrail.link.v1", id_, link.parent, link.since)
        return link.parent.encode(), encode_link(link), headers

    def _scan(self, scan: Scan) -> Record:
        headers = self._headers("scantrail.scan.v1", scan.event_id, scan.unit, scan.event_time)
        return scan.unit.encode(), encode(scan), headers

    def _movement(self, scan: Scan, known: UnitState | None, seen: Observation) -> Record:
        headers = self._headers("scantrail.movement.v1", scan.event_id, scan.unit, scan.event_time)
        value = encode_movement(scan, known.current if known else None, seen)
        return scan.unit.encode(), value, headers

    def _headers(self, type_: str, id_: str, subject: str, time: datetime) -> Headers:
        return cloud_event_headers(
            id=id_, source=self._source, type=type_, subject=subject, time=time
        )

    def _rejection(
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


def _learned(
    known: UnitState | None, link: Link, offset: int
) -> tuple[UnitState, list[Scan], list[Link]]:
    """The parent's state with `link`, and the scans and links that it leads to."""
    if known is None or known.joined is None:
        return *learn(known, link, offset=offset), []
    if offset <= known.offset:
        return known, [], []
    return known._replace(offset=offset), [], [forward_link(known, link)]


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
            source=topic_name(prefix, Topic.SCANS),
            changelog=topic_name(prefix, Topic.UNITS),
            partitions=settings.partitions,
            folder=Path(settings.data_dir),
            store=settings.tracker_store,
            ordinal=settings.tracker_ordinal,
        ),
        Tracking(prefix, failures).decide,
        folded_up_to,
        on_ready=lambda: health.has("units recovered"),
        on_unready=lambda: health.lacks("units recovered"),
        on_beat=health.beat,
    )
