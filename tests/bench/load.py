"""Starts a load in a process of its own and brings back what it saw."""

import asyncio
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TypeVar

import msgspec

from bench.installation import TESTS
from bench.load_http import HttpAnswer, HttpJob
from bench.load_tcp import TcpJob, TcpWindow
from bench.measure import Unfinished

T = TypeVar("T")

LOAD_S_MAX = 240.0


async def load_http(job: HttpJob, *, status: int = 200) -> list[HttpAnswer]:
    """Send every request of the job. Raises Unfinished unless each is answered with `status`."""
    answers = await _run("bench.load_http", job, list[HttpAnswer])
    statuses = Counter(answer.status for answer in answers)
    if statuses != {status: len(job.requests)}:
        raise Unfinished(f"of {len(job.requests)} requests, by status: {dict(statuses)}")
    return answers


async def load_tcp(job: TcpJob) -> list[TcpWindow]:
    """Have every read of the job acknowledged. Raises Unfinished."""
    windows = await _run("bench.load_tcp", job, list[TcpWindow])
    acknowledged = sum(window.reads for window in windows)
    if acknowledged != (sent := sum(len(scanner.reads) for scanner in job.scanners)):
        raise Unfinished(f"{acknowledged} of {sent} reads were acknowledged")
    return windows


async def _run(module: str, job: HttpJob | TcpJob, kind: type[T]) -> T:
    with tempfile.TemporaryDirectory(prefix="scantrail-load-") as folder:
        asked, told = Path(folder) / "job.json", Path(folder) / "result.json"
        asked.write_bytes(msgspec.json.encode(job))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, str(asked), str(told)),
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
        )
        try:
            _, errors = await asyncio.wait_for(process.communicate(), LOAD_S_MAX)
        except TimeoutError as error:
            raise Unfinished(f"the load did not end within {LOAD_S_MAX:.0f} s") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            last = errors.decode(errors="replace").strip().splitlines()[-1:]
            raise Unfinished(f"the load failed: {' '.join(last)}")
        return msgspec.json.decode(told.read_bytes(), type=kind)
