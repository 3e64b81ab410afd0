"""The demo's scenarios and its score of alerts, without an installation."""

import asyncio
from typing import Any

import httpx
import pytest

from scantrail.cli.demo_alerts import score_alerts
from scantrail.cli.demo_plan import make_plan
from scantrail.cli.floor import Floor
from scantrail.cli.scenarios import SCENARIO_PLACES, SCENARIOS
from scantrail.cli.scenarios import scene as scenes
from scantrail.cli.scenarios.scene import Outcome, Scenario, Scene, play_all
from scantrail.cli.site import PLACES, PRODUCTS

A, B, C = ("reappeared", "u1", "open"), ("reappeared", "u2", "open"), ("late", "doc 1", "withdrawn")


def told(*alerts: tuple[str, str, str]) -> list[dict[str, Any]]:
    """Alerts as the API tells them; what has a blank in its name is a document."""
    return [
        {
            "kind": kind,
            "unit": None if " " in subject else subject,
            "document": subject if " " in subject else None,
            "status": status,
        }
        for kind, subject, status in alerts
    ]


@pytest.mark.parametrize(
    ("found", "expected", "precision", "recall", "wrong"),
    [
        ([A, B, C], [A, B, C], 1.0, 1.0, 0),
        ([], [], 1.0, 1.0, 0),
        ([A, B], [A], 0.5, 1.0, 1),  # a false one
        ([A], [A, B], 1.0, 0.5, 1),  # a missing one
        ([A, A], [A], 0.5, 1.0, 1),  # the same one twice
        ([A], [("reappeared", "u1", "withdrawn")], 0.0, 0.0, 2),  # it stands otherwise
        ([], [A], 1.0, 0.0, 1),
        ([C], [], 0.0, 1.0, 1),
    ],
)
def test_alerts_are_scored(
    found: list[Any], expected: list[Any], precision: float, recall: float, wrong: int
) -> None:
    score = score_alerts(told(*found), expected)
    assert (score.precision, score.recall, len(score.wrong)) == (precision, recall, wrong)


def test_every_scenario_has_stations_readers_and_sites_of_its_own() -> None:
    places = (*PLACES, *SCENARIO_PLACES)
    assert len({place.station for place in places}) == len(places)
    assert len({place.reader for place in places}) == len(places)
    sites: dict[str, set[str]] = {"plan": {place.site for place in PLACES}}
    for scenario in SCENARIOS:
        sites[scenario.name] = {place.site for place in scenario.places}
    every = [site for named in sites.values() for site in named]
    assert len(every) == len(set(every)), "units seen at two sites within half an hour alert"


def scene_of(scenario: Scenario, floor: Floor | None = None) -> Scene:
    outcome = Outcome(scenario.point, scenario.name)
    return Scene(scenario, floor or floor_of(httpx.Response(200)), outcome)


def floor_of(answer: httpx.Response) -> Floor:
    api = httpx.AsyncClient(
        transport=httpx.MockTransport(lambda request: answer), base_url="http://a"
    )
    return Floor(text={}, http={}, api=api)


def test_no_scenario_has_a_number_of_the_plan_or_of_another() -> None:
    plan = make_plan(17, units=400)
    taken = [*PRODUCTS, *plan.cartons, *{life.imei for life in plan.lives if life.imei}]
    points = [scenario.point for scenario in SCENARIOS]
    assert len(set(points)) == len(points)
    for scenario in SCENARIOS:
        scene = scene_of(scenario)
        for number in (1, 2, 435, 436, 437, 999):
            taken += [scene.gtin(number), scene.sscc(number), scene.imei(number)]
        taken += [scene.named("SO"), scene.named("R")]
    assert len(set(taken)) == len(taken)


async def _passes(scene: Scene) -> str:
    scene.alert("reappeared", "u1")
    return "it passes"


async def _differs(scene: Scene) -> str:
    scene.expect("the colour", "red", "blue")
    return "never shown"


async def _breaks(scene: Scene) -> str:
    await scene.ask("GET", "/units/1")
    return "never shown"


async def _stumbles(scene: Scene) -> str:
    return str((await scene.ask("GET", "/units/1", status=404))["no such key"])


async def _waits(scene: Scene) -> str:
    await scene.comes("/units/1", phase="shipped")
    return "never shown"


async def test_what_is_wrong_in_one_scenario_is_told_and_leaves_the_others_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scenes, "PATIENCE_S", 0.05)
    monkeypatch.setattr(scenes, "LOOK_EVERY_S", 0.01)
    plays = (_passes, _differs, _breaks, _stumbles, _waits)
    played = [Scenario(point, f"{point}", (), play) for point, play in enumerate(plays)]
    said: list[str] = []
    floor = floor_of(httpx.Response(404, json={"detail": "there is none"}))
    async with asyncio.timeout(10), floor.api:
        outcomes = await play_all(played, floor, said.append)
    assert [outcome.wrong for outcome in outcomes] == [
        [],
        ["the colour is 'red', not 'blue'"],
        ['GET /units/1 is 404: {"detail":"there is none"}'],
        ["KeyError: 'no such key'"],
        ["/units/1 with {'phase': 'shipped'} does not come: there is None"],
    ]
    assert outcomes[0].proved == "it passes"
    assert outcomes[0].alerts == [("reappeared", "u1", "open")]
    assert sorted(said) == ["0 is as it must be", *(f"{n} is WRONG" for n in (1, 2, 3, 4))]
