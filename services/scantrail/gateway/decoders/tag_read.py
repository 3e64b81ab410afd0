"""A tag's read, and what makes its repetition known.

A reader that was not answered sends the whole batch again. Its reads then are the same events as
before, not new ones: each has a fingerprint of what the reader said, from which its event id is
made.
"""

from datetime import datetime
from hashlib import blake2b

from scantrail.gateway.decoders.outcome import Read


def tag_read(
    epc: str,
    *,
    event_time: datetime | None,
    antenna: int | None,
    rssi_dbm: float | None,
    sequence: int | None = None,
    direction: str | None = None,
    times_read: int = 1,
) -> Read:
    """The read of the tag with `epc` (hex, any case).

    Its fingerprint is over the EPC, the antenna, the reader's time to the microsecond and its
    count, as 32 hex digits; None without a time, since two reads could not be told apart. It must
    never change from one release to the next: what was sent before an update may come again after.
    """
    text = f"epc:{epc.upper()}"
    fingerprint = None
    if event_time is not None:
        said = f"{text}|{antenna}|{event_time.isoformat(timespec='microseconds')}|{sequence}"
        fingerprint = blake2b(said.encode(), digest_size=16).hexdigest()
    return Read(
        text,
        event_time=event_time,
        antenna=antenna,
        rssi_dbm=rssi_dbm,
        sequence=sequence,
        direction=direction,
        fingerprint=fingerprint,
        times_read=times_read,
    )
