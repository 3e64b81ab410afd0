"""Which ids are one unit's: entered here, published by the outbox."""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from litestar import Request, Response, delete, get, put
from litestar.params import FromPath
from sqlalchemy import func, or_, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api import answers, requested
from scantrail.api.access import Role
from scantrail.api.bodies import IdentifiersBody, decode_body, unit_key
from scantrail.api.changes import Answer, Change, Changes
from scantrail.api.problems import Problem, bad_field
from scantrail.api.queries import HAPPENED_AT, ids_of, unit_of
from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain.custody import ALIASES_MAX, Outcome
from scantrail.domain.unit_ids import Contradiction, Identifier, join_id, key_of_all
from scantrail.infra.tables import identifier, movement, unit

AnyRequest = Request[Any, Any, Any]

#: One change of links at a time: two that share an id would each be right alone.
_CHANGING = 7_264_503

#: Links of links that are followed where another process has left some.
_STEPS_MAX = 8

_PREFIX = "/identifiers/"


def build_identifiers(engine: AsyncEngine, changes: Changes) -> list[Any]:
    """The route handlers."""
    outbox = changes.outbox

    async def publish(change: Change, links: Iterable[Identifier]) -> None:
        """Let the links leave with the change, and note each."""
        for link in links:
            change.note("identifier", link.id, old=link.version - 1, new=link.version)
            await change.publish(Topic.IDENTIFIERS, link.id, encode(link))

    @put("/identifiers", role=Role.OPERATE, takes=requested.IDENTIFIERS, tells=answers.IDS_ENTERED)
    async def put_identifiers(request: AnyRequest) -> Response[Any]:
        """Say that several ids are one unit's; what is known already changes nothing."""
        body = decode_body(await request.body(), IdentifiersBody)
        wanted = None if body.unit is None else unit_key(body.unit, "unit")
        keys = [unit_key(spelling, f"ids[{n}]") for n, spelling in enumerate(body.ids)]
        ids = list(dict.fromkeys([*([wanted] if wanted else []), *keys]))
        if len(ids) < 2:
            told = f": all that is given is {ids[0]}" if ids else ""
            raise bad_field("ids", f"give two or more different ids of one unit{told}")
        if len(ids) > ALIASES_MAX + 1:
            raise bad_field("ids", f"a unit has at most {ALIASES_MAX + 1} ids, not {len(ids)}")

        async def write(change: Change) -> Answer:
            connection = change.connection
            await _lock(connection)
            key, links = await _linked(connection, ids, wanted, merge=body.merge)
            await publish(change, links)
            every = [each.id for each in await ids_of(connection, key)]
            if len(every) > ALIASES_MAX:
                raise bad_field(
                    "ids", f"{key} would have {len(every) + 1} ids, at most {ALIASES_MAX + 1}"
                )
            told = {"unit": key, "ids": [key, *every]}
            return Answer(told if links else {**told, "published": True})

        return await changes.make(request, write)

    @get("/identifiers/{spelling:path}", role=Role.READ, tells=answers.IDS)
    async def get_identifiers(request: AnyRequest, spelling: FromPath[str]) -> dict[str, Any]:
        """All ids of the unit that has this one, its own key first."""
        asked = _asked(request)
        async with engine.connect() as connection:
            key = await unit_of(connection, asked)
            links = await ids_of(connection, key)
            waiting = await outbox.waiting(connection, Topic.IDENTIFIERS)
        if not links:
            raise Problem(
                404, "Not found", f"{asked} is not linked to another id: PUT /identifiers"
            )
        return {
            "unit": key,
            "ids": [key, *(link.id for link in links)],
            "links": [
                {
                    "id": link.id,
                    "version": link.version,
                    "linked_at": link.linked_at,
                    "published": link.id not in waiting,
                }
                for link in links
            ],
        }

    @delete(
        "/identifiers/{spelling:path}",
        role=Role.OPERATE,
        tells=answers.LINK_TAKEN_BACK,
        status_code=200,
    )
    async def delete_identifier(request: AnyRequest, spelling: FromPath[str]) -> Response[Any]:
        """Take back that this id is the unit's: it is a unit of its own again, held until it is
        folded anew, for the tracker gave its scans away."""
        asked = _asked(request)

        async def write(change: Change) -> Answer:
            connection = change.connection
            await _lock(connection)
            query = select(identifier).where(identifier.c.id == asked)
            known = (await connection.execute(query)).first()
            if known is None or known.unit == asked:
                links = await ids_of(connection, asked)
                if links:
                    others = ", ".join(link.id for link in links)
                    raise Problem(
                        409, "The unit's key", f"{asked} is the unit's own key: take back {others}"
                    )
                raise Problem(404, "Not found", f"{asked} is not linked to another id")
            back = await _store(connection, asked, asked, known.version, known.joined_by)
            await publish(change, [back])
            return Answer({"id": asked, "unit": asked, "version": back.version})

        return await changes.make(request, write)

    return [put_identifiers, get_identifiers, delete_identifier]


