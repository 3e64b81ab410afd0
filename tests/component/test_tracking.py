"""The tracker's decisions over records, without Faust and without a broker."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from scantrail.contracts.records import (
    SCAN_BYTES_MAX,
    UNIT_VERSION_HEADER,
    decode_state,
    encode,
    movements,
)
from scantrail.domain.custody import Observation, UnitState, observe
from scantrail.domain.scan import Scan
from scantrail.domain.vocabulary import BusinessStep
from scantrail.tracker.app import Tracking
from scantrail.tracker.failures import FAILURES_MAX, SCANS, FailureLimit, TooManyFailures
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


def decide(*records: Record, stored: dict[bytes, bytes] | None = None, **how: Any) -> Outputs:
    limit = how.pop("limit", None) or FailureLimit(Path("/nowhere"), "1")
    return Tracking("t", limit, **how).decide(records, (stored or {}).get)


def failing_on(event_id: str) -> Callable[..., Observation]:
    """The fold with a bug that one scan meets."""

    def observe_or_fail(known: UnitState | None, scan: Scan, *, offset: int) -> Observation:
        if scan.event_id == event_id:
            raise ZeroDivisionError("a bug")
        return observe(known, scan, offset=offset)

    return observe_or_fail


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


def test_a_scan_on_which_the_code_fails_is_set_aside_and_its_unit_held_until_it_is_accepted() -> (
    None
):
    other = replace(SCAN, unit=f"{UNIT}0", event_id="e9")
    scans = [replace(SCAN, event_id=f"e{n}") for n in (1, 2, 3)]
    records = [Record(n, encode(scan)) for n, scan in enumerate(scans)]
    records.append(Record(3, encode(other), key=other.unit.encode()))
    outputs = decide(*records, observe=failing_on("e2"))

    [(key, value, headers)] = outputs.records[REJECTED]
    assert (key, value) == (records[1].key, records[1].value)
    told = {name: content.decode() for name, content in headers}
    assert told["__connect.errors.exception.class.name"] == "code_failed"
    assert told["__connect.errors.exception.message"] == "ZeroDivisionError('a bug')"
    assert told["__connect.errors.offset"] == "1"
    assert told[UNIT_VERSION_HEADER] == "1"
    moved = [movements.decode(value) for _, value, _ in outputs.records[MOVEMENTS]]
    assert [(m.scan.event_id, m.version, m.held) for m in moved] == [
        ("e1", 1, False),
        ("e3", 2, True),
        ("e9", 1, False),
    ]
    # The next release folds it: the scan is sent again.
    again = decide(Record(9, records[1].value), stored=dict(outputs.states))
    [(_, value, _)] = again.records[MOVEMENTS]
    assert (movements.decode(value).version, movements.decode(value).held) == (3, False)


def test_after_a_crash_the_scan_on_which_the_code_failed_is_skipped_by_its_offset() -> None:
    record = Record(5, encode(SCAN))
    first = decide(record, observe=failing_on("e1"))
    assert decode_state(dict(first.states)[UNIT.encode()]).version == 0
    again = decide(record, stored=dict(first.states))
    assert again.records == {}


def test_a_state_that_cannot_be_read_is_left_as_it_is_and_its_unit_told_as_held() -> None:
    half = msgspec.msgpack.encode([UNIT, 7, 1, "a base of another release"])
    for stored, version in ((b"\xc1", (1 << 63) - 1), (half, 7)):
        outputs = decide(Record(5, encode(SCAN)), stored={UNIT.encode(): stored})
        [(_, _, headers)] = outputs.records[REJECTED]
        assert dict(headers)[UNIT_VERSION_HEADER] == str(version).encode()
        assert outputs.states == []


def test_a_store_that_fails_is_no_fault_of_the_scan() -> None:
    def broken(key: bytes) -> bytes | None:
        raise OSError("Corruption: block checksum mismatch")

    with pytest.raises(OSError, match="Corruption"):
        Tracking("t", FailureLimit(Path("/nowhere"), "1")).decide([Record(0, encode(SCAN))], broken)


def test_a_release_that_fails_on_one_scan_in_a_hundred_is_stopped_and_stays_so(
    tmp_path: Path,
) -> None:
    limit = FailureLimit(tmp_path, "1.0")
    limit.check()
    for _ in range(FAILURES_MAX):
        limit.failed()
        limit.passed(100)
    assert FAILURES_MAX * 100 == SCANS
    limit.failed()  # the first one is out of sight by now
    with pytest.raises(TooManyFailures):
        limit.failed()
    with pytest.raises(SystemExit):
        FailureLimit(tmp_path, "1.0").check()
    FailureLimit(tmp_path, "1.1").check()


def test_a_batch_that_would_go_beyond_the_limit_sends_nothing(tmp_path: Path) -> None:
    records = [Record(n, encode(SCAN)) for n in range(FAILURES_MAX + 1)]
    limit = FailureLimit(tmp_path, "1")
    with pytest.raises(TooManyFailures):
        decide(*records, observe=failing_on("e1"), limit=limit)
