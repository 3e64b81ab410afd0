"""The cyclic collector looks at what a process keeps once, and no more."""

import subprocess
import sys

#: In a process of its own: what it does to the collector is for the whole process.
_KEEPS_MUCH = """
import gc
from scantrail.infra.collector import calm_collector

calm_collector()
before = gc.get_freeze_count()
kept = [[number] for number in range(1_000_000)]
gc.collect()
assert gc.get_freeze_count() - before >= 1_000_000, gc.get_freeze_count() - before

del kept
assert gc.get_freeze_count() - before < 100_000, "frozen and without a reference: not freed"

frozen = gc.get_freeze_count()
made = [[number] for number in range(100)]
gc.collect()
assert gc.get_freeze_count() <= frozen, "a cheap collection froze what may soon be garbage"
"""


def test_what_a_costly_collection_found_alive_is_not_looked_at_again() -> None:
    done = subprocess.run([sys.executable, "-c", _KEEPS_MUCH], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
