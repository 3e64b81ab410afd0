"""Questions of conveyors with a journal on a real disk: what is answered, and what is recorded."""

import asyncio
import contextlib
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY

from component.belt import CONFIRMED, GATE, GTIN, NOW, READERS, RECALL, Belt, Line, code, unit
from scantrail.contracts.records import encode, products
from scantrail.contracts.topics import Topic
from scantrail.domain.hold import Clearance, Hold
from scantrail.domain.product import Product, Serials
from scantrail.domain.recall import Selector
from scantrail.domain.verdict import Verdict
from scantrail.gateway.conveyor_settings import ANSWERS_DEFAULT
from scantrail.gateway.conveyors import Controller, answer_lines
from scantrail.gateway.copies import Copy
from scantrail.gateway.decoders.osip import OsipDecoder
from scantrail.gateway.decoders.outcome import Heartbeat, Invalid, NoRead, Read
from scantrail.gateway.guards import Guards
from scantrail.gateway.http import build_http
from scantrail.gateway.intake import Intake
from scantrail.gateway.notices import Notices
from scantrail.gateway.readers import ReaderSettings
from scantrail.gateway.scans import Known
from scantrail.gateway.spool import SpoolFull
from scantrail.gateway.tcp import serve_reader
from scantrail.gateway.verdict_http import build_verdict
from scantrail.infra.tokens import new_token


@pytest.fixture
async def belt(tmp_path: Path) -> AsyncIterator[Belt]:
    belt = Belt(tmp_path, deadline_s=10.0).ready()  # a disk that is busy makes nothing late
    yield belt
    await belt.close()


# ---------------------------------------------------------------------------------- verdicts


async def test_a_release_is_recorded_as_waiting_to_leave(belt: Belt) -> None:
    judged = await belt.ask("A1")
    assert (judged.verdict, judged.reason) == (Verdict.RELEASE, "clear")
    assert belt.journal.count == 1  # on disk, before anybody knows of it
    (scan,) = (await belt.forwarded()).scans
    assert (scan.unit, scan.business_step, scan.station) == (unit("A1"), "staging_outbound", "gate")
    assert (scan.reader, scan.possessing_party, scan.business_location) == ("exit", None, None)
    assert (scan.event_time, scan.record_time, scan.read) == (NOW, NOW, code("A1"))


async def test_a_hold_is_recorded_as_asked_for_and_then_holding(belt: Belt) -> None:
    belt.hold("A1", "QA-1")
    judged = await belt.ask("A1")
    assert (judged.verdict, judged.reason) == (Verdict.HOLD, "held")
    asked, held = (await belt.forwarded()).scans
    assert (asked.business_step, held.business_step) == ("staging_outbound", "holding")
    assert asked.event_id != held.event_id
    assert (asked.event_time, asked.station) == (held.event_time, held.station)
    assert asked.sequence < held.sequence  # the hold is the later one at the same time


BY_LOT = replace(
    RECALL, id="R-9", products=(GTIN,), selectors=(Selector(kind="lot", lots=("L1",)),), version=3
)


@pytest.mark.parametrize(
    ("read", "reason"),
    [
        (Read(f"01{GTIN}21A1\x1d10L1"), "recalled"),
        (Read(f"01{GTIN}21A1\x1d10L2"), "clear"),
        (Read(code("A1"), lot="L1"), "recalled"),
        (Read(code("A1")), "recall_undecided"),
        (Read("010950600013436921A1"), "clear"),  # another product
    ],
    ids=["lot", "other lot", "lot beside", "no lot", "other product"],
)
async def test_a_recall_by_lot_holds_what_it_means_and_what_it_cannot_tell(
    belt: Belt, read: Read, reason: str
) -> None:
    belt.notices.take(Topic.RECALLS, BY_LOT.id, encode(BY_LOT))
    assert (await belt.verdicts.ask("exit", read)).reason == reason


@pytest.mark.parametrize(
    ("version", "reason"), [(3, "clear"), (None, "clear"), (2, "recall_undecided")]
)
async def test_a_unit_that_is_cleared_of_a_recall_may_leave(
    belt: Belt, version: int | None, reason: str
) -> None:
    """Of that version of it, or of any."""
    belt.notices.take(Topic.RECALLS, BY_LOT.id, encode(BY_LOT))
    cleared = (Clearance(recall=BY_LOT.id, version=version),)
    hold = Hold(id=unit("A1"), reasons=(), cleared=cleared)
    belt.notices.take(Topic.HOLDS, hold.id, encode(hold))
    assert (await belt.ask("A1")).reason == reason
    # What is read tells more than what was known of it; only a remedy ends that.
    told = await belt.verdicts.ask("exit", Read(code("A1"), lot="L1"))
    assert told.reason == ("clear" if version is None else "recalled")
    belt.notices.take(Topic.HOLDS, hold.id, None)
    assert (await belt.ask("A1")).reason == "recall_undecided"


