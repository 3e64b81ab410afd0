"""Questions that name an order: a wrong product, one too many, and what cannot be told."""

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from component.belt import CONFIRMED, GTIN, NOW, READERS, RECALL, Belt, Line, code, unit
from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain.order import Order
from scantrail.domain.verdict import Verdict
from scantrail.gateway.contexts import Context, ContextSettings
from scantrail.gateway.conveyor_settings import ANSWERS_DEFAULT
from scantrail.gateway.conveyors import answer_lines
from scantrail.gateway.decoders.outcome import Read
from scantrail.gateway.decoders.text import TextDecoder
from scantrail.gateway.orders import Orders
from scantrail.gateway.readers import ReaderSettings
from scantrail.gateway.spool import SpoolFull

PHONE = "imei:35693803564380"


def unreadable_orders() -> float | None:
    return REGISTRY.get_sample_value("scantrail_records_unreadable", {"topic": "orders"})


@pytest.fixture
async def belt(tmp_path: Path) -> AsyncIterator[Belt]:
    belt = Belt(tmp_path, deadline_s=10.0).ready()  # a disk that is busy makes nothing late
    yield belt
    await belt.close()


async def reasons(belt: Belt, *serials: str, order: str = "SO-1") -> list[str]:
    return [(await belt.ask(serial, order)).reason for serial in serials]


async def test_a_product_that_no_line_asks_for_is_held_and_recorded_as_holding(belt: Belt) -> None:
    belt.order("SO-1", cable=3)
    judged = await belt.ask("A1", "SO-1")
    assert (judged.verdict, judged.reason) == (Verdict.HOLD, "wrong_product")
    assert judged.detail == f"{unit('A1')} is of {GTIN}, for which order SO-1 has no line"
    assert [step for _, step in await belt.steps()] == ["staging_outbound", "holding"]
    assert [scan.transactions[0].id for scan in belt.outlet.scans] == ["SO-1", "SO-1"]
    belt.order("SO-1", cable=3, _=1)
    assert await reasons(belt, "A1") == ["clear"]


async def test_as_many_different_units_as_the_lines_ask_for_are_released_and_each_again(
    belt: Belt,
) -> None:
    belt.order("SO-1", _=2, cable=5)
    assert await reasons(belt, "A1", "A1", "A2", "A3", "A1", "A2", "A3") == [
        "clear",
        "clear",
        "clear",
        "one_too_many",
        "clear",
        "clear",
        "one_too_many",
    ]
    judged = await belt.ask("A3", "SO-1")
    told = f"order SO-1 asks for 2 of {GTIN}, and 2 other units of it were released"
    assert (judged.verdict, judged.detail) == (Verdict.HOLD, told)


async def test_lines_of_one_product_add_up_and_a_later_version_counts_at_once(belt: Belt) -> None:
    line = {"product": GTIN, "quantity": 1}
    value = encode({"id": "SO-1", "lines": [line, line], "version": 1})
    belt.orders.take("SO-1", value)
    assert await reasons(belt, "A1", "A2", "A3") == ["clear", "clear", "one_too_many"]
    belt.order("SO-1", _=3)
    assert await reasons(belt, "A3", "A4") == ["clear", "one_too_many"]


async def test_of_questions_that_come_at_once_no_more_are_released(belt: Belt) -> None:
    belt.order("SO-1", _=3)
    judged = await asyncio.gather(*(belt.ask(f"A{n}", "SO-1") for n in range(8)))
    assert [each.reason for each in judged].count("clear") == 3
    assert [each.reason for each in judged].count("one_too_many") == 5


@pytest.mark.parametrize("named", ["SO-1", None], ids=["for-the-order", "for-none"])
async def test_a_unit_that_is_held_after_its_release_gives_its_place_back(
    belt: Belt, tmp_path: Path, named: str | None
) -> None:
    belt.order("SO-1", _=1)
    assert await reasons(belt, "A1", "A2") == ["clear", "one_too_many"]
    belt.hold("A1", "QA-1")
    assert (await belt.ask("A1", named)).reason == "held"
    assert await reasons(belt, "A2", "A3") == ["clear", "one_too_many"]


