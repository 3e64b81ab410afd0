"""What operations sees: a real Prometheus and a real Alertmanager look at real processes."""

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from faults.brokers import Cluster
from faults.links import Network
from integration.monitors import DEPLOY, HOST, PROCESSES, Monitors, monitored
from integration.processes import started
from scantrail.cli.addresses import private_settings
from scantrail.cli.stack import Stack
from scantrail.cli.supervisor import Program, Supervisor, python_command
from scantrail.contracts.topics import Topic
from scantrail.infra.child_processes import free_ports
from scantrail.infra.failpoints import FAILPOINT
from scantrail.infra.settings import Settings

if TYPE_CHECKING:
    from integration.conftest import Site

GTIN = "09506000134352"
FOUND_S_MAX = 60.0

#: So many starts within ten minutes are none too many.
STARTS_MAX = 3

READERS = """\
[[reader]]
id = "dock-reader"
station = "dock"
protocol = "tcp"
mode = "listen"
address = "{host}:{port}"
ack = "\\u0006"

[[reader]]
id = "gate-reader"
station = "gate"
protocol = "http-generic"
"""


def with_readers(settings: Settings, folder: Path) -> tuple[Settings, int]:
    """A scanner that connects at the port, and a handheld over HTTP."""
    (port,) = free_ports(1)
    path = folder / "readers.toml"
    path.write_text(READERS.format(host=HOST, port=port))
    return replace(settings, readers_file=str(path)), port


@contextmanager
def scanner(port: int) -> Iterator[Callable[[str], None]]:
    """A connected scanner; what it is called with is durable when it returns."""
    with socket.create_connection((HOST, port), timeout=20) as line:

        def scan(serial: str) -> None:
            line.sendall(f"01{GTIN}21{serial}\r\n".encode())
            assert line.recv(1) == b"\x06"

        yield scan


def some_of_everything(settings: Settings, monitors: Monitors, scan: Callable[[str], None]) -> None:
    """What the dashboard tells of happens, until each of its queries finds something."""
    api, gateway = f"http://{HOST}:{settings.api_port}", settings.gateway_url
    with httpx.Client(timeout=20) as http:

        def say(method: str, url: str, body: object) -> None:
            answer = http.request(method, url, json=body)
            assert answer.is_success, (url, answer.text)

        there = {"site": "home", "possessing_party": "me"}
        dock = {**there, "business_step": "receiving", "business_location": "Dock"}
        say("PUT", f"{api}/stations/dock", dock)
        say("PUT", f"{api}/stations/gate", {**there, "business_step": "shipping"})
        # Of what happened before its first look, Prometheus sees no rise.
        monitors.until(lambda: monitors.finds("max(scantrail_recalls_unswept)"), "it looks")
        serials = {"kind": "list", "serials": ["1", "3"]}
        recall = {"title": "Battery", "reason": "heats", "products": [GTIN]}
        say("POST", f"{api}/recalls", {**recall, "id": "R-1", "selectors": [serials]})
        number, missing = 0, {expr for _, expr in queries()}
        deadline = time.monotonic() + FOUND_S_MAX
        while missing:
            assert time.monotonic() < deadline, (f"these find nothing: {missing}", monitors.logs)
            number += 1
            scan(str(number))
            now = datetime.now(UTC).isoformat()
            read = {"code": f"01{GTIN}21{number}", "timestamp": now}
            say("POST", f"{gateway}/ingest/v1/generic?reader=gate-reader", read)
            say("POST", f"{gateway}/verdict/v1", {"read": read["code"], "reader": "gate-reader"})
            missing -= {expr for expr in missing if monitors.finds(expr)}
    assert [title for title, expr in queries() if not monitors.finds(expr)] == []


def queries() -> list[tuple[str, str]]:
    """Of the dashboard: the panel's title, and what it asks."""
    panels = json.loads((DEPLOY / "grafana" / "scantrail.json").read_text())["panels"]
    return [(panel["title"], each["expr"]) for panel in panels for each in panel.get("targets", [])]


