"""Every part of the bench, and the choice among them."""

from bench import (
    burst,
    chain,
    failover,
    fold,
    footprint,
    gateway,
    identity,
    lookup,
    page,
    page_live,
    projector,
    recall_preview,
    recall_sweep,
    recalls,
    receiving,
    tracker,
    tracker_store,
    tracker_workers,
    verdict,
)
from bench.measure import Part

#: In this order they run.
PARTS = (
    fold.PART,
    tracker.PART,
    tracker_store.PART,
    tracker_workers.PART,
    projector.PART,
    identity.PART,
    gateway.HTTP,
    gateway.TCP,
    gateway.ACK,
    chain.PART,
    lookup.PART,
    recalls.PART,
    recall_preview.PART,
    recall_sweep.PART,
    receiving.PART,
    page.PART,
    page_live.PART,
    verdict.PART,
    burst.PART,
    failover.PART,
    footprint.CHAIN,
    footprint.TRACKER_GROWTH,
    footprint.PROJECTOR_GROWTH,
)


def names() -> list[str]:
    """Every name that the bench may print."""
    return [name for part in PARTS for name in part.names]


def select(prefix: str) -> list[Part]:
    """The parts that give a name with this prefix."""
    return [part for part in PARTS if any(name.startswith(prefix) for name in part.names)]
