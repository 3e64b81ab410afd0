"""What the api hands to the gateway of what was typed, once it is known to be right, or scanned on
the page."""

from datetime import datetime
from typing import Annotated

import msgspec

#: The reader that scans of what was typed name.
KEYED_READER = "keyed"

#: The reader that scans name which a scanner typed into the page.
PAGE_READER = "page"


class KeyedRead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A unit that a person typed at a station, or where not `keyed`, a scanner on the page.

    `unit` is its key, `text` what was typed; `at` when (None: now); `id` is the same whenever it is
    sent."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    unit: str
    text: str
    station: str
    at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    order: str | None = None
    rma: str | None = None
    parent: str | None = None
    location: str | None = None
    keyed: bool = True

    @property
    def reader(self) -> str:
        """Which reader its scan names."""
        return KEYED_READER if self.keyed else PAGE_READER

    @property
    def event_id(self) -> str:
        """The id of its scan."""
        return f"{self.reader}/{self.id}"
