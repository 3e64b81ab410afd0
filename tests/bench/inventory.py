"""The units of a large site, without reading them one by one: rows of the query database, the
movements that come next, and how each unit may be asked for. All of it follows from a number.

Of ten units six have a text serial under their GTIN, two a tag with a numeric one, and two are
phones, with a second IMEI and a maker's serial linked to the first. A unit was seen one to four
times on its way: received, stored, packed into a carton of 20, shipped with an order of 40. One in
10,000 has gone that way a hundred times, as what is hired out does.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import islice

import psycopg

from bench.measure import say
from bench.workload import Record, partition_of
from bench.workload import station as station_of
from scantrail.cli.site import DOCK, GATE, PACK, SHELF
from scantrail.contracts.records import Movement, Place, cloud_event_headers, encode
from scantrail.domain.custody import Outcome
from scantrail.domain.identifiers import gs1_check_digit, luhn_check_digit, product_and_serial
from scantrail.domain.scan import Scan, order_reference
from scantrail.domain.station import Station, claim
from scantrail.domain.vocabulary import BusinessStep, Phase

#: Where something is held against what more units make of it: `make bench UNITS=10000000` for more.
FEW, MANY = 100_000, int(os.environ.get("UNITS") or 1_000_000)

PRODUCTS, SITES, SHELVES, PURCHASERS = 200, 3, 400, 5_000
PER_CARTON, PER_ORDER, PER_LOT = 20, 40, 500
LONG_TRAIL, LONG_LIVED_EVERY, _LONG_LIVED = 400, 10_000, 1_236
#: Units that are not among the first ones.
FIRST_NEW = 50_000_000

_COMPANY, _FIRST_ITEM = 9506000, 20_000
_SPREAD = 7_368_787  # a prime: neighbours by number are none by serial
_SERIALS = 100_000_000
_OPENED = datetime(2026, 1, 5, 6, tzinfo=UTC)
_BETWEEN_UNITS, _BETWEEN_VISITS = timedelta(seconds=2), timedelta(days=1)
_UNTIL_RECORDED = timedelta(milliseconds=350)
_PACKED = 3  # from this version on it is in its carton
_NULL = "\\N"
_PATH = tuple(station_of(place) for place in (DOCK, SHELF, PACK, GATE))
_PHASES = {BusinessStep.SHIPPING: Phase.SHIPPED}
_GTINS = tuple(
    f"{payload}{gs1_check_digit(payload)}"
    for payload in (f"0{_COMPANY}{_FIRST_ITEM + item:05}" for item in range(PRODUCTS))
)


# ---------------------------------------------------------------------------------- identifiers


def product(number: int) -> str:
    """The product of unit `number`; neighbours, which came on one pallet, share it."""
    return _GTINS[number // 200 % PRODUCTS]


def serial(number: int) -> str:
    """Its serial: of a tagged unit a number, else with letters."""
    mixed = number * _SPREAD % _SERIALS
    return f"{_SERIALS + mixed}" if _is_tagged(number) else f"SN{mixed:08}"


def key(number: int) -> str:
    """The unit's key."""
    return f"imei:{_imei(number, 0)}" if _is_phone(number) else _sgtin_key(number)


def spellings(number: int) -> list[str]:
    """What a person or a system may ask for it by: its key first."""
    if _is_phone(number):
        second = _imei(number, 1)
        return [key(number), f"{second}{luhn_check_digit(second)}"]
    if _is_tagged(number):
        return [key(number), _tag(number)]
    return [key(number), f"01{product(number)}21{serial(number)}", serial(number)]


def versions(number: int) -> int:
    """How often it was seen: 1 to 4 times; one in 10,000 goes round and round."""
    if number % LONG_LIVED_EVERY == _LONG_LIVED:
        return LONG_TRAIL
    return 1 + number * 2_654_435_761 % 2**32 % 4


def long_lived(numbers: range) -> list[int]:
    """Those of `numbers` that have a long trail."""
    return [n for n in numbers if versions(n) == LONG_TRAIL]


def _is_tagged(number: int) -> bool:
    return number % 10 in (6, 7)


def _is_phone(number: int) -> bool:
    return number % 10 in (8, 9)


def _sgtin_key(number: int) -> str:
    return f"sgtin:{product(number)}.{serial(number)}"


def _imei(number: int, slot: int) -> str:
    return f"35{number * _SPREAD % _SERIALS:08}{slot:04}"


