"""`python -m bench [prefix]`: run the parts that give a name with this prefix, or all."""

import argparse
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import httpx
from aiokafka.errors import KafkaError

from bench.goals import missed
from bench.measure import Unfinished, say
from bench.registry import names, select
from scantrail.cli.checks import StackError
from scantrail.infra.child_processes import EmbeddedError
from scantrail.infra.settings import SettingsError

_FAILURES = (Unfinished, StackError, EmbeddedError, SettingsError, KafkaError, httpx.HTTPError)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every measure was printed, 1 when one failed, 2 for an unknown prefix. Goals that were
    missed are told at the end: on a busy machine that is no failure."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("prefix", nargs="?", default="")
    prefix = parser.parse_args(arguments).prefix
    parts = select(prefix)
    if not parts:
        print(f"bench: no measure begins with {prefix!r}: {', '.join(names())}", file=sys.stderr)
        return 2
    failed, late = False, list[str]()
    for part in parts:
        say(f"measuring {', '.join(part.names)}")
        try:
            for measure in part.run():
                print(measure.line(), flush=True)
                late += filter(None, [missed(measure)])
        except (*_FAILURES, OSError, TimeoutError) as error:
            told = str(error) or type(error).__name__
            print(f"bench: {', '.join(part.names)}: not measured: {told}", file=sys.stderr)
            failed = True
    for line in late:
        say(f"goal missed: {line}")
    return 1 if failed else 0


def _end(number: int, frame: FrameType | None) -> None:
    """The installation is left through its `with`, and removed."""
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main())
