"""One fault after the other in one installation, each followed by the checker."""

import asyncio
import contextlib
import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import httpx
import psycopg

from faults.catalogue import Fault, Setting
from faults.checker import DOUBLED, LOST, Broken, broken
from faults.installation import STATIONS, TWICE, Installation
from faults.lags import lags_at_last
from faults.load import GTIN, LAST, RECALL, RECALLED, Ledger, Load, Question, ask, watch
from scantrail.cli.addresses import page_address
from scantrail.domain.verdict import Why

BEFORE_S, AFTER_S = 3.0, 4.0
#: So long after the end of the load everything accepted is in the database, and its alerts.
DRAIN_S_MAX = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one fault. `recovered_s`: from its beginning, or its end where nothing can pass
    meanwhile, to when the last scan, or alert, that had to wait was in the database. `slowest_s`:
    of the releases among the answers to `asked` questions. `ended`: how often each process ended
    that nobody told to."""

    fault: Fault
    scans: int
    recovered_s: float
    undrained: int
    broken: Broken
    asked: int = 0
    released: int = 0
    slowest_s: float = 0.0
    ended: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_well(self) -> bool:
        """Whether nothing is broken, and all of it came in time."""
        return not self.lines()

    def line(self) -> str:
        """For the table."""
        lost, doubled = (self.broken.counts[column] for column in (LOST, DOUBLED))
        slowest_ms, ended = self.slowest_s * 1000, sum(self.ended.values())
        word = "" if self.is_well else "  <- BROKEN"
        return (
            f"{self.fault.number:4} {self.fault.name:38} {self.scans:6} {self.recovered_s:7.1f} s"
            f" {lost:6} {doubled:8} {self.asked:6} {self.released:8} {slowest_ms:5.0f} ms"
            f" {ended:6}{word}"
        )

    def lines(self) -> list[str]:
        """What is not well, below the line."""
        told = list(self.broken)
        if self.undrained:
            told.append(f"{self.undrained} scans were not in the database after {DRAIN_S_MAX:g} s")
        if self.recovered_s > self.fault.within_s:
            told.append(f"it took longer to recover than {self.fault.within_s:g} s")
        if self.fault.lived_through:
            told += [
                f"{name} ended {times} times, and nobody told it to"
                for name, times in self.ended.items()
                if not name.startswith("tracker-")
            ]
        return told


HEAD = (
    f"{'':4} {'fault':38} {'scans':>6} {'recovered':>9} {'lost':>6} {'doubled':>8}"
    f" {'asked':>6} {'released':>8} {'slowest':>8} {'ended':>6}"
)


async def prepare(site: Installation) -> None:
    """Stations and the recall, known to every gateway before any unit is asked for."""
    api = page_address(site.settings["api-1"])
    async with httpx.AsyncClient(base_url=api, timeout=30) as http:
        for station, step in STATIONS.items():
            body = {
                "site": "north",
                "business_step": step.value,
                "business_location": None if station in (LAST, TWICE) else f"Hall {station}",
                "possessing_party": {"dock": "us", LAST: "carrier", TWICE: "carrier"}.get(station),
            }
            (await http.put(f"/stations/{station}", json=body)).raise_for_status()
        answer = (await http.post("/recalls", json=RECALL)).raise_for_status()
        deadline = time.monotonic() + 60
        while not answer.json()["published"]:
            assert time.monotonic() < deadline, "the recall is not published"
            await asyncio.sleep(0.2)
            answer = (await http.get(f"/recalls/{RECALL['id']}")).raise_for_status()
    await _await_stations(site)
    for name in site.of("gateway"):
        await _await_verdicts(site, name)


async def _await_stations(site: Installation) -> None:
    """Return once reads at each station of each gateway, of units of nobody's, become scans."""
    wanted = {
        f"{station}-{name.partition('-')[2]}" for name in site.of("gateway") for station in STATIONS
    }
    deadline = time.monotonic() + 60
    with psycopg.connect(site.base.database_url, autocommit=True) as database:
        async with httpx.AsyncClient(timeout=10) as http:
            while missing := wanted - _readers(database):
                assert time.monotonic() < deadline, f"reads of {missing} become no scans"
                for reader in missing:
                    url = site.settings[f"gateway-{reader[-1]}"].gateway_url
                    code = f"01{GTIN}21P{secrets.token_hex(4)}"
                    path = f"{url}/ingest/v1/generic?reader={reader}"
                    await http.post(path, json={"reads": [{"code": code}]})
                await asyncio.sleep(0.5)


