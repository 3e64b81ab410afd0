"""4. Orders and purchasers: whose a unit is and who has it, loans, and what erasing leaves."""

from datetime import UTC, datetime, timedelta
from typing import Any

from scantrail.cli.scenarios.scene import Scenario, Scene
from scantrail.cli.site import OWNER, Place
from scantrail.domain.vocabulary import BusinessStep

SITE = "west"
BENCH = Place("west-pack", "Packing West", SITE, BusinessStep.PACKING, "Packing", "http", OWNER)
GATE = Place("west-gate", "Gate West", SITE, BusinessStep.SHIPPING, None, "http", "carrier")
MAT = Place("their-mat", "Delivered", "theirs", BusinessStep.ARRIVING, None, "http", "purchaser")
BACK = Place("west-back", "Returns West", SITE, BusinessStep.RETURNING, "Returns", "http", OWNER)

PHONE = 1


async def play(scene: Scene) -> str:
    fast = {"name": "Fast Ltd", "address": "3 Rail Way"}
    bank = {"name": "Bank", "address": "4 Coin Street"}
    await scene.ask("PUT", f"/parties/{scene.named('fast')}", fast)
    await scene.ask("PUT", f"/parties/{scene.named('bank')}", bank)
    await _order_first_then_carrier_then_purchaser(scene)
    await _scan_first_and_a_pallet_ships_what_is_in_it(scene)
    await _what_is_lent_is_missed_until_it_is_back(scene)
    await _erasing_a_purchaser_keeps_the_trail(scene)
    return "order or scan first, pallet ships all in it, carrier then purchaser, loan, erasure"


def _code(scene: Scene, serial: str) -> str:
    return f"01{scene.gtin(PHONE)}21{serial}"


def _key(scene: Scene, serial: str) -> str:
    return f"sgtin:{scene.gtin(PHONE)}.{serial}"


def _named(party: Any) -> Any:
    return party and party["name"]


async def _order_first_then_carrier_then_purchaser(scene: Scene) -> None:
    order, code = scene.named("SO"), _code(scene, "F1")
    body = {
        "purchaser": {"name": "Ada Byron", "address": "1 Dock Road, York"},
        "ship_to": {"name": "The Shop", "address": "5 High Street"},
        "end_customer": {"name": "Bo", "address": "6 Low Street"},
        "carrier": scene.named("fast"),
        "owning_party": scene.named("bank"),
        "lines": [{"product": scene.gtin(PHONE), "quantity": 2}],
    }
    await scene.ask("PUT", f"/orders/{order}", body)
    await scene.scan(GATE, code, order=order)
    unit = await scene.unit(code, phase="shipped", order=order)
    parties = [
        _named(unit[p]) for p in ("purchaser", "possessing_party", "owning_party", "end_customer")
    ]
    scene.expect("who is who", parties, ["Ada Byron", "Fast Ltd", "Bank", "Bo"])
    told = await scene.ask("GET", f"/orders/{order}")
    scene.expect("what is short", told["quantities"][0]["short"], 1)
    await scene.comes(f"/readers/{MAT.reader}", id=MAT.reader)
    delivered = await scene.ask("POST", f"/orders/{order}/delivered", {"reader": MAT.reader})
    scene.expect("delivered", delivered["delivered"], [_key(scene, "F1")])
    unit = await scene.unit(code, business_step="arriving", phase="shipped", order=order)
    has = (_named(unit["possessing_party"]), _named(unit["owning_party"]))
    scene.expect("who has it and whose it is", has, ("The Shop", "Bank"))


async def _scan_first_and_a_pallet_ships_what_is_in_it(scene: Scene) -> None:
    order, carton, pallet = scene.named("SO-pallet"), scene.sscc(1), scene.sscc(2)
    serials = ("P1", "P2", "P3")
    for serial in serials:
        await scene.scan(BENCH, _code(scene, serial), parent=f"00{carton}")
    await scene.scan(BENCH, f"00{carton}", parent=f"00{pallet}")
    await scene.scan(GATE, f"00{pallet}", order=order)
    for serial in serials:
        await scene.unit(_code(scene, serial), phase="shipped", order=order, purchaser=None)
    who = {"id": scene.named("cy"), "name": "Cy Twombly", "address": "3 Hill, Leeds"}
    lines = [{"product": scene.gtin(PHONE), "quantity": len(serials)}]
    await scene.ask("PUT", f"/orders/{order}", {"purchaser": who, "lines": lines})
    told = await scene.ask("GET", f"/orders/{order}")
    keys = [*(_key(scene, serial) for serial in serials), f"sscc:{carton}", f"sscc:{pallet}"]
    scene.expect("units of the order", told["units"], keys)
    shipped = {k: told["quantities"][0][k] for k in ("shipped", "short", "surplus")}
    scene.expect("quantities", shipped, {"shipped": 3, "short": 0, "surplus": 0})
    await scene.unit(_code(scene, "P1"), purchaser=who, parent=f"sscc:{carton}")


async def _what_is_lent_is_missed_until_it_is_back(scene: Scene) -> None:
    order = scene.named("LOAN")
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    await scene.ask(
        "PUT",
        f"/orders/{order}",
        {
            "purchaser": {"name": "Di", "address": "7 Quay"},
            "owning_party": scene.named("bank"),
            "loan": {"due": yesterday},
        },
    )
    for serial in ("L1", "L2"):
        await scene.scan(GATE, _code(scene, serial), order=order)
        await scene.unit(_code(scene, serial), loan_due=yesterday)
    scene.alert("loan_overdue", _key(scene, "L1"))
    scene.alert("loan_overdue", _key(scene, "L2"), "withdrawn")

    async def statuses() -> Any:
        path = f"/alerts?kind=loan_overdue&unit={_key(scene, 'L2')}"
        return [each["status"] for each in (await scene.ask("GET", path))["alerts"]]

    await scene.until("the alert of L2", statuses, lambda found: found == ["open"])
    await scene.scan(BACK, _code(scene, "L2"))
    await scene.until("the alert's end", statuses, lambda found: found == ["withdrawn"])


async def _erasing_a_purchaser_keeps_the_trail(scene: Scene) -> None:
    erased = await scene.ask("DELETE", f"/parties/{scene.named('cy')}/personal-data")
    scene.expect("orders of who was erased", erased["orders"], [scene.named("SO-pallet")])
    scene.expect("where the name still is", erased["still_in"], [])
    code = _code(scene, "P1")
    unit = await scene.unit(code, order=scene.named("SO-pallet"))
    scene.expect("the purchaser's name", _named(unit["purchaser"]), "(erased)")
    trail = await scene.ask("GET", f"/units/{code}/trail")
    stations = [scan["station"] for scan in trail]
    scene.expect("the trail", stations, [BENCH.station, BENCH.station, GATE.station])


SCENARIO = Scenario(4, "orders and purchasers", (BENCH, GATE, MAT, BACK), play)
