"""How urgent an alert is."""

from enum import StrEnum


class Severity(StrEnum):
    """From the least urgent to the most. OFF: such an alert is not raised."""

    OFF = "off"
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"
