"""What twenty times the load of a site does for a minute: to verdicts, memory, and afterwards."""

import asyncio
import json
import time

import httpx

from bench.installation import Usage, installed, pid_of, reach
from bench.load import load_http
from bench.load_http import HttpAnswer, HttpJob, HttpRequest
from bench.measure import Measure, Part, Unfinished, milliseconds, percentile, say
from bench.rows import stored_offsets
from bench.workload import code
from scantrail.cli.site import DOCK, STAGE
from scantrail.cli.stack import PROCESSES, Stack

#: Scans a second of a busy site, and so many times that for a minute.
SITE_PER_S = 50
TIMES = 20
BATCH = 10
BEFORE_S, BURST_S = 20, 60
QUESTIONS_PER_S = 20
CONNECTIONS = 32
#: Within this time after the burst all of it is in the database.
DRAIN_S_MAX = 120.0

_READER = f'[[reader]]\nid = "beside"\nstation = "{DOCK.station}"\nprotocol = "http-generic"\n'
_QUESTIONS = "/verdict/v1"


def measure_burst() -> list[Measure]:
    """Every process runs; 50 scans a second for 20 s, then 1,000 a second for 60 s, posted in
    batches of 10 at set times, beside 20 questions of conveyors a second.

    `burst_verdict_p99_ms`: from when a question of the burst is due to the end of its answer.
    `burst_rss_growth_mb`: resident memory of all processes of ours, at the most during the burst
    and its draining, less what it was before. The detail says how long after the last answer
    everything was in the database.
    """
    with installed(_READER) as stack:
        return asyncio.run(_measure(stack))


async def _measure(stack: Stack) -> list[Measure]:
    url = stack.settings.gateway_url
    async with stored_offsets(stack.settings) as offsets:
        calm = _requests(BEFORE_S, SITE_PER_S, first=0)
        await load_http(HttpJob(url, CONNECTIONS, calm))
        before = _rss_mb(stack)
        burst = _requests(BURST_S, SITE_PER_S * TIMES, first=SITE_PER_S * BEFORE_S)
        seen_mb = [before]
        watching = asyncio.create_task(_watch_memory(stack, seen_mb))
        try:
            answers = await load_http(HttpJob(url, CONNECTIONS, burst))
            ended = time.monotonic()
            scans = SITE_PER_S * (BEFORE_S + TIMES * BURST_S)
            released = await _released(stack)
            await asyncio.wait_for(reach(scans + released, offsets.count), DRAIN_S_MAX)
            drained_s = time.monotonic() - ended
        except TimeoutError as error:
            raise Unfinished(f"not drained within {DRAIN_S_MAX:.0f} s") from error
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    say(f"{scans:,} scans; drained after {drained_s:.1f} s")
    return _results(burst, answers, before, max(seen_mb) - before, drained_s)


async def _watch_memory(stack: Stack, seen_mb: list[float]) -> None:
    while True:
        seen_mb.append(_rss_mb(stack))
        await asyncio.sleep(0.5)


def _rss_mb(stack: Stack) -> float:
    return sum(Usage.of(pid_of(stack, name)).rss_mb for name in PROCESSES)


async def _released(stack: Stack) -> int:
    """Questions that were answered with a release: each is a scan too."""
    port = stack.settings.gateway_health_port
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as health:
        text = (await health.get("/metrics")).text
    lines = [line for line in text.splitlines() if line.startswith("scantrail_verdicts_total{")]
    return sum(int(float(line.rpartition(" ")[2])) for line in lines if 'verdict="release"' in line)


def _requests(seconds: int, per_s: int, *, first: int) -> list[HttpRequest]:
    scans = [
        HttpRequest(
            n / per_s,
            "POST",
            "/ingest/v1/generic?reader=beside",
            json.dumps({"reads": [{"code": code(first + n + k)} for k in range(BATCH)]}),
        )
        for n in range(0, per_s * seconds, BATCH)
    ]
    questions = [
        HttpRequest(
            n / QUESTIONS_PER_S,
            "POST",
            _QUESTIONS,
            json.dumps({"station": STAGE.station, "read": code(10_000_000 + first + n)}),
        )
        for n in range(QUESTIONS_PER_S * seconds)
    ]
    return sorted(scans + questions, key=lambda request: request.due_s)


def _results(
    requests: list[HttpRequest],
    answers: list[HttpAnswer],
    before_mb: float,
    growth_mb: float,
    drained_s: float,
) -> list[Measure]:
    waits: dict[bool, list[float]] = {True: [], False: []}
    for request, answer in zip(requests, answers, strict=True):
        is_question = request.path == _QUESTIONS
        waits[is_question].append(milliseconds(answer.due_ns, answer.answered_ns))
    spreads = {
        is_question: {f"p{p}": round(percentile(took, p), 1) for p in (50, 99, 100)}
        for is_question, took in waits.items()
    }
    detail = {
        "scans_per_s": SITE_PER_S * TIMES,
        "seconds": BURST_S,
        "questions": len(waits[True]),
        "verdict_ms": spreads[True],
        "ack_ms": spreads[False],
        "rss_before_mb": round(before_mb),
        "drained_s": round(drained_s, 1),
    }
    return [
        Measure(name="burst_verdict_p99_ms", value=spreads[True]["p99"], unit="ms", detail=detail),
        Measure(name="burst_rss_growth_mb", value=round(growth_mb), unit="mb", detail=detail),
    ]


PART = Part(names=("burst_verdict_p99_ms", "burst_rss_growth_mb"), run=measure_burst)
