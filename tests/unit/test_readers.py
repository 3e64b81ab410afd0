"""The readers' file: what it says, and each refusal with its text."""

import re
from ipaddress import ip_network
from pathlib import Path

import pytest

from scantrail.gateway.contexts import ContextSettings
from scantrail.gateway.mqtt_settings import Subscription
from scantrail.gateway.readers import (
    DEFAULT_END,
    DEFAULT_HEARTBEAT,
    DEFAULT_NO_READ,
    ReaderSettings,
)
from scantrail.gateway.readers_file import ReaderSettingsError, load_readers

TCP = """
[[reader]]
id = "dock-1"
station = "dock"
protocol = "tcp"
mode = "listen"
address = "0.0.0.0:9004"
"""

IMPINJ = """
[[reader]]
id = "gate"
station = "gate"
protocol = "http-impinj"
"""


MQTT = """
[[reader]]
id = "gate"
station = "gate"
protocol = "mqtt-impinj"
address = "broker:1883"
topic = "readers/gate/tags"
"""


def readers(
    tmp_path: Path, text: str, environ: dict[str, str] | None = None
) -> tuple[ReaderSettings, ...]:
    path = tmp_path / "readers.toml"
    path.write_text(text, encoding="utf-8")
    return load_readers(path, environ)


def test_a_reader_with_defaults(tmp_path: Path) -> None:
    (reader,) = readers(tmp_path, TCP)
    assert reader == ReaderSettings(
        id="dock-1",
        station="dock",
        protocol="tcp",
        mode="listen",
        address=("0.0.0.0", 9004),
    )
    assert reader.end == DEFAULT_END == (b"\r\n", b"\r", b"\n")
    assert reader.no_read == DEFAULT_NO_READ
    assert reader.heartbeat == DEFAULT_HEARTBEAT
    assert (reader.debounce_s, reader.max_frame, reader.encoding) == (2.0, 4096, "utf-8")


def test_a_reader_with_everything(tmp_path: Path) -> None:
    (reader,) = readers(
        tmp_path,
        r"""
        [[reader]]
        id = "dock-1"
        station = "dock"
        protocol = "tcp"
        mode = "connect"
        address = "[::1]:2112"
        start = "\u0002"
        end = ["\u0003", "\u00ff\r"]
        no_read = ["NoRead", "\u0018"]
        heartbeat = ["HB"]
        heartbeat_pattern = 'MOTEVTHB:\d+'
        silence_s = 30
        split = ";"
        pattern = '(?P<scanner_no>\d\d) (?P<order>\w+) (?P<read>.*)'
        gs_aliases = ["<GS>", "{GS}"]
        ack = "\u0006"
        debounce_s = 0.5
        max_frame = 512
        encoding = "latin-1"
        product = "X100"
        """,
    )
    assert reader == ReaderSettings(
        id="dock-1",
        station="dock",
        protocol="tcp",
        mode="connect",
        address=("::1", 2112),
        start=b"\x02",
        end=(b"\x03", b"\xff\r"),
        no_read=frozenset({"NoRead", "\x18"}),
        heartbeat=frozenset({"HB"}),
        heartbeat_pattern=re.compile(r"MOTEVTHB:\d+"),
        silence_s=30.0,
        split=";",
        pattern=re.compile(r"(?P<scanner_no>\d\d) (?P<order>\w+) (?P<read>.*)"),
        gs_aliases=("<GS>", "{GS}"),
        ack=b"\x06",
        debounce_s=0.5,
        max_frame=512,
        encoding="latin-1",
        product="X100",
    )


def test_readers_over_http_have_no_address(tmp_path: Path) -> None:
    (reader,) = readers(
        tmp_path, '[[reader]]\nid = "gate"\nstation = "gate"\nprotocol = "http-generic"\n'
    )
    assert (reader.mode, reader.address) == (None, None)


