"""Readers over MQTT, with a broker that is told what to do and an outlet that only remembers."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
import structlog
from prometheus_client import REGISTRY

from component.fake_broker import FakeBroker, serving
from component.fake_outlet import FakeOutlet
from scantrail.domain.station import Station
from scantrail.domain.vocabulary import BusinessStep
from scantrail.gateway import broker as gateway_broker
from scantrail.gateway import mqtt
from scantrail.gateway.broker import BrokerAway, BrokerConnection, Message
from scantrail.gateway.contexts import Contexts
from scantrail.gateway.intake import Intake
from scantrail.gateway.mqtt import follow_reader, next_delay_s
from scantrail.gateway.mqtt_settings import Subscription
from scantrail.gateway.readers import Protocol, ReaderSettings
from scantrail.gateway.scans import Known
from scantrail.gateway.spool import Outgoing
from scantrail.gateway.statuses import Statuses

DOCK = Station(
    id="dock-1",
    site="north",
    business_step=BusinessStep.SHIPPING,
    read_point="dock-1.left",
)
TOPIC = "readers/gate/tags"
STATUS = "readers/gate/status"
EPC = "E28011606000020500000001"
AWAY = "reader's broker is away"


class SlowOutlet(FakeOutlet):
    """Keeps nothing before it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.let = asyncio.Event()

    async def keep(self, records: Sequence[Outgoing]) -> None:
        self.asked.set()
        await self.let.wait()
        await super().keep(records)


@pytest.fixture
def outlet() -> FakeOutlet:
    return FakeOutlet()


@pytest.fixture
async def broker() -> AsyncIterator[FakeBroker]:
    async with serving() as broker:
        yield broker


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Any:
    with structlog.testing.capture_logs() as logs:
        yield logs


@contextlib.asynccontextmanager
async def following(
    broker: FakeBroker,
    outlet: Any,
    protocol: Protocol = "mqtt-generic",
    *,
    debounce_s: float = 0.0,
    **more: Any,
) -> AsyncIterator[None]:
    """A gateway's part for reader `gate`, as a task."""
    reader = ReaderSettings(
        id="gate",
        station="dock-1",
        protocol=protocol,
        address=("127.0.0.1", broker.port),
        debounce_s=debounce_s,
        subscription=Subscription(topic=TOPIC, client_id="scantrail-gate", **more),
    )
    known = Known({"gate": reader}, {"dock-1": DOCK})
    statuses = Statuses("test", known.readers, Contexts())
    intake = Intake("test", known, outlet, statuses=statuses)
    task = asyncio.create_task(follow_reader(reader, intake, statuses))
    try:
        await until(lambda: broker.filters or task.done())
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(told: Callable[[], Any], limit_s: float = 10.0) -> None:
    async with asyncio.timeout(limit_s):
        while not told():
            await asyncio.sleep(0.005)


def tag(number: int) -> bytes:
    return json.dumps({"epc": f"E2{number:022X}"}).encode()


def units(outlet: FakeOutlet) -> list[int]:
    return [int(scan.unit.removeprefix("epc:E2"), 16) for scan in outlet.scans]


def up() -> float | None:
    return REGISTRY.get_sample_value("scantrail_reader_up", {"reader": "gate"})


# ------------------------------------------------------------------------------- acknowledgements


async def test_a_message_is_acknowledged_once_it_is_durable_and_in_its_order(
    broker: FakeBroker,
) -> None:
    outlet = SlowOutlet()
    async with following(broker, outlet):
        for mid in (7, 8, 9):
            await broker.publish(TOPIC, tag(mid), mid)
        await outlet.asked.wait()
        await broker.has_been_heard()
        assert (broker.acknowledged, outlet.kept) == ([], [])
        outlet.let.set()
        await until(lambda: len(broker.acknowledged) == 3)
    assert broker.acknowledged == units(outlet) == [7, 8, 9]
    assert {scan.reader for scan in outlet.scans} == {"gate"}
    await until(lambda: broker.goodbyes == 1)


