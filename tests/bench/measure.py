"""What a part of the bench gives: measures, or the reason why there is none."""

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

_STARTED = time.monotonic()


class Unfinished(Exception):
    """A measure was not completed. The text says what was awaited and how far it came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One line of output."""

    name: str
    value: float
    unit: str
    detail: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """JSON, in the order of the fields."""
        return msgspec.json.encode(asdict(self)).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Measures that one run gives together, in the order of `names`."""

    names: tuple[str, ...]
    run: Callable[[], list[Measure]]


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that at least `percent` of all samples do not exceed."""
    if not samples:
        raise Unfinished("there is no sample to take a percentile of")
    return sorted(samples)[max(0, math.ceil(percent / 100 * len(samples)) - 1)]


def milliseconds(from_ns: int, to_ns: int) -> float:
    """Between two readings of time.monotonic_ns, which all processes of a machine share."""
    return (to_ns - from_ns) / 1e6


def say(line: str) -> None:
    """Progress, on standard error."""
    print(f"[{time.monotonic() - _STARTED:6.1f} s] {line}", file=sys.stderr, flush=True)
