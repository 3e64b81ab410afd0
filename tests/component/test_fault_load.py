"""The load of faults without Kafka and PostgreSQL: what lives so breaks nothing by itself, and what
a gateway or a tracker errs in shows in it."""

import asyncio
import random
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from component.belt import RECALL, Belt
from component.serving import serving
from component.test_checker import Record
from faults import load, mutants
from faults.checker import (
    Broken,
    answered,
    each_alerted,
    each_once,
    folded,
    marked,
    together,
    versions,
)
from faults.installation import STATIONS
from faults.load import Ledger, Load, short
from scantrail.alerter.app import Notices, judge_movements, read_movements
from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain import custody
from scantrail.domain import station as stations
from scantrail.domain.recall_match import RecallMatcher
from scantrail.domain.station import Station
from scantrail.gateway import verdicts
from scantrail.gateway.guards import Guards
from scantrail.gateway.http import build_http
from scantrail.gateway.intake import Intake
from scantrail.gateway.readers import ReaderSettings
from scantrail.gateway.scans import Known
from scantrail.gateway.spool import Outgoing
from scantrail.gateway.verdict_http import build_verdict
from scantrail.infra import tables
from scantrail.projector import rows as projected
from scantrail.tracker.app import Tracking
from scantrail.tracker.failures import FailureLimit

LASTS_S = 1.0
READERS = {
    f"{name}-{gateway}": ReaderSettings(
        id=f"{name}-{gateway}", station=name, protocol="http-generic"
    )
    for name in STATIONS
    for gateway in (1, 2)
}
SCANS, MOVEMENTS, UNITS = "t.scans.v1", "t.movements.v1", "t.units.v1"
COLUMNS = [column.name for column in tables.unit.columns]


async def sent(folder: Path) -> tuple[Ledger, list[Outgoing]]:
    """What a short load sent, once all of it twice, and what two gateways made of it."""
    belt = Belt(folder, deadline_s=10.0, bytes_max=1 << 30).ready()
    belt.notices.take(Topic.RECALLS, RECALL.id, encode(RECALL))
    belt.outlet.room = 1_000_000
    known = Known(
        READERS,
        {
            name: Station(id=name, site="north", business_step=step, read_point=name)
            for name, step in STATIONS.items()
        },
    )
    guards, outlet = Guards(READERS), cast("Any", belt.outlet)
    app = build_http(Intake("test", known, outlet), guards, build_verdict(belt.verdicts, guards))
    async with serving(app) as url:
        at = SimpleNamespace(gateway_url=url)
        names = ["gateway-1", "gateway-2"]
        site: Any = SimpleNamespace(settings=dict.fromkeys(names, at), of=lambda process: names)
        made = Load(site, random.Random(4), first=1)
        running = asyncio.create_task(made.run())
        await asyncio.sleep(LASTS_S)
        made.send_again()
        made.end()
        await running
    await belt.forwarded()
    await belt.close()
    return made.ledger, belt.outlet.kept


def counted(ledger: Ledger, kept: list[Outgoing]) -> Counter[str]:
    """What the checker finds broken where a tracker, an alerter and a projector read it."""
    scans = [Record(n, each.key, each.value, SCANS) for n, each in enumerate(kept)]
    tracking = Tracking("t", FailureLimit(Path("/nowhere"), "1"), observe=custody.observe)
    made = tracking.decide(scans, lambda key: None)
    moved = [
        Record(n, key, value, MOVEMENTS)
        for n, (key, value, _) in enumerate(made.records[MOVEMENTS])
    ]
    changelog = [Record(n, key, value, UNITS) for n, (key, value) in enumerate(made.states)]
    recalls = RecallMatcher()
    recalls.put(RECALL)
    judged = judge_movements(
        read_movements([moved], {}), Notices(recalls, {}, {}, {}), site_travel_s=1800.0
    )
    alerts = {each.id: (each.id, each.kind, each.unit or "", "open", 0) for each in judged}
    for each in judged:
        alerts[each.id] = (*alerts[each.id][:3], _status(each), 0)
    written = projected.Rows()
    projected.add_records(written, Topic.MOVEMENTS, cast("Any", moved))
    found = Broken()
    for question in ledger.questions:
        question.seen_at = 1.0
    each_once(found, ledger, written.movements, {})
    marked(found, ledger, _skews(written))
    rows = {
        unit: tuple(
            row[COLUMNS.index(name)] for name in ("version", "station", "event_id", "phase")
        )
        for unit, row in written.units.items()
    }
    states = folded(found, scans, changelog, [], rows)
    together(found, moved, written.movements, {(MOVEMENTS, 0): len(moved)})
    versions(found, moved, states)
    each_alerted(found, ledger, alerts.values())
    answered(found, ledger.questions)
    print("\n".join(found))
    return found.counts


def _status(alert: Any) -> str:
    return "open" if alert.status == "raised" else "withdrawn"


def _skews(written: projected.Rows) -> dict[str, float | None]:
    place = [column.name for column in tables.movement.columns].index("clock_skew_s")
    return {short(key[1]): cast("Any", row[place]) for key, row in written.movements.items()}


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A load of seconds."""
    monkeypatch.setattr(load, "UNITS_PER_S", 60.0)
    monkeypatch.setattr(load, "BETWEEN_S", (0.05, 0.15))
    monkeypatch.setattr(load, "LATE_S", (0.1, 0.6))


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("mutant", "breaks"),
    [
        ("", set()),
        ("arrival_order", {"I2"}),
        ("conflicts_missing", {"I6"}),
        ("clocks_doubted", {"I2"}),
        ("recalled_released", {"I3"}),
    ],
)
async def test_what_errs_shows_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mutant: str, breaks: set[str]
) -> None:
    for module, function in (
        (custody, "observe"),
        (custody, "_broken_rule"),
        (stations, "clock_skew_s"),
        (verdicts, "judge_unit"),
    ):
        monkeypatch.setattr(module, function, getattr(module, function))
    if mutant:
        mutants.MUTANTS[mutant].change()
    ledger, kept = await sent(tmp_path)
    assert len(ledger.accepted) > 150
    assert {each.station for each in ledger.accepted} == set(STATIONS)
    counts = counted(ledger, kept)
    assert {each for each in counts if each[0] in "IL"} == breaks
