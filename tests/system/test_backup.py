"""Backed up under load, destroyed, and restored by the commands of docs/operations.md."""

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
import pytest

import roads
from integration.processes import printed_by
from scantrail.cli.addresses import page_address, private_settings
from scantrail.cli.stack import Stack
from scantrail.infra.embedded_postgres import EmbeddedPostgres, find_programs
from scantrail.infra.settings import Settings

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
WAIT_S_MAX = 90.0
#: Each so-and-so-manieth unit is recalled.
RECALLED_EACH = 10


class Load(threading.Thread):
    """Units come, and leave; what the gateway says that it has is noted."""

    def __init__(self, url: str, name: str) -> None:
        super().__init__(daemon=True)
        self._name = name
        self.accepted: list[tuple[str, str]] = []  # serial and event id
        self._url = url
        self._ending = threading.Event()

    def run(self) -> None:
        number = 0
        with httpx.Client(base_url=self._url, timeout=10) as gateway:
            while not self._ending.wait(0.02):
                serial = f"{'R' if number % RECALLED_EACH == 0 else 'S'}{self._name}{number}"
                self._send(gateway, "in", serial, {})
                self._send(gateway, "out", serial, {"order": f"SO-{number % 3}"})
                number += 1

    def _send(self, gateway: httpx.Client, reader: str, serial: str, more: dict[str, str]) -> None:
        """As a reader does: the same, until it is taken."""
        event_id = f"{serial}-{reader}"
        at = datetime.now(UTC).isoformat()
        read = {"code": roads.barcode(serial), "event_id": event_id, "timestamp": at, **more}
        while not self._ending.is_set():
            answer = gateway.post(f"/ingest/v1/generic?reader={reader}", json=read)
            if answer.status_code == 200 and answer.json()["accepted"] == 1:
                self.accepted.append((serial, event_id))
                return

    def end(self) -> list[tuple[str, str]]:
        self._ending.set()
        self.join(timeout=20)
        assert not self.is_alive()
        return self.accepted


