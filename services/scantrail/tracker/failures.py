"""A scan on which the code raises is set aside; a release that raises on many is stopped."""

from collections import deque
from pathlib import Path

from scantrail.infra.logs import logger

log = logger(__name__)

EXIT_FAILING = 77

#: More than so many failures among so many scans, and the release is taken for a bad one.
FAILURES_MAX = 100
SCANS = 10_000


class TooManyFailures(Exception):
    """The code raises on too many scans: setting them aside would drain the topic."""

    exit_status = EXIT_FAILING


class FailureLimit:
    """Counts the scans on which the code raised among the last `SCANS`.

    Beyond the limit a file says so, and the same release does not start again: with each start
    it would set aside as many scans as the limit allows.
    """

    def __init__(self, folder: Path, release: str) -> None:
        self._mark = folder / "failing"
        self._release = release
        self._scans = 0
        self._failed = deque[int]()

    def check(self) -> None:
        """SystemExit where this release was stopped before."""
        if self._mark.exists() and self._mark.read_text().strip() == self._release:
            log.error(
                "this release failed on too many scans: install another, or remove the file"
                " where the cause was another",
                release=self._release,
                file=str(self._mark),
            )
            raise SystemExit(EXIT_FAILING)

    def passed(self, scans: int) -> None:
        """So many scans were judged, those that failed included."""
        self._scans += scans

    def failed(self) -> None:
        """The code raised on one scan. Raises TooManyFailures beyond the limit."""
        self._failed.append(self._scans)
        while self._failed[0] <= self._scans - SCANS:
            self._failed.popleft()
        if len(self._failed) > FAILURES_MAX:
            self._mark.parent.mkdir(parents=True, exist_ok=True)
            self._mark.write_text(self._release)
            raise TooManyFailures(
                f"the code raised on {len(self._failed)} of the last {SCANS} scans"
            )
