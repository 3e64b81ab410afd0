"""`python -m faults [--seed N] [--long] [--mutant NAME] [F1 F7 …]`: a table of faults."""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from faults.catalogue import FAULTS
from faults.installation import Installation
from faults.mutants import MUTANTS
from faults.run import HEAD, run_all_in

TESTS = Path(__file__).parents[1]


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where nothing was broken, and everything recovered in time."""
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("only", nargs="*", help="numbers of faults, as docs/faults.md has them")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--long", action="store_true", help="faults last longer, and come oftener")
    parser.add_argument("--mutant", choices=MUTANTS, help="a process that errs on purpose")
    parser.add_argument("--keep", action="store_true", help="the folder of data and logs stays")
    asked = parser.parse_args(arguments)
    unknown = set(asked.only) - {fault.number for fault in FAULTS}
    if unknown:
        parser.error(f"there is no fault {', '.join(sorted(unknown))}")
    faults = [each for each in FAULTS if not asked.only or each.number in asked.only]
    print(f"seed {asked.seed}; two of each process, three brokers, PostgreSQL\n{HEAD}", flush=True)
    begin = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="scantrail-faults-"))
    try:
        cache = TESTS.parent / ".scantrail" / "cache"
        with Installation(folder, cache, mutant=asked.mutant) as site:
            results = run_all_in(site, faults, seed=asked.seed, is_long=asked.long, say=_say)
    finally:
        if asked.keep:
            print(f"data and logs are in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    broken = [each for each in results if not each.is_well]
    minutes = (time.monotonic() - begin) / 60
    print(f"{len(results)} faults, {len(broken)} broken, {minutes:.0f} minutes, seed {asked.seed}")
    return 1 if broken else 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
