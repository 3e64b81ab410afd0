"""Changes through real HTTP: versions, retries, the audit chain, tokens, pages, rates."""

import asyncio
import hmac
import json
import re
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import httpx
import jsonschema
import msgspec
import psycopg
import pytest
from litestar import Litestar, get
from sqlalchemy.ext.asyncio import create_async_engine

from scantrail.api.access import Guard, Role, check_roles, role_of, routes_of
from scantrail.api.app import build_api
from scantrail.api.description import completed
from scantrail.api.outbox import Outbox
from scantrail.api.paging import cursor_behind
from scantrail.api.problems import Problem
from scantrail.cli.tokens import (
    TokenRefused,
    list_people,
    make_person,
    revoke_person,
    verify_audit,
)
from scantrail.contracts.topics import Topic
from scantrail.infra.settings import Settings

if TYPE_CHECKING:
    from integration.conftest import Site

STATION = {"site": "north", "business_step": "receiving"}
RECALL = {
    "id": "R-1",
    "title": "Battery",
    "reason": "may overheat",
    "selectors": [{"kind": "list", "serials": ["1"]}],
}
ORDER = {"purchaser": {"name": "Ada Byron", "address": "1 Dock Road, York"}}
PROBLEM = "application/problem+json"
ROLES = (Role.READ, Role.OPERATE, Role.QUALITY, Role.ADMIN)


async def ok(site: "Site", method: str, path: str, **more: Any) -> httpx.Response:
    answer = await site.ask(method, path, **more)
    assert answer.status_code in (200, 201), (answer.status_code, answer.text)
    return answer


async def refused(site: "Site", status: int, method: str, path: str, **more: Any) -> httpx.Response:
    answer = await site.ask(method, path, **more)
    assert answer.status_code == status, (answer.status_code, answer.text)
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json()["detail"]
    return answer


# ---------------------------------------------------------------------------------- versions


async def test_a_change_of_another_version_than_was_read_is_refused(site: "Site") -> None:
    await site.start("api")
    changed = ("PUT", "/stations/dock-1")
    none = await refused(site, 412, *changed, json=STATION, headers={"If-Match": '"1"'})
    assert (none.json()["version"], none.headers.get("etag")) == (0, None)
    first = await ok(site, *changed, json=STATION, headers={"If-None-Match": "*"})
    assert first.headers["etag"] == '"1"'
    assert (await ok(site, "GET", "/stations/dock-1")).headers["etag"] == '"1"'
    await refused(site, 412, *changed, json=STATION, headers={"If-None-Match": "*"})
    second = await ok(site, *changed, json=STATION, headers={"If-Match": '"7", "1"'})
    assert second.headers["etag"] == '"2"'
    late = await refused(site, 412, *changed, json=STATION, headers={"If-Match": '"1"'})
    assert (late.headers["etag"], late.json()["version"], late.json()["field"]) == (
        '"2"',
        2,
        "If-Match",
    )
    await refused(site, 412, *changed, json=STATION, headers={"If-Match": 'W/"2"'})
    await ok(site, *changed, json=STATION, headers={"If-Match": "*"})
    for odd in ("2", '"2', '"2" "3"', '"2",', ""):
        problem = await refused(site, 400, *changed, json=STATION, headers={"If-Match": odd})
        assert problem.json()["field"] == "If-Match"
    problem = await refused(site, 400, *changed, json=STATION, headers={"If-None-Match": '"1"'})
    assert problem.json()["field"] == "If-None-Match"
    assert site.rows("SELECT version FROM station") == [(3,)]
    assert site.rows("SELECT count(*) FROM audit") == [(3,)]


