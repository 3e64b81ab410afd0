"""How much anybody may send: a bucket for each, which fills at a rate."""

import time
from collections.abc import Callable

#: Beyond so many buckets those that are full again are forgotten.
BUCKETS_MAX = 10_000


class Buckets:
    """What is left to each of many senders. Rates are per second, and each sender's own."""

    def __init__(self, *, burst_s: float, now: Callable[[], float] = time.monotonic) -> None:
        """`burst_s`: what may come at once, in seconds of a sender's rate."""
        self._burst_s = burst_s
        self._now = now
        self._left: dict[str, tuple[float, float, float]] = {}  # what, when counted, and the rate

    def wait_s(self, sender: str, rate: float) -> float:
        """Seconds until the sender may send again: 0 where it may now."""
        return max(0.0, -self._left_to(sender, rate) / rate)

    def count(self, sender: str, rate: float, amount: float = 1) -> None:
        """Count what was sent. One that sends too much at once waits longer for it."""
        self._left[sender] = (self._left_to(sender, rate) - amount, self._now(), rate)
        if len(self._left) > BUCKETS_MAX:
            self._forget_full()

    def __len__(self) -> int:
        return len(self._left)

    def _left_to(self, sender: str, rate: float) -> float:
        now = self._now()
        left, since, _ = self._left.get(sender, (rate * self._burst_s, now, rate))
        return min(rate * self._burst_s, left + rate * (now - since))

    def _forget_full(self) -> None:
        for sender, (_, _, rate) in list(self._left.items()):
            if self._left_to(sender, rate) >= rate * self._burst_s:
                del self._left[sender]
