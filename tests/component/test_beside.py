"""Work beside a service's own: it ends with it, and takes it along where it fails."""

import asyncio
from typing import NoReturn

import pytest

from scantrail.infra.beside import beside


async def test_it_goes_on_as_long_as_the_body() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Future()
        finally:
            ended.set()

    async with beside(work()):
        await begun.wait()
        assert not ended.is_set()
    assert ended.is_set()


async def test_what_it_fails_by_ends_the_body() -> None:
    async def fail() -> NoReturn:
        raise ValueError("unforeseen")

    with pytest.raises(ValueError, match="unforeseen"):
        async with asyncio.timeout(5), beside(asyncio.sleep(3600), fail()):
            await asyncio.Future()


async def test_what_the_body_fails_by_is_raised() -> None:
    with pytest.raises(KeyError):
        async with beside(asyncio.sleep(3600)):
            raise KeyError


async def test_a_body_that_is_cancelled_is_cancelled() -> None:
    begun = asyncio.Event()

    async def body() -> None:
        async with beside(asyncio.sleep(3600)):
            begun.set()
            await asyncio.Future()

    task = asyncio.create_task(body())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