async def test_orders_recalls_and_holds_have_versions_too(site: "Site") -> None:
    await site.start("api")
    unit = site.unit("1")
    bodies = {
        "/orders/4711": ORDER,
        "/recalls/R-1": {name: value for name, value in RECALL.items() if name != "id"},
        f"/holds/{unit}/check": {"text": "seal broken"},
        "/products/PUMP-7": {"name": "Pump"},
    }
    for path, body in bodies.items():
        first = await ok(site, "PUT", path, json=body)
        read = await ok(site, "GET", path.removesuffix("/check"))
        assert first.headers["etag"] == read.headers["etag"] == '"1"', path
        await refused(site, 412, "PUT", path, json=body, headers={"If-Match": '"2"'})
        await ok(site, "PUT", path, json=body, headers={"If-Match": '"1"'})
    await refused(site, 412, "DELETE", f"/holds/{unit}/check", headers={"If-Match": '"9"'})
    held = (await ok(site, "GET", f"/holds/{unit}")).headers["etag"]
    gone = await ok(site, "DELETE", f"/holds/{unit}/check", headers={"If-Match": held})
    assert gone.json()["reasons"] == []


async def test_an_installation_may_demand_the_version_that_is_changed(site: "Site") -> None:
    await site.start("api", replace(site.settings, api_versions="required"))
    await ok(site, "PUT", "/stations/dock-1", json=STATION)  # it is new
    problem = await refused(site, 428, "PUT", "/stations/dock-1", json=STATION)
    assert problem.headers["etag"] == '"1"'
    await ok(site, "PUT", "/stations/dock-1", json=STATION, headers={"If-Match": '"1"'})


async def test_a_version_of_what_has_none_is_refused(site: "Site") -> None:
    await site.start("api")
    body = {"reader": "r-1"}
    told = {"json": body, "headers": {"If-Match": '"1"'}}
    problem = await refused(site, 400, "POST", "/rejected/replay", **told)
    assert problem.json()["field"] == "If-Match"


# ----------------------------------------------------------------------------------- retries


async def test_a_retry_is_told_what_was_answered_and_changes_nothing(site: "Site") -> None:
    await site.start("api")
    key = {"Idempotency-Key": "k-1"}
    first = await ok(site, "POST", "/recalls", json=RECALL, headers=key)
    again = await ok(site, "POST", "/recalls", json=RECALL, headers=key)
    assert (again.status_code, again.json()) == (201, first.json())
    for name in ("location", "etag"):
        assert again.headers[name] == first.headers[name]
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    other = await refused(site, 422, "POST", "/recalls", json=RECALL | {"id": "R-2"}, headers=key)
    assert other.json()["field"] == "Idempotency-Key"
    await refused(site, 409, "POST", "/recalls", json=RECALL)  # without the key it is another
    assert site.rows("SELECT count(*) FROM recall") == [(1,)]
    assert site.rows("SELECT count(*) FROM audit") == [(1,)]


async def test_a_refusal_is_not_kept_and_a_key_counts_for_a_day(site: "Site") -> None:
    await site.start("api")
    key = {"Idempotency-Key": "k-1"}
    await refused(site, 400, "POST", "/recalls", json=RECALL | {"title": ""}, headers=key)
    await ok(site, "POST", "/recalls", json=RECALL, headers=key)
    site.execute("UPDATE idempotency SET at = at - interval '25 hours'")
    await refused(site, 409, "POST", "/recalls", json=RECALL, headers=key)  # judged anew
    await ok(site, "POST", "/recalls", json=RECALL | {"id": "R-2"}, headers=key)
    assert site.rows("SELECT count(*) FROM idempotency") == [(1,)]


@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb"])
async def test_a_key_that_cannot_be_kept_is_refused(site: "Site", key: str) -> None:
    await site.start("api")
    problem = await refused(
        site, 400, "POST", "/recalls", json=RECALL, headers={"Idempotency-Key": key}
    )
    assert problem.json()["field"] == "Idempotency-Key"


async def test_of_requests_with_one_key_at_once_one_is_made(site: "Site") -> None:
    await site.start("api")
    key = {"Idempotency-Key": "k-1"}
    # the first stands at the chain's end while the others come
    with psycopg.connect(site.settings.database_url) as held:
        held.execute("SELECT pg_advisory_xact_lock(7264504)")
        first = asyncio.create_task(site.ask("POST", "/recalls", json=RECALL, headers=key))
        waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        await site.until(lambda: site.rows(waits) == [(1,)])
        second = await refused(site, 409, "POST", "/recalls", json=RECALL, headers=key)
        assert second.headers["retry-after"] == "1"
        held.rollback()
    assert (await first).status_code == 201
    again = await ok(site, "POST", "/recalls", json=RECALL, headers=key)
    assert again.json() == (await first).json()


