"""`scantrail up --secure`: what is let in, what is refused, and where the secrets are not."""

import asyncio
import base64
import contextlib
import os
import re
import ssl
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    NoError,
    TopicAuthorizationFailedError,
    for_code,
)
from aiokafka.protocol.offset import OffsetRequest

from integration.secured import (
    GTIN,
    OTHER,
    READER,
    api,
    client_of,
    codes,
    connect,
    gateway,
    operations_of,
    secured_of,
    secured_stack,
    send,
    until_moved_once,
    while_scans_flow,
)
from scantrail.cli.commands import run
from scantrail.cli.precedence import NICENESS
from scantrail.cli.rotating import KINDS, shown_by
from scantrail.cli.stack import PROCESSES, Stack
from scantrail.contracts.topics import Topic
from scantrail.infra.certificates import expires
from scantrail.infra.credentials import kafka_access
from scantrail.infra.kafka_rights import apply_access
from scantrail.infra.rights import (
    ADMIN,
    GRANTS,
    GROUPS,
    PERSONAL,
    PRINCIPALS,
    READS,
    ROLES,
    role_of,
    writers,
)
from scantrail.infra.settings import ENV_PREFIX, Settings, SettingsError
from scantrail.infra.tables import metadata
from scantrail.infra.topic_admin import apply_topics, name_of

READ, WRITE, DESCRIBE = 3, 4, 8

#: So long lasts a certificate that ends in a test, and longer than a tracker takes to start.
ENDS_AFTER_S = 15


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, stack_cache: Path) -> Iterator[Stack]:
    with secured_stack(tmp_path_factory.mktemp("secure"), stack_cache) as running:
        yield running


def until_found(stack: Stack, found: list[str], limit_s: float = 60.0) -> None:
    """Return once the api tells of each exactly one movement."""
    deadline = time.monotonic() + limit_s
    with api(stack) as client:
        for code in found:
            while True:
                answer = client.get(f"/units/{code}")
                if answer.status_code == 200:
                    assert answer.json()["version"] == 1, answer.text
                    break
                assert time.monotonic() < deadline, f"{code}: {answer.text}"
                time.sleep(0.05)


# -------------------------------------------------------------------------------------- what works


def test_a_scan_goes_all_the_way(stack: Stack) -> None:
    sent = codes("W", 5)
    with gateway(stack) as client:
        answer = send(client, sent)
        assert answer.json() == {"accepted": 5, "rejected": []}
    until_found(stack, sent)


def test_who_can_wait_has_stepped_back(stack: Stack) -> None:
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert stack.postgres is not None
    pids = {name: stack.pid(name) for name in PROCESSES} | {"PostgreSQL": stack.postgres.pid}
    wanted = {name: min(ours + NICENESS.get(name, 0), 19) for name in pids}
    deadline = time.monotonic() + 20
    while (
        found := {name: os.getpriority(os.PRIO_PROCESS, pid or 0) for name, pid in pids.items()}
    ) != wanted:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def test_what_the_api_enters_comes_to_the_alerter_and_back(stack: Stack) -> None:
    """Outbox, compacted topics, alerts and the projector: each with its own rights."""
    (code,) = codes("R", 1)
    recall = {
        "title": "test",
        "reason": "test",
        "products": [GTIN],
        "selectors": [{"kind": "list", "serials": [code[18:]]}],
        "status": "active",
    }
    with api(stack) as client, gateway(stack, OTHER) as readers:
        client.put("/recalls/R-1", json=recall).raise_for_status()
        send(readers, [code], reader=OTHER).raise_for_status()
        deadline = time.monotonic() + 40
        while not (told := client.get("/alerts").json()["alerts"]):
            assert time.monotonic() < deadline, told
            time.sleep(0.1)
    assert {alert["kind"] for alert in told} <= {
        "recalled_at_shipping",
        "recalled_already_shipped",
        "out_of_sequence",
    }


# --------------------------------------------------------------------------------------- Kafka