async def test_what_arrives_meanwhile_is_made_durable_together(broker: FakeBroker) -> None:
    outlet = SlowOutlet()
    async with following(broker, outlet):
        await broker.publish(TOPIC, tag(1), 1)
        await outlet.asked.wait()
        for mid in range(2, 52):
            await broker.publish(TOPIC, tag(mid), mid)
        await broker.has_been_heard()
        outlet.let.set()
        await until(lambda: len(broker.acknowledged) == 51)
    assert broker.acknowledged == units(outlet) == list(range(1, 52))
    assert outlet.calls < 10


async def test_a_repeat_within_the_debounce_counts_once_also_within_one_delivery(
    broker: FakeBroker, outlet: FakeOutlet
) -> None:
    async with following(broker, outlet, debounce_s=60.0):
        for mid in (1, 2, 3):
            await broker.publish(TOPIC, tag(5), mid)
        await until(lambda: broker.acknowledged == [1, 2, 3])
    assert units(outlet) == [5]


async def test_without_room_nothing_is_acknowledged_and_what_comes_again_is_taken(
    broker: FakeBroker, outlet: FakeOutlet, monkeypatch: pytest.MonkeyPatch, logs: Any
) -> None:
    monkeypatch.setattr(mqtt, "RETRY_S_FIRST", 0.01)
    outlet.full = True
    async with following(broker, outlet):
        await broker.publish(TOPIC, tag(1), 1)
        for connection in (2, 3):
            await until(lambda at=connection: len(broker.filters) == at)  # type: ignore[misc]
            await broker.publish(TOPIC, tag(1), 1, again=True)
        await until(lambda: len(broker.filters) == 4)
        assert (broker.acknowledged, outlet.kept) == ([], [])
        outlet.full = False
        await broker.publish(TOPIC, tag(1), 1, again=True)
        await until(lambda: broker.acknowledged == [1])
    assert units(outlet) == [1]
    await until(lambda: broker.goodbyes == 4)
    refused = [log["reason"] for log in logs if log["event"] == "read refused"]
    assert refused == ["the spool has 9 of 10 bytes"] * 3


