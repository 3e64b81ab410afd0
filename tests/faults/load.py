"""Scans of units that live their lives, numbered, questions of conveyors beside them, and a ledger
of what the gateways accepted and answered."""

import asyncio
import contextlib
import heapq
import random
import time
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import psycopg

from faults.installation import CLOCKED, PATH, TWICE, Installation
from scantrail.domain.alert import AlertKind
from scantrail.domain.verdict import Verdict

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

#: Some serials are on two units, and begin so: once one has left, the other leaves.
TWIN_EACH, TWIN = 7, "T"

#: Some are scanned where each gateway's reader has a wrong clock, and begin so.
CLOCKED_EACH, OF_CLOCKED = 4, "C"

#: By how much such a clock is ahead, or what it shows.
CLOCKS: tuple[timedelta | datetime, ...] = (
    timedelta(hours=2),
    timedelta(days=-1),
    datetime(1970, 1, 2, tzinfo=UTC),
    datetime(2038, 1, 19, tzinfo=UTC),
)

#: A reader without contact tells its scans for days: no clock is wrong that is behind by less.
TOLD_LATE_MAX = timedelta(days=2)

#: Beside so many of the units a conveyor asks for one of its own, which nobody scans; so many of
#: these are recalled.
ASKED, ASKED_RECALLED = 0.4, 0.4

#: The station at which units leave, and conveyors ask.
LAST = list(PATH)[-1]

#: One alert, whichever comes first (domain.alert.alert_id).
OF_RECALLS = (AlertKind.RECALLED_AT_SHIPPING, AlertKind.RECALLED_ALREADY_SHIPPED)

_LOOK_EVERY_S = 0.1
_LOOK_AGAIN_S_MAX = 1.0
_TRY_AGAIN_S = 0.25


@dataclass(slots=True)
class Sent:
    """One scan; times of the monotonic clock."""

    unit: str
    event_id: str
    station: str
    accepted_at: float | None = None
    seen_at: float | None = None
    #: when an alert of its unit was there, of those that it is to raise
    alerted_at: float | None = None
    #: by how much its reader's clock is ahead
    ahead: timedelta = timedelta()
    #: what the reader posts, and where
    read: Mapping[str, object] = field(default_factory=dict)
    url: str = ""

    @property
    def to_alert(self) -> tuple[AlertKind, ...]:
        """Of these it raises one: a recalled unit was shipped, or a serial left twice."""
        if self.station == TWICE:
            return (AlertKind.DUPLICATE_SERIAL,)
        return OF_RECALLS if self.station == LAST and is_recalled(self.unit) else ()


@dataclass(slots=True)
class Question:
    """What a conveyor asked, each of a unit of its own, and what it did. Only a release that came
    lets the unit go: no answer is a hold."""

    unit: str
    gateway: str
    verdict: Verdict = Verdict.HOLD
    #: the gateway's word; None: there was no answer
    reason: str | None = None
    #: from the question to the end of the answer, and what the gateway allows itself
    took_s: float = 0.0
    deadline_s: float = 0.0
    seen_at: float | None = None
    alerted_at: float | None = None

    @property
    def is_released(self) -> bool:
        """Whether the unit went."""
        return self.verdict is Verdict.RELEASE

    @property
    def to_alert(self) -> tuple[AlertKind, ...]:
        """As a scan's, once the question is in history."""
        return OF_RECALLS if is_recalled(self.unit) and self.seen_at is not None else ()


@dataclass(slots=True)
class Ledger:
    """Everything that was sent; scans by the ids that they were sent with."""

    sent: dict[str, Sent] = field(default_factory=dict)
    questions: list[Question] = field(default_factory=list)

    @property
    def accepted(self) -> list[Sent]:
        """What a gateway said that it has."""
        return [each for each in self.sent.values() if each.accepted_at is not None]

    def unseen(self) -> list[Sent]:
        """Accepted, and not in the database yet."""
        return [each for each in self.accepted if each.seen_at is None]

    def unrecorded(self) -> list[Question]:
        """Released, and in the database there is no scan of the question yet."""
        return [each for each in self.questions if each.is_released and each.seen_at is None]

    def unalerted(self) -> list[Sent | Question]:
        """What has no alert yet of those that it is to raise."""
        told: list[Sent | Question] = [*self.accepted, *self.questions]
        return [each for each in told if each.to_alert and each.alerted_at is None]