async def test_each_change_counts_at_once(belt: Belt) -> None:
    told = []
    for change in ("none", "recall", "close", "hold", "release"):
        if change in ("recall", "close"):
            value = encode(RECALL) if change == "recall" else None
            belt.notices.take(Topic.RECALLS, RECALL.id, value)
        if change in ("hold", "release"):
            belt.hold("R1", *(["QA-1"] if change == "hold" else []))
        told.append((await belt.ask("R1")).reason)
    assert told == ["clear", "recalled", "clear", "held", "clear"]


async def test_what_cannot_be_read_leaves_what_was_known(belt: Belt) -> None:
    belt.hold("A1", "QA-1")
    belt.notices.take(Topic.HOLDS, unit("A1"), b"{")
    belt.notices.take(Topic.RECALLS, RECALL.id, encode(RECALL))
    belt.notices.take(Topic.RECALLS, RECALL.id, encode(replace(RECALL, selectors=())))
    assert [(await belt.ask(each)).reason for each in ("A1", "R1")] == ["held", "recalled"]


UNREADABLE_RECALL = {
    "id": "R-2",
    "title": "t",
    "reason": "r",
    "products": [GTIN],
    "selectors": [{"kind": "pattern", "pattern": "A?"}],
    "status": "active",
    "version": 2,
}


async def test_a_hold_that_cannot_be_read_holds_until_it_can_or_is_deleted(belt: Belt) -> None:
    told = {"id": unit("A1"), "reasons": [{"id": "x", "text": 7}], "version": 1}
    for after in (None, "readable"):
        belt.notices.take(Topic.HOLDS, unit("A1"), json.dumps(told).encode())
        judged = await belt.ask("A1")
        assert (judged.verdict, judged.reason) == (Verdict.HOLD, "held")
        assert "cannot be read" in judged.detail
        assert (await belt.ask("A2")).verdict is Verdict.RELEASE
        belt.hold("A1", *(["QA-1"] if after else []))
        judged = await belt.ask("A1")
        assert judged.reason == ("held" if after else "clear")
        assert "cannot be read" not in judged.detail


@pytest.mark.parametrize(
    "value",
    [
        b"{",
        json.dumps(UNREADABLE_RECALL | {"products": []}).encode(),
        json.dumps(UNREADABLE_RECALL | {"products": "PUMP-7"}).encode(),
        json.dumps(UNREADABLE_RECALL | {"products": ["PUMP-7", 7]}).encode(),
        json.dumps(UNREADABLE_RECALL | {"products": [GTIN[1:]]}).encode(),
        json.dumps(UNREADABLE_RECALL).encode(),
        encode(replace(RECALL, id="R-2", selectors=())),
    ],
)
async def test_while_a_recall_cannot_be_read_nothing_that_it_may_mean_is_released(
    belt: Belt, value: bytes
) -> None:
    for after in (encode(replace(RECALL, id="R-2")), None):
        belt.notices.take(Topic.RECALLS, "R-2", value)
        belt.notices.take(Topic.RECALLS, "R-3", b"")
        judged = await belt.ask("A1")
        assert (judged.verdict, judged.reason) == (Verdict.HOLD, "not_ready")
        assert "R-2, R-3" in judged.detail
        belt.notices.take(Topic.RECALLS, "R-3", None)
        assert (await belt.ask("A1")).reason == "not_ready"
        belt.notices.take(Topic.RECALLS, "R-2", after)
        assert (await belt.ask("A1")).reason == "clear"


async def test_a_recall_that_cannot_be_read_bars_no_product_that_it_does_not_name(
    belt: Belt,
) -> None:
    told = UNREADABLE_RECALL | {"products": ["PUMP-7"]}
    belt.notices.take(Topic.RECALLS, "R-2", json.dumps(told).encode())
    assert (await belt.ask("A1")).reason == "clear"
    assert (await belt.verdicts.ask("plain", Read("SN1"))).reason == "not_ready"
    judged = await belt.verdicts.ask("exit", Read("imei:35693803564380"))
    assert judged.reason == "not_ready"  # of which product it is, is not told


#: As a later release may write it.
UNREADABLE_PRODUCT = {"id": "PUMP-7", "name": "pump", "fold_case": True, "captured": "loading_dock"}


