"""The database made anew: when it goes beyond the projector that writes the tables that serve."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from scantrail.infra.settings import Settings
from scantrail.projector import rebuilding
from scantrail.projector.rebuilding import STILL_S_MAX, _Rebuild

TP = TopicPartition("scantrail.movements.v1", 0)


class Clock:
    """Goes on by being waited for."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Approaching(_Rebuild):
    """`goes_on`: whether a projector is some records further whenever it is looked at."""

    def __init__(self, clock: Clock, *, goes_on: bool) -> None:
        settings = replace(Settings(), database_url="postgresql://scantrail@127.0.0.1:1/none")
        self.told: list[str] = []
        super().__init__(settings, Any, "public", self.told.append)  # type: ignore[arg-type]
        self._clock, self._goes_on = clock, goes_on
        self._stands_at = 7
        self.projected: list[int] = []

    async def _serving_offsets(self) -> rebuilding.Offsets:
        self._stands_at += 10 * self._goes_on
        return {TP: self._stands_at}

    async def _project(self, consumer: Any, targets: rebuilding.Offsets, **_: Any) -> None:
        self._clock.now += 6 * STILL_S_MAX if not self.projected else 1
        self.projected.append(targets[TP])


async def approached(monkeypatch: pytest.MonkeyPatch, *, goes_on: bool) -> Approaching:
    clock = Clock()

    async def sleep(seconds: float) -> None:
        clock.now += seconds

    monkeypatch.setattr(rebuilding, "time", clock)
    monkeypatch.setattr(rebuilding, "asyncio", SimpleNamespace(sleep=sleep))
    rebuild = Approaching(clock, goes_on=goes_on)

    async def end_offsets(_: Any) -> rebuilding.Offsets:
        return {TP: 1_000}

    consumer: Any = SimpleNamespace(end_offsets=end_offsets)
    await rebuild._approach(consumer, {TP: 1_000})
    return rebuild


async def test_however_long_the_first_records_take_a_projector_that_goes_on_is_not_overtaken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rebuild = await approached(monkeypatch, goes_on=True)
    assert rebuild.projected == [17, 27]
    assert not any("no projector" in told for told in rebuild.told)


async def test_beyond_one_that_stands_still_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    rebuild = await approached(monkeypatch, goes_on=False)
    assert (rebuild.projected[0], rebuild.projected[-1]) == (7, 1_000)
    assert any("no projector goes on" in told for told in rebuild.told)
