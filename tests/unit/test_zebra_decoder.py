"""Events of a Zebra reader's IoT Connector: each and what it says, as its frames, and as noise."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scantrail.gateway.decoders.json_body import RAW_LENGTH_MAX
from scantrail.gateway.decoders.outcome import MENDS, Control, Heartbeat, Invalid, Outcome, Read
from scantrail.gateway.decoders.tag_read import tag_read
from scantrail.gateway.decoders.zebra import decode_zebra

FRAMES_FILE = Path(__file__).parents[1] / "data" / "device-frames.jsonl"
FRAMES = [
    frame
    for line in FRAMES_FILE.read_text(encoding="utf-8").splitlines()
    if (frame := json.loads(line))["protocol"] == "http-zebra"
]
SEEN = datetime(2026, 11, 23, 1, 2, 3, 123_000, UTC)


def tag(at: datetime | None = None, **more: Any) -> Read:
    measures = {"antenna": None, "rssi_dbm": None} | more
    return tag_read("E28011", event_time=at, **measures)


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame["name"])
def test_frames_of_devices_whole_and_cut_at_every_byte(frame: dict[str, Any]) -> None:
    body = json.dumps(frame["json"]).encode()
    (outcome,) = decode_zebra(body)
    assert isinstance(outcome, Read)
    (expected,) = frame["expect"]
    assert (outcome.text, outcome.antenna, outcome.rssi_dbm, outcome.sequence) == (
        f"epc:{expected['epc']}",
        expected["antenna"],
        expected["rssi_dbm"],
        expected["seq"],
    )
    assert (outcome.event_time, outcome.times_read) == (SEEN, 3)
    for cut in range(len(body)):
        (outcome,) = decode_zebra(body[:cut])
        assert outcome == Invalid("bad_json" if cut else "empty", body[:cut])


# One line is one body and what it says.
BODIES: list[tuple[str, list[Outcome]]] = [
    ('{"data":{"idHex":"e28011"}}', [tag()]),
    ('{"Data":{"IDHEX":"E28011"}}', [tag()]),
    ('{"idHex":"e28011"}', [tag()]),
    ('[{"data":{"idHex":"e28011"}},{"data":{"idHex":"e28011","eventNum":2}}]', [
        tag(), tag(sequence=2)]),
    ('{"data":{"idHex":"e28011"}}\n{"data":{"idHex":"e28011"}}\n', [tag(), tag()]),
    ('{"data":{"idHex":"e28011"},"timestamp":"2026-11-23T01:02:03.123+0000"}', [tag(SEEN)]),
    ('{"data":{"idHex":"e28011"},"timestamp":"2026-11-23T02:02:03.123+01:00"}', [tag(SEEN)]),
    ('{"data":{"idHex":"e28011","timestamp":"2026-11-23T01:02:03.123Z"}}', [tag(SEEN)]),
    ('{"data":{"idHex":"e28011","ANTENNA":2,"PeakRSSI":-48.5,"EventNum":7}}', [
        tag(antenna=2, rssi_dbm=-48.5, sequence=7)]),
    ('{"data":{"idHex":"e28011","antenna":"x","peakRssi":{},"eventNum":-1,"reads":"many"}}', [
        tag()]),
    ('{"data":{"idHex":"e28011","eventNum":9223372036854775808}}', [tag()]),
    ('{"data":{"idHex":"e28011","reads":0}}', [tag()]),
    ('{"data":{"idHex":"e28011","reads":12,"direction":"IN"}}', [
        tag(direction="IN", times_read=12)]),
    ('[{"data":{"idHex":"e28011"}},{"x":1}]', [tag(), Invalid("not_from_zebra", b'{"x":1}')]),
    ("[]", [Heartbeat()]),
    ('{"component":"RC","data":{"cpu":3},"eventNum":24,"eventType":"heartbeat"}', [Heartbeat()]),
    ('{"component":"RC","data":{},"eventType":"gpi"}', [Control("gpi")]),
    ('{"eventType":"warnings"}', [Control("warnings")]),
    ('{"eventType":"' + "x" * 1000 + '"}', [Control("x" * 64)]),
]  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), BODIES)
def test_bodies(body: str, expected: list[Outcome]) -> None:
    assert decode_zebra(body.encode()) == expected


# One line is one event that is set aside as it came, and why.
REFUSED: list[tuple[str, str]] = [
    ('{"data":{"idHex":""}}', "bad_code"),
    ('{"data":{"idHex":7}}', "bad_code"),
    ('{"data":{"idHex":"urn:x"}}', "bad_code"),
    ('{"data":{"idHex":"e2"},"timestamp":"2026-11-23T01:02:03.123"}', "no_time_zone"),
    ('{"data":{"idHex":"e2"},"timestamp":"now"}', "bad_event_time"),
    ('{"data":{"idHex":null},"type":"CUSTOM"}', "not_from_zebra"),
    ('{"data":["e28011"],"type":"CUSTOM"}', "not_from_zebra"),
    ('{"eventType":"tagInventory","tagInventoryEvent":{"epc":"4oAR"}}', "not_from_zebra"),
    ('{"eventType":7}', "not_from_zebra"),
    ('{"eventType":""}', "not_from_zebra"),
    ("{}", "not_from_zebra"),
    ('"e28011"', "no_object"),
    ("idHex=e28011", "bad_json"),
    ("", "empty"),
]


@pytest.mark.parametrize(("body", "reason"), REFUSED)
def test_what_is_no_event_of_the_reader_is_set_aside_with_its_reason(
    body: str, reason: str
) -> None:
    assert decode_zebra(body.encode()) == [Invalid(reason, body.encode())]
    assert reason in MENDS


SENT: dict[str, Any] = {
    "data": {"idHex": "e28011", "antenna": 2, "eventNum": 41, "peakRssi": -48, "reads": 3},
    "timestamp": "2026-11-23T01:02:03.123+0000",
    "type": "CUSTOM",
}


def fingerprint(event: dict[str, Any]) -> str | None:
    (outcome,) = decode_zebra(json.dumps(event).encode())
    assert isinstance(outcome, Read)
    return outcome.fingerprint


def test_a_read_sent_again_has_its_fingerprint_and_any_other_read_another() -> None:
    first = fingerprint(SENT)
    assert first == "27e564f7d99618263973035af61c1990"  # ids of reads that are sent again
    assert fingerprint(SENT | {"timestamp": "2026-11-23T02:02:03.123+01:00"}) == first
    others = [
        SENT | {"timestamp": "2026-11-23T01:02:03.124+0000"},
        *(SENT | {"data": SENT["data"] | {name: 1}} for name in ("antenna", "eventNum")),
        SENT | {"data": SENT["data"] | {"idHex": "e28012"}},
    ]
    prints = [fingerprint(other) for other in others]
    assert len({first, *prints}) == 5
    assert fingerprint(SENT | {"timestamp": None}) is None


def test_what_is_kept_of_a_bad_event_is_cut_short() -> None:
    event = json.dumps({"eventType": 7, "x": "y" * 100_000}).encode()
    for body in (event, b"[%s]" % event, event[:-1]):
        (outcome,) = decode_zebra(body)
        assert isinstance(outcome, Invalid)
        assert len(outcome.raw) == RAW_LENGTH_MAX


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
fields = st.sampled_from(["idHex", "IDHEX", "antenna", "eventNum", "peakRssi", "reads"])
data = st.dictionaries(fields, values | st.just("e28011"))
events = st.dictionaries(st.sampled_from(["data", "timestamp", "eventType", "type"]), values | data)
bodies = (
    st.binary(max_size=200)
    | st.text('{}[]":,0123456789.eE+-\nidHex data', max_size=100).map(str.encode)
    | st.lists(events, max_size=4).map(msgspec.json.encode)
)


@given(bodies)
def test_noise_has_an_outcome_of_bounded_size_and_never_raises(body: bytes) -> None:
    outcomes = decode_zebra(body)
    assert 0 < len(outcomes) <= max(1, len(body))
    for outcome in outcomes:
        if isinstance(outcome, Invalid):
            assert outcome.reason in MENDS
            assert len(outcome.raw) <= RAW_LENGTH_MAX
        elif isinstance(outcome, Read):
            assert len(outcome.text) <= len("epc:") + len(body)
            assert outcome.times_read >= 1
        else:
            assert isinstance(outcome, Heartbeat | Control)
