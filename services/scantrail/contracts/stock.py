"""What the api hands to the gateway of opening stock: no reader has read it."""

from datetime import date, datetime
from typing import Annotated

import msgspec

#: The reader that such scans name.
STOCK_READER = "opening-stock"

#: Reads of one request.
STOCK_READS_MAX = 1000


class StockRead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A unit that somebody wrote down. `unit` is its key, `at` when it was there; `id` is the same
    whenever it is sent."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    unit: str
    station: str
    at: Annotated[datetime, msgspec.Meta(tz=True)]
    location: str | None = None
    lot: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    produced_on: date | None = None
