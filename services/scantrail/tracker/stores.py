"""The trackers' local stores, read while trackers may write them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import rocksdict
from faust.stores.rocksdb import Store as RocksStore

_SUFFIX = ".db"

#: A writer may remove a file between our look at the folder and our opening it.
_TRIES = 5


class StoreUnreadable(Exception):
    """The text names the store's folder, and the mend."""


class LocalStore(NamedTuple):
    """One partition's units, as they were at one moment: those of which the changelog tells up to
    offset `position`."""

    folder: Path
    position: int
    states: Iterator[tuple[bytes, bytes]]


def store_folders(data_dir: Path) -> list[tuple[int, Path]]:
    """Each store of each tracker whose disk this is, with its partition."""
    found = []
    for folder in sorted(data_dir.glob(f"tracker-*/**/units-*{_SUFFIX}")):
        number = folder.name.removeprefix("units-").removesuffix(_SUFFIX)
        if number.isdecimal():
            found.append((int(number), folder))
    return found


@contextlib.contextmanager
def opened_store(folder: Path) -> Iterator[LocalStore | None]:
    """The store in `folder`, None where nothing was stored. Raises StoreUnreadable.

    It is neither locked nor written.
    """
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(False)
    options.set_max_open_files(-1)  # all at once: what a writer removes later is kept for us
    for left in reversed(range(_TRIES)):
        try:
            db = rocksdict.Rdict(
                str(folder), options=options, access_type=rocksdict.AccessType.read_only()
            )
            break
        except Exception as error:  # rocksdict raises plain exceptions
            if not left:
                raise StoreUnreadable(_told(folder, error)) from error
    try:
        position = _position(db, folder)
        yield None if position is None else LocalStore(folder, position, _states(db, folder))
    finally:
        db.close()


def _position(db: rocksdict.Rdict, folder: Path) -> int | None:
    try:
        position = db.get(RocksStore.offset_key)
    except Exception as error:  # rocksdict raises plain exceptions
        raise StoreUnreadable(_told(folder, error)) from error
    return None if position is None else int(position)


def _states(db: rocksdict.Rdict, folder: Path) -> Iterator[tuple[bytes, bytes]]:
    try:
        rows = db.iter()
        rows.seek_to_first()
        while rows.valid():
            key, value = rows.key(), rows.value()
            if isinstance(key, bytes) and key != RocksStore.offset_key:
                yield key, value
            rows.next()
        rows.status()  # at what cannot be read it ends as at the end
    except Exception as error:  # rocksdict raises plain exceptions
        raise StoreUnreadable(_told(folder, error)) from error


def _told(folder: Path, error: Exception) -> str:
    return (
        f"the store in {folder} cannot be read: {error}: stop its tracker, remove the folder, and"
        " it is restored from the changelog"
    )
