"""8. Warranty: until when, for whom, and what there is to say of a claim."""

from typing import Any

from scantrail.cli.scenarios.scene import Scenario, Scene
from scantrail.cli.site import Place
from scantrail.domain.vocabulary import BusinessStep

SITE = "shop"
GATE = Place("shop-gate", "Shop, gate", SITE, BusinessStep.SHIPPING, None, "http", "carrier")


async def play(scene: Scene) -> str:
    phone, kettle = scene.gtin(1), scene.gtin(2)
    order = scene.named("SO")
    who = {"id": scene.named("buyer"), "name": "Ada Byron", "address": "1 Dock Road, York"}
    await scene.ask("PUT", f"/sites/{SITE}", {"time_zone": "Etc/UTC"})
    await scene.ask("PUT", f"/products/{phone}", {"name": "Phone"})
    await scene.ask("PUT", f"/products/{kettle}", {"name": "Kettle", "captured": "warranty"})
    for product, start in ((phone, "shipping"), (kettle, "registration")):
        term = {"months": 24, "start": start, "valid_from": "2020-01-01"}
        await scene.ask("PUT", f"/products/{product}/warranty", term)
    lines = [{"product": phone, "quantity": 3}, {"product": kettle, "quantity": 1}]
    await scene.ask("PUT", f"/orders/{order}", {"purchaser": who, "lines": lines})
    recall = {
        "id": scene.named("R"),
        "title": "Charger may overheat",
        "reason": "Notice of the maker",
        "products": [phone],
        "selectors": [{"kind": "list", "serials": ["W2"]}],
    }
    await scene.ask("POST", "/recalls", recall)
    await scene.comes(f"/recalls/{recall['id']}", published=True)
    for serial in ("W1", "W2", "W3"):
        await scene.scan(GATE, f"01{phone}21{serial}", order=order)
        await scene.comes(f"/units/01{phone}21{serial}/warranty", state="covered", purchaser=who)
    scene.alert("recalled_at_shipping", f"sgtin:{phone}.W2")
    await _claims_say_what_there_is_to_say(scene, phone, order)
    await _where_serials_are_for_warranty_only(scene, kettle, order)
    return "covered 24 months; claims on recalled, never shipped, replaced and void say so"


async def _claim(scene: Scene, number: int, **what: Any) -> Any:
    """What there is to say of a claim that is filed."""
    body = {"id": scene.named(f"C-{number}"), "fault": "does not start"} | what
    told = await scene.ask("POST", "/claims", body)
    return [each["reason"] for each in told["remarks"]]


async def _claims_say_what_there_is_to_say(scene: Scene, phone: str, order: str) -> None:
    def unit(serial: str) -> str:
        return f"01{phone}21{serial}"

    scene.expect("of W1", await _claim(scene, 1, unit=unit("W1")), [])
    scene.expect("of W2", await _claim(scene, 2, unit=unit("W2")), ["recalled"])
    scene.expect("of W9", await _claim(scene, 3, unit=unit("W9")), ["never_shipped"])
    events = f"/claims/{scene.named('C-1')}/events"
    await scene.ask("POST", events, {"state": "accepted"})
    await scene.ask("POST", events, {"state": "replaced", "replacement": unit("W4")})
    old = await scene.comes(f"/units/{unit('W1')}/warranty", state="replaced")
    heir = await scene.comes(f"/units/{unit('W4')}/warranty", state="covered")
    scene.expect("until when the other is covered", heir["until"], old["until"])
    scene.expect("of W1 again", await _claim(scene, 4, unit=unit("W1")), ["already_replaced"])
    without_note = {"state": "accepted"}
    events = f"/claims/{scene.named('C-4')}/events"
    refusal = await scene.ask("POST", events, without_note, status=409)
    scene.expect("what is lacking", refusal["field"], "note")
    opened = {"unit": unit("W3"), "is_void": True, "reason": "opened by others"}
    await scene.ask("POST", "/warranty-decisions", opened)
    scene.expect("of W3", await _claim(scene, 5, unit=unit("W3")), ["void"])
    told = await scene.ask("GET", f"/units/{unit('W3')}/warranty")
    scene.expect("why it is void", told["void"]["reason"], "opened by others")


async def _where_serials_are_for_warranty_only(scene: Scene, kettle: str, order: str) -> None:
    registration = {"unit": f"01{kettle}21K7", "order": order}
    told = await scene.ask("POST", "/registrations", registration)
    scene.expect("the kettle", (told["state"], told["order"]), ("covered", order))
    more = {"product": kettle, "order": order}
    scene.expect("of K7", await _claim(scene, 6, serial="K7", **more), [])
    wanted = ["not_registered", "more_than_bought"]  # one was bought
    scene.expect("of K8", await _claim(scene, 7, serial="K8", **more), wanted)


SCENARIO = Scenario(8, "warranty and claims", (GATE,), play)
