"""A real MQTT broker for a test, from the system's package mosquitto, and readers that publish."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from scantrail.infra.child_processes import free_ports

HOST = "127.0.0.1"
START_S_MAX = 10.0
TOLD_S_MAX = 10.0


class Mosquitto:
    """One broker at `HOST:port`; stopped and started again it has the sessions it had."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.port = free_ports(1)[0]
        self._log = folder / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._conf = folder / "mosquitto.conf"
        lines = [
            "per_listener_settings false",
            "persistence true",
            f"persistence_location {folder}/",
            "log_type all",
            f"listener {self.port} {HOST}",
            *(more or ["allow_anonymous true"]),
        ]
        if os.geteuid() == 0:
            lines.append("user root")  # else it leaves for a user that cannot write here
        self._conf.write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        binary = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
        assert binary, "there is no mosquitto: `make test` says how to install it"
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [binary, "-c", str(self._conf)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_S_MAX
        while True:
            try:
                socket.create_connection((HOST, self.port)).close()
                return
            except OSError:
                assert self._process.poll() is None, self.log
                assert time.monotonic() < deadline, self.log
                time.sleep(0.02)

    def stop(self) -> None:
        """As a signal does: sessions are on disk."""
        self._end(signal.SIGTERM)

    def close(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(timeout=START_S_MAX)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")


class Secrets(NamedTuple):
    username: str
    password: str
    ca_file: str


class Publisher:
    """A reader's end: what it publishes is with the broker when `publish` returns."""

    def __init__(self, port: int, client_id: str, secrets: Secrets | None, **will: Any) -> None:
        self._client = Client(CallbackAPIVersion.VERSION2, client_id, reconnect_on_failure=False)
        if secrets is not None:
            self._client.username_pw_set(secrets.username, secrets.password)
            self._client.tls_set(secrets.ca_file)
        if will:
            self._client.will_set(**will)
        self._client.connect(HOST, port)
        self._client.loop_start()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        told = self._client.publish(topic, payload, qos=1, retain=retain)
        told.wait_for_publish(TOLD_S_MAX)
        assert told.is_published()

    def vanish(self) -> None:
        """Without a goodbye: the broker publishes the will."""
        connection: Any = self._client.socket()
        connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def publishing(
    broker: Mosquitto, client_id: str = "reader", *, secrets: Secrets | None = None, **will: Any
) -> Iterator[Publisher]:
    publisher = Publisher(broker.port, client_id, secrets, **will)
    try:
        yield publisher
    finally:
        publisher.close()
