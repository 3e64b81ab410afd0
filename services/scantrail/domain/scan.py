"""A scan: a station's claim that it saw a unit, once."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import blake2b

from scantrail.domain.vocabulary import BusinessStep

#: A device's clock may be ahead by this much, or behind by as much as a buffered scan may be late.
#: Beyond, the scan is ordered by `record_time`: one dated 2038 would stay the newest for ever.
CLOCK_AHEAD_MAX = timedelta(minutes=5)
CLOCK_BEHIND_MAX = timedelta(days=30)

#: Characters of a sales order's reference.
ORDER_LENGTH_MAX = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """A business document the scan belongs to (CBV business transaction)."""

    type: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The scan of a parent that moved what is inside it too."""

    unit: str
    event_id: str
    #: 1 where a reader made that scan, 2 where it was derived itself, and so on
    depth: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What a station claims. Times are aware; durations are seconds.

    `event_id` is minted before the first attempt to send and kept over every retry.
    """

    event_id: str
    unit: str
    event_time: datetime
    record_time: datetime
    reader: str
    sequence: int
    station: str
    site: str
    read_point: str
    business_step: BusinessStep
    #: Where the unit is to be found from now on; None when the step says nothing (EPCIS).
    business_location: str | None = None
    disposition: str | None = None
    #: Who physically has the unit from now on; None when custody does not change.
    possessing_party: str | None = None
    transactions: tuple[Transaction, ...] = ()
    #: A second scan at the same station within this time is the same visit.
    repeat_window_s: float = 0.0
    #: By how much the device's clock is off, where it is beyond the limits above.
    clock_skew_s: float | None = None
    #: What the reader sent, for people who ask how the unit was read.
    read: str | None = None
    #: The event id of another scan of the unit, which this one voids (EPCIS error declaration).
    corrects: str | None = None
    #: The unit into which this one is packed or assembled, or out of which it is taken.
    parent: str | None = None
    #: The parent's scan of which this one tells: a tracker made it, no reader.
    derived_from: Origin | None = None
    #: Another, older key of the same unit, into which this one is joined from now on. The unit's
    #: own key: the last of `forwarded_from` was joined into it, or both were known to be one.
    same_as: str | None = None
    #: After which steps the unit's product expects this one, of those that its order names: none
    #: where this one begins it; None where the order does not name this one, or there is none.
    expected_after: tuple[BusinessStep, ...] | None = None
    #: Since when the product expects that, where it changed: what a unit did before is not judged.
    expected_since: datetime | None = None
    #: Whether a person typed what was read.
    keyed: bool = False
    #: Keys of the unit under which the scan came, before it was forwarded: a tracker did that.
    forwarded_from: tuple[str, ...] = ()
    #: The lot and the day of production that the unit's code or its reader tells.
    lot: str | None = None
    produced_on: date | None = None


def clock_skew_s(event_time: datetime, record_time: datetime) -> float | None:
    """Seconds the device's clock is ahead (behind: negative), None while within the limits."""
    off = event_time - record_time
    return off.total_seconds() if not -CLOCK_BEHIND_MAX <= off <= CLOCK_AHEAD_MAX else None


def ordered_at(scan: Scan) -> datetime:
    """The time that decides the scan's place among others."""
    return scan.event_time if scan.clock_skew_s is None else scan.record_time


def order_reference(scan: Scan) -> str | None:
    """The sales order the scan names, if any."""
    return _reference(scan, "order")


def return_reference(scan: Scan) -> str | None:
    """The return authorisation (RMA) that the scan names, if any."""
    return _reference(scan, "rma")


def _reference(scan: Scan, kind: str) -> str | None:
    for transaction in scan.transactions:
        if transaction.type == kind:
            return transaction.id
    return None


def is_order_reference(text: str) -> bool:
    """Whether `text` can be an order's or a return's reference, on a scan as in the database."""
    return 0 < len(text) <= ORDER_LENGTH_MAX and text.isprintable() and text == text.strip()


def made_id(*told: object) -> str:
    """32 hexadecimal characters, the same whenever they are made of the same values."""
    return blake2b(repr(told).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def content_digest(scan: Scan) -> bytes:
    """8 bytes over what the reader claims: which unit, when, where, for which document, which scan
    it voids, inside which parent, and as which other unit.

    When it was recorded, and by what clock, is no content; nor is what the gateway stamps from the
    station's settings, which may change between a read and its repetition.
    """
    documents = tuple((t.type, t.id) for t in scan.transactions) if scan.transactions else ()
    # Written out: as the repr of a tuple is, in which stored digests are made, at half its cost.
    content = (
        f"({scan.unit!r}, {scan.event_time.timestamp()!r}, {scan.station!r}, {scan.sequence!r},"
        f" {documents!r}"
    )
    if scan.corrects is not None:  # other digests stay as they stand in stored states
        content += f", {scan.corrects!r}"
    if scan.parent is not None:
        content += f", 'parent', {scan.parent!r}"
    if scan.derived_from is not None:
        origin = scan.derived_from
        content += f", 'derived_from', {origin.unit!r}, {origin.event_id!r}"
    if scan.same_as is not None:
        content += f", 'same_as', {scan.same_as!r}"
    return blake2b(f"{content})".encode("utf-8", "surrogatepass"), digest_size=8).digest()
