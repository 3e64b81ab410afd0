"""What the api hands to the gateway of EPCIS events that were captured: no reader has read it."""

from datetime import date, datetime
from typing import Annotated

import msgspec

#: The reader that such scans name.
CAPTURE_READER = "epcis"

#: Reads of one request.
CAPTURED_READS_MAX = 1000


class CapturedRead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A unit that an event tells of. `unit` is its key, `at` when it happened; `id` is the same
    whenever the event is sent. `disposition` stands for that of the station, where one is told.
    `corrects` is the event id of the scan that an error declaration voids."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    unit: str
    station: str
    at: Annotated[datetime, msgspec.Meta(tz=True)]
    text: str
    parent: str | None = None
    location: str | None = None
    disposition: str | None = None
    order: str | None = None
    rma: str | None = None
    lot: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    produced_on: date | None = None
    corrects: str | None = None
