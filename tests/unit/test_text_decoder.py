"""Text over TCP: each frame and what it says, whole, cut anywhere, and as noise."""

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scantrail.gateway.decoders.outcome import (
    Control,
    Heartbeat,
    Invalid,
    NoRead,
    Outcome,
    Read,
)
from scantrail.gateway.decoders.text import TextDecoder
from scantrail.gateway.readers import ReaderSettings

FRAMES_FILE = Path(__file__).parents[1] / "data" / "device-frames.jsonl"
FRAMES = [
    frame
    for line in FRAMES_FILE.read_text(encoding="utf-8").splitlines()
    if (frame := json.loads(line))["protocol"] == "tcp"
]


def reader(**settings: Any) -> ReaderSettings:
    return ReaderSettings(id="r", station="s", protocol="tcp", mode="listen", **settings)


def decoded(settings: ReaderSettings, *segments: bytes) -> list[Outcome]:
    decoder = TextDecoder(settings)
    return [outcome for segment in segments for outcome in decoder.feed(segment)]


def bytewise(settings: ReaderSettings, data: bytes) -> list[Outcome]:
    return decoded(settings, *(data[i : i + 1] for i in range(len(data))))


def of_frame(expected: dict[str, Any]) -> Outcome:
    if "no_read" in expected:
        return NoRead()
    if "heartbeat" in expected:
        return Heartbeat()
    if "control" in expected:
        return Control(expected["control"])
    # The AIM identifier is taken off in the frames' expectation, too.
    return Read(expected["read"], expected.get("aim"), expected.get("scanner_no"))


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame["name"])
def test_frames_of_devices_whole_and_cut_at_every_byte(frame: dict[str, Any]) -> None:
    config = frame.get("config", {})
    settings: dict[str, Any] = {}
    if "pattern" in config:
        settings["pattern"] = re.compile(config["pattern"])
    if "gs_aliases" in config:
        settings["gs_aliases"] = tuple(config["gs_aliases"])
    data = bytes.fromhex(frame["hex"])
    if frame.get("segments"):
        data = data.replace(b"|", b"")
    expected = [of_frame(each) for each in frame["expect"]]
    assert decoded(reader(**settings), data) == expected
    assert bytewise(reader(**settings), data) == expected
    for cut in range(len(data) + 1):
        assert decoded(reader(**settings), data[:cut], data[cut:]) == expected


STX_ETX = {"start": b"\x02", "end": (b"\x03",)}

# One line is one stream of bytes, the reader's settings, and what it says.
STREAMS: list[tuple[str, dict[str, Any], bytes, list[Outcome]]] = [
    ("nothing", {}, b"", []),
    ("no end yet", {}, b"SN1", []),
    ("blank lines", {}, b"\r\n \r\n\t\r\n", []),
    ("blanks around", {}, b" SN1 \r\n", [Read("SN1")]),
    ("LF CR", {}, b"SN1\n\rSN2\n\r", [Read("SN1"), Read("SN2")]),
    ("own end", {"end": (b";",)}, b"SN1;SN\r2;", [Read("SN1"), Read("SN\r2")]),
    ("end of two bytes", {"end": (b"\r\n",)}, b"S\rN1\r\nSN2\r\n", [Read("S\rN1"), Read("SN2")]),
    (
        "a shorter end is taken at once and its rest dropped",
        {"end": (b"\r\n", b"\r")},
        b"SN1\r\nSN2\rSN3\r\n",
        [Read("SN1"), Read("SN2"), Read("SN3")],
    ),
    (
        "a rest of two bytes",
        {"end": (b"\r\n\n", b"\r")},
        b"SN1\r\n\nSN2\rSN3\r",
        [Read("SN1"), Read("SN2"), Read("SN3")],
    ),
    ("start drops what is before", STX_ETX, b"noise\x02SN1\x03\r\n\x02SN2\x03", [
        Read("SN1"), Read("SN2"),
    ]),
    ("a start before the end", STX_ETX, b"\x02SN1\x02SN2\x03", [
        Invalid("unfinished_frame", b"SN1"), Read("SN2"),
    ]),
    ("two starts", STX_ETX, b"\x02\x02SN2\x03", [Read("SN2")]),
    ("a start of letters may stand in a code", {"start": b"S", "end": (b"\r",)}, b"xSNS1\r", [
        Read("NS1"),
    ]),
    ("STX ETX without settings", {}, b"x\x02SN1\x03\r\n", [
        Invalid("unfinished_frame", b"x"), Read("SN1"),
    ]),
    ("too long", {"max_frame": 16}, b"x" * 40 + b"\r\nSN2\r\n", [
        Invalid("frame_too_long", b"x" * 16), Read("SN2"),
    ]),
    ("just too long", {"max_frame": 16}, b"x" * 17 + b"\r\nSN2\r\n", [
        Invalid("frame_too_long", b"x" * 16), Read("SN2"),
    ]),
    ("just not too long", {"max_frame": 16}, b"x" * 16 + b"\r\nSN2\r\n", [
        Read("x" * 16), Read("SN2"),
    ]),
    ("too long after a start", {"max_frame": 16, **STX_ETX}, b"\x02" + b"x" * 40 + b"\x02SN2\x03", [
        Invalid("frame_too_long", b"x" * 16), Read("SN2"),
    ]),
    ("telnet", {}, b"\xff\xfb\x01S\xff\xfd\x03N\xff\xf11\r\n", [Read("SN1")]),
    ("telnet subnegotiation", {}, b"\xff\xfa\x18\x01\xff\xf0SN1\r\n", [Read("SN1")]),
    ("telnet subnegotiation without end", {}, b"\xff\xfa" + b"x\r\n" * 100 + b"SN1\r\n", [
        *[Read("x")] * 100, Read("SN1"),
    ]),
    ("telnet escape of a byte FF", {"encoding": "latin-1"}, b"A\xff\xffB\r\n", [Read("A\xffB")]),
    ("bad UTF-8", {}, b"A\xe4B\r\nSN1\r\n", [Invalid("bad_encoding", b"A\xe4B"), Read("SN1")]),
    ("Latin-1", {"encoding": "latin-1"}, b"A\xe4B\r\n", [Read("AäB")]),
    ("Keyence error", {}, b"ER,LON,01\r", [Control("ER,LON,01")]),
    ("Cognex reply", {}, b"||0:123[0]\r\n", [Control("||0:123[0]")]),
    ("SICK replies", {}, b"\x02sRA LFErec\x03\x02sAN mTCgateon 1\x03", [
        Control("sRA LFErec"), Control("sAN mTCgateon 1"),
    ]),
    ("no command replies", {}, b"OK1\r\nsRAx\r\n", [Read("OK1"), Read("sRAx")]),
    ("own words", {"no_read": frozenset({"FAIL"})}, b"FAIL\rERROR\r", [NoRead(), Read("ERROR")]),
    ("heartbeat pattern", {"heartbeat_pattern": re.compile(r"MOTEVTHB:\d+")}, b"MOTEVTHB:12\r\n", [
        Heartbeat(),
    ]),
    ("several codes", {"split": ";"}, b"SN1;]C0SN2;;NoRead\r\n", [
        Read("SN1"), Read("SN2", aim="]C0"), NoRead(),
    ]),
    (
        "scanner number, order and codes",
        {
            "pattern": re.compile(r"(?P<scanner_no>\d\d) (?P<order>\w+) (?P<read>.*)"),
            "split": ";",
        },
        b"01 PO7 SN1;NoRead\r\nnothing\r\n02 PO8 \r\n",
        [
            Read("SN1", scanner_no="01", order="PO7"),
            NoRead("01"),
            Invalid("pattern_mismatch", b"nothing"),
            Invalid("pattern_mismatch", b"02 PO8 "),
        ],
    ),
    (
        "a read without anything",
        {"pattern": re.compile(r"(?P<scanner_no>\d\d):(?P<read>.*)")},
        b"01:\r\n",
        [Invalid("empty_read", b"01:")],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "data", "expected"),
    [stream[1:] for stream in STREAMS],
    ids=[stream[0] for stream in STREAMS],
)
def test_streams(settings: dict[str, Any], data: bytes, expected: list[Outcome]) -> None:
    assert decoded(reader(**settings), data) == expected
    assert bytewise(reader(**settings), data) == expected


