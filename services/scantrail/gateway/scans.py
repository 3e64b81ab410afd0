"""A read becomes a scan here, or is set aside with the reason. Nothing is sent or remembered."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from scantrail.contracts.identity import identify
from scantrail.contracts.minting import is_minted
from scantrail.contracts.records import (
    NAME_LENGTH_MAX,
    RejectedRead,
    cloud_event_headers,
    encode,
)
from scantrail.contracts.topics import Topic, topic_name
from scantrail.domain.identifiers import Identified, NotIdentified, product_and_serial, shown
from scantrail.domain.product import (
    PLAIN_SERIAL,
    Product,
    expected_after,
    folded_key,
    policy_at,
)
from scantrail.domain.scan import ORDER_LENGTH_MAX, clock_skew_s, is_order_reference
from scantrail.domain.serial_alerts import SERIAL_MISSING
from scantrail.domain.serial_format import fits
from scantrail.domain.station import Station, claim
from scantrail.domain.vocabulary import OUTBOUND_STEPS, BusinessStep
from scantrail.gateway.decoders.outcome import MENDS, Invalid, Read
from scantrail.gateway.readers import Protocol, ReaderSettings
from scantrail.gateway.spool import Outgoing

#: Why a code makes no scan that names a product, or a place.
NOT_A_UNIT = "not_a_unit"

#: Why what a person typed makes no scan: whether it is right nobody knows here.
KEYED_UNCONFIRMED = "keyed_unconfirmed"

#: A set-aside read is kept whole up to here: codes are far shorter.
READ_LENGTH_MAX = 2048

SAME_AS_ALONE = (
    "`same_as` stands alone: send what goes into a parent, or corrects a scan, as another read"
)

SAME_AS_ELSEWHERE = (
    "a read with `same_as` moves nothing, and a unit that goes out here would be missed: tell it at"
    " another station, and leave `same_as` out of the reads of this one"
)

#: A scan shows how its unit was read; it must stay within records.SCAN_BYTES_MAX.
SCAN_READ_LENGTH_MAX = 512


class Known(NamedTuple):
    """What a read is judged by; the mappings change while the gateway runs."""

    readers: Mapping[str, ReaderSettings]
    stations: Mapping[str, Station]
    products: Mapping[str, Product] = {}
    #: the key under which the unit of a key is kept
    unit_of: Callable[[str], str] = str
    #: all keys that are known of a unit, its own first; None where that cannot be told
    keys_of: Callable[[str], tuple[str, ...] | None] = lambda unit: (unit,)


class ScanMaker:
    """Turns reads into records of `scans` or of `reads.rejected`, by what is known."""

    def __init__(self, prefix: str, known: Known) -> None:
        self._prefix = prefix
        self._known = known

    def make(
        self,
        reader_id: str,
        read: Read | Invalid,
        *,
        event_id: str,
        sequence: int,
        event_time: datetime | None,
        record_time: datetime,
        sent_as: Protocol | None = None,
        station: str | None = None,
        claims: Callable[[Station], Station] | None = None,
    ) -> Outgoing | RejectedRead:
        """The scan that a read of reader `reader_id` makes, or why it makes none.

        `sent_as` is the protocol in which it came, where the sender could take another. `station`
        is where it was read, where the reader's own station is not meant; then the reader need not
        be configured. Of a question, `claims` says what its station claims by it.
        """
        reader = self._known.readers.get(reader_id)
        if isinstance(read, Invalid):
            return _unread(
                reader_id,
                read,
                station=station or (reader.station if reader else None),
                event_id=event_id,
                sequence=sequence,
                record_time=record_time,
            )
        station_id = station or (reader.station_at(read.antenna) if reader else None)

        def refused(reason: str, detail: str, of_product: str | None = None) -> RejectedRead:
            return RejectedRead(
                event_id=event_id,
                reader=reader_id,
                station=station_id,
                reason=reason,
                detail=detail,
                read=as_text(read.text),
                event_time=event_time or record_time,
                record_time=record_time,
                sequence=sequence,
                aim=read.aim,
                order=read.order and read.order[:ORDER_LENGTH_MAX],
                rma=read.rma and read.rma[:ORDER_LENGTH_MAX],
                corrects=read.corrects and read.corrects[:NAME_LENGTH_MAX],
                parent=read.parent and read.parent[:NAME_LENGTH_MAX],
                same_as=read.same_as and read.same_as[:NAME_LENGTH_MAX],
                location=read.location,
                product=read.product,
                antenna=read.antenna,
                rssi_dbm=read.rssi_dbm,
                direction=read.direction,
                unit=read.unit,
                lot=read.lot,
                produced_on=read.produced_on,
                asked=claims is not None,
                keyed=read.keyed,
                confirmed=read.confirmed,
                of_product=of_product,
            )

        if station_id is None:
            return refused(
                "unknown_reader",
                f"no [[reader]] has id {reader_id!r}: add it to the readers' file, restart, replay",
            )
        if reader is not None and sent_as not in (None, reader.protocol):
            return refused(
                "wrong_protocol",
                f"reader {reader_id!r} has protocol {reader.protocol!r}, and sent {sent_as!r}: mend"
                " the readers' file, restart, replay; or the address to which it posts",
            )
        there = self._known.stations.get(station_id)
        if there is None:
            return refused(
                "unknown_station",
                f"station {station_id!r} of reader {reader_id!r} is not configured:"
                f" PUT /stations/{station_id}, then replay",
            )
        if claims is not None:
            there = claims(there)
        if read.event_id is not None and event_time is None:
            return refused(
                "no_event_time",
                "a read with its own event_id needs its time too: give `timestamp`, or its"
                " repetition cannot be told from another read",
            )
        if read.order is not None and not is_order_reference(read.order):
            return refused("bad_order", MENDS["bad_order"])
        if read.rma is not None and not is_order_reference(read.rma):
            return refused("bad_rma", MENDS["bad_rma"])
        if read.corrects is not None and not 0 < len(read.corrects) <= NAME_LENGTH_MAX:
            return refused("bad_corrects", MENDS["bad_corrects"])
        is_off = clock_skew_s(event_time or record_time, record_time) is not None
        moment = record_time if event_time is None or is_off else event_time
        try:
            identified = self._identified(read, reader)
        except NotIdentified as error:
            of = None if error.gtin is None else self._known.products.get(error.gtin)
            if of is None or not policy_at(of, moment).needs_serial_at(there.business_step):
                of_product = None if of is None else of.id
                return refused(error.reason, error.detail, of_product)
            told = f"units of {of.id} ({of.name}) need their serial here: scan the unit's own code"
            return refused(SERIAL_MISSING, told, of.id)
        read_as = identified.key
        if read.keyed and not read.confirmed and read.unit is None:
            return refused(
                KEYED_UNCONFIRMED,
                f"{read_as} was typed, and the units that are known are not known here: POST /keyed"
                " compares it with them; or send it with `confirmed`, or resolve it in"
                " /unidentified",
            )
        if read.same_as is not None and (read.parent or read.corrects):
            return refused("bad_same_as", SAME_AS_ALONE)
        if read.same_as is not None and there.business_step in OUTBOUND_STEPS:
            return refused("bad_same_as", SAME_AS_ELSEWHERE)
        # By a correction a join may be taken back, which only the key that was joined can do.
        unit = read_as if read.corrects else self._known.unit_of(read_as)
        named = dict.fromkeys(("parent", "same_as"))
        for name in named:
            spelling = getattr(read, name)
            if spelling is None:
                continue
            try:
                key = self._folded(identify(spelling).key)
            except NotIdentified as error:
                return refused(f"bad_{name}", f"`{name}`: {error.detail}")
            named[name] = self._known.unit_of(key)
            is_itself = key == read_as or (name == "parent" and named[name] == unit)
            if is_itself or len(spelling) > NAME_LENGTH_MAX:
                return refused(f"bad_{name}", MENDS[f"bad_{name}"])
        scan = claim(
            there,
            unit,
            event_id=event_id,
            reader=reader_id,
            sequence=sequence,
            event_time=event_time or record_time,
            record_time=record_time,
            order=read.order,
            rma=read.rma,
            read=as_text(read.text)[:SCAN_READ_LENGTH_MAX],
            corrects=read.corrects,
            location=read.location,
            keyed=read.keyed,
            **self._expected(read_as, unit, there.business_step, moment),
            lot=identified.lot or read.lot,
            produced_on=identified.production or read.produced_on,
            **named,
        )
        headers = cloud_event_headers(
            id=event_id,
            source=f"/{self._prefix}/gateway/{reader_id}",
            type="scantrail.scan.v1",
            subject=unit,
            time=scan.event_time,
        )
        topic = topic_name(self._prefix, Topic.SCANS)
        return Outgoing(topic, unit.encode(), encode(scan), headers)

    def _expected(
        self, read_as: str, unit: str, step: BusinessStep, moment: datetime
    ) -> dict[str, Any]:
        """What the product expects of the step, and since when. It is that of the unit's key, or of
        the one that was read: an IMEI tells none."""
        name = product_and_serial(unit)[0] or product_and_serial(read_as)[0]
        known = None if name is None else self._known.products.get(name)
        if known is None:
            return {}
        product = policy_at(known, moment)
        expected = expected_after(product, step)
        since = product.valid_from if expected else None
        return {"expected_after": expected, "expected_since": since}

    def passes_without_serial(self, made: RejectedRead) -> bool:
        """Whether what made no scan is the code of a product that needs no serial there."""
        return self.product_of(made) is not None and made.reason == NOT_A_UNIT

    def product_of(self, made: RejectedRead) -> Product | None:
        """The product of a code that names one, and no unit of it, so that it made no scan; None
        where nobody entered that product."""
        return None if made.of_product is None else self._known.products.get(made.of_product)

    def _identified(self, read: Read, reader: ReaderSettings | None) -> Identified:
        """What was read, with the one key of its unit, by what its reader and its product expect,
        or a person told of it. Raises NotIdentified."""
        found = self._decoded(read, reader) if read.unit is None else identify(read.unit)
        key = self._folded(found.key)
        if read.corrects is None:  # what was right when it was scanned can be voided
            self._check_serial(key)
        return found._replace(key=key)

    def _decoded(self, read: Read, reader: ReaderSettings | None) -> Identified:
        product = read.product or (None if reader is None else reader.product)
        schemes = None if reader is None else reader.schemes
        known = None if product is None else self._known.products.get(product)
        is_plain = True
        if known is not None and known.schemes:
            own = frozenset(known.schemes)
            # What the station expects narrows it; where the two have nothing in common, the
            # product in hand is right, and the station was meant for another.
            schemes = (own if schemes is None else own & schemes or own) - {PLAIN_SERIAL}
            is_plain = PLAIN_SERIAL in own
        return identify(
            read.text, aim=read.aim, product=product, schemes=schemes, is_plain=is_plain
        )

    def _folded(self, key: str) -> str:
        """The one key of a unit, where its product does not tell small letters from capitals."""
        product = self._known.products.get(product_and_serial(key)[0] or "")
        return folded_key(key) if product is not None and product.fold_case else key

    def _check_serial(self, key: str) -> None:
        """Raise NotIdentified where the serial is none of its product's."""
        name, serial = product_and_serial(key)
        product = None if name is None else self._known.products.get(name)
        if product is None or not (product.serial_formats or product.minted):
            return
        if fits(serial, product.serial_formats) or (product.minted and is_minted(serial)):
            return
        looks = [*product.serial_formats, *(["as minted here"] if product.minted else [])]
        raise NotIdentified(
            "bad_serial_format",
            f"serial {shown(serial)} of {product.id} ({product.name}) is none of"
            f" {', '.join(looks)}: scan again, or mend `serial_formats` of the product and replay",
        )

    def set_aside(self, read: RejectedRead) -> Outgoing:
        """The record of a read that makes no scan."""
        topic = topic_name(self._prefix, Topic.READS_REJECTED)
        return Outgoing(topic, read.reader.encode(), encode(read), [])


def _unread(
    reader_id: str,
    read: Invalid,
    *,
    station: str | None,
    event_id: str,
    sequence: int,
    record_time: datetime,
) -> RejectedRead:
    return RejectedRead(
        event_id=event_id,
        reader=reader_id,
        station=station,
        reason=read.reason,
        detail=MENDS[read.reason],
        read=as_text(read.raw),
        event_time=record_time,
        record_time=record_time,
        sequence=sequence,
    )


def as_text(raw: bytes | str) -> str:
    """What was read, as text that every store takes: bytes that are none are escaped."""
    text = raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw
    return text.replace("\0", "\\x00")[:READ_LENGTH_MAX]
