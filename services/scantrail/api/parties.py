"""Parties: who they are stands in the table `party` alone, and can be erased there.

No answer to a change tells a name or an address, so that what is kept of answers holds none.
"""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import unquote

import msgspec
from litestar import Request, Response, delete, get, put
from litestar.params import FromPath
from sqlalchemy import case, func, or_, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.access import Role
from scantrail.api.bodies import checked_id, decode_body, short_text
from scantrail.api.changes import Answer, Change, Changes
from scantrail.api.days import Days
from scantrail.api.erasure import erase_words
from scantrail.api.party_bodies import (
    PARTY,
    PARTY_ENTERED,
    PARTY_ERASED,
    PARTY_TOLD,
    PartyBody,
)
from scantrail.api.preconditions import with_etag
from scantrail.api.problems import Problem, bad_field
from scantrail.api.register_watch import RegisterWatch, mark_stale
from scantrail.domain.party import Licence, licence_gap
from scantrail.domain.register import EntryKind, Regulation, kept_until
from scantrail.infra import tables
from scantrail.infra.tables import ERASED, party, register, regulation, sales_order

AnyRequest = Request[Any, Any, Any]

ADDRESS_LENGTH_MAX = 1000
LICENCES_MAX = 50

_PREFIX = "/parties/"
_ERASURE = "/personal-data"


def build_parties(engine: AsyncEngine, changes: Changes, watch: RegisterWatch) -> list[Any]:
    """The route handlers."""

    @put("/parties/{place:path}", role=Role.OPERATE, takes=PARTY, tells=PARTY_ENTERED)
    async def put_party(place: FromPath[str], request: AnyRequest) -> Response[Any]:
        """Enter a party as a whole: its next version where it exists."""
        party_id = _party_at(request)
        body = decode_body(await request.body(), PartyBody)
        licences = _licences(body)

        async def write(change: Change) -> Answer:
            connection = change.connection
            await change.alone("party", party_id)
            before = await _find(connection, party_id, lock=True)
            if before is None:
                checked_id(party_id, "id")
            old = before.version if before else 0
            change.expect(old)
            told, known = msgspec.to_builtins(licences), before.licences if before else []
            if len(told) != len(known) or any(each not in known for each in told):
                change.caller.check_role(Role.QUALITY, "licences", "enters or takes away licences")
            await write_party(connection, party_id, body.name, body.address, field="")
            row = (
                await connection.execute(
                    party.update()
                    .where(party.c.id == party_id)
                    .values(
                        version=old + 1,
                        roles=sorted(set(body.roles)),
                        licences=msgspec.to_builtins(licences),
                    )
                    .returning(party)
                )
            ).one()
            change.note("party", party_id, old=old, new=row.version)
            await mark_stale(
                connection,
                orders=await _orders_of(connection, party_id),
                supplier=party_id if before is None else None,  # nobody knew whose its notices were
            )
            return Answer(_told(row, await _today(connection)))

        made = await changes.make(request, write)
        watch.kick()
        return made

    @get("/parties/{place:path}", role=Role.OPERATE, tells=PARTY_TOLD)
    async def get_party(place: FromPath[str], request: AnyRequest) -> Response[Any]:
        """One party with its name, its address and its licences."""
        party_id = _party_at(request)
        async with engine.connect() as connection:
            row = await _find(connection, party_id)
            today = await _today(connection)
        if row is None:
            raise _unknown(party_id)
        told = {**_told(row, today), "name": row.name, "address": row.address}
        return with_etag(told, row.version)

    @delete("/parties/{place:path}", role=Role.ADMIN, tells=PARTY_ERASED, status_code=200)
    async def erase_party(place: FromPath[str], request: AnyRequest) -> Response[Any]:
        """`DELETE /parties/{id}/personal-data`: name, address and licences are gone, the party's
        id and all that refers to it stay. What a machine wrote down with the name or the address
        in it is emptied; `still_in` tells where else they stand. Refused while the register must
        tell of it."""
        sent = _sent(request)
        if not sent.endswith(_ERASURE):
            raise Problem(405, "Not allowed", f"a party stays: DELETE {_PREFIX}…{_ERASURE}")
        party_id = unquote(sent.removesuffix(_ERASURE))
        await watch.catch_up()

        async def write(change: Change) -> Answer:
            connection = change.connection
            before = await _find(connection, party_id, lock=True)
            if before is None:
                raise _unknown(party_id)
            await _refuse_while_kept(connection, party_id, datetime.now(UTC).date())
            row = (
                await connection.execute(
                    party.update()
                    .where(party.c.id == party_id)
                    .values(
                        name=ERASED,
                        address=ERASED,
                        licences=[],
                        version=party.c.version + 1,
                        erased_at=func.coalesce(party.c.erased_at, func.now()),
                    )
                    .returning(party)
                )
            ).one()
            change.note("party", party_id, old=before.version, new=row.version)
            refs = await _orders_of(connection, party_id)
            named = () if before.erased_at else (before.name, before.address)
            left = await erase_words(connection, named)
            today = await _today(connection)
            return Answer({**_told(row, today), "orders": refs, "still_in": left})

        return await changes.make(request, write)

    return [put_party, get_party, erase_party]


async def enter_party(
    change: Change, party_id: str, name: str, address: str, *, field: str
) -> None:
    """As write_party, of a party that comes with something else."""
    await change.alone("party", party_id)
    before = await _find(change.connection, party_id)
    old = before.version if before else 0
    new = await write_party(change.connection, party_id, name, address, field=field)
    if new != old:
        change.note_beside("party", party_id, old=old, new=new)


