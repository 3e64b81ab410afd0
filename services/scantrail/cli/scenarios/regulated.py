"""3. A regulated product: its register, licences, and what may not be erased."""

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

from scantrail.cli.scenarios.scene import Scenario, Scene
from scantrail.cli.site import OWNER, Place
from scantrail.domain.vocabulary import BusinessStep

SITE = "armoury"
SAFE = Place("safe-in", "Safe", SITE, BusinessStep.RECEIVING, "Safe", "http", OWNER)
BENCH = Place("safe-pack", "Safe, packing", SITE, BusinessStep.PACKING, "Bench", "http", OWNER)
DOOR = Place("safe-out", "Safe, door", SITE, BusinessStep.SHIPPING, None, "http", "carrier")

REGULATION = {
    "maker": "Acme Arms",
    "importer": "Import Co",
    "model": "M1",
    "type": "rifle",
    "calibre": ".308",
    "enter_within_days": 0,
    "retention_years": 20,
}
LICENCE = {"number": "1-23-456", "kind": "firearms", "valid_from": "2020-01-01"}


async def play(scene: Scene) -> str:
    rifle = scene.gtin(1)
    supplier, licensed, expired = map(scene.named, ("maker", "licensed", "expired"))
    await scene.ask("PUT", f"/products/{rifle}", {"name": "Rifle M1"})
    await scene.ask("PUT", f"/products/{rifle}/regulation", REGULATION)
    await scene.ask("PUT", f"/parties/{supplier}", _person("Acme Arms"))
    await scene.ask("PUT", f"/parties/{licensed}", _person("A. Buyer", LICENCE))
    past = LICENCE | {"valid_until": "2021-12-31"}
    await scene.ask("PUT", f"/parties/{expired}", _person("B. Buyer", past))
    for ref, purchaser in (("PO", supplier), ("SO", licensed), ("SO-late", expired)):
        order = {"purchaser": {"id": purchaser}}
        more = {"supplier": supplier} if ref == "PO" else {}
        await scene.ask("PUT", f"/orders/{scene.named(ref)}", order | more)
    await _the_book_fills_itself_and_keeps_its_first_entry(scene, rifle)
    await _an_expired_licence_holds(scene, rifle, expired)
    await _who_announced_it_supplied_it(scene, rifle)
    await _what_a_line_lacks_is_told(scene, rifle)
    refusal = await scene.ask("DELETE", f"/parties/{licensed}/personal-data", status=409)
    kept_until = str(datetime.now(UTC).year + REGULATION_YEARS)
    scene.expect("the year until which it is kept", refusal["until"][:4], kept_until)
    return (
        "book filled by scans, correction beside the first entry, no licence no exit, kept 20 years"
    )


REGULATION_YEARS = 20


def _person(name: str, *licences: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "address": "9 Mill Lane", "licences": list(licences)}


async def _line(scene: Scene, rifle: str, serial: str, **wanted: Any) -> Any:
    """The line of a rifle, once it says this."""

    async def look() -> Any:
        book = await scene.ask("GET", f"/register?of={rifle}")
        return [line for line in book["lines"] if line["serial"] == serial]

    def is_so(found: Any) -> bool:
        return len(found) == 1 and {**found[0], **wanted} == found[0]

    (line,) = await scene.until(f"line of {serial} with {wanted}", look, is_so)
    return line


async def _the_book_fills_itself_and_keeps_its_first_entry(scene: Scene, rifle: str) -> None:
    code = f"01{rifle}21M1-001"
    supplier, licensed = scene.named("maker"), scene.named("licensed")
    await scene.scan(SAFE, code, order=scene.named("PO"))
    line = await _line(scene, rifle, "M1-001", status="here", acquired_from=supplier)
    await scene.scan(DOOR, code, order=scene.named("SO"))
    await _line(scene, rifle, "M1-001", status="disposed", disposed_to=licensed)
    earlier = (datetime.now(UTC) - timedelta(days=1)).replace(microsecond=0).isoformat()
    mend = {"reason": "came the day before", "acquired_at": earlier, "by": "clerk-1"}
    await scene.ask("POST", f"/register/{line['line']}/corrections", mend)
    told = await scene.ask("GET", f"/register/{line['line']}")
    kinds = [entry["kind"] for entry in told["entries"]]
    scene.expect("entries", kinds, ["acquisition", "disposition", "correction"])
    first = told["entries"][0]["acquired_at"]
    scene.expect("its first entry", first, line["acquired_at"])
    when = datetime.fromisoformat(told["acquired_at"])
    scene.expect("the date it has now", when, datetime.fromisoformat(earlier))
    export = await scene.ask("GET", f"/register/export?of={rifle}")
    rows = list(csv.DictReader(io.StringIO(export)))
    named = [(row["serial"], row["disposed_to_name"]) for row in rows]
    scene.expect("the export", named, [("M1-001", "A. Buyer")])


async def _an_expired_licence_holds(scene: Scene, rifle: str, expired: str) -> None:
    code = f"01{rifle}21M1-002"
    await scene.scan(SAFE, code, order=scene.named("PO"))
    await scene.scan(BENCH, code, order=scene.named("SO-late"))
    held = await scene.comes(f"/holds/{code}")
    reason = held["reasons"][0]
    told = (reason["id"], "expired on 2021-12-31" in reason["text"])
    scene.expect("why it is held", told, ("licence", True))
    await scene.ask("PUT", f"/parties/{expired}", _person("B. Buyer", LICENCE))

    async def status() -> Any:
        answer = await scene.ask("GET", "/holds?limit=1000")
        return [each["id"] for each in answer["holds"]]

    key = f"sgtin:{rifle}.M1-002"
    await scene.until("its release", status, lambda found: key not in found)


async def _who_announced_it_supplied_it(scene: Scene, rifle: str) -> None:
    notice = {
        "supplier": scene.named("maker"),
        "site": SITE,
        "lines": [{"product": rifle, "serials": ["M1-004"]}],
    }
    await scene.ask("PUT", f"/advance-notices/{scene.named('ASN')}", notice)
    await scene.scan(SAFE, f"01{rifle}21M1-004")
    await _line(scene, rifle, "M1-004", acquired_from=scene.named("maker"), missing=[])


async def _what_a_line_lacks_is_told(scene: Scene, rifle: str) -> None:
    await scene.scan(SAFE, f"01{rifle}21M1-003")  # by no order: nobody says from whom
    line = await _line(scene, rifle, "M1-003", missing=["acquired_from"])
    key = f"sgtin:{rifle}.M1-003"
    scene.alert("register_overdue", key, "withdrawn")

    async def statuses() -> Any:
        listed = await scene.ask("GET", f"/alerts?kind=register_overdue&unit={key}")
        return [each["status"] for each in listed["alerts"]]

    await scene.until("its alert", statuses, lambda found: found == ["open"])
    mend = {"reason": "from its papers", "acquired_from": scene.named("maker")}
    await scene.ask("POST", f"/register/{line['line']}/corrections", mend)
    await scene.until("the alert's end", statuses, lambda found: found == ["withdrawn"])


SCENARIO = Scenario(3, "regulated product", (SAFE, BENCH, DOOR), play)
