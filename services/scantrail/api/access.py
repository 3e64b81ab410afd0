"""Who asks, and what the asker may do: every route declares its role where it is declared itself.

    @get("/stations", role=Role.READ)

`Guard` reads it there. A route without a role is a mistake that `build_api` refuses.
"""

import base64
import binascii
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api.hosts import is_of_here, names_here
from scantrail.api.problems import Problem
from scantrail.infra.rates import Buckets
from scantrail.infra.tables import api_token
from scantrail.infra.tokens import digest_of

AnyConnection = ASGIConnection[Any, Any, Any, Any]

#: Requests that may come at once, in seconds of the rate.
BURST_S = 4.0

#: Under it the caller stands in a connection's state.
_CALLER = "caller"

#: Where a browser keeps the token with which a person signed in.
TOKEN_COOKIE = "scantrail_token"


class Role(StrEnum):
    """What a token may do; each may what those before it may. Routes only: PUBLIC needs none."""

    PUBLIC = "public"
    READ = "read"
    OPERATE = "operate"
    QUALITY = "quality"
    ADMIN = "admin"

    def covers(self, needed: "Role") -> bool:
        """Whether this role is enough for what needs `needed`."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks: a token's id, its role, and the sites to which it is bound (none: all)."""

    id: str
    role: Role
    sites: tuple[str, ...] = ()

    def check_role(self, needed: Role, field: str, what: str) -> None:
        """Raises Problem 403 where `field` of a request needs another role than its route does."""
        if not self.role.covers(needed):
            raise Problem(
                403,
                "Not allowed",
                f"who {what} needs a token of role {needed.value} or more; {self.id} has"
                f" {self.role.value}",
                field=field,
                needed=needed.value,
            )

    def check_site(self, site: str) -> None:
        """Raises Problem 403 where the token is bound to other sites."""
        if self.sites and site not in self.sites:
            raise Problem(
                403,
                "Not allowed",
                f"this token is of {', '.join(self.sites)}: it changes nothing at {site}",
                field="site",
            )

    def check_token(self, sites: Sequence[str]) -> None:
        """Raises Problem 403 where this caller may not make, or revoke, a token of `sites`."""
        if self is ANYBODY:
            raise Problem(
                403,
                "Not allowed",
                "SCANTRAIL_API_TOKENS is off, and who asks is not known: the first tokens are made"
                " by `scantrail token person`",
            )
        if self.sites and not (sites and set(sites) <= set(self.sites)):
            told = (
                f"this token is of {', '.join(self.sites)}: so are those that it makes or revokes"
            )
            raise Problem(403, "Not allowed", told, field="sites")


#: Who asks where tokens are off: whoever reaches the port.
ANYBODY = Caller(id="anonymous", role=Role.ADMIN)


def caller_of(connection: AnyConnection) -> Caller:
    """Who made this request, as the guard found."""
    caller: Caller = connection.state[_CALLER]
    return caller


def caller_if_known(connection: AnyConnection) -> Caller | None:
    """Who made this request; None before, or where, the guard found nobody."""
    caller: Caller | None = connection.state.get(_CALLER)
    return caller


def role_of(handler: BaseRouteHandler) -> Role | None:
    """The role that a route declares."""
    role = handler.opt.get("role")
    return role if isinstance(role, Role) else None


