"""What happens beside a sweep while it looks: another api's, a movement, a person's decision."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from integration.test_recall_sweep_edge import OUT, by_lot, judged, move, put, start
from scantrail.api import recall_looks, recall_sweep
from scantrail.api.outbox import Outbox
from scantrail.api.recall_sweep import RecallSweep
from scantrail.contracts.records import alerts
from scantrail.contracts.topics import Topic
from scantrail.domain.recall import Recall, RecallStatus, Selector
from scantrail.infra.database import connect_database
from scantrail.infra.topic_admin import name_of

if TYPE_CHECKING:
    from integration.conftest import Site

Patch = pytest.MonkeyPatch


def listed(recall_id: str, *serials: str, version: int = 1) -> Recall:
    selectors = (Selector(kind="list", serials=serials),)
    return Recall(
        id=recall_id, title="Battery", reason="heats", selectors=selectors, version=version
    )


@pytest_asyncio.fixture
async def sweeps(site: "Site") -> AsyncIterator[list[RecallSweep]]:
    """Of two apis, which do what a test asks for."""
    engines = [connect_database(site.settings) for _ in range(2)]
    yield [RecallSweep(site.settings, each, Outbox(site.settings, each)) for each in engines]
    for each in engines:
        await each.dispose()


async def sweep_until(site: "Site", sweep: RecallSweep, expected: set[tuple[str, int]]) -> None:
    async def are_swept() -> bool:
        await sweep.catch_up()
        return expected <= set(site.rows("SELECT recall, version FROM recall_sweep"))

    await site.until(are_swept)


async def until_taken_over(site: "Site", *recalls: str) -> None:
    """Until the alerter told of every partition from where on it judges with each of them: before,
    whichever is told first is swept first."""
    query = "SELECT recall FROM recall_position GROUP BY recall, partitions"
    query += " HAVING count(*) = partitions ORDER BY recall"
    await site.until(lambda: [recall for (recall,) in site.rows(query)] == list(recalls))


def held_for(site: "Site", key: str) -> list[str]:
    query = "SELECT document FROM hold WHERE id = %s"
    return [reason["id"] for (document,) in site.rows(query, key) for reason in document["reasons"]]


def before_first_hold(patch: Patch, meanwhile: Callable[[], Awaitable[None]]) -> None:
    """Let that happen once, when units were read and nothing of them is written yet."""
    hold, waiting = recall_looks._hold, [meanwhile]

    async def later(*told: Any) -> None:
        if waiting:
            await waiting.pop()()
        await hold(*told)

    patch.setattr(recall_looks, "_hold", later)


async def moved(site: "Site", *scans: Any) -> None:
    """Scans of one unit, written and judged: no recall that comes now is known to the alerter."""
    before = judged()
    await move(site, *scans)
    await site.until(lambda: judged() == before + len(scans))
    query = "SELECT count(*) FROM movement WHERE unit = %s"
    await site.until(lambda: site.rows(query, scans[0].unit) == [(len(scans),)])


async def test_an_api_that_knows_an_older_version_takes_nothing_back(
    site: "Site", sweeps: list[RecallSweep], monkeypatch: Patch
) -> None:
    """It looked for recalls, then another api swept a newer version, then it looks at a unit."""
    await start(site, "alerter", "projector")
    await moved(site, site.scan("out", 0), site.scan("out", 5, event_id="left", **OUT))
    slow, other = sweeps
    await put(site, listed("R-1", "none"))
    await sweep_until(site, slow, {("R-1", 1)})

    async def meanwhile() -> list[Any]:
        await put(site, listed("R-1", "out", version=2))
        await sweep_until(site, other, {("R-1", 2)})
        site.execute("UPDATE recall_unit SET is_stale = true")  # as when it moves
        return []

    monkeypatch.setattr(slow, "_unswept", meanwhile)
    await slow.catch_up()
    assert site.rows("SELECT unit, is_stale, recalls FROM recall_unit") == [
        (site.unit("out"), False, ["R-1"])
    ]
    assert site.rows("SELECT document ->> 'event_id' FROM desk_finding") == [("left",)]


async def test_of_two_that_sweep_one_says_that_it_is_swept(
    site: "Site", sweeps: list[RecallSweep], monkeypatch: Patch
) -> None:
    await start(site, "alerter", "projector")
    await moved(site, site.scan("out", 0, event_id="left", **OUT))
    slow, other = sweeps
    look = slow._look

    async def later(keys: Any) -> list[str]:
        await sweep_until(site, other, {("R-1", 1)})
        return await look(keys)

    monkeypatch.setattr(slow, "_look", later)
    await put(site, listed("R-1", "out"))
    await sweep_until(site, slow, {("R-1", 1)})
    query = "SELECT topic, count(*) FROM outbox GROUP BY topic ORDER BY topic"
    names = [name_of(site.settings, topic) for topic in (Topic.FINDINGS, Topic.RECALLS)]
    assert site.rows(query) == [(name, 1) for name in names]


async def test_a_unit_that_moves_while_it_is_looked_at_for_the_first_time_is_looked_at_again(
    site: "Site", sweeps: list[RecallSweep], monkeypatch: Patch
) -> None:
    """It was cleared by its lot, and the movement tells another, which is recalled."""
    await start(site, "alerter", "projector")
    unit = site.unit("fine")
    scans = (site.scan("fine", 0, lot="L2"), site.scan("fine", 5, lot="L1"))
    await moved(site, scans[0])

    async def moves() -> None:
        await site.put_movement(site.movements(*scans)[1], unit)
        marked = "SELECT lot, is_stale FROM unit JOIN recall_unit USING (unit)"
        await site.until(lambda: site.rows(marked) == [("L1", True)])

    before_first_hold(monkeypatch, moves)
    await put(site, by_lot("L1"))
    await sweep_until(site, sweeps[0], {("R-L", 1)})
    assert held_for(site, unit) == ["recall:R-L"]


async def test_a_unit_that_is_cleared_while_it_is_looked_at_for_the_first_time_is_let_go(
    site: "Site", monkeypatch: Patch
) -> None:
    await start(site, "alerter", "projector", "api")
    unit = site.unit("none")
    await moved(site, site.scan("none", 0))

    async def is_cleared() -> None:
        body = {"units": [unit], "note": "label shows L2"}
        answer = await site.ask("POST", "/recalls/R-L/cleared", json=body)
        assert answer.status_code == 200, answer.text

    before_first_hold(monkeypatch, is_cleared)
    await put(site, by_lot("L1"))
    query = "SELECT document FROM hold"

    def told() -> list[tuple[int, list[dict[str, Any]]]]:
        return [(len(each["reasons"]), each["cleared"]) for (each,) in site.rows(query)]

    await site.until(lambda: told() == [(0, [{"recall": "R-L", "version": 1}])])


async def test_a_recall_whose_units_cannot_be_found_keeps_no_other_waiting(
    site: "Site", sweeps: list[RecallSweep], monkeypatch: Patch
) -> None:
    await start(site, "alerter", "projector")
    await moved(site, site.scan("out", 0, event_id="left", **OUT))
    candidates = recall_sweep._candidates

    async def takes_too_long(connection: AsyncConnection, of: Any, recall_id: str) -> Any:
        if recall_id == "R-0":
            await connection.execute(text("SET LOCAL statement_timeout = 1"))
            await connection.execute(text("SELECT pg_sleep(1)"))
        return await candidates(connection, of, recall_id)

    monkeypatch.setattr(recall_sweep, "_candidates", takes_too_long)
    await put(site, listed("R-0", "out"))
    await put(site, listed("R-1", "out"))
    await until_taken_over(site, "R-0", "R-1")
    await sweep_until(site, sweeps[0], {("R-1", 1)})
    assert site.rows("SELECT recall FROM recall_sweep") == [("R-1",)]
    await site.until_logged("recall cannot be swept")
    monkeypatch.undo()
    await sweep_until(site, sweeps[0], {("R-0", 1), ("R-1", 1)})


async def test_a_recall_of_many_units_keeps_no_other_waiting(
    site: "Site", sweeps: list[RecallSweep], monkeypatch: Patch
) -> None:
    await start(site, "alerter", "projector")
    serials = [f"{number}" for number in range(5)]
    for serial in serials:
        await moved(site, site.scan(serial, 0, event_id=f"left-{serial}", **OUT))
    monkeypatch.setattr(recall_sweep, "UNITS", 1)
    monkeypatch.setattr(recall_sweep, "TURN", 2)
    await put(site, listed("R-0", *serials))
    await put(site, listed("R-1", "0"))
    await until_taken_over(site, "R-0", "R-1")
    await sweep_until(site, sweeps[0], {("R-1", 1)})
    assert site.rows("SELECT recall FROM recall_sweep") == [("R-1",)]
    await sweep_until(site, sweeps[0], {("R-0", 1)})
    query = "SELECT document ->> 'recall', document ->> 'event_id' FROM desk_finding ORDER BY 1, 2"
    expected = [*(("R-0", f"left-{serial}") for serial in serials), ("R-1", "left-0")]
    assert site.rows(query) == expected


async def undecided(site: "Site") -> list[tuple[str, str, str]]:
    """What the topic tells of recalls that leave units open, in its order for each alert."""
    found = [alerts.decode(each.value) for each in await (await site.log(Topic.ALERTS)).records()]
    return [
        (each.status.value, each.document or "", each.text)
        for each in found
        if each.kind == "recall_undecided"
    ]


async def test_of_units_that_went_out_and_whose_lot_nobody_told_a_person_is_told_once(
    site: "Site",
) -> None:
    """Until all were cleared, or the recall's next version does not leave them open."""
    await start(site, "alerter", "projector", "api")
    for serial in ("a", "b"):
        await move(site, site.scan(serial, 0), site.scan(serial, 5, **OUT))
    await move(site, site.scan("told", 0, lot="L2"), site.scan("told", 5, **OUT))
    await move(site, site.scan("here", 0))
    await put(site, by_lot("L1"))
    text = (
        "recall R-L (Cells) may mean 2 units that went out: nobody told their lot; its preview"
        " lists them as undecided"
    )
    raised, withdrawn = ((each, "recall R-L", text) for each in ("raised", "withdrawn"))

    async def until(expected: list[tuple[str, str, str]]) -> None:
        async def is_so() -> bool:
            return await undecided(site) == expected

        await site.until(is_so)

    await until([raised])
    for serial in ("a", "b"):
        body = {"units": [site.unit(serial)], "note": "holder read the label: L2"}
        answer = await site.ask("POST", "/recalls/R-L/cleared", json=body)
        assert answer.status_code == 200, answer.text
    await until([raised, withdrawn])
    await put(site, by_lot("L1", version=2))  # what was decided was for the version before
    await until([raised, withdrawn, raised])
    query = "SELECT recall, site, status FROM alert WHERE kind = 'recall_undecided' ORDER BY status"
    expected = [("R-L", None, "open"), ("R-L", None, "withdrawn")]
    await site.until(lambda: site.rows(query) == expected)
    await put(site, by_lot("L1", version=3, status=RecallStatus.CLOSED))
    await until([raised, withdrawn, raised, withdrawn])
