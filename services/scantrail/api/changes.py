"""The one way in which the api changes anything.

1. a retry is told what was answered, and changes nothing.
2. in one transaction: the route's own rows, its records for the outbox, one audit row for each
   entity, and the answer where an Idempotency-Key came. Died here: nothing happened, ask again.
3. committed; the answer waits a little for Kafka to have the last record.

A route is a function of a `Change`:

    async def put_station(station_id: FromPath[str], request: AnyRequest) -> Response[Any]:
        body = decode_body(await request.body(), StationBody)

        async def store(change: Change) -> Answer:
            version = …  # write rows by change.connection
            change.note("station", station_id, old=version - 1, new=version)
            await change.publish(Topic.STATIONS, station_id, value)
            return Answer({"id": station_id, "version": version})

        return await changes.make(request, store)
"""

import hmac
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import msgspec
from litestar import Request, Response
from sqlalchemy import Row, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.access import Caller, caller_of
from scantrail.api.auditing import MadeBy, Noted, add_rows
from scantrail.api.folding import check_still_folding
from scantrail.api.outbox import PUBLISH_S_MAX, Outbox
from scantrail.api.preconditions import Precondition, etag_of
from scantrail.api.problems import Problem
from scantrail.contracts.topics import Topic
from scantrail.infra.tables import idempotency, installation_secret

AnyRequest = Request[Any, Any, Any]

#: So long the answer to an Idempotency-Key is kept.
KEPT_FOR = timedelta(hours=24)

KEY_LENGTH_MAX = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """What a change answers. `published` joins the body where a record leaves by the outbox.

    `once` joins it as well, and is not kept for a retry: secrets.
    """

    body: dict[str, Any]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    once: Mapping[str, Any] = field(default_factory=dict)


class Change:
    """A change that is being made. All of it is committed, or, where anything is raised, none."""

    def __init__(
        self,
        connection: AsyncConnection,
        outbox: Outbox,
        caller: Caller,
        precondition: Precondition,
    ) -> None:
        self.connection = connection
        self.caller = caller
        self.noted: list[Noted] = []
        self.noted_beside: list[Noted] = []
        self.last_row: int | None = None
        self.version: int | None = None
        self._outbox = outbox
        self._precondition = precondition

    async def alone(self, entity: str, reference: str) -> None:
        """Let nobody else change this entity meanwhile, where it does not exist yet neither.

        Say it before its version is read where no upsert counts that up.
        """
        await alone(self.connection, entity, reference)

    def expect(self, version: int) -> None:
        """Check the caller's If-Match against the version that is there now (0: none is).

        `note` does it for the first entity; say it where nothing may be noted. Raises Problem
        412, or 428 where the installation demands the header.
        """
        self._precondition.check(version)
        self.version = version

    def expect_none(self) -> None:
        """What is changed has no version: raises Problem 400 where one was told.

        It is so too for a change that notes none; say it before what cannot be undone.
        """
        self._precondition.finish()

    def expect_many(self, versions: Iterable[int]) -> None:
        """As expect_none, of many that are changed together, of which 0 are new; say note_beside of
        each. Raises Problem 428 where one exists and the installation demands the header."""
        self._precondition.check_many(versions)

    def note(
        self, entity: str, reference: str, *, old: int | None = None, new: int | None = None
    ) -> None:
        """Have an audit row of this entity: its kind and its id, never a name or an address.

        `old` and `new` are its versions, 0 where there was none; None where it has none at all.
        The first entity with versions is the one that If-Match and ETag are of.
        """
        if old is not None:
            if self.version is None:
                self.expect(old)
            if not self.noted:
                self.version = new
        self.noted.append(Noted(entity=entity, reference=reference, old=old, new=new))

    def note_beside(self, entity: str, reference: str, *, old: int, new: int) -> None:
        """As `note`, of what changes along with the entity that is asked for: no If-Match and no
        ETag is of it."""
        self.noted_beside.append(Noted(entity=entity, reference=reference, old=old, new=new))

    async def publish(self, topic: Topic, key: str, value: bytes | None) -> int:
        """Let a record leave with the change; without a value the entity is gone there."""
        self.last_row = await self._outbox.add(self.connection, topic, key, value)
        return self.last_row


async def alone(connection: AsyncConnection, entity: str, reference: str) -> None:
    """As Change.alone, without a request."""
    named = func.hashtextextended(f"{entity} {reference}", 0)
    await connection.execute(select(func.pg_advisory_xact_lock(named)))


