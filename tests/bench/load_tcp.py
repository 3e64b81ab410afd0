"""Scanners that connect to the gateway, in a process of their own.

`python -m bench.load_tcp JOB RESULT`: each scanner keeps a window of reads on their way, and sends
the next window when the last is acknowledged.
"""

import asyncio
import sys
import time
from pathlib import Path

import msgspec

ACK = b"\x06"


class Scanner(msgspec.Struct):
    """The gateway's port for it, and what it reads."""

    port: int
    reads: list[str]


class TcpJob(msgspec.Struct):
    host: str
    window: int
    scanners: list[Scanner]


class TcpWindow(msgspec.Struct, array_like=True):
    """time.monotonic_ns just before a window was sent, and at its last acknowledgement."""

    sent_ns: int
    acknowledged_ns: int
    reads: int


async def run_job(job: TcpJob) -> list[TcpWindow]:
    """Every window of every scanner."""
    windows: list[TcpWindow] = []
    links = [await asyncio.open_connection(job.host, scanner.port) for scanner in job.scanners]

    async def scan(
        scanner: Scanner, stream: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        for start in range(0, len(scanner.reads), job.window):
            reads = scanner.reads[start : start + job.window]
            frames = "".join(f"{read}\r\n" for read in reads).encode()
            sent_ns = time.monotonic_ns()
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
