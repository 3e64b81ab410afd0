"""An HTTP server inside a process that has its own loop and its own signals; refusals over it."""

import asyncio
import contextlib
import re
from collections.abc import Iterator
from typing import Any

import uvicorn
from litestar import Request, Response
from litestar.exceptions import HTTPException

STOP_S_MAX = 5

_MISSING = re.compile(r"Missing required query parameter '(\w+)'")


def problem(status: int, title: str, detail: str, **more: Any) -> Response[dict[str, Any]]:
    """RFC 9457 `application/problem+json`; `more` joins the body: `field`, `reason` …"""
    body = {"title": title, "status": status, "detail": detail, **more}
    return Response(body, status_code=status, media_type="application/problem+json")


def answer_http(_: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, Any]]:
    """What Litestar itself refuses: addresses, methods, parameters, sizes."""
    more: dict[str, Any] = {}
    detail = error.detail
    if isinstance(error.extra, list) and error.extra:
        first: Any = error.extra[0]
        more["field"], detail = first.get("key", ""), first.get("message", detail)
    elif missing := _MISSING.match(detail):
        more["field"], detail = missing[1], f"the address lacks ?{missing[1]}=…"
    return problem(error.status_code, "Refused", detail, **more)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The process stops us; we do not stop the process."""
        yield


async def serve_http(app: Any, host: str, port: int) -> None:
    """Serve `app` (ASGI) until cancelled, then finish the requests in hand.

    SystemExit, with one sentence, where the port is taken.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        lifespan="off",
        http="httptools",
        timeout_graceful_shutdown=STOP_S_MAX,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving
        raise
