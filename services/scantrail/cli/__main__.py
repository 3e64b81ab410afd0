"""The command line's entry: light, so that Ctrl-C ends it quietly while the rest is imported."""

import os
import signal
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exits with its status, 130 where Ctrl-C ended it."""
    before = signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from scantrail.cli.commands import run

    try:
        signal.signal(signal.SIGINT, before)
        sys.exit(run(arguments))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
