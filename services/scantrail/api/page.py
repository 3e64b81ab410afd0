"""The page: one box, and the answer in words."""

from pathlib import Path
from typing import Any

from litestar import get
from litestar.params import FromQuery
from litestar.response import Template
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api import answers
from scantrail.api.access import Role
from scantrail.api.problems import Problem
from scantrail.api.queries import find_trail
from scantrail.api.units import look_up

TEMPLATES = Path(__file__).parent / "templates"
STATIC = Path(__file__).parent / "static"

#: Nothing from elsewhere, no inline script: a barcode is attacker input.
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def build_page(engine: AsyncEngine) -> list[Any]:
    """The route handlers."""

    @get("/", role=Role.READ, tells=answers.PAGE, response_headers=SECURITY_HEADERS)
    async def find(q: FromQuery[str] = "") -> Template:
        """The search box; with `q`, what it names."""
        shown: dict[str, Any] = {"q": q}
        if q.strip():
            try:
                unit = await look_up(engine, q)
                shown |= {
                    "unit": unit,
                    "sentence": sentence(unit),
                    "trail": list(reversed(await find_trail(engine, unit))),
                }
            except Problem as problem:
                shown["problem"] = problem.body
        return Template(template_name="find.html", context=shown)

    return [find]


def sentence(unit: dict[str, Any]) -> str:
    """Where the unit is and who has it, in one sentence."""
    if unit["phase"] is None:
        return "Nothing is known of where it is: no scan of it counts."
    since = unit["since"].strftime("%A %-d %B %Y, %H:%M UTC")
    party = unit["custody"] or "somebody unknown"
    inside = f", inside {unit['parent']}" if unit["parent"] else ""
    if unit["phase"] == "shipped":
        order = f", order {unit['order']}" if unit["order"] else ""
        if unit["purchaser"]:
            who = f"{unit['purchaser']['name']}, {unit['purchaser']['address']}"
            has = unit["possessing_party"] or {"id": party, "name": None}
            party = has["name"] or has["id"]
            return f"Shipped on {since} to {who}{order}{inside}; last in custody of {party}."
        return f"Shipped on {since}{order or ' without an order'}{inside}; in custody of {party}."
    where = unit["location"] or unit["read_point"]
    if unit["phase"] == "gone":
        return f"Decommissioned on {since} at {where}, site {unit['site']}."
    return f"In {where}, site {unit['site']}{inside}, since {since}; in custody of {party}."
