"""What is read off a barcode reaches the logs through every door, and forges no line of them."""

import io
import json
import logging
import re
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

import pytest
import structlog

from scantrail.infra import logs

FORGED = '{"event": "unit released", "service": "gateway"}'

#: What an attacker prints on a label.
TEXTS = {
    "a forged line": f"a\n{FORGED}\n",
    "a forged line, other breaks": f"a\r\n{FORGED}\r\x0b\x0c\x1c\x85{FORGED}",
    "clears the screen": "\x1b[2J\x1b[1;1H\x9b2Jall is well",
    "a forged line, Unicode's breaks": f"a\u2028{FORGED}\u2029{FORGED}",
    "NUL": "a\x00b\x7f",
    "lone surrogates": "a\ud800b\udc80",
    "from right to left": "a\u202eb\u2066c\u200bd",
    "a megabyte": "9" * 1_000_000,
    "a megabyte of control characters": "\x1b" * 1_000_000,
    "format": "%s %(x)s {} {0}",
}

#: No line is longer, whatever it is told of.
LINE_MAX = 3 * (logs.EVENT_MAX + logs.PARTS_MAX + logs.TEXT_MAX)

#: With an exception in it.
TRACE_LINE_MAX = 8 * logs.TRACE_MAX

#: What the terminal's own colours are written with.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def logging_kept() -> Iterator[None]:
    """As it was before, after the test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    hooks = sys.excepthook, threading.excepthook
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    sys.excepthook, threading.excepthook = hooks
    structlog.reset_defaults()


LOGGERS = ("aiokafka", "faust", "mode", "httpx", "httpcore", "uvicorn.error")

Configured = Callable[[type[io.StringIO]], io.StringIO]


@pytest.fixture
def configured(logging_kept: None, monkeypatch: pytest.MonkeyPatch) -> Configured:
    """Set up as a process does it, within the test, or pytest would listen too; what it writes goes
    into what is returned: JSON lines, or what people see on a Terminal."""

    def configured_(kind: type[io.StringIO]) -> io.StringIO:
        output = kind()
        monkeypatch.setattr(sys, "stderr", output)
        logs.configure_logging("gateway", "info")
        return output

    return configured_


def no_control(text: str) -> bool:
    """Nothing that moves, hides or breaks: no control character, none that only looks so."""
    return all(char.isprintable() for char in text)


def the_line(output: io.StringIO, length_max: int = LINE_MAX) -> dict[str, Any]:
    """The one line, and what each must have."""
    text = output.getvalue()
    assert text.endswith("\n")
    assert text.count("\n") == len(text.splitlines()) == 1, text[:500]
    assert no_control(text[:-1])
    assert len(text) <= length_max
    told: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)
    assert told["event"]
    assert told["service"] == "gateway"
    assert _RFC_3339.fullmatch(told["timestamp"])
    assert datetime.fromisoformat(told["timestamp"]).utcoffset() == timedelta(0)
    assert told["level"] in ("info", "warning", "error", "critical")
    return told


def the_shown_line(output: io.StringIO, length_max: int = LINE_MAX) -> str:
    """The one line on a terminal, without its colours."""
    text = _COLOUR.sub("", output.getvalue())
    assert text.endswith("\n")
    assert len(text.splitlines()) == 1, text[:500]
    assert no_control(text[:-1])
    assert len(text) <= length_max
    assert "[gateway]" in text or "service=gateway" in text
    return text


def harmless(value: object) -> bool:
    """What a line has of a value: short texts that print, all the way down."""
    if isinstance(value, str):
        return no_control(value) and len(value) <= logs.TEXT_MAX + 1
    if isinstance(value, dict):
        return all(harmless(key) and harmless(part) for key, part in value.items())
    if isinstance(value, list):
        return all(harmless(part) for part in value)
    return value is None or isinstance(value, bool | int | float)


def deep(text: str) -> object:
    made: object = text
    for _ in range(50):
        made = {"of": [made], text: text}
    return made


class Unshowable:
    def __repr__(self) -> str:
        raise ValueError(TEXTS["a forged line"])


class Telling:
    """Its repr is what somebody printed on a label."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


