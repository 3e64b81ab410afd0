"""May this unit leave? With real sockets, a real Kafka and a real disk."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scantrail.contracts.records import decode_scan, encode
from scantrail.contracts.topics import Topic
from scantrail.domain.order import Order
from scantrail.domain.recall import Recall, RecallStatus, Selector
from scantrail.domain.scan import Scan
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra.embedded_kafka import EmbeddedKafka
from scantrail.infra.topic_admin import apply_topics

if TYPE_CHECKING:
    from integration.conftest import Site

HOST = "127.0.0.1"
GTIN = "09506000134352"
RECALL = Recall(
    id="R-1",
    title="Battery",
    reason="heats",
    selectors=(Selector(kind="list", serials=("R1",)),),
)


async def ask(site: "Site", serial: str, **more: Any) -> dict[str, Any]:
    question = {"station": "gate", "read": site.barcode(serial)} | more
    answer = await site.http.post(f"{site.settings.gateway_url}/verdict/v1", json=question)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def until_told(
    site: "Site", serial: str, reason: str, limit_s: float = 20.0, **more: Any
) -> None:
    async def is_told() -> bool:
        return bool((await ask(site, serial, **more))["reason"] == reason)

    await site.until(is_told, limit_s)


async def at_the_gate(site: "Site", *tables: str) -> Any:
    """A gateway that releases: what it must know, it knows."""
    site.readers(*tables)
    # What is late is tested apart: a machine that is busy must not decide what is told here.
    site.settings = replace(site.settings, verdict_deadline_ms=10_000.0)
    gate = site.station("gate", business_step=BusinessStep.SHIPPING, business_location=None)
    await site.put_station(gate)
    running = await site.start("gateway")
    await until_told(site, "warm-up", "clear")
    return running


async def scans_of(site: "Site", serial: str, count: int) -> list[Scan]:
    """The scans of a unit, in their order, once there are `count`."""
    log = await site.log(Topic.SCANS)
    key = site.unit(serial).encode()

    async def found() -> list[Scan]:
        records = [each for each in await log.records() if each.key == key]
        return [decode_scan(each.key, each.value) for each in records]

    async def enough() -> bool:
        return len(await found()) >= count

    await site.until(enough)
    scans = await found()
    assert len(scans) == count
    return scans


@contextmanager
def frozen(kafka: EmbeddedKafka) -> Iterator[None]:
    """The broker stands still meanwhile."""
    pid = kafka.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_a_recall_holds_within_a_second_of_its_publication_and_its_end_releases(
    site: "Site",
) -> None:
    await at_the_gate(site)
    assert (await ask(site, "R1"))["verdict"] == "release"
    await site.publish(Topic.RECALLS, RECALL.id, encode(RECALL))
    await until_told(site, "R1", "recalled", limit_s=1.0)
    assert (await ask(site, "R2"))["verdict"] == "release"
    closed = replace(RECALL, status=RecallStatus.CLOSED, version=2)
    await site.publish(Topic.RECALLS, RECALL.id, encode(closed))
    await until_told(site, "R1", "clear", limit_s=1.0)


async def test_a_hold_that_a_person_enters_holds_and_its_end_releases(site: "Site") -> None:
    await at_the_gate(site)
    await site.start("api")
    address = f"/holds/{site.barcode('A1')}/QA-1"
    assert (await site.ask("PUT", address, json={"text": "Scratched"})).json()["published"]
    await until_told(site, "A1", "held", limit_s=1.0)
    assert (await ask(site, "A1"))["detail"] == f"{site.unit('A1')} is held (QA-1: Scratched)"
    assert (await site.ask("DELETE", address)).json()["published"]
    await until_told(site, "A1", "clear", limit_s=1.0)


async def test_a_question_is_recorded_as_waiting_to_leave_and_a_hold_as_holding(
    site: "Site",
) -> None:
    await site.publish(Topic.RECALLS, RECALL.id, encode(RECALL))
    await site.publish(Topic.ORDERS, "SO-1", encode(Order(id="SO-1")))
    await at_the_gate(site)
    await until_told(site, "warm-up", "clear", order="SO-1")
    assert (await ask(site, "A1", order="SO-1"))["verdict"] == "release"
    assert (await ask(site, "R1"))["verdict"] == "hold"
    (asked,) = await scans_of(site, "A1", 1)
    assert (asked.business_step, asked.station, asked.possessing_party) == (
        BusinessStep.STAGING_OUTBOUND,
        "gate",
        None,
    )
    assert asked.transactions[0].id == "SO-1"
    steps = [scan.business_step for scan in await scans_of(site, "R1", 2)]
    assert steps == [BusinessStep.STAGING_OUTBOUND, BusinessStep.HOLDING]


@pytest.mark.alone
async def test_the_answer_does_not_wait_for_kafka_and_what_was_asked_is_not_lost(
    site: "Site", kafka: EmbeddedKafka
) -> None:
    await at_the_gate(site)
    with frozen(kafka):
        begin = time.monotonic()
        told = [await ask(site, f"A{n}") for n in range(5)]
        assert time.monotonic() - begin < site.settings.ack_limit_s
        assert [each["verdict"] for each in told] == ["release"] * 5
    for n in range(5):
        (scan,) = await scans_of(site, f"A{n}", 1)
        assert scan.business_step is BusinessStep.STAGING_OUTBOUND


async def test_without_contact_to_kafka_nothing_is_released_until_there_is_contact_again(
    tmp_path: Path, own_kafka: EmbeddedKafka, make_settings: Any, open_site: Any
) -> None:
    settings = replace(make_settings(tmp_path, own_kafka.address), verdict_stale_s=3.0)
    await apply_topics(settings)
    async with open_site(settings) as site:
        running = await at_the_gate(site)
        with frozen(own_kafka):
            assert (await ask(site, "A1"))["verdict"] == "release"  # not yet too old
            await until_told(site, "A1", "stale")
            assert running.health.lacking == []  # reads are still taken, to disk
        await until_told(site, "A1", "clear")
        await site.stop(running)
        await site.close_clients()
        own_kafka.kill()
        await site.start("gateway")
        assert (await ask(site, "A1"))["reason"] == "not_ready"


async def test_what_a_link_or_a_product_may_mean_that_cannot_be_read_is_held(site: "Site") -> None:
    running = await at_the_gate(site)
    for topic, key in ((Topic.PRODUCTS, GTIN), (Topic.IDENTIFIERS, site.unit("A2"))):
        await site.publish(topic, key, b"{")
        await until_told(site, "A1", "not_ready")
        assert f"{topic} of {key}" in (await ask(site, "A1"))["detail"]
        await site.publish(topic, key, None)
        await until_told(site, "A1", "clear")
    assert running.health.lacking == []


def asking(port: int, *more: str) -> str:
    lines = ['id = "exit"', 'station = "gate"', f'address = "{HOST}:{port}"', 'mode = "listen"']
    return "\n".join([*lines, *more])


async def test_a_line_is_answered_read_by_read(site: "Site", port: int) -> None:
    await site.publish(Topic.RECALLS, RECALL.id, encode(RECALL))
    await at_the_gate(site, asking(port, 'protocol = "tcp"', "verdict = true"))
    stream, writer = await asyncio.open_connection(HOST, port)
    reads = [site.barcode("A1"), site.barcode("R1"), "NoRead", "4711"]
    writer.write("".join(f"{read}\r\n" for read in reads).encode())
    answers = [await asyncio.wait_for(stream.readline(), 10) for _ in reads]
    assert answers == [
        b"RELEASE clear\r\n",
        b"HOLD recalled\r\n",
        b"UNKNOWN no_read\r\n",
        b"UNKNOWN unidentified_serial\r\n",
    ]
    writer.close()
    await writer.wait_closed()
    (scan,) = await scans_of(site, "A1", 1)
    assert (scan.reader, scan.business_step) == ("exit", BusinessStep.STAGING_OUTBOUND)


def telegram(kind: str, body: str, seq: int) -> bytes:
    return f"###00160SPS01MFC__{seq:05}{kind}{body}".ljust(160, "*").encode()


@pytest.mark.alone
async def test_a_controller_is_answered_within_its_time_and_its_unit_ships_at_the_exit(
    site: "Site", port: int
) -> None:
    lines = ['protocol = "tcp-osip"', 'product = "PUMP-7"', "[reader.osip.locations]", 'OUT="gate"']
    await at_the_gate(site, asking(port, *lines))
    stream, writer = await asyncio.open_connection(HOST, port)
    fields = "SN1".ljust(20, "*") + "SCAN".ljust(20, "*") + "OUT".ljust(20, "*") + "0" * 22

    async def answered(sent: bytes) -> str:
        writer.write(sent)
        return (await asyncio.wait_for(stream.readexactly(160), 10)).decode()

    assert (await answered(telegram("SYNQ", "20260301120000", 1)))[23:27] == "SYNC"
    begin = time.monotonic()
    answer = await answered(telegram("REQ_", fields, 2))
    assert time.monotonic() - begin < 0.15
    assert (answer[18:27], answer[67:95]) == ("00002RES_", "OUT".ljust(20, "*") + "00000000")
    writer.write(telegram("UPD_", "SN1".ljust(20, "*") + "OUT".ljust(20, "*") + "0" * 22, 3))
    await answered(telegram("SYNQ", "20260301120000", 4))  # after it
    writer.close()
    await writer.wait_closed()
    records = await site.log(Topic.SCANS)

    async def shipped() -> list[str]:
        found = [each for each in await records.records() if each.key == b"sn:PUMP-7.SN1"]
        steps = [decode_scan(each.key, each.value).business_step for each in found]
        return [step.value for step in steps] if len(steps) >= 2 else []

    assert await site.until(shipped) == ["staging_outbound", "shipping"]


async def test_a_full_disk_for_questions_holds(site: "Site") -> None:
    site.settings = replace(site.settings, spool_bytes_max=100)
    await site.put_station(site.station("gate"))
    await site.start("gateway")
    await until_told(site, "A1", "not_recorded")
    assert (await ask(site, "A1"))["verdict"] == "hold"


async def order(site: "Site", reference: str, **lines: int) -> None:
    """Enter an order over the api; `_` stands for the product of these units."""
    body = {
        "purchaser": {"name": "Ada Byron", "address": "1 Dock Road, York"},
        "lines": [
            {"product": GTIN if name == "_" else name, "quantity": quantity}
            for name, quantity in lines.items()
        ],
    }
    answer = await site.ask("PUT", f"/orders/{reference}", json=body)
    assert answer.json()["published"], answer.text


async def test_a_wrong_product_and_one_too_many_are_held_and_a_restart_forgets_no_release(
    site: "Site",
) -> None:
    await site.start("api")
    running = await at_the_gate(site)
    await order(site, "SO-1", _=2, cable=1)
    await order(site, "SO-2", cable=1)
    await until_told(site, "A1", "clear", order="SO-1")
    await until_told(site, "B1", "wrong_product", order="SO-2")
    assert [(await ask(site, each, order="SO-1"))["reason"] for each in ("A2", "A3", "A1")] == [
        "clear",
        "one_too_many",
        "clear",
    ]
    await site.stop(running)
    await site.start("gateway")
    # What is too many is told before all else is known, and who is held then is counted no more.
    await until_told(site, "warm-up", "clear")
    await until_told(site, "A3", "one_too_many", order="SO-1")
    assert [(await ask(site, each, order="SO-1"))["verdict"] for each in ("A1", "A2", "A3")] == [
        "release",
        "release",
        "hold",
    ]
    await order(site, "SO-1", _=3)
    await until_told(site, "A3", "clear", limit_s=2.0, order="SO-1")
    assert (await ask(site, "A4", order="SO-1"))["reason"] == "one_too_many"
    records = await (await site.log(Topic.ORDERS)).until(3)
    assert not [record for record in records if b"Ada" in record.value or b"York" in record.value]


async def test_an_order_that_nobody_entered_holds_until_it_is_or_releases_by_setting(
    site: "Site",
) -> None:
    await site.start("api")
    running = await at_the_gate(site)
    await until_told(site, "A1", "unknown_order", order="SO 7/1")
    await order(site, "SO%207/1", _=1)
    await until_told(site, "A1", "clear", limit_s=2.0, order="SO 7/1")
    await site.stop(running)
    site.settings = replace(site.settings, verdict_unknown_order="release")
    await site.start("gateway")
    await until_told(site, "A1", "clear", order="SO-8")
    await order(site, "SO-8", _=1)
    await until_told(site, "A2", "one_too_many", order="SO-8")


async def test_a_line_names_its_order(site: "Site", port: int) -> None:
    await site.publish(Topic.ORDERS, "SO-1", encode(Order(id="SO-1")))
    pattern = "pattern = '(?P<order>[^;]*);(?P<read>.+)'"
    await at_the_gate(site, asking(port, 'protocol = "tcp"', "verdict = true", pattern))
    await until_told(site, "warm-up", "clear", order="SO-1")
    stream, writer = await asyncio.open_connection(HOST, port)
    writer.write(f"SO-1;{site.barcode('A1')}\r\nSO-2;{site.barcode('A1')}\r\n".encode())
    answers = [await asyncio.wait_for(stream.readline(), 10) for _ in range(2)]
    assert answers == [b"RELEASE clear\r\n", b"HOLD unknown_order\r\n"]
    writer.close()
    await writer.wait_closed()


async def test_a_disk_that_takes_no_order_holds_what_names_one_until_it_takes_them_again(
    site: "Site", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scantrail.gateway.orders.RETRY_S", 0.05)
    await at_the_gate(site)
    await site.publish(Topic.ORDERS, "SO-1", encode(Order(id="SO-1")))
    await until_told(site, "A1", "clear", order="SO-1")
    with monkeypatch.context() as patched:
        patched.setattr("scantrail.gateway.orders._TAKE", "INSERT INTO a_broken_file VALUES (?, ?)")
        await site.publish(Topic.ORDERS, "SO-2", encode(Order(id="SO-2")))
        await until_told(site, "A1", "not_ready", order="SO-1")
        assert (await ask(site, "A1"))["reason"] == "clear"
        await site.until_logged("orders cannot be written", 2)
    for reference in ("SO-1", "SO-2"):
        await until_told(site, "A1", "clear", order=reference)
