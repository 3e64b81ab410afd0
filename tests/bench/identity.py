"""What it costs to know which unit a code names."""

import time
from collections.abc import Sequence
from statistics import median

from bench.inventory import sgtin_96
from bench.measure import Measure, Part, Unfinished
from bench.workload import code
from scantrail.contracts.identity import identify

CODES = 100_000
TAGS = 20_000
PASSES = 5
#: Of GTIN 09506000134352.
ITEM = 13435


def measure_identity() -> list[Measure]:
    """`identify_fast_us`: CPU time of identifying 100,000 different element strings `01…21…`, in
    this process; the median of five passes. `identify_epc_us`: of 20,000 different SGTIN-96 tags,
    each for the first time; the detail `again_us` is a tag's that was read before, as one in front
    of an antenna is many times a second.
    """
    texts = [code(number) for number in range(CODES)]
    passes = [_cpu_us(texts) for _ in range(PASSES)]
    tags = [f"epc:{sgtin_96(number, item=ITEM)}" for number in range(TAGS)]
    if identify(tags[7]).key != "sgtin:09506000134352.7":
        raise Unfinished(f"{tags[7]} is {identify(tags[7]).key}: the tags are made wrongly")
    first = _cpu_us(tags[100:])
    again = median(_cpu_us(tags[-1_000:]) for _ in range(PASSES))
    return [
        Measure(
            name="identify_fast_us",
            value=round(median(passes), 2),
            unit="us",
            detail={"codes": CODES, "passes_us": [round(us, 2) for us in passes]},
        ),
        Measure(
            name="identify_epc_us",
            value=round(first, 1),
            unit="us",
            detail={"tags": TAGS, "again_us": round(again, 2)},
        ),
    ]


def _cpu_us(texts: Sequence[str]) -> float:
    begin = time.process_time()
    for text in texts:
        identify(text)
    return (time.process_time() - begin) / len(texts) * 1e6


PART = Part(names=("identify_fast_us", "identify_epc_us"), run=measure_identity)
