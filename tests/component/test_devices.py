"""Devices: the simulated ones against a small gateway of the test's own, and the frames of real
ones through `scantrail decode`, as an installer would try them."""

import asyncio
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest

from scantrail.cli.commands import run
from scantrail.cli.devices import ACK, TextReader
from scantrail.gateway.decoders.outcome import MENDS
from scantrail.gateway.readers import Protocol

FRAMES_FILE = Path(__file__).parents[1] / "data" / "device-frames.jsonl"
FRAMES = [json.loads(line) for line in FRAMES_FILE.read_text(encoding="utf-8").splitlines()]


async def test_units_that_pass_a_scanner_at_once_are_read_one_after_another() -> None:
    """Each send ends with its own acknowledgements, and every code arrives once."""
    arrived, ended = Counter[bytes](), asyncio.Event()

    async def take(stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await stream.readline():
            arrived[line.strip()] += 1
            await asyncio.sleep(0)
            writer.write(ACK)
        writer.close()
        await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    scanner = TextReader(host, port)
    codes = [[f"unit-{n}-{m}".encode() for m in range(3)] for n in range(40)]
    await asyncio.gather(*(scanner.send(some) for some in codes))
    assert arrived == Counter(code for some in codes for code in some)
    await scanner.close()
    await ended.wait()
    server.close()
    await server.wait_closed()


# ------------------------------------------------------------------------------- scantrail decode


class Bench:
    """A readers' file, standard input, and what was printed."""

    def __init__(
        self,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self.file = folder / "readers.toml"
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def reader(self, protocol: str, **settings: Any) -> None:
        table = {"id": "r", "station": "s", "protocol": protocol, **settings}
        if protocol in ("tcp", "tcp-osip"):
            table |= {"mode": "listen", "address": "0.0.0.0:9004"}
        if protocol.startswith("mqtt-"):
            table |= {"address": "broker:1883", "topic": "t"}
        lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
        self.file.write_text("\n".join(["[[reader]]", *lines]) + "\n")

    def decode(self, data: bytes, *more: str, reader_id: str = "r") -> int | str:
        self._monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        return run(["decode", "--reader", str(self.file), "--id", reader_id, *more])

    @property
    def printed(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._capsys.readouterr().out.splitlines()]


@pytest.fixture
def bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Bench:
    return Bench(tmp_path, monkeypatch, capsys)


def test_the_frames_are_of_protocols_that_readers_can_have() -> None:
    assert {frame["protocol"] for frame in FRAMES} <= set(get_args(Protocol))


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame["name"])
def test_the_frames_of_devices_through_the_command(frame: dict[str, Any], bench: Bench) -> None:
    bench.reader(frame["protocol"], **frame.get("config", {}))
    if frame["hex"] is None:
        data, more = json.dumps(frame["json"]).encode(), []
    else:
        sent = bytes.fromhex(frame["hex"])
        data = (sent.replace(b"|", b"") if frame.get("segments") else sent).hex().encode()
        more = ["--hex"]
    assert bench.decode(data, *more) == 0
    printed = bench.printed
    for line in printed:
        line.pop("event_time", None)  # the frames' expectation tells no times
    assert printed == frame["expect"]


@pytest.mark.parametrize(
    "frame",
    [frame for frame in FRAMES if frame["protocol"].startswith("http-")],
    ids=lambda frame: frame["name"],
)
def test_a_message_over_mqtt_means_what_the_same_body_means_over_http(
    frame: dict[str, Any], bench: Bench
) -> None:
    told = []
    for protocol in (frame["protocol"], frame["protocol"].replace("http-", "mqtt-")):
        bench.reader(protocol, **frame.get("config", {}))
        assert bench.decode(json.dumps(frame["json"]).encode()) == 0
        told.append(bench.printed)
    assert told[0] == told[1] != []


def test_a_password_is_not_needed_to_decode(bench: Bench) -> None:
    bench.reader("mqtt-zebra", username="scantrail", password_env="NOT_SET_ANYWHERE")
    assert bench.decode(b'{"idHex": "e1"}') == 0
    assert bench.printed == [{"epc": "E1"}]


def test_the_command_tells_all_that_a_device_says(bench: Bench) -> None:
    bench.reader("http-generic")
    body = (
        '[{"code":"]d2SN1","timestamp":"2026-03-01T12:00:00+01:00","event_id":7,"order":"PO7",'
        '"direction":"in","corrects":"r/6"},{"epc":"e28011","rssi":-53.5,"parent":"A","sameAs":"B"}]'
    )
    assert bench.decode(body.encode()) == 0
    assert bench.printed == [
        {
            "read": "SN1",
            "aim": "]d2",
            "order": "PO7",
            "event_time": "2026-03-01T11:00:00+00:00",
            "event_id": "7",
            "direction": "in",
            "corrects": "r/6",
        },
        {"epc": "E28011", "rssi_dbm": -53.5, "parent": "A", "same_as": "B"},
    ]


def test_the_command_tells_the_station_and_what_is_a_stray(bench: Bench) -> None:
    bench.reader("http-zebra", rssi_min_dbm=-60, direction="in")
    with bench.file.open("a") as file:
        file.write('[reader.antennas]\n2 = "dock-2"\n')
    body = (
        '[{"idHex":"E1","antenna":2,"peakRssi":-60,"direction":"IN"},'
        '{"idHex":"E1","antenna":1,"peakRssi":-60.5},{"idHex":"E1","peakRssi":-1}]'
    )
    assert bench.decode(body.encode()) == 0
    first, weak, aimless = bench.printed
    assert (first["station"], weak["station"], aimless["station"]) == ("dock-2", "s", "s")
    assert "stray" not in first
    assert weak["stray"] == "-60.5 dBm is below the reader's rssi_min_dbm"
    assert aimless["stray"] == "the device tells no direction, and the reader has one"


def test_the_command_tells_of_lost_reads_and_states(bench: Bench) -> None:
    bench.reader("http-impinj")
    body = b'[{"overflowEvent":{"eventsPurged":41}},{"eventType":"antennaConnected"}]'
    assert bench.decode(body) == 0
    assert bench.printed == [{"lost": 41}, {"control": "antennaConnected"}]


def test_the_command_tells_which_scanner_read_nothing(bench: Bench) -> None:
    bench.reader("tcp", pattern=r"(?P<scanner_no>\d\d) (?P<read>.*)")
    assert bench.decode(b"02 NoRead\r\n") == 0
    assert bench.printed == [{"no_read": True, "scanner_no": "02"}]


@pytest.mark.parametrize(
    ("protocol", "data", "reason", "raw"),
    [
        ("tcp", b"SN1\r\n\xe4\r\n", "bad_encoding", "\\xe4"),
        ("tcp", b"SN1\r\nSN2", "unfinished_frame", "SN2"),
        ("tcp-osip", b"###00160SPS01", "osip_cut_short", "###00160SPS01"),
        ("http-generic", b"", "empty", ""),
        ("http-generic", b'[{"id":"SN1"},7]', "not_an_object", "7"),
        ("http-zebra", b'[{"idHex":"e2"},{}]', "not_from_zebra", "{}"),
        ("mqtt-impinj", b"{]", "bad_json", "{]"),
    ],
)
def test_the_command_fails_where_something_is_invalid_and_tells_the_mend(
    bench: Bench, protocol: str, data: bytes, reason: str, raw: str
) -> None:
    bench.reader(protocol)
    assert bench.decode(data) == 1
    *before, last = bench.printed
    assert not any("invalid" in line for line in before)
    mend = last.pop("mend")
    assert last == {"invalid": reason, "raw": raw}
    assert mend == MENDS[reason]


def test_the_command_tells_a_controllers_telegrams(bench: Bench) -> None:
    bench.reader("tcp-osip", product="PUMP-7")
    with bench.file.open("a") as file:
        file.write('[reader.osip]\nbarcode_fill = "0"\nlocations = { EXIT = "gate" }\n')
    request = "REQ_" + "4711".rjust(20, "0") + "EXIT".ljust(20, "*") + "?" * 20 + "0" * 8
    silent = "UPD_" + "?" * 20 + "LANE".ljust(20, "*") + "00000090"
    sent = [
        f"###00160SPS03MFC__{n:05}{body}".ljust(160, "*")
        for n, body in enumerate([request, silent])
    ]
    assert bench.decode("\r\n".join(sent).encode()) == 0
    assert bench.printed == [
        {
            "osip": "REQ_",
            "sender": "SPS03",
            "receiver": "MFC__",
            "seq": 0,
            "reply": "RES_",
            "read": "4711",
            "location": "EXIT",
            "error": "00000000",
            "station": "gate",
        },
        {
            "osip": "UPD_",
            "sender": "SPS03",
            "receiver": "MFC__",
            "seq": 1,
            "no_read": True,
            "location": "LANE",
            "error": "00000090",
        },
    ]


def test_hex_may_have_blanks_and_line_ends(bench: Bench) -> None:
    bench.reader("tcp")
    assert bench.decode(b"53 4e 31\r\n0D0a\n", "--hex") == 0
    assert bench.printed == [{"read": "SN1"}]


@pytest.mark.parametrize("data", [b"5", b"xy", b"\xff"])
def test_what_is_no_hex_is_refused(bench: Bench, data: bytes) -> None:
    bench.reader("tcp")
    told = bench.decode(data, "--hex")
    assert isinstance(told, str)
    assert told.startswith("scantrail decode: standard input is not pairs of hex digits: ")


def test_an_id_that_is_not_in_the_file_is_refused_with_those_that_are(bench: Bench) -> None:
    bench.reader("tcp")
    with bench.file.open("a") as file:
        file.write('[[reader]]\nid = "gate"\nstation = "s"\nprotocol = "http-zebra"\n')
    told = bench.decode(b"", reader_id="dock")
    assert told == f"scantrail decode: {bench.file} has no reader 'dock'; it has r, gate"
    bench.file.write_text("")
    told = bench.decode(b"", reader_id="dock")
    assert told == f"scantrail decode: {bench.file} has no reader 'dock'; it has none at all"


def test_a_file_that_is_wrong_is_refused_with_its_line(bench: Bench) -> None:
    bench.reader("tcp", colour=1)
    told = bench.decode(b"")
    assert isinstance(told, str)
    assert told.startswith(f"scantrail decode: {bench.file}:5: reader 'r': colour: unknown key")
