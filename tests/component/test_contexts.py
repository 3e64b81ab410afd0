"""Readers that send codes and nothing else: what is scanned first is told of what comes after."""

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from component.fake_outlet import FakeOutlet
from scantrail.domain.product import Product
from scantrail.domain.scan import Scan, content_digest
from scantrail.domain.station import Station
from scantrail.domain.vocabulary import BusinessStep
from scantrail.gateway.contexts import Contexts, ContextSettings
from scantrail.gateway.decoders.outcome import Read
from scantrail.gateway.intake import Intake, Taken
from scantrail.gateway.readers import ReaderSettings
from scantrail.gateway.scans import Known
from scantrail.gateway.spool import SpoolFull

GTIN = "09506000134352"
CARTON = "095060000000000015"
UNIT = f"01{GTIN}21A1"
SHELF = Station(
    id="hall",
    site="north",
    business_step=BusinessStep.STORING,
    read_point="hall",
    business_location="Hall A",
)
ALL = ContextSettings(
    location=re.compile("L-(.+)"),
    order=re.compile(r"SO-\d+"),
    parent=True,
    product=True,
    end="DONE",
    timeout_s=600,
)


class Gateway:
    """An intake whose time stands still unless it is told otherwise."""

    def __init__(
        self, outlet: FakeOutlet, path: Path | None = None, settings: ContextSettings = ALL
    ) -> None:
        self.now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
        self.outlet = outlet
        reader = ReaderSettings(id="hand", station="hall", protocol="tcp", context=settings)
        other = ReaderSettings(id="other", station="hall", protocol="tcp")
        products = {GTIN: Product(id=GTIN, name="Phone")}
        known = Known({"hand": reader, "other": other}, {"hall": SHELF}, products)
        outgoing: Any = outlet
        contexts = Contexts(path)
        self.intake = Intake("test", known, outgoing, contexts=contexts, now=lambda: self.now)

    async def read(self, *codes: str | Read, reader: str = "hand") -> Taken:
        reads = [code if isinstance(code, Read) else Read(code) for code in codes]
        return await self.intake.take(reader, reads)

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def outlet() -> FakeOutlet:
    return FakeOutlet()


def told(scans: Sequence[Scan]) -> list[tuple[str, str | None, str | None, str | None]]:
    """Serial, location, order and parent of each."""
    return [
        (
            scan.unit.rpartition(".")[2],
            scan.business_location,
            scan.transactions[0].id if scan.transactions else None,
            scan.parent,
        )
        for scan in scans
    ]


async def test_what_is_scanned_first_is_told_of_what_comes_after_it(outlet: FakeOutlet) -> None:
    gateway = Gateway(outlet)
    taken = await gateway.read(f"{UNIT}0", "L-A-04", f"{UNIT}1", "SO-7", f"{UNIT}2")
    assert (taken.accepted, taken.rejected) == (5, ())
    await gateway.read(f"00{CARTON}", f"{UNIT}3", "L-B-01", f"{UNIT}4", "DONE", f"{UNIT}5")
    assert told(outlet.scans) == [
        ("A10", "Hall A", None, None),
        ("A11", "A-04", None, None),
        ("A12", "A-04", "SO-7", None),
        ("A13", "A-04", "SO-7", f"sscc:{CARTON}"),
        ("A14", "B-01", "SO-7", f"sscc:{CARTON}"),
        ("A15", "Hall A", None, None),
    ]


@pytest.mark.parametrize(
    "product",
    [
        Read(f"01{GTIN}"),
        Read(f"(01){GTIN}"),
        Read(GTIN[1:], aim="]E0"),
        Read(f"https://id.example.org/01/{GTIN}"),
        Read(GTIN[1:]),
    ],
)
async def test_a_product_scanned_first_makes_units_of_plain_serials(
    outlet: FakeOutlet, product: Read
) -> None:
    gateway = Gateway(outlet)
    taken = await gateway.read("SN-1", product, "SN-2", "DONE", "SN-3")
    assert [refusal.index for refusal in taken.rejected] == [0, 4]
    assert [scan.unit for scan in outlet.scans] == [f"sgtin:{GTIN}.SN-2"]


async def test_bare_digits_are_a_product_only_where_that_one_is_known(outlet: FakeOutlet) -> None:
    gateway = Gateway(outlet)
    await gateway.read(GTIN, "4006381333931", "SN-2")
    assert [scan.unit for scan in outlet.scans] == [f"sgtin:{GTIN}.SN-2"]
    assert [read.reason for read in outlet.rejected] == ["not_a_unit"]


async def test_a_context_times_out_and_is_of_one_reader(outlet: FakeOutlet) -> None:
    gateway = Gateway(outlet)
    await gateway.read("L-A-04")
    gateway.later(600)
    await gateway.read(f"{UNIT}1")
    await gateway.read(f"{UNIT}2", reader="other")
    gateway.later(1)
    await gateway.read(f"{UNIT}3")
    assert [scan.business_location for scan in outlet.scans] == ["A-04", "Hall A", "Hall A"]