@pytest.mark.parametrize("protocol", ["http-impinj", "http-zebra"])
def test_readers_of_tags(tmp_path: Path, protocol: str) -> None:
    text = f'[[reader]]\nid = "gate"\nstation = "s"\nprotocol = "{protocol}"\ndebounce_s = 0.5\n'
    (reader,) = readers(tmp_path, text)
    assert (reader.protocol, reader.debounce_s, reader.address) == (protocol, 0.5, None)


def test_a_reader_of_tags_with_everything(tmp_path: Path) -> None:
    (reader,) = readers(
        tmp_path,
        """
        [[reader]]
        id = "portal"
        station = "dock"
        protocol = "http-zebra"
        rssi_min_dbm = -65
        reads_min = 3
        reads_window_s = 1.5
        direction = "IN"
        [reader.antennas]
        1 = "dock-1"
        "2" = "dock-2"
        """,
    )
    assert reader == ReaderSettings(
        id="portal",
        station="dock",
        protocol="http-zebra",
        rssi_min_dbm=-65.0,
        reads_min=3,
        reads_window_s=1.5,
        direction="IN",
        antennas={1: "dock-1", 2: "dock-2"},
    )
    assert [reader.station_at(antenna) for antenna in (1, 2, 3, None)] == [
        "dock-1",
        "dock-2",
        "dock",
        "dock",
    ]


def test_a_reader_over_mqtt_with_defaults(tmp_path: Path) -> None:
    (reader,) = readers(tmp_path, MQTT, {})
    assert reader == ReaderSettings(
        id="gate",
        station="gate",
        protocol="mqtt-impinj",
        address=("broker", 1883),
        subscription=Subscription(topic="readers/gate/tags", client_id="scantrail-gate"),
    )
    assert reader.subscription is not None
    assert (reader.subscription.mqtt_version, reader.subscription.offline) == (
        "3.1.1",
        frozenset({"offline"}),
    )


def test_a_reader_over_mqtt_with_everything(tmp_path: Path) -> None:
    text = (
        MQTT.replace("impinj", "generic")
        + """
        mqtt_version = "5"
        client_id = "gateway-1.gate"
        shared = "scantrail"
        username = "scantrail"
        password_env = "GATE_PASSWORD"
        tls = true
        status_topic = "readers/gate/status"
        offline = ["offline", "0"]
        product = "X100"
        debounce_s = 1
        rssi_min_dbm = -60
        [reader.antennas]
        1 = "dock-1"
        """
    )
    (reader,) = readers(tmp_path, text, {"GATE_PASSWORD": "secret"})
    assert reader.subscription == Subscription(
        topic="readers/gate/tags",
        client_id="gateway-1.gate",
        mqtt_version="5",
        shared="scantrail",
        username="scantrail",
        password="secret",
        tls=True,
        status_topic="readers/gate/status",
        offline=frozenset({"offline", "0"}),
    )
    assert (reader.product, reader.debounce_s, reader.antennas) == ("X100", 1.0, {1: "dock-1"})
    assert "secret" not in repr(reader)


def test_a_generic_reader_over_mqtt_may_have_a_context(tmp_path: Path) -> None:
    text = MQTT.replace("impinj", "generic") + "[reader.context]\nparent = true\n"
    (reader,) = readers(tmp_path, text, {})
    assert reader.context is not None
    assert reader.context.parent


def test_no_password_and_no_certificates_are_needed_to_look_at_the_file(tmp_path: Path) -> None:
    secrets = 'username = "u"\npassword_env = "P"\ntls = true\nca_file = "/nowhere/ca.pem"\n'
    (reader,) = readers(tmp_path, MQTT + secrets)
    assert reader.subscription is not None
    assert (reader.subscription.password, reader.subscription.ca_file) == (None, "/nowhere/ca.pem")


