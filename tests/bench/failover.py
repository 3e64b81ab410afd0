"""How long scans wait where a tracker, or a broker, is gone."""

import tempfile
from pathlib import Path

from bench.installation import CACHE
from bench.measure import Measure, Part, Unfinished, say
from faults.catalogue import FAULTS
from faults.installation import Installation
from faults.run import run_all_in

RUNS = 3
SEED = 1
WHICH = {
    "failover_tracker_s": ("a tracker stays away",),
    "failover_broker_s": ("a broker dies", "the controller dies"),
}


def measure_failover() -> list[Measure]:
    """Three brokers, two of each process, some 30 scans a second.

    `failover_tracker_s`: one of two trackers is stopped and does not come back before the other has
    its partitions: from then to when the last scan that had to wait is in the database; the longest
    of three. `failover_broker_s`: the same of one of three brokers that is killed: three times one
    that does not lead the controllers, three times the one that does.
    """
    names = [name for each in WHICH.values() for name in each]
    faults = [each for name in names for each in FAULTS if each.name == name] * RUNS
    with (
        tempfile.TemporaryDirectory(prefix="scantrail-failover-") as folder,
        Installation(Path(folder), CACHE) as site,
    ):
        results = run_all_in(site, faults, seed=SEED, is_long=False, say=say)
    for each in results:
        if each.broken or each.undrained:
            raise Unfinished(f"{each.fault.name}: {each.undrained} are missing, {each.broken}")
    measures = []
    for name, made in WHICH.items():
        took = {
            fault: [round(each.recovered_s, 1) for each in results if each.fault.name == fault]
            for fault in made
        }
        detail = {"seconds": took, "scans": sum(each.scans for each in results)}
        longest = max(max(each) for each in took.values())
        measures.append(Measure(name=name, value=longest, unit="s", detail=detail))
    return measures


PART = Part(names=tuple(WHICH), run=measure_failover)
