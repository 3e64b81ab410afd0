"""How old a scan is, from the moment at which a device read the unit."""

from datetime import datetime

from scantrail.contracts.captured import CAPTURE_READER
from scantrail.contracts.corrections import CORRECTION_READER
from scantrail.contracts.records import REFOLD_READER
from scantrail.contracts.stock import STOCK_READER
from scantrail.domain.scan import Scan, ordered_at

#: As whose scans those stand of which no device read anything just now: they are told later, by a
#: document or a person, and their age says nothing of us.
_TOLD_LATER = frozenset({CAPTURE_READER, CORRECTION_READER, STOCK_READER, REFOLD_READER})


def read_at(scan: Scan) -> datetime | None:
    """When a device read it, by the gateway's clock where the device's is off; None of a scan that
    no device made."""
    if scan.derived_from is not None or scan.reader in _TOLD_LATER:
        return None
    return ordered_at(scan)
