"""An HTTP server inside a process that has its own loop and its own signals; refusals over it."""

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from litestar import Request, Response
from litestar.exceptions import HTTPException
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

STOP_S_MAX = 5

#: Seconds for a request's head, and then for its body: a device sends both at once.
HEAD_S_MAX = 10.0
BODY_S_MAX = 20.0

#: Bytes of a head that is not whole, or of what comes after a body in chunks.
HEAD_BYTES_MAX = 1 << 16

#: Bytes of bodies that are being received, of all requests together.
IN_HAND_BYTES_MAX = 64 << 20


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
    refusal = problem(error.status_code, "Refused", detail, **more)
    refusal.headers.update(error.headers or {})
    return refusal


#: Where a request's scope says whom the client's certificate is made out to.
_CERTIFIED = "scantrail.certified"


def certified_as(request: Request[Any, Any, Any]) -> str | None:
    """Whom the client's certificate is made out to, which was checked; None without one."""
    scope: Any = request.scope
    name: str | None = scope.get(_CERTIFIED)
    return name


def _name_in(transport: asyncio.Transport) -> str | None:
    """The common name in the certificate that the other side has shown."""
    shown: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    certificate = shown.getpeercert() if shown is not None else None
    subject: Any = certificate.get("subject", ()) if certificate else ()
    names = [value for part in subject for name, value in part if name == "commonName"]
    return names[0] if names else None


class _Patience:
    """Bounds what requests that are never finished hold: time, and memory."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._in_hand = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        deadline = asyncio.get_running_loop().time() + BODY_S_MAX
        received, is_whole = 0, False

        async def bounded() -> Any:
            nonlocal received, is_whole
            if is_whole:  # what comes now is the end of the connection
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                told = f"the body was not there within {BODY_S_MAX:.0f} s: send it again"
                raise HTTPException(told, status_code=408, headers=_CLOSE) from None
            received += len(message.get("body", b""))
            self._in_hand += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if self._in_hand > IN_HAND_BYTES_MAX:
                told = "too much is being sent at once: nothing was taken, send it again later"
                raise HTTPException(told, status_code=503, headers={**_CLOSE, "Retry-After": "5"})
            return message

        try:
            await self._app(scope, bounded, send)
        finally:
            self._in_hand -= received


_CLOSE = {"Connection": "close"}


class _Protocol(HttpToolsProtocol):
    """A connection that is closed where a request's head is not whole in time, or within its size;
    the first from when it is open, each later one from its first byte."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._awaits_head = True
        self._has_moved = False
        self._held_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._expect_head()
        self._certified = _name_in(transport)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._certified is not None:
            scope: Any = self.scope
            scope[_CERTIFIED] = self._certified

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_no_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._has_moved = False
        super().data_received(data)
        if self.transport.is_closing():
            return
        self._held_bytes = 0 if self._has_moved else self._held_bytes + len(data)
        if self._held_bytes > HEAD_BYTES_MAX:
            self.send_400_response("The head of the request is too large.")
        elif self._awaits_head:
            self._expect_head()

    def on_headers_complete(self) -> None:
        self._has_moved, self._awaits_head = True, False
        self._expect_no_head()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._has_moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._has_moved = self._awaits_head = True
        super().on_message_complete()

    def _expect_head(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_S_MAX, self._close_late)

    def _expect_no_head(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close_late(self) -> None:
        self._deadline = None
        if getattr(self.cycle, "response_complete", True):  # there may have been none
            self.transport.close()
        else:
            self._expect_head()  # the request before it is answered first


class _Server(uvicorn.Server):
    """Tells when it can be connected to."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._listening()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The process stops us; we do not stop the process."""
        yield


async def serve_http(
    app: Any,
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    listening: Callable[[], None] = lambda: None,
) -> None:
    """Serve `app` (ASGI) until cancelled, then finish the requests in hand.

    With `tls` over https. `listening` is called once it can be connected to. SystemExit, with one
    sentence, where the port is taken.
    """
    config = uvicorn.Config(
        _Patience(app),
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        lifespan="off",
        http=_Protocol,
        timeout_graceful_shutdown=STOP_S_MAX,
        ssl_context_factory=None if tls is None else (lambda *_: tls),
    )
    server = _Server(config, listening)
    serving = asyncio.create_task(server.serve())
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving
        raise
