"""9. A recall by lot and range: drafted, looked through, made active, amended, reached, closed."""

from scantrail.cli.scenarios.scene import Scenario, Scene
from scantrail.cli.site import OWNER, Place
from scantrail.domain.vocabulary import BusinessStep

SITE = "quay"
IN = Place("quay-in", "Quay, dock", SITE, BusinessStep.RECEIVING, "Dock", "http", OWNER)
RACK = Place("quay-rack", "Quay, rack", SITE, BusinessStep.STORING, "Rack", "http", OWNER)
GATE = Place("quay-gate", "Quay, gate", SITE, BusinessStep.SHIPPING, None, "http", "carrier")

GS = "\x1d"


async def play(scene: Scene) -> str:
    gtin, recall = scene.gtin(1), scene.named("R")
    units = {name: f"sgtin:{gtin}.{name}" for name in ("A1", "B1", "C1", "D1", "S100")}
    lots = {"A1": "L1", "B1": "L1", "C1": "L2", "S100": "L2"}
    for name in units:
        lot = f"{GS}10{lots[name]}" if name in lots else ""
        await scene.scan(IN, f"01{gtin}21{name}{lot}")
    await scene.scan(GATE, f"01{gtin}21B1")
    await scene.unit(units["B1"], phase="shipped")
    for name in ("A1", "C1", "D1", "S100"):
        await scene.unit(units[name], phase="on_site")
    notice = {
        "id": recall,
        "title": "Seal may leak",
        "reason": "Notice of the maker",
        "remedy": "Replace the seal",
        "products": [gtin],
        "status": "draft",
        "selectors": [
            {"kind": "lot", "lots": ["L1"]},
            {"kind": "range", "low": "S100", "high": "S149"},
        ],
    }
    broken = {**notice, "selectors": [{"kind": "range", "low": "S100", "high": "S1000"}]}
    refused = await scene.ask("POST", "/recalls", broken, status=400)
    scene.expect("the field that is refused", refused["field"], "selectors[0]")
    await scene.ask("POST", "/recalls", notice)
    await _looked_through(scene, recall)
    await scene.ask("POST", f"/recalls/{recall}/activate", {"note": "approved"})
    await scene.comes(f"/recalls/{recall}", is_swept=True)
    scene.alert("recalled_already_shipped", units["B1"])
    await _held(scene, units, recall, {"A1", "D1"})
    # Its label shows the lot: then nobody has to decide.
    await scene.scan(RACK, f"01{gtin}21D1{GS}10L2")
    await _held(scene, units, recall, {"A1"})
    amended = {name: value for name, value in notice.items() if name not in ("id", "status")}
    amended["selectors"] = [{"kind": "lot_range", "low": "L1", "high": "L2"}]
    await scene.ask("PUT", f"/recalls/{recall}", {**amended, "note": "the maker found more"})
    await scene.comes(f"/recalls/{recall}", version=3, is_swept=True)
    await _held(scene, units, recall, {"A1", "C1", "D1", "S100"})
    await scene.ask("POST", f"/recalls/{recall}/notified", {"units": [units["B1"]]})
    reach = await scene.ask("GET", f"/recalls/{recall}/reach")
    told = reach["to_reach"], reach["notified"], reach["remedied"]
    scene.expect("whom the recall reached", told, (1, 1, 0))
    await scene.ask("POST", f"/recalls/{recall}/close", {"note": "all seals replaced"})
    await _held(scene, units, recall, set())
    versions = (await scene.ask("GET", f"/recalls/{recall}/versions"))["versions"]
    statuses = [each["status"] for each in sorted(versions, key=lambda each: each["version"])]
    scene.expect("its life", statuses, ["draft", "active", "active", "closed"])
    return "a lot found on site and outside, one unit decided by its label; amended, closed"


async def _looked_through(scene: Scene, recall: str) -> None:
    """Before it is active."""
    told = await scene.ask("GET", f"/recalls/{recall}/preview")
    (numbers,) = told["never_seen"]["ranges"]
    found = {
        "on site": told["on_site"],
        "shipped": told["shipped"]["units"],
        "undecided": told["undecided"],
        "never seen": numbers["never_seen"],
    }
    wanted = {"on site": 2, "shipped": 1, "undecided": 1, "never seen": 49}
    scene.expect("the preview", found, wanted)
    left = await scene.ask("GET", f"/recalls/{recall}/units?where=shipped")
    scene.expect("how many were shipped", len(left["units"]), 1)


async def _held(scene: Scene, units: dict[str, str], recall: str, wanted: set[str]) -> None:
    """Those units, and no others, come to be held for the recall by what no scan shows."""

    async def look() -> set[str]:
        holds = (await scene.ask("GET", "/holds?limit=1000"))["holds"]
        held = {
            hold["id"]
            for hold in holds
            if any(reason["recall"] == recall for reason in hold["reasons"])
        }
        return {name for name, unit in units.items() if unit in held}

    await scene.until(f"the hold of {sorted(wanted)}", look, lambda found: found == wanted)


SCENARIO = Scenario(9, "recalls", (IN, RACK, GATE), play)