async def test_while_a_product_cannot_be_read_no_unit_of_it_is_released(
    belt: Belt, tmp_path: Path
) -> None:
    """Whether `ab2` is `AB2` is not known."""
    copy = Copy(Topic.PRODUCTS, products, tmp_path, belt.notices.note_product)
    copy.by_id = belt.products
    listed = replace(RECALL, selectors=(Selector(kind="list", serials=("AB2",)),))
    belt.notices.take(Topic.RECALLS, RECALL.id, encode(listed))
    asked = partial(belt.verdicts.ask, "plain", Read("ab2"))
    for before in (None, encode(Product(id="PUMP-7", name="pump"))):
        copy._take("PUMP-7", before)
        assert (await asked()).reason == "clear"
        copy._take("PUMP-7", json.dumps(UNREADABLE_PRODUCT).encode())
        judged = await asked()
        assert (judged.verdict, judged.reason) == (Verdict.HOLD, "not_ready")
        assert "products of PUMP-7" in judged.detail
        # With its schemes the same code may be a serial of the product.
        assert (await belt.verdicts.ask("plain", Read("imei:35693803564380"))).reason == "not_ready"
        assert (await belt.ask("A1")).reason == "clear"
    copy._take("PUMP-7", encode(Product(id="PUMP-7", name="pump", fold_case=True)))
    assert (await asked()).reason == "recalled"


async def test_a_unit_without_a_serial_is_not_released_while_its_product_cannot_be_read(
    belt: Belt,
) -> None:
    belt.products[GTIN] = Product(id=GTIN, name="pump", serials=Serials.NOT_USED)
    asked = partial(belt.verdicts.ask, "exit", Read(f"01{GTIN}"))
    assert (await asked()).reason == "clear"
    belt.notices.note_product(GTIN, b"{")
    assert (await asked()).reason == "not_ready"
    belt.notices.note_product(GTIN, None)
    assert (await asked()).reason == "clear"


async def test_nothing_is_released_before_all_topics_were_read_nor_when_they_are_old(
    tmp_path: Path,
) -> None:
    belt = Belt(tmp_path)
    for topic in CONFIRMED:
        assert (await belt.ask("A1")).reason == "not_ready"
        belt.notices.confirm(topic, belt.at)
    assert (await belt.ask("A1")).reason == "clear"
    for old in CONFIRMED:
        belt.ready()
        belt.at += 20
        for topic in CONFIRMED:
            if topic is not old:
                belt.notices.confirm(topic, belt.at)
        belt.at += 10
        assert (await belt.ask("A1")).reason == "clear"
        belt.at += 0.5
        judged = await belt.ask("A1")
        assert (judged.verdict, judged.reason) == (Verdict.HOLD, "stale")
    belt.ready()
    assert (await belt.ask("A1")).reason == "clear"
    belt.at += 30.5
    assert (await belt.ask("A1")).reason == "stale"
    assert [step for _, step in await belt.steps()][-2:] == ["staging_outbound", "holding"]
    await belt.close()


async def test_a_full_journal_holds_and_says_why(tmp_path: Path) -> None:
    belt = Belt(tmp_path, bytes_max=10).ready()
    judged = await belt.ask("A1")
    assert (judged.verdict, judged.reason) == (Verdict.HOLD, "not_recorded")
    assert "0 of 10 bytes" in judged.detail
    belt.hold("A1", "QA-1")
    assert (await belt.ask("A1")).reason == "held"
    await belt.close()


async def test_a_disk_that_takes_too_long_holds_and_the_hold_is_recorded(tmp_path: Path) -> None:
    belt = Belt(tmp_path, deadline_s=0.05).ready()
    goes_on = asyncio.Event()
    belt.disk_waits_for(goes_on)
    judged = await asyncio.wait_for(belt.ask("A1"), 5)
    assert (judged.verdict, judged.reason) == (Verdict.HOLD, "late")
    goes_on.set()
    await belt.verdicts.stop()
    while belt.journal.count < 2:
        await asyncio.sleep(0.005)
    assert await belt.steps() == [(unit("A1"), "staging_outbound"), (unit("A1"), "holding")]
    await belt.close()


async def test_a_process_that_stood_still_holds_too(tmp_path: Path) -> None:
    belt = Belt(tmp_path).ready()
    append = belt.journal.append

    async def while_the_clock_runs(*told: Any) -> None:
        await append(*told)
        belt.at += 0.2

    belt.journal.append = while_the_clock_runs  # type: ignore[method-assign]
    judged = await belt.ask("A1")
    assert (judged.reason, judged.detail) == ("late", "200 ms have passed, 100 are allowed")
    await belt.verdicts.stop()
    assert [step for _, step in await belt.steps()] == ["staging_outbound", "holding"]
    await belt.close()