async def test_reads_that_were_buffered_are_told_by_the_devices_time(outlet: FakeOutlet) -> None:
    gateway = Gateway(outlet)
    yesterday = gateway.now - timedelta(days=1)
    minute = timedelta(minutes=1)
    await gateway.read(
        Read("L-A-04", event_time=yesterday),
        Read(f"{UNIT}1", event_time=yesterday + minute),
        Read(f"{UNIT}2", event_time=yesterday + 20 * minute),
    )
    assert [scan.business_location for scan in outlet.scans] == ["A-04", "Hall A"]


async def test_a_read_that_is_sent_again_is_told_the_same_after_another_label(
    outlet: FakeOutlet,
) -> None:
    gateway = Gateway(outlet)
    second = timedelta(seconds=1)
    began = gateway.now - 10 * second
    unit = Read(f"{UNIT}1", event_id="7", event_time=began + second)
    await gateway.read(Read("L-A-04", event_time=began), unit)
    label, end = (Read(code, event_time=began + 2 * second) for code in ("L-B-01", "DONE"))
    await gateway.read(label, unit, end, unit)
    assert [scan.business_location for scan in outlet.scans] == ["A-04"] * 3
    assert len({content_digest(scan) for scan in outlet.scans}) == 1


async def test_no_more_is_remembered_than_it_takes(outlet: FakeOutlet, tmp_path: Path) -> None:
    path = tmp_path / "contexts.json"
    gateway = Gateway(outlet, path)
    for number in range(100):
        gateway.later(1)
        await gateway.read(f"L-{number}")
    assert len(path.read_bytes()) < 2_000
    assert Contexts(path).of("hand").location[-1].value == "99"


async def test_a_context_survives_a_restart(outlet: FakeOutlet, tmp_path: Path) -> None:
    path = tmp_path / "gateway" / "contexts.json"
    await Gateway(outlet, path).read("L-A-04", "SO-7")
    again = Gateway(outlet, path)
    again.later(60)
    await again.read(UNIT)
    assert told(outlet.scans) == [("A1", "A-04", "SO-7", None)]
    path.write_bytes(b'{"hand": 7}')
    await Gateway(outlet, path).read(f"{UNIT}2")
    assert told(outlet.scans)[1:] == [("A12", "Hall A", None, None)]


async def test_a_context_that_cannot_be_written_is_refused_and_the_one_before_holds(
    outlet: FakeOutlet, tmp_path: Path
) -> None:
    path = tmp_path / "folder" / "contexts.json"
    gateway = Gateway(outlet, path)
    await gateway.read("L-OLD")
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("no folder")
    with pytest.raises(SpoolFull, match="context cannot be written"):
        await gateway.read("L-NEW", f"{UNIT}1")
    assert outlet.kept == []
    await gateway.read(f"{UNIT}2")
    assert told(outlet.scans) == [("A12", "OLD", None, None)]
    path.parent.unlink()
    await gateway.read("L-NEW", f"{UNIT}1")
    await Gateway(outlet, path).read(f"{UNIT}3")
    assert [scan.business_location for scan in outlet.scans[1:]] == ["NEW", "NEW"]


async def test_a_label_whose_reads_were_refused_is_not_on_disk_either(
    outlet: FakeOutlet, tmp_path: Path
) -> None:
    path = tmp_path / "contexts.json"
    gateway = Gateway(outlet, path)
    await gateway.read("L-OLD")
    outlet.full = True
    with pytest.raises(SpoolFull):
        await gateway.read("L-NEW", f"{UNIT}1")
    outlet.full = False
    await Gateway(outlet, path).read(f"{UNIT}2")
    assert told(outlet.scans) == [("A12", "OLD", None, None)]


async def test_deliveries_of_one_reader_are_told_one_after_another(outlet: FakeOutlet) -> None:
    gateway = Gateway(outlet)
    outlet.slow = asyncio.Event()
    first = asyncio.create_task(gateway.read("L-NEW", f"{UNIT}1"))
    second = asyncio.create_task(gateway.read("SO-7", f"{UNIT}2"))
    await asyncio.sleep(0)
    outlet.slow.set()
    await asyncio.gather(first, second)
    await gateway.read(f"{UNIT}3")
    assert told(outlet.scans) == [
        ("A11", "NEW", None, None),
        ("A12", "NEW", "SO-7", None),
        ("A13", "NEW", "SO-7", None),
    ]


