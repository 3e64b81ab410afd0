"""`scantrail token …` and `scantrail audit verify`: straight in the query database, where the first
administrator has no token yet."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.access import Role
from scantrail.api.auditing import Noted, add_rows, by_command, verify
from scantrail.api.bodies import TokenBody
from scantrail.api.problems import Problem
from scantrail.api.tokens import checked_token, keep_token, make_token, revoke_token
from scantrail.infra.database import connect_database
from scantrail.infra.settings import Settings
from scantrail.infra.tables import api_token

T = TypeVar("T")


class TokenRefused(Exception):
    """The text says why, and the mend."""


def make_person(settings: Settings, token_id: str, role: str, sites: Sequence[str]) -> str:
    """Make a person's token; what to print. Raises TokenRefused."""

    async def work(connection: AsyncConnection) -> str:
        body = TokenBody(id=token_id, role=Role(role), sites=tuple(sites))
        checked_id, checked_role, checked_sites = checked_token(body)
        token, noted = await make_token(connection, checked_id, checked_role, checked_sites)
        await add_rows(connection, by_command("token person", token_id), [noted])
        return token

    token = changed(settings, work)
    return (
        f"{token_id} sends:  Authorization: Bearer {token}\n"
        "It is told this once; SCANTRAIL_API_TOKENS=required makes the api ask for tokens."
    )


async def enter_token(connection: AsyncConnection, token_id: str, role: Role, digest: str) -> None:
    """Keep the digest of a token; one that was in use under this id counts no more."""
    query = select(api_token.c.id).where(
        api_token.c.id == token_id, api_token.c.revoked_at.is_(None)
    )
    noted = []
    if (await connection.execute(query)).first() is not None:
        noted.append(await revoke_token(connection, token_id))
    noted.append(await keep_token(connection, token_id, role, [], digest))
    await add_rows(connection, by_command("token person", token_id), noted)


def revoke_person(settings: Settings, token_id: str) -> str:
    """Revoke a token; what to print. Raises TokenRefused where nobody uses such a one."""

    async def work(connection: AsyncConnection) -> Noted:
        noted = await revoke_token(connection, token_id)
        await add_rows(connection, by_command("token revoke", token_id), [noted])
        return noted

    changed(settings, work)
    return f"the token of {token_id} is revoked"


def list_people(settings: Settings) -> str:
    """A line for each token; what to print."""

    async def work(connection: AsyncConnection) -> str:
        rows = (await connection.execute(select(api_token).order_by(api_token.c.id))).all()
        lines = [
            f"{row.id}  {row.role}  {', '.join(row.sites) or 'all sites'}"
            f"{'  revoked' if row.revoked_at else ''}"
            for row in rows
        ]
        return "\n".join(lines) or "there are no tokens: `scantrail token person` makes one"

    return changed(settings, work)


def verify_audit(settings: Settings) -> tuple[int, str]:
    """Check the audit chain: the exit status, 1 where it is broken, and what to print."""

    async def work(engine: AsyncEngine) -> tuple[int, str]:
        verifier, broken = await verify(engine)
        if broken is not None:
            return 1, f"row {broken.number} is broken: {broken.why}"
        return 0, f"{verifier.rows} rows verify; the last hash is {verifier.last_hash}"

    return asyncio.run(_with_engine(settings, work))


def changed(settings: Settings, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """Do the work in one transaction. Raises TokenRefused."""

    async def change(engine: AsyncEngine) -> T:
        async with engine.begin() as connection:
            return await work(connection)

    try:
        return asyncio.run(_with_engine(settings, change))
    except Problem as problem:
        raise TokenRefused(problem.body["detail"]) from problem


async def _with_engine(settings: Settings, work: Callable[[AsyncEngine], Awaitable[T]]) -> T:
    engine = connect_database(settings)
    try:
        return await work(engine)
    finally:
        await engine.dispose()