async def test_what_is_durable_and_comes_again_is_acknowledged_and_makes_no_second_scan(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its acknowledgement was lost. It tells no time: its packet id says that it is the same."""
    monkeypatch.setattr(mqtt, "RETRY_S_FIRST", 0.01)
    outlet = SlowOutlet()
    async with following(broker, outlet):
        await broker.publish(TOPIC, tag(1), 1)
        await outlet.asked.wait()
        broker.end()
        outlet.let.set()
        await until(lambda: len(broker.filters) == 2)
        await broker.publish(TOPIC, tag(1), 1, again=True)
        await broker.publish(TOPIC, tag(1), 2, again=True)  # another message, never taken
        await broker.publish(TOPIC, tag(1), 1)  # and one that is new
        await until(lambda: broker.acknowledged == [1, 2, 1])
        assert units(outlet) == [1, 1, 1]
        broker.resumes = False  # packet ids are given anew
        broker.end()
        await until(lambda: len(broker.filters) == 3)
        await broker.publish(TOPIC, tag(1), 1, again=True)
        await until(lambda: len(broker.acknowledged) == 4)
    assert units(outlet) == [1, 1, 1, 1]


async def test_a_packet_id_that_is_given_again_is_another_message(
    broker: FakeBroker, outlet: FakeOutlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first acknowledgement has arrived; the second message was lost with its connection."""
    monkeypatch.setattr(mqtt, "RETRY_S_FIRST", 0.01)
    monkeypatch.setattr(mqtt, "PROVEN_S", 0.0)
    async with following(broker, outlet):
        await broker.publish(TOPIC, tag(1), 1)
        await until(lambda: broker.acknowledged == [1])
        broker.end()
        await until(lambda: len(broker.filters) == 2)
        await broker.publish(TOPIC, tag(1), 1, again=True)
        await until(lambda: broker.acknowledged == [1, 1])
    assert units(outlet) == [1, 1]


async def test_a_new_message_that_was_refused_is_not_taken_for_the_one_before_it(
    broker: FakeBroker, outlet: FakeOutlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "RETRY_S_FIRST", 0.01)
    async with following(broker, outlet):
        await broker.publish(TOPIC, tag(1), 1)
        await until(lambda: broker.acknowledged == [1])
        outlet.full = True
        await broker.publish(TOPIC, tag(1), 1)  # the id is free: its acknowledgement has arrived
        await until(lambda: len(broker.filters) == 2)
        outlet.full = False
        await broker.publish(TOPIC, tag(1), 1, again=True)
        await until(lambda: broker.acknowledged == [1, 1])
    assert units(outlet) == [1, 1]


async def test_while_the_broker_is_away_no_acknowledgement_is_held_to_have_arrived(
    broker: FakeBroker, outlet: FakeOutlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "RETRY_S_MAX", 0.05)
    monkeypatch.setattr(mqtt, "PROVEN_S", 1.0)
    async with following(broker, outlet):
        await broker.publish(TOPIC, tag(1), 1)
        await until(lambda: broker.acknowledged == [1])
        broker.connack = 3
        broker.end()
        await asyncio.sleep(1.2)
        broker.connack = 0
        await until(lambda: len(broker.filters) == 2)
        await broker.publish(TOPIC, tag(1), 1, again=True)
        await until(lambda: broker.acknowledged == [1, 1])
    assert units(outlet) == [1]


@pytest.mark.parametrize(
    ("protocol", "payload"),
    [
        (
            "mqtt-impinj",
            {
                "eventType": "tagInventory",
                "tagInventoryEvent": {"epcHex": EPC, "lastSeenTime": "2026-11-23T01:02:03Z"},
            },
        ),
        ("mqtt-zebra", {"data": {"idHex": EPC}, "timestamp": "2026-11-23T01:02:03.123+0000"}),
        ("mqtt-generic", {"epc": EPC, "timestamp": "2026-11-23T01:02:03Z"}),
        ("mqtt-generic", {"epc": EPC, "timestamp": "2026-11-23T01:02:03Z", "event_id": 7}),
    ],
)
async def test_what_comes_again_to_another_start_of_the_gateway_is_the_same_event(
    broker: FakeBroker, outlet: FakeOutlet, protocol: Protocol, payload: dict[str, Any]
) -> None:
    for again in (False, True):
        broker.filters.clear()
        async with following(broker, outlet, protocol):
            await broker.publish(TOPIC, json.dumps(payload).encode(), 1, again=again)
            await until(lambda at=again: len(broker.acknowledged) == 1 + at)  # type: ignore[misc]
    first, second = outlet.scans
    assert first.event_id == second.event_id
    assert (first.event_time, first.sequence) == (second.event_time, second.sequence)


async def test_at_qos_0_a_read_is_taken_and_there_is_nothing_to_acknowledge(
    broker: FakeBroker, outlet: FakeOutlet
) -> None:
    async with following(broker, outlet):
        await broker.publish(TOPIC, tag(1))
        await broker.publish(TOPIC, tag(2), 5)
        await until(lambda: broker.acknowledged == [5])
    assert units(outlet) == [1, 2]


async def test_a_message_with_more_reads_than_are_taken_at_once(
    broker: FakeBroker, outlet: FakeOutlet
) -> None:
    async with following(broker, outlet):
        body = b"[" + b",".join(tag(n) for n in range(12_000)) + b"]"
        await broker.publish(TOPIC, body, 1)
        await until(lambda: broker.acknowledged == [1])
    assert units(outlet) == list(range(12_000))
    assert outlet.calls == 3


# ------------------------------------------------------------------------------ what makes no scan


async def test_poison_is_set_aside_with_its_reason_and_acknowledged(
    broker: FakeBroker, outlet: FakeOutlet
) -> None:
    poison = [
        (TOPIC, b"", "empty"),
        (TOPIC, b"{]", "bad_json"),
        (TOPIC, b"\xff\x00", "bad_json"),
        (TOPIC, b"7", "no_object"),
        (TOPIC, b"[" * 50_000, "bad_json"),
        (TOPIC, tag(1).ljust((1 << 20) + 1), "too_large"),
        ("readers/old/tags", tag(1), "wrong_topic"),
    ]
    async with following(broker, outlet):
        for mid, (topic, payload, _) in enumerate(poison, 1):
            await broker.publish(topic, payload, mid)
        await broker.publish(TOPIC, tag(2).ljust(1 << 20), 99)
        await until(lambda: broker.acknowledged == [*range(1, len(poison) + 1), 99])
    assert [read.reason for read in outlet.rejected] == [reason for _, _, reason in poison]
    assert {read.reader for read in outlet.rejected} == {"gate"}
    assert units(outlet) == [2]


async def test_the_brokers_copy_of_an_old_message_is_no_read(
    broker: FakeBroker, outlet: FakeOutlet, logs: Any
) -> None:
    async with following(broker, outlet):
        await broker.publish(TOPIC, tag(1), 1, retained=True)
        await until(lambda: broker.acknowledged == [1])
    assert outlet.kept == []
    assert "a retained message is left out" in [log["event"] for log in logs]


# ------------------------------------------------------------------------------------- up or down


async def test_the_reader_is_up_while_the_broker_serves_and_its_will_was_not_published(
    broker: FakeBroker, outlet: FakeOutlet, monkeypatch: pytest.MonkeyPatch, logs: Any
) -> None:
    monkeypatch.setattr(mqtt, "RETRY_S_FIRST", 0.01)
    async with following(
        broker, outlet, status_topic=STATUS, offline=frozenset({"offline", "gone"})
    ):
        await until(lambda: up() == 1)
        assert broker.filters == [TOPIC, STATUS]
        await broker.publish(STATUS, b" gone\n", 1, retained=True)
        await until(lambda: up() == 0)
        await broker.publish(STATUS, b"online", 2)
        await until(lambda: up() == 1)
        await broker.publish(STATUS, b"offline", 3)
        await until(lambda: up() == 0)
        await broker.publish(TOPIC, tag(1), 4)  # who publishes is there
        await until(lambda: up() == 1)
        broker.connack = 3
        broker.end()
        await until(lambda: up() == 0)
    assert (units(outlet), outlet.rejected) == ([1], [])
    told = [log["event"] for log in logs if log["event"].startswith("reader is")]
    assert told == ["reader is offline", "reader is back"] * 2


@pytest.mark.parametrize(
    ("connack", "suback", "reason"),
    [
        (5, 1, "the broker refuses the gateway: Not authorized"),
        (0, 0x80, "the broker refuses the subscription at QoS 1: Unspecified error"),
        (0, 0, "the broker refuses the subscription at QoS 1: Granted QoS 0"),
    ],
)
async def test_a_broker_that_refuses_is_asked_again_and_told_of_once(
    broker: FakeBroker,
    outlet: FakeOutlet,
    monkeypatch: pytest.MonkeyPatch,
    logs: Any,
    connack: int,
    suback: int,
    reason: str,
) -> None:
    monkeypatch.setattr(mqtt, "RETRY_S_MAX", 0.01)
    broker.connack, broker.suback = connack, suback
    broker.filters.append("nothing yet")
    async with following(broker, outlet):
        await until(lambda: broker.connections >= 4)
        assert up() == 0
        broker.connack, broker.suback = 0, 1
        await until(lambda: up() == 1)
        await broker.publish(TOPIC, tag(1), 1)
        await until(lambda: broker.acknowledged == [1])
    assert [log["reason"] for log in logs if log["event"] == AWAY] == [reason]


@pytest.mark.parametrize(
    "noise", [b"\x30\x01\x00", b"\xf0\x00", b"\x30\xff\xff\xff\xff\xff", b"\x00"]
)
async def test_a_peer_that_is_no_broker_is_left_and_tried_again(
    broker: FakeBroker,
    outlet: FakeOutlet,
    monkeypatch: pytest.MonkeyPatch,
    noise: bytes,
) -> None:
    monkeypatch.setattr(mqtt, "RETRY_S_FIRST", 0.01)
    async with following(broker, outlet):
        await broker.send(noise + b"\x00\x00")
        await until(lambda: broker.connections == 2 and len(broker.filters) == 2)
        await broker.publish(TOPIC, tag(1), 1)
        await until(lambda: broker.acknowledged == [1])


async def test_a_broker_that_is_away_is_told_of_once_and_found_when_it_comes(
    outlet: FakeOutlet, monkeypatch: pytest.MonkeyPatch, logs: Any
) -> None:
    monkeypatch.setattr(mqtt, "RETRY_S_MAX", 0.01)
    nobody = FakeBroker()
    async with serving() as gone:
        nobody.port = gone.port
    nobody.filters.append("nothing yet")
    async with following(nobody, outlet):
        await until(lambda: any(log["event"] == AWAY for log in logs))
        server = await asyncio.start_server(nobody.serve, "127.0.0.1", nobody.port)
        await until(lambda: up() == 1)
        server.close()
    assert [log["event"] for log in logs] == [AWAY, "reader's broker connected"]


def test_delays_grow_to_a_limit_and_begin_anew_after_a_connection_that_lasted() -> None:
    delays = [0.0]
    for _ in range(9):
        delays.append(next_delay_s(delays[-1], lived_s=1.0))
    assert delays == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert next_delay_s(30.0, lived_s=30.0) == 0.5


# ---------------------------------------------------------------------------------- the connection


def connection(broker: FakeBroker, **more: Any) -> BrokerConnection:
    subscription = Subscription(topic=TOPIC, client_id="scantrail-gate", **more)
    return BrokerConnection(("127.0.0.1", broker.port), subscription, lambda: None)


@pytest.mark.parametrize("limit", ["messages", "bytes"])
async def test_no_more_is_read_than_may_be_in_hand(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(gateway_broker, "IN_HAND_MAX", 10 if limit == "messages" else 1_000)
    monkeypatch.setattr(gateway_broker, "IN_HAND_BYTES_MAX", 100 if limit == "bytes" else 1 << 20)
    async with connection(broker) as opened:
        for mid in range(1, 101):
            await broker.publish(TOPIC, b"ten bytes.", mid)
        taken = 0
        while taken < 100:
            here = []
            with contextlib.suppress(TimeoutError):
                while len(here) <= 10:
                    here += await asyncio.wait_for(opened.messages(), 0.05)
            assert [message.mid for message in here] == list(range(taken + 1, taken + 11))
            taken += 10
            opened.acknowledge(here)
        await until(lambda: broker.acknowledged == list(range(1, 101)))


async def test_what_came_before_the_end_is_told_before_it(broker: FakeBroker) -> None:
    async with connection(broker) as opened:
        await until(lambda: broker.filters)
        await broker.publish(TOPIC, b"last", 1)
        await broker.publish(TOPIC, b"words", 2)
        arrived = await opened.messages()
        broker.end()
        with pytest.raises(BrokerAway, match="the connection has ended"):
            await _into(arrived, opened)
        assert [message.payload for message in arrived] == [b"last", b"words"]


async def _into(arrived: list[Message], opened: BrokerConnection) -> None:
    while True:
        arrived += await opened.messages()


async def test_what_the_broker_is_told_of_the_gateway(broker: FakeBroker) -> None:
    more = {"username": "u", "password": "p", "shared": "group", "status_topic": STATUS}
    async with connection(broker, **more):
        await until(lambda: len(broker.filters) == 2)
    await until(lambda: broker.goodbyes == 1)
    assert broker.filters == [f"$share/group/{TOPIC}", STATUS]
    (told,) = broker.connects
    assert told.startswith(b"\x00\x04MQTT\x04")
    assert told[7] == 0b1100_0000  # name and password; the session stays, and there is no will
    assert told.endswith(b"\x00\x0escantrail-gate\x00\x01u\x00\x01p")
