"""A conveyor's questions with all that answers them, on a real disk."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from component.fake_outlet import FakeOutlet
from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain.hold import Hold, HoldReason
from scantrail.domain.order import Order, OrderLine
from scantrail.domain.product import Product
from scantrail.domain.recall import Recall, Selector
from scantrail.domain.station import Station
from scantrail.domain.verdict import Judgement
from scantrail.domain.vocabulary import BusinessStep
from scantrail.gateway.contexts import Contexts
from scantrail.gateway.conveyor_settings import ANSWERS_DEFAULT, OsipSettings
from scantrail.gateway.decoders.outcome import Read
from scantrail.gateway.notices import Notices
from scantrail.gateway.orders import Orders
from scantrail.gateway.readers import ReaderSettings
from scantrail.gateway.scans import Known
from scantrail.gateway.spool import Spool
from scantrail.gateway.statuses import Statuses
from scantrail.gateway.verdicts import Verdicts

#: Nothing is released before all of these were read, nor while one of them is old.
CONFIRMED = (Topic.RECALLS, Topic.HOLDS, Topic.IDENTIFIERS, Topic.PRODUCTS)
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
GTIN = "09506000134352"
READERS = {
    "exit": ReaderSettings(id="exit", station="gate", protocol="tcp", verdict=ANSWERS_DEFAULT),
    "plc": ReaderSettings(
        id="plc",
        station="gate",
        protocol="tcp-osip",
        product="PUMP-7",
        osip=OsipSettings(locations={"OUT": "truck", "SIDE": "lane"}, hold_target="CHECK"),
    ),
    "plain": ReaderSettings(
        id="plain",
        station="gate",
        protocol="http-generic",
        product="PUMP-7",
        antennas={2: "lane"},
    ),
}
GATE = Station(
    id="gate",
    site="north",
    business_step=BusinessStep.SHIPPING,
    read_point="gate.left",
    possessing_party="swift",
)
LANE = replace(
    GATE, id="lane", business_step=BusinessStep.STAGING_OUTBOUND, business_location="Lane 4"
)
TRUCK = replace(GATE, id="truck")
RECALL = Recall(
    id="R-1",
    title="Battery",
    reason="heats",
    selectors=(Selector(kind="prefix", prefix="R"),),
)


def code(serial: str) -> str:
    return f"01{GTIN}21{serial}"


def unit(serial: str) -> str:
    return f"sgtin:{GTIN}.{serial}"


class Belt:
    """Verdicts with all that they need, and what reached the way to Kafka."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.at = 1000.0
        self.outlet = FakeOutlet()
        self.notices = Notices(clock=lambda: self.at)
        self.orders = Orders(folder, clock=lambda: self.at)
        self.journal = Spool(folder / "questions.db", bytes_max=more.pop("bytes_max", 1 << 20))
        self.keys: dict[str, tuple[str, ...] | None] = {}
        self.products: dict[str, Product] = {}
        self.known = Known(
            READERS,
            {each.id: each for each in (GATE, LANE, TRUCK)},
            self.products,
            unit_of=lambda key: next((u for u, k in self.keys.items() if k and key in k), key),
            keys_of=lambda key: self.keys.get(key, (key,)),
        )
        self.contexts = Contexts()
        statuses = Statuses("test", READERS, self.contexts, now=lambda: NOW)
        settings = {"deadline_s": 0.1, "stale_s": 30.0, "clock": lambda: self.at} | more
        self.now = NOW
        self.verdicts = Verdicts(
            "test",
            self.known,
            self.notices,
            self.orders,
            self.journal,
            self.contexts,
            statuses,
            now=lambda: self.now,
            **settings,
        )
        self.statuses = statuses

    def ready(self) -> "Belt":
        for topic in CONFIRMED:
            self.notices.confirm(topic, self.at)
        self.orders.confirm(self.at)
        return self

    async def close(self) -> None:
        self.orders.close()
        await self.journal.close()

    def hold(self, serial: str, *reasons: str) -> None:
        told = tuple(HoldReason(id=each, text="scratched") for each in reasons)
        value = encode(Hold(id=unit(serial), reasons=told)) if told else None
        self.notices.take(Topic.HOLDS, unit(serial), value)

    def order(self, reference: str, **lines: int) -> None:
        """Enter an order; `_` stands for the product of these units."""
        told = tuple(
            OrderLine(product=GTIN if name == "_" else name, quantity=quantity)
            for name, quantity in lines.items()
        )
        self.orders.take(reference, encode(Order(id=reference, lines=told)))

    async def ask(self, serial: str, order: str | None = None, **more: Any) -> Judgement:
        return await self.verdicts.ask("exit", Read(code(serial), order=order), **more)

    def disk_waits_for(self, event: asyncio.Event) -> None:
        """Whatever is written from now on takes until `event`, though nobody waits so long."""
        append = self.journal.append

        async def at_last(*told: Any) -> None:
            await event.wait()
            await append(*told)

        async def slowly(*told: Any) -> None:
            await asyncio.shield(asyncio.ensure_future(at_last(*told)))

        self.journal.append = slowly  # type: ignore[method-assign]

    async def forwarded(self) -> FakeOutlet:
        """Once all that the journal has is on its way."""
        outgoing: Any = self.outlet
        forwarding = asyncio.create_task(self.verdicts.forward(outgoing))
        while self.journal.count:
            await asyncio.sleep(0.005)
        forwarding.cancel()
        await asyncio.wait({forwarding})
        return self.outlet

    async def steps(self) -> list[tuple[str, str]]:
        return [(scan.unit, scan.business_step) for scan in (await self.forwarded()).scans]


class Line:
    """What was sent, and when."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.at: list[float] = []

    async def send(self, answer: bytes) -> None:
        self.sent.append(answer)
        self.at.append(time.monotonic())
