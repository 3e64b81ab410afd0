"""`scantrail demo`: two thousand lives through real sockets, then every answer compared.

Beside them the business's scenarios are played. The stack is fresh and private; the devices speak
TCP and HTTP; the comparison goes through the HTTP API alone.
"""

import asyncio
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from scantrail.cli.addresses import api_headers, page_address, private_settings
from scantrail.cli.checks import StackError
from scantrail.cli.demo_alerts import AlertScore, ExpectedAlert, score_alerts
from scantrail.cli.demo_plan import RECALL_ID, Life, Plan, make_plan, purchaser
from scantrail.cli.floor import Floor, furnish, open_floor
from scantrail.cli.scenarios import SCENARIO_PLACES, SCENARIOS
from scantrail.cli.scenarios.scene import Outcome, Scenario, play_all
from scantrail.cli.secured import Secured, secrets_folder, secured_token_of
from scantrail.cli.site import (
    DOCK,
    GATE,
    LINE,
    PACK,
    PLACES,
    SHELF,
    SOUTH,
    STAGE,
    Place,
    readers_toml,
    tcp_readers,
)
from scantrail.cli.stack import Stack
from scantrail.infra.child_processes import EmbeddedError, free_ports
from scantrail.infra.credentials import https_checks
from scantrail.infra.settings import Settings, SettingsError

SETTLE_S_MAX = 120.0
PARALLEL = 16

#: Between looks; and once more at the end, for what should not come.
LINGER_S = 1.0
WRONGS_SHOWN = 20

Disturb = Callable[[str], Awaitable[None]]


def run_demo(
    settings: Settings, *, seed: int, units: int, cache: Path, secure: bool = False
) -> int:
    """Run it, print the table and the line of JSON; 1 where anything differs."""
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - started:5.1f} s] {line}", flush=True)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # cleans up
    print(f"seed {seed} (repeat with: scantrail demo --seed {seed})")
    try:
        with tempfile.TemporaryDirectory(prefix="scantrail-demo-") as folder:
            places = (*PLACES, *SCENARIO_PLACES)
            names = tcp_readers(places)
            ports = dict(zip(names, free_ports(len(names)), strict=True))
            readers = Path(folder) / "readers.toml"
            data = Path(folder) / "data"
            told = readers_toml(ports, places)
            readers.write_text(Secured(secrets_folder(data)).readers(told) if secure else told)
            private = replace(
                private_settings(data, settings),
                readers_file=str(readers),
                webhook_private_addresses="allow",  # the receiver is here
                webhook_backoff_s=0.1,
            )
            with Stack(private, cache=cache, say=say, secure=secure) as stack:
                report = asyncio.run(
                    live_and_compare(
                        stack.settings,
                        ports,
                        make_plan(seed, units=units),
                        scenarios=SCENARIOS,
                        say=say,
                    )
                )
    except (StackError, EmbeddedError, SettingsError) as error:
        print(f"scantrail demo: {error}")
        return 1
    seconds = round(time.monotonic() - started, 1)
    print(_table(report))
    print(json.dumps({**report, "seconds": seconds}))
    return 0 if report["ok"] else 1


async def live_and_compare(
    settings: Settings,
    ports: dict[str, int],
    plan: Plan,
    *,
    scenarios: Sequence[Scenario] = (),
    say: Callable[[str], None] = lambda line: None,
    disturb: Disturb | None = None,
) -> dict[str, Any]:
    """Drive the plan, and scenarios beside it, against running processes, and compare.

    `disturb(moment)` is called while `receiving`, `storing` and `shipping` are under way: faults
    are injected there.
    """
    places = (*PLACES, *(place for scenario in scenarios for place in scenario.places))
    async with open_floor(
        page_address(settings),
        settings.gateway_url,
        ports,
        api_shown=api_headers(settings),
        token_of=secured_token_of(settings),
        checks=https_checks(settings),
        places=places,
    ) as floor:
        await furnish(floor.api, places)
        async with asyncio.TaskGroup() as tasks:
            playing = tasks.create_task(play_all(scenarios, floor, say))
            tasks.create_task(_live(floor, plan, say, disturb))
        outcomes = playing.result()
        expected = [(*alert, "open") for alert in plan.alerts.elements()]
        expected += [alert for outcome in outcomes for alert in outcome.alerts]
        say("everything was sent; waiting until every unit is told of")
        wrong, movements = await _settle(floor.api, plan, expected)
        answers = await _counts(floor.api)
        score = await _score(floor.api, expected)
    wrong += [f"{each.name}: {told}" for each in outcomes for told in each.wrong]
    for line in wrong[:WRONGS_SHOWN]:
        say(f"WRONG {line}")
    return {
        "ok": not wrong,
        "precision": round(score.precision, 4),
        "recall": round(score.recall, 4),
        "false_alerts": score.found - score.true,
        "missed_alerts": score.expected - score.true,
        "units": len(plan.lives),
        "scans": plan.scans,
        "movements": movements,
        "alerts": answers["alerts"],
        "rejected": answers["rejected"],
        "wrong": len(wrong),
        "scenarios": [_told(outcome) for outcome in outcomes],
    }