# ------------------------------------------------------------------------------------- audit


async def test_each_change_has_its_row_in_a_chain_that_verifies(site: "Site") -> None:
    await site.start("api")
    await ok(site, "PUT", "/stations/dock-1", json=STATION)
    await ok(site, "PUT", "/orders/4711", json=ORDER)
    await ok(site, "PUT", "/identifiers", json={"ids": [site.unit("1"), site.unit("2")]})
    await refused(site, 400, "PUT", "/stations/dock-1", json={})
    rows = (await ok(site, "GET", "/audit")).json()["audit"]
    told = [(r["number"], r["entity"], r["reference"], r["new_version"]) for r in rows]
    assert told == [
        (1, "station", "dock-1", 1),
        (2, "order", "4711", 1),
        (3, "party", "order 4711", 1),
        (4, "identifier", site.unit("2"), 1),
    ]
    assert {(row["who"], row["role"], row["method"]) for row in rows} == {
        ("anonymous", "admin", "PUT")
    }
    assert rows[0]["route"] == "/stations/{station_id}"
    stored = str(site.rows("SELECT * FROM audit"))
    assert not any(word in stored for word in ("Ada", "Byron", "Dock Road"))
    page = (await ok(site, "GET", "/audit?limit=3")).json()
    rest = (await ok(site, "GET", f"/audit?limit=3&cursor={page['next']}")).json()
    assert page["audit"] + rest["audit"] == rows
    assert rest["next"] is None
    of_one = (await ok(site, "GET", "/audit?entity=order&reference=4711")).json()["audit"]
    assert of_one == rows[1:2]
    await refused(site, 400, "GET", "/audit?reference=4711")
    verified = (await ok(site, "GET", "/audit/verify")).json()
    assert verified == {
        "verifies": True,
        "rows": 4,
        "last_hash": rows[3]["hash"],
        "broken": None,
    }


async def test_a_name_that_was_erased_is_not_to_be_guessed_by_the_audit(site: "Site") -> None:
    await site.start("api")
    body = json.dumps({"name": "Ada Byron", "address": "1 Dock Road, York"}).encode()
    await ok(site, "PUT", "/parties/p-1", content=body)
    await ok(site, "DELETE", "/parties/p-1/personal-data")
    told = (await ok(site, "GET", "/audit")).json()["audit"][0]["request_sha256"]
    assert told != sha256(b"PUT /parties/p-1?\n" + body).hexdigest()
    assert len(told) == 64
    ((secret,),) = site.rows("SELECT secret FROM installation_secret WHERE name = 'audit'")
    digest = sha256(b"PUT /parties/p-1?\n" + body).digest()
    assert told == hmac.new(secret, digest, sha256).hexdigest()  # the same for each api


@pytest.mark.parametrize(
    ("forgery", "number"),
    [
        ("UPDATE audit SET who = 'nobody' WHERE number = 2", 2),
        ("DELETE FROM audit WHERE number = 2", 2),
        ("DELETE FROM audit WHERE number = 1", 1),
        ("UPDATE audit SET previous_hash = repeat('1', 64) WHERE number = 3", 3),
    ],
)
async def test_a_row_that_was_altered_is_named(site: "Site", forgery: str, number: int) -> None:
    await site.start("api")
    for _ in range(3):
        await ok(site, "PUT", "/stations/dock-1", json=STATION)
    with pytest.raises(psycopg.errors.RaiseException, match="never changed"):
        site.execute(forgery)
    site.execute("ALTER TABLE audit DISABLE TRIGGER audit_is_only_added_to")
    site.execute(forgery)
    told = (await ok(site, "GET", "/audit/verify")).json()
    assert (told["verifies"], told["broken"]["number"]) == (False, number)
    status, said = await asyncio.to_thread(verify_audit, site.settings)
    assert status == 1
    assert f"row {number} is broken" in said


