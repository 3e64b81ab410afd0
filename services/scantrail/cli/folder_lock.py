"""One supervisor per data folder; the lock's file says whose it is."""

import fcntl
import os
from pathlib import Path

from scantrail.cli.checks import StackError
from scantrail.infra.settings import ENV_PREFIX


class FolderLock:
    """One supervisor per data folder; says whose it is."""

    def __init__(self, folder: Path, page: str) -> None:
        self._path = folder / "lock"
        self._page = page
        self._descriptor: int | None = None

    def take(self) -> None:
        """Hold the folder till release() or the process's end; StackError where another does."""
        folder = self._path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StackError(
                f"the data folder {folder} cannot be written ({error.strerror}):"
                f" make it writable, or set {ENV_PREFIX}DATA_DIR to another"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid, page, *_ = [*os.read(descriptor, 1000).decode().split("\n"), "", ""]
            os.close(descriptor)
            raise StackError(
                f"Scantrail already runs here (process {pid}); its page is {page}"
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n{self._page}\n".encode())
        self._descriptor = descriptor

    def release(self) -> None:
        """Let another have the folder."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
