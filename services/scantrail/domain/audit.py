"""The audit chain: each row says what the row before it was, so that none can be altered unseen.

A row has references only: ids of entities and of tokens, never a name or an address.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256

#: What the first row has as the hash of the one before it.
FIRST = "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One change of one entity: who made it, when, by which route, from which version to which."""

    number: int  # from 1, without a gap
    at: datetime
    who: str  # the token's id, or "anonymous" where tokens are off
    role: str
    method: str
    route: str  # as it is declared: its parameters by their names
    entity: str
    reference: str
    old_version: int | None  # 0: there was none; None: the entity has no versions
    new_version: int | None
    request_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """An entry as it is stored."""

    entry: AuditEntry
    previous_hash: str
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """The first row that does not fit, and why."""

    number: int
    why: str


def hash_of(entry: AuditEntry, previous_hash: str) -> str:
    """SHA-256, as 64 hex digits, over the entry and the previous row's hash."""
    told = asdict(entry) | {"at": entry.at.astimezone(UTC).isoformat(timespec="microseconds")}
    text = json.dumps([previous_hash, told], sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()


def chained(entry: AuditEntry, previous_hash: str) -> AuditRow:
    """The row that stands behind the one with `previous_hash`."""
    return AuditRow(entry=entry, previous_hash=previous_hash, hash=hash_of(entry, previous_hash))


class Verifier:
    """Checks rows in their order, as many at a time as are at hand."""

    def __init__(self) -> None:
        self.rows = 0
        self.last_hash = FIRST

    def check(self, rows: Iterable[AuditRow]) -> Broken | None:
        """The first of these rows that does not follow from those before it; None: all do."""
        for row in rows:
            number = self.rows + 1
            if row.entry.number != number:
                return Broken(number=number, why=f"it is missing: {row.entry.number} comes next")
            if row.previous_hash != self.last_hash:
                return Broken(number=number, why="it does not name the hash of the row before it")
            if row.hash != hash_of(row.entry, row.previous_hash):
                return Broken(number=number, why="its content is not what its hash was made of")
            self.rows, self.last_hash = number, row.hash
        return None
