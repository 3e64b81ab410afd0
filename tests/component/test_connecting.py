"""A Kafka client whose start is cancelled leaves nothing half open."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from scantrail.infra import connecting
from scantrail.infra.connecting import begin


class Client:
    """Connects once `connected` is set; what it was told stands in `told`."""

    def __init__(self, error: Exception | None = None) -> None:
        self.connected = asyncio.Event()
        self.told: list[str] = []
        self._error = error

    async def start(self) -> None:
        try:
            await self.connected.wait()
        except asyncio.CancelledError:
            self.told.append("cancelled")
            raise
        if self._error is not None:
            raise self._error
        self.told.append("started")

    async def stop(self) -> None:
        self.told.append("stopped")


async def cancelled(client: Any) -> "asyncio.Task[None]":
    beginning = asyncio.create_task(begin(client))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    beginning.cancel()
    await asyncio.sleep(0)
    return beginning


async def test_a_client_that_is_started_is_left_alone() -> None:
    client: Any = Client()
    client.connected.set()
    await begin(client)
    assert client.told == ["started"]


async def test_cancelled_while_it_connects_it_comes_to_its_end_and_is_stopped() -> None:
    client = Client()
    beginning = await cancelled(client)
    assert not beginning.done()
    client.connected.set()
    with pytest.raises(asyncio.CancelledError):
        await beginning
    assert client.told == ["started", "stopped"]


async def test_one_that_does_not_come_to_its_end_is_waited_for_so_long_and_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connecting, "BEGIN_S_MAX", 0.05)
    client = Client()
    with pytest.raises(asyncio.CancelledError):
        await (await cancelled(client))
    await asyncio.sleep(0)
    assert sorted(client.told) == ["cancelled", "stopped"]


async def test_one_that_cannot_be_started_is_stopped() -> None:
    client: Any = Client(KafkaConnectionError("nobody"))
    client.connected.set()
    with pytest.raises(KafkaConnectionError):
        await begin(client)
    assert client.told == ["stopped"]