def is_recalled(unit: str) -> bool:
    """Whether the recall means it, by its serial."""
    return unit.rpartition(".")[2].startswith(RECALLED)


def is_twin(unit: str) -> bool:
    """Whether two units bear its serial."""
    return unit.rpartition(".")[2].startswith(TWIN)


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
        self._gateways = site.of("gateway")
        self._urls = [site.settings[name].gateway_url for name in self._gateways]
        now = datetime.now(UTC)
        self._ahead: list[timedelta] = [
            clock - now if isinstance(clock, datetime) else clock
            for clock in chosen.sample(CLOCKS, len(self._urls))
        ]
        self._http: aiohttp.ClientSession | None = None

    async def run(self) -> None:
        """Until end(); returns once all that was begun is accepted."""
        begin, chosen = time.monotonic(), self._chosen
        due: list[tuple[float, int, int]] = []
        made = 0
        # A connection each: what was killed is not asked again by one that it left behind.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        timeout = aiohttp.ClientTimeout(total=8)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
            self._http = http
            while not (self._ending.is_set() and not due):
                now = time.monotonic()
                while not self._ending.is_set() and made < (now - begin) * UNITS_PER_S:
                    heapq.heappush(due, (now, self.next_unit, 0))
                    if chosen.random() < ASKED:
                        self._ask(http, self.next_unit)
                    self.next_unit, made = self.next_unit + 1, made + 1
                while due and due[0][0] <= now:
                    _, number, stage = heapq.heappop(due)
                    self._begin(http, number, stage)
                    if stage + 1 < len(_life(number)):
                        again = now + chosen.uniform(*BETWEEN_S)
                        heapq.heappush(due, (again, number, stage + 1))
                await asyncio.sleep(0.02)
            while self._posts:
                await asyncio.wait(self._posts)

    def end(self) -> None:
        """No more units; those that live end their lives."""
        self._ending.set()

    def send_again(self) -> None:
        """Whatever was accepted so far, as a reader does that knows of no answer."""
        assert self._http is not None, "nothing was sent yet"
        for sent in self.ledger.accepted:
            self._behind(_post(self._http, sent, 0.0))

    def _begin(self, http: aiohttp.ClientSession, number: int, stage: int) -> None:
        chosen = self._chosen
        serial, station = _serial(number), _life(number)[stage]
        gateway = chosen.randrange(len(self._urls))
        event_id = f"{number}-{stage}"
        ahead = self._ahead[gateway] if station == CLOCKED else timedelta()
        sent = Sent(
            unit=f"sgtin:{GTIN}.{serial}",
            event_id=event_id,
            station=station,
            ahead=ahead,
            read={
                "code": f"01{GTIN}21{serial}",
                "event_id": event_id,
                "timestamp": (datetime.now(UTC) + ahead).isoformat(),
            },
            url=f"{self._urls[gateway]}/ingest/v1/generic?reader={station}-{gateway + 1}",
        )
        self.ledger.sent[event_id] = sent
        wait_s = chosen.uniform(*LATE_S) if chosen.random() < LATE else 0.0
        for after_s in [wait_s, wait_s + 0.5][: 2 if chosen.random() < AGAIN else 1]:
            self._behind(_post(http, sent, after_s))

    def _ask(self, http: aiohttp.ClientSession, number: int) -> None:
        """As a conveyor does, of either gateway."""
        chosen = self._chosen
        serial = f"{RECALLED if chosen.random() < ASKED_RECALLED else ''}Q{number}"
        gateway = chosen.randrange(len(self._urls))
        question = Question(f"sgtin:{GTIN}.{serial}", self._gateways[gateway])
        self.ledger.questions.append(question)
        self._behind(ask(http, self._urls[gateway], f"01{GTIN}21{serial}", question))

    def _behind(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._posts.add(task)
        task.add_done_callback(self._posts.discard)


def _serial(number: int) -> str:
    if number % RECALLED_EACH == 0:
        return f"{RECALLED}{number}"
    if number % TWIN_EACH == 0:
        return f"{TWIN}{number}"
    return f"{OF_CLOCKED if number % CLOCKED_EACH == 0 else 'S'}{number}"


def _life(number: int) -> list[str]:
    """The stations at which the bearers of a serial are scanned. What the clocks of two readers
    tell may put them in any order: whoever meets a wrong clock is not received."""
    serial, path = _serial(number), list(PATH)
    if serial.startswith(OF_CLOCKED):
        return [path[1], CLOCKED, *path[2:]]
    return [*path, TWICE] if serial.startswith(TWIN) else path


async def ask(http: aiohttp.ClientSession, url: str, code: str, question: Question) -> None:
    """Once, and note the answer, however late it is; without one the question stays a hold."""
    asked_at = time.monotonic()
    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
        body = {"read": code, "station": LAST}
        async with http.post(f"{url}/verdict/v1", json=body) as answer:
            told = await answer.json()
            if answer.status == 200:
                question.took_s = time.monotonic() - asked_at
                question.deadline_s = told["deadline_ms"] / 1000
                question.verdict, question.reason = Verdict(told["verdict"]), told["reason"]


async def _post(http: aiohttp.ClientSession, sent: Sent, after_s: float) -> None:
    """As a reader does: again and again, until it is taken."""
    await asyncio.sleep(after_s)
    while True:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with http.post(sent.url, json={"reads": [sent.read]}) as answer:
                told = await answer.json()
                if answer.status == 200 and told["accepted"] == 1:
                    if sent.accepted_at is None:
                        sent.accepted_at = time.monotonic()
                    return
        await asyncio.sleep(_TRY_AGAIN_S)


async def watch(database_url: str, ledger: Ledger) -> None:
    """Note when each accepted scan, each question and each alert is first seen in the database,
    until cancelled."""
    while True:
        begin = time.monotonic()
        with contextlib.suppress(psycopg.Error):
            waiting = ledger.unseen()
            asked = {each.unit: each for each in ledger.questions if each.seen_at is None}
            if waiting or asked:
                units = {*(each.unit for each in waiting), *asked}
                found = await asyncio.to_thread(_events, database_url, units)
                now = time.monotonic()
                for unit, event_id in found:
                    seen = asked.get(unit) or ledger.sent.get(short(event_id))
                    if seen is not None and seen.seen_at is None:
                        seen.seen_at = now
            if wanted := ledger.unalerted():
                told = await asyncio.to_thread(_alerted, database_url, {s.unit for s in wanted})
                now = time.monotonic()
                for each in wanted:
                    if any((each.unit, kind.value) in told for kind in each.to_alert):
                        each.alerted_at = now
        # Where much is waited for, looking takes long, and others have work to do. Where a look
        # itself had to wait, as for a table that is locked, the next one comes all the same.
        took_s = time.monotonic() - begin
        await asyncio.sleep(min(max(_LOOK_EVERY_S, took_s), _LOOK_AGAIN_S_MAX))


def _events(database_url: str, units: Iterable[str]) -> list[tuple[str, str]]:
    """Of these units, with them: in history, or set aside because the code failed."""
    query = """
        SELECT unit, event_id FROM movement WHERE unit = ANY(%(units)s) UNION ALL
        SELECT unit, convert_from(payload, 'UTF8')::json ->> 'event_id' FROM rejected
        WHERE unit = ANY(%(units)s)
    """
    with psycopg.connect(database_url, connect_timeout=3) as connection:
        found = connection.execute(query, {"units": list(units)})
        return [(unit, event_id) for unit, event_id in found]


def _alerted(database_url: str, units: Iterable[str]) -> set[tuple[str, str]]:
    """Of these units, the kinds of alerts that they have."""
    query = "SELECT unit, kind FROM alert WHERE unit = ANY(%s) AND status <> 'withdrawn'"
    with psycopg.connect(database_url, connect_timeout=3) as connection:
        return {(unit, kind) for unit, kind in connection.execute(query, [list(units)])}