def until(told: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT_S_MAX
    while not (found := told()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.1)
    return found


def commands_of(heading: str) -> list[str]:
    """What the page has one do below a heading: with the database, and with each broker."""
    section = OPERATIONS.read_text().partition(f"\n### {heading}\n")[2].partition("\n### ")[0]
    with_database, with_broker = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return [with_database, with_broker]


def as_written(heading: str, variables: dict[str, str]) -> None:
    """Do what the page says below a heading."""
    done = subprocess.run(
        ["bash", "-euc", "".join(commands_of(heading))],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def history(settings: Settings) -> set[tuple[str, str]]:
    query = "SELECT unit, event_id FROM movement"
    with psycopg.connect(settings.database_url) as database:
        return {
            (unit.rpartition(".")[2], event_id.rpartition("/")[2])
            for unit, event_id in database.execute(query)
        }


def test_each_of_several_brokers_has_its_own_back_on_a_disk_that_is_mounted(tmp_path: Path) -> None:
    back, there = tmp_path / "backup", {node: tmp_path / node / "data" for node in ("1", "2", "3")}
    back.mkdir()
    for heading in ("Backing up", "Restoring"):
        for node, data in there.items():
            if heading == "Backing up":
                data.mkdir(parents=True)
                (data / "meta.properties").write_text(f"node.id={node}\n")
            else:
                shutil.rmtree(data)
                data.mkdir()
            variables = {"BACKUP": str(back), "NODE": node, "KAFKA_DATA": str(data)}
            environ = {**os.environ, **variables}
            subprocess.run(["bash", "-euc", commands_of(heading)[1]], env=environ, check=True)
    for node, data in there.items():
        assert [path.name for path in data.iterdir()] == ["meta.properties"]
        assert (data / "meta.properties").read_text() == f"node.id={node}\n"
    again = {**os.environ, "BACKUP": str(back), "NODE": "1", "KAFKA_DATA": str(there["2"])}
    done = subprocess.run(["bash", "-euc", commands_of("Backing up")[1]], env=again)
    assert done.returncode != 0, "no backup is written into another"


@pytest.mark.long
@pytest.mark.alone
def test_what_was_acknowledged_before_the_backup_is_there_after_the_restore(
    tmp_path: Path, stack_cache: Path
) -> None:
    readers = tmp_path / "readers.toml"
    readers.write_text(
        "".join(
            f'[[reader]]\nid = "{name}"\nstation = "{station}"\nprotocol = "http-generic"\n'
            for name, station in (("in", "dock"), ("out", "gate"))
        )
    )
    base = replace(private_settings(tmp_path / "data", Settings()), readers_file=str(readers))
    backup = tmp_path / "backup"
    backup.mkdir()
    variables = {"BACKUP": str(backup), "NODE": "1"}
    with Stack(base, cache=stack_cache) as stack:
        assert stack.kafka is not None
        programs = find_programs(stack.folder / "postgres" / "data").folder
        variables["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
        with httpx.Client(base_url=page_address(stack.settings), timeout=30) as api:
            _furnish(api)
            load = Load(stack.settings.gateway_url, "a")
            load.start()
            until(lambda: len(load.accepted) > 300)
            until(lambda: len(history(stack.settings)) > 200)
            before = list(load.accepted)
            stack.kafka.stop()
            variables |= {
                "DATABASE_URL": stack.settings.database_url,
                "KAFKA_DATA": str(stack.folder / "kafka" / "data"),
            }
            as_written("Backing up", variables)
            stack.kafka.start()
            # life goes on: more scans, an order, and somebody is erased
            behind = len(load.accepted)
            until(lambda: len(load.accepted) > behind + 100)
            _order(api, "SO-later")
            api.delete(f"/parties/{quote('order SO-1')}/personal-data").raise_for_status()
            with psycopg.connect(stack.settings.database_url) as database:
                erased = database.execute(_ERASED).fetchall()
            assert erased == [("order SO-1",)]
            after = load.end()
        stack.kill_all()
    shutil.rmtree(stack.folder)

    # nothing is left but the backup; the processes start once both are restored
    again = replace(private_settings(tmp_path / "again", Settings()), readers_file=str(readers))
    folder = Path(again.data_dir)
    server = EmbeddedPostgres(folder / "postgres")
    (folder / "kafka").mkdir(parents=True)
    variables |= {"DATABASE_URL": server.start(), "KAFKA_DATA": str(folder / "kafka" / "data")}
    as_written("Restoring", variables)
    server.stop()
    with Stack(again, cache=stack_cache) as stack:
        until(lambda: set(before) <= history(stack.settings))
        told = printed_by(stack.settings, "check", "--history", timeout_s=180)
        found = history(stack.settings)
        assert len(found) == len(set(found))
        assert found <= set(after), "nothing is there that was never told"
        with httpx.Client(base_url=page_address(stack.settings), timeout=30) as api:
            assert api.get("/orders/SO-1").json()["purchaser"]["name"] == "Ada 1"
            assert api.get("/orders/SO-later").status_code == 404
            # who was erased since is erased again
            for (party,) in erased:
                api.delete(f"/parties/{quote(party)}/personal-data").raise_for_status()
            assert api.get("/orders/SO-1").json()["purchaser"]["name"] == "(erased)"
            shipped = {serial for serial, event in found if event.endswith("-out")}
            recalled = {serial for serial in shipped if serial.startswith("R")}
            assert recalled
            until(lambda: _alerted(stack.settings) == sorted(recalled))
            # and life goes on
            load = Load(stack.settings.gateway_url, "b")
            load.start()
            until(lambda: len(load.accepted) > 20)
            more = load.end()
            until(lambda: set(more) <= history(stack.settings))
    assert "no difference" in told, told


_ERASED = "SELECT DISTINCT reference FROM audit WHERE entity = 'party' AND method = 'DELETE'"


def _alerted(settings: Settings) -> list[str]:
    """Serials of recalled units that went out, each as often as there is an alert of it."""
    query = "SELECT unit FROM alert WHERE kind LIKE 'recalled_%%' ORDER BY unit"
    with psycopg.connect(settings.database_url) as database:
        return sorted(unit.rpartition(".")[2] for (unit,) in database.execute(query))


def _furnish(api: httpx.Client) -> None:
    for station, step in roads.STATIONS.items():
        body = {"site": "north", "business_step": step}
        api.put(f"/stations/{station}", json=body).raise_for_status()
    recall = {
        "id": "R-1",
        "title": "Battery",
        "reason": "may overheat",
        "products": [roads.GTIN],
        "selectors": [{"kind": "prefix", "prefix": "R"}],
    }
    answer = api.post("/recalls", json=recall)
    answer.raise_for_status()
    for number in range(3):
        _order(api, f"SO-{number}")


def _order(api: httpx.Client, ref: str) -> None:
    who = {"name": f"Ada {ref.removeprefix('SO-')}", "address": "1 Dock Road"}
    api.put(f"/orders/{ref}", json={"purchaser": who}).raise_for_status()