async def test_a_unit_counts_for_the_order_for_which_it_was_released_last(belt: Belt) -> None:
    belt.order("SO-1", _=1)
    belt.order("SO-2", _=1)
    assert await reasons(belt, "A1") == ["clear"]
    assert await reasons(belt, "A1", "A2", order="SO-2") == ["clear", "one_too_many"]
    assert await reasons(belt, "A2", "A3") == ["clear", "one_too_many"]
    assert (await belt.ask("A2")).reason == "clear"  # without an order it stays where it is
    assert await reasons(belt, "A3") == ["one_too_many"]


async def test_what_was_released_is_known_after_a_restart_and_so_is_what_was_taken_back(
    tmp_path: Path,
) -> None:
    belt = Belt(tmp_path).ready()
    belt.order("SO-1", _=2)
    assert await reasons(belt, "A1", "A2") == ["clear", "clear"]
    belt.hold("A2", "QA-1")
    assert await reasons(belt, "A2") == ["held"]
    await belt.close()
    again = Belt(tmp_path).ready()
    assert await reasons(again, "A9") == ["unknown_order"]  # orders come from Kafka, each time
    again.order("SO-1", _=2)
    assert await reasons(again, "A3", "A2", "A1") == ["clear", "one_too_many", "clear"]
    await again.close()


async def test_a_release_that_came_too_late_counts_neither_now_nor_after_a_restart(
    tmp_path: Path,
) -> None:
    belt = Belt(tmp_path, deadline_s=0.05).ready()
    belt.order("SO-1", _=1)
    goes_on = asyncio.Event()
    append = belt.journal.append
    belt.disk_waits_for(goes_on)
    assert await reasons(belt, "A1") == ["late"]
    goes_on.set()
    await belt.verdicts.stop()
    belt.journal.append = append  # type: ignore[method-assign]
    assert belt.journal.rows("SELECT unit FROM released") == []
    assert await reasons(belt, "A2", "A1") == ["clear", "one_too_many"]
    await belt.close()


async def test_a_unit_that_was_told_release_meanwhile_counts_though_it_was_late_before(
    tmp_path: Path,
) -> None:
    belt = Belt(tmp_path, deadline_s=60, stale_s=600).ready()
    belt.order("SO-1", _=1)
    goes_on = asyncio.Event()
    belt.disk_waits_for(goes_on)
    first = asyncio.create_task(belt.ask("A1", "SO-1"))
    await asyncio.sleep(0)
    belt.at += 59
    second = asyncio.create_task(belt.ask("A1", "SO-1"))
    await asyncio.sleep(0)
    belt.at += 2
    goes_on.set()
    assert [(await first).reason, (await second).reason] == ["late", "clear"]
    await belt.verdicts.stop()
    assert belt.journal.rows("SELECT unit FROM released") == [(unit("A1"),)]
    assert await reasons(belt, "A2") == ["one_too_many"]
    await belt.close()


async def test_a_release_that_could_not_be_recorded_does_not_count(
    belt: Belt, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: Any) -> None:
        raise SpoolFull("no room")

    belt.order("SO-1", _=1)
    with monkeypatch.context() as patched:
        patched.setattr(belt.journal, "append", full)
        assert await reasons(belt, "A1") == ["not_recorded"]
    assert await reasons(belt, "A2", "A1") == ["clear", "one_too_many"]


# ---------------------------------------------------------------------------- which product, order


async def test_the_product_of_a_unit_is_told_by_any_of_its_keys(belt: Belt) -> None:
    belt.order("SO-1", _=1)
    assert await reasons(belt, "A1") == ["clear"]
    belt.keys[PHONE] = (PHONE, unit("A1"), unit("B7"))  # linked after its release
    assert await reasons(belt, "B7", "A1", "A2") == ["clear", "clear", "one_too_many"]
    judged = await belt.verdicts.ask("exit", Read("356938035643809", order="SO-1"))
    assert judged.reason == "clear"
    belt.order("SO-2", **{"PUMP-7": 1})
    assert await reasons(belt, "B7", order="SO-2") == ["wrong_product"]
    belt.keys[PHONE] = (PHONE, "sn:PUMP-7.9", unit("A1"))
    assert await reasons(belt, "A1", order="SO-2") == ["clear"]