async def test_what_names_no_unit_is_unknown_and_set_aside(belt: Belt) -> None:
    judged = await belt.ask("")
    assert (judged.verdict, judged.reason) == (Verdict.UNKNOWN, "incomplete")
    judged = await belt.verdicts.ask("exit", Invalid("unfinished_frame", b"0109"))
    assert (judged.verdict, judged.reason) == (Verdict.UNKNOWN, "unfinished_frame")
    rejected = (await belt.forwarded()).rejected
    assert [(each.reason, each.station) for each in rejected] == [
        ("incomplete", "gate"),
        ("unfinished_frame", "gate"),
    ]
    assert rejected[0].asked


async def test_a_no_read_is_unknown_and_counted(belt: Belt) -> None:
    labels = {"reader": "exit", "station": "gate", "protocol": "tcp", "outcome": "no_read"}
    before = REGISTRY.get_sample_value("scantrail_reads_total", labels) or 0
    judged = await belt.verdicts.ask("exit", NoRead())
    assert (judged.verdict, judged.reason) == (Verdict.UNKNOWN, "no_read")
    assert belt.journal.count == 0
    assert REGISTRY.get_sample_value("scantrail_reads_total", labels) == before + 1


async def test_a_place_that_nobody_configured_holds(belt: Belt) -> None:
    assert (await belt.ask("A1", station="nowhere")).reason == "unknown_station"
    for station in (None, "gate"):
        judged = await belt.verdicts.ask("nobody", Read(code("A1")), station=station)
        assert (judged.verdict, judged.reason) == (Verdict.HOLD, "unknown_reader")
    assert len((await belt.forwarded()).rejected) == 3


async def test_a_question_that_is_replayed_is_a_question_again(belt: Belt) -> None:
    """At a station for shipping: what was never let go must not count as shipped."""
    belt.known.stations.pop("gate")  # type: ignore[attr-defined]
    await belt.ask("A1")
    (rejected,) = (await belt.forwarded()).rejected
    belt.known.stations["gate"] = GATE  # type: ignore[index]
    outgoing: Any = belt.outlet
    taken = await Intake("test", belt.known, outgoing, now=lambda: NOW).replay([rejected])
    assert taken.accepted == 1
    assert [scan.business_step for scan in belt.outlet.scans] == ["staging_outbound"]


async def test_an_arrival_that_is_replayed_is_where_it_was(belt: Belt) -> None:
    there = belt.known.stations.pop("truck")  # type: ignore[attr-defined]
    await belt.verdicts.confirm_exit("plc", Read("SN1"), station="truck")
    (rejected,) = (await belt.forwarded()).rejected
    assert (rejected.reason, rejected.asked) == ("unknown_station", False)
    belt.known.stations["truck"] = there  # type: ignore[index]
    outgoing: Any = belt.outlet
    await Intake("test", belt.known, outgoing, now=lambda: NOW).replay([rejected])
    (scan,) = belt.outlet.scans
    assert (scan.station, scan.business_step) == ("truck", "shipping")


async def test_what_was_written_before_a_crash_is_forwarded_after_it(tmp_path: Path) -> None:
    belt = Belt(tmp_path).ready()
    await belt.ask("A1")
    await belt.close()
    again = Belt(tmp_path)
    assert await again.steps() == [(unit("A1"), "staging_outbound")]
    assert again.journal.count == 0
    await again.close()


