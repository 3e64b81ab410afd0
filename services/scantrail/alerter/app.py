"""The alerter's shell. Per batch of movements, of what the desk found, and of reads set aside:

1. `recalls`, `holds`, `products` and `alert-policies` are read to their ends: what was published
   before the movement is known.
2. the batch is judged. Died up to here: the batch is read again.
3. alerts, and which units a recall may mean, are sent, every acknowledgement awaited. Died here:
   the batch is read again, and the same alerts, with the same ids, are sent again; whoever takes
   them, takes each id once.
4. the offsets are committed, some times a second: nobody else begins before them from here on.
5. of recalls that are new it is told from where on they were judged (domain.recall_watch), unless
   partitions were assigned anew since the batch was fetched. Died here: whoever takes over the
   partition tells it, of a later position.

While 3 to 5 of a batch are awaited (alerter.ending), the next one is fetched, judged and sent,
unless there is something to tell by 5: no alert waits for what the batch before it has still to
end. An empty poll is a batch of nothing, so that a recall takes effect where nothing moves.
"""

from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from scantrail.alerter.ending import Ending, Judged
from scantrail.alerter.watching import Hit, RecallWatch
from scantrail.contracts.in_part import movement_in_part
from scantrail.contracts.records import (
    NAME_LENGTH_MAX,
    Movement,
    RejectedRead,
    UnreadableRecord,
    cloud_event_headers,
    encode,
    facts,
    findings,
    movements,
    rejected_reads,
)
from scantrail.contracts.topics import Topic
from scantrail.domain.alert import Alert, AlertKind, Seen, judge, judge_finding
from scantrail.domain.alert_life import FINDING
from scantrail.domain.alert_policy import AlertPolicy, by_policy
from scantrail.domain.custody import Outcome
from scantrail.domain.hold import Hold, HoldReason, standing
from scantrail.domain.identifiers import product_and_serial
from scantrail.domain.product import Product, spellings_of
from scantrail.domain.recall import Marks, Recall
from scantrail.domain.recall_match import Matched, RecallMatcher
from scantrail.domain.scan import Scan, clock_skew_s
from scantrail.domain.serial_alerts import SERIAL_MISSING, judge_with_serial, judge_without_serial
from scantrail.domain.severity import Severity
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra import metrics
from scantrail.infra.beside import beside
from scantrail.infra.health import Health
from scantrail.infra.kafka import (
    Mirror,
    connect_consumer,
    connect_producer,
    patiently,
    stop_producer,
)
from scantrail.infra.kafka_watch import InHand, watch_kafka
from scantrail.infra.logs import logger
from scantrail.infra.notices import Unreadable, take_hold, take_policy, take_product, take_recall
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import name_of

log = logger(__name__)

#: What the alerter lacks until it has read them.
MIRRORED = ("recalls", "holds", "products", "policies")

#: Of which a record that this release cannot read is passed over, and counted; of `movements`
#: recalls and holds are judged by what can be read of it.
READ = (Topic.MOVEMENTS, Topic.FINDINGS, Topic.READS_REJECTED)

#: What moves nothing, or is told of another key too.
_INERT = (Outcome.NOT_INSIDE, Outcome.REFOLDED, Outcome.RELEASED)


class Notices(NamedTuple):
    """What speaks against units, and how urgent that is here."""

    recalls: RecallMatcher
    holds: dict[str, Hold]
    products: dict[str, Product]
    policies: dict[AlertKind, AlertPolicy]


class Moved(NamedTuple):
    """A movement, every key by which a notice may name its unit, and Kafka's record of it. Of one
    that cannot be read (None) only the unit is known, by the record's key."""

    movement: Movement | None
    keys: list[str]
    record: Any