@pytest.mark.parametrize(
    ("environ", "refusal"),
    [
        ({}, ":9: reader 'gate': password_env: the environment variable P is not set: put the"),
        ({"P": ""}, ":9: reader 'gate': password_env: the environment variable P is not set"),
        ({"P": "p"}, ":11: reader 'gate': ca_file: '/nowhere/ca.pem' cannot be used, PEM is"),
    ],
)
def test_a_gateway_does_not_start_without_its_password_and_certificates(
    tmp_path: Path, environ: dict[str, str], refusal: str
) -> None:
    secrets = 'username = "u"\npassword_env = "P"\ntls = true\nca_file = "/nowhere/ca.pem"\n'
    with pytest.raises(ReaderSettingsError) as refused:
        readers(tmp_path, MQTT + secrets, environ)
    assert str(refused.value).startswith(f"{tmp_path / 'readers.toml'}{refusal}")


def test_a_topic_may_be_of_another_reader_at_another_broker(tmp_path: Path) -> None:
    other = MQTT.replace('"gate"', '"door"').replace("broker", "127.0.0.1")
    assert len(readers(tmp_path, MQTT + other)) == 2


def test_antennas_may_stand_in_one_line(tmp_path: Path) -> None:
    (reader,) = readers(tmp_path, IMPINJ + 'antennas = { 1 = "dock-1" }\n')
    assert reader.antennas == {1: "dock-1"}


def test_an_empty_file_has_no_readers(tmp_path: Path) -> None:
    assert readers(tmp_path, "") == ()


def test_any_free_port_may_be_taken_twice(tmp_path: Path) -> None:
    text = TCP.replace("9004", "0")
    assert len(readers(tmp_path, text + text.replace("dock-1", "dock-2"))) == 2


SECOND = TCP.replace("dock-1", "dock-2")

SECOND_MQTT = MQTT.replace('id = "gate"', 'id = "door"')