async def test_changes_at_once_make_one_chain(site: "Site") -> None:
    await site.start("api")
    paths = [f"/stations/dock-{number % 7}" for number in range(40)]
    await asyncio.gather(*(ok(site, "PUT", path, json=STATION) for path in paths))
    told = (await ok(site, "GET", "/audit/verify")).json()
    assert (told["verifies"], told["rows"]) == (True, 40)
    status, said = await asyncio.to_thread(verify_audit, site.settings)
    assert (status, "40 rows verify" in said) == (0, True)


# ------------------------------------------------------------------------------------ tokens


@pytest.fixture
def app() -> Litestar:
    """The application, on a database that nobody asks."""
    settings = Settings(api_tokens="required")
    engine = create_async_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")
    return build_api(engine, Outbox(settings, engine), httpx.AsyncClient(), settings)


def is_of_page(path: str) -> bool:
    return path == "/" or path.startswith("/page/")


def every_route(app: Litestar, *, of_page: bool = False) -> list[tuple[str, str, Role]]:
    """Method, an address, and the role of each route of the API, or of the page, that needs one."""
    found = []
    for path, handler in routes_of(app):
        role = role_of(handler)
        if role in (None, Role.PUBLIC) or is_of_page(path) != of_page:
            continue
        address = "/".join("x" if part.startswith("{") else part for part in path.split("/"))
        found += [(method, address, role) for method in handler.http_methods - {"HEAD", "OPTIONS"}]
    return found


async def test_every_route_refuses_a_lesser_role(site: "Site", app: Litestar) -> None:
    tokens = {}
    for role in ROLES:
        said = await asyncio.to_thread(make_person, site.settings, f"p-{role}", role.value, [])
        tokens[role] = said.split("Bearer ")[1].split()[0]
    await site.start("api", replace(site.settings, api_tokens="required"))
    routes = every_route(app)
    assert len(routes) >= 30
    for method, address, needed in routes:
        without = await refused(site, 401, method, address)
        assert "Bearer" in without.headers["www-authenticate"], address
        for role in ROLES:
            shown = {"Authorization": f"Bearer {tokens[role]}"}
            answer = await site.ask(method, address, headers=shown)
            is_let_in = ROLES.index(role) >= ROLES.index(needed)
            assert (answer.status_code not in (401, 403)) == is_let_in, (method, address, role)
            if not is_let_in:
                assert answer.status_code == 403
                assert answer.json()["needed"] == needed.value
    assert (await site.ask("GET", "/schema/openapi.json")).status_code == 200


async def test_every_screen_is_for_its_role_and_who_is_not_known_signs_in(
    site: "Site", app: Litestar
) -> None:
    tokens = {}
    for role in ROLES:
        said = await asyncio.to_thread(make_person, site.settings, f"p-{role}", role.value, [])
        tokens[role] = said.split("Bearer ")[1].split()[0]
    await site.start("api", replace(site.settings, api_tokens="required"))
    screens = every_route(app, of_page=True)
    assert len(screens) >= 20
    for method, address, needed in screens:
        without = await site.ask(method, address)
        if address in NO_SCREENS:
            assert without.status_code == 401
        else:
            assert without.status_code == 303, (method, address)
            assert without.headers["location"].startswith("/page/sign-in?next=")
        for role in ROLES:
            shown = {"Authorization": f"Bearer {tokens[role]}"}
            is_let_in = ROLES.index(role) >= ROLES.index(needed)
            status = await asyncio.wait_for(status_of(site, method, address, shown), 30)
            assert (status not in (401, 403)) == is_let_in, (method, address, role)


#: A stream and a picture, which no person opens by themselves.
NO_SCREENS = ("/page/live", "/page/qr")


async def status_of(site: "Site", method: str, address: str, headers: dict[str, str]) -> int:
    """Of an answer that may never end."""
    url = f"http://127.0.0.1:{site.settings.api_port}{address}"
    async with site.http.stream(method, url, headers=headers) as answer:
        return answer.status_code