async def run_alerter(settings: Settings, health: Health) -> None:
    """Judge movements until cancelled."""
    producer = await connect_producer(settings)
    notices = Notices(RecallMatcher(), {}, {}, {})

    def tell(topic: Topic, left: int) -> None:
        (health.lacks if left else health.has)(f"readable {topic.value}")

    unreadable = Unreadable(tell)
    watch = RecallWatch(settings, producer)

    def take(key: str, value: bytes | None) -> None:
        take_recall(notices.recalls, unreadable, key, value)
        watch.follow(key, notices.recalls.get(key))

    mirrors = [
        Mirror(settings, Topic.RECALLS, take),
        Mirror(settings, Topic.HOLDS, partial(take_hold, notices.holds, unreadable)),
        Mirror(settings, Topic.PRODUCTS, partial(take_product, notices.products, unreadable)),
        Mirror(settings, Topic.ALERT_POLICIES, partial(take_policy, notices.policies, unreadable)),
    ]
    consumer: AIOKafkaConsumer | None = None
    ending: Ending | None = None
    in_hand = InHand()
    _count_from_0()
    try:
        async with beside(watch_kafka(settings, "alerter", in_hand.positions, health)):
            for mirror, name in zip(mirrors, MIRRORED, strict=True):
                await mirror.start()
                health.has(name)
            topics = (Topic.MOVEMENTS, Topic.FINDINGS, Topic.READS_REJECTED)
            consumer = await connect_consumer(settings, group="alerter")
            moved, found, unread = (name_of(settings, topic) for topic in topics)
            ending = Ending(consumer, watch, in_hand)
            consumer.subscribe([moved, found, unread], listener=ending.assignments)
            in_hand.of = consumer
            health.has("kafka")
            while True:
                batch = await consumer.getmany(timeout_ms=200)
                firsts = in_hand.take(batch)
                assignment = ending.assignments.changes
                # Without anything to judge only recalls matter: that they take effect.
                others = mirrors[1:] if batch else []
                await patiently(partial(mirrors[0].catch_up, *others))
                told: dict[str, dict[TopicPartition, list[Any]]] = {
                    topic: {} for topic in (moved, found, unread)
                }
                for place, some in batch.items():
                    told[place.topic][place] = some
                begins = await watch.begins(consumer, told[moved])
                if not batch and not begins:
                    in_hand.done(firsts)
                    await ending.idle()
                    continue
                seen = read_movements(told[moved].values(), notices.products)
                raised = judge_movements(seen, notices, settings.site_travel_s)
                raised += judge_findings(told[found].values(), notices.policies)
                raised += judge_reads(told[unread].values(), notices)
                sent = await _send(producer, settings, raised)
                sent += await watch.send_hits(consumer, hits(seen, notices))
                nexts = {place: begins[place] for place in begins if place not in told[moved]}
                nexts |= {place: records[-1].offset + 1 for place, records in batch.items()}
                await ending.take(
                    Judged(
                        sent=sent,
                        movements=[each.movement for each in seen if each.movement is not None],
                        nexts=nexts,
                        begins=begins,
                        assignment=assignment,
                        firsts=firsts,
                    )
                )
    finally:
        if ending is not None:
            await ending.stop()
        if consumer is not None:
            await consumer.stop()
        for mirror in mirrors:
            await mirror.stop()
        await stop_producer(producer)


def read_movements(batch: Iterable[Iterable[Any]], known: Mapping[str, Product]) -> list[Moved]:
    """The movements of a batch of records, in their order, as far as each can be read."""
    found: list[Moved] = []

    def folds(product: str) -> bool:  # or may, where its record cannot be read
        of = known.get(product)
        return of is not None and of.fold_case

    for record in chain.from_iterable(batch):
        movement = _read_movement(record)
        if movement is not None:
            keys = [movement.unit, *movement.aliases, *filter(None, [movement.joined])]
        else:
            keys = [(record.key or b"").decode(errors="replace")]
        if 0 < len(keys[0]) <= NAME_LENGTH_MAX:
            found.append(Moved(movement, spellings_of(keys, folds), record))
    return found


