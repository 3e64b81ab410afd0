"""What `scantrail up` refuses before it starts anything, and how it finds room beside others."""

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from scantrail.cli.addresses import port_fields, private_settings
from scantrail.cli.checks import StackError, check_ports, check_readers
from scantrail.cli.folder_lock import FolderLock
from scantrail.cli.stack import Stack
from scantrail.cli.up import run_up
from scantrail.infra.settings import Settings, SettingsError


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return private_settings(tmp_path / "data", Settings())


def test_private_settings_have_free_and_different_ports(settings: Settings) -> None:
    ports = [getattr(settings, name) for name in port_fields()]
    assert len(set(ports)) == len(ports) == 7
    assert settings.gateway_url == f"http://127.0.0.1:{settings.gateway_port}"
    check_ports(settings)


def test_a_taken_port_is_named_with_its_setting(settings: Settings) -> None:
    with (
        socket.create_server(("127.0.0.1", settings.gateway_port)),
        pytest.raises(StackError) as refusal,
    ):
        check_ports(settings)
    assert str(refusal.value) == (
        f"port {settings.gateway_port} is taken by another program:"
        " set SCANTRAIL_GATEWAY_PORT to another"
    )


def test_one_port_for_two_is_refused(settings: Settings) -> None:
    with pytest.raises(StackError, match="SCANTRAIL_API_PORT and SCANTRAIL_GATEWAY_PORT are both"):
        check_ports(replace(settings, api_port=settings.gateway_port))


def test_an_address_of_another_machine_is_refused(settings: Settings) -> None:
    with pytest.raises(StackError, match=r"SCANTRAIL_LISTEN_HOST=192\.0\.2\.1 is no address"):
        check_ports(replace(settings, listen_host="192.0.2.1"))


def test_a_second_start_names_the_first(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    first = Stack(settings)
    first._folder_lock.take()
    try:
        assert run_up(settings, empty=True) == 1
        assert capsys.readouterr() == (
            "",
            f"scantrail up: Scantrail already runs here (process {os.getpid()});"
            f" its page is http://127.0.0.1:{settings.api_port}/\n",
        )
    finally:
        first.stop()


def test_a_start_with_a_taken_port_says_that_alone(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", settings.api_port)):
        assert run_up(settings, empty=True) == 1
    out, refusal = capsys.readouterr()
    assert out == ""
    assert refusal.startswith(f"scantrail up: port {settings.api_port} is taken")
    assert refusal.count("\n") == 1


def test_a_start_that_is_broken_off_ends_with_status_130(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(self: Stack) -> None:
        self._folder_lock.take()
        raise KeyboardInterrupt

    monkeypatch.setattr(Stack, "start", interrupted)
    assert run_up(settings, empty=True) == 130
    assert "Traceback" not in capsys.readouterr().err
    again = FolderLock(Path(settings.data_dir), "")
    again.take()
    again.release()


def test_a_data_folder_that_cannot_be_made_is_refused_in_one_sentence(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert run_up(replace(settings, data_dir=str(tmp_path / "file" / "x")), empty=True) == 1
    refusal = capsys.readouterr().err
    assert "cannot be written (Not a directory)" in refusal
    assert refusal.count("\n") == 1


def test_a_gateway_on_another_port_is_found_by_the_api(settings: Settings) -> None:
    moved = replace(Settings(), data_dir=settings.data_dir, gateway_port=9999)
    assert Stack(moved).settings.gateway_url == "http://127.0.0.1:9999"


def listening(folder: Path, address: str) -> Path:
    path = folder / "readers.toml"
    path.write_text(
        f'[[reader]]\nid = "r"\nstation = "s"\nprotocol = "tcp"\nmode = "listen"\n'
        f'address = "{address}"\n'
    )
    return path


def test_a_reader_on_a_port_of_ours_is_refused(settings: Settings, tmp_path: Path) -> None:
    path = listening(tmp_path, f"127.0.0.1:{settings.gateway_port}")
    with pytest.raises(StackError, match=f"port {settings.gateway_port} of reader r in .* is SCAN"):
        check_readers(path, settings)


def test_a_reader_that_listens_on_the_scanners_own_address_is_refused(
    settings: Settings, tmp_path: Path
) -> None:
    path = listening(tmp_path, "192.0.2.7:9004")
    with pytest.raises(StackError, match=r"the address 192\.0\.2\.7 of reader r in .* is no addr"):
        check_readers(path, settings)


def test_a_reader_on_a_taken_port_is_refused(settings: Settings, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        path = listening(tmp_path, f"127.0.0.1:{other.getsockname()[1]}")
        with pytest.raises(StackError, match="is taken by another program: give reader r in"):
            check_readers(path, settings)


def test_whatever_ends_a_start_nothing_is_left_running(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(self: Stack) -> None:
        self._folder_lock.take()
        raise OSError(28, "No space left on device", "/data/readers.toml")

    def mistaken(self: Stack) -> None:
        self._folder_lock.take()
        raise ZeroDivisionError

    monkeypatch.setattr(Stack, "start", full)
    assert run_up(settings, empty=True) == 1
    told = "scantrail up: No space left on device (/data/readers.toml)\n"
    assert capsys.readouterr().err == told
    monkeypatch.setattr(Stack, "start", mistaken)
    with pytest.raises(ZeroDivisionError):
        run_up(settings, empty=True)
    again = FolderLock(Path(settings.data_dir), "")
    again.take()
    again.release()


def test_brokers_that_are_none_are_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP", "localhost:abc")
    with pytest.raises(SettingsError, match="KAFKA_BOOTSTRAP='localhost:abc': give host:port"):
        run_up(settings, empty=True)
