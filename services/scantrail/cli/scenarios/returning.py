"""7. Returns: only what that purchaser got, what becomes of it, and what takes its place."""

from scantrail.cli.scenarios.scene import Scenario, Scene
from scantrail.cli.site import OWNER, Place
from scantrail.domain.vocabulary import BusinessStep

SITE = "desk"
GATE = Place("desk-gate", "Desk, gate", SITE, BusinessStep.SHIPPING, None, "http", "carrier")
BACK = Place("desk-back", "Desk, returns", SITE, BusinessStep.RETURNING, "Returns", "http", OWNER)
LOOK = Place("desk-look", "Desk, bench", SITE, BusinessStep.INSPECTING, "Bench", "http", OWNER)


async def play(scene: Scene) -> str:
    product = scene.gtin(1)
    mine, theirs = scene.named("SO-mine"), scene.named("SO-theirs")

    def code(serial: str) -> str:
        return f"01{product}21{serial}"

    for ref, name in ((mine, "Ada Byron"), (theirs, "Bo")):
        who = {"id": f"buyer-{ref}", "name": name, "address": "1 Dock Road, York"}
        lines = [{"product": product, "quantity": 2}]
        await scene.ask("PUT", f"/orders/{ref}", {"purchaser": who, "lines": lines})
    for serial, ref in (("U1", mine), ("U2", mine), ("U3", theirs)):
        await scene.scan(GATE, code(serial), order=ref)
        await scene.unit(code(serial), phase="shipped", order=ref)
    rma = scene.named("RMA")

    def asked(serial: str, number: str) -> dict[str, object]:
        return {"rma": f"{rma}-{number}", "order": mine, "lines": [{"unit": code(serial)}]}

    refusal = await scene.ask("POST", "/returns", asked("U3", "x"), status=409)
    scene.expect("why another's is refused", refusal["reason"], "other_purchaser")
    refusal = await scene.ask("POST", "/returns", asked("U9", "x"), status=409)
    scene.expect("why what never left is refused", refusal["reason"], "never_shipped")
    for serial, number in (("U1", "1"), ("U2", "2")):
        await scene.ask("POST", "/returns", asked(serial, number))
        await scene.scan(BACK, code(serial), rma=f"{rma}-{number}")
        await scene.comes(f"/returns/{rma}-{number}", is_done=False)
    await scene.scan(LOOK, code("U1"))
    await _line_is(scene, f"{rma}-1", "inspected")
    await _line_is(scene, f"{rma}-2", "returned")
    decide = f"/returns/{rma}-1/decisions"
    await scene.ask("POST", decide, {"line": 1, "state": "restocked", "note": "as new"})
    await scene.comes(f"/returns/{rma}-1", is_done=True)
    await scene.unit(code("U1"), phase="on_site", location="Bench")
    replaced = {"line": 1, "state": "replaced", "replacement": code("U4")}
    await scene.ask("POST", f"/returns/{rma}-2/decisions", replaced)
    await scene.ask("POST", f"/returns/{rma}-2/decisions", {"line": 1, "state": "repaired"})
    await scene.scan(GATE, code("U4"), order=mine)
    await scene.unit(code("U4"), replaces=f"sgtin:{product}.U2", phase="shipped")
    await scene.unit(code("U2"), replaced_by=f"sgtin:{product}.U4")
    return "another's is refused; one restocked, one repaired and replaced, the link kept"


async def _line_is(scene: Scene, rma: str, state: str) -> None:
    async def look() -> list[str]:
        told = await scene.ask("GET", f"/returns/{rma}")
        return [line["state"] for line in told["lines"]]

    await scene.until(f"{rma} {state}", look, lambda found: found == [state])


SCENARIO = Scenario(7, "returns and replacement", (GATE, BACK, LOOK), play)
