"""From the shape before months to the newest, while all that migrations touch is written and read,
and is large: nobody waits for a second. A migration that is added is under this test too."""

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
#: Events that were refused, with what they said, and records that wait for Kafka: so many that to
#: write all of them at once takes longer than anybody may wait.
DOCUMENTS, DOCUMENTS_LONG = 400_000, 1_000_000
_EVENTS = 100
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
_CAPTURE = (
    "INSERT INTO epcis_capture (id, created_at, finished_at, who, error_behaviour, success, events)"
    " SELECT %s || n, now(), now(), 'w', 'proceed', false, %s FROM generate_series(1, %s) n"
)
_REFUSE = (
    "INSERT INTO epcis_capture_event (capture, number, status, scans, detail, left_out, document)"
    " SELECT %s || n, e, 'rejected', 0, 'why', '{}', repeat('what was sent ', 20)"
    " FROM generate_series(1, %s) n, generate_series(0, %s - 1) e"
)
_ENTER = (
    "INSERT INTO outbox (topic, key, value) SELECT 'holds', 'k', 'v' FROM generate_series(1, %s)"
)


@dataclass
class Load:
    """Whoever writes and reads meanwhile, and the longest that each of them waited."""

    address: str
    units: int
    captures: int
    ends: threading.Event = field(default_factory=threading.Event)
    waited: dict[str, float] = field(default_factory=dict)
    statements: dict[str, int] = field(default_factory=dict)
    written: int = 0
    captured: int = 0

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
                of_capture = "SELECT count(*) FROM epcis_capture_event WHERE capture = %s"
                self._run("read_long", database, of_capture, [self._old(number)])
                self._run("read_long", database, "SELECT id FROM outbox LIMIT 1", [])
                self.ends.wait(READS_S)
                database.rollback()
                self.ends.wait(READS_S / 4)

    def capture(self) -> None:
        """As a partner who sends EPCIS documents, and asks what became of one."""
        with psycopg.connect(self.address) as database:
            for number in self._numbers("capture"):
                new = f"load/{self.statements['capture']}/"
                self._run("capture", database, _CAPTURE, [new, _ROWS, 1])
                self._run("capture", database, _REFUSE, [new, 1, _ROWS])
                outcomes = "SELECT * FROM epcis_capture_event WHERE capture = %s ORDER BY number"
                self._run("capture", database, outcomes, [self._old(number)])
                database.commit()
                self.captured += _ROWS

    def forget(self) -> None:
        """As an erasure: of events that were refused nothing stays but that they were."""
        empty = "UPDATE epcis_capture_event SET detail = 'erased' WHERE capture = %s"
        with psycopg.connect(self.address, autocommit=True) as database:
            for number in self._numbers("forget"):
                self._run("forget", database, empty, [self._old(number)])

    def relay(self) -> None:
        """As the api: what is entered, and what leaves for Kafka."""
        oldest = "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox ORDER BY id LIMIT %s)"
        with psycopg.connect(self.address, autocommit=True) as database:
            for _ in self._numbers("relay"):
                self._run("relay", database, _ENTER, [_ROWS])
                self._run(
                    "relay",
                    database,
                    "SELECT id, topic, key, value FROM outbox ORDER BY id LIMIT %s",
                    [_ROWS],
                )
                self._run("relay", database, oldest, [_ROWS])

    def _old(self, number: int) -> str:
        return f"old/{number % self.captures + 1}"

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


def fill(address: str, documents: int) -> None:
    """EPCIS documents of which all was refused, and an outbox as after a day without Kafka."""
    captures = documents // _EVENTS
    with psycopg.connect(address, autocommit=True) as database:
        database.execute(_CAPTURE, ["old/", _EVENTS, captures])
        database.execute(_REFUSE, ["old/", captures, _EVENTS])
        database.execute(_ENTER, [documents])


def count(database: psycopg.Connection, what: str) -> int:
    told = database.execute(f"SELECT count(*) FROM {what}").fetchone()
    assert told is not None
    return int(told[0])


@pytest.mark.alone
def test_nobody_waits_for_a_migration(old: str, long_form: bool) -> None:
    units = UNITS_LONG if long_form else UNITS
    documents = DOCUMENTS_LONG if long_form else DOCUMENTS
    inventory.fill(old, range(units))
    fill(old, documents)
    with psycopg.connect(old, autocommit=True) as database:
        before = count(database, "movement")
        load = Load(old, units, documents // _EVENTS)
        work = (
            *(load.write, load.look_up, load.look_up, load.read_long),
            *(load.capture, load.forget, load.relay),
        )
        names = {each.__name__ for each in work}
        with ThreadPoolExecutor(len(work)) as pool:
            try:
                running = [pool.submit(each) for each in work]
                until(lambda: load.statements.keys() == names and min(load.statements.values()) > 0)
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
        assert count(database, "movement") == before + load.written
        assert count(database, "epcis_capture_event") == documents + load.captured
        assert count(database, "outbox") == documents
        emptied = "epcis_capture_event WHERE capture LIKE 'old/%' AND document IS NULL"
        assert count(database, emptied) == documents
        shape = database.execute("SELECT version_num FROM alembic_version").fetchone()
    assert shape == (newest_shape(),)
    # they went on meanwhile, or nothing was measured
    assert all(ended[name] > began[name] for name in names - {"read_long"}), (began, ended)
    print(f"{units:,} units, migrated in {took:.1f} s; longest waits in s: {load.waited}")
    assert max(load.waited.values()) < WAIT_S_MAX, load.waited


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _LIMIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
