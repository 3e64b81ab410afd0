"""The register of regulated products: what a product's lines say, the book, its totals, and what a
person mends. The book tells names and addresses as `party` has them when it is asked for."""

from datetime import datetime
from typing import Any

import msgspec
from litestar import Request, Response, get, post, put
from litestar.params import FromPath, FromQuery
from litestar.response import Stream
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.access import Role
from scantrail.api.bodies import (
    checked_id,
    decode_body,
    maybe_short_text,
    product_key,
    short_text,
    told_time,
)
from scantrail.api.changes import Answer, Change, Changes
from scantrail.api.csv_file import ROWS_AT_ONCE, Lines, csv_file
from scantrail.api.paging import Cursor, Limit, cursor_behind, number_behind
from scantrail.api.parties import known_party
from scantrail.api.party_bodies import (
    BOOK,
    BOOK_AS_CSV,
    CORRECTION,
    LINE,
    REGULATION,
    REGULATION_TOLD,
    TOTALS,
    CorrectionBody,
    RegulationBody,
)
from scantrail.api.preconditions import with_etag
from scantrail.api.problems import Problem, bad_field
from scantrail.api.register_watch import (
    RegisterWatch,
    append_entries,
    entry_of,
    mark_stale,
    one_at_a_time,
)
from scantrail.domain.register import MENDABLE, EntryKind, Regulation, entered_late, mended, missing
from scantrail.infra.regulated import tell_product
from scantrail.infra.tables import party, product, register, regulation, stay_of, unit

AnyRequest = Request[Any, Any, Any]

#: Columns of the book, in their order.
COLUMNS = (
    "line",
    "maker",
    "importer",
    "model",
    "type",
    "calibre",
    "serial",
    "acquired_at",
    "acquired_from",
    "acquired_from_name",
    "acquired_from_address",
    "disposed_at",
    "disposed_to",
    "disposed_to_name",
    "disposed_to_address",
    "disposal",
    "unit",
    "product",
    "status",
    "missing",
    "entered_at",
    "entered_late",
    "corrections",
)


