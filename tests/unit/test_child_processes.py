"""An embedded service is started once, whoever wants it back."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scantrail.infra.child_processes import EmbeddedError, EmbeddedProcess


class Sleeper(EmbeddedProcess):
    """A service that takes a moment to start, and then does nothing."""

    name = "Sleeper"
    stop_signal = signal.SIGTERM

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.starts = 0
        self.under_way = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.broken = False

    def _start(self) -> str:
        self.starts += 1
        self.under_way.set()
        assert self.go_on.wait(5)
        if self.broken:
            raise EmbeddedError("it cannot start")
        self._launch(["sleep", "60"], log=self.folder / "log", cwd=self.folder)
        return "here"


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Sleeper]:
    service = Sleeper(tmp_path)
    yield service
    service.go_on.set()
    service.kill()


def ended_by_itself(service: Sleeper) -> None:
    assert service._process is not None
    service._process.kill()
    service._process.wait()


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_start_under_way_is_not_begun_again_by_whoever_watches(sleeper: Sleeper) -> None:
    sleeper.start()
    sleeper.kill()
    sleeper.go_on.clear()
    sleeper.under_way.clear()
    starting = threading.Thread(target=sleeper.start)
    starting.start()
    assert sleeper.under_way.wait(5)
    assert not sleeper.lost
    watching = threading.Thread(target=sleeper.revive)
    watching.start()
    sleeper.go_on.set()
    starting.join(5)
    watching.join(5)
    assert (sleeper.starts, sleeper.running) == (2, True)


def test_only_what_ended_by_itself_is_revived(sleeper: Sleeper) -> None:
    sleeper.revive()
    assert sleeper.starts == 0
    sleeper.start()
    ended_by_itself(sleeper)
    assert sleeper.lost
    sleeper.revive()
    assert (sleeper.starts, sleeper.running, sleeper.address) == (2, True, "here")
    sleeper.stop()
    sleeper.revive()
    assert (sleeper.starts, sleeper.running) == (2, False)


def test_what_could_not_be_revived_is_still_lost(sleeper: Sleeper) -> None:
    sleeper.start()
    ended_by_itself(sleeper)
    sleeper.broken = True
    with pytest.raises(EmbeddedError):
        sleeper.revive()
    assert sleeper.lost
    sleeper.broken = False
    sleeper.revive()
    until(lambda: sleeper.running)


def test_what_could_not_be_started_is_not_wanted_any_more(sleeper: Sleeper) -> None:
    sleeper.broken = True
    with pytest.raises(EmbeddedError):
        sleeper.start()
    assert not sleeper.lost


@pytest.mark.parametrize("content", ["", "12", "\0\0", "99999", "-1", "20"])
def test_a_port_that_cannot_be_read_is_chosen_anew(sleeper: Sleeper, content: str) -> None:
    """Such as a power cut leaves behind."""
    remembered = sleeper.folder / "port"
    readable = content in ("12", "20")
    remembered.write_text(content)
    port = sleeper._port(None)
    assert (port == int(content)) if readable else port > 1023
    assert int(remembered.read_text()) == port == sleeper._port(None)