@pytest.mark.parametrize("name", PRINCIPALS)
async def test_kafka_allows_each_principal_what_the_table_says_and_no_more(
    stack: Stack, name: str
) -> None:
    settings = secured_of(stack).settings_of(name)
    names = {name_of(settings, topic): topic for topic in Topic}
    told = await operations_of(settings, sorted(names))
    for full, topic in names.items():
        wanted = set()
        if topic in READS[name]:
            wanted.add(READ)
        if topic in writers()[name]:
            wanted.add(WRITE)
        assert told[full] & {READ, WRITE} == wanted, (name, topic)
        assert (DESCRIBE in told[full]) == bool(wanted), (name, topic)
    if name != ADMIN:
        assert not any(rights - {READ, WRITE, DESCRIBE} for rights in told.values())


@pytest.mark.parametrize("name", PRINCIPALS)
async def test_kafka_refuses_to_write_what_another_process_writes(stack: Stack, name: str) -> None:
    settings = secured_of(stack).settings_of(name)
    foreign = next(topic for topic in Topic if topic not in writers()[name])
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap, **kafka_access(settings)
    )
    await producer.start()
    try:
        with pytest.raises(TopicAuthorizationFailedError):
            await _send(producer, name_of(settings, foreign))
    finally:
        await producer.stop()


@pytest.mark.parametrize("name", [name for name in PRINCIPALS if name != ADMIN])
async def test_kafka_refuses_to_read_what_is_not_for_the_process(stack: Stack, name: str) -> None:
    settings = secured_of(stack).settings_of(name)
    foreign = next(topic for topic in Topic if topic not in READS[name] | writers()[name])
    assert await _refusal_to_read(settings, foreign) is TopicAuthorizationFailedError
    assert await _refusal_to_read(settings, next(iter(READS[name]))) is NoError


async def _refusal_to_read(settings: Settings, topic: Topic) -> type[Exception]:
    """What Kafka answers to who asks where a topic begins."""
    client = client_of(settings)
    try:
        await client.bootstrap()
        asked = OffsetRequest(-1, 0, [(name_of(settings, topic), [(0, -2)])])
        answer: Any = await client.send(client.get_random_node(), asked)
    finally:
        await client.close()
    [[_, [[_, code, *_]]]] = answer.topics
    refusal: type[Exception] = for_code(code)
    return refusal


@pytest.mark.parametrize("name", [name for name in PRINCIPALS if name != ADMIN])
async def test_kafka_refuses_another_process_s_group(stack: Stack, name: str) -> None:
    settings = secured_of(stack).settings_of(name)
    group = next(each for each in GROUPS if each != name)
    topic = next(iter(READS[name]))
    consumer = AIOKafkaConsumer(
        name_of(settings, topic),
        bootstrap_servers=settings.kafka_bootstrap,
        group_id=f"{settings.topic_prefix}.{group}",
        **kafka_access(settings),
    )
    with pytest.raises(GroupAuthorizationFailedError):
        await _join(consumer)
    await consumer.stop()


async def _send(producer: AIOKafkaProducer, topic: str) -> None:
    async with asyncio.timeout(20):
        await producer.send_and_wait(topic, b"forged", partition=0)


async def _join(consumer: AIOKafkaConsumer) -> None:
    async with asyncio.timeout(20):
        await consumer.start()
        while True:
            await consumer.getmany(timeout_ms=200)


async def test_no_process_may_make_topics_or_change_rights(stack: Stack) -> None:
    settings = secured_of(stack).settings_of("gateway")
    with pytest.raises(SettingsError):
        await apply_topics(replace(settings, topic_prefix=f"{settings.topic_prefix}-2"))
    for name in ("gateway", ADMIN):
        settings = secured_of(stack).settings_of(name)
        with pytest.raises(SettingsError, match=r"Kafka did not set the passwords: .*super\.users"):
            await apply_access(settings, {"gateway": "another"})


@pytest.mark.parametrize("lacking", ["tls", "certificate", "password", "authority"])
async def test_kafka_lets_nobody_in_who_lacks_one_proof(
    stack: Stack, lacking: str, tmp_path: Path
) -> None:
    settings = secured_of(stack).settings_of("gateway")
    wrong = {
        "tls": {"kafka_security": "plaintext"},
        "certificate": {"kafka_certificate": ""},
        "password": {"kafka_password_file": "", "kafka_password": "guessed"},
        "authority": {"kafka_ca": ""},
    }[lacking]
    client = client_of(replace(settings, **wrong))  # type: ignore[arg-type]
    try:
        with pytest.raises(KafkaConnectionError):
            async with asyncio.timeout(15):
                await client.bootstrap()
    finally:
        await client.close()


