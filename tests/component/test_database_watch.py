"""A process without PostgreSQL is not ready, though it asks it for nothing."""

import asyncio
import socket

import pytest

from scantrail.infra import database_watch
from scantrail.infra.beside import beside
from scantrail.infra.child_processes import free_ports
from scantrail.infra.database_watch import watch_database
from scantrail.infra.health import Health
from scantrail.infra.settings import Settings


async def until_lacks(health: Health, *what: str) -> None:
    async with asyncio.timeout(20):
        while health.lacking != [*what]:
            await asyncio.sleep(0.01)


async def test_nobody_listens_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_watch, "LOOK_EVERY_S", 0.05)
    (port,) = free_ports(1)
    settings = Settings(database_url=f"postgresql://scantrail:none@127.0.0.1:{port}/scantrail")
    health = Health()
    async with beside(watch_database(settings, health)):
        await until_lacks(health, "database")


async def test_somebody_listens_and_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_watch, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(database_watch, "ANSWER_S_MAX", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:  # it never accepts
        port = server.getsockname()[1]
        settings = Settings(database_url=f"postgresql://scantrail:none@127.0.0.1:{port}/scantrail")
        health = Health()
        async with beside(watch_database(settings, health)):
            await until_lacks(health, "database")
