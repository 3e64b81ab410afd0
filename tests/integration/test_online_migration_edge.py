"""From the shape before months to the newest, while a large database is written and read: nobody
waits for a second. A migration that is added is under this test too."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import psycopg
import pytest

from bench import inventory
from integration.conftest import database_of_shape
from scantrail.infra.database import migrate, newest_shape
from scantrail.infra.embedded_postgres import EmbeddedPostgres
from scantrail.infra.settings import Settings

#: The shape from which on migrations must let others go on.
FROM = "0029"
UNITS, UNITS_LONG = 20_000, 1_000_000
WAIT_S_MAX = 1.0
#: Somebody reads in a transaction of so long: a backup, or a person with psql.
READS_S = 2.0
_ROWS = 20
#: What a restore of the machine's attention takes, and no lock.
_LIMIT_S = 300.0

_NAMES = (
    "unit, event_id, record_time, version, outcome, event_time, reader, sequence, station, site,"
    " read_point, business_step"
)
_WRITE = (
    f"INSERT INTO movement ({_NAMES}) SELECT %s, %s || n, now(), 1000 + n, 'moved', now(), 'r', 1,"
    " 's', 'n', 'p', 'storing' FROM generate_series(1, %s) n ON CONFLICT (unit, event_id,"
    " record_time) DO UPDATE SET version = excluded.version"
)


@dataclass
class Load:
    """Whoever writes and reads meanwhile, and the longest that each of them waited."""

    address: str
    units: int
    ends: threading.Event = field(default_factory=threading.Event)
    waited: dict[str, float] = field(default_factory=dict)
    statements: dict[str, int] = field(default_factory=dict)
    written: int = 0

    def write(self) -> None:
        """As the projector: history and unit in one transaction."""
        with psycopg.connect(self.address) as database:
            for number in self._numbers("write"):
                key = inventory.key(number)
                event = f"load/{self.statements['write']}/"
                self._run("write", database, _WRITE, [key, event, _ROWS])
                update = "UPDATE unit SET version = version WHERE unit = %s"
                self._run("write", database, update, [key])
                database.commit()
                self.written += _ROWS

    def look_up(self) -> None:
        """As a person at the desk."""
        with psycopg.connect(self.address, autocommit=True) as database:
            for number in self._numbers("look_up"):
                key = [inventory.key(number)]
                self._run("look_up", database, "SELECT * FROM unit WHERE unit = %s", key)
                trail = "SELECT * FROM movement WHERE unit = ANY(%s) ORDER BY event_time"
                self._run("look_up", database, trail, [key])

    def read_long(self) -> None:
        """Holds what it reads for as long as READS_S, again and again."""
        with psycopg.connect(self.address) as database:
            for number in self._numbers("read_long"):
                key = [inventory.key(number)]
                query = "SELECT count(*) FROM movement JOIN unit USING (unit) WHERE unit = %s"
                self._run("read_long", database, query, key)
                self.ends.wait(READS_S)
                database.rollback()
                self.ends.wait(READS_S / 4)

    def _numbers(self, name: str) -> Iterator[int]:
        chosen = random.Random(name)
        self.waited[name], self.statements[name] = 0.0, 0
        while not self.ends.is_set():
            yield chosen.randrange(self.units)

    def _run(
        self, name: str, database: psycopg.Connection, query: str, values: list[object]
    ) -> None:
        started = time.monotonic()
        database.execute(query, values)
        self.waited[name] = max(self.waited[name], time.monotonic() - started)
        self.statements[name] += 1


@pytest.fixture
def old(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The address of a database of the shape before."""
    with database_of_shape(postgres.address, FROM) as address:
        yield address


@pytest.mark.alone
def test_nobody_waits_for_a_migration(old: str, long_form: bool) -> None:
    units = UNITS_LONG if long_form else UNITS
    inventory.fill(old, range(units))
    count = "SELECT count(*) FROM movement"
    with psycopg.connect(old, autocommit=True) as database:
        before = database.execute(count).fetchone()
        load = Load(old, units)
        work = (load.write, load.look_up, load.look_up, load.read_long)
        with ThreadPoolExecutor(len(work)) as pool:
            try:
                running = [pool.submit(each) for each in work]
                until(lambda: len(load.statements) == 3 and min(load.statements.values()) > 0)
                began = dict(load.statements)
                started = time.monotonic()
                migrate(Settings(database_url=old))
                took = time.monotonic() - started
                ended = dict(load.statements)
                until(lambda: load.statements["write"] > ended["write"])
            finally:
                load.ends.set()
            for each in running:
                each.result()
        assert before is not None
        assert database.execute(count).fetchone() == (before[0] + load.written,)
        shape = database.execute("SELECT version_num FROM alembic_version").fetchone()
    assert shape == (newest_shape(),)
    # they went on meanwhile, or nothing was measured
    assert all(ended[name] > began[name] for name in ("write", "look_up")), (began, ended)
    print(f"{units:,} units, migrated in {took:.1f} s; longest waits in s: {load.waited}")
    assert max(load.waited.values()) < WAIT_S_MAX, load.waited


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _LIMIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
