"""The whole chain under faults, each unit then compared with what the simulator knows."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from scantrail.cli.addresses import private_settings
from scantrail.cli.demo import live_and_compare
from scantrail.cli.demo_plan import make_plan
from scantrail.cli.folder_lock import settings_in_force
from scantrail.cli.site import readers_toml, tcp_readers
from scantrail.cli.stack import Stack
from scantrail.infra.child_processes import free_ports
from scantrail.infra.settings import Settings

UNITS = 800


@contextmanager
def running_site(folder: Path, cache: Path) -> Iterator[tuple[Stack, dict[str, int]]]:
    """A private stack with the simulated site's readers, and their ports."""
    ports = dict(zip(tcp_readers(), free_ports(len(tcp_readers())), strict=True))
    readers = folder / "readers.toml"
    readers.write_text(readers_toml(ports))
    settings = replace(private_settings(folder / "data", Settings()), readers_file=str(readers))
    with Stack(settings, cache=cache) as stack:
        yield stack, ports


async def metric(stack: Stack, process: str, name: str) -> float:
    """The sum over its labels of one metric of a process; 0 while it does not answer."""
    port = getattr(stack.settings, f"{process}_health_port")
    try:
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    except httpx.TransportError:
        return 0.0
    lines = (line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{")))
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def rises(stack: Stack, process: str, name: str, above: float) -> None:
    async with asyncio.timeout(60):
        while await metric(stack, process, name) <= above:
            await asyncio.sleep(0.02)


@pytest.mark.long
@pytest.mark.alone
def test_after_everything_was_killed_the_next_start_waits_for_no_dead_process(
    tmp_path: Path, stack_cache: Path
) -> None:
    folder, readers = tmp_path / "data", tmp_path / "readers.toml"
    readers.touch()  # none, so that no port of its own is asked for
    settings = replace(private_settings(folder, Settings()), readers_file=str(readers))
    with Stack(settings, cache=stack_cache) as stack:
        in_force = settings_in_force(folder)
        assert in_force == stack.settings
        assert stack.kafka is not None
        assert in_force.kafka_bootstrap == stack.kafka.address
        stack.kill_all()
    assert settings_in_force(folder) is None
    said: list[str] = []
    with Stack(settings, cache=stack_cache, say=said.append):
        pass
    # The projector is ready before it has joined.
    told = "Kafka waits no longer for processes that have ended"
    assert {f"{told} (2)", f"{told} (3)"} & set(said), said


@pytest.mark.long
@pytest.mark.alone
def test_a_tracker_killed_in_mid_stream_loses_and_doubles_nothing(
    tmp_path: Path, stack_cache: Path
) -> None:
    killed = []
    with running_site(tmp_path, stack_cache) as (stack, ports):

        async def kill_tracker(moment: str) -> None:
            if moment not in ("receiving", "storing", "staging", "shipping"):
                return
            # In mid-stream: it is working on this moment's scans.
            await rises(stack, "tracker", "scantrail_scans_processed_total", 0)
            killed.append(stack.pid("tracker"))
            stack.kill("tracker")

        report = asyncio.run(
            live_and_compare(stack.settings, ports, make_plan(3, units=UNITS), disturb=kill_tracker)
        )
    assert len(set(killed)) == 4
    assert report["wrong"] == 0, report


@pytest.mark.long
@pytest.mark.alone
def test_a_broker_that_restarts_loses_and_doubles_nothing(
    tmp_path: Path, stack_cache: Path
) -> None:
    spooled = []
    with running_site(tmp_path, stack_cache) as (stack, ports):
        kafka = stack.kafka
        assert kafka is not None

        async def restart_broker(moment: str) -> None:
            if moment not in ("storing", "shipping"):
                return
            kafka.kill()
            await rises(stack, "gateway", "scantrail_spool_scans", 0)
            spooled.append(await metric(stack, "gateway", "scantrail_spool_scans"))
            await asyncio.to_thread(kafka.start)

        report = asyncio.run(
            live_and_compare(
                stack.settings, ports, make_plan(4, units=UNITS), disturb=restart_broker
            )
        )
    assert len(spooled) == 2, "the reads were not on disk while the broker was away"
    assert report["wrong"] == 0, report