def _tag(number: int) -> str:
    item = _FIRST_ITEM + number // 200 % PRODUCTS
    return sgtin_96(int(serial(number)), item=item)


def sgtin_96(serial: int, *, item: int) -> str:
    """The tag of one unit (GS1 EPC Tag Data Standard: header 0x30, filter 1, a company prefix of 7
    digits, indicator and item, a serial below 2^38), in hexadecimal."""
    return f"{0x30 << 88 | 1 << 85 | 5 << 82 | _COMPANY << 58 | item << 38 | serial:024X}"


# ---------------------------------------------------------------------------------------- scans


def scan(number: int, version: int) -> Scan:
    """The scan that made this version of the unit: a round of the path takes four."""
    there = _PATH[(version - 1) % len(_PATH)]
    at = _seen_at(number, version)
    return claim(
        replace(there, site=_site(number)),
        key(number),
        event_id=_event_id(there, number, version),
        reader=f"{there.id}-reader",
        sequence=number,
        event_time=at,
        record_time=at + _UNTIL_RECORDED,
        order=order(number) if there.business_step is BusinessStep.SHIPPING else None,
        read=spellings(number)[-1],
        location=_location(there, number),
        parent=_carton(number) if there.business_step is BusinessStep.PACKING else None,
        lot=lot(number) if version == 1 else None,
        produced_on=_produced_on(number) if version == 1 else None,
    )


def order(number: int) -> str:
    """With which it is shipped."""
    return f"SO-{number // PER_ORDER:07}"


def _seen_at(number: int, version: int) -> datetime:
    return _OPENED + number * _BETWEEN_UNITS + (version - 1) * _BETWEEN_VISITS


def _event_id(there: Station, number: int, version: int) -> str:
    return f"{there.id}-reader/{number:08x}/{version}"


def _site(number: int) -> str:
    return f"site-{number // 1000 % SITES}"


def lot(number: int) -> str:
    """In which it was made; its first scan tells it."""
    return f"L{number // PER_LOT:05}"


