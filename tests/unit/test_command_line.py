"""The command line: quiet when interrupted, and told of the Scantrail that runs here."""

import fcntl
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from aiokafka.errors import KafkaTimeoutError

from scantrail.cli import commands
from scantrail.cli.addresses import private_settings
from scantrail.cli.commands import run
from scantrail.cli.folder_lock import FolderLock, settings_in_force
from scantrail.cli.folding import CASE_UNKNOWN, FoldedByApi
from scantrail.contracts.identity import identify
from scantrail.infra.settings import Settings

_PASSWORD = "postgresql://scantrail:hidden@127.0.0.1:20001/scantrail"

_SLOW_IMPORT = """
import sys, time

class Slow:
    def find_spec(self, name, *_):
        if name == "scantrail.cli.commands":
            print("importing", flush=True)
            time.sleep(60)

sys.meta_path.insert(0, Slow())
from scantrail.cli.__main__ import main
main(["identify", "x"])
"""


def test_ctrl_c_while_the_program_is_imported_prints_nothing() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _SLOW_IMPORT], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"importing\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == b""
    assert process.returncode == 130


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("SCANTRAIL_DATA_DIR", str(tmp_path))
    return private_settings(tmp_path, Settings())


@pytest.fixture
def lock(settings: Settings) -> Iterator[FolderLock]:
    """Held, as by one that starts and knows no addresses yet."""
    lock = FolderLock(Path(settings.data_dir), "http://127.0.0.1:1/")
    lock.take()
    yield lock
    lock.release()


