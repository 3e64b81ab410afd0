"""Where reads go, for tests of what comes before it."""

import asyncio
from collections.abc import Sequence

from scantrail.contracts.records import RejectedRead, decode_scan, rejected_reads
from scantrail.domain.scan import Scan
from scantrail.gateway.spool import Outgoing, SpoolFull


class FakeOutlet:
    """Keeps what it is given, so many deliveries, or is full."""

    def __init__(self) -> None:
        self.kept: list[Outgoing] = []
        self.calls = 0
        self.full = False
        self.room = 1_000
        #: until it is set nothing is kept
        self.slow: asyncio.Event | None = None

    async def keep(self, records: Sequence[Outgoing]) -> None:
        self.calls += 1
        if self.slow is not None:
            await self.slow.wait()
        if self.full or not self.room:
            raise SpoolFull("the spool has 9 of 10 bytes")
        self.room -= 1
        self.kept += records

    @property
    def scans(self) -> list[Scan]:
        return [decode_scan(r.key, r.value) for r in self.kept if r.topic == "test.scans.v1"]

    @property
    def rejected(self) -> list[RejectedRead]:
        topic = "test.reads.rejected.v1"
        return [rejected_reads.decode(r.value) for r in self.kept if r.topic == topic]