def test_the_controllers_listener_speaks_tls_and_asks_for_a_password(stack: Stack) -> None:
    assert stack.kafka is not None
    told = (stack.kafka.folder / "server.properties").read_text()
    (port,) = re.findall(r"CONTROLLER://127\.0\.0\.1:(\d+)", told)
    assert shown_by(("127.0.0.1", int(port))) is not None
    for line in (
        "listener.security.protocol.map=CLIENTS:SASL_SSL,CONTROLLER:SASL_SSL",
        "listener.name.controller.ssl.client.auth=required",
        "sasl.mechanism.controller.protocol=SCRAM-SHA-512",
        "allow.everyone.if.no.acl.found=false",
    ):
        assert line in told.splitlines()


# ----------------------------------------------------------------------------------- PostgreSQL


def test_postgresql_grants_each_role_what_the_table_says_and_no_more(stack: Stack) -> None:
    kinds = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
    with connect(stack.settings) as owner:
        for name in ROLES:
            whole = {each.table: set(each.privileges) for each in GRANTS[name] if not each.columns}
            for table in [*metadata.tables, "alembic_version"]:
                for kind in kinds:
                    query = "SELECT has_table_privilege(%s, %s, %s)"
                    row = owner.execute(query, [role_of(name), table, kind]).fetchone()
                    assert row == (kind in whole.get(table, ()),), (name, table, kind)
            parts = {
                (each.table, column, kind)
                for each in GRANTS[name]
                for column in each.columns
                for kind in each.privileges
            }
            found = owner.execute(
                "SELECT c.relname, a.attname, told.privilege_type FROM pg_class c"
                " JOIN pg_attribute a ON a.attrelid = c.oid, aclexplode(a.attacl) told"
                " WHERE told.grantee = %s::regrole",
                [role_of(name)],
            ).fetchall()
            assert set(found) == parts


@pytest.mark.parametrize(
    ("name", "statement"),
    [
        *(("projector", f"SELECT * FROM {table}") for table in PERSONAL),
        ("projector", "SELECT * FROM api_token"),
        ("projector", "SELECT secret FROM webhook"),
        ("projector", "DELETE FROM movement"),
        ("projector", "CREATE TABLE mine (x int)"),
        ("api", "UPDATE movement SET unit = 'x'"),
        ("api", "INSERT INTO unit (unit) VALUES ('x')"),
        ("api", "DELETE FROM audit"),
        ("api", "UPDATE register SET number = 1"),
        ("api", "ALTER TABLE audit DISABLE TRIGGER ALL"),
        ("api", "CREATE ROLE mine SUPERUSER"),
    ],
)
def test_postgresql_refuses_what_is_not_the_role_s(stack: Stack, name: str, statement: str) -> None:
    with (
        connect(secured_of(stack).settings_of(name)) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)


def test_postgresql_lets_nobody_in_in_the_clear_or_with_another_password(stack: Stack) -> None:
    settings = secured_of(stack).settings_of("api")
    with pytest.raises(psycopg.OperationalError, match=r"no pg_hba\.conf entry .*no encryption"):
        connect(settings, sslmode="disable")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(settings, password="guessed")
    with connect(settings) as connection:
        tls = "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        assert connection.execute(tls).fetchone() == (True, "TLSv1.3")
        (kept,) = connection.execute("SHOW password_encryption").fetchone() or ("",)
        assert kept == "scram-sha-256"


# ----------------------------------------------------------------------------------- over HTTP


def test_page_and_gateway_speak_tls_alone(stack: Stack) -> None:
    for port in (stack.settings.api_port, stack.settings.gateway_port):
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"http://127.0.0.1:{port}/")
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"https://127.0.0.1:{port}/", verify=ssl.create_default_context())


def test_who_shows_no_token_or_another_reader_s_is_refused(stack: Stack) -> None:
    with gateway(stack, None) as client:
        assert send(client, codes("N", 1)).status_code == 401
    with gateway(stack, OTHER) as client:
        assert send(client, codes("N", 1), reader=READER).status_code == 401
        assert send(client, codes("N", 1), reader="unheard-of").status_code == 401
        replay = client.post("/ingest/v1/replay", content=b"[]")
        assert replay.status_code == 401
    with api(stack, "") as client:
        assert client.get("/stations").status_code == 401
    with api(stack, "guessed") as client:
        assert client.get("/stations").status_code == 401