def test_config_tells_what_is_in_force_while_it_runs(
    settings: Settings, lock: FolderLock, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(settings.data_dir)
    assert settings_in_force(folder) is None
    running = replace(settings, kafka_bootstrap="127.0.0.1:20000", database_url=_PASSWORD)
    lock.tell(running)
    assert settings_in_force(folder) == running
    assert run(["config"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head == f"# Scantrail runs here; its data are in {folder}"
    values = [line.partition("  #")[0] for line in lines]
    assert "SCANTRAIL_KAFKA_BOOTSTRAP=127.0.0.1:20000" in values
    assert f"SCANTRAIL_API_PORT={settings.api_port}" in values
    assert "SCANTRAIL_DATABASE_URL=***" in values
    lock.release()
    assert settings_in_force(folder) is None
    run(["config"])
    assert "SCANTRAIL_KAFKA_BOOTSTRAP=127.0.0.1:9092  #" in capsys.readouterr().out


def test_a_variable_of_this_terminal_wins_over_what_runs(
    settings: Settings,
    lock: FolderLock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lock.tell(replace(settings, kafka_bootstrap="127.0.0.1:20000"))
    monkeypatch.setenv("SCANTRAIL_KAFKA_BOOTSTRAP", "kafka:9092")
    run(["config", "kafka_bootstrap"])
    assert capsys.readouterr().out == "kafka:9092\n"


@pytest.mark.parametrize("name", ["database_url", "SCANTRAIL_DATABASE_URL"])
def test_one_setting_is_printed_for_another_program(
    settings: Settings, lock: FolderLock, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    lock.tell(replace(settings, database_url=_PASSWORD))
    assert (run(["config", name]), capsys.readouterr().out) == (0, f"{_PASSWORD}\n")


def test_a_setting_that_does_not_exist_is_refused() -> None:
    assert run(["config", "api_prot"]) == (
        "scantrail config: unknown setting SCANTRAIL_API_PROT: did you mean SCANTRAIL_API_PORT?"
        " docs/settings.md lists all"
    )


def test_what_the_lock_tells_is_for_its_owner_alone(settings: Settings, lock: FolderLock) -> None:
    file = Path(settings.data_dir) / "lock"
    assert file.stat().st_mode & 0o077 == 0
    lock.release()
    file.chmod(0o644)
    lock.take()
    assert file.stat().st_mode & 0o077 == 0


def test_settings_half_written_are_not_yet_in_force(settings: Settings, lock: FolderLock) -> None:
    file = Path(settings.data_dir) / "lock"
    with file.open("a") as half:
        half.write(json.dumps(settings.environ()))
    assert settings_in_force(file.parent) is None


def test_a_start_is_not_refused_for_one_who_looks(settings: Settings, lock: FolderLock) -> None:
    lock.release()
    with (Path(settings.data_dir) / "lock").open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        timer = threading.Timer(0.03, fcntl.flock, (looking, fcntl.LOCK_UN))
        timer.start()
        lock.take()
        timer.join()


def test_whoever_reads_only_the_first_lines_is_no_error() -> None:
    text = ["0109506000134352211"] * 3_000
    command = [sys.executable, "-m", "scantrail.cli", "identify", *text]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize("readers", ["", "absent.toml", "other.toml"])
def test_a_simulation_without_its_readers_is_refused(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, readers: str
) -> None:
    (tmp_path / "other.toml").write_text('[[reader]]\nid = "mine"\naddress = "0.0.0.0:9004"\n')
    path = str(tmp_path / readers) if readers else ""
    monkeypatch.setenv("SCANTRAIL_READERS_FILE", path)
    told = run(["simulate"])
    assert isinstance(told, str)
    assert told.startswith("scantrail simulate: the simulated site has readers of its own")


def test_a_database_that_refuses_is_told_in_a_sentence(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "postgresql://scantrail@127.0.0.1:1/scantrail?nonsense=1"
    monkeypatch.setenv("SCANTRAIL_DATABASE_URL", url)
    told = run(["db", "migrate"])
    assert isinstance(told, str)
    assert told.startswith("scantrail db: PostgreSQL refuses: ")
    assert "nonsense" in told


def test_what_names_no_unit_is_not_folded_anew(settings: Settings) -> None:
    told = run(["refold", "0109506000134351"])
    assert isinstance(told, str)
    assert told.startswith("scantrail refold: ")
    assert "check digit" in told


def asked_for(folds: dict[str, bool], asked: list[str]) -> FoldedByApi:
    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        name = request.url.path.removeprefix("/products/")
        if name == "AWAY":
            raise httpx.ConnectError("refused")
        return httpx.Response(200 if name in folds else 404, json={"fold_case": folds.get(name)})

    return FoldedByApi(httpx.Client(base_url="http://api/", transport=httpx.MockTransport(answer)))


def test_small_letters_are_capitals_where_the_product_says_so() -> None:
    asked: list[str] = []
    folded = asked_for({"PUMP-7": True, "CASE-1": False}, asked)
    spelt = ["sn:PUMP-7.ab-1", "sn:PUMP-7.ac-2", "sn:CASE-1.ab-1", "sn:NEW-1.a", "sn:PUMP-7.AB-1"]
    found = [folded(identify(each)) for each in spelt]
    assert [each.key for each in found] == [
        "sn:PUMP-7.AB-1",
        "sn:PUMP-7.AC-2",
        "sn:CASE-1.ab-1",
        "sn:NEW-1.a",
        "sn:PUMP-7.AB-1",
    ]
    assert found[0].serial == "AB-1"
    assert not any(each.notes for each in found)
    assert asked == ["/products/PUMP-7", "/products/CASE-1", "/products/NEW-1"]


def test_where_no_api_tells_a_products_case_a_note_says_so() -> None:
    asked: list[str] = []
    folded = asked_for({}, asked)
    for spelt in ("sn:AWAY.ab-1", "sn:PUMP-7.ab-1"):
        found = folded(identify(spelt))
        assert (found.key, found.notes) == (spelt, (CASE_UNKNOWN,))
    assert folded(identify("imei:49015420323751")).notes == ()
    assert asked == ["/products/AWAY"]


def test_without_an_installation_identify_tells_the_case_as_it_is_spelt(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCANTRAIL_API_PORT", str(settings.api_port))
    assert run(["identify", "sn:PUMP-7.ab-1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["key"], told["notes"]) == ("sn:PUMP-7.ab-1", ["case_unknown"])


@pytest.mark.parametrize("command", ["rebuild_database", "apply_topics"])
def test_where_kafka_refuses_it_is_told_in_a_sentence(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    async def refused(*_: object) -> None:
        raise KafkaTimeoutError("no answer")

    monkeypatch.setattr(commands, command, refused)
    asked = {"rebuild_database": ["db", "rebuild"], "apply_topics": ["topics", "apply"]}[command]
    assert run(asked) == f"scantrail {asked[0]}: Kafka refuses: KafkaTimeoutError: no answer"
