"""Tokens of people and machines: made, listed, revoked. Only their digests are kept."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from litestar import Request, Response, delete, get, post
from litestar.params import FromPath
from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api import answers, requested
from scantrail.api.access import Role, caller_of
from scantrail.api.auditing import Noted
from scantrail.api.bodies import TokenBody, checked_id, decode_body
from scantrail.api.changes import Answer, Change, Changes, alone
from scantrail.api.paging import Cursor, Limit, after, page
from scantrail.api.problems import Problem, bad_field
from scantrail.infra.tables import api_token
from scantrail.infra.tokens import new_token

AnyRequest = Request[Any, Any, Any]

SITES_MAX = 100


def build_tokens(engine: AsyncEngine, changes: Changes) -> list[Any]:
    """The route handlers."""

    @post("/tokens", role=Role.ADMIN, takes=requested.TOKEN, tells=answers.NEW_TOKEN)
    async def post_token(request: AnyRequest) -> Response[Any]:
        """Make a token. It is told this once: a retry with the same key answers without it."""
        body = decode_body(await request.body(), TokenBody)
        token_id, role, sites = checked_token(body)
        caller_of(request).check_token(sites)

        async def write(change: Change) -> Answer:
            token, noted = await make_token(change.connection, token_id, role, sites)
            change.note(noted.entity, noted.reference, old=noted.old, new=noted.new)
            told = {"id": token_id, "role": role, "sites": sites, "version": noted.new}
            return Answer(told, 201, {"Location": f"/tokens/{token_id}"}, once={"token": token})

        return await changes.make(request, write)

    @get("/tokens", role=Role.ADMIN, tells=answers.TOKENS)
    async def list_tokens(cursor: Cursor = None, limit: Limit = 100) -> dict[str, Any]:
        """Whose tokens there are, and what they may do; not the tokens themselves."""
        query = select(api_token).where(api_token.c.id > after(cursor, "tokens"))
        async with engine.connect() as connection:
            rows = await connection.execute(query.order_by(api_token.c.id).limit(limit))
            return page("tokens", [_told(row) for row in rows], limit)

    @delete("/tokens/{token_id:str}", status_code=200, role=Role.ADMIN, tells=answers.TOKEN)
    async def delete_token(token_id: FromPath[str], request: AnyRequest) -> Response[Any]:
        """Revoke a token: the next request that shows it is refused."""

        async def write(change: Change) -> Answer:
            known = select(api_token.c.sites).where(api_token.c.id == token_id)
            sites = (await change.connection.execute(known)).scalar()
            change.caller.check_token(sites or [])
            noted = await revoke_token(change.connection, token_id)
            change.note(noted.entity, noted.reference, old=noted.old, new=noted.new)
            query = select(api_token).where(api_token.c.id == token_id)
            return Answer(_told((await change.connection.execute(query)).one()))

        return await changes.make(request, write)

    return [post_token, list_tokens, delete_token]


def checked_token(body: TokenBody) -> tuple[str, Role, list[str]]:
    """Whose token, its role and its sites. Raises Problem 400."""
    if body.role is Role.PUBLIC:
        raise bad_field("role", "give one of read, operate, quality, admin")
    if len(body.sites) > SITES_MAX:
        raise bad_field("sites", f"give at most {SITES_MAX}; none: all")
    sites = [checked_id(site, f"sites[{n}]") for n, site in enumerate(body.sites)]
    return checked_id(body.id, "id"), body.role, sites


async def make_token(
    connection: AsyncConnection, token_id: str, role: Role, sites: Sequence[str]
) -> tuple[str, Noted]:
    """A new token, and what the audit is told. Raises Problem 409 where one is in use."""
    token, digest = new_token()
    return token, await keep_token(connection, token_id, role, sites, digest)


async def keep_token(
    connection: AsyncConnection, token_id: str, role: Role, sites: Sequence[str], digest: str
) -> Noted:
    """Keep the digest of a token that is made; what the audit is told. Problem 409 as above."""
    await alone(connection, "api_token", token_id)
    query = select(api_token).where(api_token.c.id == token_id).with_for_update()
    known = (await connection.execute(query)).first()
    if known is not None and known.revoked_at is None:
        raise Problem(409, "Exists", f"{token_id!r} has a token: revoke it first", field="id")
    version = 1 if known is None else known.version + 1
    values = {
        "token_sha256": digest,
        "role": role.value,
        "sites": list(sites),
        "version": version,
        "made_at": datetime.now(UTC),
        "revoked_at": None,
    }
    if known is None:
        await connection.execute(insert(api_token).values(id=token_id, **values))
    else:
        await connection.execute(
            update(api_token).where(api_token.c.id == token_id).values(**values)
        )
    return Noted(entity="api_token", reference=token_id, old=version - 1, new=version)


async def revoke_token(connection: AsyncConnection, token_id: str) -> Noted:
    """What the audit is told. Raises Problem 404 where nobody has such a token."""
    revoked = (
        update(api_token)
        .where(api_token.c.id == token_id, api_token.c.revoked_at.is_(None))
        .values(revoked_at=datetime.now(UTC), version=api_token.c.version + 1)
        .returning(api_token.c.version)
    )
    version = (await connection.execute(revoked)).scalar()
    if version is None:
        raise Problem(404, "Not found", f"nobody uses a token {token_id!r}")
    return Noted(entity="api_token", reference=token_id, old=version - 1, new=version)


def _told(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "role": row.role,
        "sites": row.sites,
        "version": row.version,
        "made_at": row.made_at,
        "revoked_at": row.revoked_at,
    }
