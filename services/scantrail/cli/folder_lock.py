"""One supervisor per data folder; the lock's file tells whose it is and what is in force there.

Its lines: the process's number, the address of the page, and, once they are known, the settings.
They hold for as long as the lock is held, so that no death leaves a wrong one behind.
"""

import fcntl
import json
import os
import time
from pathlib import Path

from scantrail.cli.checks import StackError
from scantrail.infra.settings import ENV_PREFIX, Settings, load_settings

# settings_in_force() holds the lock for an instant.
_TRIES = 20
_TRY_AGAIN_S = 0.01


class FolderLock:
    """Held from take() to release(), or to the end of the process."""

    def __init__(self, folder: Path, page: str) -> None:
        self._path = folder / "lock"
        self._page = page
        self._descriptor: int | None = None

    def take(self) -> None:
        """Raises StackError where another has the folder, or it cannot be written."""
        folder = self._path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StackError(
                f"the data folder {folder} cannot be written ({error.strerror}):"
                f" make it writable, or set {ENV_PREFIX}DATA_DIR to another"
            ) from error
        if not _locked(descriptor, fcntl.LOCK_EX):
            pid, page, *_ = [*_read(descriptor).split("\n"), "", ""]
            os.close(descriptor)
            raise StackError(f"Scantrail already runs here (process {pid}); its page is {page}")
        os.fchmod(descriptor, 0o600)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n{self._page}\n".encode())
        self._descriptor = descriptor

    def tell(self, settings: Settings) -> None:
        """Let settings_in_force() find them; the lock is held."""
        assert self._descriptor is not None
        os.write(self._descriptor, f"{json.dumps(settings.environ())}\n".encode())

    def release(self) -> None:
        """Let another have the folder."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def settings_in_force(folder: Path) -> Settings | None:
    """Those of the supervisor that has this folder; None without one, or while it starts."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDONLY)
    except OSError:
        return None
    try:
        if _locked(descriptor, fcntl.LOCK_SH, tries=1):
            return None
        lines = _read(descriptor).splitlines(keepends=True)
        told = lines[2] if len(lines) > 2 and lines[2].endswith("\n") else None
        return load_settings(json.loads(told)) if told else None
    finally:
        os.close(descriptor)


def _locked(descriptor: int, kind: int, *, tries: int = _TRIES) -> bool:
    for left in reversed(range(tries)):
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if left:
                time.sleep(_TRY_AGAIN_S)
    return False


def _read(descriptor: int) -> str:
    return os.pread(descriptor, 1 << 16, 0).decode()
