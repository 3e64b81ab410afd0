"""Scanners that connect to the gateway, in a process of their own.

`python -m bench.load_tcp JOB RESULT`: each scanner keeps a window of reads on their way, and sends
the next window when the last is acknowledged, or, where it has a pace, when that is due.
"""

import asyncio
import sys
import time
from pathlib import Path

import msgspec

ACK = b"\x06"

#: Seconds in which all connections are open; then the first paced window may be due.
START_S = 1.0


class Scanner(msgspec.Struct):
    """The gateway's port for it, and what it reads: a window every `every_s` seconds, the first
    after `first_s`; 0: as fast as it can."""

    port: int
    reads: list[str]
    every_s: float = 0.0
    first_s: float = 0.0


class TcpJob(msgspec.Struct):
    host: str
    window: int
    scanners: list[Scanner]


class TcpWindow(msgspec.Struct, array_like=True):
    """time.monotonic_ns when a window was due, or where none is due just before it was sent, and at
    its last acknowledgement."""

    sent_ns: int
    acknowledged_ns: int
    reads: int


async def run_job(job: TcpJob) -> list[TcpWindow]:
    """Every window of every scanner."""
    windows: list[TcpWindow] = []
    begin_ns = time.monotonic_ns() + int(START_S * 1e9)
    links = [await asyncio.open_connection(job.host, scanner.port) for scanner in job.scanners]

    async def scan(
        scanner: Scanner, stream: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        due_ns = begin_ns + int(scanner.first_s * 1e9)
        for start in range(0, len(scanner.reads), job.window):
            reads = scanner.reads[start : start + job.window]
            frames = "".join(f"{read}\r\n" for read in reads).encode()
            if scanner.every_s:
                await asyncio.sleep(max(0.0, (due_ns - time.monotonic_ns()) / 1e9))
            sent_ns = due_ns if scanner.every_s else time.monotonic_ns()
            due_ns += int(scanner.every_s * 1e9)
            writer.write(frames)
            acks = await stream.readexactly(len(reads))
            if acks != ACK * len(reads):
                raise ConnectionError(f"the gateway sent {acks!r} for acknowledgements")
            windows.append(TcpWindow(sent_ns, time.monotonic_ns(), len(reads)))
        writer.close()

    await asyncio.gather(
        *(scan(scanner, *link) for scanner, link in zip(job.scanners, links, strict=True))
    )
    return windows


def main() -> None:
    job = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=TcpJob)
    Path(sys.argv[2]).write_bytes(msgspec.json.encode(asyncio.run(run_job(job))))


if __name__ == "__main__":
    main()