def _produced_on(number: int) -> date:
    return _OPENED.date() - timedelta(days=30 - number // PER_LOT % 28)


def _location(there: Station, number: int) -> str | None:
    if there.business_step is BusinessStep.STORING:
        shelf = number // 50 % SHELVES
        return f"Hall {shelf // 100 + 1}, aisle {shelf // 20 % 5 + 1}, shelf {shelf % 20 + 1}"
    return None


def _carton(number: int) -> str:
    payload = f"09506000{number // PER_CARTON:09}"
    return f"sscc:{payload}{gs1_check_digit(payload)}"


def _place(made: Scan, number: int) -> Place:
    """Where that scan puts the unit."""
    is_packed = made.business_step in (BusinessStep.PACKING, BusinessStep.SHIPPING)
    return Place(
        phase=_PHASES.get(made.business_step, Phase.ON_SITE),
        site=made.site,
        station=made.station,
        read_point=made.read_point,
        business_location=made.business_location,
        business_step=made.business_step,
        disposition=made.disposition,
        possessing_party=made.possessing_party,
        order=order_reference(made),
        since=made.event_time,
        event_id=made.event_id,
        seen_at=made.event_time,
        parent=_carton(number) if is_packed else None,
    )


def movements(
    numbers: Iterable[int], partitions: int, seen: dict[int, int]
) -> dict[int, list[Record]]:
    """The next movement of each unit, as the tracker sends it, by partition. `seen` has, and is
    given, the version of each unit that was named before."""
    records: dict[int, list[Record]] = {partition: [] for partition in range(partitions)}
    for number in numbers:
        version = seen[number] = seen.get(number, versions(number)) + 1
        made = scan(number, version)
        moved = Movement(
            unit=made.unit,
            version=version,
            outcome=Outcome.MOVED,
            scan=made,
            before=_place(scan(number, version - 1), number) if version > 1 else None,
            after=_place(made, number),
        )
        headers = cloud_event_headers(
            id=made.event_id,
            source="/bench/tracker",
            type="scantrail.movement.v1",
            subject=made.unit,
            time=made.event_time,
        )
        name = made.unit.encode()
        records[partition_of(name, partitions)].append((name, encode(moved), headers))
    return records


# ----------------------------------------------------------------------------------------- rows


def fill(database_url: str, numbers: range) -> None:
    """Write these units, all that was seen of them, their orders and their linked ids, and let
    PostgreSQL look at what it has, as its autovacuum would."""
    loads: tuple[tuple[str, Iterable[str]], ...] = (
        ("party (id, name, address)", _party_lines(numbers)),
        ("sales_order (ref, version, purchaser)", _order_lines(numbers)),
        ("identifier (id, unit, version, linked_at)", _identifier_lines(numbers)),
        ("movement", _movement_lines(numbers)),
        ("unit", map(unit_line, numbers)),
    )
    with psycopg.connect(database_url, autocommit=True) as database, database.cursor() as cursor:
        for table, lines in loads:
            with cursor.copy(f"COPY {table} FROM STDIN") as copy:
                left = iter(lines)
                while some := "".join(islice(left, 1_000)):
                    copy.write(some)
        cursor.execute("VACUUM ANALYZE party, sales_order, identifier, movement, unit")
    say(f"{numbers.stop:,} units are in the database")


def unit_line(number: int) -> str:
    """Its row of `unit`, as COPY reads it."""
    version = versions(number)
    there, at, where, document, _ = _visit(number, version)
    phase = _PHASES.get(there.business_step, Phase.ON_SITE)
    named, told = product_and_serial(key(number))
    parent = _carton(number) if version >= _PACKED else _NULL
    return (
        f"{key(number)}\t{named or _NULL}\t{told}\t{version}\t{phase}\t{_site(number)}"
        f"\t{there.id}\t{there.read_point}\t{where}\t{there.business_step}\t{_NULL}"
        f"\t{there.possessing_party or _NULL}\t{document}\t{at}"
        f"\t{_event_id(there, number, version)}\t{at}\tf\t{parent}\t{_NULL}"
        f"\t{lot(number)}\t{_produced_on(number)}\n"
    )


def movement_line(number: int, version: int) -> str:
    """The row of `movement` of the scan that made this version, as COPY reads it."""
    there, at, where, document, carton = _visit(number, version)
    return (
        f"{key(number)}\t{_event_id(there, number, version)}\t{at + _UNTIL_RECORDED}\t{version}"
        f"\t{Outcome.MOVED}\t{at}\t{_NULL}\t{there.id}-reader\t{number}\t{there.id}"
        f"\t{_site(number)}\t{there.read_point}\t{there.business_step}\t{where}\t{_NULL}"
        f"\t{there.possessing_party or _NULL}\t{document}\t{spellings(number)[-1]}\t{_NULL}"
        f"\t{carton}\t{_NULL}\t{_NULL}\t{_NULL}\t{_NULL}\t{_NULL}"
        f"\t{lot(number) if version == 1 else _NULL}"
        f"\t{_produced_on(number) if version == 1 else _NULL}\tf\n"
    )


def _visit(number: int, version: int) -> tuple[Station, datetime, str, str, str]:
    """Where, when, and what COPY reads of the location, the order and the parent."""
    there = _PATH[(version - 1) % len(_PATH)]
    return (
        there,
        _seen_at(number, version),
        _location(there, number) or there.business_location or _NULL,
        order(number) if there.business_step is BusinessStep.SHIPPING else _NULL,
        _carton(number) if there.business_step is BusinessStep.PACKING else _NULL,
    )


def _movement_lines(numbers: range) -> Iterator[str]:
    """In the order in which they were seen: units are many at once on their way."""
    for version in range(1, len(_PATH) + 1):
        for number in numbers:
            if version <= versions(number):
                yield movement_line(number, version)
    for number in long_lived(numbers):
        for version in range(len(_PATH) + 1, LONG_TRAIL + 1):
            yield movement_line(number, version)


def _identifier_lines(numbers: range) -> Iterator[str]:
    for number in filter(_is_phone, numbers):
        at = _seen_at(number, 1)
        for other in (f"imei:{_imei(number, 1)}", f"sn:{product(number)}.{serial(number)}"):
            yield f"{other}\t{key(number)}\t1\t{at}\n"


def _order_lines(numbers: range) -> Iterator[str]:
    for number in numbers[::PER_ORDER]:
        yield f"{order(number)}\t1\tP-{number // PER_ORDER % PURCHASERS:04}\n"


def _party_lines(numbers: range) -> Iterator[str]:
    for purchaser in range(PURCHASERS if numbers.start == 0 else 0):
        yield f"P-{purchaser:04}\tPurchaser {purchaser}\t{purchaser} Main Street, Springfield\n"
