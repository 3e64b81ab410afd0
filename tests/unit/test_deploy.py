"""The compose file, the image, Prometheus and the locks, against the settings and each other.

None of it is run here: no container engine is needed, and what is compared is what drifts.
"""

import copy
import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft201909Validator
from packaging.requirements import Requirement

from scantrail.cli.commands import run
from scantrail.cli.precedence import NICENESS
from scantrail.cli.rotating import exchange
from scantrail.gateway.readers_file import load_readers
from scantrail.infra.embedded_kafka import JARS_LOCK
from scantrail.infra.keyring import Keyring
from scantrail.infra.settings import ENV_PREFIX, Settings, load_settings

TOP = Path(__file__).parents[2]
DEPLOY = TOP / "deploy"
LOCKS = sorted((DEPLOY / "locks").glob("*.txt"))

#: A process is a folder with a `__main__.py` that has a health port of its own.
PROCESSES = sorted(
    f.name.removesuffix("_health_port") for f in fields(Settings) if f.name.endswith("_health_port")
)
MONITORING = {"prometheus", "alertmanager", "grafana"}
OTHERS = {"kafka", "postgres", "setup"} | MONITORING

COMPOSE: dict[str, Any] = yaml.safe_load((TOP / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()


def health_port(process: str) -> int:
    port: int = getattr(Settings(), f"{process}_health_port")
    return port


def published(service: str) -> list[tuple[str, int, int]]:
    """(address, port on the host, port in the container) of each published port."""
    ports = [port.split(":") for port in SERVICES[service].get("ports", [])]
    return [(address, int(outside), int(inside)) for address, outside, inside in ports]


# ------------------------------------------------------------------------------ the compose file

SPECIFICATION = json.loads((TOP / "tests/data/compose/compose_spec.json").read_text())


def faults(compose: dict[str, Any]) -> list[str]:
    """What the Compose Specification has against it: `docker compose` asks for an engine."""
    return [
        f"{error.json_path}: {error.message}"
        for error in Draft201909Validator(SPECIFICATION).iter_errors(compose)
    ]


def test_the_file_is_as_the_compose_specification_says() -> None:
    assert faults(COMPOSE) == []


@pytest.mark.parametrize(
    ("service", "key", "value"),
    [
        ("gateway", "depnds_on", ["kafka"]),
        ("gateway", "depends_on", {"kafka": {"condition": "service_helthy"}}),
        ("kafka", "healthcheck", {"test": ["CMD"], "interval": 5}),
        ("postgres", "read_only", "perhaps"),
    ],
)
def test_the_specification_sees_what_is_wrong(service: str, key: str, value: object) -> None:
    wrong = copy.deepcopy(COMPOSE)
    wrong["services"][service][key] = value
    assert faults(wrong) != []


def test_one_service_per_process() -> None:
    package = TOP / "services" / "scantrail"
    folders = {path.parent.name for path in package.glob("*/__main__.py")} - {"cli"}
    assert set(PROCESSES) == folders
    assert set(SERVICES) == folders | OTHERS
    for process in PROCESSES:
        assert SERVICES[process]["command"] == ["python", "-m", f"scantrail.{process}"]


@pytest.mark.parametrize("service", [*PROCESSES, "setup"])
def test_every_variable_is_a_setting_and_its_value_can_be_used(service: str) -> None:
    environ = SERVICES[service]["environment"]
    settings = load_settings({name: str(value) for name, value in environ.items()})
    assert settings.listen_host == "0.0.0.0", "the host could not reach it"
    assert settings.kafka_bootstrap == "kafka:19092"
    assert settings.data_dir == "/var/lib/scantrail"
    told = {name for name in environ if not name.startswith(ENV_PREFIX)}
    assert told <= {"PGPASSWORD"}


def test_every_address_is_that_of_a_service_that_listens_there() -> None:
    api = load_settings(dict(SERVICES["api"]["environment"]))
    assert api.gateway_url == f"http://gateway:{Settings().gateway_port}"
    kafka = SERVICES["kafka"]["environment"]
    assert "INTERNAL://kafka:19092" in kafka["KAFKA_ADVERTISED_LISTENERS"].split(",")
    assert "INTERNAL://:19092" in kafka["KAFKA_LISTENERS"].split(",")
    postgres = SERVICES["postgres"]["environment"]
    assert api.database_url == (
        f"postgresql://{postgres['POSTGRES_USER']}@postgres:5432/{postgres['POSTGRES_DB']}"
    )


def test_only_who_needs_the_database_has_its_password() -> None:
    asked = re.compile(r"\$\{POSTGRES_PASSWORD:\?[^}]*set POSTGRES_PASSWORD[^}]*\}")
    told = {
        service: value
        for service, body in SERVICES.items()
        for name, value in body.get("environment", {}).items()
        if "PASSWORD" in name
    }
    assert set(told) == {"postgres", "setup", "projector", "api"}
    assert all(asked.fullmatch(value) for value in told.values())
    with_database = {
        service
        for service, body in SERVICES.items()
        if "SCANTRAIL_DATABASE_URL" in body.get("environment", {})
    }
    assert with_database == {"setup", "projector", "api"}


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_is_probed_and_published_at_its_own_port(process: str) -> None:
    port = health_port(process)
    probe = SERVICES[process]["healthcheck"]["test"]
    assert probe[:3] == ["CMD", "python", "-c"]
    assert f"http://127.0.0.1:{port}/readyz" in probe[3]
    compile(probe[3], "probe", "exec")
    assert port in {inside for _, _, inside in published(process)}
    if process in ("api", "gateway"):
        assert getattr(Settings(), f"{process}_port") in {i for _, _, i in published(process)}


def test_every_port_is_published_on_loopback_and_once() -> None:
    ports = [port for service in SERVICES for port in published(service)]
    assert {address for address, _, _ in ports} == {"127.0.0.1"}
    outside = [port for _, port, _ in ports]
    assert len(set(outside)) == len(outside)


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_starts_after_topics_and_tables_and_has_time_to_stop(process: str) -> None:
    body = SERVICES[process]
    after = {name: told["condition"] for name, told in body["depends_on"].items()}
    assert after["setup"] == "service_completed_successfully"
    assert after["kafka"] == "service_healthy"
    if "PGPASSWORD" in body["environment"]:
        assert after["postgres"] == "service_healthy"
    assert body["stop_grace_period"] == "30s"


def test_setup_makes_topics_and_tables_once() -> None:
    setup = SERVICES["setup"]
    assert setup["command"][-1] == "scantrail topics apply && scantrail db migrate"
    assert setup["restart"] == "no"
    assert {told["condition"] for told in setup["depends_on"].values()} == {"service_healthy"}
    for needed in setup["depends_on"]:
        assert SERVICES[needed]["healthcheck"]["test"]


def test_what_must_last_is_on_a_named_volume() -> None:
    mounted = {
        service: [volume.split(":") for volume in body.get("volumes", [])]
        for service, body in SERVICES.items()
    }
    named = {source: target for told in mounted.values() for source, target, *_ in told}
    assert set(COMPOSE["volumes"]) == {name for name in named if not name.startswith(".")}
    for service in ("gateway", "tracker"):
        assert named[f"{service}-data"] == SERVICES[service]["environment"]["SCANTRAIL_DATA_DIR"]
    for source in named:
        assert not source.startswith(".") or (TOP / source).is_file()


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_an_image_is_pinned(service: str) -> None:
    image, _, tag = SERVICES[service]["image"].rpartition(":")
    assert image
    assert re.fullmatch(r"v?\d+(\.\d+)+", tag)
    if "build" in SERVICES[service]:
        project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
        assert (image, tag) == ("scantrail", project["version"])


def test_the_readers_file_can_be_read_and_its_listening_ports_are_published() -> None:
    mounted = SERVICES["gateway"]["environment"]["SCANTRAIL_READERS_FILE"]
    assert f"./deploy/readers.toml:{mounted}:ro" in SERVICES["gateway"]["volumes"]
    listening = {r.address for r in load_readers(DEPLOY / "readers.toml") if r.mode == "listen"}
    assert listening <= {("0.0.0.0", inside) for _, _, inside in published("gateway")}
    assert listening


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_a_container_may_nothing_that_it_does_not_need(service: str) -> None:
    body = SERVICES[service]
    assert body["cap_drop"] == ["ALL"]
    assert body["security_opt"] == ["no-new-privileges:true"]
    assert not body.get("privileged")
    assert body.get("user") != "root"
    assert body.get("read_only", False) is (service != "kafka")  # whose scripts write to /opt/kafka
    if service == "postgres":  # its image begins as root unless it is told not to
        assert body["user"] == "postgres"


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_a_service_is_seen_to_live_comes_again_and_its_log_does_not_fill_the_disk(
    service: str,
) -> None:
    body = SERVICES[service]
    assert {"max-size", "max-file"} <= set(body["logging"]["options"])
    if service != "setup":
        assert body["restart"] == "unless-stopped"
        assert body["healthcheck"]["test"][0] == "CMD"
        assert body["healthcheck"]["retries"] >= 1


def test_kafka_is_its_own_controller_and_makes_no_topic_by_itself() -> None:
    """KRaft; one broker has one copy of all, its own topics too."""
    kafka = SERVICES["kafka"]["environment"]
    assert set(kafka["KAFKA_PROCESS_ROLES"].split(",")) == {"broker", "controller"}
    assert not any("ZOOKEEPER" in name for name in kafka)
    assert kafka["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    copies = {int(v) for name, v in kafka.items() if name.endswith(("_FACTOR", "_MIN_ISR"))}
    assert copies == {1}


def test_kafka_is_of_the_version_on_which_the_tests_run() -> None:
    """On Kubernetes Strimzi says which: the page says which one to ask it for."""
    found = re.search(r"org\.apache\.kafka:kafka_2\.13:(\S+)", JARS_LOCK.read_text())
    assert found is not None
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{found[1]}"
    page = (DEPLOY / "kubernetes" / "README.md").read_text()
    assert set(re.findall(r"Kafka (\d+\.\d+\.\d+)", page)) == {found[1]}


# ------------------------------------------------------------------------------------ Prometheus


def test_prometheus_has_one_job_per_process_at_its_port() -> None:
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    jobs = {
        job["job_name"]: [target for each in job["static_configs"] for target in each["targets"]]
        for job in scraped["scrape_configs"]
    }
    assert jobs == {process: [f"{process}:{health_port(process)}"] for process in PROCESSES}


def test_what_watches_is_started_by_its_profile_alone_and_finds_each_other() -> None:
    profiles = {name: body.get("profiles") for name, body in SERVICES.items()}
    assert {name for name, told in profiles.items() if told} == MONITORING
    assert {tuple(profiles[name]) for name in MONITORING} == {("monitoring",)}
    ports = {name: {inside for _, _, inside in published(name)} for name in MONITORING}
    assert ports == {"prometheus": {9090}, "alertmanager": {9093}, "grafana": {3000}}
    prometheus = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    [told] = prometheus["alerting"]["alertmanagers"]
    assert told["static_configs"] == [{"targets": ["alertmanager:9093"]}]
    [source] = yaml.safe_load((DEPLOY / "grafana" / "datasource.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"


def test_what_watches_is_given_its_files_where_it_looks_for_them() -> None:
    volumes = {
        volume for name in MONITORING for volume in SERVICES[name]["volumes"] if volume[0] == "."
    }
    given = dict(volume.removesuffix(":ro").split(":") for volume in volumes)
    assert all(volume.endswith(":ro") for volume in volumes)
    delivered = {
        f"./{path.relative_to(TOP)}"
        for folder in ("prometheus", "alertmanager", "grafana")
        for path in (DEPLOY / folder).iterdir()
        if not path.stem.endswith("_test")
    }
    assert set(given) == delivered
    prometheus = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    assert prometheus["rule_files"] == ["rules.yml"], "beside it"
    assert given["./deploy/prometheus/rules.yml"] == "/etc/prometheus/rules.yml"
    [source] = yaml.safe_load((DEPLOY / "grafana" / "dashboards.yml").read_text())["providers"]
    dashboard = given["./deploy/grafana/scantrail.json"]
    assert Path(dashboard).parent == Path(source["options"]["path"])
    grafana = SERVICES["grafana"]["environment"]
    assert grafana["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == dashboard


def test_nobody_may_change_what_grafana_shows() -> None:
    grafana = SERVICES["grafana"]["environment"]
    assert grafana["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert grafana["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert grafana["GF_AUTH_BASIC_ENABLED"] == "false", "its first password is known to all"


# ------------------------------------------------------------------------------------- the image


def test_the_image_holds_what_the_lock_holds_and_no_more() -> None:
    lines = re.sub(r"\\\n\s*", "", DOCKERFILE).splitlines()
    installs = [line for line in lines if re.search(r"pip (install|wheel)", line)]
    for line in installs:
        for command in re.findall(r"\S*pip (?:install|wheel)[^&]*", line):
            assert "--no-deps" in command
            assert "--require-hashes" in command or "--no-index" in command
    assert any("--require-hashes -r deploy/locks/runtime.txt" in line for line in installs)
    assert any("--no-build-isolation --no-index" in line for line in installs)


def test_the_image_is_built_with_locked_tools() -> None:
    [names] = re.findall(r"/\^\(([a-z|-]+)\)==/", DOCKERFILE)
    tools = set(names.split("|"))
    needed = {"hatchling"} | {
        requirement.name
        for requirement in map(Requirement, requires("hatchling") or [])
        if requirement.marker is None or requirement.marker.evaluate()
    }
    assert tools == needed
    lock = (DEPLOY / "locks" / "development.txt").read_text()
    assert all(re.search(rf"^{tool}==", lock, re.MULTILINE) for tool in tools)


def test_the_image_runs_as_nobody_special() -> None:
    last_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (\S+)$", last_stage, re.MULTILINE) == ["scantrail"]
    assert "useradd --system --uid 10001" in last_stage
    assert "install -d -o scantrail -g scantrail /var/lib/scantrail" in last_stage
    for process in PROCESSES:
        assert SERVICES[process]["cap_drop"] == ["ALL"]
        assert SERVICES[process]["read_only"] is True


def test_the_image_is_pinned_and_is_given_all_that_it_copies() -> None:
    assert re.search(r"^ARG PYTHON=python:3\.11\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"${PYTHON}"}
    allowed = (TOP / ".dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert f"!{source}" in allowed
            assert (TOP / source).exists()


def test_the_image_sets_only_known_settings() -> None:
    environ = dict(re.findall(r"(SCANTRAIL_\w+)=(\S+)", DOCKERFILE))
    assert load_settings(environ).listen_host == "0.0.0.0"


# ------------------------------------------------------------------------------------- the locks


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_pins_every_package_by_hash_and_names_no_address(lock: Path) -> None:
    entries = re.sub(r"\\\n\s*", "", lock.read_text()).splitlines()
    for entry in entries:
        assert re.fullmatch(
            r"[a-z0-9._-]+==[A-Za-z0-9.!+]+( ; [^\\]+?)?( --hash=sha256:[0-9a-f]{64})+", entry
        ), f"{lock.name}: {entry[:80]}"
    assert "://" not in lock.read_text()


def test_the_locks_agree_and_hold_every_dependency() -> None:
    pinned = {
        lock.stem: dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", lock.read_text(), re.MULTILINE))
        for lock in LOCKS
    }
    assert set(pinned) == {"audit", "bench", "development", "runtime"}
    assert pinned["runtime"].items() <= pinned["development"].items()
    assert pinned["runtime"].items() <= pinned["bench"].items()
    for name, version in pinned["bench"].items():  # it is installed beside development.txt
        assert pinned["development"].get(name, version) == version, name
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = {
        "runtime": project["dependencies"],
        "development": project["dependencies"] + extras["embedded"] + extras["dev"],
        "bench": project["dependencies"] + extras["bench"],
        "audit": extras["audit"],
    }
    for name, requirements in wanted.items():
        for requirement in map(Requirement, requirements):
            version = pinned[name].get(requirement.name.lower())
            assert version is not None, f"{name}.txt lacks {requirement.name}"
            assert requirement.specifier.contains(version, prereleases=True), requirement.name


# ------------------------------------------------------------------- the compose file, secured

SECURED: dict[str, Any] = yaml.safe_load((TOP / "docker-compose.secure.yml").read_text())


@pytest.fixture(scope="module")
def made_secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the service `secrets` makes, in a folder of the test's own."""
    folder = tmp_path_factory.mktemp("secrets")
    told = SECURED["services"]["secrets"]["command"]
    assert told[:4] == ["scantrail", "secrets", "make", "/secrets"]
    readers = str(DEPLOY / "readers.toml")
    more = [arg.replace("/etc/scantrail/readers.toml", readers) for arg in told[4:]]
    assert run(["secrets", "make", str(folder), *(a for a in more if "--owner" not in a)]) == 0
    return folder


def secured_settings(service: str, folder: Path) -> Settings:
    both = SERVICES[service]["environment"] | SECURED["services"][service]["environment"]
    told = {name: str(value).replace("/secrets/", f"{folder}/") for name, value in both.items()}
    return load_settings(told)


@pytest.mark.parametrize("service", [*PROCESSES, "setup"])
def test_each_container_is_told_what_up_secure_tells(service: str, made_secrets: Path) -> None:
    name = "admin" if service == "setup" else service
    told = secured_settings(service, made_secrets)
    shared = secured_settings("setup", made_secrets)
    wanted = Keyring(made_secrets).settings_of(name, shared)
    same = [f.name for f in fields(Settings) if re.match(r"kafka_|tls_|database_|service_", f.name)]
    differing = [f for f in same if getattr(told, f) != getattr(wanted, f)]
    assert differing == []
    assert (told.reader_tokens, told.api_tokens) == ("required", "required")
    assert told.gateway_url == f"https://gateway:{Settings().gateway_port}"


@pytest.mark.parametrize("process", PROCESSES)
def test_each_container_has_its_own_secrets_and_no_other(process: str) -> None:
    body = SECURED["services"][process]
    assert {volume for volume in body["volumes"] if "secrets" in volume} == {
        f"secrets-{process}:/secrets/{process}:ro",
        "secrets-trusted:/secrets/trusted:ro",
    }
    assert not any(
        re.search("PASSWORD$|TOKEN$", name) for name in set(body["environment"]) - {"PGPASSWORD"}
    )


def test_all_secrets_are_given_to_who_makes_and_applies_them_alone(made_secrets: Path) -> None:
    folders = {path.name for path in made_secrets.iterdir() if path.is_dir()}
    in_volumes = set(SECURED["volumes"])
    assert in_volumes == {"secrets"} | {
        f"secrets-{name}" for name in folders - {"admin", "readers"}
    }
    has_all = {
        service
        for service, body in SECURED["services"].items()
        if "secrets:/secrets" in body.get("volumes", [])
    }
    assert has_all == {"secrets", "setup"}
    assert SECURED["services"]["secrets"]["network_mode"] == "none"


def test_the_broker_in_a_container_is_told_as_the_embedded_one(made_secrets: Path) -> None:
    told = (made_secrets / "kafka" / "security.properties").read_text()
    open_lines = (DEPLOY / "kafka.properties").read_text()
    listeners = re.findall(r"(\w+)://:", open_lines)
    assert listeners == ["INTERNAL", "HOST", "CONTROLLER"]
    broker = Keyring(made_secrets).broker
    assert told == broker.properties(*listeners)
    assert "StandardAuthorizer" in told
    assert "allow.everyone.if.no.acl.found=false" in told.splitlines()
    assert set(re.findall(r":(\w+)", told.splitlines()[0])) == {"SASL_SSL"}
    base = SERVICES["kafka"]["environment"]
    for line in open_lines.splitlines():
        if not line.startswith("#"):
            name, _, value = line.partition("=")
            variable = "KAFKA_" + name.upper().replace(".", "_")
            assert str(base[variable]).lower() == value.lower() or variable == "KAFKA_LOG_DIRS"


ROTATES = """
import sys
from pathlib import Path
from scantrail.cli.rotating import exchange
from scantrail.infra.keyring import Keyring, keep, new_password
from scantrail.infra.rights import PRINCIPALS, ROLES

keyring = Keyring(Path(sys.argv[1]))
for name in PRINCIPALS:
    exchange(keyring.kafka_password(name), len)
for name in ROLES:
    exchange(keyring.database_password(name), len)
for name in ("gateway", "api"):
    keep(keyring.service_token(name), new_password())
keyring.begin_authority()
keyring.sign_with_new_authority()
for name in keyring.certified():
    keyring.issue(name)
keyring.end_authority()
keyring.tell_broker_anew()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to drop")
def test_the_container_that_exchanges_secrets_may_write_what_belongs_to_others(
    tmp_path: Path,
) -> None:
    folder, setup = tmp_path / "secrets", SECURED["services"]["setup"]
    told = SECURED["services"]["secrets"]["command"][4:]
    assert run(["secrets", "make", str(folder), *(a for a in told if "--readers" not in a)]) == 0
    assert setup["user"] == "0:0"
    assert SERVICES["setup"]["cap_drop"] == ["ALL"]
    has = ",".join(f"+{each.lower()}" for each in setup["cap_add"])
    done = subprocess.run(
        ["setpriv", f"--bounding-set=-all,{has}", sys.executable, "-c", ROTATES, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    owners = {
        path: (path.parent.stat().st_uid, path.stat().st_uid)
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert {uid for _, uid in owners.values()} == {0, 999, 1000, 10001}
    assert [path for path, (folder_s, own) in owners.items() if folder_s != own] == []


def test_a_password_that_cannot_be_written_is_told_to_nobody(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("first")
    path.with_name("password.next.new").mkdir()  # as a disk that refuses
    told: list[str] = []
    with pytest.raises(OSError, match=r"password\.next"):
        exchange(path, told.append)
    assert (path.read_text(), told) == ("first", [])


def test_goods_go_first_then_people_then_history() -> None:
    """As Precedence has it: a step of niceness is a quarter of the weight."""
    shares = {name: body.get("cpu_shares", 1024) for name, body in SERVICES.items()}
    assert {name for name, share in shares.items() if share < 1024} == {
        name.lower().replace("postgresql", "postgres") for name in NICENESS
    }
    for name, niceness in NICENESS.items():
        share = shares[name.lower().replace("postgresql", "postgres")]
        assert share == pytest.approx(1024 / 1.25**niceness, rel=0.05)


def test_postgresql_is_tuned_where_it_is_secured_too() -> None:
    told, secured = SERVICES["postgres"]["command"], SECURED["services"]["postgres"]["command"]
    assert secured[: len(told)] == told


def test_kafka_s_words_go_to_the_container_s_log_alone() -> None:
    environment, volumes = SERVICES["kafka"]["environment"], SERVICES["kafka"]["volumes"]
    path = "/etc/scantrail/kafka-log4j2.properties"
    assert environment["KAFKA_LOG4J_OPTS"] == f"-Dlog4j2.configurationFile={path}"
    assert f"./deploy/kafka-log4j2.properties:{path}:ro" in volumes
    told = (DEPLOY / "kafka-log4j2.properties").read_text()
    assert set(re.findall(r"^appender\.\w+\.type = (\w+)$", told, re.MULTILINE)) == {"Console"}
    assert environment["KAFKA_GC_LOG_OPTS"].isspace(), "its script has a file of its own else"


def test_the_readers_in_a_container_have_tokens(made_secrets: Path) -> None:
    readers = load_readers(made_secrets / "gateway" / "readers.toml")
    assert len(readers) == len(load_readers(DEPLOY / "readers.toml"))
    for reader in readers:
        assert bool(reader.token_sha256) == reader.protocol.startswith("http-")


def test_no_secret_is_in_the_image_or_in_the_compose_files(made_secrets: Path) -> None:
    for path in (TOP / "docker-compose.yml", TOP / "docker-compose.secure.yml"):
        assert not re.search(r"PRIVATE KEY|password=\w", path.read_text())
    assert not re.search(r"(?i)(password|token|secret)\w*[ =]", DOCKERFILE)
    allowed = (TOP / ".dockerignore").read_text().splitlines()
    assert "*" in allowed, "nothing gets into the image's context that is not named"
    assert not any("secret" in line or "scantrail/" in line for line in allowed)
