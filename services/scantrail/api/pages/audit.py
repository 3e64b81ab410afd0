"""Audit: who changed what and when, the newest first, and whether the chain of hashes holds."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from litestar import Request, get, post
from litestar.params import FromQuery
from litestar.response import Template
from sqlalchemy import Select, literal, select, text, tuple_
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api.access import Role
from scantrail.api.auditing import verify
from scantrail.api.days import Days
from scantrail.api.pages.frame import SCREEN, Times, screen
from scantrail.api.pages.holdings import how_long
from scantrail.api.problems import bad_field
from scantrail.domain.audit import Broken, Verifier
from scantrail.infra.logs import logger
from scantrail.infra.tables import audit

log = logger(__name__)

AnyRequest = Request[Any, Any, Any]

#: More than rows will ever have.
NUMBER_MAX: Final = 2**63 - 1

#: Rows of a page.
SHOWN: Final = 100

#: Who opens the screen has the chain checked anew where the last check is so old, and as many times
#: as old as it took.
FRESH_S: Final = 60.0
TIMES_ITS_COST: Final = 20.0

#: Each kind once: one step along the index a kind, however many rows there are.
_ENTITIES = text(
    "WITH RECURSIVE kind (entity) AS ("
    " (SELECT entity FROM audit ORDER BY entity LIMIT 1)"
    " UNION ALL SELECT (SELECT a.entity FROM audit a WHERE a.entity > kind.entity"
    " ORDER BY a.entity LIMIT 1) FROM kind WHERE kind.entity IS NOT NULL)"
    " SELECT entity FROM kind WHERE entity IS NOT NULL"
)

#: Where more is told of an entity.
_SCREENS: Final = {
    "alert": "/page/alerts/",
    "hold": "/?q=",
    "recall": "/page/recalls/",
    "station": "/page/site/station?station=",
}


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of the whole chain found, and when."""

    at: datetime
    rows: int
    last_hash: str
    broken: Broken | None


class ChainCheck:
    """Checks the chain from its first row, one check at a time, while people look at the last."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._verifier = Verifier()
        self._checking: asyncio.Task[None] | None = None
        self._again_at = 0.0
        self.last: Checked | None = None
        self.has_failed = False

    @property
    def rows_until_now(self) -> int | None:
        """Of a check that is going on; None: none is."""
        return None if self._checking is None else self._verifier.rows

    def begin(self, *, only_if_old: bool = False) -> None:
        """Begin a check, where none is going on."""
        if self._checking is None and not (only_if_old and time.monotonic() < self._again_at):
            self._verifier = Verifier()
            self._checking = asyncio.create_task(self._check())

    async def _check(self) -> None:
        started = time.monotonic()
        try:
            told, broken = await verify(self._engine, self._verifier)
            self.last = Checked(datetime.now(UTC), told.rows, told.last_hash, broken)
            self.has_failed = False
        except (DBAPIError, PoolTimeoutError) as error:
            self.has_failed = True
            log.warning("the audit chain could not be checked", reason=str(error))
        finally:
            took_s = time.monotonic() - started
            self._again_at = time.monotonic() + max(FRESH_S, TIMES_ITS_COST * took_s)
            self._checking = None


def build_audit_screen(engine: AsyncEngine) -> list[Any]:
    """The route handlers."""
    chain = ChainCheck(engine)

    def chain_part(request: AnyRequest) -> Template:
        now = datetime.now(UTC)
        return screen(request, "audit_chain.html", chain=chain, now=now, how_long=how_long)

    @get("/page/audit", role=Role.QUALITY, opt=SCREEN, include_in_schema=False)
    async def show(
        request: AnyRequest,
        entity: FromQuery[str] = "",
        reference: FromQuery[str] = "",
        who: FromQuery[str] = "",
        before: FromQuery[int | None] = None,
    ) -> Template:
        """The changes of an entity, or by somebody, or all; `before` goes on behind a page."""
        wanted = {"entity": entity, "reference": reference.strip(), "who": who.strip()}
        if wanted["reference"] and not entity:
            raise bad_field("entity", "choose what it is: ids of a recall and a hold may be alike")
        async with engine.connect() as connection:
            rows = (await connection.execute(_listed(wanted, before))).all()
            entities = (await connection.execute(_ENTITIES)).scalars().all()
            times = Times(await Days.read(connection))
        chain.begin(only_if_old=True)
        return screen(
            request,
            "audit.html",
            rows=rows[:SHOWN],
            following=rows[SHOWN - 1].number if len(rows) > SHOWN else None,
            is_first=before is None,
            wanted=wanted,
            entities=entities,
            times=times,
            screen_of=screen_of,
            versions=versions,
            chain=chain,
            now=datetime.now(UTC),
            how_long=how_long,
        )

    @get("/page/audit/chain", role=Role.QUALITY, opt=SCREEN, include_in_schema=False)
    async def show_chain(request: AnyRequest) -> Template:
        """How the check of the chain stands."""
        return chain_part(request)

    @post(
        "/page/audit/chain",
        role=Role.QUALITY,
        opt=SCREEN,
        include_in_schema=False,
        status_code=200,
    )
    async def check(request: AnyRequest) -> Template:
        """Check it now."""
        chain.begin()
        return chain_part(request)

    return [show, show_chain, check]


def screen_of(entity: str, reference: str) -> str | None:
    """The address at which more is told of it. Pure."""
    begin = _SCREENS.get(entity)
    return None if begin is None else begin + quote(reference, safe="")


def versions(old: int | None, new: int | None) -> str:
    """What became of an entity's version, in words; nothing where it has none. Pure."""
    if old is None or new is None:
        return ""
    return f"new, version {new}" if old == 0 else f"version {old} to {new}"


def _listed(wanted: Mapping[str, str], before: int | None) -> Select[Any]:
    """The newest first. Of one kind, or by one person, as a range of its index: else PostgreSQL,
    which takes such rows for evenly strewn, walks from the newest to where they begin."""
    query = select(audit).limit(SHOWN + 1)
    given = {name: value for name, value in wanted.items() if value}
    end = NUMBER_MAX if before is None else before
    if [*given] in (["who"], ["entity"]):
        ((name, value),) = given.items()
        at = tuple_(audit.c[name], audit.c.number)
        query = query.where(at >= tuple_(literal(value), 0), at < tuple_(literal(value), end))
        return query.order_by(audit.c[name].desc(), audit.c.number.desc())
    for name, value in given.items():
        query = query.where(audit.c[name] == value)
    return query.where(audit.c.number < end).order_by(audit.c.number.desc())