def build_register(engine: AsyncEngine, changes: Changes, watch: RegisterWatch) -> list[Any]:
    """The route handlers."""

    @put(
        "/products/{name:str}/regulation",
        role=Role.ADMIN,
        takes=REGULATION,
        tells=REGULATION_TOLD,
    )
    async def put_regulation(name: FromPath[str], request: AnyRequest) -> Response[Any]:
        """Have a product's units in the register from now on; lines that stand keep their words."""
        product_id = product_key(name, "id")
        body = decode_body(await request.body(), RegulationBody)
        for field in ("maker", "model", "type", "calibre"):
            short_text(getattr(body, field), field)
        maybe_short_text(body.importer, "importer")
        checked_id(body.licence_kind, "licence_kind")
        new = Regulation(id=product_id, **msgspec.structs.asdict(body))

        async def write(change: Change) -> Answer:
            connection = change.connection
            known = select(product.c.id).where(product.c.id == product_id)
            if (await connection.execute(known)).first() is None:
                raise bad_field("id", f"there is no product: PUT /products/{product_id} first")
            written = upsert(regulation).values(id=product_id, version=1, document={})
            counted = await connection.execute(
                written.on_conflict_do_update(
                    index_elements=[regulation.c.id],
                    set_={"version": regulation.c.version + 1},
                ).returning(regulation.c.version)
            )
            version = counted.scalar_one()
            change.note("regulation", product_id, old=version - 1, new=version)
            document = {**msgspec.to_builtins(new), "version": version}
            await connection.execute(
                regulation.update().where(regulation.c.id == product_id).values(document=document)
            )
            await tell_product(connection, product_id)
            return Answer(document)

        made = await changes.make(request, write)
        watch.kick()
        return made

    @get("/products/{name:str}/regulation", role=Role.READ, tells=REGULATION_TOLD)
    async def get_regulation(name: FromPath[str]) -> Response[Any]:
        """What is entered of a product's units."""
        product_id = product_key(name, "id")
        query = select(regulation.c.document).where(regulation.c.id == product_id)
        async with engine.connect() as connection:
            document: dict[str, Any] | None = (await connection.execute(query)).scalar()
        if document is None:
            raise Problem(404, "Not found", f"product {product_id!r} is not regulated")
        return with_etag(document, document["version"])

    @get("/register", role=Role.OPERATE, tells=BOOK)
    async def get_book(
        of: FromQuery[str | None] = None, cursor: Cursor = None, limit: Limit = 100
    ) -> dict[str, Any]:
        """Lines of the book in the order in which they were begun, of a product where `of` is
        given; each with all its entries."""
        begin = number_behind(cursor, "lines")
        async with engine.connect() as connection:
            found = await _book(connection, product=of, behind=begin, limit=limit)
        is_last = len(found) < limit
        following = None if is_last else cursor_behind("lines", str(found[-1]["line"]))
        return {"lines": found, "next": following}

    @get("/register/export", role=Role.OPERATE, tells=BOOK_AS_CSV)
    async def export_book(of: FromQuery[str | None] = None) -> Stream:
        """The whole book as CSV, a line of it a row, as it stands now."""

        async def write(lines: Lines) -> None:
            behind = 0
            while page := await _book(connection, product=of, behind=behind, limit=ROWS_AT_ONCE):
                lines([[line[name] for name in COLUMNS] for line in page])
                behind = page[-1]["line"]

        async with engine.connect() as connection:
            return await csv_file("register", COLUMNS, write)

    @get("/register/totals", role=Role.READ, tells=TOTALS)
    async def get_totals() -> dict[str, Any]:
        """Of each product, and of all: lines, units that are here, disposed, and what is open."""
        totals: dict[str, dict[str, int]] = {}
        behind = 0
        async with engine.connect() as connection:
            while page := await _book(connection, product=None, behind=behind, limit=1000):
                for line in page:
                    for name in (line["product"], "all"):
                        _count(totals.setdefault(name, dict.fromkeys(_TOTALS, 0)), line)
                behind = page[-1]["line"]
        every = totals.pop("all", dict.fromkeys(_TOTALS, 0))
        return {"products": [{"product": name, **totals[name]} for name in sorted(totals)], **every}

    @get("/register/{name:str}", role=Role.OPERATE, tells=LINE)
    async def get_line(name: FromPath[str]) -> dict[str, Any]:
        """One line of the book with all its entries."""
        line = _line_number(name)
        async with engine.connect() as connection:
            found = await _book(connection, product=None, behind=line - 1, limit=1)
        if not found or found[0]["line"] != line:
            raise Problem(404, "Not found", f"the register has no line {line}")
        return found[0]

    @post("/register/{name:str}/corrections", role=Role.QUALITY, takes=CORRECTION, tells=LINE)
    async def correct(name: FromPath[str], request: AnyRequest) -> Response[Any]:
        """Append a correction to a line; what was entered before stays to be seen."""
        line = _line_number(name)
        body = decode_body(await request.body(), CorrectionBody)
        short_text(body.reason, "reason")
        by = None if body.by is None else checked_id(body.by, "by")
        sent = msgspec.structs.asdict(body)
        mends: dict[str, datetime | str | None] = {
            name: sent[name] for name in MENDABLE if sent[name] is not msgspec.UNSET
        }
        for field, value in mends.items():
            if isinstance(value, datetime):
                told_time(value, field)
        if not mends:
            raise bad_field(
                "", "give acquired_at, acquired_from, disposed_at or disposed_to: what is mended"
            )

        async def write(change: Change) -> Answer:
            change.expect_none()
            connection = change.connection
            await one_at_a_time(connection)
            query = select(register).where(register.c.line == line)
            last = (
                await connection.execute(query.order_by(register.c.number.desc()).limit(1))
            ).first()
            if last is None:
                raise Problem(404, "Not found", f"the register has no line {line}")
            for name in ("acquired_from", "disposed_to"):
                if mends.get(name) is not None:
                    await known_party(connection, str(mends[name]), name)
            if last.disposed_event is None and not mends.keys().isdisjoint(
                {"disposed_at", "disposed_to"}
            ):
                raise bad_field(
                    "disposed_at", f"{last.unit} is here: it is disposed of by a shipping scan"
                )
            if all(getattr(last, name) == told for name, told in mends.items()):
                raise bad_field(next(iter(mends)), f"that is what line {line} says already")
            row = (await connection.execute(select(unit).where(unit.c.unit == last.unit))).one()
            rule = Regulation(
                id=last.product,
                maker=last.maker,
                model=last.model,
                type=last.type,
                calibre=last.calibre,
            )
            entry = mended(entry_of(last), mends, body.reason)
            await append_entries(connection, row, rule, [entry], by)
            change.note("register", str(line))
            await mark_stale(connection, of_unit=last.unit)
            # Without names: this answer may be kept.
            return Answer({"line": line, "unit": last.unit, "kind": entry.kind.value}, 201)

        made = await changes.make(request, write)
        watch.kick()
        return made

    return [
        put_regulation,
        get_regulation,
        get_book,
        export_book,
        get_totals,
        get_line,
        correct,
    ]


