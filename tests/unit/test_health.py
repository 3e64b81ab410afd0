"""What a process tells those who watch it."""

import http.client
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPMessage

import pytest

from scantrail.infra import health as health_module
from scantrail.infra.child_processes import free_ports
from scantrail.infra.health import LOOKS_MISSED, Health, HealthServer, Looks
from scantrail.infra.process import health_server
from scantrail.infra.settings import Settings

HOST = "127.0.0.1"


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture
def health(port: int) -> Iterator[Health]:
    health = Health("kafka", "database")
    with HealthServer(health, HOST, port):
        yield health


def get(port: int, path: str) -> tuple[int, HTTPMessage, bytes]:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=5) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def test_readyz_lists_what_is_missing_until_nothing_is(health: Health, port: int) -> None:
    status, headers, body = get(port, "/readyz")
    assert (status, headers["Content-Type"]) == (503, "application/json")
    assert json.loads(body) == {"ready": False, "missing": ["database", "kafka"]}
    health.has("kafka")
    assert json.loads(get(port, "/readyz")[2]) == {"ready": False, "missing": ["database"]}
    health.has("database")
    status, _, body = get(port, "/readyz")
    assert status == 200
    assert json.loads(body) == {"ready": True, "missing": []}
    health.lacks("database")
    status, _, body = get(port, "/readyz")
    assert (status, json.loads(body)["missing"]) == (503, ["database"])


def test_what_is_missing_or_there_twice_counts_once(health: Health) -> None:
    health.lacks("kafka")
    health.has("kafka")
    health.has("kafka")
    assert health.lacking == ["database"]


def test_several_looks_in_vain_make_it_missing_and_one_that_finds_it_ends_that() -> None:
    health = Health()
    looks = Looks(health, "kafka")
    told = []
    for is_there in (True, False, False, True, False, False, False, False, True, False):
        looks.found(is_there)
        told.append(health.lacking)
    assert LOOKS_MISSED == 3
    assert told == [[], [], [], [], [], [], ["kafka"], ["kafka"], [], []]


def test_what_the_process_itself_lacks_no_look_takes_back() -> None:
    health = Health("database")
    looks = Looks(health, "database")
    for is_there in (False, False, False, False, True):
        looks.found(is_there)
        assert health.lacking == ["database"], "it has not begun"
    health.has("database")
    health.lacks("database")
    looks.found(True)
    assert health.lacking == ["database"], "it answers, and cannot be written"
    health.has("database")
    for _ in range(LOOKS_MISSED):
        looks.found(False)
    assert health.lacking == ["database"]
    health.has("database")
    looks.found(False)
    assert health.lacking == ["database"], "still nobody answers"
    looks.found(True)
    assert health.lacking == []


def test_livez_says_no_once_the_loop_has_not_turned_for_too_long(
    health: Health, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = health_module.time.monotonic()
    monkeypatch.setattr(health_module, "time", _Clock(now))
    health.beat()
    assert get(port, "/livez")[0] == 200
    health_module.time.now = now + health_module.SILENCE_S_MAX - 0.1
    assert get(port, "/livez")[0] == 200
    health_module.time.now = now + health_module.SILENCE_S_MAX
    status, _, body = get(port, "/livez")
    assert (status, json.loads(body)) == (503, {"alive": False})
    health.beat()
    status, _, body = get(port, "/livez")
    assert (status, json.loads(body)) == (200, {"alive": True})


class _Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now


def test_a_process_that_is_not_ready_is_alive(health: Health, port: int) -> None:
    assert get(port, "/readyz")[0] == 503
    assert get(port, "/livez")[0] == 200


def test_metrics_are_prometheus_text_and_tell_readiness(health: Health, port: int) -> None:
    status, headers, body = get(port, "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=")
    assert "\nscantrail_ready 0.0\n" in body.decode()
    assert "scantrail_build_info{version=" in body.decode()
    health.has("kafka")
    assert "\nscantrail_ready 0.0\n" in get(port, "/metrics")[2].decode()
    health.has("database")
    assert "\nscantrail_ready 1.0\n" in get(port, "/metrics")[2].decode()


def test_another_path_names_the_three(health: Health, port: int) -> None:
    status, _, body = get(port, "/health")
    assert (status, body) == (404, b"try /livez, /readyz or /metrics\n")


def test_a_silent_client_does_not_keep_others_waiting(health: Health, port: int) -> None:
    with socket.create_connection((HOST, port)):
        assert get(port, "/livez")[0] == 200


def test_a_taken_port_is_an_error_and_a_left_one_is_free_again(port: int) -> None:
    with HealthServer(Health(), HOST, port), pytest.raises(OSError, match="in use"):
        HealthServer(Health(), HOST, port)
    with HealthServer(Health(), HOST, port):
        assert get(port, "/readyz")[0] == 200


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_it_listens_on_an_address_of_ipv6(port: int) -> None:
    with HealthServer(Health(), "::1", port):
        connection = http.client.HTTPConnection("::1", port, timeout=5)
        connection.request("GET", "/livez")
        assert connection.getresponse().status == 200
        connection.close()


def test_an_address_of_another_machine_ends_the_process_with_a_sentence(port: int) -> None:
    settings = Settings(listen_host="192.0.2.1", alerter_health_port=port)
    with pytest.raises(SystemExit) as refusal:
        health_server(settings, "alerter", Health())
    assert str(refusal.value) == (
        f"scantrail alerter: cannot listen on SCANTRAIL_LISTEN_HOST=192.0.2.1, port {port} of"
        " SCANTRAIL_ALERTER_HEALTH_PORT (Cannot assign requested address): set one of them to"
        " another"
    )
