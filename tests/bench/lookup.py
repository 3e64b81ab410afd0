"""How long a person waits for "where is it", and for "how did it get there"."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import httpx

from bench import inventory
from bench.feed import Feed
from bench.installation import (
    Usage,
    installed,
    leave_only,
    pid_of,
    postgres_cpu_s,
    reach,
)
from bench.inventory import FEW, MANY
from bench.load import load_http
from bench.load_http import HttpAnswer, HttpJob, HttpRequest
from bench.measure import Measure, Part, Unfinished, milliseconds, percentile, say
from bench.rows import stored_offsets
from scantrail.cli.addresses import page_address
from scantrail.cli.stack import Stack

PER_S = 200
SECONDS = 20
#: The same before it: a desk does not begin with processes that have just been started.
WARM_UP_S = 3
#: What the projector writes beside it.
SCANS_PER_S = 2_000
#: Of trails so many are long ones.
LONG_EVERY = 20
CONNECTIONS = 32
#: The load's process needs a while to start, twice.
SETTLE_S = 40
SEED = 1

NAMES = ("lookup_p50_ms", "lookup_p99_ms", "lookup_growth", "trail_p99_ms")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What requests were answered, and what it took."""

    answers: list[HttpAnswer]
    api_us: float
    postgres_share: float
    rss_mb: float
    scans_behind: int

    def waits_ms(self, percent: float) -> float:
        """From when a request was due to the end of its answer."""
        waits = [milliseconds(answer.due_ns, answer.answered_ns) for answer in self.answers]
        return round(percentile(waits, percent), 2)

    def share(self, wanted: Callable[[int], bool]) -> "_Asked":
        """Of these requests alone, by their place."""
        some = [answer for place, answer in enumerate(self.answers) if wanted(place)]
        return replace(self, answers=some)

    def spread(self) -> dict[str, Any]:
        """How many, and how their waits are spread."""
        waits = {f"p{p}": self.waits_ms(p) for p in (50, 90, 99, 100)}
        return {"requests": len(self.answers), "ms": waits}

    def detail(self, units: int) -> dict[str, Any]:
        """For a line of output."""
        late = [milliseconds(answer.due_ns, answer.sent_ns) for answer in self.answers]
        return {
            "units": units,
            "per_s": PER_S,
            **self.spread(),
            "sent_late_ms_p99": round(percentile(late, 99), 2),
            "api_cpu_us_per_request": round(self.api_us),
            "postgres_cpu_share_of_one_core": round(self.postgres_share, 2),
            "rss_mb": round(self.rss_mb),
            "scans_per_s_beside": SCANS_PER_S,
            "scans_behind_at_the_end": self.scans_behind,
        }


def measure_lookup() -> list[Measure]:
    """`lookup_p50_ms`, `lookup_p99_ms`: 1,000,000 units are in the database, the projector writes
    2,000 scans/s of them; random ones are asked for, 200 times a second for 20 s, at set times, by
    any of their spellings: key, element string, bare serial, tag in hex, second IMEI; from when
    `GET /units/{spelling}` is due to the end of its answer.
    `lookup_growth`: that p50 by the same with 100,000 units.
    `trail_p99_ms`: the same of `GET /units/{spelling}/trail`; of 20 units one has 400 scans, the
    others 1 to 4; the worse p99 of both kinds.
    """
    with installed() as stack:
        leave_only(stack, "api", "projector")
        return asyncio.run(_measure(stack))