def test_cr_ends_the_frame_at_once() -> None:
    decoder = TextDecoder(reader())
    assert decoder.feed(b"SN1\r") == [Read("SN1")]
    assert decoder.feed(b"\nSN2\r") == [Read("SN2")]
    assert decoder.feed(b"\n") == []


@pytest.mark.parametrize(
    ("settings", "data", "expected"),
    [
        ({}, b"", []),
        ({}, b"SN1\r\n", []),
        ({}, b"SN1\r\n \n\r", []),
        ({}, b"SN1\r\nSN", [Invalid("unfinished_frame", b"SN")]),
        ({}, b"\x02SN", [Invalid("unfinished_frame", b"SN")]),
        ({"end": (b"\r\n\n", b"\r")}, b"SN1\r\n", []),
        (STX_ETX, b"\x02SN1\x03\r\n", []),
        (STX_ETX, b"\x02SN1", [Invalid("unfinished_frame", b"SN1")]),
        ({"max_frame": 16}, b"x" * 40, []),
    ],
)
def test_the_end_of_a_connection(
    settings: dict[str, Any], data: bytes, expected: list[Outcome]
) -> None:
    decoder = TextDecoder(reader(**settings))
    decoder.feed(data)
    assert decoder.end() == expected


SETTINGS = [
    reader(max_frame=16),
    reader(max_frame=16, **STX_ETX),
    reader(max_frame=16, start=b"ab", end=(b"ba", b"b")),
    reader(max_frame=16, end=(b"\r\n\n", b"\r"), encoding="latin-1"),
    reader(max_frame=16, split="a", pattern=re.compile("(?P<scanner_no>b)?(?P<read>.*)")),
]
noise = st.binary(max_size=400) | st.lists(
    st.sampled_from([b"\x02", b"\x03", b"\r", b"\n", b"\xff", b"\xfa", b"\xfd", b"a", b"b", b"?"]),
    max_size=200,
).map(b"".join)


@given(settings=st.sampled_from(SETTINGS), data=noise, cuts=st.lists(st.integers(0, 400)))
def test_noise_never_raises_and_says_the_same_however_it_is_cut(
    settings: ReaderSettings, data: bytes, cuts: list[int]
) -> None:
    bounds = [0, *sorted(cuts), len(data)]
    segments = [data[low:high] for low, high in pairwise(bounds)]
    assert decoded(settings, *segments) == decoded(settings, data)


def test_memory_is_bounded_by_one_frame() -> None:
    settings = reader(max_frame=64)
    for filler in (b"x" * 1000, b"\xff\xfa" * 500, b"\xff" * 1000, b"\x02" * 1000):
        decoder = TextDecoder(settings)
        for _ in range(1000):
            decoder.feed(filler)
        held = len(decoder._buffer) + len(decoder._telnet._pending)
        assert held < 64 + 300
