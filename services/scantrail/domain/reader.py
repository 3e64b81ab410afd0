"""What is known of a reader: whether it is there, and what came of what it sent."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderStatus:
    """One reader of one gateway, as it was at `told_at`.

    `counts` has what became of its reads since `started_at`, when the gateway started: `accepted`,
    `repeat`, `stray`, `no_read`, `invalid`, `lost`, `control`, `context`, and
    `unserialised`: codes of products that need no serial there. `context` has what was
    scanned before its units and still holds: `location`, `order`, `parent`, `product`.
    """

    id: str
    station: str
    protocol: str
    started_at: datetime
    told_at: datetime
    #: None for a reader that calls over HTTP, and is there when it does
    is_up: bool | None = None
    #: since when it is up, or not
    since: datetime | None = None
    #: when anything came from it, a heartbeat too
    heard_at: datetime | None = None
    #: seconds by which its clock is ahead (behind: negative) in its newest read, where it has one
    clock_ahead_s: float | None = None
    counts: Mapping[str, int]
    context: Mapping[str, str]
