"""How long a conveyor waits for "may this unit leave?"."""

import asyncio
import json
import random
import re
from collections import Counter

import httpx

from bench.installation import PATIENCE_S, Usage, installed, leave_only, pid_of
from bench.load import load_http
from bench.load_http import HttpAnswer, HttpJob, HttpRequest
from bench.measure import Measure, Part, Unfinished, milliseconds, percentile, say
from bench.recalls import RECALLS, recalls
from bench.workload import code, publish
from scantrail.cli.site import DOCK, STAGE
from scantrail.cli.stack import Stack
from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.infra.topic_admin import name_of

PER_S = 200
SECONDS = 20
#: The same load before it: a belt does not begin with a broker that has just been started.
WARM_UP_S = 8
CONNECTIONS = 16
#: Beside them, reads of another reader: batches a second, and reads in each.
BATCHES_PER_S = 100
BATCH = 20
SEED = 1

_QUESTIONS = "/verdict/v1"
_READER = f'[[reader]]\nid = "beside"\nstation = "{DOCK.station}"\nprotocol = "http-generic"\n'


def measure_verdict() -> list[Measure]:
    """`verdict_p50_ms`, `verdict_p99_ms`: 200 questions a second over HTTP for 20 s, at set times,
    with 10,000 recalls in force and 2,000 scans a second posted beside them, after 8 s of the same;
    from when the question is due to the end of its answer. Each must be a release, or a hold
    because it came too late, which the detail counts.
    """
    with installed(_READER) as stack:
        leave_only(stack, "gateway")
        return asyncio.run(_measure(stack))


async def _measure(stack: Stack) -> list[Measure]:
    settings = stack.settings
    notices = [(each.id.encode(), encode(each), []) for each in recalls(random.Random(SEED))]
    await publish(settings, name_of(settings, Topic.RECALLS), {0: notices})
    async with httpx.AsyncClient(base_url=settings.gateway_url) as gateway:
        await _until_released(gateway)
    await load_http(HttpJob(settings.gateway_url, CONNECTIONS, _requests(WARM_UP_S)))
    before = await _answers(settings.gateway_health_port)
    requests = _requests(SECONDS)
    begin = Usage.of(pid_of(stack, "gateway"))
    answers = await load_http(HttpJob(settings.gateway_url, CONNECTIONS, requests))
    end = Usage.of(pid_of(stack, "gateway"))
    told: dict[bool, list[HttpAnswer]] = {True: [], False: []}
    for request, answer in zip(requests, answers, strict=True):
        told[request.path == _QUESTIONS].append(answer)
    counts = await _answers(settings.gateway_health_port) - before
    late = counts["late"]
    if counts["clear"] + late != len(told[True]):
        raise Unfinished(f"{len(told[True])} questions were answered: {dict(counts)}")
    waits, scans_ms = (
        [milliseconds(each.due_ns, each.answered_ns) for each in told[asked]]
        for asked in (True, False)
    )
    sent = [milliseconds(each.sent_ns, each.answered_ns) for each in told[True]]
    detail = {
        "questions": len(told[True]),
        "late": late,
        "per_s": PER_S,
        "recalls": RECALLS,
        "scans_per_s_beside": BATCHES_PER_S * BATCH,
        "ms": {f"p{p}": round(percentile(waits, p), 2) for p in (50, 90, 99, 100)},
        "ms_from_sent_p99": round(percentile(sent, 99), 2),
        "scans_ms_p99": round(percentile(scans_ms, 99), 2),
        "cpu_share_of_one_core": round((end.cpu_s - begin.cpu_s) / (end.at - begin.at), 2),
        "rss_mb": round(end.rss_mb),
    }
    return [
        Measure(
            name=f"verdict_p{p}_ms", value=round(percentile(waits, p), 2), unit="ms", detail=detail
        )
        for p in (50, 99)
    ]


def _question(number: int) -> dict[str, str]:
    return {"station": STAGE.station, "read": code(number)}


async def _until_released(gateway: httpx.AsyncClient) -> None:
    """Stations and notices are in the gateway's memory."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_S
    while (told := (await gateway.post(_QUESTIONS, json=_question(0))).json())["verdict"] != (
        "release"
    ):
        if loop.time() > deadline:
            raise Unfinished(f"nothing is released: {told['detail']}")
        await asyncio.sleep(0.2)
    say(f"{RECALLS:,} recalls are known")


def _requests(seconds: int) -> list[HttpRequest]:
    questions = [
        HttpRequest(n / PER_S, "POST", _QUESTIONS, json.dumps(_question(n)))
        for n in range(PER_S * seconds)
    ]
    beside = [
        HttpRequest(
            n / BATCHES_PER_S,
            "POST",
            "/ingest/v1/generic?reader=beside",
            json.dumps({"reads": [{"code": code(n * BATCH + k)} for k in range(BATCH)]}),
        )
        for n in range(BATCHES_PER_S * seconds)
    ]
    return sorted(questions + beside, key=lambda request: request.due_s)


async def _answers(port: int) -> Counter[str]:
    """Verdicts by their reason, since the gateway's start."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as health:
        metrics = (await health.get("/metrics")).text
    found = re.findall(
        r'^scantrail_verdicts_total\{reason="(\w+)".*\} (.+)$', metrics, re.MULTILINE
    )
    return Counter({reason: int(float(count)) for reason, count in found})


PART = Part(names=("verdict_p50_ms", "verdict_p99_ms"), run=measure_verdict)
