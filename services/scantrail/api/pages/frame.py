"""What every screen has: the frame around it, who looks at it, and problems told in words."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from litestar import Request, Response
from litestar.handlers import BaseRouteHandler
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.response import Redirect, Template
from litestar.template.config import TemplateConfig

from scantrail.api.access import ANYBODY, Role, caller_if_known, role_of
from scantrail.api.days import Days

AnyRequest = Request[Any, Any, Any]

_HERE = Path(__file__).parents[1]
TEMPLATES = _HERE / "templates"
STATIC = _HERE / "static"

SIGN_IN = "/page/sign-in"

#: A browser asks again for what a screen needs after so long, or as soon as it is another file.
#: Not for ever: while releases are exchanged, the one before may answer for a name of the new one.
STATIC_S_MAX = 3600

#: Nothing from elsewhere, no inline script: a barcode is attacker input.
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",  # names and addresses are on it
}

#: Under it the application's state says whether screens offer no changes.
READ_ONLY = "page_is_read_only"

#: A route with it is a screen: it is not described as API, and its problems are told as a page.
SCREEN = {"screen": True}


@dataclass(frozen=True, slots=True)
class Entry:
    """A screen in the menu, for whoever has its role."""

    path: str
    name: str
    role: Role = Role.READ


MENU = (
    Entry("/", "Find"),
    Entry("/page/check", "Check many"),
    Entry("/page/work", "Work", Role.OPERATE),
    Entry("/page/counts", "Counts"),
    Entry("/page/shipping", "Shipping"),
    Entry("/page/alerts", "Alerts"),
    Entry("/page/recalls", "Recalls"),
    Entry("/page/products", "Products"),
    Entry("/page/orders", "Orders"),
    Entry("/page/notices", "Notices"),
    Entry("/page/returns", "Returns"),
    Entry("/page/claims", "Claims"),
    Entry("/page/site", "Site"),
    Entry("/page/labels", "Labels"),
    Entry("/page/subscribe", "Subscribe"),
    Entry("/page/audit", "Audit", Role.QUALITY),
)


def screen(request: AnyRequest, template: str, *, status: int = 200, **context: Any) -> Template:
    """A screen: whole, or the part of it that stands in the frame where htmx asks for it."""
    handler = _handler(request)
    is_public = handler is None or role_of(handler) is Role.PUBLIC
    caller = None if is_public else caller_if_known(request)

    is_read_only = request.app.state.get(READ_ONLY, False)

    def may(role: str) -> bool:
        needed = Role(role)
        if caller is None or (is_read_only and needed is not Role.READ):
            return False
        return caller.role.covers(needed)

    return Template(
        template_name=template,
        context={
            "frame": "part.html" if request.headers.get("hx-request") == "true" else "frame.html",
            "menu": [entry for entry in MENU if may(entry.role)],
            "path": request.url.path,
            "caller": None if caller is ANYBODY else caller,
            "may": may,
            **context,
        },
        status_code=status,
        headers=SECURITY_HEADERS,
    )


def is_screen(request: AnyRequest) -> bool:
    """Whether what was asked for is a screen, and not the API."""
    handler = _handler(request)
    return handler is not None and bool(handler.opt.get("screen"))


def _handler(request: AnyRequest) -> BaseRouteHandler | None:
    """None where there is no such address."""
    handler: Any = request.scope.get("route_handler")
    return handler if isinstance(handler, BaseRouteHandler) else None


def as_screen(
    answer: Callable[[AnyRequest, Any], Response[Any]],
) -> Callable[[AnyRequest, Any], Response[Any]]:
    """An exception's answer, which for screens is told as one; who is not known signs in."""

    def told(request: AnyRequest, error: Any) -> Response[Any]:
        problem = answer(request, error)
        if not is_screen(request):
            return problem
        if problem.status_code == 401:
            return sign_in_first(request)
        screened = screen(
            request, "problem.html", status=problem.status_code or 500, problem=problem.content
        )
        screened.headers.update(problem.headers)
        return screened

    return told


def sign_in_first(request: AnyRequest) -> Response[Any]:
    """To where one signs in, and back again."""
    is_part = request.headers.get("hx-request") == "true"
    at = urlsplit(request.headers.get("hx-current-url", "/") if is_part else str(request.url))
    back = at.path + (f"?{at.query}" if at.query else "")
    where = f"{SIGN_IN}?next={quote(back, safe='')}"
    if is_part:
        return Response(None, status_code=200, headers={"HX-Redirect": where})
    return Redirect(where, status_code=303)


class Times:
    """Moments in words, as the clocks of a site show them."""

    def __init__(self, days: Days) -> None:
        self._days = days

    def at(self, moment: datetime | None, site: str | None = None) -> str:
        """`2026-03-02 09:15:00`."""
        return "" if moment is None else f"{self._days.local(moment, site):%Y-%m-%d %H:%M:%S}"

    def day(self, moment: datetime, site: str | None = None) -> str:
        """`Monday 2 March 2026, 09:15 CET`."""
        return f"{self._days.local(moment, site):%A %-d %B %Y, %H:%M %Z}"


def words(name: str) -> str:
    """A name of the API as people say it."""
    return name.replace("_", " ")


@cache
def static(path: str) -> str:
    """The address of a file that a screen needs: another one when the file is another."""
    return f"/static/{path}?v={sha256((STATIC / path).read_bytes()).hexdigest()[:12]}"


def template_config() -> TemplateConfig[JinjaTemplateEngine]:
    """Templates, with every value escaped."""
    config = TemplateConfig(directory=TEMPLATES, engine=JinjaTemplateEngine)
    engine = config.engine_instance.engine
    engine.filters["words"] = words
    engine.globals["static"] = static
    engine.trim_blocks = engine.lstrip_blocks = True
    return config