# ----------------------------------------------------------------------------------- the secrets


def secrets_in(folder: Path) -> dict[str, str]:
    """Each secret that lies in the folder, as it would stand somewhere else."""
    found = {}
    for path in folder.rglob("*"):
        if not path.is_file() or path.name in ("authorities.pem", "hosts"):
            continue
        text = path.read_text()
        if "PRIVATE KEY" in text:
            der = ssl.PEM_cert_to_DER_cert(
                text.split("-----END PRIVATE KEY-----")[0]
                .replace("-----BEGIN PRIVATE KEY-----", "-----BEGIN CERTIFICATE-----")
                .strip()
                + "\n-----END CERTIFICATE-----\n"
            )
            text = base64.b64encode(der).decode()[40:90]
        found[str(path.relative_to(folder))] = text.strip()
    return found


def test_every_secret_is_in_a_file_of_its_owner_alone(stack: Stack) -> None:
    folder = secured_of(stack).keyring.folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.rglob("*"):
        mode, is_open = stat.S_IMODE(path.stat().st_mode), "trusted" in path.parts
        assert mode == (0o755 if is_open else 0o700) if path.is_dir() else True, path
        assert mode == (0o644 if is_open else 0o600) if path.is_file() else True, path
    assert stack.kafka is not None
    properties = stack.kafka.folder / "server.properties"
    assert stat.S_IMODE(properties.stat().st_mode) == 0o600
    assert not (stack.kafka.folder / "users.args").exists()


def with_descendants(pids: Iterable[int]) -> set[int]:
    """These processes, and all that they have started: of PostgreSQL one for each connection."""
    parents = dict[int, int]()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = set(pids)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def told_of(pid: int, what: str) -> str | None:
    """What anybody with the rights of this process reads of that one; None where nothing."""
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes().decode(errors="replace")
    except OSError:
        return None


