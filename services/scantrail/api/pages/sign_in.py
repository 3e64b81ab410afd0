"""Signing in with a token, which the browser keeps as a cookie that no script can read."""

from typing import Any
from urllib.parse import parse_qs

from litestar import Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.params import FromQuery
from litestar.response import Redirect, Template

from scantrail.api.access import TOKEN_COOKIE, Guard, Role
from scantrail.api.pages.frame import SCREEN, SIGN_IN, screen
from scantrail.api.problems import Problem

AnyRequest = Request[Any, Any, Any]

#: A working day, and some more.
SIGNED_IN_S = 12 * 3600


def build_sign_in(guard: Guard) -> list[Any]:
    """The route handlers."""

    @get(SIGN_IN, role=Role.PUBLIC, opt=SCREEN, include_in_schema=False)
    async def show(request: AnyRequest, next: FromQuery[str] = "/") -> Template:
        """The form."""
        return screen(request, "sign_in.html", next=_own(next))

    @post(SIGN_IN, role=Role.PUBLIC, opt=SCREEN, include_in_schema=False, status_code=303)
    async def sign_in(request: AnyRequest) -> Response[Any]:
        """Take a token that counts."""
        sent = parse_qs((await request.body()).decode("utf-8", "replace"))
        token = sent.get("token", [""])[0].strip()
        back = _own(sent.get("next", ["/"])[0])
        try:
            await guard.caller_by(token)
        except Problem as problem:
            if problem.status != 401:
                raise
            told = problem.body["detail"] if token else "Give a token."
            return screen(request, "sign_in.html", status=401, next=back, refused=told)
        answer = Redirect(back, status_code=303)
        answer.set_cookie(_cookie(request, token, SIGNED_IN_S))
        return answer

    @post("/page/sign-out", role=Role.PUBLIC, opt=SCREEN, include_in_schema=False, status_code=303)
    async def sign_out(request: AnyRequest) -> Response[Any]:
        """Forget the token."""
        answer = Redirect(SIGN_IN, status_code=303)
        answer.set_cookie(_cookie(request, "", 0))
        return answer

    return [show, sign_in, sign_out]


def _cookie(request: AnyRequest, value: str, max_age: int) -> Cookie:
    return Cookie(
        key=TOKEN_COOKIE,
        value=value,
        max_age=max_age,
        path="/",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


def _own(address: str) -> str:
    """An address of ours to come back to; the first screen where it may lead elsewhere."""
    is_own = address.startswith("/") and not address.startswith(("//", "/\\"))
    return address if is_own and address.isprintable() else "/"
