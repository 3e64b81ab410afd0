"""What it costs to know whether a unit is recalled."""

import os
import random
import time
from collections.abc import Iterator

from bench.installation import Usage
from bench.measure import Measure, Part, percentile
from scantrail.domain.recall import Marks, Recall, Selector
from scantrail.domain.recall_match import RecallMatcher

RECALLS = 10_000
LISTED = 200  # serials of each recall that lists them: a million of half the recalls
PRODUCTS = 500
MATCHES = 50_000
SEED = 1


def measure_match() -> list[Measure]:
    """`recall_match_us`: CPU time, in the bench's own process, of matching one unit, its product
    known, against 10,000 active recalls of 500 products: half of them list 200 serials each, a
    million together, a quarter has a range, a quarter a prefix. The mean over 50,000 units. In the
    detail each match's own time, what a change costs, and the memory of all.
    """
    chosen = random.Random(SEED)
    begin = Usage.of(os.getpid())
    matcher = RecallMatcher()
    for recall in recalls(chosen):
        matcher.put(recall)
    loaded = Usage.of(os.getpid())
    units = [Marks(product(chosen), serial(chosen)) for _ in range(MATCHES)]
    times_us, found = [], 0
    cpu = time.process_time()
    for unit in units:
        at = time.perf_counter_ns()
        found += len(matcher.match(unit).recalled)
        times_us.append((time.perf_counter_ns() - at) / 1e3)
    cpu_us = (time.process_time() - cpu) / MATCHES * 1e6
    changes_us = []
    for recall in list(recalls(random.Random(SEED)))[: RECALLS // 10]:
        at = time.perf_counter_ns()
        matcher.put(recall)
        changes_us.append((time.perf_counter_ns() - at) / 1e3)
    detail = {
        "recalls": len(matcher),
        "listed_serials": RECALLS // 2 * LISTED,
        "matches": MATCHES,
        "found": found,
        "us": {f"p{p}": round(percentile(times_us, p), 1) for p in (50, 99, 100)},
        "change_us": {f"p{p}": round(percentile(changes_us, p)) for p in (50, 99, 100)},
        "memory_mb": round(loaded.rss_mb - begin.rss_mb),
        "load_s": round(loaded.cpu_s - begin.cpu_s, 2),
    }
    return [Measure(name="recall_match_us", value=round(cpu_us, 2), unit="us", detail=detail)]


def recalls(chosen: random.Random) -> Iterator[Recall]:
    """10,000 notices, each of one product."""
    for number in range(RECALLS):
        if number % 2:
            serials = tuple(serial(chosen) for _ in range(LISTED))
            selector = Selector(kind="list", serials=serials)
        elif number % 4:
            low = chosen.randrange(10**8 - 2000)
            high = low + chosen.randrange(2000)
            selector = Selector(kind="range", low=f"SN{low:08}", high=f"SN{high:08}")
        else:
            selector = Selector(kind="prefix", prefix=f"SN{chosen.randrange(10**6):06}")
        yield Recall(
            id=f"R-{number}",
            title="Battery",
            reason="heats",
            selectors=(selector,),
            products=(product(chosen),),
        )


def product(chosen: random.Random) -> str:
    return f"{chosen.randrange(PRODUCTS):014}"


def serial(chosen: random.Random) -> str:
    return f"SN{chosen.randrange(10**8):08}"


PART = Part(names=("recall_match_us",), run=measure_match)
