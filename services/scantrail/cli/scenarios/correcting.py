"""11. A wrong scan is voided by another: state, alerts and what was inside follow; both stay."""

from typing import Any

from scantrail.cli.scenarios.scene import Scenario, Scene
from scantrail.cli.site import OWNER, Place
from scantrail.domain.vocabulary import BusinessStep

SITE = "mill"
BENCH = Place("mill-pack", "Mill, packing", SITE, BusinessStep.PACKING, "Bench", "http", OWNER)
GATE = Place("mill-gate", "Mill, gate", SITE, BusinessStep.SHIPPING, None, "http", "carrier")
SIDE = Place("mill-side", "Mill, side gate", SITE, BusinessStep.SHIPPING, None, "http", "carrier")
OFFICE = Place("mill-office", "Mill, office", SITE, BusinessStep.STORING, "Office", "http", OWNER)

KIND = "duplicate_serial"


async def play(scene: Scene) -> str:
    await _a_carton_that_did_not_leave_takes_its_units_back(scene)
    await _the_alert_of_a_wrong_scan_is_withdrawn(scene)
    return "a carton's shipping voided, its units are back; a voided scan's alert is withdrawn"


async def _wrong_scan(scene: Scene, code: str, place: Place) -> str:
    """The event id of the unit's scan at a place, as its trail shows it."""
    trail = await scene.ask("GET", f"/units/{code}/trail")
    (found,) = [scan["event_id"] for scan in trail if scan["station"] == place.station]
    return str(found)


async def _a_carton_that_did_not_leave_takes_its_units_back(scene: Scene) -> None:
    code, carton = f"01{scene.gtin(1)}21V1", f"00{scene.sscc(1)}"
    await scene.scan(BENCH, carton)
    await scene.scan(BENCH, code, parent=carton)
    await scene.scan(GATE, carton)
    await scene.unit(code, phase="shipped")
    wrong = await _wrong_scan(scene, carton, GATE)
    await scene.scan(OFFICE, carton, corrects=wrong)
    for each in (code, carton):
        await scene.unit(each, phase="on_site", business_step="packing")
    trail = await scene.ask("GET", f"/units/{carton}/trail")
    scene.expect("the scans that stay", _told(trail), [(GATE, True), (OFFICE, False)])
    trail = await scene.ask("GET", f"/units/{code}/trail")
    shipped = [
        scan["corrected_by"] is not None
        for scan in trail
        if scan["business_step"] == GATE.step and not scan["corrects"]
    ]
    scene.expect("whether the unit's shipping is voided", shipped, [True])


def _told(trail: Any) -> list[tuple[Place, bool]]:
    """Of the carton's own scans, where they were and whether another voids them."""
    places = {place.station: place for place in (GATE, OFFICE)}
    return [
        (places[scan["station"]], scan["corrected_by"] is not None)
        for scan in trail
        if scan["station"] in places
    ]


async def _the_alert_of_a_wrong_scan_is_withdrawn(scene: Scene) -> None:
    code, unit = f"01{scene.gtin(1)}21V2", f"sgtin:{scene.gtin(1)}.V2"
    await scene.scan(GATE, code)
    await scene.unit(code, version=1)
    await scene.scan(SIDE, code)

    async def statuses() -> Any:
        listed = await scene.ask("GET", f"/alerts?kind={KIND}&unit={unit}")
        return [each["status"] for each in listed["alerts"]]

    await scene.until("its alert", statuses, lambda found: found == ["open"])
    await scene.unit(code, version=2)
    wrong = await _wrong_scan(scene, code, SIDE)
    why = {"unit": code, "reason": "the side gate read through the wall"}
    await scene.ask("POST", f"/scans/{wrong}/void", why)
    await scene.until("the alert's end", statuses, lambda found: found == ["withdrawn"])
    scene.alert(KIND, unit, "withdrawn")
    trail = await scene.ask("GET", f"/units/{code}/trail")
    reasons = [scan["voided"]["reason"] for scan in trail if scan["voided"] is not None]
    scene.expect("why it was voided", reasons, [why["reason"]])


SCENARIO = Scenario(11, "corrections", (BENCH, GATE, SIDE, OFFICE), play)
