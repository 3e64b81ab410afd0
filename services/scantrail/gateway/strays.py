"""Strays: tags that a reader sees in passing, and that nobody has moved.

What a read must be to count, its reader's settings say: strong enough, going the right way, and one
of so many within so many seconds.
"""

from bisect import insort
from collections import OrderedDict
from datetime import datetime, timedelta
from itertools import count

from scantrail.gateway.decoders.outcome import Read
from scantrail.gateway.readers import ReaderSettings

#: Reads remembered of all tags together; of a tag whose turn it is to be forgotten, counting
#: begins anew.
REMEMBERED_READS = 200_000

#: Reader, tag, antenna.
_Tag = tuple[str, str, int | None]

#: When, which read, and how many the device tells of in it.
_Seen = tuple[datetime, str, int]

#: What a delivery adds; it counts for later ones once the delivery is durable.
Sightings = dict[_Tag, list[_Seen]]


def told_stray(reader: ReaderSettings, read: Read) -> str | None:
    """Why the read, by itself, is a stray at this reader; None where it is none."""
    if reader.rssi_min_dbm is not None:
        if read.rssi_dbm is None:
            return "the device tells no RSSI, and the reader has rssi_min_dbm"
        if read.rssi_dbm < reader.rssi_min_dbm:
            return f"{read.rssi_dbm:g} dBm is below the reader's rssi_min_dbm"
    if reader.direction is not None:
        if read.direction is None:
            return "the device tells no direction, and the reader has one"
        if read.direction.casefold() != reader.direction.casefold():
            return f"direction {read.direction!r} is not the reader's {reader.direction!r}"
    return None


class Strays:
    """Remembers how often each tag was read, as far as a reader's `reads_min` asks for it."""

    def __init__(self) -> None:
        self._seen: OrderedDict[_Tag, list[_Seen]] = OrderedDict()
        self._size = 0
        self._nameless = count()

    def why(
        self, reader: ReaderSettings, read: Read, now: datetime, added: Sightings
    ) -> str | None:
        """Why the read is a stray, None where it counts; the sighting joins `added`.

        A read that is sent again is no further sighting, and is judged as before: only what was
        read up to its time counts for it. `now` stands in for the time of a device that tells none.
        """
        why = told_stray(reader, read)
        if why is not None or reader.reads_window_s is None:
            return why
        at = read.event_time or now
        tag = reader.id, read.text, read.antenna
        window = timedelta(seconds=reader.reads_window_s)
        before = added[tag] if tag in added else self._seen.get(tag, ())
        near = [seen for seen in before if abs(seen[0] - at) <= window]
        seen = at, self._name(read), read.times_read
        if seen not in near:
            insort(near, seen)
        added[tag] = near[-2 * reader.reads_min :]
        times = sum(seen[2] for seen in near if seen[0] <= at)
        if times >= reader.reads_min:
            return None
        return (
            f"read {times} of {reader.reads_min} times within {reader.reads_window_s:g} s, which"
            " the reader's reads_min asks for"
        )

    def remember(self, added: Sightings) -> None:
        """Keep the sightings of a delivery that is durable."""
        for tag, seen in added.items():
            self._size += len(seen) - len(self._seen.get(tag, ()))
            self._seen[tag] = seen
            self._seen.move_to_end(tag)
        while self._size > REMEMBERED_READS:
            _, forgotten = self._seen.popitem(last=False)
            self._size -= len(forgotten)

    def _name(self, read: Read) -> str:
        """What tells the read from others of the tag at that time."""
        told = read.event_id or read.fingerprint
        return told or ("" if read.event_time else f"#{next(self._nameless)}")
