"""The tracker's decisions over records, without Faust and without a broker."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import msgspec
import pytest

from scantrail.contracts.records import SCAN_BYTES_MAX, decode_state, encode, movements
from scantrail.domain.scan import Scan
from scantrail.domain.vocabulary import BusinessStep
from scantrail.tracker.app import Tracking
from scantrail.tracker.faust_batches import Outputs

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
UNIT = "sgtin:09506000134352.1"
MOVEMENTS, REJECTED = "t.movements.v1", "t.scans.rejected.v1"

SCAN = Scan(
    event_id="e1",
    unit=UNIT,
    event_time=NOW,
    record_time=NOW,
    reader="r",
    sequence=1,
    station="dock-1",
    site="north",
    read_point="dock-1",
    business_step=BusinessStep.RECEIVING,
    business_location="dock-1",
    possessing_party="acme",
)


@dataclass
class Record:
    """A record as aiokafka gives it, as far as it is looked at."""

    offset: int
    value: bytes | None
    key: bytes | None = UNIT.encode()
    topic: str = "t.scans.v1"
    partition: int = 2
    headers: tuple[tuple[str, bytes], ...] = field(default=(("traceparent", b"00-1-2-01"),))


def decide(*records: Record, stored: dict[bytes, bytes] | None = None) -> Outputs:
    return Tracking("t").decide(records, (stored or {}).get)


def test_a_batch_makes_movements_and_one_state_per_unit() -> None:
    later = replace(SCAN, event_id="e2", station="hall-a", business_location="hall-a")
    outputs = decide(Record(0, encode(SCAN)), Record(1, encode(later)))
    told = [movements.decode(value) for _, value, _ in outputs.records[MOVEMENTS]]
    assert [(m.version, m.outcome) for m in told] == [(1, "moved"), (2, "moved")]
    assert told[1].before == told[0].after
    assert told[1].scan == later
    [(key, state)] = outputs.states
    assert key == UNIT.encode()
    assert decode_state(state).offset == 1
    assert REJECTED not in outputs.records


def test_movements_carry_cloudevents_headers() -> None:
    [(_, _, headers)] = decide(Record(0, encode(SCAN))).records[MOVEMENTS]
    told = dict(headers)
    assert told["ce_id"] == b"e1"
    assert told["ce_type"] == b"scantrail.movement.v1"
    assert told["ce_subject"] == UNIT.encode()
    assert told["content-type"] == b"application/json"


def test_a_replay_makes_nothing_at_all() -> None:
    first = decide(Record(5, encode(SCAN)))
    again = decide(Record(5, encode(SCAN)), stored=dict(first.states))
    assert again.records == {}
    assert again.states == []


def test_a_redelivery_sends_nothing_and_moves_the_offset() -> None:
    first = decide(Record(5, encode(SCAN)))
    retried = replace(SCAN, record_time=NOW.replace(hour=13), clock_skew_s=None)
    again = decide(Record(6, encode(retried)), stored=dict(first.states))
    assert again.records == {}
    [(_, state)] = again.states
    assert (decode_state(state).offset, decode_state(state).version) == (6, 1)


def test_the_same_batch_after_a_crash_makes_the_same_bytes() -> None:
    records = [Record(n, encode(replace(SCAN, event_id=f"e{n}"))) for n in range(5)]
    assert decide(*records) == decide(*records)


BAD_SCANS = {
    "not_json": (b"{", UNIT.encode()),
    "no_value": (None, UNIT.encode()),
    "not_a_scan": (b'{"event_id":"e1"}', UNIT.encode()),
    "nul_character": (encode(replace(SCAN, station="a\0b")), UNIT.encode()),
    "no_time_zone": (
        encode(SCAN).replace(
            b'"event_time":"2026-01-01T12:00:00Z"', b'"event_time":"2026-01-01T12:00:00"'
        ),
        UNIT.encode(),
    ),
    "too_large": (encode(replace(SCAN, read="x" * SCAN_BYTES_MAX)), UNIT.encode()),
    "wrong_key": (encode(SCAN), b"another"),
}


@pytest.mark.parametrize("reason", BAD_SCANS)
def test_what_is_no_scan_is_rejected_byte_for_byte_and_others_flow(reason: str) -> None:
    value, key = BAD_SCANS[reason]
    outputs = decide(Record(7, value, key=key), Record(8, encode(SCAN)))
    [(kept_key, kept_value, headers)] = outputs.records[REJECTED]
    assert (kept_key, kept_value) == (key, value)
    told = dict(headers)
    assert told["traceparent"] == b"00-1-2-01"
    assert told["__connect.errors.exception.class.name"] == reason.encode()
    assert told["__connect.errors.topic"] == b"t.scans.v1"
    assert told["__connect.errors.partition"] == b"2"
    assert told["__connect.errors.offset"] == b"7"
    assert len(outputs.records[MOVEMENTS]) == 1


@pytest.mark.parametrize(
    "field", ["event_id", "unit", "station", "site", "event_time", "record_time", "business_step"]
)
def test_a_scan_that_lacks_a_field_names_it(field: str) -> None:
    told = msgspec.to_builtins(SCAN)
    del told[field]
    outputs = decide(Record(0, encode(told)))
    [(_, _, headers)] = outputs.records[REJECTED]
    assert field.encode() in dict(headers)["__connect.errors.exception.message"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event_time", "0001-01-01T00:00:00Z"),
        ("record_time", "9999-12-31T00:00:00Z"),
        ("repeat_window_s", -1),
        ("event_id", ""),
        ("business_step", "teleporting"),
    ],
)
def test_a_value_that_no_fold_can_use_is_rejected(field: str, value: object) -> None:
    told = {**msgspec.to_builtins(SCAN), field: value}
    outputs = decide(Record(0, encode(told)))
    assert len(outputs.records[REJECTED]) == 1
    assert outputs.states == []


def test_a_conflict_is_rejected_and_not_in_history() -> None:
    first = decide(Record(0, encode(SCAN)))
    other = replace(SCAN, station="dock-9")
    outputs = decide(Record(1, encode(other)), stored=dict(first.states))
    [(_, value, headers)] = outputs.records[REJECTED]
    assert value == encode(other)
    assert dict(headers)["__connect.errors.exception.class.name"] == b"conflicting_event"
    assert MOVEMENTS not in outputs.records
