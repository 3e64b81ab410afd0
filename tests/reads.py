"""Reads that the gateway set aside, as it publishes them."""

from datetime import datetime
from typing import Any

from scantrail.contracts.records import RejectedRead


def rejected_read(read: str, at: datetime, **told: Any) -> RejectedRead:
    """Of a reader that nobody has named, where `told` says nothing else."""
    return RejectedRead(
        **{
            "event_id": "handheld/7",
            "reader": "handheld",
            "station": None,
            "reason": "unknown_reader",
            "detail": "no [[reader]] has id 'handheld'",
            "read": read,
            "event_time": at,
            "record_time": at,
            "sequence": 7,
            **told,
        }
    )