def _read_movement(record: Any) -> Movement | None:
    """What can be read of it; None where that is not enough for anything to be judged."""
    told = {"partition": record.partition, "offset": record.offset}
    try:
        return movements.decode(record.value)
    except UnreadableRecord as error:
        told["reason"] = str(error)
    try:
        movement = movement_in_part(record.value)
    except UnreadableRecord as error:
        log.error("movement cannot be read", **{**told, "reason": str(error)})
        _count_unreadable(Topic.MOVEMENTS)
        return None
    log.warning("movement can be read in part", **told)
    metrics.REJECTED.labels(Topic.MOVEMENTS.value, metrics.READ_IN_PART).inc()
    return movement


def judge_movements(seen: Iterable[Moved], notices: Notices, site_travel_s: float) -> list[Alert]:
    """The alerts of movements, in their order."""
    raised: list[Alert] = []
    for movement, keys, _ in seen:
        if movement is None:
            continue
        judged = judge(
            movement.scan,
            facts(movement.facts_added, movement.scan),
            facts(movement.facts_withdrawn, movement.scan),
            recalls_of(movement.scan, keys, notices),
            visit_id=movement.visit_id or movement.scan.event_id,
            site_travel_s=site_travel_s,
            is_inert=movement.outcome in _INERT,
            is_held_where_staged=_is_held_where_staged(movement),
            is_alone=movement.outcome is Outcome.OLDER_THAN_BASE,
            revealed=[Seen(*msgspec.structs.astuple(each)) for each in movement.revealed],
            holds=_reasons(keys, notices.holds),
            absorbed=movement.absorbed or (),
        )
        if movement.outcome not in _INERT and not _tells_of_others(movement):
            product = notices.products.get(product_and_serial(movement.unit)[0] or "")
            judged += judge_with_serial(product, movement.scan)
        of_products = {product_and_serial(key)[0] for key in keys}
        raised += _by_policy(judged, notices.policies, of_products)
    return raised


def judge_findings(
    batch: Iterable[Iterable[Any]], policies: Mapping[AlertKind, AlertPolicy]
) -> list[Alert]:
    """The alerts of a batch of finding records, in their order."""
    raised: list[Alert] = []
    for record in chain.from_iterable(batch):
        try:
            alert = judge_finding(findings.decode(record.value))
            # What is stated, taken back and stated again has one id: each time is told apart.
            alert = replace(alert, told_by=f"{FINDING}{record.partition}/{record.offset}")
            raised += _by_policy([alert], policies, {product_and_serial(alert.unit or "")[0]})
        except UnreadableRecord as error:
            log.error("finding cannot be read", reason=str(error), offset=record.offset)
            _count_unreadable(Topic.FINDINGS)
    return raised


def judge_reads(batch: Iterable[Iterable[Any]], notices: Notices) -> list[Alert]:
    """The alerts of a batch of reads that made no scan, in their order."""
    raised: list[Alert] = []
    for record in chain.from_iterable(batch):
        try:
            read = rejected_reads.decode(record.value)
        except UnreadableRecord as error:
            log.error("read cannot be read", reason=str(error), offset=record.offset)
            _count_unreadable(Topic.READS_REJECTED)
            continue
        if read.reason == SERIAL_MISSING:
            product = notices.products.get(read.of_product or "")
            judged = judge_without_serial(
                product, event_id=read.event_id, station=read.station, at=_read_at(read)
            )
            raised += _by_policy(judged, notices.policies, {read.of_product})
    return raised


def _read_at(read: RejectedRead) -> datetime:
    """When the gateway says that it was read: by its own clock where the reader's is off, however
    often the read was replayed since."""
    recorded = read.first_record_time or read.record_time
    is_off = clock_skew_s(read.event_time, recorded) is not None
    return recorded if is_off else read.event_time


def _by_policy(
    judged: Iterable[Alert],
    policies: Mapping[AlertKind, AlertPolicy],
    products: Collection[str | None],
) -> list[Alert]:
    """What is to be raised of alerts, of a unit of `products` by its several keys."""
    raised = []
    for alert in judged:
        decided = by_policy(alert, policies, products)
        if decided is None:
            metrics.ALERTS_SWITCHED_OFF.labels(alert.kind.value).inc()
        else:
            raised.append(decided)
    return raised