def test_no_secret_stands_in_a_log_a_command_line_an_environment_or_the_shown_settings(
    stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring = secured_of(stack).keyring
    assert stack.kafka is not None
    assert stack.postgres is not None
    secrets = secrets_in(keyring.folder)
    secrets["postgres/password"] = stack.postgres.password_file.read_text()
    assert len(secrets) >= 20
    assert all(len(secret) >= 24 for secret in secrets.values())
    own = [*(stack.pid(name) for name in PROCESSES), stack.kafka.pid, stack.postgres.pid]
    told = {
        f"{what} of {pid}": text
        for pid in with_descendants(pid for pid in own if pid is not None)
        for what in ("cmdline", "environ")
        if (text := told_of(pid, what)) is not None
    }
    # Of PostgreSQL under a user of its own a container's root may not read it.
    seen = [f"environ of {pid}" in told for pid in own]
    assert all(seen[:-1]), seen
    assert all(told.get(f"cmdline of {pid}") for pid in own), told.keys()
    places = dict[str, Path]()
    for pattern in ("logs/*", "kafka/*.log*", "postgres/*.log", "lock"):
        places |= {str(path): path for path in stack.folder.glob(pattern)}
    assert len(places) >= 5 + 2 + 1
    told |= {name: path.read_bytes().decode(errors="replace") for name, path in places.items()}
    monkeypatch.setenv(f"{ENV_PREFIX}DATA_DIR", str(stack.folder))
    assert run(["config"]) == 0
    told["scantrail config"] = capsys.readouterr().out
    assert f"{ENV_PREFIX}KAFKA_PASSWORD_FILE=" in told["scantrail config"]
    named = [
        (name, where) for where, text in told.items() for name in secrets if secrets[name] in text
    ]
    assert named == []


def test_a_process_is_given_its_own_secrets_and_no_other(stack: Stack) -> None:
    folder = secured_of(stack).keyring.folder
    for name in PROCESSES:
        environ = Path(f"/proc/{stack.pid(name)}/environ").read_text().split("\0")
        files = [value for _, _, value in (line.partition("=") for line in environ)]
        given = {
            Path(value).relative_to(folder).parts[0]
            for value in files
            if value.startswith(f"{folder}{os.sep}")
        }
        assert given == {name, "trusted"}
        told = dict(line.split("=", 1) for line in environ if "=" in line)
        has_database = told[f"{ENV_PREFIX}DATABASE_URL"] != Settings().database_url
        assert has_database == (name in ROLES)


def test_faust_s_web_server_is_off(stack: Stack) -> None:
    """The tracker listens where its health is told, and nowhere else."""
    assert listening(stack.pid("tracker")) == {stack.settings.tracker_health_port}
    assert listening(stack.pid("gateway")) == {
        stack.settings.gateway_health_port,
        stack.settings.gateway_port,
    }


def listening(pid: int | None) -> set[int]:
    """The TCP ports on which a process listens (Linux)."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        target = os.readlink(descriptor)
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == "0A" and rest[5] in inodes:
                ports.add(int(local.rpartition(":")[2], 16))
    return ports


# ------------------------------------------------------------------------------------- exchanged


@pytest.mark.long
def test_a_certificate_that_ended_keeps_its_process_out_until_there_is_another(
    stack: Stack,
) -> None:
    keyring = secured_of(stack).keyring
    keyring.issue("tracker", days=ENDS_AFTER_S / 86_400)
    while_it_holds, after_it_ended = codes("H", 20), codes("E", 20)
    with gateway(stack) as client:
        send(client, while_it_holds).raise_for_status()
        until_moved_once(stack, while_it_holds)
        ended = expires(keyring.certificate("tracker").read_bytes())
        time.sleep(max(0.0, (ended - datetime.now(UTC)).total_seconds()) + 1)
        with pytest.raises(KafkaConnectionError):
            asyncio.run(_bootstrap(secured_of(stack).settings_of("tracker")))
        stack.kill("tracker")  # it is started again, and connects with what lies there
        send(client, after_it_ended).raise_for_status()
    time.sleep(ENDS_AFTER_S)
    with connect(stack.settings) as owner:
        units = [f"sgtin:{GTIN}.{code[18:]}" for code in after_it_ended]
        query = "SELECT count(*) FROM movement WHERE unit = ANY(%s)"
        assert owner.execute(query, [units]).fetchone() == (0,), "Kafka let it in"
    keyring.issue("tracker")
    until_moved_once(stack, [*while_it_holds, *after_it_ended])


def test_passwords_and_certificates_are_exchangedwhile_scans_flow(
    stack: Stack, long_form: bool
) -> None:
    """The last here: it starts the broker again."""
    keyring = secured_of(stack).keyring
    before = secrets_in(keyring.folder)
    pids = {name: stack.pid(name) for name in PROCESSES if name != "tracker"}
    old_settings = secured_of(stack).settings_of("gateway")
    old = replace(
        old_settings, kafka_password_file="", kafka_password=old_settings.secret("kafka_password")
    )
    said: list[str] = []
    kinds = KINDS if long_form else KINDS[:1]
    sent = asyncio.run(while_scans_flow(stack, kinds, said))
    with connect(stack.settings) as owner:  # those of before are opened anew, with what holds now
        owner.autocommit = True
        owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE %s",
            [role_of("%")],
        )
    more = codes("P", 20)
    with gateway(stack) as client:
        send(client, more).raise_for_status()
    until_moved_once(stack, [*sent, *more])
    # The tracker ends where Kafka goes away in mid-batch, and is started anew: nothing was lost.
    assert {name: stack.pid(name) for name in pids} == pids, "a process was started anew"
    after = secrets_in(keyring.folder)
    kept = {name for name in before if before[name] == after.get(name)}
    is_new = {name for name in before if name not in kept}
    passwords = {name for name in before if name.endswith(("-password", "service-token"))}
    assert passwords <= is_new
    if long_form:
        assert kept == {name for name in before if name.split("/")[0] == "readers"} | {
            "admin/api-token"
        }
    with pytest.raises(KafkaConnectionError):
        asyncio.run(_bootstrap(old))


async def _bootstrap(settings: Settings) -> None:
    client = client_of(settings)
    try:
        await client.bootstrap()
    finally:
        await client.close()
