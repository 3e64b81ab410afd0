"""The life of alerts through the API, and webhooks that are told of it, over real sockets."""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from integration.processes import Process
from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain.alert import Alert, AlertKind, AlertStatus
from scantrail.domain.webhook import make_secret, sign
from scantrail.infra.failpoints import FAILPOINT

if TYPE_CHECKING:
    from integration.conftest import Site

SECRET = make_secret(b"k" * 32)


class Receiver:
    """A real server that keeps what it was sent and answers with `status`."""

    def __init__(self) -> None:
        self.status = 204
        self.requests: list[tuple[dict[str, str], bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.requests.append((headers, body))
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/alerts"

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.requests]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    serving = threading.Thread(target=receiver.server.serve_forever, args=(0.05,))
    serving.start()
    yield receiver
    receiver.server.shutdown()
    serving.join()
    receiver.server.server_close()


def alert(at: "Site", number: int, told_by: str = "e-1", **more: Any) -> Alert:
    scan = at.scan("1")
    fields = {
        "id": f"{number:032x}",
        "kind": AlertKind.DUPLICATE_SERIAL,
        "severity": "warning",
        "status": AlertStatus.RAISED,
        "unit": scan.unit,
        "event_id": "e-1",
        "station": "dock-1",
        "site": "north",
        "event_time": scan.event_time,
        "text": "was seen twice",
        "told_by": told_by,
    }
    return Alert(**(fields | more))


async def tell(site: "Site", told: Alert) -> None:
    await site.publish(Topic.ALERTS, told.id, encode(told))


async def ask(site: "Site", status: int, method: str, path: str, **more: Any) -> Any:
    answer = await site.ask(method, path, **more)
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


async def until_alert(site: "Site", number: int, **expected: Any) -> Any:
    async def told() -> Any:
        answer = await site.ask("GET", f"/alerts/{number:032x}")
        found = answer.json()
        is_there = answer.status_code == 200 and {**found, **expected} == found
        return found if is_there else None

    return await site.until(told)


def webhooks_allowed(site: "Site", **more: Any) -> None:
    site.settings = replace(
        site.settings, webhook_private_addresses="allow", webhook_backoff_s=0.01, **more
    )


async def test_who_did_what_with_an_alert_is_kept(site: "Site") -> None:
    await site.start("projector")
    await site.start("api")
    await tell(site, alert(site, 1))
    await tell(site, alert(site, 1, "e-2"))
    await until_alert(site, 1, status="open", repeats=1)
    path = f"/alerts/{1:032x}"
    await ask(site, 200, "POST", f"{path}/acknowledge", json={})
    refusal = await ask(site, 409, "POST", f"{path}/acknowledge", json={})
    assert refusal["reason"] == "already_acknowledged"
    refusal = await ask(site, 409, "POST", f"{path}/reopen", json={})
    assert refusal["reason"] == "not_resolved"
    done = {"note": "relabelled"}
    await ask(site, 200, "POST", f"{path}/resolve", json=done)
    await tell(site, alert(site, 1, "e-3", status=AlertStatus.WITHDRAWN))
    told = await until_alert(site, 1, status="resolved", withdrawn=True)
    assert [(e["step"], e["status"], e["who"], e["note"]) for e in told["history"]] == [
        ("raised", "open", None, None),
        ("acknowledged", "acknowledged", "anonymous", None),
        ("resolved", "resolved", "anonymous", "relabelled"),
        ("withdrawn", "resolved", None, None),
    ]
    for status in ("resolved", "withdrawn"):  # it is both
        page = await ask(site, 200, "GET", f"/alerts?status={status}")
        assert [found["id"] for found in page["alerts"]] == [f"{1:032x}"]
    told = await ask(site, 200, "POST", f"{path}/reopen", json={})
    assert told["status"] == "withdrawn"
    await tell(site, alert(site, 1, "e-4"))
    told = await until_alert(site, 1, status="open", withdrawn=False)
    assert [e["step"] for e in told["history"]][-2:] == ["reopened", "raised_again"]
    every = await ask(site, 200, "GET", f"{path}?repeats=true&limit=2")
    assert [e["step"] for e in every["history"]] == ["raised", "repeated"]
    rest = await ask(site, 200, "GET", f"{path}?repeats=true&cursor={every['next']}")
    assert [e["number"] for e in rest["history"]] == [3, 4, 5, 6, 7]


async def test_alerts_are_found_by_what_is_asked(site: "Site") -> None:
    await site.start("projector")
    await site.start("api")
    at = site.scan("1").event_time
    await tell(site, alert(site, 1, recall="R-1", severity="critical", site="south"))
    await tell(site, alert(site, 2))
    await until_alert(site, 1)
    await until_alert(site, 2)
    later = msgspec.to_builtins(at).replace("+00:00", "Z")
    for asked, expected in {
        "recall=R-1": [1],
        "severity=critical": [1],
        "severity=warning": [2],
        "site=south": [1],
        f"since={later}": [1, 2],
        "since=2999-01-01T00:00:00Z": [],
    }.items():
        page = await ask(site, 200, "GET", f"/alerts?{asked}")
        assert [int(found["id"], 16) for found in page["alerts"]] == expected, asked
    refusal = await ask(site, 400, "GET", "/alerts?since=2026-01-01T00:00:00")
    assert refusal["field"] == "since"
    await ask(site, 404, "GET", "/alerts/none")
    await ask(site, 404, "POST", "/alerts/none/acknowledge", json={})
    path = f"/alerts/{2:032x}"
    for step, body, field in (
        ("acknowledge", {"note": ""}, "note"),
        ("resolve", {}, "note"),
        ("resolve", {"note": " "}, "note"),
    ):
        refusal = await ask(site, 400, "POST", f"{path}/{step}", json=body)
        assert refusal["field"] == field


async def test_a_webhook_is_told_of_what_it_asked_for(site: "Site", receiver: Receiver) -> None:
    webhooks_allowed(site)
    await site.start("projector")
    await site.start("api")
    hook = {"url": receiver.url, "secret": SECRET, "min_severity": "critical"}
    assert "secret" not in await ask(site, 200, "PUT", "/webhooks/w-1", json=hook)
    assert "secret" not in await ask(site, 200, "GET", "/webhooks/w-1")
    assert "secret" not in (await ask(site, 200, "GET", "/webhooks"))["webhooks"][0]
    await tell(site, alert(site, 1))
    await tell(site, alert(site, 2, severity="critical"))
    await tell(site, alert(site, 2, "e-2", severity="critical"))  # a repeat is no news
    await site.until(lambda: receiver.requests)
    path = f"/alerts/{2:032x}/acknowledge"
    await ask(site, 200, "POST", path, json={})
    await site.until(lambda: len(receiver.requests) > 1)
    assert [key.split(".")[:2] for key in receiver.ids] == [
        [f"{2:032x}", "open"],
        [f"{2:032x}", "acknowledged"],
    ]
    for headers, body in receiver.requests:
        stamp = int(headers["webhook-timestamp"])
        assert headers["webhook-signature"] == sign(SECRET, headers["webhook-id"], stamp, body)
    assert SECRET not in repr(site.logs)


async def test_what_is_not_taken_is_parked_with_the_reason_and_sent_again_when_asked(
    site: "Site", receiver: Receiver
) -> None:
    webhooks_allowed(site, webhook_attempts_max=3)
    receiver.status = 500
    await site.start("projector")
    await site.start("api")
    made = await ask(site, 200, "PUT", "/webhooks/w-1", json={"url": receiver.url})
    assert made["secret"].startswith("whsec_")
    await tell(site, alert(site, 1))
    parked = "/webhooks/w-1/deliveries?status=parked"

    async def is_parked() -> Any:
        return (await ask(site, 200, "GET", parked))["deliveries"]

    (told,) = await site.until(is_parked)
    assert (told["attempts"], told["reason"]) == (3, "answered 500")
    assert len(set(receiver.ids)) == 1
    assert len({body for _, body in receiver.requests}) == 1
    receiver.status = 200
    await ask(site, 200, "POST", f"/webhooks/w-1/deliveries/{told['id']}/redeliver")
    delivered = "/webhooks/w-1/deliveries?status=delivered"

    async def is_delivered() -> Any:
        return (await ask(site, 200, "GET", delivered))["deliveries"]

    assert [each["id"] for each in await site.until(is_delivered)] == [told["id"]]
    assert receiver.ids == [told["id"]] * 4
    await ask(site, 404, "POST", "/webhooks/w-1/deliveries/none/redeliver")
    await ask(site, 200, "DELETE", "/webhooks/w-1")
    await ask(site, 404, "DELETE", "/webhooks/w-1")
    await ask(site, 404, "GET", "/webhooks/w-1")
    for body, field in (
        ({"url": "ftp://example.com"}, "url"),
        ({"url": "https://me:pass@example.com"}, "url"),
        ({"url": receiver.url, "secret": "short"}, "secret"),
        ({"url": receiver.url, "kinds": ["nothing"]}, "kinds[0]"),
    ):
        refusal = await ask(site, 400, "PUT", "/webhooks/w-2", json=body)
        assert refusal["field"] == field


async def test_an_api_killed_behind_the_delivery_sends_it_again_under_its_id(
    site: "Site", receiver: Receiver, tmp_path: Path
) -> None:
    webhooks_allowed(site)
    await site.start("projector")
    api = Process("api", site.settings, tmp_path, {FAILPOINT: "webhook_delivered:1"})
    try:
        await asyncio.to_thread(api.await_ready)
        await ask(site, 200, "PUT", "/webhooks/w-1", json={"url": receiver.url, "secret": SECRET})
        await tell(site, alert(site, 1))
        assert await asyncio.to_thread(api.status_within, 30.0) == -signal.SIGKILL
        assert len(receiver.requests) == 1
        assert site.rows("SELECT state, attempts FROM webhook_delivery") == [("waiting", 0)]
        again = Process("api", site.settings, tmp_path)
        try:
            query = "SELECT state, attempts FROM webhook_delivery"
            await site.until(lambda: site.rows(query) == [("delivered", 1)], 40.0)
        finally:
            again.process.kill()
            again.process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            api.process.kill()
        api.process.wait()
    first, second = receiver.requests
    assert first[0]["webhook-id"] == second[0]["webhook-id"]
    assert first[1] == second[1]