def _is_held_where_staged(movement: Movement) -> bool:
    """Whether a conveyor tells that it holds what it has just asked for."""
    scan, before = movement.scan, movement.before
    return (
        scan.business_step is BusinessStep.HOLDING
        and before is not None
        and (before.station, before.business_step) == (scan.station, BusinessStep.STAGING_OUTBOUND)
    )


def _tells_of_others(movement: Movement) -> bool:
    """Whether it voids a scan, or says of two keys that they are one: no unit was seen by it."""
    return movement.scan.corrects is not None or movement.scan.same_as is not None


def recalls_of(scan: Scan, keys: Sequence[str], notices: Notices) -> list[Recall]:
    """The active recalls under which a unit falls by any of its keys and what its scan shows, and
    of which it is not cleared."""
    left = _standing(keys, notices, scan.lot, scan.produced_on)
    return [*left.recalled, *left.likely]


def hits(seen: Iterable[Moved], notices: Notices) -> list[Hit]:
    """Of the movements of a batch those whose unit a recall means or may mean: by what the scan
    shows, and by what one that shows less would leave open. The desk finds out, also of those that
    cannot be read."""
    found = list[Hit]()
    if not len(notices.recalls):
        return found
    for movement, keys, record in seen:
        shown: set[tuple[str | None, date | None]] = {(None, None)}
        if movement is not None:
            shown.add((movement.scan.lot, movement.scan.produced_on))
        recalls = {
            recall.id: recall
            for lot, day in shown
            for several in _standing(keys, notices, lot, day)
            for recall in several
        }
        found += [Hit(recalls[each], keys[0], record) for each in sorted(recalls)]
    return found


def _standing(
    keys: Sequence[str], notices: Notices, lot: str | None, produced_on: date | None
) -> Matched:
    matched = [
        notices.recalls.match(Marks(*product_and_serial(key), lot, produced_on)) for key in keys
    ]
    cleared = [each for key in keys if key in notices.holds for each in notices.holds[key].cleared]
    return standing(matched, cleared)


def _reasons(keys: Iterable[str], holds: Mapping[str, Hold]) -> list[HoldReason]:
    """Why a unit is held under any of its keys."""
    return [reason for key in keys if key in holds for reason in holds[key].reasons]


async def _send(
    producer: AIOKafkaProducer, settings: Settings, raised: list[Alert]
) -> list[Awaitable[Any]]:
    """Their acknowledgements, to be awaited."""
    topic = name_of(settings, Topic.ALERTS)
    sent = []
    for alert in raised:
        metrics.ALERTS_RAISED.labels(alert.kind.value, alert.severity).inc()
        headers = cloud_event_headers(
            id=f"{alert.id}-{alert.status}",
            source=f"/{settings.topic_prefix}/alerter",
            type="scantrail.alert.v1",
            subject=alert.unit or alert.document or alert.id,
            time=alert.event_time,
        )
        sent.append(
            await producer.send(topic, encode(alert), key=alert.id.encode(), headers=headers)
        )
    return sent


def _count_unreadable(topic: Topic) -> None:
    metrics.REJECTED.labels(topic.value, metrics.UNREADABLE).inc()


def _count_from_0() -> None:
    """Who looks for a rise would not see a count that begins with 1."""
    for topic in READ:
        metrics.REJECTED.labels(topic.value, metrics.UNREADABLE)
    metrics.REJECTED.labels(Topic.MOVEMENTS.value, metrics.READ_IN_PART)
    metrics.SCANS_PROCESSED.labels("alerter", "judged")
    for kind in AlertKind:
        metrics.ALERTS_SWITCHED_OFF.labels(kind.value)
        for severity in set(Severity) - {Severity.OFF}:
            metrics.ALERTS_RAISED.labels(kind.value, severity.value)
