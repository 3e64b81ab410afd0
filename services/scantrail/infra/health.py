"""`/livez`, `/readyz` and `/metrics` of a process, on a port and in a thread of their own."""

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from scantrail.infra.logs import logger
from scantrail.infra.metrics import READY

log = logger(__name__)

#: A loop that has not turned for so long is not alive, whatever else answers.
SILENCE_S_MAX = 30.0

#: One look in vain says little: so many, one behind the other, and the thing is missing.
LOOKS_MISSED = 3


class Health:
    """What a process still lacks, told to `/readyz`. Safe to use from any thread."""

    def __init__(self, *lacking: str) -> None:
        self._lacking = set(lacking)
        self._lock = threading.Lock()
        self._beat = time.monotonic()
        READY.set(not self._lacking)

    def lacks(self, what: str) -> None:
        """`what` is missing: the process is not ready."""
        with self._lock:
            self._lacking.add(what)
            READY.set(0)

    def has(self, what: str) -> None:
        """`what` is there (again)."""
        with self._lock:
            self._lacking.discard(what)
            READY.set(not self._lacking)

    def beat(self) -> None:
        """The process's own loop turned."""
        self._beat = time.monotonic()

    @property
    def lacking(self) -> list[str]:
        with self._lock:
            return sorted(self._lacking)

    @property
    def alive(self) -> bool:
        return time.monotonic() - self._beat < SILENCE_S_MAX


class Looks:
    """Regular looks for `what`: LOOKS_MISSED in vain, one behind the other, and `health` lacks it;
    the first that finds it, and it is there. Where the process itself has said that it lacks it,
    at its start or as it could not write, the process takes that back, not a look."""

    def __init__(self, health: Health, what: str) -> None:
        self._health = health
        self._what = what
        self._missed = 0
        self._is_told = False

    def found(self, is_there: bool) -> None:
        """A look was made."""
        self._missed = 0 if is_there else self._missed + 1
        if is_there and self._is_told:
            self._is_told = False
            self._health.has(self._what)
            log.info("it answers again", what=self._what)
        elif self._missed >= LOOKS_MISSED and self._what not in self._health.lacking:
            self._is_told = True
            self._health.lacks(self._what)
            log.warning("not ready: no answer, again and again", what=self._what)


class HealthServer:
    """Serves one Health; start with `with`. OSError where it cannot listen there."""

    def __init__(self, health: Health, host: str, port: int) -> None:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        kind = type("Server", (ThreadingHTTPServer,), {"address_family": family})
        self._server: ThreadingHTTPServer = kind(address[:2], _handler(health))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "HealthServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(health: Health) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest())
            elif self.path == "/livez":
                told = {"alive": health.alive}
                self._answer(200 if health.alive else 503, "application/json", _json(told))
            elif self.path == "/readyz":
                lacking = health.lacking
                told_ready = {"ready": not lacking, "missing": lacking}
                self._answer(503 if lacking else 200, "application/json", _json(told_ready))
            else:
                self._answer(404, "text/plain", b"try /livez, /readyz or /metrics\n")

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes are not worth a line."""

    return Handler


def _json(told: object) -> bytes:
    return msgspec.json.encode(told) + b"\n"
