"""`scantrail up`: everything in one terminal, till Ctrl-C."""

import logging
import os
import signal
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

from scantrail.cli.addresses import page_address
from scantrail.cli.checks import StackError
from scantrail.cli.stack import Stack
from scantrail.contracts.topics import Topic
from scantrail.infra.child_processes import EmbeddedError
from scantrail.infra.settings import ENV_PREFIX, Settings, SettingsError, checked_brokers
from scantrail.infra.topic_admin import name_of

_STOPPING = (signal.SIGINT, signal.SIGTERM)
# GTIN 09506000134352 of GS1's examples, serial 1.
_EXAMPLE_BARCODE = "0109506000134352211"


def run_up(settings: Settings, *, empty: bool, secure: bool = False) -> int:
    """Start everything, keep it running until SIGINT or SIGTERM, stop it; the exit status.

    It is 0 when that was told to end, 1 when it could not start, 130 when its start was broken off.
    `KAFKA_BOOTSTRAP` and `DATABASE_URL` name services that run already. Without a readers file,
    and unless `empty`, a simulated site sends scans.
    """
    settings, embed_kafka, embed_postgres = _given_services(settings)
    say = _Progress()
    # Its attempts to connect, one line each, are no news here.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    try:
        stack = Stack(
            settings,
            say=say,
            embed_kafka=embed_kafka,
            embed_postgres=embed_postgres,
            simulated=not empty and not settings.readers_file,
            secure=secure,
        )
    except StackError as error:
        print(f"scantrail up: {error}", file=sys.stderr)
        return 1
    running = False
    with _signals(stack):
        try:
            stack.start()
            running = True
            print(_greeting(stack), flush=True)
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            say("stopping; Ctrl-C again ends it at once")
            stack.stop()
            say("stopped; `scantrail up` finds the data again")
            return 0 if running else 130
        except (StackError, EmbeddedError, SettingsError) as error:
            stack.stop()
            print(f"scantrail up: {error}", file=sys.stderr)
            return 1
        except OSError as error:
            stack.stop()
            where = f" ({error.filename})" if error.filename else ""
            print(f"scantrail up: {error.strerror or error}{where}", file=sys.stderr)
            return 1
        except BaseException:
            stack.stop()  # nothing is left behind, whatever it was
            raise


def _given_services(settings: Settings) -> tuple[Settings, bool, bool]:
    """The settings with the services that run already, and which of the two are to be embedded."""
    default = Settings()
    kafka, database = os.environ.get("KAFKA_BOOTSTRAP"), os.environ.get("DATABASE_URL")
    if kafka:
        settings = replace(settings, kafka_bootstrap=checked_brokers(kafka, "KAFKA_BOOTSTRAP"))
    if database:
        settings = replace(settings, database_url=database)
    return (
        settings,
        settings.kafka_bootstrap == default.kafka_bootstrap
        and not (kafka or os.environ.get(f"{ENV_PREFIX}KAFKA_BOOTSTRAP")),
        settings.database_url == default.database_url
        and not (database or os.environ.get(f"{ENV_PREFIX}DATABASE_URL")),
    )


class _Progress:
    """Prints lines with the seconds since the start."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, line: str) -> None:
        print(f"[{time.monotonic() - self._began:.1f} s] {line}", flush=True)


@contextmanager
def _signals(stack: Stack) -> Iterator[None]:
    """The first SIGINT or SIGTERM interrupts; another SIGINT ends all children at once."""
    told = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal told
        if not told:
            told = True
            raise KeyboardInterrupt
        if number == signal.SIGINT:
            stack.kill_all()

    before = {number: signal.signal(number, on_signal) for number in _STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _greeting(stack: Stack) -> str:
    movements = name_of(stack.settings, Topic.MOVEMENTS)
    return f"""
  Scantrail runs:  {page_address(stack.settings)}
  Send a scan:     {_example_scan(stack)}
  and find it:     {page_address(stack.settings)}?q={_EXAMPLE_BARCODE}
  Subscribe:       Kafka at {stack.settings.kafka_bootstrap}, topic {movements}
  Readers:         {stack.settings.readers_file}
  Logs:            {stack.folder / "logs"}
{_signing_in(stack)}  Ctrl-C stops; the data stay.
"""


def _signing_in(stack: Stack) -> str:
    if stack.secured is None:
        return ""
    keyring = stack.secured.keyring
    return f"""  Sign in with:    the token in {keyring.api_token()}
  Trust:           the authority in {keyring.authorities}
"""


def _example_scan(stack: Stack) -> str:
    """A command that sends one scan as the first reader that is called over HTTP would."""
    settings = stack.settings
    readers = tomllib.loads(Path(settings.readers_file).read_text()).get("reader", [])
    over_http = [r["id"] for r in readers if r.get("protocol") == "http-generic"]
    if not over_http:
        return f"configure a reader in {settings.readers_file}"
    url = f"{settings.gateway_url}/ingest/v1/generic?reader={over_http[0]}"
    shown = ""
    if stack.secured is not None:
        keyring = stack.secured.keyring
        token = keyring.reader_token(over_http[0])
        shown = f"""--cacert {keyring.authorities} -H "Authorization: Bearer $(cat {token})" """
    return f"""curl {shown}--data '{{"barcode": "{_EXAMPLE_BARCODE}"}}' '{url}'"""