# One line is one file and what is said of it.
REFUSED = [
    (TCP + "colour = 1\n", ":8: reader 'dock-1': colour: unknown key; one of ack, address,"),
    (TCP + 'split = ""\n', ":8: reader 'dock-1': split: a text is expected, not ''"),
    (TCP + 'end = "x"\n', ":8: reader 'dock-1': end: a list of texts is expected, not 'x'"),
    (TCP + "end = []\n", ":8: reader 'dock-1': end: no end of a frame; take the key out"),
    (TCP + 'start = "€"\n', ":8: reader 'dock-1': start: '€': one character stands for one byte"),
    (TCP + "pattern = '('\n", ":8: reader 'dock-1': pattern: '(' is no regular expression"),
    (TCP + "pattern = '.*'\n", ":8: reader 'dock-1': pattern: '.*' has no group (?P<read>...)"),
    (
        TCP + "pattern = '(?P<read>.)(?P<sku>.)'\n",
        ":8: reader 'dock-1': pattern: group 'sku' is unknown; order, read, scanner_no",
    ),
    (TCP + 'debounce_s = "2"\n', ":8: reader 'dock-1': debounce_s: seconds from 0 to 86400"),
    (TCP + "debounce_s = true\n", ":8: reader 'dock-1': debounce_s: seconds from 0 to 86400"),
    (TCP + "debounce_s = nan\n", ":8: reader 'dock-1': debounce_s: seconds from 0 to 86400"),
    (TCP + "silence_s = 0\n", ":8: reader 'dock-1': silence_s: 0 would take every reader for dead"),
    (TCP + "max_frame = 1\n", ":8: reader 'dock-1': max_frame: bytes from 16 to 1048576"),
    (TCP + 'encoding = "utf-16"\n', ":8: reader 'dock-1': encoding: 'utf-16' is unknown; one of"),
    (TCP + 'product = "X.1"\n', ":8: reader 'dock-1': product: 'X.1' cannot be a product's id"),
    (TCP + 'product = "A/1"\n', ":8: reader 'dock-1': product: 'A/1' cannot be a product's id"),
    (
        TCP + 'product = "09506000134353"\n',
        ":8: reader 'dock-1': product: GTIN 09506000134353 should",
    ),
    (
        TCP.replace('"tcp"', '"mqtt"'),
        ":5: reader 'dock-1': protocol: 'mqtt' is unknown; one of http-generic, http-impinj,",
    ),
    (
        TCP.replace('"tcp"', '"http-generic"'),
        ":6: reader 'dock-1': mode: has no meaning for protocol 'http-generic'; take it out",
    ),
    (
        IMPINJ + 'product = "X100"\n',
        ":6: reader 'gate': product: has no meaning for protocol 'http-impinj'; take it out",
    ),
    (
        IMPINJ.replace("impinj", "zebra") + 'address = "0.0.0.0:9004"\n',
        ":6: reader 'gate': address: has no meaning for protocol 'http-zebra'; take it out",
    ),
    (
        IMPINJ + "colour = 1\n",
        ":6: reader 'gate': colour: unknown key; one of antennas, debounce_s,",
    ),
    (
        TCP + "rssi_min_dbm = -65\n",
        ":8: reader 'dock-1': rssi_min_dbm: has no meaning for protocol 'tcp'; take it out",
    ),
    (
        IMPINJ + 'direction = "in"\n',
        ":6: reader 'gate': direction: has no meaning for protocol 'http-impinj'; take it out",
    ),
    (IMPINJ + "rssi_min_dbm = 65\n", ":6: reader 'gate': rssi_min_dbm: dBm from -120 to 0 are"),
    (IMPINJ + "rssi_min_dbm = nan\n", ":6: reader 'gate': rssi_min_dbm: dBm from -120 to 0 are"),
    (IMPINJ + "rssi_min_dbm = true\n", ":6: reader 'gate': rssi_min_dbm: dBm from -120 to 0 are"),
    (
        IMPINJ + "reads_min = 0\nreads_window_s = 1\n",
        ":6: reader 'gate': reads_min: a number of reads from 1 to 50 is expected, not 0",
    ),
    (
        IMPINJ + "reads_window_s = 1\nreads_min = 2.5\n",
        ":7: reader 'gate': reads_min: a number of reads from 1 to 50 is expected, not 2.5",
    ),
    (
        IMPINJ + "reads_min = 3\n",
        ":6: reader 'gate': reads_min: within how many seconds? Give reads_window_s too",
    ),
    (
        IMPINJ + "reads_window_s = 3\n",
        ":6: reader 'gate': reads_window_s: how many reads within it? Give reads_min too",
    ),
    (
        IMPINJ + "reads_window_s = 0\nreads_min = 2\n",
        ":6: reader 'gate': reads_window_s: no two reads are within 0 s; give more,",
    ),
    (
        IMPINJ + "reads_window_s = -1\nreads_min = 2\n",
        ":6: reader 'gate': reads_window_s: seconds from 0 to 86400 are expected",
    ),
    (
        IMPINJ.replace("impinj", "zebra") + "direction = 1\n",
        ":6: reader 'gate': direction: a text is expected, not 1",
    ),
    (
        IMPINJ + "antennas = 1\n",
        ":6: reader 'gate': antennas: a table [reader.antennas] with lines such as 1 = \"dock-1\"",
    ),
    (
        IMPINJ + "[reader.antennas]\n",
        ":6: reader 'gate': antennas: a table [reader.antennas] with lines such as 1 = \"dock-1\"",
    ),
    (
        IMPINJ + '[reader.antennas]\n1 = "a"\ndebounce_s = 2\n',
        ":8: reader 'gate': antennas: 'debounce_s' is no antenna: 0 to 65535 is expected; other"
        " keys of the reader stand before [reader.antennas]",
    ),
    (IMPINJ + "[reader.antennas]\n01 = 'a'\n", ":7: reader 'gate': antennas: '01' is no antenna"),
    (IMPINJ + "[reader.antennas]\n65536 = 'a'\n", ":7: reader 'gate': antennas: '65536' is no"),
    (
        IMPINJ + "[reader.antennas]\n1 = 'a'\n2 = 'dock 2'\n",
        ":8: reader 'gate': antennas: a station's id is expected for 2, not 'dock 2'",
    ),
    (
        IMPINJ + "[reader.antennas]\n1 = 7\n",
        ":7: reader 'gate': antennas: a station's id is expected for 1, not 7",
    ),
    (
        TCP.replace('"listen"', '"both"'),
        ":6: reader 'dock-1': mode: 'both' is unknown; one of connect, listen",
    ),
    (
        TCP.replace('mode = "listen"\n', ""),
        ":2: reader 'dock-1': mode: is missing; one of connect, listen",
    ),
    (TCP.replace('id = "dock-1"\n', ""), ":2: reader no. 1: id: is missing"),
    (TCP.replace('"dock-1"', "7"), ":3: reader no. 1: id: a text is expected, not 7"),
    (TCP.replace('"dock-1"', '"dock 1"'), ":3: reader 'dock 1': id: 'dock 1': 1 to 64 letters"),
    (TCP.replace(":9004", ""), ":7: reader 'dock-1': address: '0.0.0.0': 'host:port' is expected"),
    (TCP.replace(":9004", ":99999"), ":7: reader 'dock-1': address: port 99999: 0 to 65535"),
    (
        TCP.replace("listen", "connect").replace(":9004", ":0"),
        ":7: reader 'dock-1': address: port 0: 1 to 65535 is expected",
    ),
    (TCP + TCP.replace("9004", "9005"), ":10: reader 'dock-1': id: 'dock-1' stands twice; give"),
    (
        TCP + SECOND,
        ":14: reader 'dock-2': address: reader 'dock-1' listens on 0.0.0.0:9004 already; give each",
    ),
    (
        TCP + SECOND.replace("0.0.0.0", "127.0.0.1"),
        ":14: reader 'dock-2': address: reader 'dock-1' listens on 0.0.0.0:9004 already",
    ),
    (MQTT + "colour = 1\n", ":8: reader 'gate': colour: unknown key; one of address, antennas,"),
    (
        MQTT + "silence_s = 1\n",
        ":8: reader 'gate': silence_s: has no meaning for protocol 'mqtt-impinj'; take it out",
    ),
    (
        MQTT + 'direction = "in"\n',
        ":8: reader 'gate': direction: has no meaning for protocol 'mqtt-impinj'; take it out",
    ),
    (
        IMPINJ + 'topic = "t"\n',
        ":6: reader 'gate': topic: has no meaning for protocol 'http-impinj'; take it out",
    ),
    (
        MQTT + 'password = "secret"\n',
        ":8: reader 'gate': password: is not written here: name a variable with it in password_env",
    ),
    (
        MQTT.replace('address = "broker:1883"\n', ""),
        ":2: reader 'gate': address: is missing",
    ),
    (MQTT.replace(":1883", ":0"), ":6: reader 'gate': address: port 0: 1 to 65535 is expected"),
    (MQTT.replace('topic = "readers/gate/tags"\n', ""), ":2: reader 'gate': topic: is missing"),
    (
        MQTT.replace("gate/tags", "+/tags"),
        ":7: reader 'gate': topic: 'readers/+/tags' has a wildcard: who a reader is, its topic",
    ),
    (
        MQTT.replace("readers/gate", "$share/g"),
        ":7: reader 'gate': topic: '$share/g/tags': name the group in shared, and here the topic",
    ),
    (
        MQTT.replace("readers/gate", "a" * 65_536),
        ":7: reader 'gate': topic: at most 65535 bytes without NUL are expected",
    ),
    (MQTT + "tls = 1\n", ":8: reader 'gate': tls: true or false is expected, not 1"),
    (MQTT + 'mqtt_version = "4"\n', ":8: reader 'gate': mqtt_version: '4' is unknown; one of 3.1"),
    (MQTT + "mqtt_version = 5\n", ":8: reader 'gate': mqtt_version: a text is expected, not 5"),
    (MQTT + 'client_id = "a/b"\n', ":8: reader 'gate': client_id: 'a/b': 1 to 64 letters"),
    (
        MQTT + 'shared = "a/b"\nclient_id = "c"\n',
        ":8: reader 'gate': shared: 'a/b': 1 to 64 letters",
    ),
    (
        MQTT + 'shared = "scantrail"\n',
        ":8: reader 'gate': shared: needs client_id too: each gateway of the group has a name",
    ),
    (
        MQTT + 'password_env = "P"\n',
        ":8: reader 'gate': password_env: needs username too: a broker takes no password without",
    ),
    (
        MQTT + 'username = "u"\npassword_env = "my secret"\n',
        ":9: reader 'gate': password_env: 'my secret' is no name of an environment variable",
    ),
    (
        MQTT + 'offline = ["0"]\n',
        ":8: reader 'gate': offline: needs status_topic too: where it is told",
    ),
    (
        MQTT + 'status_topic = "readers/#"\n',
        ":8: reader 'gate': status_topic: 'readers/#' has a wildcard",
    ),
    (
        MQTT + 'status_topic = "readers/gate/tags"\n',
        ":8: reader 'gate': status_topic: is the topic of the reads; states need one of their own",
    ),
    (
        MQTT + 'ca_file = "ca.pem"\n',
        ":8: reader 'gate': ca_file: needs tls too: certificates are looked at over TLS only",
    ),
    (
        MQTT + SECOND_MQTT.replace("broker", "BROKER"),
        ":14: reader 'door': topic: reader 'gate' has 'readers/gate/tags' at BROKER:1883 already;"
        " give each reader a topic of its own",
    ),
    (
        MQTT + SECOND_MQTT.replace("gate/tags", "door") + 'client_id = "scantrail-gate"\n',
        ":15: reader 'door': client_id: reader 'gate' has 'scantrail-gate' at broker:1883 already",
    ),
    ("reader = [{ id = 'a' }]\n", ": reader 'a': protocol: is missing"),
    ("[reader]\nid = 'a'\n", ": write [[reader]] with two brackets for each reader"),
    ("[[readers]]\n", ": unknown table 'readers'; readers stand in [[reader]] tables"),
    ("[[reader]\n", ": is not TOML: "),
]


