"""Reads as JSON over HTTP: each body and what it says, cut anywhere, and as noise."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scantrail.gateway.decoders.bodies import decode_body
from scantrail.gateway.decoders.generic import ITEMS_MAX, decode_generic, decode_redelivered
from scantrail.gateway.decoders.json_body import RAW_LENGTH_MAX, UnreadableBody
from scantrail.gateway.decoders.outcome import Heartbeat, Invalid, Outcome, Read

FRAMES_FILE = Path(__file__).parents[1] / "data" / "device-frames.jsonl"
FRAMES = [
    frame
    for line in FRAMES_FILE.read_text(encoding="utf-8").splitlines()
    if (frame := json.loads(line))["protocol"] == "http-generic"
]
EPC = "epc:3074257BF7194E4000001A85"


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame["name"])
def test_frames_of_devices_whole_and_cut_at_every_byte(frame: dict[str, Any]) -> None:
    body = json.dumps(frame["json"]).encode()
    (outcome,) = decode_generic(body)
    assert isinstance(outcome, Read)
    assert outcome.event_time == datetime(2026, 6, 14, 0, 15, 54, 368_790, UTC)
    (expected,) = frame["expect"]
    assert (outcome.text, outcome.antenna, outcome.rssi_dbm) == (
        f"epc:{expected['epc']}",
        expected["antenna"],
        expected["rssi_dbm"],
    )
    for cut in range(len(body)):
        with pytest.raises(UnreadableBody):
            decode_generic(body[:cut])


# One line is one body and what it says.
BODIES: list[tuple[str, list[Outcome]]] = [
    ('{"epc":"3074257bf7194e4000001a85"}', [Read(EPC)]),
    ('{"epcHex":"3074257bf7194e4000001a85"}', [Read(EPC)]),
    ('{"IDHEX":"3074257bf7194e4000001a85"}', [Read(EPC)]),
    ('{"epc":"urn:epc:id:sgtin:0614141.112345.4a"}', [Read("urn:epc:id:sgtin:0614141.112345.4a")]),
    ('{"barcode":" SN1 "}', [Read("SN1")]),
    ('{"code":"]d2010950600013435221a"}', [Read("010950600013435221a", aim="]d2")]),
    ('{"tag":"a"}', [Read("a")]),
    ('{"id":"a"}', [Read("a")]),
    ('{"epc":null,"id":"a"}', [Read("a")]),
    ('{"id":"x","barcode":"a"}', [Read("a")]),
    ('\ufeff{"id":"a"}\r\n', [Read("a")]),
    ('[{"id":"a"},{"id":"b"}]', [Read("a"), Read("b")]),
    ('{"reads":[{"id":"a"},{"id":"b"}],"site":"x"}', [Read("a"), Read("b")]),
    ('{"Reads":[{"id":"a"},{"id":"b"}]}', [Read("a"), Read("b")]),
    ('{"id":"a"}\n\n{"id":"b"}\r\n', [Read("a"), Read("b")]),
    ('{"id":"a"}\n{"id":\n7\n', [Read("a"), Invalid("bad_json", b'{"id":'), Invalid(
        "not_an_object", b"7")]),
    ("[]", [Heartbeat()]),
    ('{"reads":[]}', [Heartbeat()]),
    ('{"isHeartBeat":true}', [Heartbeat()]),
    ('{"isHeartBeat":false,"id":"a"}', [Read("a")]),
    ('{"id":"a","rssi":-53.5,"antenna":"2","direction":"in"}', [
        Read("a", rssi_dbm=-53.5, antenna=2, direction="in")]),
    ('{"id":"a","rssi":"n/a","port":3}', [Read("a", antenna=3)]),
    ('{"id":"a","rssi":' + "9" * 400 + "}", [Read("a")]),
    ('{"id":"a","event_id":"e-1","order":"PO7"}', [Read("a", event_id="e-1", order="PO7")]),
    ('{"id":"a","eventId":41,"order":7}', [Read("a", event_id="41", order="7")]),
    ('{"id":"a","rma":"RMA-7"}', [Read("a", rma="RMA-7")]),
    ('{"id":"a","lot":"L7","produced_on":"2026-03-31"}', [
        Read("a", lot="L7", produced_on=date(2026, 3, 31))]),
    ('{"id":"a","lot":{}}', [Invalid("bad_lot", b'{"id":"a","lot":{}}')]),
    ('{"id":"a","producedOn":"31.3.26"}', [
        Invalid("bad_produced_on", b'{"id":"a","producedOn":"31.3.26"}')]),
    ('{"id":"a","produced_on":7}', [Invalid("bad_produced_on", b'{"id":"a","produced_on":7}')]),
    ('{"id":"a","rma":[]}', [Invalid("bad_rma", b'{"id":"a","rma":[]}')]),
    ('{"id":"a","corrects":"r1/7"}', [Read("a", corrects="r1/7")]),
    ('{"id":"a","corrects":{}}', [Invalid("bad_corrects", b'{"id":"a","corrects":{}}')]),
    ('{"id":"a","corrects":""}', [Invalid("bad_corrects", b'{"id":"a","corrects":""}')]),
    ('{"id":"a","parent":" (00)095060001343520017"}', [
        Read("a", parent="(00)095060001343520017")]),
    ('{"id":"a","parent":"00095060001343520017\\u001d"}', [
        Read("a", parent="00095060001343520017\x1d")]),
    ('{"id":"a","parent":7}', [Invalid("bad_parent", b'{"id":"a","parent":7}')]),
    ('{"id":"a","parent":""}', [Invalid("bad_parent", b'{"id":"a","parent":""}')]),
    ('{"id":"a","sameAs":" 356938035643809 "}', [Read("a", same_as="356938035643809")]),
    ('{"id":"a","same_as":7}', [Invalid("bad_same_as", b'{"id":"a","same_as":7}')]),
    ('[{"id":"a"},7]', [Read("a"), Invalid("not_an_object", b"7")]),
    ("[null]", [Invalid("not_an_object", b"null")]),
    ('{"name":"a"}', [Invalid("no_code", b'{"name":"a"}')]),
    ('{"id":""}', [Invalid("bad_code", b'{"id":""}')]),
    ('{"barcode":4901542032375}', [Invalid("bad_code", b'{"barcode":4901542032375}')]),
    ('{"epc":"MHQle/cZTkAAABqF"}', [Invalid("bad_code", b'{"epc":"MHQle/cZTkAAABqF"}')]),
    ('{"id":"a","antenna":"north"}', [Read("a")]),
    ('{"id":"a","antenna":true}', [Read("a")]),
    ('{"id":"a","direction":1}', [Read("a")]),
    ('{"id":"a","event_id":[]}', [Invalid("bad_event_id", b'{"id":"a","event_id":[]}')]),
    ('{"id":"a","order":1.5}', [Invalid("bad_order", b'{"id":"a","order":1.5}')]),
    ('[{"id":"a","x":1e999}]', [Invalid("bad_json", b'{"id":"a","x":1e999}')]),
]  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), BODIES)
def test_bodies(body: str, expected: list[Outcome]) -> None:
    assert decode_generic(body.encode()) == expected


# One line is one time and the moment it means, or the reason why it means none.
MOMENT = datetime(2026, 11, 23, 1, 2, 3, 123_456, UTC)
TIMES: list[tuple[Any, datetime | str]] = [
    ("2026-11-23T01:02:03.123456Z", MOMENT),
    ("2026-11-23T01:02:03.123456789Z", MOMENT),
    ("2026-11-23t02:02:03.123456+01:00", MOMENT),
    ("2026-11-23 02:02:03.123456+0100", MOMENT),
    ("2026-11-23T02:02:03,123456+01", MOMENT),
    ("2026-11-22T19:32:03.123456-05:30", MOMENT),
    ("2026-11-23T01:02:03.1Z", MOMENT.replace(microsecond=100_000)),
    ("2026-11-23T01:02:03Z", MOMENT.replace(microsecond=0)),
    ("2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 59, 999_999, UTC)),
    (1795395723, datetime(2026, 11, 23, 1, 2, 3, 0, UTC)),
    (1795395723.5, datetime(2026, 11, 23, 1, 2, 3, 500_000, UTC)),
    (1795395723123, MOMENT.replace(microsecond=123_000)),
    (1795395723123456, MOMENT),
    ("2026-11-23T01:02:03", "no_time_zone"),
    ("2026-11-23 01:02:03.5", "no_time_zone"),
    ("2026-13-23T01:02:03Z", "bad_event_time"),
    ("0001-01-01T00:00:00+01:00", "bad_event_time"),
    ("23.11.2026 01:02", "bad_event_time"),
    ("", "bad_event_time"),
    (-1, "bad_event_time"),
    (10**30, "bad_event_time"),
    (True, "bad_event_time"),
    ({}, "bad_event_time"),
]


@pytest.mark.parametrize("name", ["timestamp", "readAt", "time", "firstSeenTimestamp"])
@pytest.mark.parametrize(("time", "expected"), TIMES)
def test_times(name: str, time: Any, expected: datetime | str) -> None:
    body = json.dumps({"id": "a", name: time}).encode()
    (outcome,) = decode_generic(body)
    if isinstance(expected, datetime):
        assert outcome == Read("a", event_time=expected)
    else:
        assert outcome == Invalid(expected, body)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"7", "no_object"),
        (b'"SN1"', "no_object"),
        (b"SN1\r\n", "bad_json"),
        (b"epc=1&x=2", "bad_json"),
        (b'{"epc":', "bad_json"),
        (b'{"reads":7}', "bad_json"),
        (b"\xff\xfe", "bad_json"),
        (b"[" * 100_000, "bad_json"),
        (b'{"a":' * 100_000, "bad_json"),
    ],
)
def test_bodies_that_do_not_parse(body: bytes, reason: str) -> None:
    with pytest.raises(UnreadableBody) as refused:
        decode_generic(body)
    assert refused.value.reason == reason


def test_what_is_kept_of_a_bad_item_is_cut_short() -> None:
    (outcome,) = decode_generic(json.dumps({"x": "y" * 100_000}).encode())
    assert isinstance(outcome, Invalid)
    assert len(outcome.raw) == RAW_LENGTH_MAX


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
words = st.sampled_from(["direction", "event_id", "order", "rma", "corrects", "parent", "same_as"])
names = words | st.sampled_from(["epc", "idHex", "barcode", "id", "time", "antenna", "rssi"])
bodies = (
    st.binary(max_size=200)
    | st.text('{}[]":,0123456789.eE+-\nepcid ', max_size=100).map(str.encode)
    | st.lists(st.dictionaries(names, values, max_size=4), max_size=4).map(msgspec.json.encode)
)


@given(bodies)
def test_noise_is_unreadable_or_has_an_outcome_for_each_item(body: bytes) -> None:
    try:
        outcomes = decode_generic(body)
    except UnreadableBody:
        return
    assert outcomes
    assert all(isinstance(outcome, Read | Heartbeat | Invalid) for outcome in outcomes)


@given(bodies)
def test_noise_in_a_message_never_raises(body: bytes) -> None:
    assert decode_body("mqtt-generic", body)


# ---------------------------------------------------------------------- what may be delivered again

TIMED = {"code": "SN1", "timestamp": "2026-03-01T12:00:00Z"}


def fingerprint(**fields: Any) -> str | None:
    (outcome,) = decode_redelivered(json.dumps(fields).encode())
    assert isinstance(outcome, Read)
    return outcome.fingerprint


def test_a_read_that_may_come_again_is_known_by_all_that_it_says() -> None:
    """The first is written out: it must be the same in every release."""
    first = fingerprint(**TIMED)
    assert first == "0428f5a7e42465ca3982f6f60170f37b"
    assert fingerprint(code="SN1", time="2026-03-01T13:00:00.000+0100") == first
    others = [
        {"code": "SN2"},
        {"code": "]d2SN1"},
        {"timestamp": "2026-03-01T12:00:00.000001Z"},
        {"antenna": 1},
        {"direction": "in"},
        {"order": "PO7"},
        {"rma": "PO7"},
        {"corrects": "a/1"},
        {"parent": "C1"},
        {"sameAs": "C1"},
    ]
    assert len({first, *(fingerprint(**(TIMED | other)) for other in others)}) == 1 + len(others)


def test_a_read_without_a_time_or_with_an_id_of_its_own_has_no_other() -> None:
    assert fingerprint(code="SN1") is None
    assert fingerprint(**TIMED, event_id=7) is None


def test_a_message_may_have_any_number_of_items() -> None:
    body = json.dumps([TIMED, {"isHeartBeat": True}, 7] * ITEMS_MAX).encode()
    assert len(decode_redelivered(body)) == 3 * ITEMS_MAX
    with pytest.raises(UnreadableBody):
        decode_generic(body)
