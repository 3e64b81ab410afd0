"""Scans of units that live their lives, numbered, and a ledger of what the gateways accepted."""

import asyncio
import contextlib
import heapq
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import aiohttp
import psycopg

from faults.installation import PATH, Installation
from scantrail.domain.alert import AlertKind

GTIN = "09506000134352"
UNITS_PER_S = 8.0

#: Of scans so many are sent again, and so many come late.
AGAIN, LATE = 0.1, 0.08
LATE_S = (2.0, 7.0)
BETWEEN_S = (0.6, 2.0)

#: Each so-and-so-manieth unit is recalled: its serial begins so.
RECALLED_EACH, RECALLED = 5, "R"
RECALL = {
    "id": "R-1",
    "title": "Battery",
    "reason": "may overheat",
    "products": [GTIN],
    "selectors": [{"kind": "prefix", "prefix": RECALLED}],
}

#: The station at which units leave.
LAST = list(PATH)[-1]

#: One alert, whichever comes first (domain.alert.alert_id).
OF_RECALLS = (AlertKind.RECALLED_AT_SHIPPING, AlertKind.RECALLED_ALREADY_SHIPPED)

_LOOK_EVERY_S = 0.1
_TRY_AGAIN_S = 0.25


@dataclass(slots=True)
class Sent:
    """One scan; times of the monotonic clock."""

    unit: str
    event_id: str
    station: str
    accepted_at: float | None = None
    seen_at: float | None = None
    #: when a recall's alert of its unit was there, of a shipping of a recalled one
    alerted_at: float | None = None

    @property
    def is_to_alert(self) -> bool:
        """Whether a recalled unit was shipped."""
        return self.station == LAST and self.unit.rpartition(".")[2].startswith(RECALLED)


@dataclass(slots=True)
class Ledger:
    """Everything that was sent; scans by the ids that they were sent with."""

    sent: dict[str, Sent] = field(default_factory=dict)

    @property
    def accepted(self) -> list[Sent]:
        """What a gateway said that it has."""
        return [each for each in self.sent.values() if each.accepted_at is not None]

    def unseen(self) -> list[Sent]:
        """Accepted, and not in the database yet."""
        return [each for each in self.accepted if each.seen_at is None]

    def unalerted(self) -> list[Sent]:
        """Accepted shippings of recalled units that have no alert yet."""
        return [each for each in self.accepted if each.is_to_alert and each.alerted_at is None]


def short(event_id: str) -> str:
    """The id that a scan was sent with; the gateway puts the reader before it."""
    return event_id.rpartition("/")[2]


class Load:
    """Sends until it is told to end; units are numbered on from `first`."""

    def __init__(self, site: Installation, chosen: random.Random, first: int = 0) -> None:
        self.ledger = Ledger()
        self.next_unit = first
        self._site = site
        self._chosen = chosen
        self._ending = asyncio.Event()
        self._posts = set[asyncio.Task[None]]()
        self._urls = [site.settings[name].gateway_url for name in site.of("gateway")]

    async def run(self) -> None:
        """Until end(); returns once all that was begun is accepted."""
        begin, chosen = time.monotonic(), self._chosen
        due: list[tuple[float, int, int]] = []
        made = 0
        # A connection each: what was killed is not asked again by one that it left behind.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        timeout = aiohttp.ClientTimeout(total=8)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
            while not (self._ending.is_set() and not due):
                now = time.monotonic()
                while not self._ending.is_set() and made < (now - begin) * UNITS_PER_S:
                    heapq.heappush(due, (now, self.next_unit, 0))
                    self.next_unit, made = self.next_unit + 1, made + 1
                while due and due[0][0] <= now:
                    _, number, stage = heapq.heappop(due)
                    self._begin(http, number, stage)
                    if stage + 1 < len(PATH):
                        again = now + chosen.uniform(*BETWEEN_S)
                        heapq.heappush(due, (again, number, stage + 1))
                await asyncio.sleep(0.02)
            while self._posts:
                await asyncio.wait(self._posts)

    def end(self) -> None:
        """No more units; those that live end their lives."""
        self._ending.set()

    def _begin(self, http: aiohttp.ClientSession, number: int, stage: int) -> None:
        chosen = self._chosen
        serial = f"{RECALLED if number % RECALLED_EACH == 0 else 'S'}{number}"
        station = list(PATH)[stage]
        gateway = chosen.randrange(len(self._urls))
        event_id = f"{number}-{stage}"
        sent = Sent(f"sgtin:{GTIN}.{serial}", event_id, station)
        self.ledger.sent[event_id] = sent
        read = {"code": f"01{GTIN}21{serial}", "event_id": event_id, "timestamp": time.time()}
        url = f"{self._urls[gateway]}/ingest/v1/generic?reader={station}-{gateway + 1}"
        wait_s = chosen.uniform(*LATE_S) if chosen.random() < LATE else 0.0
        for after_s in [wait_s, wait_s + 0.5][: 2 if chosen.random() < AGAIN else 1]:
            task = asyncio.create_task(_post(http, url, read, sent, after_s))
            self._posts.add(task)
            task.add_done_callback(self._posts.discard)


async def _post(
    http: aiohttp.ClientSession, url: str, read: dict[str, object], sent: Sent, after_s: float
) -> None:
    """As a reader does: again and again, until it is taken."""
    await asyncio.sleep(after_s)
    while True:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with http.post(url, json={"reads": [read]}) as answer:
                told = await answer.json()
                if answer.status == 200 and told["accepted"] == 1:
                    if sent.accepted_at is None:
                        sent.accepted_at = time.monotonic()
                    return
        await asyncio.sleep(_TRY_AGAIN_S)


async def watch(database_url: str, ledger: Ledger) -> None:
    """Note when each accepted scan, and each alert, is first seen in the database, until
    cancelled."""
    while True:
        with contextlib.suppress(psycopg.Error):
            waiting = ledger.unseen()
            if waiting:
                found = await asyncio.to_thread(_events, database_url, {s.unit for s in waiting})
                now = time.monotonic()
                for event_id in found:
                    sent = ledger.sent.get(short(event_id))
                    if sent is not None and sent.seen_at is None:
                        sent.seen_at = now
            if wanted := ledger.unalerted():
                units = await asyncio.to_thread(_alerted, database_url, {s.unit for s in wanted})
                now = time.monotonic()
                for sent in wanted:
                    sent.alerted_at = now if sent.unit in units else None
        await asyncio.sleep(_LOOK_EVERY_S)


def _events(database_url: str, units: Iterable[str]) -> list[str]:
    """Of these units: in history, or set aside because the code failed."""
    query = """
        SELECT event_id FROM movement WHERE unit = ANY(%(units)s) UNION ALL
        SELECT convert_from(payload, 'UTF8')::json ->> 'event_id' FROM rejected
        WHERE unit = ANY(%(units)s)
    """
    with psycopg.connect(database_url, connect_timeout=3) as connection:
        found = connection.execute(query, {"units": list(units)})
        return [event_id for (event_id,) in found]


def _alerted(database_url: str, units: Iterable[str]) -> set[str]:
    """Those of the units of which an alert tells that they are recalled."""
    query = "SELECT unit FROM alert WHERE unit = ANY(%s) AND kind = ANY(%s)"
    with psycopg.connect(database_url, connect_timeout=3) as connection:
        found = connection.execute(query, [list(units), [kind.value for kind in OF_RECALLS]])
        return {unit for (unit,) in found}