async def test_a_unit_of_which_nobody_knows_the_product_is_held_for_an_order_with_lines(
    belt: Belt,
) -> None:
    belt.order("SO-1", _=1)
    belt.order("SO-2")
    read = Read("356938035643809")
    judged = await belt.verdicts.ask("exit", replace(read, order="SO-1"))
    assert (judged.verdict, judged.reason) == (Verdict.HOLD, "unknown_product")
    assert judged.detail.startswith(f"nothing tells of which product {PHONE} is, and order SO-1")
    assert (await belt.verdicts.ask("exit", replace(read, order="SO-2"))).reason == "clear"
    assert (await belt.verdicts.ask("exit", read)).reason == "clear"


async def test_a_unit_whose_keys_cannot_be_read_is_of_no_wrong_product(belt: Belt) -> None:
    belt.order("SO-1", cable=1)
    belt.keys[unit("A1")] = None
    assert await reasons(belt, "A1") == ["not_ready"]


async def test_a_carton_is_not_held_against_its_order(belt: Belt) -> None:
    belt.order("SO-1", _=1)
    for reference in ("SO-1", "SO-unknown"):
        read = Read("00395060001343520001", order=reference)
        assert (await belt.verdicts.ask("exit", read)).reason == "clear"
    assert await reasons(belt, "A1") == ["clear"]


async def test_an_order_that_nobody_entered_holds(belt: Belt) -> None:
    judged = await belt.ask("A1", "SO-9")
    assert (judged.verdict, judged.reason) == (Verdict.HOLD, "unknown_order")
    assert judged.detail.startswith("order SO-9 was not entered")
    belt.order("SO-9", _=1)
    assert await reasons(belt, "A1", order="SO-9") == ["clear"]
    belt.orders.take("SO-9", None)
    assert await reasons(belt, "A1", order="SO-9") == ["unknown_order"]


async def test_where_orders_may_come_later_their_units_are_released_and_count_all_the_same(
    tmp_path: Path,
) -> None:
    belt = Belt(tmp_path, unknown_order=Verdict.RELEASE).ready()
    assert await reasons(belt, "A1", "A2") == ["clear", "clear"]
    belt.order("SO-1", _=2)
    assert await reasons(belt, "A3", "A1") == ["one_too_many", "clear"]
    belt.order("SO-1", cable=2)
    assert await reasons(belt, "A1") == ["wrong_product"]
    await belt.close()


async def test_an_order_without_lines_says_nothing(belt: Belt) -> None:
    belt.order("SO-1")
    assert await reasons(belt, "A1", "A2") == ["clear", "clear"]
    belt.order("SO-1", _=2)  # its lines come later
    assert await reasons(belt, "A3", "A2") == ["one_too_many", "clear"]


@pytest.mark.parametrize("unknown", [Verdict.HOLD, Verdict.RELEASE])
async def test_of_an_order_whose_newest_record_cannot_be_read_nothing_is_released(
    tmp_path: Path, unknown: Verdict
) -> None:
    belt = Belt(tmp_path, unknown_order=unknown).ready()
    cancelled = b'{"id": "SO-1", "lines": [{"product": "cable", "quantity": 0}]}'
    belt.order("SO-1", cable=1)
    belt.orders.take("SO-1", cancelled)
    belt.orders.take("SO-2", cancelled)
    assert unreadable_orders() == 2
    assert await reasons(belt, "A1") == ["wrong_product"]  # the one before it has no line either
    judged = await belt.ask("A1", "SO-2")
    told = "what was entered last of order SO-2 cannot be read: PUT it again"
    assert (judged.verdict, judged.reason, judged.detail) == (Verdict.HOLD, "not_ready", told)
    assert (await belt.ask("A1")).reason == "clear"
    belt.order("SO-1", _=1)
    belt.order("SO-2", _=1)
    assert unreadable_orders() == 0
    assert await reasons(belt, "A1") == ["clear"]
    assert await reasons(belt, "A1", order="SO-2") == ["clear"]
    belt.orders.take("SO-2", cancelled)
    assert unreadable_orders() == 1
    belt.orders.take("SO-2", None)
    assert unreadable_orders() == 0
    await belt.close()


async def test_what_is_known_against_a_unit_is_told_before_its_order(belt: Belt) -> None:
    belt.order("SO-1", cable=1)
    belt.notices.take(Topic.RECALLS, RECALL.id, encode(RECALL))
    belt.hold("A1", "QA-1")
    assert await reasons(belt, "R1", "A1", "A2") == ["recalled", "held", "wrong_product"]


