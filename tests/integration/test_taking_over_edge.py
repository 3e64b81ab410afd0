"""PostgreSQL alone is lost and restored from a dump: what people entered since comes from Kafka."""

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest

from integration.test_recall_sweep_edge import (
    GTIN,
    OUT,
    enter,
    judged,
    move,
    notice,
    start,
    swept,
    until_held,
    until_raised,
)
from scantrail.api.outbox import RELAY_LOCK
from scantrail.api.taking_over import CannotTakeOver, take_over
from scantrail.cli.taking_over import told_of_take_over
from scantrail.contracts.topics import Topic
from scantrail.infra.embedded_postgres import find_programs
from scantrail.infra.topic_admin import name_of

if TYPE_CHECKING:
    from integration.conftest import Site

IMEI, OTHER_IMEI = "490154203237518", "356938035643809"
SERVICES = ("alerter", "projector", "api")

#: What is to be as it was, of the rows that people entered.
ENTERED = (
    "SELECT id, version, document FROM station ORDER BY 1",
    "SELECT id, version, document, fold_case FROM product ORDER BY 1",
    "SELECT product, version, valid_from, document FROM product_policy ORDER BY 1, 2",
    "SELECT id, version, document FROM alert_policy ORDER BY 1",
    "SELECT id, unit, version, linked_at, joined_by FROM identifier ORDER BY 1",
    "SELECT id, version, document FROM hold WHERE document -> 'reasons' <> '[]' ORDER BY 1",
    "SELECT recall, serial, forms FROM recall_serial ORDER BY 1, 2",
    "SELECT id, scope, document FROM desk_finding ORDER BY 1",
)


class Dump:
    """Of the site's database, by PostgreSQL's own programs."""

    def __init__(self, site: "Site", folder: Path) -> None:
        self._site = site
        self._url = site.settings.database_url.replace("+psycopg", "")
        self._programs = find_programs(folder / "none").folder
        self._file = str(folder / "scantrail.dump")
        self._run("pg_dump", "--format=custom", f"--file={self._file}", self._url)

    def restore(self) -> None:
        self._site.execute("DROP SCHEMA public CASCADE")
        self._site.execute("CREATE SCHEMA public")
        self._site.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")  # as in a new database
        self._run("pg_restore", "--exit-on-error", f"--dbname={self._url}", self._file)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


async def ok(site: "Site", method: str, path: str, **sent: Any) -> Any:
    answer = await site.ask(method, path, **sent)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


async def left(site: "Site") -> None:
    """Until all that was entered is in Kafka."""
    await site.until(lambda: site.rows("SELECT 1 FROM outbox") == [])


def entered(site: "Site") -> list[list[tuple[Any, ...]]]:
    return [site.rows(query) for query in ENTERED]


def recalls_in(site: "Site") -> dict[str, tuple[int, dict[str, Any]]]:
    """Without what each version has of its own."""
    query = "SELECT id, version, document - 'version' - 'is_swept' FROM recall"
    return {recall_id: (version, told) for recall_id, version, told in site.rows(query)}


async def enter_some(site: "Site") -> None:
    """What is in the dump."""
    await enter(site, "R-1", notice("none"))
    await enter(site, "R-0", notice("unchanged"))
    await ok(site, "PUT", "/stations/dock", json={"site": "north", "business_step": "receiving"})
    await ok(site, "PUT", f"/products/{GTIN}", json={"name": "Phone"})
    await ok(site, "PUT", f"/holds/{site.unit('freed')}/QA", json={"text": "scratched"})
    await ok(site, "PUT", "/identifiers", json={"ids": [site.barcode("two"), IMEI]})