async def _measure(stack: Stack) -> list[Measure]:
    url = stack.settings.database_url
    feed = Feed(stack.settings, FEW)
    chosen = random.Random(SEED)
    inventory.fill(url, range(FEW))
    few = await _ask(stack, feed, _lookups(chosen, FEW))
    inventory.fill(url, range(FEW, MANY))
    feed.units = MANY
    many = await _ask(stack, feed, _lookups(chosen, MANY))
    trails = await _ask(stack, feed, _trails(chosen))
    await _check(stack, chosen)
    p50 = {name: each.waits_ms(50) for name, each in (("few", few), ("many", many))}
    of_long = trails.share(lambda place: place % LONG_EVERY == 0)
    of_others = trails.share(lambda place: place % LONG_EVERY != 0)
    return [
        *(
            Measure(
                name=f"lookup_p{p}_ms", value=many.waits_ms(p), unit="ms", detail=many.detail(MANY)
            )
            for p in (50, 99)
        ),
        Measure(
            name="lookup_growth",
            value=round(p50["many"] / p50["few"], 2),
            unit="ratio",
            detail={
                "by_p99": round(many.waits_ms(99) / few.waits_ms(99), 2),
                "by_api_cpu": round(many.api_us / few.api_us, 2),
                "few": few.detail(FEW),
                "many": many.detail(MANY),
            },
        ),
        Measure(
            name="trail_p99_ms",
            value=max(of_long.waits_ms(99), of_others.waits_ms(99)),
            unit="ms",
            detail={
                "long": {"scans": inventory.LONG_TRAIL, **of_long.spread()},
                "others": of_others.spread(),
                **trails.detail(MANY),
            },
        ),
    ]


async def _ask(stack: Stack, feed: Feed, paths: list[str]) -> _Asked:
    """Ask for each of these at its time, while the projector has work."""
    base_url = page_address(stack.settings).rstrip("/")
    first = WARM_UP_S * PER_S
    async with (
        stored_offsets(stack.settings) as offsets,
        feed.flow(SCANS_PER_S, seconds=len(paths) / PER_S + SETTLE_S),
    ):
        await load_http(_job(base_url, paths[:first]))
        begin, postgres_s = Usage.of(pid_of(stack, "api")), postgres_cpu_s(stack)
        answers = await load_http(_job(base_url, paths[first:]))
        end = Usage.of(pid_of(stack, "api"))
        postgres_s = postgres_cpu_s(stack) - postgres_s
        behind = feed.published - await offsets.count()
    async with stored_offsets(stack.settings) as offsets:
        await reach(feed.published, offsets.count)
    asked = _Asked(
        answers,
        api_us=(end.cpu_s - begin.cpu_s) / len(answers) * 1e6,
        postgres_share=postgres_s / (end.at - begin.at),
        rss_mb=end.rss_mb,
        scans_behind=behind,
    )
    say(f"{len(answers):,} answers: {asked.spread()['ms']} ms, {asked.api_us:.0f} us of CPU each")
    return asked


def _job(base_url: str, paths: list[str]) -> HttpJob:
    requests = [HttpRequest(n / PER_S, "GET", path) for n, path in enumerate(paths)]
    return HttpJob(base_url, CONNECTIONS, requests)


def _lookups(chosen: random.Random, units: int) -> list[str]:
    return [
        _address(chosen.choice(inventory.spellings(chosen.randrange(units))))
        for _ in range(PER_S * (WARM_UP_S + SECONDS))
    ]


def _trails(chosen: random.Random) -> list[str]:
    """Each LONG_EVERYth is of a unit that has gone round and round."""
    long_lived = inventory.long_lived(range(MANY))
    numbers = (
        chosen.choice(long_lived) if n % LONG_EVERY == 0 else chosen.randrange(MANY)
        for n in range(PER_S * (WARM_UP_S + SECONDS))
    )
    return [f"{_address(chosen.choice(inventory.spellings(n)))}/trail" for n in numbers]


def _address(spelling: str) -> str:
    return f"/units/{quote(spelling, safe='')}"


async def _check(stack: Stack, chosen: random.Random) -> None:
    """Every spelling finds its unit, and every trail all its scans."""
    async with httpx.AsyncClient(base_url=page_address(stack.settings)) as api:
        for number in (*chosen.sample(range(MANY), 30), inventory.long_lived(range(MANY))[0]):
            for spelling in inventory.spellings(number):
                unit = (await api.get(_address(spelling))).json()
                trail = (await api.get(f"{_address(spelling)}/trail")).json()
                if (unit["unit"], len(trail)) != (inventory.key(number), unit["version"]):
                    raise Unfinished(f"{spelling} found {unit['unit']} with {len(trail)} scans")


PART = Part(names=NAMES, run=measure_lookup)