def test_every_query_of_the_dashboard_finds_something(settings: Settings, tmp_path: Path) -> None:
    settings, port = with_readers(settings, tmp_path)
    with started(settings, tmp_path, *PROCESSES) as processes:
        for process in processes:
            process.await_ready()
        with monitored(tmp_path / "monitors", settings) as monitors, scanner(port) as scan:
            some_of_everything(settings, monitors, scan)

            def seen(label: str, expr: str) -> set[str]:
                return {labels[label] for labels, _ in monitors.query(expr)}

            assert seen("process", "scantrail_last_processed_timestamp_seconds") == {*PROCESSES}
            assert seen("job", "scantrail_kafka_brokers == 1") == {*PROCESSES}
            ages = "scantrail_scan_age_seconds_count > 0"
            assert seen("stage", ages) == {"movement", "database", "alert"}
            read = {"scans", "movements", "alerts", "findings", "scans.rejected", "reads.rejected"}
            assert read <= seen("topic", "scantrail_consumer_lag_records")
            monitors.until(lambda: monitors.finds("scantrail_alerts_open > 0"), "alerts are open")
            # Of metrics that have no labels every process has one.
            made = "scantrail_months_made_timestamp_seconds"
            assert seen("job", made) == {*PROCESSES}
            assert seen("job", f"{made} > 0") == {"projector"}
            monitors.until_exactly()


def test_what_one_process_lacks_holds_back_what_follows_and_nothing_of_another(
    tmp_path: Path,
) -> None:
    def of(name: str, at: str, **more: str) -> dict[str, str]:
        told = {"alertname": f"Scantrail{name}", "job": at.rpartition("-")[0], "instance": at}
        return {**told, "severity": "page", **more}

    monitors = Monitors(tmp_path / "monitors", Settings())
    try:
        monitors.start_alertmanager()
        follows = [
            of("NotReady", "tracker-1"),
            of("ConsumerStalled", "tracker-1", partition="0"),
            of("Restarting", "tracker-1"),
            of("NotReady", "tracker-2"),
            of("ConsumerStalled", "tracker-2", partition="0"),
            of("ConsumerStalled", "projector-1", partition="0"),
            {"alertname": "ScantrailScanAgeHigh", "severity": "page", "stage": "movement"},
            {"alertname": "ScantrailReaderSilent", "severity": "ticket", "reader": "r"},
            {"alertname": "ScantrailRecallUnswept", "severity": "page"},
            of("OutboxStuck", "api-1"),
        ]
        told = [
            of("KafkaAway", "tracker-1"),
            of("KafkaAway", "api-1"),
            of("TargetDown", "gateway-1"),
            of("ReaderAway", "gateway-2", reader="gate"),
            of("Restarting", "tracker-2"),
            of("NotReady", "tracker-3"),
            of("NotReady", "projector-1"),
            of("ConsumerStalled", "projector-2", partition="0"),
            of("OutboxStuck", "api-2"),
        ]
        monitors.fire(*told, *follows)
        held = {tuple(sorted(labels.items())): labels in follows for labels in told + follows}

        def seen() -> dict[tuple[tuple[str, str], ...], bool]:
            return {
                tuple(sorted(each["labels"].items())): bool(each["status"]["inhibitedBy"])
                for each in monitors.received_any()
            }

        monitors.until(lambda: seen() == held, "what follows is held back")
    finally:
        monitors.stop()


