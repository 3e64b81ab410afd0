"""Check many: whatever is pasted or scanned, a line each with a word that can be heard and seen."""

import csv
import io
from typing import Any
from urllib.parse import parse_qs

from litestar import Request, Response, get, post
from litestar.response import Template
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api.access import Role
from scantrail.api.csv_rows import harmless
from scantrail.api.pages.frame import SCREEN, SECURITY_HEADERS, screen
from scantrail.api.pages.judging import judged_each
from scantrail.api.problems import bad_field

AnyRequest = Request[Any, Any, Any]

#: Codes of one request: the page asks for more in several.
CODES_MAX = 50
#: Rows of one file.
ROWS_MAX = 5_000
CODE_LENGTH_MAX = 2_048

COLUMNS = ("code", "unit", "word", "recalled", "held", "duplicate", "text")


def build_check_many(engine: AsyncEngine) -> list[Any]:
    """The route handlers."""

    @get("/page/check", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show(request: AnyRequest) -> Template:
        """The box, and no lines yet."""
        return screen(request, "check.html", codes_max=CODES_MAX)

    @post("/page/check/lines", role=Role.READ, opt=SCREEN, include_in_schema=False, status_code=200)
    async def lines(request: AnyRequest) -> Template:
        """The word for each code, the last one first, as it is put above those before."""
        codes = _codes(await request.body(), CODES_MAX)
        found = await judged_each(engine, codes)
        return screen(request, "check_lines.html", lines=list(reversed(found)))

    @post("/page/check/csv", role=Role.READ, opt=SCREEN, include_in_schema=False, status_code=200)
    async def as_csv(request: AnyRequest) -> Response[str]:
        """The same as a file, as it stands now."""
        text = io.StringIO()
        rows = csv.writer(text)
        rows.writerow(COLUMNS)
        codes = _codes(await request.body(), ROWS_MAX)
        for first in range(0, len(codes), CODES_MAX):
            for told in await judged_each(engine, codes[first : first + CODES_MAX]):
                flags = (told.is_recalled, told.is_held, told.is_duplicate)
                marks = ("yes" if flag else "no" for flag in flags)
                row = (told.code, told.unit or "", told.word, *marks, told.text)
                rows.writerow(map(harmless, row))
        headers = {
            **SECURITY_HEADERS,
            "Content-Disposition": 'attachment; filename="scantrail-check.csv"',
        }
        return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)

    return [show, lines, as_csv]


def _codes(body: bytes, most: int) -> list[str]:
    sent = parse_qs(body.decode("utf-8", "replace"))
    codes = [line.strip() for text in sent.get("codes", []) for line in text.splitlines()]
    codes = [code for code in codes if code]
    if len(codes) > most:
        raise bad_field("codes", f"{len(codes)} codes: give at most {most} at once")
    for code in codes:
        if len(code) > CODE_LENGTH_MAX:
            raise bad_field("codes", f"a code has more than {CODE_LENGTH_MAX} characters")
    return codes
