"""Products without serials: the line of an order is the proof of purchase."""

from scantrail.cli.scenarios.scene import Scene


async def prove_purchases(scene: Scene) -> None:
    buyer, order, screws, glue = scene.named("buyer"), scene.named("SO"), "SCREW-4-40", "GLUE-250"
    for product in (screws, glue):
        await scene.ask("PUT", f"/products/{product}", {"name": product, "serials": "not_used"})
    lines = [{"product": screws, "quantity": 200}, {"product": glue, "quantity": 3}]
    who = {"id": buyer, "name": "Mary Shelley", "address": "1 Lake Road, Geneva"}
    await scene.ask("PUT", f"/orders/{order}", {"purchaser": who, "lines": lines})
    ways = {
        f"order={order}": 2,
        f"purchaser={buyer}": 2,
        "purchaser=Mary%20Shelley": 2,
        f"product={screws}": 1,
        "order=nobody-ordered": 0,
    }
    for asked, count in ways.items():
        proofs = (await scene.ask("GET", f"/proof-of-purchase?{asked}"))["lines"]
        scene.expect(f"lines by {asked}", len(proofs), count)
        for proof in proofs:
            scene.expect(f"purchaser by {asked}", proof["purchaser"], who)
    (proof,) = (await scene.ask("GET", f"/proof-of-purchase?order={order}&product={screws}"))[
        "lines"
    ]
    told = (proof["quantity"], proof["serials"], proof["line"])
    scene.expect("the proof", told, (200, "not_used", 1))
