"""How fast reads are taken in and made durable."""

import asyncio
import json
from typing import Any

from bench.installation import Ends, Usage, installed, leave_only, pid_of, reach
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
SCANNERS = 50
#: Reads of one request, and reads that a scanner has on their way.
BATCH = 100
#: Half of what the gateway has to take, for so long.
HTTP_PER_S = 5_000
TCP_PER_S = 1_500
PACED_S = 20
#: Before that, at the same pace: Kafka's Java gets faster in its first seconds.
WARM_S = 6


def measure_http() -> list[Measure]:
    """`gateway_http_scans_per_s`: 8 clients post batches of 100 different reads, 100,000 together,
    each client its next batch when the last is answered; from just before the first request to the
    last answer. An answer means that Kafka has the scans, or the disk where Kafka did not answer
    in time (`on_disk_at_the_end` in the detail, of all). The detail `ack_ms` is a request's.
    `gateway_cpu_us_per_scan`: the gateway's CPU time meanwhile, by scan.
    """
    tables = [
        f'[[reader]]\nid = "http-{n}"\nstation = "{DOCK.station}"\nprotocol = "http-generic"\n'
        for n in range(READERS)
    ]
    with installed("\n".join(tables)) as stack:
        leave_only(stack, "gateway")
        speed = asyncio.run(_measure_http(stack))
    cpu_us = speed.detail["cpu_us_per_scan"]
    return [speed, Measure(name="gateway_cpu_us_per_scan", value=cpu_us, unit="us")]


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
    """`gateway_tcp_scans_per_s`: 50 scanners with a connection each send 100,000 different reads
    together, each its next 100 when the last 100 are acknowledged; from just before the first read
    to the last acknowledgement. An acknowledgement means that Kafka has the scan, or the disk
    where Kafka did not answer in time (`on_disk_at_the_end` in the detail, of all). The detail
    `ack_ms` is from just before a window of 100 to its last acknowledgement.
    """
    ports = free_ports(SCANNERS)
    with installed(_scanners(ports)) as stack:
        leave_only(stack, "gateway")
        return [asyncio.run(_measure_tcp(stack, ports))]


def _scanners(ports: list[int]) -> str:
    return "\n".join(
        f'[[reader]]\nid = "tcp-{n}"\nstation = "{DOCK.station}"\nprotocol = "tcp"\n'
        f'mode = "listen"\naddress = "{HOST}:{port}"\nack = "\\u0006"\n'
        for n, port in enumerate(ports)
    )


async def _measure_tcp(stack: Stack, ports: list[int]) -> Measure:
    share = SCANS // SCANNERS
    scanners = [
        Scanner(port, [code(n) for n in range(place * share, (place + 1) * share)])
        for place, port in enumerate(ports)
    ]
    begin = Usage.of(pid_of(stack, "gateway"))
    windows = await load_tcp(TcpJob(HOST, BATCH, scanners))
    times = [(window.sent_ns, window.acknowledged_ns) for window in windows]
    return await _result(stack, "gateway_tcp_scans_per_s", begin, times, clients=SCANNERS)


def measure_ack() -> list[Measure]:
    """`gateway_ack_p99_ms`: the worse of two, each for 20 s after 6 more, at half the speed that is
    asked of the gateway: batches of 100 reads over HTTP, 50 of them a second, from when a batch is
    due to its answer; and 50 scanners over TCP with 30 reads a second each, from when a read is due
    to its acknowledgement. Both mean that Kafka has the scans.
    """
    ports = free_ports(SCANNERS)
    handheld = f'[[reader]]\nid = "http-0"\nstation = "{DOCK.station}"\nprotocol = "http-generic"\n'
    with installed(handheld + _scanners(ports)) as stack:
        leave_only(stack, "gateway")
        found = {
            "http": asyncio.run(_paced_http(stack)),
            "tcp": asyncio.run(_paced_tcp(ports)),
        }
    return [
        Measure(
            name="gateway_ack_p99_ms",
            value=round(max(percentile(waits, 99) for waits in found.values()), 1),
            unit="ms",
            detail={
                "http_scans_per_s": HTTP_PER_S,
                "tcp_scans_per_s": TCP_PER_S,
                **{
                    f"{name}_ms": {f"p{p}": round(percentile(waits, p), 1) for p in (50, 99, 100)}
                    for name, waits in found.items()
                },
            },
        )
    ]


async def _paced_http(stack: Stack) -> list[float]:
    requests = [
        HttpRequest(
            1.0 + start / HTTP_PER_S,
            "POST",
            "/ingest/v1/generic?reader=http-0",
            json.dumps({"reads": [{"code": code(n)} for n in range(start, start + BATCH)]}),
        )
        for start in range(0, HTTP_PER_S * (WARM_S + PACED_S), BATCH)
    ]
    answers = await load_http(HttpJob(stack.settings.gateway_url, READERS, requests))
    if any(answer.status != 200 for answer in answers):
        raise Unfinished("the gateway refused a batch")
    counted = answers[HTTP_PER_S * WARM_S // BATCH :]
    return [milliseconds(answer.due_ns, answer.answered_ns) for answer in counted]


async def _paced_tcp(ports: list[int]) -> list[float]:
    share = TCP_PER_S * (WARM_S + PACED_S) // SCANNERS
    every_s = SCANNERS / TCP_PER_S
    scanners = [
        Scanner(
            port,
            [code(1_000_000 + n) for n in range(place * share, (place + 1) * share)],
            every_s,
            every_s * place / SCANNERS,
        )
        for place, port in enumerate(ports)
    ]
    windows = await load_tcp(TcpJob(HOST, 1, scanners))
    begin_ns = min(window.sent_ns for window in windows) + int(WARM_S * 1e9)
    counted = [window for window in windows if window.sent_ns >= begin_ns]
    return [milliseconds(window.sent_ns, window.acknowledged_ns) for window in counted]


async def _result(
    stack: Stack,
    name: str,
    begin: Usage,
    times: list[tuple[int, int]],
    *,
    clients: int = READERS,
) -> Measure:
    end = Usage.of(pid_of(stack, "gateway"))
    async with Ends(stack.settings, Topic.SCANS) as sent:
        in_kafka = await sent.count()
        await reach(SCANS, sent.count)
    seconds = milliseconds(min(sent for sent, _ in times), max(ack for _, ack in times)) / 1e3
    waits = [milliseconds(sent, ack) for sent, ack in times]
    cpu_s = end.cpu_s - begin.cpu_s
    detail: dict[str, Any] = {
        "scans": SCANS,
        "clients": clients,
        "batch": BATCH,
        "seconds": round(seconds, 2),
        "ack_ms": {f"p{p}": round(percentile(waits, p), 1) for p in (50, 99, 100)},
        "cpu_us_per_scan": round(cpu_s / SCANS * 1e6, 1),
        "cpu_share_of_one_core": round(cpu_s / seconds, 2),
        "rss_mb": round(end.rss_mb),
        "on_disk_at_the_end": max(0, SCANS - in_kafka),
    }
    return Measure(name=name, value=round(SCANS / seconds), unit="scans/s", detail=detail)


HTTP = Part(names=("gateway_http_scans_per_s", "gateway_cpu_us_per_scan"), run=measure_http)
TCP = Part(names=("gateway_tcp_scans_per_s",), run=measure_tcp)
ACK = Part(names=("gateway_ack_p99_ms",), run=measure_ack)
