"""Writing the audit chain, reading it, and checking it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import Row, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.access import Caller, Role
from scantrail.domain.audit import FIRST, AuditEntry, AuditRow, Broken, Verifier, chained
from scantrail.infra.tables import audit

#: One change at a time stands at the end of the chain: until it is committed, or undone.
AUDIT_LOCK = 7_264_504

#: Who changes something by a command, straight in the database.
COMMAND_LINE: Final = Caller(id="command line", role=Role.ADMIN)

#: Rows that are checked at a time: others have their turn every some milliseconds.
VERIFIED_ROWS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """An entity that a change touches: versions as `AuditEntry` has them."""

    entity: str
    reference: str
    old: int | None = None
    new: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeBy:
    """Who made a change, and by what; as `AuditEntry` has it."""

    who: str
    role: str
    method: str
    route: str
    request_sha256: str


def by_command(command: str, told: str = "") -> MadeBy:
    """What is changed by `scantrail COMMAND`; `told` is what the command was given."""
    return MadeBy(
        who=COMMAND_LINE.id,
        role=COMMAND_LINE.role.value,
        method="COMMAND",
        route=f"scantrail {command}",
        request_sha256=sha256(f"{command} {told}".rstrip().encode()).hexdigest(),
    )


async def add_rows(connection: AsyncConnection, made_by: MadeBy, noted: Sequence[Noted]) -> None:
    """Add rows to the chain. Nothing is locked after it, or two might wait for each other."""
    if not noted:
        return
    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": AUDIT_LOCK})
    query = select(audit.c.number, audit.c.hash).order_by(audit.c.number.desc()).limit(1)
    last = (await connection.execute(query)).first()
    number, previous = (0, FIRST) if last is None else (last.number, last.hash)
    now = datetime.now(UTC)
    rows = []
    for number, each in enumerate(noted, start=number + 1):  # noqa: B020
        entry = AuditEntry(
            number=number,
            at=now,
            **asdict(made_by),
            entity=each.entity,
            reference=each.reference,
            old_version=each.old,
            new_version=each.new,
        )
        row = chained(entry, previous)
        previous = row.hash
        rows.append({**asdict(entry), "previous_hash": row.previous_hash, "hash": row.hash})
    await connection.execute(insert(audit), rows)


async def verify(
    engine: AsyncEngine, verifier: Verifier | None = None
) -> tuple[Verifier, Broken | None]:
    """Check the chain from its first row to the last; what was checked, and what is broken first.

    `verifier` tells meanwhile how far it is, and where to go on from. A chain that was cut off at
    its end verifies: compare `last_hash` with one noted elsewhere.
    """
    verifier = verifier or Verifier()
    while True:
        query = select(audit).where(audit.c.number > verifier.rows).order_by(audit.c.number)
        async with engine.connect() as connection:
            rows = (await connection.execute(query.limit(VERIFIED_ROWS))).all()
        broken = verifier.check(map(_row, rows))
        if broken is not None or not rows:
            return verifier, broken


_ENTRY = tuple(field.name for field in fields(AuditEntry))


def _row(row: Row[Any]) -> AuditRow:
    entry = AuditEntry(**{name: getattr(row, name) for name in _ENTRY})
    return AuditRow(entry=entry, previous_hash=row.previous_hash, hash=row.hash)
