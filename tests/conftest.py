"""What tests share: one broker and one PostgreSQL per worker, the cache of downloaded jars."""

import gc
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import settings

from scantrail.infra.embedded_kafka import EmbeddedKafka
from scantrail.infra.embedded_postgres import EmbeddedPostgres
from workers import Grouped, choose_ports, turn

# How long an example takes says something of the machine, nothing of the code.
settings.register_profile("scantrail", deadline=None)
settings.load_profile("scantrail")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="faults come more often, and for longer")
    parser.addoption("--seed", type=int, help="repeats a test that told its seed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `long` belong to `make test-faults` alone; those marked `alone` come last."""
    if not config.getoption("--long"):
        left_out = [item for item in items if item.get_closest_marker("long")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)
    items.sort(key=_runs_alone)


def _runs_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Grouped:
    """Called where there are workers: who gets which test next."""
    return Grouped(config, log)


def pytest_configure() -> None:
    choose_ports()


def pytest_collection_finish() -> None:
    """Modules and thousands of tests stay: to look at them again and again took a third of the time
    of many a test."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Its set-up and tear-down included, no test runs beside one that is marked `alone`."""
    with turn(item.config.rootpath / ".scantrail" / "turns", alone=_runs_alone(item)):
        return (yield)


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int | None:
    """The seed to repeat, None for a new one."""
    given: int | None = pytestconfig.getoption("--seed")
    return given


@pytest.fixture(scope="session")
def long_form(pytestconfig: pytest.Config) -> bool:
    """Whether this is `make test-faults`."""
    return bool(pytestconfig.getoption("--long"))


@pytest.fixture(scope="session")
def stack_cache() -> Path:
    """Where Kafka's jars are kept from one session to the next, as `make up` does."""
    return Path(__file__).parents[1] / ".scantrail" / "cache"


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory, stack_cache: Path) -> Iterator[EmbeddedKafka]:
    """The session's broker, at `kafka.address`: give each test a topic prefix of its own."""
    broker = EmbeddedKafka(tmp_path_factory.mktemp("kafka"), stack_cache)
    broker.start()
    yield broker
    broker.kill()  # to close thousands of partitions well takes it some ten seconds


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """The session's server, at `postgres.address`: give each test a database of its own.

    It waits for no disk: what that is for, a machine that loses its power, no test does to it. To
    make and remove a test's database takes a quarter of the time so.
    """
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"))
    server.start()
    with psycopg.connect(server.address, autocommit=True) as connection:
        for name in ("fsync", "full_page_writes"):
            connection.execute(f"ALTER SYSTEM SET {name} = off")
        connection.execute("SELECT pg_reload_conf()")
    yield server
    server.stop()
