"""Events of an Impinj R700: each and what it says, as its frames, and as noise."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scantrail.gateway.decoders.impinj import decode_impinj
from scantrail.gateway.decoders.json_body import RAW_LENGTH_MAX
from scantrail.gateway.decoders.outcome import (
    MENDS,
    Control,
    Heartbeat,
    Invalid,
    Lost,
    Outcome,
    Read,
)
from scantrail.gateway.decoders.tag_read import tag_read

FRAMES_FILE = Path(__file__).parents[1] / "data" / "device-frames.jsonl"
FRAMES = [
    frame
    for line in FRAMES_FILE.read_text(encoding="utf-8").splitlines()
    if (frame := json.loads(line))["protocol"] == "http-impinj"
]
EPC = "3074257BF7194E4000001A85"
SEEN = datetime(2026, 11, 23, 1, 2, 3, 120_000, UTC)


def tag(epc: str = EPC, at: datetime | None = None, **measures: Any) -> Read:
    return tag_read(
        epc,
        event_time=at,
        antenna=measures.get("antenna"),
        rssi_dbm=measures.get("rssi_dbm"),
    )


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame["name"])
def test_frames_of_devices_whole_and_cut_at_every_byte(frame: dict[str, Any]) -> None:
    body = json.dumps(frame["json"]).encode()
    (outcome,) = decode_impinj(body)
    (expected,) = frame["expect"]
    if "heartbeat" in expected:
        assert outcome == Heartbeat()
    else:
        assert isinstance(outcome, Read)
        assert (outcome.text, outcome.antenna, outcome.rssi_dbm) == (
            f"epc:{expected['epc']}",
            expected["antenna"],
            expected.get("rssi_dbm"),
        )
    for cut in range(len(body)):
        (outcome,) = decode_impinj(body[:cut])
        assert outcome == Invalid("bad_json" if cut else "empty", body[:cut])


def test_the_tags_own_time_counts_before_that_of_the_event() -> None:
    (outcome,) = decode_impinj(json.dumps(FRAMES[0]["json"]).encode())
    assert isinstance(outcome, Read)
    assert outcome.event_time == SEEN
    (outcome,) = decode_impinj(json.dumps(FRAMES[2]["json"]).encode())
    assert isinstance(outcome, Read)
    assert outcome.event_time == SEEN.replace(microsecond=123_456)


# One line is one body and what it says.
BODIES: list[tuple[str, list[Outcome]]] = [
    ('{"tagInventoryEvent":{"epc":"MHQle/cZTkAAABqF"}}', [tag()]),
    ('{"TagInventoryEvent":{"EPC":"MHQle/cZTkAAABqF"}}', [tag()]),
    ('{"tagInventoryEvent":{"epc":"MHQle_cZTkAAABqF"}}', [tag()]),
    ('{"tagInventoryEvent":{"epc":"4oAR"}}', [tag("E28011")]),
    ('{"tagInventoryEvent":{"epc":"4oA="}}', [tag("E280")]),
    ('{"tagInventoryEvent":{"epc":"4oA"}}', [tag("E280")]),
    ('{"tagInventoryEvent":{"epc":"AAAAAAAAAAAAAAAA"}}', [tag("0" * 24)]),
    ('{"tagInventoryEvent":{"epcHex":"3074257bf7194e4000001a85"}}', [tag()]),
    ('{"tagInventoryEvent":{"epc":"AAAA","epcHex":"3074257bf7194e4000001a85"}}', [tag()]),
    ('{"tagInventoryEvent":{"epc":"4oAR","epcHex":null}}', [tag("E28011")]),
    ('{"hostname":"x","tagInventoryEvent":{"epc":"4oAR","antennaName":"DOCK-1"}}', [
        tag("E28011")]),
    ('{"tagInventoryEvent":{"epc":"4oAR","antennaPort":"4","peakRssiCdbm":-5350}}', [
        tag("E28011", antenna=4, rssi_dbm=-53.5)]),
    ('{"tagInventoryEvent":{"epc":"4oAR","antennaPort":-1,"peakRssiCdbm":"weak"}}', [
        tag("E28011")]),
    ('{"timestamp":"2026-11-23T01:02:03.12Z","tagInventoryEvent":{"epc":"4oAR"}}', [
        tag("E28011", SEEN)]),
    ('{"tagInventoryEvent":{"epc":"4oAR"}}\r\n\r\n{"tagInventoryEvent":{"epc":"4oA="}}\r\n', [
        tag("E28011"), tag("E280")]),
    ('[{"tagInventoryEvent":{"epc":"4oAR"}},7,{"tagInventoryEvent":{"epc":"4oA="}}]', [
        tag("E28011"), Invalid("not_an_object", b"7"), tag("E280")]),
    ("[]", [Heartbeat()]),
    (" [ ] \n", [Heartbeat()]),
    ('{"eventType":"overflow","overflowEvent":{"eventsPurged":41}}', [Lost(41)]),
    ('{"overflowEvent":{"eventsPurged":0}}', [Lost(0)]),
    ('{"overflowEvent":{"eventsPurged":2},"tagInventoryEvent":{"epc":"4oAR"}}', [
        Lost(2), tag("E28011")]),
    ('{"eventType":"inventoryStatus","inventoryStatusEvent":{"inventoryStatus":"running"}}', [
        Control("inventoryStatus")]),
    ('{"eventType":"antennaConnected"}', [Control("antennaConnected")]),
    ('{"eventType":"' + "x" * 1000 + '"}', [Control("x" * 64)]),
]  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), BODIES)
def test_bodies(body: str, expected: list[Outcome]) -> None:
    assert decode_impinj(body.encode()) == expected


# One line is one event that is set aside as it came, and why.
REFUSED: list[tuple[str, str]] = [
    ('{"tagInventoryEvent":{"antennaPort":1}}', "no_code"),
    ('{"tagInventoryEvent":{}}', "no_code"),
    ('{"tagInventoryEvent":{"epc":""}}', "bad_code"),
    ('{"tagInventoryEvent":{"epc":7}}', "bad_code"),
    ('{"tagInventoryEvent":{"epc":"4oAR!"}}', "bad_code"),
    ('{"tagInventoryEvent":{"epc":"4oARx"}}', "bad_code"),
    ('{"tagInventoryEvent":{"epc":"4o\u00e4R"}}', "bad_code"),
    ('{"tagInventoryEvent":{"epcHex":"xyz","epc":"4oAR"}}', "bad_code"),
    ('{"tagInventoryEvent":{"epcHex":7}}', "bad_code"),
    ('{"tagInventoryEvent":{"epc":"4oAR","lastSeenTime":"yesterday"}}', "bad_event_time"),
    ('{"timestamp":"2026-11-23T01:02:03","tagInventoryEvent":{"epc":"4oAR"}}', "no_time_zone"),
    ('{"overflowEvent":{"eventsPurged":-1}}', "bad_count"),
    ('{"overflowEvent":{}}', "bad_count"),
    ('{"overflowEvent":7}', "bad_count"),
    ('{"tagInventoryEvent":[]}', "not_from_impinj"),
    ('{"eventType":"tagInventory"}', "not_from_impinj"),
    ('{"eventType":"tagLocation","tagLocationEvent":{"epc":"4oAR"}}', "not_from_impinj"),
    ('{"eventType":7}', "not_from_impinj"),
    ('{"data":{"idHex":"3074257bf7194e4000001a85"},"type":"CUSTOM"}', "not_from_impinj"),
    ('{"epc":"3074257bf7194e4000001a85"}', "not_from_impinj"),
    ("{}", "not_from_impinj"),
    ("7", "no_object"),
    ("epc=1", "bad_json"),
    ("", "empty"),
]


@pytest.mark.parametrize(("body", "reason"), REFUSED)
def test_what_is_no_event_of_the_reader_is_set_aside_with_its_reason(
    body: str, reason: str
) -> None:
    assert decode_impinj(body.encode()) == [Invalid(reason, body.encode())]
    assert reason in MENDS


def test_what_is_kept_of_a_bad_event_is_cut_short() -> None:
    event = json.dumps({"eventType": 7, "x": "y" * 100_000}).encode()
    for body in (event, b"[%s]" % event, event[:-1]):
        (outcome,) = decode_impinj(body)
        assert isinstance(outcome, Invalid)
        assert len(outcome.raw) == RAW_LENGTH_MAX


@given(st.binary(min_size=1, max_size=62))
def test_any_epc_is_the_same_by_base64_and_by_hex(epc: bytes) -> None:
    as_base64 = {"tagInventoryEvent": {"epc": base64.b64encode(epc).decode()}}
    as_hex = {"tagInventoryEvent": {"epcHex": epc.hex()}}
    outcomes = [decode_impinj(json.dumps(event).encode()) for event in (as_base64, as_hex)]
    assert outcomes == [[tag(epc.hex().upper())]] * 2


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
tags = st.dictionaries(
    st.sampled_from(["epc", "epcHex", "antennaPort", "peakRssiCdbm", "lastSeenTime"]), values
)
names = st.sampled_from(
    ["eventType", "timestamp", "tagInventoryEvent", "overflowEvent", "hostname"]
)
events = st.dictionaries(names, values | tags | st.fixed_dictionaries({"eventsPurged": values}))
bodies = (
    st.binary(max_size=200)
    | st.text('{}[]":,0123456789.eE+-\nepc tagInventoryEvent', max_size=100).map(str.encode)
    | st.lists(events, max_size=4).map(msgspec.json.encode)
)


@given(bodies)
def test_noise_has_an_outcome_of_bounded_size_and_never_raises(body: bytes) -> None:
    outcomes = decode_impinj(body)
    assert 0 < len(outcomes) <= max(1, len(body))
    for outcome in outcomes:
        if isinstance(outcome, Invalid):
            assert outcome.reason in MENDS
            assert len(outcome.raw) <= RAW_LENGTH_MAX
        elif isinstance(outcome, Read):
            assert len(outcome.text) <= len("epc:") + 2 * len(body)
            assert outcome.event_time is None or outcome.event_time.tzinfo is UTC
        else:
            assert isinstance(outcome, Heartbeat | Control | Lost)
