"""Structured logs: for people on a terminal, else JSON lines with RFC 3339 times.

Barcode text is attacker input: whatever goes into a line is escaped and cut, wherever it stands.
"""

import logging
import math
import sys
import threading
from collections.abc import Mapping, MutableMapping
from collections.abc import Set as AbstractSet
from typing import Any

import structlog

#: A text of a line, and a number, is cut to so many characters.
TEXT_MAX = 200

#: What happened: ours is written out in the code, that of a library may have anything in it.
EVENT_MAX = 1000

#: An exception with all its calls: of a longer one, as much of its beginning and of its end.
TRACE_MAX = 8000

#: All texts of one value that has parts, together; and how deep it is looked into.
PARTS_MAX = 2000
DEPTH_MAX = 4

_TRACES = ("exception", "stack", "stack_info")

Logger = structlog.stdlib.BoundLogger


def configure_logging(service: str, level: str) -> None:
    """Set up structlog and the standard library's loggers of this process.

    An error that ends it, or one of its threads, is a line like all others.
    """

    def name_service(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
        return {**event, "service": service}

    shared: list[Any] = [
        name_service,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                make_harmless,
                *_renderers(is_terminal=sys.stderr.isatty()),
            ],
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for chatty in ("aiokafka", "httpx", "httpcore", "faust", "mode"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    sys.excepthook = _tell_end
    threading.excepthook = _tell_end_of_thread


def logger(name: str) -> Logger:
    """The logger of module `name`."""
    log: Logger = structlog.stdlib.get_logger(name)
    return log


def make_harmless(_: Any, __: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    """Every text of a line without control characters, and none longer than it may be.

    The last processor before a line is written, of our own loggers and of those of libraries.
    """
    told: dict[str, Any] = {}
    for name, value in event.items():
        if name in _TRACES and isinstance(value, str):
            told[name] = _trace(value)
        elif name == "event":
            told[name] = _text(value if isinstance(value, str) else _shown(value), EVENT_MAX)
        else:
            told[name] = _Parts().of(value)
    return told


def _renderers(*, is_terminal: bool) -> list[Any]:
    if not is_terminal:
        return [structlog.processors.JSONRenderer()]
    plain = structlog.dev.plain_traceback  # exceptions are texts here
    return [_indent_traces, structlog.dev.ConsoleRenderer(exception_formatter=plain)]


def _indent_traces(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    """No line of an exception looks like one of the log."""
    for name in _TRACES:
        if name in event:
            event[name] = "\n".join(f"    {line}" for line in str(event[name]).split("\n"))
    return event


class _Parts:
    """What a line shows of one value: what JSON has stays, all else is shown as text."""

    def __init__(self) -> None:
        self._left = PARTS_MAX

    def of(self, value: object, depth: int = 0) -> object:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int) and value.bit_length() <= 64:
            return int(value)
        if isinstance(value, float) and math.isfinite(value):
            return float(value)
        if isinstance(value, str):
            return self._spent(_text(value, TEXT_MAX))
        if isinstance(value, Mapping | list | tuple | AbstractSet):
            if depth == DEPTH_MAX:
                return "…"
            return self._each(value, depth + 1)
        return self._spent(_text(_shown(value), TEXT_MAX))

    def _each(self, value: Any, depth: int) -> object:
        shown: dict[str, object] = {}
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for name, part in items:
            if self._left <= 0:
                shown["…"] = "…"
                break
            key = self._spent(_text(name if isinstance(name, str) else _shown(name), TEXT_MAX))
            shown[key] = self.of(part, depth)
        return shown if isinstance(value, Mapping) else list(shown.values())

    def _spent(self, text: str) -> str:
        self._left -= len(text) + 1
        return text


def _shown(value: object) -> str:
    """What is no text, as one; of bytes no more than can be shown."""
    if isinstance(value, bytes | bytearray | memoryview):
        return repr(bytes(value[:TEXT_MAX]))
    if isinstance(value, int):
        return hex(value)  # all else is refused of thousands of digits
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001  a log line is no reason to fail
        return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"


def _text(text: str, limit: int) -> str:
    escaped = _escaped(text[: limit + 1])
    return escaped if len(escaped) <= limit else escaped[:limit] + "…"


def _escaped(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _trace(text: str) -> str:
    """Its lines stay lines; of one that is too long the middle is left out."""
    half = TRACE_MAX // 2
    if len(text) > TRACE_MAX:
        text = f"{text[:half]}\n…\n{text[-half:]}"
    escaped = "\n".join(_escaped(line) for line in text.split("\n"))
    return escaped if len(escaped) <= 2 * TRACE_MAX else escaped[: 2 * TRACE_MAX] + "…"


def _tell_end(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logger(__name__).critical("ended by an error", exc_info=(kind, error, trace))


def _tell_end_of_thread(told: threading.ExceptHookArgs) -> None:
    if told.exc_value is None or issubclass(told.exc_type, SystemExit):
        return
    error = (told.exc_type, told.exc_value, told.exc_traceback)
    thread = told.thread.name if told.thread else None
    logger(__name__).error("a thread ended by an error", thread=thread, exc_info=error)
