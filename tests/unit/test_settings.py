"""What `load_settings` takes, and each way in which it refuses."""

from dataclasses import fields
from pathlib import Path

import pytest

from scantrail.infra.settings import ENV_PREFIX, Settings, SettingsError, load_settings


def refusal(**environ: str) -> str:
    with pytest.raises(SettingsError) as refused:
        load_settings(environ)
    return str(refused.value)


def test_without_variables_the_defaults_hold() -> None:
    assert load_settings({}) == Settings()
    assert load_settings({"PATH": "/bin", "scantrail_api_port": "1"}) == Settings()


def test_a_variable_takes_the_type_of_its_setting() -> None:
    told = load_settings(
        {
            "SCANTRAIL_API_PORT": "9000",
            "SCANTRAIL_ACK_LIMIT_S": "0.5",
            "SCANTRAIL_TOPIC_PREFIX": "acme",
            "SCANTRAIL_TRACKER_STORE": "memory",
        }
    )
    assert (told.api_port, told.ack_limit_s) == (9000, 0.5)
    assert (told.topic_prefix, told.tracker_store) == ("acme", "memory")


def test_variables_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "scantrail.toml"
    file.write_text('api_port = 9000\ngateway_port = 9001\ntopic_prefix = "acme"\n')
    told = load_settings({"SCANTRAIL_CONFIG": str(file), "SCANTRAIL_API_PORT": "9999"})
    assert (told.api_port, told.gateway_port, told.topic_prefix) == (9999, 9001, "acme")


def test_without_an_argument_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCANTRAIL_TOPIC_PREFIX", "acme")
    assert load_settings().topic_prefix == "acme"


def test_settings_travel_to_another_process() -> None:
    settings = Settings(api_port=9000, site_travel_s=2.5, tracker_store="memory")
    assert load_settings(settings.environ()) == settings


def test_an_unknown_name_is_refused() -> None:
    told = refusal(SCANTRAIL_API_PROT="8600")
    assert told == (
        "unknown setting SCANTRAIL_API_PROT: did you mean SCANTRAIL_API_PORT?"
        " docs/settings.md lists all"
    )


def test_an_unknown_name_in_the_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "scantrail.toml"
    file.write_text("api_prot = 8600\n")
    told = refusal(SCANTRAIL_CONFIG=str(file))
    assert told == (
        "unknown setting SCANTRAIL_API_PROT: did you mean SCANTRAIL_API_PORT?"
        " docs/settings.md lists all"
    )


@pytest.mark.parametrize(
    ("variable", "value", "kind"),
    [
        ("SCANTRAIL_PARTITIONS", "four", "whole number"),
        ("SCANTRAIL_PARTITIONS", "4.5", "whole number"),
        ("SCANTRAIL_API_PORT", "", "whole number"),
        ("SCANTRAIL_ACK_LIMIT_S", "1,5", "number"),
    ],
)
def test_a_value_of_another_type_is_refused(variable: str, value: str, kind: str) -> None:
    assert refusal(**{variable: value}) == f"{variable}={value!r}: give a {kind}"


def test_a_table_in_the_file_is_no_number(tmp_path: Path) -> None:
    file = tmp_path / "scantrail.toml"
    file.write_text("[api_port]\nnumber = 8600\n")
    assert refusal(SCANTRAIL_CONFIG=str(file)) == (
        "SCANTRAIL_API_PORT={'number': 8600}: give a whole number"
    )


def test_a_fraction_in_the_file_is_no_whole_number(tmp_path: Path) -> None:
    file = tmp_path / "scantrail.toml"
    file.write_text("partitions = 4.5\n")
    assert refusal(SCANTRAIL_CONFIG=str(file)) == ("SCANTRAIL_PARTITIONS=4.5: give a whole number")


@pytest.mark.parametrize(
    ("variable", "value", "least"),
    [
        ("SCANTRAIL_PARTITIONS", "0", "1"),
        ("SCANTRAIL_ACK_LIMIT_S", "-1", "0.01"),
        ("SCANTRAIL_SITE_TRAVEL_S", "nan", "0"),
        ("SCANTRAIL_SITE_TRAVEL_S", "inf", "0"),
        ("SCANTRAIL_TRACKER_ORDINAL", "-1", "0"),
    ],
)
def test_a_number_out_of_range_is_refused(variable: str, value: str, least: str) -> None:
    told = refusal(**{variable: value})
    assert told == f"{variable}={value!r}: give a number from {least} up"


@pytest.mark.parametrize(
    ("variable", "choices"),
    [
        ("SCANTRAIL_TRACKER_STORE", "rocksdb, memory"),
        ("SCANTRAIL_LOG_LEVEL", "debug, info, warning, error"),
    ],
)
def test_a_value_outside_its_choices_is_refused(variable: str, choices: str) -> None:
    assert refusal(**{variable: "loud"}) == f"{variable}='loud': give one of {choices}"


@pytest.mark.parametrize("name", [f.name for f in fields(Settings) if f.name.endswith("_port")])
@pytest.mark.parametrize("value", ["0", "-1", "65536"])
def test_what_is_no_port_is_refused(name: str, value: str) -> None:
    variable = ENV_PREFIX + name.upper()
    assert refusal(**{variable: value}) == f"{variable}={value!r}: give a port from 1 to 65535"


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "absent.toml"
    told = refusal(SCANTRAIL_CONFIG=str(file))
    assert told.startswith(f"SCANTRAIL_CONFIG={file}: cannot be read: ")
    assert "No such file" in told