def _told(outcome: Outcome) -> dict[str, Any]:
    """A line of the report: what it proved, or what is wrong."""
    told = asdict(outcome)
    return {**told, "ok": not outcome.wrong, "alerts": len(outcome.alerts)}


async def _live(
    floor: Floor, plan: Plan, say: Callable[[str], None], disturb: Disturb | None
) -> None:
    async def during(moment: str, *work: Awaitable[Any]) -> None:
        say(moment)
        disturbing = [disturb(moment)] if disturb else []
        await asyncio.gather(*work, *disturbing)

    def of(place: Place) -> list[Life]:
        return [life for life in plan.lives if place in life.path]

    def codes(place: Place) -> list[bytes]:
        return [life.code.encode() for life in of(place)]

    def malformed(place: Place) -> list[bytes]:
        return [told.sent for told in plan.malformed if told.place is place]

    dock = [*codes(DOCK), *malformed(DOCK)]
    random.Random(0).shuffle(dock)
    await during("receiving", floor.text[DOCK].send(dock))
    label = (SHELF.label or "").encode()
    await during("storing", floor.text[SHELF].send([label, *codes(SHELF)]))
    await during("receiving the clones", floor.text[SOUTH].send(codes(SOUTH)))
    at_line = {life.key: _read(life, LINE) for life in of(LINE)}
    punctual = [at_line[life.key] for life in of(LINE) if not life.late]
    await during("assembling", floor.http[LINE].send(punctual))
    for sent in malformed(LINE):
        await floor.http[LINE].post(sent)
    await _enter_recall(floor.api, plan)
    refs = sorted({life.order for life in plan.lives if life.order})
    early, later = refs[::2], refs[1::2]
    await _enter_orders(floor.api, early)
    await during("staging", floor.text[STAGE].send(codes(STAGE)))
    await during("packing", floor.http[PACK].send([_read(life, PACK) for life in of(PACK)]))
    loose = [life for life in of(GATE) if not life.carton]
    at_gate = {life.key: _read(life, GATE) for life in loose}
    twice = [at_gate[life.key] for life in loose if GATE in life.redelivered]
    cartons = [_carton_read(carton, order) for carton, order in plan.cartons.items()]
    shipped = [*at_gate.values(), *cartons]
    await during("shipping", floor.http[GATE].send(shipped))
    await floor.http[GATE].send(twice)
    await _enter_orders(floor.api, later)  # the order may come after the scan
    say("telling whose the IMEIs are")
    renamed = [_join_read(life) for life in of(GATE) if life.imei]
    await floor.http[LINE].send(renamed)
    say("late scans")
    await floor.http[LINE].send([at_line[life.key] for life in of(LINE) if life.late])


def _read(life: Life, place: Place) -> dict[str, Any]:
    read = {
        "code": life.code,
        "timestamp": datetime.now(UTC).isoformat(),
        "event_id": f"{place.station}-{life.gtin}-{life.serial}",
    }
    if place is PACK:
        return {**read, "parent": f"(00){life.carton}"}
    if place is GATE:
        return {**read, "code": life.imei or life.code, "order": life.order}
    return read


def _join_read(life: Life) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    event_id = f"join-{life.imei}"
    return {"code": life.imei, "same_as": life.code, "timestamp": now, "event_id": event_id}


def _carton_read(carton: str, order: str) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    return {"code": f"00{carton}", "timestamp": now, "event_id": carton, "order": order}


async def _enter_recall(api: httpx.AsyncClient, plan: Plan) -> None:
    recalled = [life for life in plan.lives if life.recalled]
    notice = {
        "id": RECALL_ID,
        "title": "Battery may overheat",
        "reason": "Notice of the maker",
        "products": sorted({life.gtin for life in recalled}),
        "selectors": [{"kind": "list", "serials": [life.serial for life in recalled]}],
    }
    answer = await api.post("/recalls", json=notice)
    answer.raise_for_status()
    while not answer.json()["published"]:
        await asyncio.sleep(0.2)
        answer = await api.get(f"/recalls/{RECALL_ID}")
        answer.raise_for_status()


async def _enter_orders(api: httpx.AsyncClient, refs: list[str]) -> None:
    for ref in refs:
        answer = await api.put(f"/orders/{ref}", json={"purchaser": purchaser(ref)})
        answer.raise_for_status()