@pytest.mark.parametrize(("text", "refusal"), REFUSED)
def test_each_refusal_says_where_and_what(tmp_path: Path, text: str, refusal: str) -> None:
    with pytest.raises(ReaderSettingsError) as refused:
        readers(tmp_path, text)
    assert str(refused.value).startswith(f"{tmp_path / 'readers.toml'}{refusal}")


def test_two_readers_may_share_a_port_on_two_addresses(tmp_path: Path) -> None:
    text = TCP.replace("0.0.0.0", "10.0.0.1") + SECOND.replace("0.0.0.0", "10.0.0.2")
    assert len(readers(tmp_path, text)) == 2


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ReaderSettingsError, match="cannot be read"):
        load_readers(tmp_path / "none.toml")


def test_a_readers_context(tmp_path: Path) -> None:
    told = "[reader.context]\nlocation = 'L-(.+)'\nparent = true\ntimeout_s = 60\n"
    (reader,) = readers(tmp_path, TCP + told)
    assert reader.context == ContextSettings(
        location=re.compile("L-(.+)"), parent=True, timeout_s=60
    )
    assert readers(tmp_path, TCP)[0].context is None


@pytest.mark.parametrize(
    ("told", "line", "text"),
    [
        ("context = 7", 8, "a table [reader.context] with lines such as"),
        ("[reader.context]\ntimeout_s = 60", 8, "a table [reader.context] with lines such as"),
        ("[reader.context]\nparent = true\nshelf = 'x'", 10, "unknown key 'shelf'; one of end,"),
        ("[reader.context]\nparent = 'yes'", 9, "true or false is expected for parent, not 'yes'"),
        ("[reader.context]\nlocation = 7", 9, "a pattern is expected for location, not 7"),
        ("[reader.context]\norder = '('", 9, "'(' is no regular expression"),
        ("[reader.context]\nparent = true\nend = ''", 10, "a text is expected for end, not ''"),
        (
            "[reader.context]\nparent = true\ntimeout_s = 0",
            10,
            "seconds above 0, up to 86400, is expected for timeout_s, not 0",
        ),
    ],
)
def test_a_wrong_context_is_refused_with_its_line(
    tmp_path: Path, told: str, line: int, text: str
) -> None:
    with pytest.raises(ReaderSettingsError, match=re.escape(text)) as refused:
        readers(tmp_path, TCP + told)
    assert f"readers.toml:{line}: reader 'dock-1': context: " in str(refused.value)