async def _linked(
    connection: AsyncConnection, ids: Sequence[str], wanted: str | None, *, merge: bool
) -> tuple[str, list[Identifier]]:
    """The key of the unit that has all these ids, and the links that were made. Raises Problem."""
    known = await _units_of(connection, ids)
    units = set(known.values())
    query = select(identifier).where(
        or_(identifier.c.id.in_([*ids, *units]), identifier.c.unit.in_(units))
    )
    rows = {row.id: row for row in await connection.execute(query)}
    several = {row.unit for row in rows.values() if row.unit != row.id}
    try:
        key = key_of_all(
            ids,
            known,
            several,
            await _first_seen(connection, {*ids, *units}),
            wanted=wanted,
            merge=merge,
        )
    except Contradiction as error:
        raise Problem(
            409,
            "Of two units",
            f'{error}: if both are one unit, say so with "merge": true; if not, take the wrong link'
            f" back with DELETE {_PREFIX}{{id}}",
            field="ids",
            units=[error.first_unit, error.other_unit],
        ) from error
    joined_by = await joined_by_readers(connection, ids)
    links = []
    # Units first: who has taken some of the links finds all ids of a unit by links to links.
    for id_ in dict.fromkeys([*sorted(units & several), *ids, *sorted(rows)]):
        row = rows.get(id_)
        if id_ != key and (row is None or row.unit != key):
            version, told_by = (0, None) if row is None else (row.version, row.joined_by)
            told_by = told_by or joined_by.get(id_)
            links.append(await _store(connection, id_, key, version, told_by))
    return key, links


async def _lock(connection: AsyncConnection) -> None:
    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _CHANGING})


async def _store(
    connection: AsyncConnection, id_: str, key: str, version: int, joined_by: str | None
) -> Identifier:
    """Write the next version of a link, or, where `key` is `id_` itself, that it is taken back.

    The tracker goes by the first scan that told it that the key is another's: `joined_by`.
    """
    is_link, version = key != id_, version + 1
    link = Identifier(
        id=id_,
        unit=key,
        linked_at=datetime.now(UTC),
        version=version,
        takes_back=None if is_link else joined_by,
    )
    joined_by = (joined_by or join_id(id_, key, version)) if is_link else None
    values = {
        "unit": key,
        "version": version,
        "linked_at": link.linked_at,
        "joined_by": joined_by,
    }
    new = upsert(identifier).values(id=id_, **values)
    await connection.execute(
        new.on_conflict_do_update(index_elements=[identifier.c.id], set_=values)
    )
    return link


async def _units_of(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, str]:
    """The key of each one's unit as links say, and, of what is no link, as the tracker does."""
    found = {id_: id_ for id_ in ids}
    for _ in range(_STEPS_MAX):
        ends = set(found.values())
        step = await _joined(connection, ends)
        links = select(identifier.c.id, identifier.c.unit).where(
            or_(identifier.c.id.in_(ends), identifier.c.unit.in_(ends)),
            identifier.c.id != identifier.c.unit,
        )
        for id_, key in await connection.execute(links):
            step.pop(key, None)  # a key that others are linked to goes nowhere
            step[id_] = key
        moved = {id_: step.get(end, end) for id_, end in found.items()}
        if moved == found:
            break
        found = moved
    return found


async def _joined(connection: AsyncConnection, keys: Collection[str]) -> dict[str, str]:
    query = select(unit.c.unit, unit.c.joined).where(
        unit.c.unit.in_(keys), unit.c.joined.is_not(None)
    )
    return {row.unit: row.joined for row in await connection.execute(query)}


async def joined_by_readers(connection: AsyncConnection, keys: Collection[str]) -> dict[str, str]:
    """The scan that joined each of these keys into another, where a reader told it."""
    query = (
        select(movement.c.unit, movement.c.event_id)
        .join(unit, (unit.c.unit == movement.c.unit) & (unit.c.joined == movement.c.same_as))
        .where(movement.c.unit.in_(keys), movement.c.outcome == Outcome.JOINED.value)
        .order_by(movement.c.version)
    )
    return {row.unit: row.event_id for row in await connection.execute(query)}


async def _first_seen(connection: AsyncConnection, keys: Collection[str]) -> dict[str, datetime]:
    """When each of the keys was first scanned itself; those that were not are left out."""
    query = (
        select(movement.c.unit, func.min(HAPPENED_AT).label("at"))
        .where(movement.c.unit.in_(keys), movement.c.same_as.is_(None))
        .group_by(movement.c.unit)
    )
    return {row.unit: row.at for row in await connection.execute(query)}


def _asked(request: AnyRequest) -> str:
    """The key that the address spells, as it was sent: a Digital Link has slashes."""
    sent = request.scope["raw_path"].decode("ascii", "replace").removeprefix(_PREFIX)
    return unit_key(unquote(sent), "id")