def _line_number(name: str) -> int:
    """The number in an address. Raises Problem 404 for what is none."""
    if not (name.isascii() and name.isdecimal() and len(name) <= 18):
        raise Problem(404, "Not found", f"the register has no line {name!r}: lines have numbers")
    return int(name)


_TOTALS = ("lines", "here", "disposed", "incomplete", "late", "corrected", "void")


def _count(total: dict[str, int], line: dict[str, Any]) -> None:
    total["lines"] += 1
    total[line["status"]] += 1
    total["incomplete"] += bool(line["missing"])
    total["late"] += line["entered_late"]
    total["corrected"] += line["corrections"] > 0


async def _book(
    connection: AsyncConnection, *, product: str | None, behind: int, limit: int
) -> list[dict[str, Any]]:
    """Lines of the book after `behind`, each as its last entry has it, with all entries."""
    lines = select(register.c.line).where(register.c.line > behind)
    if product is not None:
        lines = lines.where(register.c.product == product_key(product, "of"))
    lines = lines.group_by(register.c.line).order_by(register.c.line).limit(limit)
    query = select(register).where(register.c.line.in_(lines.scalar_subquery()))
    entries: dict[int, list[Any]] = {}
    for row in await connection.execute(query.order_by(register.c.line, register.c.number)):
        entries.setdefault(row.line, []).append(row)
    named = {
        getattr(row, part)
        for rows in entries.values()
        for row in rows
        for part in ("acquired_from", "disposed_to")
    }
    people = {
        row.id: row
        for row in await connection.execute(
            select(party.c.id, party.c.name, party.c.address).where(party.c.id.in_(named - {None}))
        )
    }
    rules = {
        row.id: msgspec.convert(row.document, Regulation)
        for row in await connection.execute(select(regulation))
    }
    return [_line(rows, people, rules.get(rows[0].product)) for rows in entries.values()]


def _line(rows: list[Any], people: dict[str, Any], rule: Regulation | None) -> dict[str, Any]:
    first, last = rows[0], rows[-1]
    days = rule.enter_within_days if rule else 0
    is_void = last.kind == EntryKind.VOID
    disposed = next((row for row in rows if row.disposed_at is not None), None)
    told: dict[str, Any] = {
        name: getattr(last, name)
        for name in COLUMNS
        if name in register.c and name not in ("entered_at",)
    }
    for part in ("acquired_from", "disposed_to"):
        who = people.get(getattr(last, part))
        told |= {f"{part}_name": who and who.name, f"{part}_address": who and who.address}
    return {
        **told,
        "status": "void" if is_void else "here" if last.disposed_at is None else "disposed",
        "missing": [] if is_void else missing(stay_of(last)),
        "entered_at": first.entered_at,
        "entered_late": entered_late(first.acquired_at, first.entered_at, days)
        or (disposed is not None and entered_late(disposed.disposed_at, disposed.entered_at, days)),
        "corrections": sum(row.kind in (EntryKind.CORRECTION, EntryKind.VOID) for row in rows),
        "entries": [_entry(row) for row in rows],
    }


def _entry(row: Any) -> dict[str, Any]:
    names = ("number", "kind", "source", "entered_at", "entered_by", "reason")
    values = ("acquired_at", "acquired_from", "acquired_order", "disposed_at", "disposed_to")
    return {name: getattr(row, name) for name in (*names, *values, "disposed_order", "disposal")}