async def _await_verdicts(site: Installation, name: str) -> None:
    """Return once the gateway knows the recall, and releases what it does not mean."""
    wanted = {RECALLED: Why.RECALLED.value, "": Why.CLEAR.value}
    deadline = time.monotonic() + 60
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        for begin, reason in wanted.items():
            while True:
                serial = f"{begin}P{secrets.token_hex(4)}"
                asked = Question(f"sgtin:{GTIN}.{serial}", name)
                await ask(http, site.settings[name].gateway_url, f"01{GTIN}21{serial}", asked)
                if asked.reason == reason:
                    break
                assert time.monotonic() < deadline, f"{name} says {asked.reason}, not {reason}"
                await asyncio.sleep(0.5)


def _readers(database: "psycopg.Connection[Any]") -> set[str]:
    return {reader for (reader,) in database.execute("SELECT DISTINCT reader FROM movement")}


async def run_fault(
    site: Installation, fault: Fault, *, seed: int, first: int, is_long: bool
) -> tuple[Result, int]:
    """The fault amid a load; also the number of the next unit."""
    chosen = random.Random(f"{seed} {fault.name}")
    ended = site.ended()
    load = Load(site, chosen, first)
    watching = asyncio.create_task(watch(site.base.database_url, load.ledger))
    sending = asyncio.create_task(load.run())
    try:
        await asyncio.sleep(BEFORE_S)
        begin = time.monotonic()
        counted_from = await fault.make(Setting(site, chosen, is_long or fault.in_full, load))
        await asyncio.sleep(AFTER_S)
        load.end()
        await sending
        undrained = await _drained(load.ledger)
        left = await lags_at_last(site.base)
        found = await broken(site, load.ledger, left)
    finally:
        for task in (sending, watching):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(sending, watching, return_exceptions=True)
    recovered = _recovered(load.ledger, begin, counted_from, of_alerts=fault.of_alerts)
    released = [each.took_s for each in load.ledger.questions if each.is_released]
    result = Result(
        fault=fault,
        scans=len(load.ledger.accepted),
        recovered_s=recovered,
        undrained=undrained,
        broken=found,
        asked=len(load.ledger.questions),
        released=len(released),
        slowest_s=max(released, default=0.0),
        ended=site.ended() - ended,
    )
    return result, load.next_unit


async def _drained(ledger: Ledger) -> int:
    """Wait for all that was accepted or released, and its alerts; how many scans are not there in
    time. Of alerts that are not the checker tells."""
    deadline = time.monotonic() + DRAIN_S_MAX
    while ledger.unseen() or ledger.unrecorded() or ledger.unalerted():
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.2)
    return len(ledger.unseen()) + len(ledger.unrecorded())


def _recovered(ledger: Ledger, begin: float, counted_from: float, *, of_alerts: bool) -> float:
    """The longest that a scan, or an alert, of the fault's time waited, not before
    `counted_from`."""
    waits = [
        there_at - max(each.accepted_at, counted_from)
        for each in ledger.accepted
        if each.accepted_at is not None
        and (there_at := each.alerted_at if of_alerts else each.seen_at) is not None
        and there_at > begin
    ]
    return max([0.0, *waits])


def run_all_in(site: Installation, faults: Sequence[Fault], **told: Any) -> list[Result]:
    """As run_all, in a loop of its own."""
    return asyncio.run(run_all(site, faults, **told))


async def run_all(
    site: Installation,
    faults: Sequence[Fault],
    *,
    seed: int,
    is_long: bool,
    say: Callable[[str], None],
) -> list[Result]:
    """All of them, one after the other; what is broken is said at once."""
    await prepare(site)
    results, first = list[Result](), 1
    for fault in faults:
        result, first = await run_fault(site, fault, seed=seed, first=first, is_long=is_long)
        results.append(result)
        say(result.line())
        for line in result.lines():
            say(f"       {line}")
    return results