class Changes:
    """Makes changes. `demands_version`: a change of what exists must say by If-Match of which."""

    def __init__(
        self, engine: AsyncEngine, outbox: Outbox, *, demands_version: bool = False
    ) -> None:
        self.outbox = outbox
        self._engine = engine
        self._demands_version = demands_version
        self._secret: bytes | None = None

    async def make(
        self, request: AnyRequest, change: Callable[[Change], Awaitable[Answer]]
    ) -> Response[Any]:
        """Make a change, or tell again what it answered. Raises Problem, and then did nothing."""
        caller = caller_of(request)
        key = _key_of(request)
        digest = await _digest_of(request)
        async with self._engine.begin() as connection:
            kept = await _kept(connection, caller, key, digest) if key else None
            if kept is None:
                precondition = Precondition.of(request, is_demanded=self._demands_version)
                made = Change(connection, self.outbox, caller, precondition)
                answer = await change(made)
                precondition.finish()
                await check_still_folding(connection)
                headers = dict(answer.headers)
                if made.version:
                    headers["ETag"] = etag_of(made.version)
                status, body, last_row = answer.status, answer.body, made.last_row
                if key:
                    await _keep(connection, caller, key, digest, (status, headers, body, last_row))
                body = {**body, **answer.once}
                made_by = MadeBy(
                    who=caller.id,
                    role=caller.role.value,
                    method=request.method,
                    route=request.scope["path_template"],
                    request_sha256=await self._unguessable(connection, digest),
                )
                await add_rows(connection, made_by, [*made.noted, *made.noted_beside])
            else:
                status, headers, last_row = kept.status, kept.headers, kept.outbox_id
                headers = {**headers, "Idempotent-Replayed": "true"}
                body = msgspec.json.decode(kept.body)
        if last_row is not None:
            published = await self.outbox.published(last_row, within_s=PUBLISH_S_MAX)
            body = {**body, "published": published}
        return Response(body, status_code=status, headers=headers)

    async def _unguessable(self, connection: AsyncConnection, digest: str) -> str:
        """The digest as the audit has it, for ever: names that were erased are not to be guessed
        by it."""
        if self._secret is None:
            query = select(installation_secret.c.secret)
            of_audit = query.where(installation_secret.c.name == "audit")
            self._secret = bytes((await connection.execute(of_audit)).scalar_one())
        return hmac.new(self._secret, bytes.fromhex(digest), sha256).hexdigest()


def _key_of(request: AnyRequest) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= KEY_LENGTH_MAX and key.isprintable()):
        raise Problem(
            400,
            "Bad input",
            f"give 1 to {KEY_LENGTH_MAX} printable characters, another for each request",
            field="Idempotency-Key",
        )
    return key


async def _digest_of(request: AnyRequest) -> str:
    """SHA-256 over the method, the address as it was sent, and the body."""
    address = request.scope["raw_path"] + b"?" + request.scope["query_string"]
    digest = sha256(request.method.encode() + b" " + address + b"\n")
    digest.update(await request.body())
    return digest.hexdigest()


async def _kept(
    connection: AsyncConnection, caller: Caller, key: str, digest: str
) -> Row[Any] | None:
    """What was answered to this key. Raises Problem where it is another request's, or in hand."""
    named = msgspec.json.encode([caller.id, key])
    lock = int.from_bytes(sha256(named).digest()[:8], signed=True)
    locked = await connection.execute(
        text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": lock}
    )
    if not locked.scalar_one():
        raise Problem(
            409,
            "In hand",
            "a request with this Idempotency-Key is being answered: ask again in a second",
            field="Idempotency-Key",
            headers={"Retry-After": "1"},
        )
    query = select(idempotency).where(
        idempotency.c.who == caller.id,
        idempotency.c.key == key,
        idempotency.c.at > datetime.now(UTC) - KEPT_FOR,
    )
    row = (await connection.execute(query)).first()
    if row is not None and row.request_sha256 != digest:
        raise Problem(
            422,
            "Another request",
            f"this Idempotency-Key came with another request at {row.at.isoformat()}: give a new"
            " one to each",
            field="Idempotency-Key",
        )
    return row


async def _keep(
    connection: AsyncConnection,
    caller: Caller,
    key: str,
    digest: str,
    told: tuple[int, dict[str, str], dict[str, Any], int | None],
) -> None:
    now = datetime.now(UTC)
    of_key = (idempotency.c.who == caller.id) & (idempotency.c.key == key)
    is_old = idempotency.c.at <= now - KEPT_FOR  # other keys' go once an hour: api.expiring
    await connection.execute(delete(idempotency).where(of_key, is_old))
    status, headers, body, last_row = told
    await connection.execute(
        upsert(idempotency).values(
            who=caller.id,
            key=key,
            request_sha256=digest,
            status=status,
            headers=headers,
            body=msgspec.json.encode(body),
            outbox_id=last_row,
            at=now,
        )
    )
