"""The gateway as a process: Kafka is away for long, the disk is full, or it is killed itself."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from integration.processes import Process, started
from scantrail.contracts.records import decode_scan, movements
from scantrail.contracts.topics import Topic
from scantrail.gateway.outlet import ROOM
from scantrail.infra.embedded_kafka import EmbeddedKafka
from scantrail.infra.settings import Settings
from scantrail.infra.topic_admin import apply_topics

if TYPE_CHECKING:
    from integration.conftest import Site

HOST = "127.0.0.1"
HANDHELD = '[[reader]]\nid = "handheld"\nstation = "dock-1"\nprotocol = "http-generic"\n'
SCANS_PER_S = 200
BATCH = 10


class Device:
    """A handheld that sends each read under its own id and time until it is answered with 200."""

    def __init__(self, site: "Site") -> None:
        self._site = site
        self._url = f"{site.settings.gateway_url}/ingest/v1/generic?reader=handheld"
        self.accepted: list[str] = []
        self.refused = 0

    async def send(self, http: httpx.AsyncClient, serials: list[str]) -> bool:
        """Whether it was taken; where it was not, it is sent no more."""
        now = datetime.now(UTC).isoformat()
        reads = [
            {"code": self._site.barcode(serial), "event_id": serial, "timestamp": now}
            for serial in serials
        ]
        while True:
            try:
                answer = await http.post(self._url, json=reads)
            except httpx.TransportError:  # it was killed: nobody knows what it kept
                await asyncio.sleep(0.1)
                continue
            if answer.status_code == 503:
                self.refused += 1
                return False
            assert answer.json() == {"accepted": len(serials), "rejected": []}
            self.accepted += serials
            return True

    async def send_for(self, http: httpx.AsyncClient, seconds: float) -> None:
        """SCANS_PER_S for so long."""
        began, sent = time.monotonic(), 0
        while (elapsed := time.monotonic() - began) < seconds:
            if sent >= elapsed * SCANS_PER_S:
                await asyncio.sleep(BATCH / SCANS_PER_S)
                continue
            first = len(self.accepted)
            assert await self.send(http, [f"S{n}" for n in range(first, first + BATCH)])
            sent += BATCH


async def furnished(site: "Site", tmp_path: Path) -> None:
    readers = tmp_path / "readers.toml"
    readers.write_text(HANDHELD)
    site.settings = replace(site.settings, readers_file=str(readers))
    await apply_topics(site.settings)
    await site.put_station(site.station())


@pytest.mark.alone
async def test_what_is_accepted_while_kafka_is_away_and_the_gateway_is_killed_is_in_history_once(
    own_kafka: EmbeddedKafka,
    tmp_path: Path,
    make_settings: Any,
    open_site: Any,
    long_form: bool,
) -> None:
    """Five minutes at 200 scans/s in the long form, 6 s in the short one."""
    minutes = 5 if long_form else 0.1
    async with open_site(make_settings(tmp_path, own_kafka.address)) as site:
        await furnished(site, tmp_path)
        device = Device(site)
        with started(site.settings, tmp_path, "gateway", "tracker") as (gateway, tracker):
            for process in (gateway, tracker):
                await asyncio.to_thread(process.await_ready)
            async with httpx.AsyncClient(timeout=30) as http:
                await device.send_for(http, 1)
                own_kafka.kill()
                for _ in range(3):
                    await device.send_for(http, minutes * 60 / 3)
                    gateway.process.kill()
                    gateway.process.wait()
                    gateway.start()
                await asyncio.to_thread(own_kafka.start)
                began = time.monotonic()
                await device.send_for(http, 5)
            spooled = len(device.accepted)
            assert spooled > minutes * 60 * SCANS_PER_S * 0.5, "the machine was too slow to tell"
            log = await site.log(Topic.MOVEMENTS)

            async def all_are_there() -> bool:
                return len(await log.records()) >= len(device.accepted)

            await site.until(all_are_there, 120 + spooled / 200)
            took = time.monotonic() - began
        found = [movements.decode(record.value) for record in await log.records()]
        ids = [movement.scan.event_id for movement in found]
        assert sorted(ids) == sorted(f"handheld/{serial}" for serial in device.accepted)
        assert {movement.version for movement in found} == {1}
        print(f"{spooled} scans were on disk; {took:.0f} s after Kafka was back all had moved")


@pytest.mark.alone
async def test_memory_is_bounded_while_kafka_stands_still(
    own_kafka: EmbeddedKafka,
    tmp_path: Path,
    make_settings: Any,
    open_site: Any,
    long_form: bool,
) -> None:
    """Kafka is there, and answers nothing: as fast as a few senders can for some seconds."""
    async with open_site(make_settings(tmp_path, own_kafka.address)) as site:
        await furnished(site, tmp_path)
        devices = [Device(site) for _ in range(4)]
        with started(site.settings, tmp_path, "gateway") as (gateway,):
            await asyncio.to_thread(gateway.await_ready)
            async with httpx.AsyncClient(timeout=30) as http:
                assert await devices[0].send(http, ["warm"])
                before = gateway.resident_mib()
                peak, number = before, 0

                async def hurry(device: Device, until: float) -> None:
                    nonlocal number
                    while time.monotonic() < until:
                        number += 100
                        first = number
                        assert await device.send(http, [f"S{first + n}" for n in range(100)])

                pid = int((own_kafka.folder / "kafka.pid").read_text())
                os.kill(pid, signal.SIGSTOP)
                try:
                    until = time.monotonic() + (10 if long_form else 4)
                    hurrying = [asyncio.create_task(hurry(each, until)) for each in devices]
                    while not all(task.done() for task in hurrying):
                        await asyncio.wait(hurrying, timeout=0.2)
                        peak = max(peak, gateway.resident_mib())
                finally:
                    os.kill(pid, signal.SIGCONT)
                for task in hurrying:
                    task.result()
            taken = sum(len(device.accepted) for device in devices)
            print(f"{taken} scans taken meanwhile; {peak - before:.0f} MiB more")
            assert taken > 1_000
            assert peak - before < 100
            log = await site.log(Topic.SCANS)
            expected = {f"handheld/{serial}" for device in devices for serial in device.accepted}

            async def all_are_there() -> bool:
                ids = {decode_scan(r.key, r.value).event_id for r in await log.records()}
                return ids == expected

            await site.until(all_are_there, 120)


@contextmanager
def on_a_small_disk(settings: Settings, folder: Path, size: str) -> Iterator[Process]:
    """A gateway whose data folder is a filesystem in memory that only it sees."""
    data = Path(settings.data_dir)
    data.mkdir(parents=True)
    mount = f'mount -t tmpfs -o size={size} tmpfs "$0" && exec "$@"'
    inside = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, str(data))
    gateway = Process("gateway", settings, folder, inside=inside)
    try:
        yield gateway
    finally:
        gateway.process.kill()
        gateway.process.wait()


@pytest.mark.alone
async def test_a_full_disk_refuses_reads_and_loses_none_that_was_accepted(
    own_kafka: EmbeddedKafka, tmp_path: Path, make_settings: Any, open_site: Any
) -> None:
    async with open_site(make_settings(tmp_path, own_kafka.address)) as site:
        await furnished(site, tmp_path)
        device = Device(site)
        with on_a_small_disk(site.settings, tmp_path, "12m") as gateway:
            await asyncio.to_thread(gateway.await_ready)
            async with httpx.AsyncClient(timeout=30) as http:
                own_kafka.kill()
                number = 0
                while await device.send(http, [f"S{number + n}" for n in range(50)]):
                    number += 50
                assert number > 500
                ready = gateway.get("/readyz")
                assert ready is not None
                assert (ready.status_code, ready.json()["missing"]) == (503, [ROOM])
                await asyncio.to_thread(own_kafka.start)
                async with asyncio.timeout(60):
                    while not await device.send(http, ["last"]):
                        await asyncio.sleep(0.2)
            log = await site.log(Topic.SCANS)
            expected = {f"handheld/{serial}" for serial in device.accepted}

            async def ids() -> set[str]:
                return {decode_scan(r.key, r.value).event_id for r in await log.records()}

            async def all_are_there() -> bool:
                return await ids() >= expected

            await site.until(all_are_there, 60)
            assert await ids() == expected
            await asyncio.to_thread(gateway.await_ready)
            assert "Traceback" not in gateway.log
            await site.until(lambda: gateway.log.count("its reserve is used") >= 1)
