"""What the api hands to the gateway of scans that a person corrects: no reader has read it."""

from datetime import date, datetime
from typing import Annotated

import msgspec

#: The reader that such scans name.
CORRECTION_READER = "correction"

#: Reads of one request: the one that voids, and the one that is right.
CORRECTION_READS_MAX = 2


class CorrectionRead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A read that a person tells at the desk. `unit` is a key, `at` when it happened; `id` is the
    same whenever it is sent. `sequence` puts it behind the wrong scan. `corrects` is the event id
    of the scan that it voids."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    unit: str
    station: str
    at: Annotated[datetime, msgspec.Meta(tz=True)]
    sequence: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
    corrects: str | None = None
    order: str | None = None
    rma: str | None = None
    parent: str | None = None
    location: str | None = None
    lot: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    produced_on: date | None = None
