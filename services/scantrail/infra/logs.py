"""Structured logs: for people on a terminal, else JSON lines with RFC 3339 times."""

import logging
import sys
from typing import Any

import structlog

#: Barcode text is attacker input: it is escaped, and cut to this length.
TEXT_MAX = 200

Logger = structlog.stdlib.BoundLogger


def configure_logging(service: str, level: str) -> None:
    """Set up both structlog and the standard library's loggers of this process."""

    def name_service(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
        return {**event, "service": service}

    shared: list[Any] = [
        name_service,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _cut_texts,
    ]
    terminal = sys.stderr.isatty()
    render = structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
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
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for chatty in ("aiokafka", "httpx", "httpcore", "faust", "mode"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def logger(name: str) -> Logger:
    """The logger of module `name`."""
    log: Logger = structlog.stdlib.get_logger(name)
    return log


def _cut_texts(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    for name, value in event.items():
        if isinstance(value, str) and name not in ("exception", "event"):
            text = value.encode("unicode_escape").decode() if not value.isprintable() else value
            event[name] = text if len(text) <= TEXT_MAX else text[:TEXT_MAX] + "…"
    return event
