"""The tracker's work in Quix Streams: one callback per scan, state in RocksDB and a changelog.

The same decoding, fold, encoding, headers and order (outputs and changelog, then offsets, each
acknowledged), at least once. Values stay bytes throughout: Quix neither parses nor serialises any,
and stores a state as `encode_state` makes it. A checkpoint is as large as the tracker's runs are at
full load: with Quix's own default, 5 s, a unit's state would be written once for several scans.
"""

import sys
from typing import Any

from quixstreams import Application, State, message_context

from scantrail.contracts.records import (
    Headers,
    cloud_event_headers,
    decode_scan,
    decode_state,
    encode_movement,
    encode_state,
)
from scantrail.domain.custody import observe

SCANS_PER_CHECKPOINT = 8000

#: A state's name under its unit. Quix would encode a string each time.
STATE = b"s"


def fold_topic(bootstrap: str, scans: str, movements: str, folder: str) -> None:
    """Fold until ended. Every scan of `scans` must be readable."""
    app = Application(
        broker_address=bootstrap,
        consumer_group="quix-streams",
        auto_offset_reset="earliest",
        commit_every=SCANS_PER_CHECKPOINT,
        state_dir=folder,
        processing_guarantee="at-least-once",
        loglevel="WARNING",
    )
    raw = {
        "key_deserializer": "bytes",
        "value_deserializer": "bytes",
        "key_serializer": "bytes",
        "value_serializer": "bytes",
    }
    folded = app.dataframe(app.topic(scans, **raw)).apply(_fold, stateful=True, metadata=True)
    accepted = folded.filter(lambda movement: movement is not None)
    accepted = accepted.set_headers(lambda movement, key, timestamp, headers: movement[1])
    accepted.apply(lambda movement: movement[0]).to_topic(app.topic(movements, **raw))
    app.run()


def _fold(
    value: bytes, key: bytes, timestamp: int, headers: Any, state: State[bytes, bytes]
) -> tuple[bytes, Headers] | None:
    scan = decode_scan(key, value)
    stored = state.get_bytes(STATE)
    known = None if stored is None else decode_state(stored)
    seen = observe(known, scan, offset=message_context().offset)
    state.set_bytes(STATE, encode_state(seen.state))
    if not seen.accepted:
        return None
    made = cloud_event_headers(
        id=scan.event_id,
        source="/peer/tracker",
        type="scantrail.movement.v1",
        subject=scan.unit,
        time=scan.event_time,
    )
    return encode_movement(scan, known.current if known else None, seen), made


if __name__ == "__main__":
    fold_topic(*sys.argv[1:])
