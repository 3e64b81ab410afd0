"""What the alerter tells, into the life of each alert; whatever people did with it stays."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scantrail.domain.alert_life import AlertLife, is_same, tell
from scantrail.infra.alert_rows import Happened, life_of, write_happened
from scantrail.infra.tables import alert, alert_event


@dataclass(frozen=True, slots=True)
class ToldAlert:
    """One record of `alerts`: the alert's row, and what is told of its cause. `cause` is the same
    for a replay, and another for a repeat."""

    row: dict[str, Any]
    is_raised: bool
    cause: str
    at: datetime


async def write_alerts(
    connection: AsyncConnection, told: Sequence[ToldAlert], *, tells_webhooks: bool = True
) -> None:
    """Write the records of a batch in their order. One that was told before changes nothing."""
    if not told:
        return
    ids = sorted({one.row["id"] for one in told})
    # In the order of ids, that two writers do not wait for each other.
    locked = select(alert).where(alert.c.id.in_(ids)).order_by(alert.c.id).with_for_update()
    rows = (await connection.execute(locked)).all()
    known: dict[str, tuple[AlertLife, int]] = {row.id: (life_of(row), row.events) for row in rows}
    # An alert stays as urgent as it was when it was raised, whatever is decided meanwhile.
    severities: dict[str, str] = {row.id: row.severity for row in rows}
    causes = select(alert_event.c.alert, alert_event.c.cause).where(
        alert_event.c.alert.in_(ids), alert_event.c.cause.in_({one.cause for one in told})
    )
    seen = {(row.alert, row.cause) for row in await connection.execute(causes)}
    new: dict[str, dict[str, Any]] = {}
    happened: list[Happened] = []
    for one in told:
        of = one.row["id"]
        if (of, one.cause) in seen:
            continue
        seen.add((of, one.cause))
        life, number = known.get(of, (None, 0))
        became = tell(
            life, is_raised=one.is_raised, is_same=is_same(one.cause, one.row["event_id"])
        )
        if became is None:
            continue
        after, step = became
        if life is None:
            new[of] = {**one.row, "status": after.standing.value}
            severities[of] = one.row["severity"]
        known[of] = (after, number + 1)
        happened.append(
            Happened(
                row={**one.row, "severity": severities[of]},
                number=number + 1,
                step=step,
                life=after,
                at=one.at,
                cause=one.cause,
                is_news=life is None
                or (life.standing, life.withdrawn) != (after.standing, after.withdrawn),
            )
        )
    if new:
        await connection.execute(insert(alert), [new[of] for of in sorted(new)])
    await write_happened(connection, happened, tells_webhooks=tells_webhooks)
