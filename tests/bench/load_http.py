"""Requests from a process of their own, so that making them does not slow what is measured.

`python -m bench.load_http JOB RESULT`: each request is sent at its time, or, with `due_s` 0, as
soon as a connection is free.
"""

import asyncio
import sys
import time
from pathlib import Path

import aiohttp
import msgspec
from yarl import URL

#: A connection that was opened for a request would be measured with it.
_WARM_UP = "/warm-up"


class HttpRequest(msgspec.Struct, array_like=True):
    """`due_s` counts from the start of the load."""

    due_s: float
    method: str
    path: str
    body: str | None = None


class HttpJob(msgspec.Struct):
    base_url: str
    connections: int
    requests: list[HttpRequest]


class HttpAnswer(msgspec.Struct, array_like=True):
    """time.monotonic_ns just before the request was sent, and when its answer was read."""

    due_ns: int
    sent_ns: int
    answered_ns: int
    status: int


async def run_job(job: HttpJob) -> list[HttpAnswer]:
    """One answer per request, in their order."""
    connector = aiohttp.TCPConnector(limit=job.connections)
    async with aiohttp.ClientSession(connector=connector) as session:
        await asyncio.gather(*(_warm_up(session, job.base_url) for _ in range(job.connections)))
        begin_ns = time.monotonic_ns()
        waiting = iter(enumerate(job.requests))
        answers: list[HttpAnswer | None] = [None] * len(job.requests)

        async def connection() -> None:
            for place, request in waiting:
                due_ns = begin_ns + int(request.due_s * 1e9)
                if (early_ns := due_ns - time.monotonic_ns()) > 0 and request.due_s:
                    await asyncio.sleep(early_ns / 1e9)
                answers[place] = await _send(session, job.base_url, request, due_ns)

        await asyncio.gather(*(connection() for _ in range(job.connections)))
    return [answer for answer in answers if answer is not None]


async def _warm_up(session: aiohttp.ClientSession, base_url: str) -> None:
    async with session.get(base_url + _WARM_UP) as answer:
        await answer.read()


async def _send(
    session: aiohttp.ClientSession, base_url: str, request: HttpRequest, due_ns: int
) -> HttpAnswer:
    url = URL(base_url + request.path, encoded=True)
    sent_ns = time.monotonic_ns()
    async with session.request(request.method, url, data=request.body) as answer:
        await answer.read()
        return HttpAnswer(due_ns, sent_ns, time.monotonic_ns(), answer.status)


def main() -> None:
    job = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=HttpJob)
    Path(sys.argv[2]).write_bytes(msgspec.json.encode(asyncio.run(run_job(job))))


if __name__ == "__main__":
    main()
