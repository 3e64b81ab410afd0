"""Tests of one run beside each other, and those that must not be."""

import fcntl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scantrail.infra import child_processes
from workers import choose_ports, turn


def locked(path: Path, how: int) -> bool:
    with path.open("wb") as file:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def until(told: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not told():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_turns_are_beside_each_other(tmp_path: Path) -> None:
    with turn(tmp_path, alone=False), turn(tmp_path, alone=False):
        assert locked(tmp_path / "room", fcntl.LOCK_EX)


def test_nobody_is_beside_a_turn_alone(tmp_path: Path) -> None:
    with turn(tmp_path, alone=True):
        assert locked(tmp_path / "room", fcntl.LOCK_SH)
    assert not locked(tmp_path / "room", fcntl.LOCK_EX)


def test_who_waits_to_be_alone_comes_before_those_who_ask_later(tmp_path: Path) -> None:
    order = []

    def take(name: str, alone: bool) -> None:
        with turn(tmp_path, alone=alone):
            order.append(name)

    with ThreadPoolExecutor() as threads:
        with turn(tmp_path, alone=False):
            alone = threads.submit(take, "alone", True)
            until(lambda: locked(tmp_path / "door", fcntl.LOCK_EX))
            later = threads.submit(take, "later", False)
            assert not order
        alone.result()
        later.result()
    assert order == ["alone", "later"]


def test_each_worker_has_ports_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    ports, chosen = range(20_000, 32_000), set[int]()
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "3")
    for worker in ("gw0", "gw1", "gw2"):
        monkeypatch.setattr(child_processes, "_CHOSEN_PORTS", ports)
        monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
        choose_ports()
        assert not chosen & set(child_processes._CHOSEN_PORTS)
        chosen |= set(child_processes._CHOSEN_PORTS)
    assert chosen == set(ports)