async def enter_more(site: "Site") -> None:
    """What people entered since."""
    await enter(site, "R-1", notice("out", "AB 12"))
    await enter(site, "R-2", notice("later"))
    await ok(site, "PUT", "/stations/dock", json={"site": "south", "business_step": "receiving"})
    await ok(site, "PUT", "/stations/gate", json={"site": "south", "business_step": "shipping"})
    await ok(site, "PUT", f"/products/{GTIN}", json={"name": "Phone 2", "serials": "optional"})
    await ok(site, "PUT", "/products/PUMP-7", json={"name": "Pump", "fold_case": True})
    await ok(site, "PUT", "/alert-policies/duplicate_serial", json={"severity": "info"})
    await ok(site, "DELETE", f"/holds/{site.unit('freed')}/QA")
    await ok(site, "PUT", f"/holds/{site.unit('kept')}/QA", json={"text": "dented"})
    await ok(site, "DELETE", f"/identifiers/{IMEI}")
    await ok(site, "PUT", "/identifiers", json={"ids": [site.barcode("two"), IMEI]})
    await ok(site, "PUT", "/identifiers", json={"ids": [site.barcode("three"), OTHER_IMEI]})


async def test_what_people_entered_since_the_dump_is_taken_over(
    site: "Site", tmp_path: Path
) -> None:
    running = await start(site, *SERVICES)
    before = judged()
    await move(site, site.scan("out", 0, event_id="left", **OUT))
    await site.until(lambda: judged() == before + 1)
    await enter_some(site)
    for recall in ("R-0", "R-1"):
        await swept(site, recall)
    await left(site)
    dump = Dump(site, tmp_path)
    await enter_more(site)
    await swept(site, "R-1", 2)
    await swept(site, "R-2")
    await until_raised(site, {(site.unit("out"), "left", "R-1"): 1})
    await left(site)
    rows, recalls = entered(site), recalls_in(site)
    for each in running.values():
        await site.stop(each)
    dump.restore()
    assert {recall_id: version for recall_id, (version, _) in recalls_in(site).items()} == {
        "R-0": 1,
        "R-1": 1,
    }
    # Entered just before the dump, and sent since: it must not leave once more.
    for topic, key in ((Topic.STATIONS, "gate"), (Topic.RECALLS, "R-0"), (Topic.FINDINGS, "none")):
        stale = (name_of(site.settings, topic), key, b"{}")
        site.execute("INSERT INTO outbox (topic, key, value) VALUES (%s, %s, %s)", *stale)

    done = await take_over(site.settings, print)
    assert done.unreadable == []
    assert done.keys == {
        Topic.STATIONS: ["dock", "gate"],
        Topic.PRODUCTS: [GTIN, "PUMP-7"],
        Topic.ALERT_POLICIES: ["duplicate_serial"],
        Topic.IDENTIFIERS: sorted(row[0] for row in rows[4]),
        Topic.HOLDS: sorted([site.unit("freed"), site.unit("kept")]),
        Topic.RECALLS: ["R-1", "R-2"],
        Topic.FINDINGS: [row[0] for row in rows[-1]],
    }
    assert len(rows[-1]) == 1
    assert entered(site) == rows
    later = {"R-0": 0, "R-1": 1, "R-2": 1}
    assert recalls_in(site) == {
        recall_id: (version + later[recall_id], told)
        for recall_id, (version, told) in recalls.items()
    }
    # No finding has that id, as of one that was not yet sent.
    left_over = "SELECT topic, key FROM outbox ORDER BY topic, key"
    assert site.rows(left_over) == [
        (name_of(site.settings, Topic.FINDINGS), "none"),
        (name_of(site.settings, Topic.RECALLS), "R-1"),
        (name_of(site.settings, Topic.RECALLS), "R-2"),
    ]
    site.execute("DELETE FROM outbox WHERE key = 'none'")
    assert site.rows(
        "SELECT DISTINCT who FROM audit WHERE new_version IS NOT NULL AND method = 'COMMAND'"
    ) == [("command line",)]

    await start(site, *SERVICES)
    await swept(site, "R-1", 3)
    await swept(site, "R-2", 2)
    await until_raised(site, {(site.unit("out"), "left", "R-1"): 1})
    await move(site, site.scan("later", 0, event_id="went", **OUT))
    await until_raised(
        site, {(site.unit("out"), "left", "R-1"): 1, (site.unit("later"), "went", "R-2"): 1}
    )
    # What comes next counts on from there.
    assert (await ok(site, "PUT", "/recalls/R-1", json=notice("here")))["version"] == 4
    await swept(site, "R-1", 4)
    await until_raised(site, {(site.unit("later"), "went", "R-2"): 1})
    await until_held(site, site.unit("freed"), [])
    await left(site)
    again = await take_over(site.settings, print)
    assert (again.keys, again.unreadable) == ({}, [])
    assert told_of_take_over(again).startswith("PostgreSQL has all")