def test_a_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "scantrail.toml"
    file.write_text("api_port: 8600\n")
    told = refusal(SCANTRAIL_CONFIG=str(file))
    assert told.startswith(f"SCANTRAIL_CONFIG={file}: cannot be read: ")
    assert "line 1" in told


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "scantrail.toml"
    file.write_bytes(b'log_level = "\xff"')
    assert refusal(SCANTRAIL_CONFIG=str(file)).startswith(f"SCANTRAIL_CONFIG={file}: cannot be")


def test_a_list_in_the_file_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "scantrail.toml"
    file.write_text('kafka_bootstrap = ["a:9092", "b:9092"]\n')
    told = refusal(SCANTRAIL_CONFIG=str(file))
    assert told == "SCANTRAIL_KAFKA_BOOTSTRAP=['a:9092', 'b:9092']: give a text"


@pytest.mark.parametrize("brokers", ["", "localhost", "localhost:", ":9092", "a:1,b", "a:70000"])
def test_what_names_no_broker_is_refused(brokers: str) -> None:
    told = refusal(SCANTRAIL_KAFKA_BOOTSTRAP=brokers)
    assert told.startswith(f"SCANTRAIL_KAFKA_BOOTSTRAP={brokers!r}: give host:port")


def test_secrets_are_hidden_where_settings_are_shown() -> None:
    settings = Settings(database_url="postgresql://scantrail:hidden@db:5432/scantrail")
    shown = {variable: value for variable, value, _ in settings.describe()}
    assert shown["SCANTRAIL_DATABASE_URL"] == "***"
    assert shown["SCANTRAIL_API_PORT"] == "8600"
    assert "hidden" not in str(shown)


def test_one_setting_is_told_by_any_of_its_names() -> None:
    settings = Settings(api_port=9000)
    assert settings.value("api_port") == settings.value("SCANTRAIL_API_PORT") == "9000"
    with pytest.raises(SettingsError, match="unknown setting SCANTRAIL_API: "):
        settings.value("api")


# ----------------------------------------------------------------------------- secrets and files


def test_a_secret_is_read_from_its_file_whenever_it_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    settings = load_settings({"SCANTRAIL_API_TOKEN_FILE": str(file)})
    assert settings.secret("api_token") == "first"
    file.write_text("second\n")
    assert settings.secret("api_token") == "second"
    assert Settings(api_token="told").secret("api_token") == "told"


def test_a_secret_goes_to_another_process_by_its_file_alone(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("hidden")
    settings = load_settings({"SCANTRAIL_API_TOKEN_FILE": str(file)})
    assert "hidden" not in str(settings.environ())
    assert "hidden" not in str(settings.describe())
    assert load_settings(settings.environ()).secret("api_token") == "hidden"


@pytest.mark.parametrize("name", [f.name for f in fields(Settings) if f.metadata["secret"]])
def test_every_secret_may_stand_in_a_file(name: str, tmp_path: Path) -> None:
    variable = ENV_PREFIX + name.upper()
    file = tmp_path / "secret"
    assert refusal(**{f"{variable}_FILE": str(file)}).startswith(
        f"{variable}_FILE={file}: cannot be read: "
    )
    file.write_text(" \n")
    assert refusal(**{f"{variable}_FILE": str(file)}) == (
        f"{variable}_FILE={file}: is empty: write the secret into it"
    )
    file.write_text("x")
    assert refusal(**{f"{variable}_FILE": str(file), variable: "y"}) == (
        f"{variable} and {variable}_FILE are both set: take one out"
    )
    assert load_settings({f"{variable}_FILE": str(file)}).secret(name) == "x"


def test_a_password_for_kafka_needs_a_name_and_a_password() -> None:
    scram = {"SCANTRAIL_KAFKA_SECURITY": "scram"}
    assert refusal(**scram) == "SCANTRAIL_KAFKA_SECURITY=scram: set SCANTRAIL_KAFKA_USER too"
    assert refusal(**scram, SCANTRAIL_KAFKA_USER="gateway") == (
        "SCANTRAIL_KAFKA_SECURITY=scram: set SCANTRAIL_KAFKA_PASSWORD too"
    )
    assert refusal(SCANTRAIL_KAFKA_SECURITY="tls") == (
        "SCANTRAIL_KAFKA_SECURITY=tls: set SCANTRAIL_KAFKA_CERTIFICATE too, or give scram"
    )


def test_certificates_of_readers_are_asked_for_over_tls_alone(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.touch()
    assert refusal(SCANTRAIL_TLS_CLIENT_CA=str(file)).startswith(
        f"SCANTRAIL_TLS_CLIENT_CA={file}: set SCANTRAIL_TLS_CERTIFICATE too"
    )


@pytest.mark.parametrize("name", ["KAFKA_CA", "KAFKA_CERTIFICATE", "TLS_CERTIFICATE", "TLS_CA"])
def test_a_file_of_certificates_that_is_not_there_is_refused(name: str, tmp_path: Path) -> None:
    variable, file = ENV_PREFIX + name, tmp_path / "absent.pem"
    assert refusal(**{variable: str(file)}) == (
        f"{variable}={file}: cannot be read: give a PEM file that this process's user may read"
    )
