"""What a product's owner decided, at readers and conveyors: schemes of bare digits, codes without a
serial, since when, how serials look, and what is typed."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from component.belt import GTIN, Belt
from component.fake_outlet import FakeOutlet
from scantrail.alerter.app import Notices, judge_reads
from scantrail.contracts.minting import minted_serial
from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain.hold import Hold, HoldReason
from scantrail.domain.product import Captured, Policy, Product, Serials
from scantrail.domain.recall import Recall, Selector
from scantrail.domain.recall_match import RecallMatcher
from scantrail.domain.severity import Severity
from scantrail.domain.station import Station
from scantrail.domain.verdict import Judgement, Verdict
from scantrail.domain.vocabulary import BusinessStep
from scantrail.gateway.decoders.outcome import Read
from scantrail.gateway.intake import Intake
from scantrail.gateway.readers import ReaderSettings
from scantrail.gateway.scans import Known

PHONE = Product(id="PHONE-1", name="Phone", schemes=("imei",))
PUMP = Product(id="PUMP-7", name="Pump", schemes=("serial",))
BOTH = Product(id="BOTH-2", name="Either", schemes=("imei", "serial"))
ANY = Product(id="ANY-3", name="Any")
CABLE = Product(id=GTIN, name="Cable", serials=Serials.NOT_USED)
IMEI = "490154203237518"
BENCH = Station(id="bench", site="north", business_step=BusinessStep.RECEIVING, read_point="bench")
GATE = replace(BENCH, id="gate", business_step=BusinessStep.SHIPPING)


def intake(
    outlet: FakeOutlet,
    *products: Product,
    station: str = "bench",
    now: datetime | None = None,
    **reader: Any,
) -> Intake:
    scanner = ReaderSettings(id="hand", station=station, protocol="http-generic", **reader)
    known = Known(
        {"hand": scanner},
        {each.id: each for each in (BENCH, GATE)},
        {each.id: each for each in products},
    )
    sent: Any = outlet
    return Intake("test", known, sent, now=lambda: now or datetime.now(UTC))


@pytest.mark.parametrize(
    ("product", "schemes", "text", "told"),
    [
        (PHONE, None, IMEI, "imei:49015420323751"),
        (PHONE, None, "AB-12", "unexpected_scheme"),
        (PHONE, None, "490154203237510", "bad_check_digit"),
        (PUMP, None, IMEI, f"sn:PUMP-7.{IMEI}"),
        (BOTH, None, IMEI, "imei:49015420323751"),
        (BOTH, None, "AB-12", "sn:BOTH-2.AB-12"),
        (ANY, None, IMEI, f"sn:ANY-3.{IMEI}"),
        (ANY, {"imei"}, IMEI, "imei:49015420323751"),
        (BOTH, {"imei"}, IMEI, "imei:49015420323751"),
        # a station that was meant for something else altogether: the product in hand is right
        (PHONE, {"vin"}, IMEI, "imei:49015420323751"),
        (PHONE, None, f"01{GTIN}21A1", f"sgtin:{GTIN}.A1"),
    ],
)
async def test_digits_without_a_mark_are_read_by_the_schemes_of_their_product(
    product: Product, schemes: set[str] | None, text: str, told: str
) -> None:
    outlet = FakeOutlet()
    expected = None if schemes is None else frozenset(schemes)
    taking = intake(outlet, product, product=product.id, schemes=expected)

    taken = await taking.take("hand", [Read(text)])

    found = [scan.unit for scan in outlet.scans] or [each.reason for each in taken.rejected]
    assert found == [told]


async def test_a_serial_that_is_marked_as_one_is_its_products_whatever_the_schemes() -> None:
    outlet = FakeOutlet()
    taken = await intake(outlet, PHONE, product="PHONE-1").take(
        "hand", [Read("21AB-12", aim="]C1")]
    )
    assert ([scan.unit for scan in outlet.scans], taken.rejected) == (["sn:PHONE-1.AB-12"], ())


async def test_the_product_that_was_told_with_a_read_has_the_say() -> None:
    outlet = FakeOutlet()
    await intake(outlet, PHONE, PUMP, product="PUMP-7").take(
        "hand", [Read(IMEI, product="PHONE-1")]
    )
    assert [scan.unit for scan in outlet.scans] == ["imei:49015420323751"]


NEEDED = Product(id=GTIN, name="Phone")
LATER = replace(NEEDED, captured=Captured.SHIPPING)
AT_A_CLAIM = replace(NEEDED, captured=Captured.WARRANTY)
SOME = replace(NEEDED, serials=Serials.OPTIONAL)


@pytest.mark.parametrize(
    ("product", "station", "reason"),
    [
        (NEEDED, "bench", "serial_missing"),
        (LATER, "bench", ""),
        (LATER, "gate", "serial_missing"),
        (AT_A_CLAIM, "gate", ""),
        (SOME, "gate", ""),
        (CABLE, "bench", ""),
        (None, "bench", "not_a_unit"),
    ],
)
async def test_a_code_without_a_serial_is_set_aside_only_where_one_is_needed(
    product: Product | None, station: str, reason: str
) -> None:
    passes = not reason
    outlet = FakeOutlet()
    taking = intake(outlet, *([product] if product else []), station=station)

    taken = await taking.take("hand", [Read(f"01{GTIN}", aim="]C1")])

    assert [each.reason for each in taken.rejected] == ([] if passes else [reason])
    assert taken.accepted == int(passes)
    assert len(outlet.kept) == int(not passes)


async def test_what_was_set_aside_is_done_with_once_its_product_needs_no_serial() -> None:
    outlet = FakeOutlet()
    await intake(outlet, NEEDED).take("hand", [Read(f"01{GTIN}", aim="]C1")])
    (read,) = outlet.rejected

    replayed = await intake(later := FakeOutlet(), CABLE).replay([read])

    assert (replayed.accepted, replayed.rejected, later.kept) == (1, (), [])


@pytest.fixture
async def belt(tmp_path: Path) -> AsyncIterator[Belt]:
    belt = Belt(tmp_path, deadline_s=10.0).ready()
    yield belt
    await belt.close()


async def ask(belt: Belt, product: Product, order: str | None = None) -> Judgement:
    belt.products[GTIN] = product
    return await belt.verdicts.ask("exit", Read(f"01{GTIN}", aim="]C1", order=order))


def recall(belt: Belt, recall_id: str, *products: str, **selector: Any) -> None:
    told = (Selector(**selector),)
    notice = Recall(id=recall_id, title="Heat", reason="x", products=products, selectors=told)
    belt.notices.take(Topic.RECALLS, recall_id, encode(notice))


@pytest.mark.parametrize("product", [NEEDED, LATER])
async def test_a_product_that_needs_its_serial_does_not_leave_by_its_code(
    belt: Belt, product: Product
) -> None:
    judged = await ask(belt, product)

    assert (judged.verdict, judged.reason) == (Verdict.HOLD, "no_serial")
    assert "scan the unit's own code" in judged.detail
    (read,) = (await belt.forwarded()).rejected
    assert (read.reason, read.asked, read.of_product) == ("serial_missing", True, GTIN)


@pytest.mark.parametrize("product", [SOME, AT_A_CLAIM, CABLE])
async def test_a_product_that_needs_none_leaves_and_is_counted(
    belt: Belt, product: Product
) -> None:
    assert (await ask(belt, product)).reason == "clear"
    assert (await belt.forwarded()).kept == []
    (status,) = [each for each in belt.statuses.now() if each.id == "exit"]
    assert status.counts["unserialised"] == 1


@pytest.mark.parametrize(
    ("product", "products", "selector", "reason"),
    [
        (CABLE, (GTIN,), {"kind": "all"}, "recalled"),
        # whether it is one of these nobody can tell without its serial
        (CABLE, (GTIN,), {"kind": "list", "serials": ("A1",)}, "recalled"),
        (CABLE, (), {"kind": "list", "serials": ("A1",)}, "clear"),  # it has none
        (SOME, (), {"kind": "list", "serials": ("A1",)}, "recalled"),
        (CABLE, (), {"kind": "lot", "lots": ("L1",)}, "recalled"),
        (CABLE, (), {"kind": "date", "last_day": date(2026, 3, 31)}, "recalled"),
        (CABLE, ("PUMP-7",), {"kind": "all"}, "clear"),
        (CABLE, ("PUMP-7",), {"kind": "lot", "lots": ("L1",)}, "clear"),
    ],
)
async def test_a_recall_of_some_of_a_product_holds_all_that_show_no_serial(
    belt: Belt,
    product: Product,
    products: tuple[str, ...],
    selector: dict[str, Any],
    reason: str,
) -> None:
    recall(belt, "R-1", *products, **selector)
    assert (await ask(belt, product)).reason == reason
    belt.notices.take(Topic.RECALLS, "R-1", None)
    assert (await ask(belt, product)).reason == "clear"


async def test_an_order_has_its_say_about_a_product_without_serials_too(belt: Belt) -> None:
    assert (await ask(belt, CABLE, "SO-1")).reason == "unknown_order"
    belt.order("SO-1", pump=1)
    assert (await ask(belt, CABLE, "SO-1")).reason == "wrong_product"
    belt.order("SO-1", _=1)
    told = [(await ask(belt, CABLE, "SO-1")).reason for _ in range(2)]
    assert told == ["clear", "clear"]


async def test_nothing_is_released_by_its_code_either_while_something_may_be_missing(
    tmp_path: Path,
) -> None:
    belt = Belt(tmp_path, deadline_s=10.0)
    assert (await ask(belt, CABLE)).reason == "not_ready"
    belt.ready()
    belt.notices.take(Topic.RECALLS, "R-9", b"{")
    assert (await ask(belt, CABLE)).reason == "not_ready"
    belt.notices.take(Topic.RECALLS, "R-9", None)
    belt.at += 31.0
    assert (await ask(belt, CABLE)).reason == "stale"
    await belt.close()


# ---------------------------------------------------------------------------------- by its date

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def changed_at_noon(before: Policy, after: Policy, **more: Any) -> Product:
    since = replace(after, valid_from=NOON)
    return replace(Product(id=GTIN, name="Phone", **more), policies=(before, since))


def at_noon(outlet: FakeOutlet, *products: Product, **reader: Any) -> Intake:
    return intake(outlet, *products, now=NOON + timedelta(hours=2), **reader)


@pytest.mark.parametrize(("hours", "passes"), [(-1, True), (0, False), (1, False)])
async def test_a_code_without_a_serial_is_judged_by_what_held_when_it_was_read(
    hours: int, passes: bool
) -> None:
    outlet = FakeOutlet()
    product = changed_at_noon(Policy(serials=Serials.NOT_USED), Policy())
    read = Read(f"01{GTIN}", aim="]C1", event_time=NOON + timedelta(hours=hours))

    taken = await at_noon(outlet, product).take("hand", [read])

    assert [each.reason for each in taken.rejected] == ([] if passes else ["serial_missing"])
    if not passes:
        (kept,) = outlet.rejected
        again = await at_noon(FakeOutlet(), product).replay([kept])
        assert [each.reason for each in again.rejected] == ["serial_missing"]
        mended = replace(product, policies=(Policy(serials=Serials.NOT_USED),))
        again = await at_noon(later := FakeOutlet(), mended).replay([kept])
        assert (again.rejected, later.kept) == ((), [])


async def test_a_scan_is_expected_by_the_order_that_held_when_it_was_made() -> None:
    outlet = FakeOutlet()
    steps = (BusinessStep.INSPECTING, BusinessStep.RECEIVING)
    product = changed_at_noon(Policy(), Policy(steps=steps))
    reads = [
        Read(f"01{GTIN}21A{n}", event_time=NOON + timedelta(hours=n), event_id=str(n))
        for n in (-1, 1)
    ]
    await at_noon(outlet, product).take("hand", reads)
    told = [(scan.expected_after, scan.expected_since) for scan in outlet.scans]
    assert told == [(None, None), (steps, NOON)]


async def test_a_time_that_cannot_be_is_judged_by_when_it_was_recorded() -> None:
    outlet = FakeOutlet()
    product = changed_at_noon(Policy(serials=Serials.NOT_USED), Policy())
    long_ago = Read(f"01{GTIN}", aim="]C1", event_time=NOON - timedelta(days=400))
    taken = await at_noon(outlet, product).take("hand", [long_ago])
    assert [each.reason for each in taken.rejected] == ["serial_missing"]


async def test_the_alert_of_a_read_at_a_time_that_cannot_be_is_by_when_it_was_recorded() -> None:
    outlet = FakeOutlet()
    product = changed_at_noon(Policy(), Policy(serial_missing=Severity.CRITICAL))
    long_ago = Read(f"01{GTIN}", aim="]C1", event_time=NOON - timedelta(days=400))
    await at_noon(outlet, product).take("hand", [long_ago])
    (first,) = outlet.rejected
    much_later = intake(outlet, product, now=NOON + timedelta(days=400))
    assert (await much_later.replay([first])).rejected
    notices = Notices(RecallMatcher(), {}, {GTIN: product}, {})
    records = [SimpleNamespace(value=encode(each), offset=0) for each in outlet.rejected]
    told = judge_reads([records], notices)
    assert [each.severity for each in told] == ["critical", "critical"]
    assert {(each.id, each.event_time) for each in told} == {(told[0].id, first.record_time)}


# ---------------------------------------------------------------------------------- serials

FORMED = Product(id="PUMP-7", name="Pump", serial_formats=("AB-####", "C@#"), fold_case=True)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("AB-1234", "sn:PUMP-7.AB-1234"),
        ("ab-1234", "sn:PUMP-7.AB-1234"),
        ("cx7", "sn:PUMP-7.CX7"),
        ("sn:PUMP-7.ab-1234", "sn:PUMP-7.AB-1234"),
        ("AB-12345", "bad_serial_format"),
        ("AB1234", "bad_serial_format"),
    ],
)
async def test_a_serial_is_of_its_products_format_in_whatever_case(code: str, told: str) -> None:
    outlet = FakeOutlet()
    taken = await intake(outlet, FORMED, product="PUMP-7").take("hand", [Read(code)])
    found = [scan.unit for scan in outlet.scans] or [each.reason for each in outlet.rejected]
    assert found == [told]
    for refusal in taken.rejected:
        assert "is none of AB-####, C@#" in refusal.detail


async def test_what_did_not_fit_is_a_scan_once_the_format_is_mended() -> None:
    outlet = FakeOutlet()
    await intake(outlet, FORMED, product="PUMP-7").take("hand", [Read("AB-12345")])
    (read,) = outlet.rejected
    mended = replace(FORMED, serial_formats=("AB-####", "AB-#####"))
    again = await intake(later := FakeOutlet(), mended, product="PUMP-7").replay([read])
    assert (again.rejected, [scan.unit for scan in later.scans]) == ((), ["sn:PUMP-7.AB-12345"])


async def test_what_was_scanned_before_there_was_a_format_can_be_voided() -> None:
    outlet = FakeOutlet()
    read = Read("AB-12345", corrects="hand/1/1", event_id="7", event_time=NOON)
    await at_noon(outlet, FORMED, product="PUMP-7").take("hand", [read])
    assert [scan.corrects for scan in outlet.scans] == ["hand/1/1"]


async def test_a_parent_is_found_in_whatever_case_it_is_told() -> None:
    outlet = FakeOutlet()
    read = Read(f"01{GTIN}21A1", parent="sn:PUMP-7.ab-1234")
    await intake(outlet, FORMED).take("hand", [read])
    assert [scan.parent for scan in outlet.scans] == ["sn:PUMP-7.AB-1234"]


async def test_a_conveyor_is_not_told_to_release_what_fits_no_format(belt: Belt) -> None:
    belt.products[GTIN] = replace(NEEDED, serial_formats=("AB-####",))
    judged = await belt.verdicts.ask("exit", Read(f"01{GTIN}21A1"))
    assert (judged.verdict, judged.reason) == (Verdict.UNKNOWN, "bad_serial_format")
    assert [read.reason for read in (await belt.forwarded()).rejected] == ["bad_serial_format"]


async def test_a_recall_and_a_hold_are_found_in_whatever_case_a_unit_is_read(belt: Belt) -> None:
    belt.products[GTIN] = replace(NEEDED, fold_case=True)
    recall(belt, "R-1", GTIN, kind="list", serials=("AB1",))
    judged = await belt.verdicts.ask("exit", Read(f"01{GTIN}21ab1"))
    assert (judged.verdict, judged.reason) == (Verdict.HOLD, "recalled")
    hold = Hold(id=f"sgtin:{GTIN}.AB2", reasons=(HoldReason(id="h", text="seal"),))
    belt.notices.take(Topic.HOLDS, hold.id, encode(hold))
    judged = await belt.verdicts.ask("exit", Read(f"01{GTIN}21aB2"))
    assert (judged.verdict, judged.reason) == (Verdict.HOLD, "held")


RING = Product(id="RING-9", name="Ring", minted=True)


@pytest.mark.parametrize(
    ("product", "serial", "reasons"),
    [
        (RING, minted_serial(41), []),
        (RING, minted_serial(41)[:-1] + "0", ["bad_serial_format"]),
        (RING, "OLD-1", ["bad_serial_format"]),
        (replace(RING, serial_formats=("OLD-#",)), "OLD-1", []),
        (replace(RING, fold_case=True), minted_serial(41).lower(), []),
    ],
)
async def test_a_minted_serial_must_check(
    product: Product, serial: str, reasons: list[str]
) -> None:
    outlet = FakeOutlet()
    taken = await intake(outlet, product, product="RING-9").take("hand", [Read(serial)])
    assert [each.reason for each in taken.rejected] == reasons


# ---------------------------------------------------------------------------------- keyed


async def test_what_is_typed_waits_until_somebody_says_that_it_is_right() -> None:
    outlet = FakeOutlet()
    taking = intake(outlet, FORMED, product="PUMP-7")
    taken = await taking.take("hand", [Read("AB-1234", keyed=True)])
    assert [each.reason for each in taken.rejected] == ["keyed_unconfirmed"]
    (read,) = outlet.rejected
    assert (read.keyed, outlet.scans) == (True, [])
    for confirmed in (
        msgspec.structs.replace(read, confirmed=True),
        msgspec.structs.replace(read, unit="sn:PUMP-7.AB-1235"),
    ):
        again = await intake(later := FakeOutlet(), FORMED, product="PUMP-7").replay([confirmed])
        assert again.rejected == ()
        (scan,) = later.scans
        assert (scan.keyed, scan.event_id) == (True, read.event_id)
        assert scan.unit == (confirmed.unit or "sn:PUMP-7.AB-1234")


async def test_what_is_typed_and_confirmed_is_a_scan_that_shows_it() -> None:
    outlet = FakeOutlet()
    reads = [Read("AB-1234", keyed=True, confirmed=True), Read("AB-1235")]
    await intake(outlet, FORMED, product="PUMP-7").take("hand", reads)
    assert [scan.keyed for scan in outlet.scans] == [True, False]