async def test_the_journal_waits_while_nothing_takes_its_records(
    belt: Belt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scantrail.gateway.verdicts.RETRY_S", 0.01)
    belt.outlet.full = True
    outgoing: Any = belt.outlet
    forwarding = asyncio.create_task(belt.verdicts.forward(outgoing))
    await belt.ask("A1")
    while belt.outlet.calls < 3:
        await asyncio.sleep(0.005)
    assert belt.journal.count == 1
    belt.outlet.full = False
    while belt.journal.count:
        await asyncio.sleep(0.005)
    await belt.ask("A2")  # and goes on
    while belt.journal.count:
        await asyncio.sleep(0.005)
    forwarding.cancel()
    await asyncio.wait({forwarding})
    assert [scan.unit for scan in belt.outlet.scans] == [unit("A1"), unit("A2")]


async def test_verdicts_are_counted_by_outcome_and_timed(belt: Belt) -> None:
    def count(verdict: str, reason: str) -> float:
        labels = {"verdict": verdict, "reason": reason}
        return REGISTRY.get_sample_value("scantrail_verdicts_total", labels) or 0

    def answered() -> float:
        name = "scantrail_verdict_seconds_count"
        return sum(REGISTRY.get_sample_value(name, {"verdict": v}) or 0 for v in Verdict)

    before = count("release", "clear"), count("hold", "held")
    timed = answered()
    belt.hold("A2", "QA-1")
    await belt.ask("A1")
    await belt.ask("A2")
    assert (count("release", "clear"), count("hold", "held")) == (before[0] + 1, before[1] + 1)
    assert answered() == timed + 2


# ------------------------------------------------------------------------------ lines, telegrams


async def test_each_read_of_a_line_is_answered_in_its_order(belt: Belt) -> None:
    belt.hold("A2", "QA-1")
    outcomes = [
        Read(code("A1")),
        Heartbeat(),
        Read(code("A2")),
        NoRead(),
        Invalid("frame_too_long", b"x"),
    ]
    line = Line()
    await answer_lines(READERS["exit"], ANSWERS_DEFAULT, outcomes, belt.verdicts, line.send)
    assert b"".join(line.sent) == (
        b"RELEASE clear\r\nHOLD held\r\nUNKNOWN no_read\r\nUNKNOWN frame_too_long\r\n"
    )


def telegram(kind: str, body: str, seq: int) -> bytes:
    return f"###00160SPS01MFC__{seq:05}{kind}{body}".ljust(160, "*").encode()


def place(name: str) -> str:
    return name.ljust(20, "*")


async def test_a_controller_is_answered_and_only_an_arrival_outside_ships(belt: Belt) -> None:
    recall = replace(RECALL, products=("PUMP-7",))
    belt.notices.take(Topic.RECALLS, recall.id, encode(recall))
    tail = "0000000020260301120000"
    stream = [
        telegram("SYNQ", "20260301120000", 1),
        telegram("REQ_", place("SN1") + place("SIDE") + place("OUT") + tail, 2),
        telegram("REQ_", place("R1") + place("SCAN") + place("OUT") + tail, 3),
        telegram("REQ_", place("?") + place("SCAN") + place("OUT") + tail, 4),
        telegram("LOCU", place("LANES") + place("OUT") + tail, 5),
        telegram("UPD_", place("SN1") + place("BEND") + tail, 6),
        telegram("UPD_", place("SN1") + place("OUT") + tail, 7),
        telegram("HELO", "", 8),
    ]
    reader = READERS["plc"]
    telegrams = OsipDecoder(reader.osip).feed(b"".join(stream))
    line, controller = Line(), Controller(reader, belt.verdicts, now=lambda: NOW)
    await controller.answer(telegrams, line.send)
    await controller.finish()
    told = [answer.decode() for answer in line.sent]
    assert [(each[18:27], each[67:87].strip("*"), each[87:95]) for each in told[1:]] == [
        ("00002RES_", "OUT", "00000000"),
        ("00003RES_", "CHECK", "00000001"),
        ("00004RES_", "CHECK", "00000002"),
    ]
    assert told[0].startswith("###00160MFC__SPS0100001SYNC20260301120000")
    outlet = await belt.forwarded()
    assert [(scan.unit, scan.business_step, scan.station) for scan in outlet.scans] == [
        ("sn:PUMP-7.SN1", "staging_outbound", "lane"),
        ("sn:PUMP-7.R1", "staging_outbound", "gate"),
        ("sn:PUMP-7.R1", "holding", "gate"),
        ("sn:PUMP-7.SN1", "shipping", "truck"),
    ]
    assert outlet.scans[3].possessing_party == "swift"
    assert [each.reason for each in outlet.rejected] == ["osip_unknown_type"]
    (status,) = [each for each in belt.statuses.now() if each.id == "plc"]
    assert status.counts == {"accepted": 3, "control": 3, "invalid": 1, "no_read": 1}


async def test_an_arrival_that_cannot_be_recorded_ends_the_connection(tmp_path: Path) -> None:
    belt = Belt(tmp_path, bytes_max=10).ready()
    reader = READERS["plc"]
    sent = telegram("UPD_", place("SN1") + place("OUT") + "0" * 22, 1)
    with pytest.raises(SpoolFull):
        await Controller(reader, belt.verdicts).answer(
            OsipDecoder(reader.osip).feed(sent), Line().send
        )
    await belt.close()


def slow_disk(belt: Belt, took_s: float) -> None:
    insert = belt.journal._insert

    def slowly(*told: Any) -> None:
        time.sleep(took_s)
        insert(*told)

    belt.journal._insert = slowly  # type: ignore[method-assign]


@pytest.fixture
def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture
async def clocked(tmp_path: Path) -> AsyncIterator[Belt]:
    """By the real clock, since what passes while a question waits is to count."""
    belt = Belt(tmp_path, clock=time.monotonic).ready()
    yield belt
    await belt.verdicts.stop()
    await belt.close()


def stand_still(for_s: float) -> None:
    time.sleep(for_s)


def asked_for(serials: Sequence[str]) -> bytes:
    body = place("SCAN") + place("OUT") + "0" * 22
    return b"".join(telegram("REQ_", place(each) + body, n) for n, each in enumerate(serials))


def errors(line: Line) -> list[str]:
    return [answer.decode()[87:95] for answer in line.sent]


async def test_the_time_before_a_question_is_looked_at_counts(belt: Belt) -> None:
    judged = await belt.ask("A1", heard=belt.at - 5)
    assert judged.verdict is Verdict.RELEASE
    judged = await belt.ask("A2", heard=belt.at - 15)
    assert (judged.reason, judged.detail) == ("late", "15000 ms have passed, 10000 are allowed")
    belt.hold("A3", "QA-1")
    assert (await belt.ask("A3", heard=belt.at - 50)).reason == "held"
    await belt.verdicts.stop()
    steps = await belt.steps()
    assert [[step for of, step in steps if of == unit(each)] for each in ("A1", "A2", "A3")] == [
        ["staging_outbound"],
        ["staging_outbound", "holding"],
        ["staging_outbound", "holding"],
    ]


@pytest.mark.alone
async def test_telegrams_of_one_segment_do_not_wait_for_each_others_disk(clocked: Belt) -> None:
    slow_disk(clocked, 0.02)
    reader, line = READERS["plc"], Line()
    telegrams = OsipDecoder(reader.osip).feed(asked_for([f"S{n}" for n in range(20)]))
    began = time.monotonic()
    await Controller(reader, clocked.verdicts).answer(telegrams, line.send, heard=began)
    assert errors(line) == ["00000000"] * 20
    assert line.at[-1] - began < 0.2


@pytest.mark.alone
async def test_each_answer_is_sent_as_it_is_there(clocked: Belt) -> None:
    reader, line = READERS["plc"], Line()
    telegrams = OsipDecoder(reader.osip).feed(telegram("SYNQ", "0" * 14, 9) + asked_for(["S1"]))
    slow_disk(clocked, 0.05)
    await Controller(reader, clocked.verdicts).answer(telegrams, line.send)
    assert line.at[1] - line.at[0] > 0.03


async def test_an_arrival_holds_up_no_question_behind_it(clocked: Belt) -> None:
    goes_on = asyncio.Event()
    append = clocked.journal.append

    async def slowly(records: Any, *more: Any) -> None:
        if b"truck" in records[0].value:
            await goes_on.wait()
        await append(records, *more)

    clocked.journal.append = slowly  # type: ignore[method-assign]
    reader, line = READERS["plc"], Line()
    controller, decoder = Controller(reader, clocked.verdicts), OsipDecoder(reader.osip)
    arrival = telegram("UPD_", place("SN1") + place("OUT") + "0" * 22, 1)
    await controller.answer(decoder.feed(arrival + asked_for(["S1"])), line.send)
    await controller.answer(decoder.feed(asked_for(["S2"])), line.send)
    assert errors(line) == ["00000000"] * 2
    goes_on.set()
    await controller.finish()
    shipped = [scan for scan in (await clocked.forwarded()).scans if scan.station == "truck"]
    assert [scan.unit for scan in shipped] == ["sn:PUMP-7.SN1"]


async def test_an_arrival_that_fails_late_ends_the_connection_at_its_next_telegram(
    belt: Belt,
) -> None:
    fails = asyncio.Event()

    async def failing(*told: Any) -> None:
        await fails.wait()
        raise SpoolFull("no room")

    belt.journal.append = failing  # type: ignore[method-assign]
    reader, line = READERS["plc"], Line()
    controller, decoder = Controller(reader, belt.verdicts), OsipDecoder(reader.osip)
    arrival = telegram("UPD_", place("SN1") + place("OUT") + "0" * 22, 1)
    await controller.answer(decoder.feed(arrival), line.send)
    fails.set()
    with pytest.raises(SpoolFull):
        await controller.answer(decoder.feed(telegram("SYNQ", "0" * 14, 2)), line.send)


@pytest.mark.alone
async def test_lines_that_wait_behind_others_are_released_in_time_or_held(
    clocked: Belt, free_port: int
) -> None:
    """Over a connection: four questions, each alone in its segment, on a disk of 80 ms."""
    slow_disk(clocked, 0.08)
    async with served(clocked, free_port) as (stream, writer):
        sent = []
        for n in range(4):
            writer.write(f"{code(f'A{n}')}\r\n".encode())
            sent.append(time.monotonic())
            await asyncio.sleep(0.01)
        for at in sent:
            answer = await asyncio.wait_for(stream.readline(), 5)
            assert answer.startswith(b"HOLD late") or time.monotonic() - at < 0.2
        assert answer == b"HOLD late\r\n"


async def test_what_comes_while_the_process_stands_still_is_held(
    clocked: Belt, free_port: int
) -> None:
    async with served(clocked, free_port) as (stream, writer):
        watching = asyncio.create_task(clocked.verdicts.watch())
        peer = writer.get_extra_info("socket")
        await asyncio.sleep(0.1)
        os.write(peer.fileno(), f"{code('A1')}\r\n".encode())
        stand_still(0.3)
        assert await asyncio.wait_for(stream.readline(), 5) == b"HOLD late\r\n"
        await asyncio.sleep(0.1)
        writer.write(f"{code('A2')}\r\n".encode())
        assert await asyncio.wait_for(stream.readline(), 5) == b"RELEASE clear\r\n"
        watching.cancel()
        await asyncio.wait({watching})


@contextlib.asynccontextmanager
async def served(
    belt: Belt, port: int
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader = replace(READERS["exit"], mode="listen", address=("127.0.0.1", port))
    intake: Any = None
    serving = asyncio.create_task(serve_reader(reader, intake, belt.verdicts, belt.statuses))
    try:
        await asyncio.sleep(0.1)
        stream, writer = await asyncio.open_connection("127.0.0.1", port)
        yield stream, writer
        writer.close()
    finally:
        serving.cancel()
        await asyncio.wait({serving})


# ----------------------------------------------------------------------------------------- HTTP


@pytest.fixture
async def http(belt: Belt) -> AsyncIterator[httpx.AsyncClient]:
    outgoing: Any = belt.outlet
    async with a_gateway(belt, outgoing, Guards(READERS)) as client:
        yield client


def a_gateway(belt: Belt, outlet: Any, guards: Guards) -> httpx.AsyncClient:
    intake = Intake("test", belt.known, outlet)
    app: Any = build_http(intake, guards, build_verdict(belt.verdicts, guards))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway")


async def test_a_question_over_http(belt: Belt, http: httpx.AsyncClient) -> None:
    belt.order("SO-1", _=1)
    belt.hold("A2", "QA-1")
    answers = []
    for serial in ("A1", "A2"):
        question = {"station": "lane", "read": code(serial), "order": "SO-1"}
        answers.append(await http.post("/verdict/v1", json=question))
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.json() for answer in answers] == [
        {
            "verdict": "release",
            "reason": "clear",
            "detail": f"nothing is known against {unit('A1')}",
            "deadline_ms": 10_000,
        },
        {
            "verdict": "hold",
            "reason": "held",
            "detail": f"{unit('A2')} is held (QA-1: scratched)",
            "deadline_ms": 10_000,
        },
    ]
    released, *_ = (await belt.forwarded()).scans
    assert (released.reader, released.station) == ("verdict", "lane")
    assert (released.business_location, released.transactions[0].id) == ("Lane 4", "SO-1")


async def test_a_reader_may_be_named_for_its_station_and_product(
    belt: Belt, http: httpx.AsyncClient
) -> None:
    for station in ({}, {"station": "gate"}, {"station": "lane"}):
        body = {"reader": "plain", "read": "SN1"} | station
        answer = await http.post("/verdict/v1", json=body)
        assert answer.json()["verdict"] == "release"
    scans = (await belt.forwarded()).scans
    assert {(scan.unit, scan.reader) for scan in scans} == {("sn:PUMP-7.SN1", "plain")}
    assert [scan.station for scan in scans] == ["gate", "gate", "lane"]


async def test_what_is_refused_names_the_field_and_the_mend(http: httpx.AsyncClient) -> None:
    answer = await http.post("/verdict/v1", json={"read": "A", "reader": "exit"})
    assert answer.json()["field"] == "reader"
    assert "give the station alone" in answer.json()["detail"]
    body = {"read": "A", "reader": "plain", "station": "truck"}
    answer = await http.post("/verdict/v1", json=body)
    assert answer.json()["field"] == "station"
    assert "gate, lane" in answer.json()["detail"]


async def test_one_that_is_unknown_is_no_error_but_no_release(http: httpx.AsyncClient) -> None:
    answer = await http.post("/verdict/v1", json={"station": "gate", "read": "4711"})
    assert answer.status_code == 200
    assert (answer.json()["verdict"], answer.json()["reason"]) == ("unknown", "unidentified_serial")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "bad_question"),
        (b"\xff", "bad_question"),
        (b"[" * 3000, "bad_question"),
        (b'{"read": "A"}', "no_station"),
        (b'{"read": 4711, "station": "gate"}', "bad_question"),
        (b'{"station": "gate"}', "bad_question"),
        (b'{"read": "A", "station": "gate", "ordre": "SO-1"}', "bad_question"),
        (b'{"read": "A", "station": ""}', "bad_station"),
        (json.dumps({"read": "A", "station": "x" * 257}).encode(), "bad_station"),
        (b'{"read": "A", "reader": "a b"}', "bad_reader"),
        (json.dumps({"read": "A", "station": "ga\0te"}).encode(), "bad_station"),
        (json.dumps({"read": "A", "station": "gate", "order": "a\0b"}).encode(), "bad_order"),
        (json.dumps({"read": "A", "station": "gate", "order": "x" * 300}).encode(), "bad_order"),
        (b'{"read": "A", "reader": "exit"}', "wrong_protocol"),
        (b'{"read": "A", "reader": "plc", "station": "gate"}', "wrong_protocol"),
        (b'{"read": "A", "reader": "plain", "station": "truck"}', "wrong_station"),
    ],
)
async def test_what_is_no_question_is_refused_and_records_nothing(
    belt: Belt, http: httpx.AsyncClient, body: bytes, reason: str
) -> None:
    answer = await http.post("/verdict/v1", content=body)
    assert (answer.status_code, answer.json()["reason"]) == (400, reason)
    assert belt.journal.count == 0


