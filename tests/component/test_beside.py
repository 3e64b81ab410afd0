"""Work beside a service's own: it ends with it, and takes it along where it fails."""

import asyncio
import contextlib
from typing import NoReturn

import pytest
import structlog

from scantrail.infra import beside as module
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


async def test_where_both_fail_at_once_neither_is_lost() -> None:
    async def fail() -> NoReturn:
        raise RuntimeError("the work")

    async def body() -> None:
        async with beside(fail()):
            await asyncio.sleep(0)
            raise ValueError("the body")

    with pytest.raises(RuntimeError, match="the work") as told:
        await body()
    assert repr(told.value.__context__) == "ValueError('the body')"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0  # a signal after it is the first


async def test_where_two_works_fail_the_second_is_in_the_log() -> None:
    async def fail(word: str) -> NoReturn:
        raise RuntimeError(word)

    with (
        structlog.testing.capture_logs() as logs,
        pytest.raises(RuntimeError, match="one"),
    ):
        async with beside(fail("one"), fail("two")):
            await asyncio.Future()
    assert [line["reason"] for line in logs] == ["RuntimeError('two')"]


async def test_work_that_has_nothing_more_to_do_ends_nothing_and_hides_no_failure() -> None:
    done, goes_on = asyncio.Event(), asyncio.Event()

    async def end() -> None:
        done.set()

    async def fail() -> NoReturn:
        await goes_on.wait()
        raise ValueError("unforeseen")

    async def body() -> None:
        async with beside(end(), fail()):
            await done.wait()
            await asyncio.sleep(0)  # where it would be cancelled
            goes_on.set()
            await asyncio.Future()

    with pytest.raises(ValueError, match="unforeseen"):
        await asyncio.wait_for(body(), 5)
    async with beside(end()):
        await asyncio.sleep(0)


async def test_work_that_does_not_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "END_S_MAX", 0.05)
    goes_on = asyncio.Event()
    left: list[asyncio.Task[None] | None] = []

    async def stubborn() -> None:
        left.append(asyncio.current_task())
        while not goes_on.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await goes_on.wait()

    async with asyncio.timeout(5), beside(stubborn()):
        await asyncio.sleep(0)
    (task,) = left
    assert task is not None
    goes_on.set()
    await task


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
