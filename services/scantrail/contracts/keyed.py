"""What the api hands to the gateway of what a person typed, once it is known to be right."""

from datetime import datetime
from typing import Annotated

import msgspec

#: The reader that such scans name.
KEYED_READER = "keyed"


class KeyedRead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A unit that a person typed at a station. `unit` is its key, `text` what was typed; `at` when
    (None: now); `id` is the same whenever it is sent."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    unit: str
    text: str
    station: str
    at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    order: str | None = None
    rma: str | None = None
    parent: str | None = None
    location: str | None = None