async def test_where_tokens_are_required_a_question_needs_one_too(belt: Belt) -> None:
    token, digest = new_token()
    readers = {
        "lane-7": ReaderSettings(
            id="lane-7",
            station="lane",
            protocol="http-generic",
            token_sha256=(digest,),
            reads_per_s_max=0.1,
        )
    }
    belt.known = Known(readers, belt.known.stations)
    outgoing: Any = belt.outlet
    shown = {"Authorization": f"Bearer {token}"}
    question = {"station": "lane", "read": code("A1")}
    async with a_gateway(belt, outgoing, Guards(readers, is_required=True)) as client:
        for body in (question, question | {"reader": "lane-7"}):
            assert (await client.post("/verdict/v1", json=body)).status_code == 401
        assert (await client.post("/verdict/v1", json=question, headers=shown)).status_code == 401
        body = question | {"reader": "lane-7"}
        assert (await client.post("/verdict/v1", json=body, headers=shown)).status_code == 200
        assert (await client.post("/verdict/v1", json=body, headers=shown)).status_code == 200
        assert (await client.post("/verdict/v1", json=body, headers=shown)).status_code == 429


async def test_no_page_of_others_asks(http: httpx.AsyncClient) -> None:
    question = {"station": "gate", "read": code("A1")}
    told = {"Origin": "https://b.example", "Authorization": "Basic Yjpi"}
    answer = await http.post("/verdict/v1", json=question, headers=told)
    assert (answer.status_code, answer.json()["reason"]) == (403, "of_a_page")
    assert (await http.post("/verdict/v1", json=question)).status_code == 200


