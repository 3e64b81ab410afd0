"""Sites: where days begin and end, for dates that people are told."""

from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from litestar import Request, Response, get, put
from litestar.params import FromPath
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api.access import Role
from scantrail.api.bodies import checked_id, decode_body
from scantrail.api.changes import Answer, Change, Changes
from scantrail.api.paging import Cursor, Limit, after, page
from scantrail.api.preconditions import with_etag
from scantrail.api.problems import Problem, bad_field
from scantrail.api.warranty_bodies import SiteBody
from scantrail.api.warranty_samples import SITE, SITE_TOLD, SITES_TOLD
from scantrail.infra.tables import site

AnyRequest = Request[Any, Any, Any]


def build_sites(engine: AsyncEngine, changes: Changes) -> list[Any]:
    """The route handlers."""

    @put("/sites/{site_id:str}", role=Role.ADMIN, takes=SITE, tells=SITE_TOLD)
    async def put_site(site_id: FromPath[str], request: AnyRequest) -> Response[Any]:
        """Tell the time zone of a site that stations name."""
        body = decode_body(await request.body(), SiteBody)
        zone = _time_zone(body.time_zone)
        new = upsert(site).values(id=checked_id(site_id, "id"), time_zone=zone)
        changed = new.on_conflict_do_update(
            index_elements=[site.c.id],
            set_={"time_zone": zone, "version": site.c.version + 1},
        ).returning(site)

        async def write(change: Change) -> Answer:
            change.caller.check_site(site_id)
            row = (await change.connection.execute(changed)).one()
            change.note("site", site_id, old=row.version - 1, new=row.version)
            return Answer(dict(row._mapping))

        return await changes.make(request, write)

    @get("/sites", role=Role.READ, tells=SITES_TOLD)
    async def list_sites(cursor: Cursor = None, limit: Limit = 100) -> dict[str, Any]:
        """The sites whose time zone was told, by id, page by page."""
        query = select(site).where(site.c.id > after(cursor, "sites")).order_by(site.c.id)
        async with engine.connect() as connection:
            rows = (await connection.execute(query.limit(limit))).all()
        return page("sites", [dict(row._mapping) for row in rows], limit)

    @get("/sites/{site_id:str}", role=Role.READ, tells=SITE_TOLD)
    async def get_site(site_id: FromPath[str]) -> Response[Any]:
        """A site's time zone."""
        async with engine.connect() as connection:
            row = (await connection.execute(select(site).where(site.c.id == site_id))).first()
        if row is None:
            raise Problem(404, "Not found", f"there is no site {site_id!r}: PUT /sites/{{id}}")
        return with_etag(dict(row._mapping), row.version)

    return [put_site, list_sites, get_site]


def _time_zone(name: str) -> str:
    """A name that is known here. Raises Problem 400."""
    if name not in available_timezones():
        raise bad_field("time_zone", "give a name of the IANA data base, such as Europe/Berlin")
    return ZoneInfo(name).key