#: How a text comes into a line, as a value of it.
WRAPPED: dict[str, Callable[[str], object]] = {
    "text": lambda text: text,
    "list": lambda text: [text, [text]],
    "tuple": lambda text: (text,),
    "set": lambda text: {text},
    "dict": lambda text: {"read": {"code": text}},
    "key": lambda text: {text: 1},
    "key that is none": lambda text: {(text, 1): text},
    "bytes": lambda text: text.encode("utf-8", "surrogatepass"),
    "bytes in a list": lambda text: [bytearray(text.encode("utf-8", "surrogatepass"))],
    "exception": lambda text: ValueError(text),
    "path": lambda text: PurePosixPath(text),
    "object": Telling,
    "many": lambda text: [text] * 100_000,
    "deep": deep,
}

each_text = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
@each_text
def test_a_value_of_any_kind_is_one_short_line(
    configured: Configured, text: str, wrap: Callable[[str], object]
) -> None:
    written = configured(io.StringIO)
    logs.logger("scantrail.gateway.intake").warning("read refused", code=wrap(text), station="dock")
    told = the_line(written)
    assert told["event"] == "read refused"
    assert told["logger"] == "scantrail.gateway.intake"
    assert told["station"] == "dock"
    assert told["code"]
    assert harmless(told["code"])


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
@each_text
def test_a_value_of_any_kind_is_one_short_line_on_a_terminal(
    configured: Configured, text: str, wrap: Callable[[str], object]
) -> None:
    shown = configured(Terminal)
    logs.logger("scantrail.gateway.intake").warning("read refused", code=wrap(text), station="dock")
    line = the_shown_line(shown)
    assert "read refused" in line
    assert "station" in line


def of_a_library(text: str) -> None:
    logging.getLogger("aiokafka.consumer").warning("cannot be decoded: %s", text)


def of_a_library_by_itself(text: str) -> None:
    logging.getLogger("faust.app").error(text.replace("%", "%%") + " was refused")


def of_the_web_server(text: str) -> None:
    logging.getLogger("uvicorn.error").info("%s - refused %r", text, [text])


def ours_as_event(text: str) -> None:
    logs.logger("scantrail.api").error(text)


@pytest.mark.parametrize(
    "tell", [of_a_library, of_a_library_by_itself, of_the_web_server, ours_as_event]
)
@each_text
def test_an_event_that_holds_it_is_one_line_and_stays(
    configured: Configured, text: str, tell: Callable[[str], None]
) -> None:
    written = configured(io.StringIO)
    tell(text)
    told = the_line(written)
    assert no_control(told["event"])
    assert len(told["event"]) <= logs.EVENT_MAX + 1
    if tell is of_a_library:
        assert told["event"].startswith("cannot be decoded: ")
        assert told["logger"] == "aiokafka.consumer"


@pytest.mark.parametrize(
    "tell", [of_a_library, of_a_library_by_itself, of_the_web_server, ours_as_event]
)
@each_text
def test_an_event_that_holds_it_is_one_line_on_a_terminal(
    configured: Configured, text: str, tell: Callable[[str], None]
) -> None:
    shown = configured(Terminal)
    tell(text)
    the_shown_line(shown)


def raised(text: str) -> Exception:
    try:
        try:
            raise KeyError(text)
        except KeyError as error:
            raise ValueError(text) from error
    except ValueError as error:
        return error


def told_by_us(text: str) -> None:
    logs.logger("scantrail.tracker").error("connection failed", exc_info=raised(text))


def told_by_a_library(text: str) -> None:
    logging.getLogger("uvicorn.error").error(
        "connection failed", exc_info=raised(text), stack_info=True
    )


def ended_by_it(text: str) -> None:
    error = raised(text)
    sys.excepthook(type(error), error, error.__traceback__)


