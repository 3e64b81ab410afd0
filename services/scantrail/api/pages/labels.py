"""Labels: a sheet to print, a QR code for each unit, which every scanner of ours reads back."""

import io
from typing import Any, Final
from urllib.parse import parse_qs

import segno
from litestar import Request, Response, get, post
from litestar.params import FromQuery
from litestar.response import Template
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api.access import Role
from scantrail.api.folding import identified
from scantrail.api.pages.frame import SCREEN, SECURITY_HEADERS, screen
from scantrail.api.problems import Problem, bad_field
from scantrail.api.units import look_up
from scantrail.contracts.epcis_uris import gs1_link
from scantrail.domain.identifiers import NotIdentified, product_and_serial
from scantrail.infra.tables import product

AnyRequest = Request[Any, Any, Any]

#: Labels of one sheet.
LABELS_MAX: Final = 500

#: A key is shorter; a code of more modules is not read from a small label.
TEXT_LENGTH_MAX: Final = 256


def build_labels(engine: AsyncEngine) -> list[Any]:
    """The route handlers."""

    @get("/page/labels", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show(request: AnyRequest, units: FromQuery[str] = "") -> Template:
        """The list to be printed."""
        return screen(request, "labels.html", units=units, labels=None)

    @post("/page/labels", role=Role.READ, opt=SCREEN, include_in_schema=False, status_code=200)
    async def sheet(request: AnyRequest) -> Template:
        """A label for each."""
        sent = parse_qs((await request.body()).decode("utf-8", "replace"))
        text = "\n".join(sent.get("units", []))
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if len(lines) > LABELS_MAX:
            raise bad_field("units", f"{len(lines)} units: give at most {LABELS_MAX} at once")
        labels, unread = [], []
        for line in lines:
            key = await _key(engine, line)
            if key is None:
                unread.append(line)
            else:
                labels.append(key)
        names = await _names(engine, labels)
        shown = [
            {
                "text": label_text(key),
                "key": key,
                "serial": product_and_serial(key)[1],
                "name": names.get(product_and_serial(key)[0] or ""),
            }
            for key in labels
        ]
        return screen(request, "labels.html", units=text, labels=shown, unread=unread)

    @get("/page/qr", role=Role.READ, include_in_schema=False)
    async def qr(text: FromQuery[str]) -> Response[bytes]:
        """A text as a QR code, SVG."""
        if not 0 < len(text) <= TEXT_LENGTH_MAX:
            raise bad_field("text", f"give 1 to {TEXT_LENGTH_MAX} characters")
        headers = {**SECURITY_HEADERS, "Cache-Control": "private, max-age=86400"}
        return Response(qr_svg(text), media_type="image/svg+xml", headers=headers)

    return [show, sheet, qr]


def label_text(key: str) -> str:
    """What a label's code says: the GS1 Digital Link of a GS1 key, else the key itself. Pure."""
    return gs1_link(key) or key


def qr_svg(text: str) -> bytes:
    """A QR code with the quiet zone around it, error correction M. Pure."""
    out = io.BytesIO()
    segno.make_qr(text, error="m").save(
        out, kind="svg", border=4, xmldecl=False, nl=False, omitsize=True, unit=None
    )
    return out.getvalue()


async def _key(engine: AsyncEngine, line: str) -> str | None:
    """The key of the unit that a line names, scanned or not; None where none, or several, are."""
    try:
        return identified(line).key
    except NotIdentified:
        try:
            found = await look_up(engine, line)
        except Problem as problem:
            if problem.status >= 500:
                raise
            return None
        return str(found["unit"])


async def _names(engine: AsyncEngine, keys: list[str]) -> dict[str, str]:
    ids = {name for name, _ in map(product_and_serial, keys) if name is not None}
    if not ids:
        return {}
    query = select(product.c.id, product.c.document["name"].astext).where(product.c.id.in_(ids))
    async with engine.connect() as connection:
        return {row[0]: row[1] for row in await connection.execute(query)}