async def person(site: "Site", token_id: str, role: str, *sites: str) -> dict[str, str]:
    said = await asyncio.to_thread(make_person, site.settings, token_id, role, list(sites))
    return {"Authorization": f"Bearer {said.split('Bearer ')[1].split()[0]}"}


async def test_licences_are_entered_and_taken_away_by_quality(site: "Site") -> None:
    desk, quality = await person(site, "d", "operate"), await person(site, "q", "quality")
    await site.start("api", replace(site.settings, api_tokens="required"))
    licence = {"number": "1-23", "kind": "firearms", "valid_from": "2025-01-01"}
    plain = {"name": "Ada", "address": "York", "roles": ["purchaser"]}
    licensed = plain | {"licences": [licence]}
    problem = await refused(site, 403, "PUT", "/parties/ada", json=licensed, headers=desk)
    told = problem.json()
    assert (told["field"], told["needed"]) == ("licences", "quality")
    assert site.rows("SELECT id FROM party") == []
    await ok(site, "PUT", "/parties/ada", json=plain, headers=desk)
    await ok(site, "PUT", "/parties/ada", json=licensed, headers=quality)
    await ok(site, "PUT", "/parties/ada", json=licensed | {"address": "Hull"}, headers=desk)
    for other in (plain, plain | {"licences": [licence | {"valid_from": "2024-01-01"}]}):
        await refused(site, 403, "PUT", "/parties/ada", json=other, headers=desk)
    await ok(site, "PUT", "/parties/ada", json=plain, headers=quality)


async def test_a_token_of_a_site_resolves_and_replays_nothing_of_another(site: "Site") -> None:
    boss, north = await person(site, "b", "admin"), await person(site, "n", "operate", "north")
    await site.start("api", replace(site.settings, api_tokens="required"))
    for name in ("north", "south"):
        station = STATION | {"site": name}
        await ok(site, "PUT", f"/stations/dock-{name}", json=station, headers=boss)
        site.execute(
            "INSERT INTO alert (id, kind, severity, status, event_id, site, event_time, text)"
            " VALUES (%s, 'duplicate_serial', 'warning', 'open', 'e', %s, now(), 'x')",
            f"a-{name}",
            name,
        )
        site.execute(
            "INSERT INTO rejected (id, source, reader, station, reason, detail, payload,"
            " record_time) VALUES (%s, 'read', %s, %s, 'unidentified_serial', '', '{}', now())",
            f"r-{name}",
            name,
            f"dock-{name}",
        )
    await ok(site, "POST", "/alerts/a-north/acknowledge", json={}, headers=north)
    for address, body in (
        ("/alerts/a-south/acknowledge", {}),
        ("/alerts/a-south/resolve", {"note": "done"}),
        ("/rejected/replay", {"reader": "south"}),
    ):
        problem = await refused(site, 403, "POST", address, json=body, headers=north)
        assert problem.json()["field"] == "site", address
    # its own goes on to the gateway, which is not there
    await refused(site, 503, "POST", "/rejected/replay", json={"reader": "north"}, headers=north)
    assert site.rows("SELECT status FROM alert WHERE id = 'a-south'") == [("open",)]


