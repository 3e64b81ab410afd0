"""Python's cyclic collector, kept from looking at the same millions of objects again and again."""

import gc
import time
from typing import Any, Final

#: A full collection that took more of the processor's time than this froze what it found alive.
COSTLY_S: Final = 0.005

#: Objects that are made before the youngest are looked at.
OBJECTS_PER_COLLECTION: Final = 10_000


def calm_collector() -> None:
    """Let no full collection stop the process for long more than once.

    What a costly one found alive is frozen: it is freed as ever once nothing refers to it, but no
    more looked at for cycles. What is alive then is what the process keeps (copies of topics); of
    the little else, such as a request that is just answered, a cycle may stay.
    """
    began_s = 0.0

    def follow(phase: str, told: dict[str, Any]) -> None:
        nonlocal began_s
        if told["generation"] < 2:
            return
        if phase == "start":
            began_s = time.thread_time()
        elif time.thread_time() - began_s > COSTLY_S:
            gc.freeze()

    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_PER_COLLECTION)
    gc.callbacks.append(follow)
