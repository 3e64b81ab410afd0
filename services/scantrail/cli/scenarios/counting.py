"""6. A location is counted; what was shipped, lost or stolen and is seen again alerts."""

from typing import Any

from scantrail.cli.scenarios.scene import Scenario, Scene
from scantrail.cli.site import OWNER, Place
from scantrail.domain.vocabulary import BusinessStep

SITE = "depot"
HALL = "Hall D"
DOCK = Place("depot-dock", "Depot, dock", SITE, BusinessStep.RECEIVING, HALL, "http", OWNER)
ROUND = Place("depot-count", "Depot, count", SITE, BusinessStep.CYCLE_COUNTING, HALL, "http", OWNER)
GATE = Place("depot-gate", "Depot, gate", SITE, BusinessStep.SHIPPING, None, "http", "carrier")
YARD = Place("depot-yard", "Depot, yard", SITE, BusinessStep.STORING, "Yard", "http", OWNER)


async def play(scene: Scene) -> str:
    product = scene.gtin(1)

    def code(serial: str) -> str:
        return f"01{product}21{serial}"

    def key(serial: str) -> str:
        return f"sgtin:{product}.{serial}"

    for serial in ("S1", "S2", "S3", "S4", "S5"):
        await scene.scan(DOCK, code(serial))
    await scene.scan(YARD, code("S4"))
    await scene.scan(GATE, code("S5"))
    for serial, location in (("S1", HALL), ("S2", HALL), ("S3", HALL), ("S4", "Yard")):
        await scene.unit(code(serial), location=location)
    await scene.unit(code("S5"), phase="shipped")
    count = f"/counts/{scene.named('count')}"
    begun = await scene.ask("PUT", count, {"site": SITE, "location": HALL})
    scene.expect("expected there", begun["expected"], 3)
    await scene.scan(ROUND, *(code(serial) for serial in ("S1", "S2", "S4", "S5")))
    scene.alert("counted_away", key("S5"))

    async def stands() -> Any:
        return (await scene.ask("GET", count))["counts"]

    wanted = {"found": 2, "missing": 1, "surplus": 2, "left": 0, "arrived": 0}
    await scene.until("the count", stands, lambda found: found == wanted)
    closed = await scene.ask("POST", f"{count}/close")
    scene.expect("the closed count", closed["counts"], wanted)
    told = await scene.ask("GET", count)
    listed = {each["unit"]: each["status"] for each in told["units"]}
    missed = {key("S3"): "missing", key("S4"): "surplus", key("S5"): "surplus"}
    scene.expect("what to look for", listed, missed)
    await scene.unit(code("S5"), phase="shipped")
    for serial, kind in (("S3", "lost"), ("S1", "stolen")):
        path = f"/holds/{code(serial)}/{scene.named(kind)}"
        await scene.ask("PUT", path, {"text": f"{kind} from {HALL}", "kind": kind})
        await scene.comes(f"/holds/{code(serial)}", published=True)
        await scene.scan(YARD, code(serial))
        await scene.unit(code(serial), location="Yard")
        scene.alert("reappeared", key(serial))
    await _stolen_is_more_urgent_than_lost(scene, key("S3"), key("S1"))
    return "2 found, 1 missing, 2 surplus; a shipped, a lost and a stolen unit seen again alert"


async def _stolen_is_more_urgent_than_lost(scene: Scene, lost: str, stolen: str) -> None:
    for unit, severity in ((lost, "warning"), (stolen, "critical")):

        async def severities(unit: str = unit) -> Any:
            listed = await scene.ask("GET", f"/alerts?kind=reappeared&unit={unit}")
            return [each["severity"] for each in listed["alerts"]]

        found = await scene.until(f"the alert of {unit}", severities, bool)
        scene.expect(f"how urgent that of {unit} is", found, [severity])


SCENARIO = Scenario(6, "counts, lost and stolen", (DOCK, ROUND, GATE, YARD), play)
