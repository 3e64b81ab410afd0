"""Conveyors in the readers' file: what it says, and each refusal with its line."""

from pathlib import Path

import pytest

from scantrail.domain.verdict import Verdict
from scantrail.gateway.conveyor_settings import OsipSettings
from scantrail.gateway.readers import ReaderSettings
from scantrail.gateway.readers_file import ReaderSettingsError, load_readers

LINE = """[[reader]]
id = "exit"
station = "gate"
protocol = "tcp"
mode = "listen"
address = "0.0.0.0:9004"
"""
OSIP = LINE.replace('"tcp"', '"tcp-osip"')


def reader(folder: Path, text: str) -> ReaderSettings:
    path = folder / "readers.toml"
    path.write_text(text, encoding="utf-8")
    (found,) = load_readers(path)
    return found


def test_a_line_that_asks_is_answered_with_words(tmp_path: Path) -> None:
    assert reader(tmp_path, LINE).verdict is None
    assert reader(tmp_path, f"{LINE}verdict = true\n").verdict == {
        Verdict.RELEASE: "RELEASE {reason}\r\n",
        Verdict.HOLD: "HOLD {reason}\r\n",
        Verdict.UNKNOWN: "UNKNOWN {reason}\r\n",
    }


def test_a_controller_may_want_bytes_of_its_own(tmp_path: Path) -> None:
    table = '[reader.verdict]\nrelease = "1"\nhold = "\\u0015"\nunknown = "\\u0015"\n'
    assert reader(tmp_path, LINE + table).verdict == {
        Verdict.RELEASE: "1",
        Verdict.HOLD: "\x15",
        Verdict.UNKNOWN: "\x15",
    }


def test_telegrams_are_as_usual_or_as_the_project_says(tmp_path: Path) -> None:
    found = reader(tmp_path, OSIP)
    assert found.osip == OsipSettings()
    assert found.address == ("0.0.0.0", 9004)
    table = """[reader.osip]
telegram_length = 200
barcode_length = 40
barcode_fill = "0"
release_target = "OUT"
hold_target = "CHECK"
group = true
[reader.osip.locations]
EXIT = "gate"
"""
    assert reader(tmp_path, OSIP + table).osip == OsipSettings(
        telegram_length=200,
        barcode_length=40,
        barcode_fill="0",
        release_target="OUT",
        hold_target="CHECK",
        group=True,
        locations={"EXIT": "gate"},
    )


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (f"{LINE}verdict = false", 7, "true, or a table [reader.verdict]"),
        (f"{LINE}verdict = true\nack = 'x'", 8, "take it out"),
        (f"{LINE}verdict = true\ndebounce_s = 1", 8, "take it out"),
        (f'{LINE}[reader.verdict]\nrelease = "1"\nhold = "0"', 7, "expected for unknown, not None"),
        (f"{LINE}[reader.verdict]\nrelease = 1", 8, "expected for release, not 1"),
        (f'{LINE}[reader.verdict]\nrelease = "\u20ac"', 8, "a text of bytes"),
        (f'{LINE}[reader.verdict]\nreleased = "1"', 8, "unknown key 'released'"),
        (
            f'{LINE}[reader.verdict]\nrelease = "1"\nhold = "0"\nunknown = "1"',
            8,
            "must answer nothing else",
        ),
        (f"{OSIP}verdict = true", 7, "has no meaning for protocol 'tcp-osip'"),
        (f"{LINE}[reader.osip]\ngroup = true", 7, "has no meaning for protocol 'tcp'"),
        (f"{OSIP}osip = true", 7, "a table [reader.osip]"),
        (f"{OSIP}[reader.osip]\nlength = 1", 8, "unknown key 'length'"),
        (f"{OSIP}[reader.osip]\ntelegram_length = 100", 8, "160 to 2048 is expected"),
        (f"{OSIP}[reader.osip]\nbarcode_length = 7", 8, "8 to 80 is expected"),
        (f"{OSIP}[reader.osip]\nbarcode_length = 40", 8, "no room for a barcode"),
        (f'{OSIP}[reader.osip]\nbarcode_fill = "00"', 8, "one character is expected"),
        (f'{OSIP}[reader.osip]\nhold_target = "{"x" * 21}"', 8, "1 to 20 ASCII characters"),
        (f'{OSIP}[reader.osip]\nrelease_target = "\u00c4"', 8, "1 to 20 ASCII characters"),
        (f"{OSIP}[reader.osip]\ngroup = 1", 8, "true or false is expected"),
        (f"{OSIP}[reader.osip]\nlocations = {{}}", 8, "a table of stations is expected"),
        (f"{OSIP}[reader.osip.locations]\nEXIT = 4", 8, "not 'EXIT', 4"),
        (OSIP.replace("mode", "# mode"), 1, "mode: is missing"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    with pytest.raises(ReaderSettingsError) as refused:
        reader(tmp_path, text)
    assert words in str(refused.value)
    assert f"readers.toml:{line}: reader 'exit': " in str(refused.value)


def test_a_conveyor_and_a_scanner_do_not_listen_on_one_address(tmp_path: Path) -> None:
    path = tmp_path / "readers.toml"
    path.write_text(LINE + OSIP.replace('"exit"', '"other"'))
    with pytest.raises(ReaderSettingsError, match="listens on"):
        load_readers(path)