async def test_what_cannot_be_read_is_named_and_the_rest_taken_over(site: "Site") -> None:
    await start(site, "api")
    await enter(site, "R-1", notice("out"))
    await ok(site, "PUT", "/stations/dock", json={"site": "north", "business_step": "receiving"})
    await left(site)
    await site.publish(Topic.RECALLS, "R-1", b'{"id": "R-1", "selectors": 5}')
    site.execute("DELETE FROM recall")
    site.execute("DELETE FROM station")
    done = await take_over(site.settings, print)
    assert done.keys == {Topic.STATIONS: ["dock"]}
    ((topic, key, why),) = done.unreadable
    assert (topic, key) == (Topic.RECALLS, "R-1")
    told = told_of_take_over(done).splitlines()
    assert told[0] == "stations: 1 taken over"
    assert told[1] == (
        "recalls: R-1 cannot be read and was left out: run this with a release that reads it"
        f" ({why})"
    )


async def test_a_hold_of_which_kafka_tells_nothing_is_put_again(site: "Site") -> None:
    """It was taken back so long ago that compaction removed what said so, or never: who knows."""
    await start(site, "api")
    for unit, reason in (("a", "QA-1"), ("b", "QA-2")):
        await ok(site, "PUT", f"/holds/{site.unit(unit)}/{reason}", json={"text": "scratched"})
    await left(site)
    told = "SELECT document FROM hold WHERE id = %s"
    ((document,),) = site.rows(told, site.unit("a"))
    lost = dict(document, id=site.unit("lost"), version=7)
    row = (site.unit("lost"), 7, msgspec.json.encode(lost).decode())
    site.execute("INSERT INTO hold VALUES (%s, %s, %s)", *row)
    done = await take_over(site.settings, print)
    assert (done.keys, done.held_again) == (
        {Topic.HOLDS: [site.unit("lost")]},
        [site.unit("lost")],
    )
    assert f"held again, for Kafka does not tell whether they were let go: {site.unit('lost')}" in (
        told_of_take_over(done)
    )
    await until_held(site, site.unit("lost"), [("QA-1", None)])
    assert (await ok(site, "GET", f"/holds/{site.unit('lost')}"))["version"] == 8
    await left(site)
    again = await take_over(site.settings, print)
    assert (again.keys, again.held_again) == ({}, [])


async def test_what_an_older_version_came_behind_is_in_force_again(site: "Site") -> None:
    """An api ran before, and sent what the dump's outbox had."""
    await start(site, "api")
    body = {"site": "north", "business_step": "receiving"}
    for where in ("north", "south"):
        await ok(site, "PUT", "/stations/dock", json=body | {"site": where})
    await left(site)
    first, second = await (await site.log(Topic.STATIONS)).until(2)
    site.execute("DELETE FROM station")
    await site.publish(Topic.STATIONS, "dock", first.value)
    done = await take_over(site.settings, print)
    assert done.keys == {Topic.STATIONS: ["dock"]}
    last = (await (await site.log(Topic.STATIONS)).until(4))[-1]
    assert last.value == second.value


async def test_while_an_api_sends_nothing_is_taken_over(site: "Site") -> None:
    with psycopg.connect(site.settings.database_url) as relay:
        relay.execute("SELECT pg_advisory_xact_lock(%s)", [RELAY_LOCK])
        with pytest.raises(CannotTakeOver, match="stop all apis"):
            await take_over(site.settings, print)
