"""What a product's owner decided, at readers and conveyors: schemes of bare digits, and codes
without a serial."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from component.belt import GTIN, Belt
from component.fake_outlet import FakeOutlet
from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain.product import Captured, Product, Serials
from scantrail.domain.recall import Recall, Selector
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


def intake(outlet: FakeOutlet, *products: Product, station: str = "bench", **reader: Any) -> Intake:
    scanner = ReaderSettings(id="hand", station=station, protocol="http-generic", **reader)
    known = Known(
        {"hand": scanner},
        {each.id: each for each in (BENCH, GATE)},
        {each.id: each for each in products},
    )
    sent: Any = outlet
    return Intake("test", known, sent)


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
    ("product", "station", "passes"),
    [
        (NEEDED, "bench", False),
        (LATER, "bench", True),
        (LATER, "gate", False),
        (AT_A_CLAIM, "gate", True),
        (SOME, "gate", True),
        (CABLE, "bench", True),
        (None, "bench", False),
    ],
)
async def test_a_code_without_a_serial_is_set_aside_only_where_one_is_needed(
    product: Product | None, station: str, passes: bool
) -> None:
    outlet = FakeOutlet()
    taking = intake(outlet, *([product] if product else []), station=station)

    taken = await taking.take("hand", [Read(f"01{GTIN}", aim="]C1")])

    assert [each.reason for each in taken.rejected] == ([] if passes else ["not_a_unit"])
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
    assert (read.reason, read.asked) == ("not_a_unit", True)


@pytest.mark.parametrize("product", [SOME, AT_A_CLAIM, CABLE])
async def test_a_product_that_needs_none_leaves_and_is_counted(
    belt: Belt, product: Product
) -> None:
    assert (await ask(belt, product)).reason == "clear"
    assert (await belt.forwarded()).kept == []
    (status,) = [each for each in belt.statuses.now() if each.id == "exit"]
    assert status.counts["unserialised"] == 1


@pytest.mark.parametrize(
    ("products", "selector", "reason"),
    [
        ((GTIN,), {"kind": "all"}, "recalled"),
        # whether it is one of these nobody can tell without its serial
        ((GTIN,), {"kind": "list", "serials": ("A1",)}, "recalled"),
        ((), {"kind": "list", "serials": ("A1",)}, "clear"),
        (("PUMP-7",), {"kind": "all"}, "clear"),
    ],
)
async def test_a_recall_of_some_of_a_product_holds_all_that_show_no_serial(
    belt: Belt, products: tuple[str, ...], selector: dict[str, Any], reason: str
) -> None:
    recall(belt, "R-1", *products, **selector)
    assert (await ask(belt, CABLE)).reason == reason
    belt.notices.take(Topic.RECALLS, "R-1", None)
    assert (await ask(belt, CABLE)).reason == "clear"


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
