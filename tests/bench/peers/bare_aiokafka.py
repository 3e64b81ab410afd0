"""The tracker's work in plain aiokafka: one send per record, live states in a dictionary.

The same decoding, fold, encoding, headers, order (outputs, then changelog, then offsets, each
acknowledged) and producer settings; no store, no recovery, no guard.
"""

import asyncio
import sys
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from scantrail.contracts.records import (
    cloud_event_headers,
    decode_scan,
    encode_movement,
    encode_state,
)
from scantrail.domain.custody import UnitState, observe
from scantrail.infra.kafka import connect_producer
from scantrail.infra.settings import Settings

RECORDS_PER_RUN = 2000


async def fold_topic(bootstrap: str, scans: str, movements: str, units: str) -> None:
    """Fold until ended. Every scan of `scans` must be readable."""
    producer = await connect_producer(Settings(kafka_bootstrap=bootstrap))
    consumer = AIOKafkaConsumer(
        scans,
        bootstrap_servers=bootstrap,
        group_id="bare-aiokafka",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_poll_records=RECORDS_PER_RUN,
    )
    await consumer.start()
    states: dict[bytes, UnitState] = {}
    while True:
        batch = await consumer.getmany(timeout_ms=200)
        for tp, records in batch.items():
            await _fold(records, states, producer, movements, units)
            await consumer.commit({tp: records[-1].offset + 1})


async def _fold(
    records: list[Any],
    states: dict[bytes, UnitState],
    producer: AIOKafkaProducer,
    movements: str,
    units: str,
) -> None:
    changed: dict[bytes, UnitState] = {}
    sent = []
    for record in records:
        scan = decode_scan(record.key, record.value)
        known = states.get(record.key)
        seen = observe(known, scan, offset=record.offset)
        states[record.key] = changed[record.key] = seen.state
        if not seen.accepted:
            continue
        headers = cloud_event_headers(
            id=scan.event_id,
            source="/peer/tracker",
            type="scantrail.movement.v1",
            subject=scan.unit,
            time=scan.event_time,
        )
        value = encode_movement(scan, known.current if known else None, seen)
        sent.append(await producer.send(movements, value, key=record.key, headers=headers))
    await asyncio.gather(*sent)
    kept = [
        await producer.send(units, encode_state(state), key=key) for key, state in changed.items()
    ]
    await asyncio.gather(*kept)


if __name__ == "__main__":
    asyncio.run(fold_topic(*sys.argv[1:]))