async def test_what_is_too_long_for_a_question_is_refused(http: httpx.AsyncClient) -> None:
    answer = await http.post("/verdict/v1", json={"station": "gate", "read": "x" * 20_000})
    assert answer.status_code == 413


async def test_the_age_of_what_is_known_is_that_of_the_oldest_topic() -> None:
    at = timedelta(seconds=50).total_seconds()
    notices = Notices(clock=lambda: at)
    notices.confirm(Topic.RECALLS, 20.0)
    assert notices.confirmed_s() is None
    notices.confirm(Topic.HOLDS, 45.0)
    notices.confirm(Topic.IDENTIFIERS, 48.0)
    notices.confirm(Topic.PRODUCTS, 49.0)
    assert notices.confirmed_s() == 30.0
    notices.doubt(Topic.IDENTIFIERS)
    assert notices.confirmed_s() is None


async def test_a_unit_is_judged_by_all_its_keys(tmp_path: Path) -> None:
    belt = Belt(tmp_path).ready()
    belt.notices.take(Topic.RECALLS, RECALL.id, encode(RECALL))
    phone = "imei:35693803564380"
    belt.keys[phone] = (phone, unit("R7"), unit("H7"))
    assert [(await belt.ask(serial)).reason for serial in ("R7", "H7", "X7")] == [
        "recalled",
        "recalled",
        "clear",
    ]
    belt.notices.take(Topic.RECALLS, RECALL.id, None)
    assert (await belt.ask("R7")).verdict is Verdict.RELEASE
    belt.hold("H7", "inspection")
    told = await belt.ask("R7")
    assert (told.verdict, told.reason) == (Verdict.HOLD, "held")
    assert {scan.unit for scan in (await belt.forwarded()).scans} == {phone, unit("X7")}
    await belt.close()


async def test_a_unit_whose_other_keys_cannot_be_read_is_held(tmp_path: Path) -> None:
    belt = Belt(tmp_path).ready()
    belt.keys[unit("1")] = None
    told = await belt.ask("1")
    assert (told.verdict, told.reason) == (Verdict.HOLD, "not_ready")
    await belt.close()
