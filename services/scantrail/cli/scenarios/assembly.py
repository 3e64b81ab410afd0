"""5. Components: put in, taken out, found from either side, and recalled inside their parent."""

from typing import Any

from scantrail.cli.scenarios.scene import Scenario, Scene
from scantrail.cli.site import OWNER, Place
from scantrail.domain.vocabulary import BusinessStep

SITE = "works"
IN = Place("works-in", "Works, dock", SITE, BusinessStep.RECEIVING, "Works", "http", OWNER)
BENCH = Place("works-fit", "Works, fitting", SITE, BusinessStep.ASSEMBLING, "Bench", "http", OWNER)
STRIP = Place(
    "works-strip", "Works, stripping", SITE, BusinessStep.DISASSEMBLING, "Bench", "http", OWNER
)
GATE = Place("works-gate", "Works, gate", SITE, BusinessStep.SHIPPING, None, "http", "carrier")


async def play(scene: Scene) -> str:
    engine, car = scene.gtin(1), scene.gtin(2)
    codes = {name: f"01{engine}21{name}" for name in ("E1", "E2")}
    cars = {name: f"01{car}21{name}" for name in ("C1", "C2")}
    await scene.scan(IN, *codes.values(), *cars.values())
    await scene.scan(BENCH, codes["E1"], parent=cars["C1"])
    await scene.unit(codes["E1"], parent=f"sgtin:{car}.C1")
    await scene.unit(cars["C1"], children=[f"sgtin:{engine}.E1"])
    await scene.scan(STRIP, codes["E1"])
    await scene.unit(codes["E1"], parent=None)
    await scene.scan(BENCH, codes["E1"], parent=cars["C2"])
    await scene.scan(BENCH, codes["E2"], parent=cars["C1"])
    await scene.unit(cars["C2"], children=[f"sgtin:{engine}.E1"])
    await scene.unit(cars["C1"], children=[f"sgtin:{engine}.E2"])
    await _either_side_tells_the_other(scene, engine, car)
    recall = {
        "id": scene.named("R"),
        "title": "Piston may break",
        "reason": "Notice of the maker",
        "products": [engine],
        "selectors": [{"kind": "list", "serials": ["E1"]}],
    }
    await scene.ask("POST", "/recalls", recall)
    await scene.comes(f"/recalls/{recall['id']}", published=True)
    kinship = await scene.ask("GET", f"/units/{codes['E1']}/kinship")
    scene.expect("the parent of what is recalled", kinship["parents"], [f"sgtin:{car}.C2"])
    await scene.scan(GATE, *cars.values())
    await scene.unit(codes["E1"], phase="shipped")
    await scene.unit(codes["E2"], phase="shipped")
    scene.alert("recalled_at_shipping", f"sgtin:{engine}.E1")
    return "engine in, out and into another car; recalled, it is found in its car and at the gate"


async def _either_side_tells_the_other(scene: Scene, engine: str, car: str) -> None:
    told = await scene.ask("GET", f"/units/01{engine}21E1/kinship")
    within = [(each["unit"], each["until"] is None) for each in told["within"]]
    first, second = f"sgtin:{car}.C1", f"sgtin:{car}.C2"
    scene.expect("within which it was, and is", within, [(first, False), (second, True)])
    told = await scene.ask("GET", f"/units/01{car}21C1/kinship")
    inside: list[Any] = [(each["unit"], each["until"] is None) for each in told["inside"]]
    wanted = [(f"sgtin:{engine}.E1", False), (f"sgtin:{engine}.E2", True)]
    scene.expect("what was, and is, inside", sorted(inside), wanted)


SCENARIO = Scenario(5, "assembly", (IN, BENCH, STRIP, GATE), play)