async def test_a_token_is_made_shown_once_bound_to_sites_and_revoked(site: "Site") -> None:
    said = await asyncio.to_thread(make_person, site.settings, "boss", "admin", [])
    boss = {"Authorization": f"Bearer {said.split('Bearer ')[1].split()[0]}"}
    await site.start("api", replace(site.settings, api_tokens="required"))
    body = {"id": "north-1", "role": "admin", "sites": ["north"]}
    keyed = boss | {"Idempotency-Key": "k"}
    made = (await ok(site, "POST", "/tokens", json=body, headers=keyed)).json()
    again = (await ok(site, "POST", "/tokens", json=body, headers=keyed)).json()
    token = made.pop("token")
    assert again == made
    assert token not in str(site.rows("SELECT * FROM idempotency, api_token, audit"))
    await refused(site, 409, "POST", "/tokens", json=body, headers=boss)
    for wrong, field in (({"role": "public"}, "role"), ({"id": "Ö"}, "id")):
        problem = await refused(site, 400, "POST", "/tokens", json=body | wrong, headers=boss)
        assert problem.json()["field"] == field
    listed = (await ok(site, "GET", "/tokens", headers=boss)).json()["tokens"]
    assert [(each["id"], each["sites"]) for each in listed] == [
        ("boss", []),
        ("north-1", ["north"]),
    ]
    shown = {"Authorization": f"Bearer {token}"}
    await ok(site, "PUT", "/stations/dock-1", json=STATION, headers=shown)
    elsewhere = STATION | {"site": "south"}
    await refused(site, 403, "PUT", "/stations/dock-9", json=elsewhere, headers=shown)
    await ok(site, "PUT", "/stations/dock-9", json=elsewhere, headers=boss)
    zone = {"time_zone": "Etc/UTC"}
    await ok(site, "PUT", "/sites/north", json=zone, headers=shown)
    await refused(site, 403, "PUT", "/sites/south", json=zone, headers=shown)
    # nor by giving it a site of its own
    await refused(site, 403, "PUT", "/stations/dock-9", json=STATION, headers=shown)
    page = await site.http.get(
        f"http://127.0.0.1:{site.settings.api_port}/", auth=("whoever", token)
    )
    assert page.status_code == 200
    address = f"http://127.0.0.1:{site.settings.api_port}/stations/dock-1"
    changed = await site.http.put(address, auth=("whoever", token), json=STATION)
    assert changed.status_code == 401  # a browser's password only reads
    for sites in ([], ["south"], ["north", "south"]):
        more = {"id": "x", "role": "read", "sites": sites}
        problem = await refused(site, 403, "POST", "/tokens", json=more, headers=shown)
        assert problem.json()["field"] == "sites"
    await refused(site, 403, "DELETE", "/tokens/boss", headers=shown)
    await ok(site, "DELETE", "/tokens/north-1", headers=boss)
    await refused(site, 401, "GET", "/stations", headers=shown)
    await refused(site, 404, "DELETE", "/tokens/north-1", headers=boss)
    assert "north-1  admin  north  revoked" in await asyncio.to_thread(list_people, site.settings)
    await asyncio.to_thread(make_person, site.settings, "north-1", "read", [])  # a new one
    with pytest.raises(TokenRefused, match="revoke it first"):
        await asyncio.to_thread(make_person, site.settings, "north-1", "read", [])
    await asyncio.to_thread(revoke_person, site.settings, "north-1")
    with pytest.raises(TokenRefused, match="nobody uses"):
        await asyncio.to_thread(revoke_person, site.settings, "north-1")
    rows = site.rows("SELECT who FROM audit WHERE entity = 'api_token' ORDER BY number")
    assert [who for (who,) in rows] == ["command line", "boss", "boss", *["command line"] * 2]
    assert (await asyncio.to_thread(verify_audit, site.settings))[0] == 0


@pytest.mark.parametrize("header", ["Bearer", "Bearer wrong", "Basic !!", "Basic eA==", "Digest x"])
async def test_what_is_no_token_is_401(site: "Site", header: str) -> None:
    await site.start("api", replace(site.settings, api_tokens="required"))
    await refused(site, 401, "GET", "/stations", headers={"Authorization": header})


async def test_an_api_that_others_reach_without_tokens_says_so(site: "Site") -> None:
    await site.start("api", replace(site.settings, listen_host="0.0.0.0"))
    await site.until_logged("no tokens are asked for")


async def test_who_is_not_known_makes_no_token_for_later(site: "Site") -> None:
    await site.start("api")
    problem = await refused(site, 403, "POST", "/tokens", json={"id": "x", "role": "admin"})
    assert "scantrail token person" in problem.json()["detail"]
    assert site.rows("SELECT * FROM api_token") == []


def test_a_route_without_a_role_is_a_mistake() -> None:
    @get("/open")
    async def forgotten() -> str:
        """Anything."""
        return ""

    with pytest.raises(TypeError, match="/open"):
        check_roles(Litestar([forgotten], openapi_config=None))


