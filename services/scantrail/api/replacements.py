"""A unit takes the place of another: the one way by which that is written down."""

from datetime import UTC, datetime

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from scantrail.api.bodies import unit_key
from scantrail.api.histories import Keys, cover_for, keys_of
from scantrail.api.problems import Problem, bad_field
from scantrail.infra.tables import replacement

#: One change at a time of what is returned and replaced: two would each be right alone.
_CHANGING = 7_264_506


async def lock_returns(connection: AsyncConnection) -> None:
    """Until the transaction's end nobody else replaces or takes back."""
    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _CHANGING})


async def replace_unit(
    connection: AsyncConnection,
    old: Keys,
    spelling: str,
    *,
    claim: str | None = None,
    rma: str | None = None,
) -> str:
    """Write down that the unit of `spelling` takes the place of `old`; returns its key.

    The caller has lock_returns. Raises Problem where it cannot take that place.
    """
    new = await keys_of(connection, unit_key(spelling, "replacement"))
    if new.unit == old.unit:
        raise bad_field("replacement", f"{new.unit} is the unit itself: give the one that it got")
    cover = await cover_for(connection, old)
    if cover is not None and cover.replaced_by is not None:
        raise _taken(f"{old.unit} was replaced by {cover.replaced_by} before", "already_replaced")
    others = await cover_for(connection, new)
    if others is not None and others.taken_back_at is None:
        if others.replaced_by is not None:
            raise _taken(f"{new.unit} was replaced itself, and not taken back", "already_replaced")
        if others.order is not None and (cover is None or others.purchaser != cover.purchaser):
            raise _taken(f"{new.unit} was shipped to another", "other_purchaser")
        if others.of_unit != new.unit:
            raise _taken(f"{new.unit} has the place of {others.of_unit}", "in_use")
    await connection.execute(
        insert(replacement).values(
            unit=old.unit, replaced_by=new.unit, at=datetime.now(UTC), claim=claim, rma=rma
        )
    )
    return new.unit


def _taken(detail: str, reason: str) -> Problem:
    return Problem(
        409,
        "Not a replacement",
        f"{detail}: give another unit, or take that one back first",
        field="replacement",
        reason=reason,
    )
