"""1. Serials as an owner decides: by date, as they look, minted here, typed, or none at all."""

from datetime import UTC, datetime, timedelta

from scantrail.cli.scenarios.proof_of_purchase import prove_purchases
from scantrail.cli.scenarios.scene import Scenario, Scene
from scantrail.cli.site import OWNER, Place
from scantrail.domain.vocabulary import BusinessStep

SITE = "atelier"
IN = Place("atelier-in", "Atelier, dock", SITE, BusinessStep.RECEIVING, "Safe", "http", OWNER)
DESK = Place("atelier-desk", "Atelier, desk", SITE, BusinessStep.STORING, "Desk", "http", OWNER)


async def play(scene: Scene) -> str:
    clock = {"name": "Clock", "fold_case": True, "serial_formats": ["AB-####"]}
    await scene.ask("PUT", f"/products/{scene.gtin(2)}", clock)
    await scene.comes(f"/products/{scene.gtin(2)}", published=True)
    await _decided_by_date(scene)
    await _minted_and_typed(scene)
    await _written_in_any_case(scene)  # by now the gateway knows how clocks are written
    await prove_purchases(scene)
    return "a policy by date, case folded, rings minted and typed, 200 screws proved by their order"


async def _decided_by_date(scene: Scene) -> None:
    """What was read before the day on which serials became mandatory needs none."""
    product, gtin = {"name": "Lamp"}, scene.gtin(1)
    await scene.ask("PUT", f"/products/{gtin}", {**product, "serials": "optional"})
    day = (datetime.now(UTC) + timedelta(days=30)).isoformat()
    await scene.ask("PUT", f"/products/{gtin}", {**product, "valid_from": day})
    told = await scene.ask("GET", f"/products/{gtin}")
    policies = [each["serials"] for each in told["policies"]]
    scene.expect("what holds now, and when", (told["serials"], policies), ("optional", [
        "optional", "mandatory"]))  # fmt: skip


async def _written_in_any_case(scene: Scene) -> None:
    gtin = scene.gtin(2)
    await scene.scan(IN, f"01{gtin}21ab-0001")
    await scene.unit(f"01{gtin}21AB-0001", version=1)
    told = await scene.unit(f"01{gtin}21ab-0001", version=1)
    scene.expect("the one key of both spellings", told["unit"], f"sgtin:{gtin}.AB-0001")


async def _minted_and_typed(scene: Scene) -> None:
    gtin = scene.gtin(3)
    await scene.ask("PUT", f"/products/{gtin}", {"name": "Ring", "minted": True})
    made = await scene.ask("POST", f"/products/{gtin}/serials", {"count": 2})
    serials = [each["serial"] for each in made["serials"]]
    labels = await scene.ask("GET", made["labels"])
    scene.expect("whether each has its label", [each in labels for each in serials], [True, True])
    code = f"01{gtin}21{serials[0]}"
    await scene.comes(f"/products/{gtin}", published=True)
    await scene.scan(IN, code)
    await scene.unit(code, version=1)
    typed = await scene.ask("POST", "/keyed", {"code": code, "station": DESK.station})
    scene.expect(
        "what was typed", (typed["unit"], typed["known"]), (f"sgtin:{gtin}.{serials[0]}", True)
    )
    await scene.unit(code, version=2)
    trail = await scene.ask("GET", f"/units/{code}/trail")
    scene.expect("what was typed by a person", [each["keyed"] for each in trail], [False, True])
    await _one_slip_is_not_taken(scene)


async def _one_slip_is_not_taken(scene: Scene) -> None:
    gtin = scene.gtin(4)
    await scene.scan(IN, f"01{gtin}21B8I0S5")
    await scene.unit(f"01{gtin}21B8I0S5", version=1)
    slip = {"code": f"01{gtin}21B8IOS5", "station": DESK.station}
    refused = await scene.ask("POST", "/keyed", slip, status=409)
    scene.expect("what it may be", refused["candidates"], [f"sgtin:{gtin}.B8I0S5"])
    taken = await scene.ask("POST", "/keyed", {**slip, "confirmed": True})
    scene.expect("what a person confirmed", taken["unit"], f"sgtin:{gtin}.B8IOS5")
    await scene.unit(slip["code"], version=1)


SCENARIO = Scenario(1, "serials", (IN, DESK), play)
