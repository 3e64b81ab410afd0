"""2. Receiving against an advance notice, unit by unit while scanning; opening stock."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from scantrail.cli.scenarios.scene import Scenario, Scene
from scantrail.cli.site import OWNER, Place
from scantrail.domain.vocabulary import BusinessStep

SITE = "east"
DOCK = Place("east-dock", "Dock East", SITE, BusinessStep.RECEIVING, "Dock East", "listen", OWNER)
STOCK = Place("east-stock", "Stock East", SITE, BusinessStep.STOCK_TAKING, "Hall E", "http", OWNER)
GATE = Place("east-gate", "Gate East", SITE, BusinessStep.SHIPPING, None, "http", "carrier")

ANNOUNCED = 12


async def play(scene: Scene) -> str:
    await _what_differs_is_told_while_scanning(scene)
    await _what_came_late_withdraws_the_alert(scene)
    await _opening_stock_is_no_alert(scene)
    return (
        f"of {ANNOUNCED} announced 9 here, 3 short, 1 over, 1 unknown, 1 swapped, by pallet, carton"
        " and unit; opening stock without an alert"
    )


async def _progress(scene: Scene, notice: str, *statuses: str) -> Any:
    asked = "&".join(f"status={status}" for status in statuses)
    return await scene.ask("GET", f"/advance-notices/{notice}/progress?{asked}")


async def _what_differs_is_told_while_scanning(scene: Scene) -> None:
    notice, phone, lamp, radio = scene.named("ASN"), scene.gtin(1), scene.gtin(2), scene.gtin(3)
    first, second, pallet = scene.sscc(1), scene.sscc(2), scene.sscc(3)
    body = {
        "supplier": "maker",
        "site": SITE,
        "stations": [DOCK.station],
        "cartons": [{"sscc": first, "on": pallet}, {"sscc": second, "on": pallet}],
        "lines": [
            {"product": phone, "serials": ["A1", "A2", "A3"], "carton": first},
            {"product": phone, "ranges": [{"low": "B001", "high": "B006"}], "carton": second},
            {"product": lamp, "serials": ["K1"], "kit": "desk-set"},
            {"product": radio, "serials": ["K2", "K3"], "kit": "desk-set"},
        ],
    }
    told = await scene.ask("PUT", f"/advance-notices/{notice}", body)
    scene.expect("units and cartons announced", (told["units"], told["cartons"]), (12, 3))

    async def stands() -> dict[str, int]:
        return {k: v for k, v in (await _progress(scene, notice))["counts"].items() if v}

    async def until_it_stands(**counts: int) -> None:
        await scene.until(f"{notice} as {counts}", stands, lambda found: found == counts)

    await scene.scan(DOCK, f"01{phone}21A1")
    await until_it_stands(received=1, expected=11)
    await scene.scan(DOCK, f"00{first}")  # A2 and A3 are in it
    await until_it_stands(received=1, by_carton=2, expected=9)
    await scene.scan(DOCK, *(f"01{phone}21B{number:03}" for number in range(1, 6)))
    await scene.scan(DOCK, f"01{lamp}21K1")
    await until_it_stands(received=7, by_carton=2, expected=3)
    wrong = (f"01{phone}21C9", f"01{scene.gtin(4)}21X1", f"01{lamp}21K2")
    await scene.scan(DOCK, *wrong)
    await until_it_stands(received=7, by_carton=2, expected=3, over=1, unknown=1, swapped=1)
    found = await _progress(scene, notice)
    scene.expect("here of announced", (found["here"], found["announced"]), (9, ANNOUNCED))
    (swapped,) = [each for each in found["units"] if each["status"] == "swapped"]
    scene.expect("what came in another's place", swapped["instead_of"], f"sgtin:{radio}.K2")
    closed = await scene.ask("POST", f"/advance-notices/{notice}/close")
    scene.expect("what is short", closed["counts"]["short"], 3)
    scene.alert("receiving_discrepancy", f"advance_notice {notice}")


async def _what_came_late_withdraws_the_alert(scene: Scene) -> None:
    notice, product = scene.named("ASN-late"), scene.gtin(5)
    asked = f"supplier=maker&site={SITE}"
    csv = f"product,low,high\n{product},L01,L02\n"
    path = f"/advance-notices/{notice}"
    await scene.ask("PUT", f"{path}/csv?{asked}", content=csv)
    await scene.scan(DOCK, f"01{product}21L01")
    await scene.comes(f"{path}/progress", here=1, is_complete=False)
    await scene.ask("POST", f"{path}/close")
    document = f"advance_notice {notice}"
    scene.alert("receiving_discrepancy", document, "withdrawn")

    async def alerts() -> Any:
        listed = await scene.ask("GET", f"/alerts?kind=receiving_discrepancy&since={_today()}")
        return [each["status"] for each in listed["alerts"] if each["document"] == document]

    await scene.until(f"the alert of {notice}", alerts, lambda found: found == ["open"])
    await scene.scan(DOCK, f"01{product}21L02")
    await scene.comes(f"{path}/progress", is_complete=True)
    await scene.ask("POST", f"{path}/close")
    await scene.until(f"its end for {notice}", alerts, lambda found: found == ["withdrawn"])


async def _opening_stock_is_no_alert(scene: Scene) -> None:
    product = scene.gtin(6)
    at = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    csv = f"product,serial,location\n{product},O1,Shelf 1\n{product},O2,\n{product},,\n"
    path = f"/stock/{scene.named('opening')}/csv?station={STOCK.station}&at={quote(at)}"
    told = await scene.ask("POST", path, content=csv)
    lines = [each["line"] for each in told["rejected"]]
    scene.expect("lines taken, and refused", (told["accepted"], lines), (2, [4]))
    code = f"01{product}21O1"
    await scene.unit(code, phase="on_site", location="Shelf 1", business_step="stock_taking")
    await scene.unit(f"01{product}21O2", location="Hall E")
    await scene.scan(GATE, code)  # and is shipped as any other
    await scene.unit(code, phase="shipped")


def _today() -> str:
    return quote(datetime.now(UTC).replace(hour=0, minute=0, second=0).isoformat())


SCENARIO = Scenario(2, "advance notice, opening stock", (DOCK, STOCK, GATE), play)