async def test_labels_of_a_clock_that_was_ahead_hold_no_more_once_it_is_right(
    outlet: FakeOutlet,
) -> None:
    gateway = Gateway(outlet)
    for ahead in (timedelta(hours=1), timedelta(minutes=2)):
        for number in range(20):
            label = Read(f"L-{number}", event_time=gateway.now + ahead)
            await gateway.read(label)
        gateway.later(1)
        right = Read("L-RIGHT", event_time=gateway.now)
        await gateway.read(right, Read(UNIT, event_time=gateway.now, event_id=f"{ahead}"))
        gateway.later(180)
        await gateway.read(Read(UNIT, event_time=gateway.now, event_id=f"{ahead}, later"))
    assert {scan.business_location for scan in outlet.scans} == {"RIGHT"}


async def test_who_posts_as_a_reader_of_another_protocol_touches_nothing_of_it(
    outlet: FakeOutlet,
) -> None:
    gateway = Gateway(outlet)
    for code in ("L-EVIL", f"00{CARTON}", f"{UNIT}1"):
        taken = await gateway.intake.take("hand", [Read(code)], sent_as="http-generic")
        assert [refusal.reason for refusal in taken.rejected] == ["wrong_protocol"]
    await gateway.read(f"{UNIT}1")
    assert told(outlet.scans) == [("A11", "Hall A", None, None)]
    (hand, _) = gateway.intake._statuses.now()
    assert hand.counts == {"accepted": 1}


async def test_a_file_of_contexts_that_is_broken_is_left_aside(
    outlet: FakeOutlet, tmp_path: Path
) -> None:
    path = tmp_path / "contexts.json"
    await Gateway(outlet, path).read("L-OLD")
    path.write_bytes(path.read_bytes().replace(b"OLD", b"O\xffD"))
    await Gateway(outlet, path).read(UNIT)
    assert told(outlet.scans) == [("A1", "Hall A", None, None)]


async def test_what_was_refused_sets_nothing(outlet: FakeOutlet) -> None:
    gateway = Gateway(outlet)
    await gateway.read("L-A-04")
    outlet.full = True
    with pytest.raises(SpoolFull):
        await gateway.read(f"{UNIT}1", "L-B-01", f"{UNIT}2")
    outlet.full = False
    await gateway.read(f"{UNIT}1", "L-B-01", f"{UNIT}2")
    assert [scan.business_location for scan in outlet.scans] == ["A-04", "B-01"]


async def test_what_a_read_says_itself_is_not_overruled(outlet: FakeOutlet) -> None:
    gateway = Gateway(outlet)
    await gateway.read("SO-7", "L-A-04", f"00{CARTON}", Read(f"{UNIT}1", order="SO-8"))
    correction = Read(f"{UNIT}1", corrects="e1")
    joins = Read(f"{UNIT}1", same_as="356938035643809")
    await gateway.read(correction, joins)
    assert told(outlet.scans) == [
        ("A11", "A-04", "SO-8", f"sscc:{CARTON}"),
        ("A11", "Hall A", None, None),
        ("A11", "Hall A", None, None),
    ]


async def test_a_read_that_is_set_aside_keeps_its_context_for_the_replay(
    outlet: FakeOutlet,
) -> None:
    gateway = Gateway(outlet)
    await gateway.read(f"01{GTIN}", "L-A-04", "SO-7", "]bad \x01")
    (read,) = outlet.rejected
    assert (read.location, read.order, read.product) == ("A-04", "SO-7", GTIN)


@pytest.mark.parametrize(
    ("code", "reason", "left"),
    [
        ("L-" + "x" * 257, "bad_location", ("A1", "Hall A", "SO-7", f"sscc:{CARTON}")),
        ("SO-" + "1" * 200, "bad_order", ("A1", "A-04", None, f"sscc:{CARTON}")),
        (f"00{CARTON[:-1]}0", "bad_carton", ("A1", "A-04", "SO-7", None)),
    ],
)
async def test_a_label_that_cannot_be_read_is_set_aside_and_the_one_before_it_holds_no_more(
    outlet: FakeOutlet, code: str, reason: str, left: tuple[str | None, ...]
) -> None:
    gateway = Gateway(outlet)
    taken = await gateway.read("L-A-04", "SO-7", f"00{CARTON}", code, UNIT)
    assert [refusal.reason for refusal in taken.rejected] == [reason]
    assert told(outlet.scans) == [left]


async def test_only_what_the_reader_is_set_to_is_context(outlet: FakeOutlet) -> None:
    gateway = Gateway(outlet, settings=ContextSettings(location=re.compile("L-.+")))
    taken = await gateway.read("L-A-04", f"00{CARTON}", f"01{GTIN}", UNIT)
    assert [refusal.reason for refusal in taken.rejected] == ["serial_missing"]
    assert told(outlet.scans) == [
        (f"sscc:{CARTON}", "L-A-04", None, None),
        ("A1", "L-A-04", None, None),
    ]