def a_thread_ended_by_it(text: str) -> None:
    def fail() -> None:
        raise raised(text)

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()


TELLING = [told_by_us, told_by_a_library, ended_by_it, a_thread_ended_by_it]


@pytest.mark.parametrize("tell", TELLING)
@each_text
def test_an_exception_that_holds_it_is_one_line(
    configured: Configured, text: str, tell: Callable[[str], None]
) -> None:
    written = configured(io.StringIO)
    tell(text)
    told = the_line(written, TRACE_LINE_MAX)
    trace = told["exception"]
    assert "Traceback (most recent call last)" in trace
    assert "KeyError" in trace
    assert len(trace) <= 2 * logs.TRACE_MAX + 1
    assert all(no_control(line) for line in trace.split("\n"))
    assert len(told["event"]) < 100
    assert all(no_control(line) for line in told.get("stack_info", "").split("\n"))


@pytest.mark.parametrize("tell", TELLING)
@each_text
def test_an_exception_that_holds_it_looks_on_a_terminal_like_no_line_of_the_log(
    configured: Configured, text: str, tell: Callable[[str], None]
) -> None:
    shown = configured(Terminal)
    tell(text)
    lines = _COLOUR.sub("", shown.getvalue()).split("\n")
    assert all(no_control(line) for line in lines)
    assert sum(len(line) for line in lines) <= TRACE_LINE_MAX
    first, *others = [line for line in lines if line]
    assert not first.startswith(" ")
    assert others
    assert all(line.startswith("    ") for line in others)


def test_of_a_long_exception_its_end_is_told_too(configured: Configured) -> None:
    written = configured(io.StringIO)

    def deeper(levels: int) -> None:
        if levels == 0:
            raise ValueError("the very end")
        [deeper, lambda left: deeper(left)][levels % 2](levels - 1)

    try:
        deeper(300)
    except ValueError:
        logs.logger("scantrail").exception("failed")
    told = the_line(written, TRACE_LINE_MAX)
    assert told["exception"].startswith("Traceback")
    assert told["exception"].endswith("ValueError: the very end")
    assert len(told["exception"]) <= logs.TRACE_MAX + 10


def test_what_is_short_and_prints_stays_as_it_is(configured: Configured) -> None:
    written = configured(io.StringIO)
    values = {
        "text": "Rampe 7 süd",
        "number": 7,
        "share": 0.5,
        "nothing": None,
        "yes": True,
        "places": ["a", "b"],
        "offsets": {"scans": 3},
    }
    logs.logger("scantrail").info("started", **values)
    assert values.items() <= the_line(written).items()


def test_what_json_has_no_word_for_is_a_text(configured: Configured) -> None:
    written = configured(io.StringIO)
    values = {"a": float("nan"), "b": float("inf"), "c": 10**6000, "d": Unshowable(), "e": b"\x00"}
    logs.logger("scantrail").info("started", **values)
    told = the_line(written)
    assert (told["a"], told["b"], told["e"]) == ("nan", "inf", r"b'\x00'")
    assert told["c"].startswith("0x")
    assert harmless(told["c"])
    assert told["d"] == "<Unshowable that cannot be shown: ValueError>"


def test_a_value_however_deep_is_told(configured: Configured) -> None:
    written = configured(io.StringIO)
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    logs.logger("scantrail").info("started", nested=nested)
    assert the_line(written)["nested"] == [[[["…"]]]]


def test_the_fields_of_a_line_are_ours(configured: Configured) -> None:
    written = configured(io.StringIO)
    forged = {"service": "api", "timestamp": "1970-01-01", "level": "debug", "logger": "other"}
    logs.logger("scantrail").info("started", **forged)
    told = the_line(written)
    assert (told["level"], told["logger"]) == ("info", "scantrail")


def test_who_breaks_off_a_process_reads_no_json(
    configured: Configured, capsys: pytest.CaptureFixture[str]
) -> None:
    written = configured(io.StringIO)
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert written.getvalue() == "KeyboardInterrupt\n"
