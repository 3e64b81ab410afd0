"""Units and their scans: the same in every run."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner

from scantrail.cli.site import DOCK, GATE, LINE, PRODUCTS, SHELF, STAGE, Place
from scantrail.contracts.records import Headers, cloud_event_headers, encode
from scantrail.domain.identifiers import sgtin
from scantrail.domain.scan import Scan
from scantrail.domain.station import Station, claim
from scantrail.infra.kafka import connect_producer
from scantrail.infra.settings import Settings

#: Each unit's life, in this order: what the site's stations see.
PATH = (DOCK, SHELF, LINE, STAGE, GATE)

UNITS = 20_000
SCANS = UNITS * len(PATH)

GTINS = tuple(PRODUCTS)

Record = tuple[bytes, bytes, Headers]

_partition = DefaultPartitioner()


def serial(number: int) -> str:
    """The serial of unit `number`."""
    return f"SN{number:08d}"


def gtin(number: int) -> str:
    """The product of unit `number`."""
    return GTINS[number % len(GTINS)]


def code(number: int) -> str:
    """What a reader reads from unit `number`: a GS1 element string."""
    return f"01{gtin(number)}21{serial(number)}"


def scans(units: int | Sequence[int], path: Sequence[Place], *, run: int = 0) -> Iterator[Scan]:
    """Every unit at the first place of the path, then every unit at the next, and so on.

    `units` says how many, or which; one named twice is seen twice.

    Another `run` gives other scans of the same units, later by a day.
    """
    begin = datetime.now(UTC) - timedelta(days=2) + timedelta(days=run)
    stations = [station(place) for place in path]
    numbers = range(units) if isinstance(units, int) else units
    for visit, (place, there) in enumerate(zip(path, stations, strict=True)):
        for turn, number in enumerate(numbers):
            at = begin + timedelta(hours=visit, milliseconds=turn)
            sequence = visit * len(numbers) + turn
            yield claim(
                there,
                sgtin(gtin(number), serial(number)).key,
                event_id=f"{place.reader}.bench{run}.{sequence}",
                reader=place.reader,
                sequence=sequence,
                event_time=at,
                record_time=datetime.now(UTC),
                order=None,
                read=code(number),
            )


def station(place: Place) -> Station:
    """The station as the API would publish it."""
    body = place.body
    return Station(
        id=place.station,
        site=place.site,
        business_step=place.step,
        read_point=place.station,
        name=place.name,
        business_location=place.location,
        possessing_party=place.party,
        repeat_window_s=body["repeat_window_s"],
    )


def encoded(made: Iterator[Scan], partitions: int) -> dict[int, list[Record]]:
    """Records as the gateway sends them, by partition."""
    records: dict[int, list[Record]] = defaultdict(list)
    for scan in made:
        key = scan.unit.encode()
        headers = cloud_event_headers(
            id=scan.event_id,
            source=f"/bench/gateway/{scan.reader}",
            type="scantrail.scan.v1",
            subject=scan.unit,
            time=scan.event_time,
        )
        records[partition_of(key, partitions)].append((key, encode(scan), headers))
    return records


def partition_of(key: bytes, partitions: int) -> int:
    """Where every producer puts a record of this key."""
    every = list(range(partitions))
    partition: int = _partition(key, every, every)
    return partition


async def publish(settings: Settings, topic: str, records: dict[int, list[Record]]) -> None:
    """Write `records` to their partitions; returns once the broker has them all."""
    producer = await connect_producer(settings)
    try:
        await send(producer, topic, records)
    finally:
        await producer.stop()


async def send(producer: AIOKafkaProducer, topic: str, records: dict[int, list[Record]]) -> None:
    """The same over a connection that is open."""
    for partition, rows in records.items():
        batch = producer.create_batch()
        for key, value, headers in rows:
            added = {"key": key, "value": value, "timestamp": None, "headers": headers}
            if batch.append(**added) is None:  # full
                batch.close()
                await (await producer.send_batch(batch, topic, partition=partition))
                batch = producer.create_batch()
                batch.append(**added)
        batch.close()
        await (await producer.send_batch(batch, topic, partition=partition))