# -------------------------------------------------------------------------- pages and rates


async def test_lists_come_in_pages_by_cursor_and_refuse_what_they_do_not_know(
    site: "Site",
) -> None:
    await site.start("api")
    for name in ("a", "b", "c"):
        await ok(site, "PUT", f"/stations/{name}", json=STATION)
    page = (await ok(site, "GET", "/stations?limit=2")).json()
    assert [each["id"] for each in page["stations"]] == ["a", "b"]
    rest = (await ok(site, "GET", f"/stations?limit=2&cursor={page['next']}")).json()
    assert ([each["id"] for each in rest["stations"]], rest["next"]) == (["c"], None)
    for path, field in (
        (f"/audit?cursor={cursor_behind('audit', 'x')}", "cursor"),
        ("/stations?after=a", "after"),
        ("/stations?cursor=a", "cursor"),
        ("/stations?cursor=%00", "cursor"),
        (f"/products?cursor={page['next']}", "cursor"),
        ("/alerts?statu=open", "statu"),
    ):
        assert (await refused(site, 400, "GET", path)).json()["field"] == field


async def test_who_asks_too_often_waits(site: "Site") -> None:
    await site.start("api", replace(site.settings, api_requests_per_s_max=0.5))
    answers = [await site.ask("GET", "/stations") for _ in range(5)]
    late = answers[-1]
    assert [each.status_code for each in answers[:2]] == [200, 200]
    assert (late.status_code, late.headers["content-type"]) == (429, PROBLEM)
    assert 1 <= int(late.headers["retry-after"]) <= 4


# ------------------------------------------------------------------------------- description


async def test_every_route_is_described_with_examples_that_fit(site: "Site", app: Litestar) -> None:
    await site.start("api")
    described = (await ok(site, "GET", "/schema/openapi.json")).json()
    assert described["openapi"].startswith("3.1")
    operations = [
        (f"{method} {path}", method, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    assert len(operations) == len(every_route(app))

    def fits(content: dict[str, Any]) -> None:
        schema = content["schema"] | {"components": described["components"]}
        jsonschema.Draft202012Validator(schema).validate(content["example"])

    for name, method, operation in operations:
        assert operation["summary"], name
        if method in ("put", "post") and not name.endswith(("/close", "/redeliver")):
            for content in operation["requestBody"]["content"].values():
                fits(content)
        answers = operation["responses"]
        assert [status for status in answers if status.startswith("2")], name
        assert {"400", "401", "403", "429", "503"} <= answers.keys(), name
        for answer in answers.values():
            for content in answer["content"].values():
                fits(content)


def test_every_reference_of_the_description_leads_somewhere(app: Litestar) -> None:
    described = completed(app, app.openapi_schema.to_schema())
    told = msgspec.json.encode(described).decode()
    references = set(re.findall(r'"\$ref":"#/components/schemas/([^"]+)"', told))
    assert len(references) > 50
    assert references <= set(described["components"]["schemas"])


async def test_a_change_and_its_audit_row_are_committed_together_or_not_at_all(
    site: "Site",
) -> None:
    await site.start("api")
    site.execute("ALTER TABLE audit ADD CONSTRAINT never CHECK (number < 0)")
    await refused(site, 500, "PUT", "/stations/dock-1", json=STATION)
    for table in ("station", "outbox", "audit"):
        assert site.rows(f"SELECT * FROM {table}") == [], table
    site.execute("ALTER TABLE audit DROP CONSTRAINT never")
    await ok(site, "PUT", "/stations/dock-1", json=STATION)
    assert len(await (await site.log(Topic.STATIONS)).until(1)) == 1


def test_the_guard_counts_each_peer_for_itself() -> None:
    guard = Guard(None, is_required=False, requests_per_s_max=1, now=lambda: 0.0)  # type: ignore[arg-type]
    for _ in range(5):
        guard._count("peer a")
    with pytest.raises(Problem) as told:
        guard._check_rate("peer a")
    assert told.value.headers["Retry-After"] == "1"
    guard._check_rate("peer b")
