"""The folder of secrets: what is made, what stays, what an exchange leaves behind."""

import os
from pathlib import Path

import pytest
from cryptography import x509

from scantrail.cli.commands import run
from scantrail.cli.secured import Secured
from scantrail.infra.keyring import FOLDERS, Keyring
from scantrail.infra.rights import BROKERS, PRINCIPALS, ROLES
from scantrail.infra.settings import Settings

HOSTS = ("kafka", "192.0.2.7")


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    keyring = Keyring(tmp_path / "secrets", HOSTS)
    keyring.make()
    return keyring


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def signers(keyring: Keyring, name: str) -> tuple[x509.Name, list[x509.Name]]:
    """Who signed a certificate, and who is trusted."""
    pem = keyring.certificate(name).read_bytes()
    trusted = x509.load_pem_x509_certificates(keyring.authorities.read_bytes())
    return x509.load_pem_x509_certificate(pem).issuer, [each.subject for each in trusted]


def test_what_is_there_stays_as_it_is(keyring: Keyring) -> None:
    before = contents(keyring.folder)
    keyring.make()
    assert contents(keyring.folder) == before
    keyring.kafka_password("tracker").unlink()
    keyring.make()
    after = contents(keyring.folder)
    assert {name for name in before if before[name] != after[name]} == {"tracker/kafka-password"}


def test_no_two_secrets_are_alike_but_the_service_s(keyring: Keyring) -> None:
    held = contents(keyring.folder)
    assert held["gateway/service-token"] == held["api/service-token"]
    del held["gateway/service-token"]
    assert len(set(held.values())) == len(held)


def test_certificates_are_for_the_hosts_also_when_they_are_renewed(keyring: Keyring) -> None:
    Keyring(keyring.folder).issue("kafka")
    pem = keyring.certificate("kafka").read_bytes()
    certificate = x509.load_pem_x509_certificate(pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"kafka", "localhost"} <= set(names.get_values_for_type(x509.DNSName))
    addresses = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    assert {"192.0.2.7", "127.0.0.1", "::1"} == addresses


def test_while_an_authority_takes_over_both_are_trusted(keyring: Keyring) -> None:
    old, trusted = signers(keyring, "api")
    assert trusted == [old]
    keyring.begin_authority()
    keyring.issue("api")
    signer, trusted = signers(keyring, "api")
    assert signer == old, "it signs only once it is trusted everywhere"
    assert old in trusted
    assert len(trusted) == 2
    keyring.begin_authority()
    assert signers(keyring, "api")[1] == trusted, "begun once more, it goes on with the same"
    keyring.sign_with_new_authority()
    keyring.issue("api")
    signer, trusted = signers(keyring, "api")
    assert signer != old
    assert {signer, old} == set(trusted)
    keyring.end_authority()
    assert signers(keyring, "api") == (signer, [signer])


def test_the_brokers_go_by_the_newest_of_their_passwords(keyring: Keyring) -> None:
    broker = keyring.broker
    assert broker.principal() == BROKERS[0]
    old = broker.password_file(BROKERS[0])
    new = broker.password_file(BROKERS[1])
    new.write_text("x" * 48)
    at = old.stat().st_mtime_ns + 1
    os.utime(new, ns=(at, at))
    assert broker.principal() == BROKERS[1]
    assert 'username="kafka-b" password="' + "x" * 48 in broker.properties("CLIENTS")
    old.unlink()
    assert broker.principal() == BROKERS[1]


def test_several_controllers_know_each_other_by_certificates_alone(keyring: Keyring) -> None:
    broker = keyring.broker
    one, several = (broker.properties("CLIENTS", "LEAD", quorum=each) for each in (None, "LEAD"))
    assert "listener.security.protocol.map=CLIENTS:SASL_SSL,LEAD:SASL_SSL\n" in one
    assert "CN=kafka" not in one
    assert "listener.security.protocol.map=CLIENTS:SASL_SSL,LEAD:SSL\n" in several
    assert "listener.name.lead.ssl.client.auth=required\n" in several
    assert "listener.name.lead.scram" not in several
    assert "super.users=User:kafka-a;User:kafka-b;User:CN=kafka\n" in several
    subject = x509.load_pem_x509_certificate(broker.certificate.read_bytes()).subject
    assert subject.rfc4514_string() == "CN=kafka"
    for told in (one, several):
        assert broker.properties_anew(told) == told


def test_each_process_is_told_of_its_own_files(keyring: Keyring) -> None:
    shared = Settings(
        database_url="postgresql://owner@db:5432/scantrail?sslmode=verify-full",
        database_password_file="/owner",
    )
    for name in PRINCIPALS[:-1]:
        told = keyring.settings_of(name, shared)
        named = [value for value in told.environ().values() if str(keyring.folder) in value]
        assert {Path(value).relative_to(keyring.folder).parts[0] for value in named} == {
            name,
            "trusted",
        }
        assert told.kafka_user == name
        if name in ROLES:
            assert told.database_url == (
                f"postgresql://scantrail_{name}@db:5432/scantrail?sslmode=verify-full"
            )
        else:
            assert told.database_url == Settings().database_url
        assert told.database_password_file != "/owner"


def test_readers_over_http_get_tokens_and_keep_those_they_have(tmp_path: Path) -> None:
    secured = Secured(tmp_path / "secrets")
    toml = (
        '[[reader]]\nid = "a"\nstation = "x"\nprotocol = "http-generic"\n\n'
        '[[reader]]\nid = "b"\nstation = "x"\nprotocol = "tcp"\n\n'
        '[[reader]]\nid = "c"\nstation = "x"\nprotocol = "http-impinj"\ntoken_sha256 = "kept"\n'
    )
    told = secured.readers(toml)
    assert told.count("token_sha256") == 2
    assert told == secured.readers(toml)
    assert {path.name for path in (tmp_path / "secrets" / "readers").iterdir()} == {"a"}


def test_the_command_makes_a_folder_and_says_what_it_cannot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "made"
    assert run(["secrets", "make", str(folder), "--listeners=A,CONTROLLER"]) == 0
    assert capsys.readouterr().out == f"the secrets are in {folder}\n"
    assert {path.name for path in folder.iterdir() if path.is_dir()} == set(FOLDERS)
    lines = (folder / "kafka" / "users.args").read_text().splitlines()
    assert lines[0] == "--add-scram"
    told = run(["secrets", "make", str(folder), "--owner=nobody=1:1"])
    assert str(told).startswith("scantrail secrets: --owner nobody=1:1: give NAME=USER:GROUP")
    for more in ((), ("--listeners=A,B",)):
        told = run(["secrets", "make", str(folder), "--quorum=C", *more])
        assert str(told) == "scantrail secrets: --quorum C: give one of those of --listeners"
    told = run(["secrets", "make", str(folder), "--listeners=A,C", "--quorum=C"])
    assert told == 0
    assert "A:SASL_SSL,C:SSL" in (folder / "kafka" / "security.properties").read_text()
    told = run(["secrets", "apply", str(tmp_path / "absent")])
    assert str(told).startswith(f"scantrail secrets: {tmp_path / 'absent'} has no secrets: ")
    told = run(["secrets", "make", str(folder), f"--readers={tmp_path / 'absent.toml'}"])
    assert str(told).startswith(f"scantrail secrets: {tmp_path / 'absent.toml'}: No such file")
