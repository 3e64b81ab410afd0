"""A real Prometheus and a real Alertmanager for a test, set up by the files that are delivered."""

import contextlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from scantrail.infra.child_processes import free_ports
from scantrail.infra.settings import Settings

HOST = "127.0.0.1"
DEPLOY = Path(__file__).parents[2] / "deploy"
PROCESSES = ("gateway", "tracker", "projector", "alerter", "api")
START_S_MAX = 20.0

#: Prometheus decides each second; so long nothing may come or go.
STAYS_S = 5.0

#: One for all: whoever makes a client reads all of the system's certificates.
_HTTP = httpx.Client(timeout=10)


class Pager:
    """Where pages and chat messages arrive: PagerDuty and Slack, as Alertmanager sees them."""

    def __init__(self) -> None:
        self.pages: list[dict[str, Any]] = []
        self.messages: list[dict[str, Any]] = []
        told = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                (told.pages if self.path == "/pager" else told.messages).append(body)
                answer = b"ok" if self.path == "/chat" else b'{"status": "success"}'
                self.send_response(200 if self.path == "/chat" else 202)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Monitors:
    """Prometheus looks at the processes of `settings` each second, and tells Alertmanager, which
    tells the Pager. The rules are those that are delivered; only how long something must last is
    shortened, to a second."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder = folder
        self._children: list[subprocess.Popen[bytes]] = []
        self._port, self._alertmanager_port = free_ports(2)
        self.pager = Pager()
        folder.mkdir()
        self._write_prometheus(settings)
        self._write_alertmanager()

    def _write_prometheus(self, settings: Settings) -> None:
        text = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
        for process in PROCESSES:
            port = getattr(settings, f"{process}_health_port")
            text, count = re.subn(rf'"{process}:\d+"', f'"{HOST}:{port}"', text)
            assert count == 1, process
        text = text.replace('"alertmanager:9093"', f'"{HOST}:{self._alertmanager_port}"')
        text = re.sub(r"_interval: 15s", "_interval: 1s", text)
        (self._folder / "prometheus.yml").write_text(text)
        rules = (DEPLOY / "prometheus" / "rules.yml").read_text()
        (self._folder / "rules.yml").write_text(re.sub(r"(?m)^( +for:) \w+$", r"\1 1s", rules))

    def _write_alertmanager(self) -> None:
        text = (DEPLOY / "alertmanager" / "alertmanager.yml").read_text()
        secrets = {
            "/run/secrets/pager-key": "a-key",
            "/run/secrets/chat-url": f"http://{HOST}:{self.pager.port}/chat",
        }
        for number, (path, secret) in enumerate(secrets.items()):
            file = self._folder / f"secret-{number}"
            file.write_text(secret)
            assert path in text
            text = text.replace(path, str(file))
        text = re.sub(r"group_wait: \w+", "group_wait: 0s", text)
        text = re.sub(r"group_interval: \w+", "group_interval: 1s", text)
        text += f'\nglobal:\n  pagerduty_url: "http://{HOST}:{self.pager.port}/pager"\n'
        (self._folder / "alertmanager.yml").write_text(text)

    def start(self) -> None:
        """Start both; returns when both answer."""
        self.start_alertmanager()
        self._spawn(
            "prometheus",
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'series'}",
            f"--web.listen-address={HOST}:{self._port}",
        )
        self.until(lambda: _is_ready(self._port), "it answers", START_S_MAX)

    def start_alertmanager(self) -> None:
        """Start it alone; returns when it answers."""
        self._spawn(
            "prometheus-alertmanager",
            f"--config.file={self._folder / 'alertmanager.yml'}",
            f"--storage.path={self._folder / 'alerts'}",
            f"--web.listen-address={HOST}:{self._alertmanager_port}",
            "--cluster.listen-address=",
        )
        self.until(lambda: _is_ready(self._alertmanager_port), "it answers", START_S_MAX)

    def fire(self, *alerts: Mapping[str, str]) -> None:
        """Tell Alertmanager, as Prometheus does, that alerts with these labels fire."""
        url = f"http://{HOST}:{self._alertmanager_port}/api/v2/alerts"
        _HTTP.post(url, json=[{"labels": labels} for labels in alerts]).raise_for_status()

    def _spawn(self, binary: str, *arguments: str) -> None:
        path = shutil.which(binary)
        assert path, f"there is no {binary}: `make test` says how to install it"
        with self._log(binary).open("ab") as output:
            child = subprocess.Popen(
                [path, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env={"PATH": os.environ["PATH"], "GOMAXPROCS": "1"},
            )
        self._children.append(child)

    def _log(self, binary: str) -> Path:
        return self._folder / f"{binary}.log"

    def stop(self) -> None:
        for child in reversed(self._children):
            child.send_signal(signal.SIGTERM)
        for child in self._children:
            try:
                child.wait(timeout=10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.pager.close()

    def query(self, expr: str) -> list[tuple[Mapping[str, str], float]]:
        """What a query finds now: labels and values."""
        answer = _HTTP.post(f"http://{HOST}:{self._port}/api/v1/query", data={"query": expr})
        told = answer.json()
        assert told["status"] == "success", (expr, told)
        return [(each["metric"], float(each["value"][1])) for each in told["data"]["result"]]

    def finds(self, expr: str) -> bool:
        """Whether a query finds anything that is a number."""
        return any(math.isfinite(value) for _, value in self.query(expr))

    def received(self, alert: str, **labels: str) -> list[dict[str, Any]]:
        """What Alertmanager has of an alert that fires."""
        return [
            told
            for told in self.received_any()
            if {"alertname": alert, **labels}.items() <= told["labels"].items()
        ]

    def received_any(self) -> list[dict[str, Any]]:
        """What it has of all alerts."""
        answer = _HTTP.get(f"http://{HOST}:{self._alertmanager_port}/api/v2/alerts")
        return list(answer.json())

    def fires(self) -> set[tuple[str, str]]:
        """What somebody is told of now: each alert that is not held back, and its job or ''."""
        return {
            (told["labels"]["alertname"], told["labels"].get("job", ""))
            for told in self.received_any()
            if not told["status"]["inhibitedBy"]
        }

    def until_exactly(self, *alerts: tuple[str, str]) -> None:
        """Until these fire and nothing else, and for STAYS_S after that."""
        with contextlib.suppress(AssertionError):
            self.until(lambda: self.fires() == {*alerts}, "these fire")
        ends = time.monotonic() + STAYS_S
        while time.monotonic() < ends:
            assert self.fires() == {*alerts}
            time.sleep(0.2)

    def until(self, is_so: Callable[[], object], what: str, limit_s: float = 60.0) -> None:
        deadline = time.monotonic() + limit_s
        while not is_so():
            for child in self._children:
                assert child.poll() is None, (child.args, self.logs)
            assert time.monotonic() < deadline, (what, self.logs)
            time.sleep(0.1)

    @property
    def logs(self) -> str:
        return "\n".join(
            path.read_text(errors="replace")[-2000:] for path in self._folder.glob("*.log")
        )


def _is_ready(port: int) -> bool:
    try:
        return _HTTP.get(f"http://{HOST}:{port}/-/ready").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def monitored(folder: Path, settings: Settings) -> Iterator[Monitors]:
    """Both, stopped at the end."""
    monitors = Monitors(folder, settings)
    try:
        monitors.start()
        yield monitors
    finally:
        monitors.stop()
