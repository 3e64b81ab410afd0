"""What one scan costs without Kafka: the least that any shell around the fold can need."""

import gc
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from bench.measure import Measure, Part, say
from bench.workload import PATH, SCANS, UNITS, Record, encoded, scans
from scantrail.contracts.records import (
    decode_scan,
    decode_state,
    encode_movement,
    encode_state,
)
from scantrail.domain.custody import UnitState, observe

PASSES = 5


def measure_fold() -> list[Measure]:
    """`fold_us_per_scan`: the CPU time of decoding a scan, observing it, and encoding its movement
    and its unit's new state, in this process, one scan after another, states in a dictionary; the
    median of five passes over the tracker's 100,000 scans. The detail times each step alone, and
    decoding a state, which the store adds.
    """
    records = encoded(scans(UNITS, PATH), 1)[0]
    passes = [_cpu_us(lambda: _fold(records)) for _ in range(PASSES)]
    say(f"fold: {median(passes):.1f} us of CPU each, {min(passes):.1f} to {max(passes):.1f}")
    detail = {"scans": SCANS, "units": UNITS, "passes_us": [round(us, 1) for us in passes]}
    return [
        Measure(
            name="fold_us_per_scan",
            value=round(median(passes), 1),
            unit="us",
            detail={**detail, **_steps(records)},
        )
    ]


def _fold(records: Sequence[Record]) -> None:
    states: dict[bytes, UnitState] = {}
    for offset, (key, value, _) in enumerate(records):
        scan = decode_scan(key, value)
        known = states.get(key)
        seen = observe(known, scan, offset=offset)
        states[key] = seen.state
        encode_movement(scan, known.current if known else None, seen)
        encode_state(seen.state)


def _steps(records: Sequence[Record]) -> dict[str, float]:
    """CPU microseconds a scan of each step alone.

    What one step keeps for the next would be looked through by every collection: none is made.
    """
    gc.disable()
    try:
        return _each_step(records)
    finally:
        gc.enable()


def _each_step(records: Sequence[Record]) -> dict[str, float]:
    decoded = [decode_scan(key, value) for key, value, _ in records]
    states: dict[str, UnitState] = {}
    seen: list[tuple[Any, ...]] = []

    def observe_all() -> None:
        for offset, scan in enumerate(decoded):
            known = states.get(scan.unit)
            observation = observe(known, scan, offset=offset)
            states[scan.unit] = observation.state
            seen.append((scan, known.current if known else None, observation))

    times = {
        "decode_scan_us": _cpu_us(lambda: [decode_scan(k, v) for k, v, _ in records]),
        "observe_us": _cpu_us(observe_all),
        "encode_movement_us": _cpu_us(lambda: [encode_movement(*one) for one in seen]),
        "encode_state_us": _cpu_us(lambda: [encode_state(one[2].state) for one in seen]),
    }
    stored = [encode_state(one[2].state) for one in seen]
    times["decode_state_us"] = _cpu_us(lambda: [decode_state(payload) for payload in stored])
    return {name: round(us, 1) for name, us in times.items()}


def _cpu_us(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return (time.process_time() - begin) / SCANS * 1e6


PART = Part(names=("fold_us_per_scan",), run=measure_fold)