@pytest.mark.long
@pytest.mark.alone
def test_what_stops_fires_the_right_alert_and_alertmanager_tells_it(
    tmp_path: Path, stack_cache: Path
) -> None:
    settings, port = with_readers(private_settings(tmp_path / "data", Settings()), tmp_path)
    with Stack(settings, cache=stack_cache) as stack:
        settings = stack.settings
        with monitored(tmp_path / "monitors", settings) as monitors:

            def comes(alert: str, **labels: str) -> None:
                monitors.until(lambda: monitors.received(alert, **labels), f"{alert} comes")

            def goes(alert: str) -> None:
                monitors.until(lambda: not monitors.received(alert), f"{alert} goes")

            def is_paged(alert: str) -> None:
                def told() -> bool:
                    return any(alert.lower() in json.dumps(page) for page in monitors.pager.pages)

                monitors.until(told, f"{alert} is paged")

            with scanner(port) as scan:
                some_of_everything(settings, monitors, scan)
                goes("ScantrailReaderAway")
            comes("ScantrailReaderAway", reader="dock-reader", severity="page")
            is_paged("ScantrailReaderAway")
            monitors.until_exactly(("ScantrailReaderAway", "gateway"))

            with scanner(port) as scan:
                monitors.until_exactly()
                stack.supervisor.stop("projector")
                comes("ScantrailTargetDown", job="projector", severity="page")
                is_paged("ScantrailTargetDown")
                assert len(monitors.received("ScantrailTargetDown")) == 1
                monitors.until_exactly(("ScantrailTargetDown", "projector"))
                stack.restart("projector")
                monitors.until_exactly()

                assert stack.kafka is not None
                stack.kafka.kill()
                for job in PROCESSES:
                    comes("ScantrailKafkaAway", job=job, severity="page")
                is_paged("ScantrailKafkaAway")
                scan("spooled")
                for job in ("tracker", "projector", "alerter"):
                    comes("ScantrailNotReady", job=job, severity="page")
                monitors.until_exactly(*(("ScantrailKafkaAway", job) for job in PROCESSES))
                stack.kafka.start()
                monitors.until_exactly()


@pytest.mark.long
@pytest.mark.alone
async def test_a_tracker_that_dies_of_each_batch_and_is_started_again_is_paged(
    site: "Site", tmp_path: Path
) -> None:
    supervisor = Supervisor(lambda line: None)
    dying = Program(
        name="tracker",
        command=python_command("scantrail.tracker"),
        log=tmp_path / "tracker.log",
        env={**site.settings.environ(), FAILPOINT: "begun:1"},
    )
    with monitored(tmp_path / "monitors", site.settings) as monitors:

        async def until(is_so: Callable[[], object], what: str, limit_s: float = 60.0) -> None:
            await asyncio.to_thread(monitors.until, is_so, what, limit_s)

        def loops() -> bool:
            return ("ScantrailRestarting", "tracker") in monitors.fires()

        supervisor.start(dying)
        try:
            await until(lambda: monitors.finds('scantrail_ready{job="tracker"} == 1'), "it works")
            await site.publish(Topic.SCANS, "1", b"no scan, and begun all the same")
            await until(lambda: supervisor.ends("tracker") == STARTS_MAX, "it has ended some times")
            assert not loops()
            await until(loops, "it is told", 120.0)
            await until(lambda: "tracker ends again and again" in told(monitors), "it is paged")
        finally:
            supervisor.stop_all(())


@pytest.mark.long
@pytest.mark.alone
def test_of_three_brokers_one_that_dies_is_paged_until_it_is_back(
    tmp_path: Path, stack_cache: Path
) -> None:
    with Network() as network:
        cluster = Cluster(tmp_path, stack_cache, network)
        cluster.start()
        try:
            own = private_settings(tmp_path / "data", Settings())
            settings = replace(own, kafka_bootstrap=cluster.bootstrap("others"))
            with (
                started(settings, tmp_path, "gateway"),
                monitored(tmp_path / "monitors", settings) as monitors,
            ):

                def fires() -> bool:
                    return ("ScantrailBrokerDown", "") in monitors.fires()

                monitors.until(lambda: monitors.finds("scantrail:kafka_brokers:max == 3"), "3 live")
                assert not fires()
                cluster.kill(1)
                monitors.until(fires, "one is missed")
                monitors.until(lambda: "A broker of Kafka is down" in told(monitors), "it is paged")
                assert not monitors.received("ScantrailKafkaAway", job="gateway")
                cluster.start(1)
                monitors.until(lambda: not fires(), "it is back")
        finally:
            cluster.kill()


def told(monitors: Monitors) -> str:
    """All pages, as they came."""
    return json.dumps(monitors.pager.pages)