async def write_party(
    connection: AsyncConnection, party_id: str, name: str, address: str, *, field: str
) -> int:
    """Write a name and an address; its next version where they are others. Returns the version.

    `field` is in front of those of a refusal. Raises Problem 400, and 409 of one that was erased:
    what is sent again by mistake brings no name back.
    """
    dot = f"{field}." if field else ""
    short_text(name, f"{dot}name")
    if not 0 < len(address.strip()) <= ADDRESS_LENGTH_MAX:
        raise bad_field(f"{dot}address", f"give 1 to {ADDRESS_LENGTH_MAX} characters")
    new = upsert(party).values(id=party_id, name=name, address=address)
    is_other = (party.c.name != name) | (party.c.address != address)
    written = new.on_conflict_do_update(
        index_elements=[party.c.id],
        set_={
            "name": name,
            "address": address,
            "version": party.c.version + case((is_other, 1), else_=0),
        },
        where=party.c.erased_at.is_(None),
    )
    version: int | None = (await connection.execute(written.returning(party.c.version))).scalar()
    if version is None:
        raise Problem(
            409,
            "Erased",
            f"the personal data of {party_id!r} were erased: name a party with another id",
            field=field,
        )
    return version


async def known_party(connection: AsyncConnection, party_id: str, field: str) -> str:
    """The id of a party that was entered. Raises Problem 400."""
    if await _find(connection, party_id) is None:
        raise bad_field(field, f"there is no party {party_id!r}: PUT /parties/{party_id} first")
    return party_id


async def _find(connection: AsyncConnection, party_id: str, *, lock: bool = False) -> Any:
    query = select(party).where(party.c.id == party_id)
    return (await connection.execute(query.with_for_update() if lock else query)).first()


async def _orders_of(connection: AsyncConnection, party_id: str) -> list[str]:
    """References of the orders that name the party, in whatever part."""
    parts = ("purchaser", "ship_to", "end_customer", "carrier", "supplier", "owning_party")
    named = or_(*(sales_order.c[part] == party_id for part in parts))
    query = select(sales_order.c.ref).where(named).order_by(sales_order.c.ref)
    return list((await connection.execute(query)).scalars())


async def _refuse_while_kept(connection: AsyncConnection, party_id: str, today: date) -> None:
    """Raises Problem 409 with the day until which the register must tell of the party."""
    of_party = or_(register.c.acquired_from == party_id, register.c.disposed_to == party_id)
    query = select(register).where(register.c.line.in_(select(register.c.line).where(of_party)))
    rows = (await connection.execute(query.order_by(register.c.number))).all()
    years = {
        row.id: msgspec.convert(row.document, Regulation).retention_years
        for row in await connection.execute(select(regulation))
    }
    last = {row.line: row for row in rows}
    for row in last.values():
        until = _kept_until(row, years.get(row.product, 20))
        if until is None:
            raise Problem(
                409,
                "Must be kept",
                f"{row.unit} is still here, and line {row.line} of the register must tell from"
                f" whom it came until {years.get(row.product, 20)} years after it went",
                until=None,
            )
    untils = [_kept_until(row, years.get(row.product, 20)) for row in last.values()]
    until = max((each for each in untils if each is not None), default=None)
    if until is not None and until >= today:
        raise Problem(
            409,
            "Must be kept",
            f"the register of regulated products must tell of {party_id!r} until {until}:"
            " ask again after that day",
            until=until.isoformat(),
        )


def _kept_until(row: Any, years: int) -> date | None:
    """As kept_until; a line that is void is of no unit that is here, and is kept from then on."""
    stay = tables.stay_of(row)
    if row.kind == EntryKind.VOID and stay.disposed_at is None:
        stay = replace(stay, disposed_at=row.entered_at)
    return kept_until(stay, years)


def _licences(body: PartyBody) -> tuple[Licence, ...]:
    if len(body.licences) > LICENCES_MAX:
        raise bad_field("licences", f"give at most {LICENCES_MAX}")
    for place, each in enumerate(body.licences):
        short_text(each.number, f"licences[{place}].number")
        checked_id(each.kind, f"licences[{place}].kind")
        if each.valid_until is not None and each.valid_until < each.valid_from:
            raise bad_field(
                f"licences[{place}].valid_until", f"is before valid_from ({each.valid_from})"
            )
    return tuple(Licence(**msgspec.structs.asdict(each)) for each in body.licences)


async def _today(connection: AsyncConnection) -> date:
    return (await Days.read(connection)).day(datetime.now(UTC))


def _told(row: Any, today: date) -> dict[str, Any]:
    """A party without name and address; of its licences whether they are valid today."""
    licences = [msgspec.convert(each, Licence) for each in row.licences]
    return {
        "id": row.id,
        "version": row.version,
        "roles": row.roles,
        "licences": [
            {**msgspec.to_builtins(each), "valid": licence_gap([each], each.kind, today) is None}
            for each in licences
        ],
        "erased_at": row.erased_at and row.erased_at.isoformat(),
    }


def _unknown(party_id: str) -> Problem:
    return Problem(404, "Not found", f"there is no party {party_id!r}")


def _sent(request: AnyRequest) -> str:
    """What stands behind /parties/, as it was sent: ids of orders' parties may have slashes."""
    return str(request.scope["raw_path"].decode("ascii", "replace")).removeprefix(_PREFIX)


def _party_at(request: AnyRequest) -> str:
    return unquote(_sent(request))
