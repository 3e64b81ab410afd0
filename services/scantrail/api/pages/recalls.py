"""Recalls: as their notices word them; what each means is counted in parts of its screen."""

from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery
from litestar.response import Template
from sqlalchemy import Select, and_, case, cast, literal, null, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.access import Role
from scantrail.api.days import Days
from scantrail.api.outbox import Outbox
from scantrail.api.pages.frame import SCREEN, SECURITY_HEADERS, Times, screen
from scantrail.api.pages.recall_words import KINDS, changed_parts, clause_words
from scantrail.api.problems import bad_field
from scantrail.api.recall_store import load_recall, short_part, summary_of, unknown
from scantrail.contracts.printed import other_clauses
from scantrail.contracts.topics import Topic
from scantrail.domain.recall import Recall, RecallStatus, Selector, SelectorKind
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra.tables import recall as recalls_table
from scantrail.infra.tables import recall_serial, recall_sweep, recall_version, station

AnyRequest = Request[Any, Any, Any]

SHOWN_MAX = 100
VERSIONS_MAX = 20

#: So many listed serials are amended in a form; more stay, or are replaced by a file.
SERIALS_MAX = 1_000

#: What people look at where they do not say.
_NOT_CLOSED = "not_closed"


def build_recalls_screen(engine: AsyncEngine, outbox: Outbox) -> list[Any]:
    """The route handlers."""

    @get("/page/recalls", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show(
        request: AnyRequest,
        status: FromQuery[str] = _NOT_CLOSED,
        begins: FromQuery[str] = "",
        after: FromQuery[str] = "",
    ) -> Template:
        """The recalls by id, page by page; without a status, those that are not closed."""
        query = _rows().where(recalls_table.c.id > after).order_by(recalls_table.c.id)
        if begins.strip():
            query = query.where(recalls_table.c.id.startswith(begins.strip(), autoescape=True))
        if status == _NOT_CLOSED:
            query = query.where(short_part("status") != _word(RecallStatus.CLOSED))
        elif status:
            query = query.where(short_part("status") == _word(status))
        async with engine.connect() as connection:
            rows = (await connection.execute(query.limit(SHOWN_MAX + 1))).all()
            waiting = await outbox.waiting(connection, Topic.RECALLS)
            times = Times(await Days.read(connection))
        return screen(
            request,
            "recalls.html",
            recalls=[_told(row, waiting) for row in rows[:SHOWN_MAX]],
            following=rows[SHOWN_MAX - 1].id if len(rows) > SHOWN_MAX else None,
            wanted={"status": status, "begins": begins, "after": after},
            statuses=[_NOT_CLOSED, *(each.value for each in RecallStatus)],
            times=times,
            clause_words=clause_words,
        )

    @get("/page/recalls/{recall_id:str}", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show_one(
        request: AnyRequest, recall_id: FromPath[str], before: FromQuery[int] = 1 << 62
    ) -> Template:
        """One recall, what was made of it, and what may be done."""
        async with engine.connect() as connection:
            told = await _one(connection, recall_id)
            versions = await _versions(connection, recall_id, before)
            stations = await _stations_of_returns(connection)
            times = Times(await Days.read(connection))
        return screen(
            request,
            "recall.html",
            recall=told,
            versions=versions[:VERSIONS_MAX],
            older=versions[VERSIONS_MAX - 1]["version"] if len(versions) > VERSIONS_MAX else None,
            stations=stations,
            times=times,
            clause_words=clause_words,
        )

    @get(
        "/page/recalls/{recall_id:str}/standing",
        role=Role.READ,
        opt=SCREEN,
        include_in_schema=False,
    )
    async def show_standing(
        request: AnyRequest,
        recall_id: FromPath[str],
        version: FromQuery[int],
        swept: FromQuery[bool],
        published: FromQuery[bool],
    ) -> Response[Any]:
        """How the recall stands, where that is not what is shown: else 204."""
        async with engine.connect() as connection:
            told = await _one(connection, recall_id)
            times = Times(await Days.read(connection))
        now = (told["version"], told["is_swept"], told["published"])
        if now == (version, swept, published):
            return Response(None, status_code=204, headers=SECURITY_HEADERS)
        return screen(request, "recall_standing.html", recall=told, shown=version, times=times)

    async def _one(connection: AsyncConnection, recall_id: str) -> dict[str, Any]:
        query = _rows().where(recalls_table.c.id == recall_id)
        row = (await connection.execute(query)).first()
        if row is None:
            raise unknown(recall_id)
        return _told(row, await outbox.waiting(connection, Topic.RECALLS))

    @get("/page/new-recall", role=Role.QUALITY, opt=SCREEN, include_in_schema=False)
    async def show_new(request: AnyRequest) -> Template:
        """The form in which a notice is entered, as a draft."""
        return screen(request, "recall_form.html", recall=None, clauses=[], kinds=KINDS)

    @get(
        "/page/recalls/{recall_id:str}/amend",
        role=Role.QUALITY,
        opt=SCREEN,
        include_in_schema=False,
    )
    async def show_amend(request: AnyRequest, recall_id: FromPath[str]) -> Template:
        """The same form with what the recall says, all of it: it is sent as a whole."""
        async with engine.connect() as connection:
            recall = await load_recall(connection, recall_id)
            serials = await _entered_serials(connection, recall_id)
        keeps = len(serials) > SERIALS_MAX
        return screen(
            request,
            "recall_form.html",
            recall=recall,
            clauses=_clauses(recall, [] if keeps else serials),
            keeps=keeps,
            kinds=KINDS,
        )

    @get("/page/recall-clause", role=Role.QUALITY, opt=SCREEN, include_in_schema=False)
    async def show_clause(request: AnyRequest, kind: FromQuery[str]) -> Template:
        """The fields of one more clause."""
        if kind not in KINDS:
            raise bad_field("kind", f"give one of {', '.join(KINDS)}")
        return screen(
            request, "recall_clause.html", clause={"kind": kind}, kinds=KINDS, is_added=True
        )

    return [show, show_one, show_standing, show_new, show_amend, show_clause]


def _rows() -> Select[Any]:
    """Of every recall what is short, and whether its version is swept: the document of a million
    serials is not read for that."""
    table, done = recalls_table, recall_sweep
    is_this = and_(done.c.recall == table.c.id, done.c.version == table.c.version)
    return (
        select(
            table.c.id,
            table.c.version,
            table.c.summary,
            case((table.c.summary.is_(None), table.c.document), else_=null()).label("document"),
            done.c.swept_at,
        )
        .outerjoin(done, is_this)
        .where(table.c.version > 0)
    )


def _told(row: Any, waiting: set[str]) -> dict[str, Any]:
    summary = row.summary
    if summary is None:  # of a time when none was kept
        summary = summary_of(msgspec.convert(row.document, Recall))
    is_swept = row.swept_at is not None
    return {
        **summary,
        "is_swept": is_swept,
        "swept_at": row.swept_at,
        # What waits of a swept version says only that it is swept.
        "published": is_swept or row.id not in waiting,
    }


def _word(status: str) -> Any:
    return cast(literal(f'"{status}"'), JSONB)


async def _versions(
    connection: AsyncConnection, recall_id: str, before: int
) -> list[dict[str, Any]]:
    """The newest first, one more than is shown; each with what it made another."""
    table = recall_version
    query = (
        select(table)
        .where(table.c.recall == recall_id, table.c.version < before)
        .order_by(table.c.version.desc())
        .limit(VERSIONS_MAX + 1)
    )
    found = [dict(row._mapping) for row in await connection.execute(query)]
    for each, earlier in zip(found, [*found[1:], None], strict=True):
        each["changed"] = changed_parts(earlier and earlier["document"], each["document"])
    return found


async def _stations_of_returns(connection: AsyncConnection) -> list[dict[str, Any]]:
    is_of_returns = station.c.document["business_step"].astext == BusinessStep.RETURNING.value
    query = select(station.c.document).where(is_of_returns).order_by(station.c.id).limit(SHOWN_MAX)
    return list((await connection.execute(query)).scalars())


async def _entered_serials(connection: AsyncConnection, recall_id: str) -> list[str]:
    """As they were entered; one more than a form takes, where there are more."""
    table = recall_serial
    query = (
        select(table.c.serial)
        .where(table.c.recall == recall_id)
        .order_by(table.c.serial)
        .limit(SERIALS_MAX + 1)
    )
    return list((await connection.execute(query)).scalars())


def _clauses(recall: Recall, serials: list[str]) -> list[dict[str, Any]]:
    """What a form shows of a recall, each clause once, without those that one before brings with
    it; all that is listed is one clause, in the order of the notice. So an amendment says the same.
    """
    others, brought = list[Selector](), set[Selector]()
    for each in recall.selectors:
        if each.kind != SelectorKind.LIST and each not in brought:
            others.append(each)
            brought |= {each, *other_clauses(each)}
    told = (serial for each in recall.selectors for serial in each.serials)
    entered = dict.fromkeys(serials)
    ordered = dict.fromkeys([*(serial for serial in told if serial in entered), *serials])
    listed = [{"kind": SelectorKind.LIST.value, "serials": list(ordered)}] if serials else []
    return [*listed, *map(_clause, others)]


def _clause(selector: Selector) -> dict[str, Any]:
    return {
        "kind": selector.kind,
        "low": selector.low,
        "high": selector.high,
        "prefix": selector.prefix,
        "pattern": selector.pattern,
        "lots": selector.lots,
        "from": selector.first_day,
        "to": selector.last_day,
    }