DIGEST = "0f" * 32


def test_who_may_send_and_how_much(tmp_path: Path) -> None:
    told = f'token_sha256 = "{DIGEST}"\nreads_per_s_max = 500\n'
    (reader,) = readers(tmp_path, IMPINJ + told)
    assert (reader.token_sha256, reader.reads_per_s_max) == ((DIGEST,), 500)
    (reader,) = readers(tmp_path, IMPINJ + f'token_sha256 = ["{DIGEST}", "{"a" * 64}"]')
    assert reader.token_sha256 == (DIGEST, "a" * 64)
    (reader,) = readers(tmp_path, TCP + 'peers = ["192.0.2.7", "2001:db8::/32"]')
    assert reader.peers == (ip_network("192.0.2.7"), ip_network("2001:db8::/32"))


@pytest.mark.parametrize(
    ("table", "told", "text"),
    [
        (IMPINJ, "token_sha256 = 'secret'", "64 hexadecimal digits are expected"),
        (IMPINJ, "token_sha256 = []", "64 hexadecimal digits are expected"),
        (IMPINJ, "reads_per_s_max = 0", "reads a second from 1 to 1000000 are expected, not 0"),
        (IMPINJ, "peers = ['192.0.2.7']", "has no meaning for protocol 'http-impinj'"),
        (TCP, f"token_sha256 = '{DIGEST}'", "has no meaning for protocol 'tcp'"),
        (TCP, "peers = ['dock.example']", "such as '192.0.2.7' or '192.0.2.0/24' are expected"),
        (
            TCP.replace("listen", "connect"),
            "peers = ['192.0.2.7']",
            "who may connect is asked where the reader does: take it out",
        ),
    ],
)
def test_wrong_words_on_who_may_send_are_refused(
    tmp_path: Path, table: str, told: str, text: str
) -> None:
    with pytest.raises(ReaderSettingsError, match=re.escape(text)):
        readers(tmp_path, table + told)


def test_the_schemes_that_a_reader_expects(tmp_path: Path) -> None:
    (reader,) = readers(tmp_path, TCP + 'schemes = ["imei", "vin"]')
    assert reader.schemes == {"imei", "vin"}
    assert readers(tmp_path, TCP)[0].schemes is None
    known = "one or more of epc, imei, meid, sscc, vin"
    for told, why in (("['isbn']", f"'isbn' is unknown; {known}"), ("[]", f"no scheme; {known}")):
        with pytest.raises(ReaderSettingsError, match=re.escape(why)):
            readers(tmp_path, f"{TCP}schemes = {told}")


@pytest.mark.parametrize("name", ["base", "tracker", "identifiers", "unknown"])
def test_a_reader_has_none_of_the_names_that_make_scans_themselves(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(ReaderSettingsError, match=f"id: '{name}' is a name of Scantrail's own"):
        readers(tmp_path, IMPINJ.replace('id = "gate"', f'id = "{name}"'))
