"""10. Alerts: how urgent by policy, seen to by people, withdrawn by a late scan, sent on signed."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from scantrail.cli.scenarios.scene import Scenario, Scene
from scantrail.cli.site import HOST, OWNER, Place
from scantrail.domain.vocabulary import BusinessStep
from scantrail.domain.webhook import sign

SITE = "port"
GATE = Place("port-gate", "Port, gate", SITE, BusinessStep.SHIPPING, None, "http", "carrier")
QUAY = Place("port-quay", "Port, quay", SITE, BusinessStep.SHIPPING, None, "http", "carrier")
BACK = Place("port-back", "Port, returns", SITE, BusinessStep.RETURNING, "Returns", "http", OWNER)

KIND = "duplicate_serial"


class Receiver:
    """Another system: it is busy once, and then takes what it is sent."""

    def __init__(self) -> None:
        self.taken: list[tuple[dict[str, str], bytes]] = []
        self.refused: list[bytes] = []

    async def answer(self, stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and close."""
        head = (await stream.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head)
        }
        body = await stream.readexactly(int(headers["content-length"]))
        if not self.refused:
            self.refused.append(body)
            writer.write(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        else:
            self.taken.append((headers, body))
            writer.write(b"HTTP/1.1 204 Taken\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()


@asynccontextmanager
async def _receiving() -> AsyncIterator[tuple[Receiver, str]]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.answer, HOST, 0)
    async with server:
        yield receiver, f"http://{HOST}:{server.sockets[0].getsockname()[1]}/alerts"


async def play(scene: Scene) -> str:
    watched, ignored = scene.gtin(1), scene.gtin(2)
    decided = {
        "exceptions": [
            {"product": watched, "severity": "critical"},
            {"product": ignored, "severity": "off"},
        ]
    }
    await scene.ask("PUT", f"/alert-policies/{KIND}", decided)
    await scene.comes(f"/alert-policies/{KIND}", published=True)
    recall_off = "/alert-policies/recalled_at_shipping"
    refusal = await scene.ask("PUT", recall_off, {"severity": "off"}, status=400)
    scene.expect("what cannot be off", refusal["field"], "severity")
    async with _receiving() as (receiver, url):
        hook = {"url": url, "kinds": [KIND], "min_severity": "critical"}
        webhook = f"/webhooks/{scene.named('hook')}"
        secret = (await scene.ask("PUT", webhook, hook))["secret"]
        await _ship_twice(scene, ignored, "N1")  # it is not told
        alert = await _alert(scene, await _ship_twice(scene, watched, "D1"), "open")
        scene.expect("how urgent it is", alert["severity"], "critical")
        await _is_told_signed(scene, receiver, secret, alert["id"])
        await scene.ask("DELETE", webhook)
    path = f"/alerts/{alert['id']}"
    await scene.ask("POST", f"{path}/acknowledge", {})
    await scene.ask("POST", f"{path}/resolve", {"note": "relabelled"})
    history = [step["step"] for step in (await scene.ask("GET", path))["history"]]
    scene.expect("its history", history, ["raised", "acknowledged", "resolved"])
    scene.alert(KIND, alert["unit"], "resolved")
    await _a_late_return_explains_it(scene, watched)
    return "critical or off by product, sent signed and again, seen to, withdrawn by a late return"


async def _ship_twice(scene: Scene, product: str, serial: str) -> str:
    """The unit's key. The second time ten seconds after the first, at another gate."""
    now, code = datetime.now(UTC), f"01{product}21{serial}"
    await scene.scan(GATE, code, timestamp=(now - timedelta(seconds=20)).isoformat())
    await scene.scan(QUAY, code, timestamp=(now - timedelta(seconds=10)).isoformat())
    await scene.unit(code, business_step="shipping", version=2)
    return f"sgtin:{product}.{serial}"


async def _alert(scene: Scene, unit: str, status: str) -> Any:
    async def look() -> Any:
        return (await scene.ask("GET", f"/alerts?kind={KIND}&unit={unit}"))["alerts"]

    def is_so(found: Any) -> bool:
        return [each["status"] for each in found] == [status]

    (alert,) = await scene.until(f"the alert of {unit}", look, is_so)
    return alert


async def _is_told_signed(scene: Scene, receiver: Receiver, secret: str, alert_id: str) -> None:
    async def look() -> Any:
        return list(receiver.taken)

    ((headers, body),) = await scene.until("the webhook's message", look, bool)
    scene.expect("what is sent again", body, receiver.refused[0])
    scene.expect("the alert of the message", json.loads(body)["data"]["id"], alert_id)
    stamp = int(headers["webhook-timestamp"])
    signature = sign(secret, headers["webhook-id"], stamp, body)
    scene.expect("its signature", headers["webhook-signature"], signature)


async def _a_late_return_explains_it(scene: Scene, product: str) -> None:
    unit = await _ship_twice(scene, product, "D2")
    alert = await _alert(scene, unit, "open")
    between = datetime.fromisoformat(alert["event_time"]) - timedelta(seconds=5)
    await scene.scan(BACK, f"01{product}21D2", timestamp=between.isoformat())
    await _alert(scene, unit, "withdrawn")
    scene.alert(KIND, unit, "withdrawn")


SCENARIO = Scenario(10, "alerts and webhooks", (GATE, QUAY, BACK), play)
