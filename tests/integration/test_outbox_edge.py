"""The api is killed, as `kill -9` does, around the publishing of what was committed."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest

from integration.processes import READY_S_MAX, Process, started
from scantrail.api import outbox
from scantrail.api.outbox import RELAY_LOCK
from scantrail.contracts.records import holds, identifiers, products, recalls, stations
from scantrail.contracts.topics import Topic
from scantrail.infra.database import connect_database
from scantrail.infra.failpoints import FAILPOINT
from scantrail.infra.topic_admin import name_of

if TYPE_CHECKING:
    from integration.conftest import Site

RECALL = {
    "title": "Battery",
    "reason": "may overheat",
    "selectors": [{"kind": "prefix", "prefix": "A"}],
}
STATION = {"site": "north", "business_step": "receiving"}
HOLD = "/holds/sn:PUMP-7.1/check"

#: In this order: several versions of one entity of each topic.
CHANGES: list[tuple[str, str, Any]] = [
    ("PUT", "/products/PUMP-7", {"name": "Pump"}),
    ("PUT", "/stations/dock-1", STATION),
    ("PUT", "/recalls/R-1", {**RECALL, "status": "draft"}),
    ("PUT", HOLD, {"text": "seal broken"}),
    ("PUT", "/identifiers", {"ids": ["sn:PUMP-7.1", "sn:PUMP-7.2"]}),
    ("PUT", "/stations/dock-1", {**STATION, "business_location": "Hall B"}),
    ("PUT", "/recalls/R-1", {**RECALL, "status": "active"}),
    ("PUT", "/products/PUMP-7", {"name": "Pump 7"}),
    ("PUT", HOLD, {"text": "seal broken, and more"}),
    ("DELETE", "/identifiers/sn:PUMP-7.2", None),
    ("PUT", "/recalls/R-1", {**RECALL, "status": "closed"}),
    ("DELETE", HOLD, None),
]
VERSIONS = {
    Topic.PRODUCTS: [1, 2],
    Topic.STATIONS: [1, 2],
    Topic.RECALLS: [1, 2, 3],
    Topic.HOLDS: [1, 2, None],
    Topic.IDENTIFIERS: [1, 2],
}
CODECS: dict[Topic, Any] = {
    Topic.PRODUCTS: products,
    Topic.STATIONS: stations,
    Topic.RECALLS: recalls,
    Topic.HOLDS: holds,
    Topic.IDENTIFIERS: identifiers,
}

Record = tuple[str, str, bytes | None]


@contextlib.asynccontextmanager
async def committed(site: "Site", tmp_path: Path, place: str) -> AsyncIterator[list[Record]]:
    """What was committed and has not left, when the api is killed at `place`: topic, key, value."""
    with contextlib.ExitStack() as stack:
        relay = stack.enter_context(psycopg.connect(site.settings.database_url, autocommit=True))
        relay.execute("SELECT pg_advisory_lock(%s)", [RELAY_LOCK])  # nothing leaves until then
        environ = {FAILPOINT: place}
        (api,) = stack.enter_context(started(site.settings, tmp_path, "api", environ=environ))
        await asyncio.to_thread(api.await_ready)
        answers = []
        for number, (method, path, body) in enumerate(CHANGES, start=1):
            answers.append(asyncio.create_task(change(site, method, path, body)))
            # it answers only once the record has left, or some seconds later
            await site.until(
                lambda number=number: site.rows("SELECT count(*) FROM outbox") == [(number,)]
            )
        rows = site.rows("SELECT topic, key, value FROM outbox ORDER BY id")
        relay.close()
        assert await asyncio.to_thread(api.status_within, 20.0) == -signal.SIGKILL
        await asyncio.gather(*answers)
        yield rows


async def change(site: "Site", method: str, path: str, body: Any) -> None:
    with contextlib.suppress(httpx.TransportError):  # it was killed before it could answer
        answer = await site.ask(method, path, json=body)
        assert answer.is_success, answer.text


async def published(site: "Site", topic: Topic) -> list[Record]:
    records = await (await site.log(topic)).records()
    return [(record.topic, record.key.decode(), record.value) for record in records]


def versions(topic: Topic, records: list[Record]) -> list[int | None]:
    codec = CODECS[topic]
    return [None if value is None else codec.decode(value).version for _, _, value in records]


async def restarted(site: "Site", tmp_path: Path) -> None:
    """The api, as its supervisor starts it, until nothing waits in the outbox."""
    (tmp_path / "again").mkdir()
    api = Process("api", site.settings, tmp_path / "again")
    try:
        await site.until(lambda: site.rows("SELECT count(*) FROM outbox") == [(0,)], READY_S_MAX)
    finally:
        api.process.kill()
        api.process.wait()


async def test_killed_between_commit_and_publish_each_version_leaves_once_as_committed(
    site: "Site", tmp_path: Path
) -> None:
    async with committed(site, tmp_path, "outbox_read") as rows:
        assert len(rows) == len(CHANGES)
        for topic in VERSIONS:
            assert await published(site, topic) == []
        assert site.rows("SELECT topic, key, value FROM outbox ORDER BY id") == rows
    await restarted(site, tmp_path)
    for topic, expected in VERSIONS.items():
        told = await published(site, topic)
        assert told == [row for row in rows if row[0] == name_of(site.settings, topic)]
        assert versions(topic, told) == expected


@pytest.mark.parametrize("batch", [1, 2, 3])
async def test_killed_between_publish_and_delete_what_was_sent_last_is_sent_again_and_no_more(
    site: "Site", tmp_path: Path, batch: int
) -> None:
    """At most twice, one behind the other, and with one content: nothing ever goes back."""
    sent = ((0, 5), (5, 10), (10, 12))[batch - 1]
    async with committed(site, tmp_path, f"outbox_published:{batch}") as rows:
        left = site.rows("SELECT topic, key, value FROM outbox ORDER BY id")
        assert left == rows[sent[0] :]
    await restarted(site, tmp_path)
    again = rows[slice(*sent)]
    for topic, expected in VERSIONS.items():
        told = await published(site, topic)
        name = name_of(site.settings, topic)
        wanted = [row for row in rows if row[0] == name for _ in range(1 + again.count(row))]
        assert told == wanted
        once = [version for version, _ in groupby(versions(topic, told))]
        assert once == expected


class Silent:
    """A producer whose broker never answers; it tells when it was dropped."""

    def __init__(self, dropped: Callable[[], None]) -> None:
        self._sender = self.client = self
        self._dropped = dropped

    async def send(self, *_: Any, **__: Any) -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        self._dropped()


async def test_a_producer_without_an_answer_is_dropped_before_another_relay_may_send(
    site: "Site", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later it would send what it has behind what the other sent, and an older version would be
    the last that readers see."""
    monkeypatch.setattr(outbox, "SEND_S_MAX", 0.1)
    site.execute("INSERT INTO outbox (topic, key, value) VALUES ('recalls', 'R-1', '{}')")
    engine = connect_database(site.settings)
    others: list[bool] = []

    def dropped() -> None:
        with psycopg.connect(site.settings.database_url) as other:
            lock = other.execute("SELECT pg_try_advisory_lock(%s)", [RELAY_LOCK]).fetchone()
            others.append(lock == (True,))

    relay = outbox.Outbox(site.settings, engine)
    try:
        with pytest.raises(TimeoutError):
            await relay._send_oldest(Silent(dropped))
    finally:
        await engine.dispose()
    assert others == [False, False]
    assert site.rows("SELECT key FROM outbox") == [("R-1",)]