async def _settle(
    api: httpx.AsyncClient, plan: Plan, expected: Sequence[ExpectedAlert]
) -> tuple[list[str], int]:
    """Compare until nothing differs, or time is up; what differs then, and all trails' length."""
    trails: dict[str, int] = {}
    deadline = time.monotonic() + SETTLE_S_MAX
    waiting = list(plan.lives)
    while True:
        differing = await _compare_units(api, waiting, trails)
        others = [*(await _score(api, expected)).wrong, *await _compare_rejected(api, plan)]
        waiting = [life for life, _ in differing]
        if time.monotonic() > deadline:
            wrong = [wrong for _, wrongs in differing for wrong in wrongs] + others
            return wrong, sum(trails.values())
        await asyncio.sleep(LINGER_S)
        if not (waiting or others):  # an alert too many would have come by now
            return list((await _score(api, expected)).wrong), sum(trails.values())


async def _compare_units(
    api: httpx.AsyncClient, lives: list[Life], trails: dict[str, int]
) -> list[tuple[Life, list[str]]]:
    gate = asyncio.Semaphore(PARALLEL)

    async def compare(life: Life) -> list[str]:
        async with gate:
            address = f"/units/{quote(life.code, safe='')}"
            unit = await api.get(address)
            if unit.status_code != 200:
                return [f"{life.key}: {unit.status_code} {unit.text[:200]}"]
            trail = await api.get(f"{address}/trail")
            trail.raise_for_status()
            trails[life.key] = len(trail.json())
            wrongs = _differences(life, unit.json(), trail.json())
            if life.imei and (other := await api.get(f"/units/{life.imei}")).json() != {
                **unit.json(),
                "understood": other.json().get("understood"),
            }:
                wrongs.append(f"{life.key}: {life.imei} finds {other.text[:200]}")
            return wrongs

    found = await asyncio.gather(*map(compare, lives))
    return [(life, wrongs) for life, wrongs in zip(lives, found, strict=True) if wrongs]


def _differences(life: Life, unit: dict[str, Any], trail: list[dict[str, Any]]) -> list[str]:
    expected = {
        "unit": life.key,
        "location": life.location,
        "custody": life.custody,
        "phase": "shipped" if GATE in life.path else "on_site",
        "site": life.path[-1].site,
        "business_step": life.path[-1].step.value,
        "version": len(life.trail),
        "order": life.order,
    }
    wrongs = [
        f"{life.key}: {name} is {unit[name]!r}, not {value!r}"
        for name, value in expected.items()
        if unit[name] != value
    ]
    bought = unit["purchaser"] and {k: unit["purchaser"][k] for k in ("name", "address")}
    if bought != (purchaser(life.order) if life.order else None):
        wrongs.append(f"{life.key}: purchaser is {bought}, not that of {life.order}")
    stations = [scan["station"] for scan in trail]
    if stations != life.trail:
        wrongs.append(f"{life.key}: trail is {stations}")
    return wrongs


async def _score(api: httpx.AsyncClient, expected: Sequence[ExpectedAlert]) -> AlertScore:
    return score_alerts(await _pages(api, "alerts"), expected)


async def _compare_rejected(api: httpx.AsyncClient, plan: Plan) -> list[str]:
    found = Counter(
        (row["reader"], row["reason"], json.loads(row["payload"])["read"])
        for row in await _pages(api, "rejected")
    )
    expected = Counter((told.place.reader, told.reason, told.text) for told in plan.malformed)
    missing, surplus = expected - found, found - expected
    return [f"rejected read {read} is missing" for read in missing.elements()] + [
        f"rejected read {read} was not expected" for read in surplus.elements()
    ]


async def _counts(api: httpx.AsyncClient) -> dict[str, Any]:
    """What the API tells of everything, whether it is as expected or not."""
    alerts = await _pages(api, "alerts")
    return {
        "alerts": dict(Counter(alert["kind"] for alert in alerts)),
        "rejected": len(await _pages(api, "rejected")),
    }


async def _pages(api: httpx.AsyncClient, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor = ""
    while True:
        answer = await api.get(f"/{name}", params={"cursor": cursor, "limit": 1000})
        answer.raise_for_status()
        page = answer.json()
        rows += page[name]
        if page["next"] is None:
            return rows
        cursor = page["next"]


def _table(report: dict[str, Any]) -> str:
    rows = [
        ("units", report["units"]),
        ("scans delivered", report["scans"]),
        ("movements", report["movements"]),
        *[(f"alerts: {kind}", count) for kind, count in sorted(report["alerts"].items())],
        ("reads rejected", report["rejected"]),
        ("answers that differ", report["wrong"]),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name:<{width}}  {value:>7,}" for name, value in rows]
    lines += [
        f"  {name:<{width}}  {report[name]:>7.4f}, {report[count]} {word}"
        for name, count, word in (
            ("precision", "false_alerts", "false"),
            ("recall", "missed_alerts", "missed"),
        )
    ]
    played = report["scenarios"]
    names = max((len(each["name"]) for each in played), default=0)
    for each in played:
        told = each["proved"] if each["ok"] else f"WRONG: {each['wrong'][0]}"
        lines.append(f"  {each['point']:>2} {each['name']:<{names}}  {told}")
    return "\n".join(lines)