class Guard:
    """Lets in who has a token of the route's role. Where not `is_required`, everybody may all.

    Of one token, or of one peer without, `requests_per_s_max` are answered (0: any number).
    Everybody is who asks under a name of here, or of `hosts` (SCANTRAIL_API_HOSTS).
    """

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        is_required: bool,
        requests_per_s_max: float = 0,
        hosts: str = "",
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._is_required = is_required
        self._rate = requests_per_s_max
        self._hosts = names_here(hosts)
        self._buckets = Buckets(burst_s=BURST_S, now=now)

    async def __call__(self, connection: AnyConnection, handler: BaseRouteHandler) -> None:
        """Raises Problem 401 without a token that counts, 403 with one of a lesser role, 429. Where
        none is asked for, 403 if another site's page has a browser change something, or asks under
        a name that is none of ours."""
        needed = role_of(handler) or Role.ADMIN
        peer = f"peer {connection.client.host}" if connection.client else "peer"
        self._check_rate(peer)
        if not self._is_required or needed is Role.PUBLIC:
            self._count(peer)
            if needed is not Role.PUBLIC:
                self._check_host(connection.headers.get("host", ""))
            if not _reads(connection) and _is_of_other_page(connection):
                told = "a page of another site may change nothing here"
                raise Problem(403, "Not allowed", told)
            connection.state[_CALLER] = ANYBODY
            return
        try:
            caller = await self._caller(connection)
        except Problem:  # guesses count for the peer
            self._count(peer)
            raise
        self._check_rate(f"token {caller.id}")
        self._count(f"token {caller.id}")
        if not caller.role.covers(needed):
            raise Problem(
                403,
                "Not allowed",
                f"this needs a token of role {needed.value} or more; {caller.id} has"
                f" {caller.role.value}",
                needed=needed.value,
            )
        connection.state[_CALLER] = caller

    def _check_host(self, host: str) -> None:
        if not is_of_here(host, self._hosts):
            raise Problem(
                403,
                "Not allowed",
                f"{host} may be a name by which a page of elsewhere reads here: ask for tokens"
                " (SCANTRAIL_API_TOKENS=required), or name it in SCANTRAIL_API_HOSTS",
            )

    def _check_rate(self, sender: str) -> None:
        if self._rate and (wait_s := self._buckets.wait_s(sender, self._rate)):
            raise Problem(
                429,
                "Too many requests",
                f"{self._rate:g} a second are answered, and {self._rate * BURST_S:g} at once:"
                f" wait {wait_s:.1f} s",
                headers={"Retry-After": str(math.ceil(wait_s))},
            )

    def _count(self, sender: str) -> None:
        if self._rate:
            self._buckets.count(sender, self._rate)

    async def _caller(self, connection: AnyConnection) -> Caller:
        # A browser shows a password by itself, also where another site's page has it ask.
        reads = _reads(connection)
        token = _token(connection.headers.get("authorization", ""), takes_password=reads)
        if not token and (reads or _is_of_our_page(connection)):
            token = connection.cookies.get(TOKEN_COOKIE, "")
        return await self.caller_by(token)

    async def caller_by(self, token: str) -> Caller:
        """Whose token it is. Raises Problem 401."""
        if not token:
            raise _unauthorized("show a token: Authorization: Bearer TOKEN")
        query = select(api_token).where(api_token.c.token_sha256 == digest_of(token))
        async with self._engine.connect() as database:
            row = (await database.execute(query)).first()
        if row is None or row.revoked_at is not None:
            raise _unauthorized("this token is none of ours, or was revoked")
        return Caller(id=row.id, role=Role(row.role), sites=tuple(row.sites))


def _unauthorized(detail: str) -> Problem:
    detail += "; `scantrail token person` makes one"
    challenge = 'Bearer realm="scantrail", Basic realm="scantrail"'
    return Problem(401, "Not authorized", detail, headers={"WWW-Authenticate": challenge})


def _reads(connection: AnyConnection) -> bool:
    return connection.scope["method"] in ("GET", "HEAD")  # type: ignore[typeddict-item]


def _is_of_other_page(connection: AnyConnection) -> bool:
    """Whether a browser says that a page asks which is not ours. Others than browsers say nothing,
    and nor does one in which somebody typed the address."""
    fetched = connection.headers.get("sec-fetch-site")
    if fetched == "none" or (fetched is None and "origin" not in connection.headers):
        return False
    return not _is_of_our_page(connection)


def _is_of_our_page(connection: AnyConnection) -> bool:
    """Whether a browser says that a page of ours asks. The cookie is same-site strict; here another
    page of the same site, behind another port, is kept out too."""
    fetched = connection.headers.get("sec-fetch-site")
    if fetched is not None:
        return fetched == "same-origin"
    origin = connection.headers.get("origin", "").partition("://")[2]
    return bool(origin) and origin == connection.headers.get("host")


def _token(authorization: str, *, takes_password: bool) -> str:
    """The token of a header: as Bearer, or, as browsers ask for it, as the password of Basic."""
    scheme, _, shown = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return shown.strip()
    if scheme.lower() != "basic" or not takes_password:
        return ""
    try:
        return base64.b64decode(shown, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def routes_of(app: Litestar) -> Iterable[tuple[str, HTTPRouteHandler]]:
    """Every path of an application with each of its handlers."""
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            yield route.path, handler


def check_roles(app: Litestar) -> None:
    """Raises TypeError, naming it, for a route that declares no role."""
    for path, handler in routes_of(app):
        if role_of(handler) is None and handler.http_methods != {"OPTIONS"}:
            raise TypeError(f"{path} ({handler}) declares no role: give it role=Role.READ or more")
