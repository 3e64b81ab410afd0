"""How fast reads are taken in and made durable."""

import asyncio
import json
from typing import Any

from bench.installation import Ends, Usage, installed, leave_only, pid_of
from bench.load import load_http, load_tcp
from bench.load_http import HttpJob, HttpRequest
from bench.load_tcp import Scanner, TcpJob
from bench.measure import Measure, Part, Unfinished, milliseconds, percentile
from bench.workload import SCANS, code
from scantrail.cli.site import DOCK, HOST
from scantrail.cli.stack import Stack
from scantrail.contracts.topics import Topic
from scantrail.infra.child_processes import free_ports

READERS = 8
#: Reads of one request, and reads that a scanner has on their way.
BATCH = 100


def measure_http() -> list[Measure]:
    """`gateway_http_scans_per_s`: 8 clients post batches of 100 different reads, 100,000 together,
    each client its next batch when the last is answered; from just before the first request to the
    last answer. An answer means that Kafka has the scans. The detail `ack_ms` is a request's.
    """
    tables = [
        f'[[reader]]\nid = "http-{n}"\nstation = "{DOCK.station}"\nprotocol = "http-generic"\n'
        for n in range(READERS)
    ]
    with installed("\n".join(tables)) as stack:
        leave_only(stack, "gateway")
        return [asyncio.run(_measure_http(stack))]


async def _measure_http(stack: Stack) -> Measure:
    requests = [
        HttpRequest(
            0.0,
            "POST",
            f"/ingest/v1/generic?reader=http-{start // BATCH % READERS}",
            json.dumps({"reads": [{"code": code(n)} for n in range(start, start + BATCH)]}),
        )
        for start in range(0, SCANS, BATCH)
    ]
    job = HttpJob(stack.settings.gateway_url, READERS, requests)
    begin = Usage.of(pid_of(stack, "gateway"))
    answers = await load_http(job)
    times = [(answer.sent_ns, answer.answered_ns) for answer in answers]
    return await _result(stack, "gateway_http_scans_per_s", begin, times)


def measure_tcp() -> list[Measure]:
    """`gateway_tcp_scans_per_s`: 8 scanners hold a connection each and send 100,000 different reads
    together, each its next 100 when the last 100 are acknowledged; from just before the first read
    to the last acknowledgement. An acknowledgement means that Kafka has the scan. The detail
    `ack_ms` is from just before a window of 100 to its last acknowledgement.
    """
    ports = free_ports(READERS)
    tables = [
        f'[[reader]]\nid = "tcp-{n}"\nstation = "{DOCK.station}"\nprotocol = "tcp"\n'
        f'mode = "listen"\naddress = "{HOST}:{port}"\nack = "\\u0006"\n'
        for n, port in enumerate(ports)
    ]
    with installed("\n".join(tables)) as stack:
        leave_only(stack, "gateway")
        return [asyncio.run(_measure_tcp(stack, ports))]


async def _measure_tcp(stack: Stack, ports: list[int]) -> Measure:
    share = SCANS // READERS
    scanners = [
        Scanner(port, [code(n) for n in range(place * share, (place + 1) * share)])
        for place, port in enumerate(ports)
    ]
    begin = Usage.of(pid_of(stack, "gateway"))
    windows = await load_tcp(TcpJob(HOST, BATCH, scanners))
    times = [(window.sent_ns, window.acknowledged_ns) for window in windows]
    return await _result(stack, "gateway_tcp_scans_per_s", begin, times)


async def _result(stack: Stack, name: str, begin: Usage, times: list[tuple[int, int]]) -> Measure:
    end = Usage.of(pid_of(stack, "gateway"))
    async with Ends(stack.settings, Topic.SCANS) as sent:
        count = await sent.count()
    if count != SCANS:
        raise Unfinished(f"scans has {count:,} records, not {SCANS:,}")
    seconds = milliseconds(min(sent for sent, _ in times), max(ack for _, ack in times)) / 1e3
    waits = [milliseconds(sent, ack) for sent, ack in times]
    cpu_s = end.cpu_s - begin.cpu_s
    detail: dict[str, Any] = {
        "scans": SCANS,
        "clients": READERS,
        "batch": BATCH,
        "seconds": round(seconds, 2),
        "ack_ms": {f"p{p}": round(percentile(waits, p), 1) for p in (50, 99, 100)},
        "cpu_us_per_scan": round(cpu_s / SCANS * 1e6, 1),
        "cpu_share_of_one_core": round(cpu_s / seconds, 2),
        "rss_mb": round(end.rss_mb),
    }
    return Measure(name=name, value=round(SCANS / seconds), unit="scans/s", detail=detail)


HTTP = Part(names=("gateway_http_scans_per_s",), run=measure_http)
TCP = Part(names=("gateway_tcp_scans_per_s",), run=measure_tcp)