async def test_only_questions_that_name_an_order_wait_for_orders(tmp_path: Path) -> None:
    belt = Belt(tmp_path)
    for topic in CONFIRMED:
        belt.notices.confirm(topic, belt.at)
    belt.order("SO-1", cable=1)
    assert [(await belt.ask("A1", order)).reason for order in (None, "SO-2")] == [
        "clear",
        "not_ready",
    ]
    assert await reasons(belt, "A1") == ["wrong_product"]  # what is known keeps it here already
    belt.orders.confirm(belt.at)
    assert await reasons(belt, "A1", order="SO-2") == ["unknown_order"]
    belt.at += 31
    for topic in CONFIRMED:
        belt.notices.confirm(topic, belt.at)
    assert [(await belt.ask("A1", order)).reason for order in (None, "SO-2")] == ["clear", "stale"]
    await belt.close()


async def test_a_disk_from_which_no_order_can_be_read_holds_what_names_one(tmp_path: Path) -> None:
    belt = Belt(tmp_path).ready()
    belt.order("SO-1", _=1)
    belt.orders.close()
    assert await reasons(belt, "A1") == ["not_ready"]
    assert (await belt.ask("A1")).reason == "clear"
    await belt.close()


def test_the_copy_begins_empty_at_every_start_whatever_the_file_is(tmp_path: Path) -> None:
    for left_behind in (b"", b"no database", b"\0" * 10_000):
        (tmp_path / "orders.db").write_bytes(left_behind)
        orders = Orders(tmp_path)
        assert (orders.find("SO-1"), orders.confirmed_s()) == (None, None)
        orders.take("SO-1", encode(Order(id="SO-1", version=7)))
        assert orders.find("SO-1") == Order(id="SO-1", version=7)
        orders.take("SO-2", b"{")
        assert orders.is_unreadable("SO-2")
        orders.close()
    with sqlite3.connect(tmp_path / "orders.db") as db:
        assert db.execute("SELECT ref FROM known").fetchall() == [("SO-1",)]
    db.close()
    orders = Orders(tmp_path)
    assert orders.find("SO-1") is None
    assert not orders.is_unreadable("SO-2")
    assert unreadable_orders() == 0
    orders.close()


# -------------------------------------------------------------------------- where the order is told


async def test_a_line_may_name_its_order(belt: Belt) -> None:
    reader = ReaderSettings(
        id="exit",
        station="gate",
        protocol="tcp",
        pattern=re.compile(r"(?P<order>[^;]*);(?P<read>.+)"),
    )
    belt.order("SO-1", _=1)
    belt.order("SO-2", cable=1)
    lines = [f"SO-1;{code('A1')}", f"SO-1;{code('A2')}", f"SO-2;{code('A3')}", f";{code('A4')}"]
    outcomes = TextDecoder(reader).feed("".join(f"{line}\r\n" for line in lines).encode())
    line = Line()
    await answer_lines(reader, ANSWERS_DEFAULT, outcomes, belt.verdicts, line.send)
    assert b"".join(line.sent) == (
        b"RELEASE clear\r\nHOLD one_too_many\r\nHOLD wrong_product\r\nRELEASE clear\r\n"
    )


async def test_an_order_that_was_scanned_at_the_reader_holds_for_its_questions(
    belt: Belt, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ContextSettings(order=re.compile("SO-.+"), timeout_s=60)
    desk = ReaderSettings(id="desk", station="gate", protocol="http-generic", context=context)
    monkeypatch.setitem(READERS, "desk", desk)
    belt.order("SO-1", _=1)
    belt.order("SO-2", cable=1)
    belt.contexts.hold("desk", Context().with_set("order", "SO-2", NOW))
    told = [
        (await belt.verdicts.ask("desk", Read(code("A1"), order=order))).reason
        for order in (None, "SO-1")
    ]
    assert told == ["wrong_product", "clear"]
    await belt.forwarded()
    orders = [scan.transactions[0].id for scan in belt.outlet.scans]
    assert orders == ["SO-2", "SO-2", "SO-1"]


async def test_what_can_be_no_orders_reference_names_none(belt: Belt) -> None:
    judged = await belt.ask("A1", "SO\n1")
    assert (judged.verdict, judged.reason) == (Verdict.UNKNOWN, "bad_order")
