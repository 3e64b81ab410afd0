"""Recalls through real HTTP: drafted, looked through, made active, amended, closed."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from scantrail.api import outbox, recall_store
from scantrail.api import recalls as routes
from scantrail.api.paging import cursor_behind
from scantrail.contracts.notices import list_of, listed
from scantrail.contracts.records import recalls
from scantrail.contracts.topics import Topic
from scantrail.domain.recall import Marks, Recall, Selector
from scantrail.domain.recall_match import RecallMatcher
from scantrail.infra.kafka import Mirror
from scantrail.infra.notices import Unreadable, take_recall
from scantrail.infra.topic_admin import name_of

if TYPE_CHECKING:
    from integration.conftest import Site

RANGE = {"kind": "range", "low": "AB01", "high": "AB20"}
RECALL: dict[str, Any] = {
    "title": "Battery",
    "reason": "may overheat",
    "products": ["9506000134352"],
    "selectors": [RANGE],
}
IMEI = "490154203237518"


async def ok(site: "Site", method: str, path: str, **more: Any) -> Any:
    answer = await site.ask(method, path, **more)
    assert answer.status_code in (200, 201), (answer.status_code, answer.text)
    return answer.json()


async def refused(site: "Site", status: int, method: str, path: str, **more: Any) -> Any:
    answer = await site.ask(method, path, **more)
    assert answer.status_code == status, (answer.status_code, answer.text)
    return answer.json()


async def published(site: "Site", count: int) -> Recall:
    return recalls.decode((await (await site.log(Topic.RECALLS)).until(count))[-1].value)


def csv(*lines: str) -> dict[str, Any]:
    return {"content": "\n".join(lines).encode(), "headers": {"Content-Type": "text/csv"}}


async def enter(site: "Site", **more: Any) -> Any:
    return await ok(site, "POST", "/recalls", json=RECALL | {"id": "R-1"} | more)


async def test_a_recall_is_drafted_made_active_amended_closed_and_opened_again(
    site: "Site",
) -> None:
    await site.start("api")
    draft = await enter(site, status="draft", note="as the maker says", remedy="Send it back")
    assert (draft["status"], draft["version"], draft["published"]) == ("draft", 1, True)
    assert (draft["products"], draft["remedy"]) == (["09506000134352"], "Send it back")
    assert draft["selectors"] == [RANGE]
    active = await site.ask("POST", "/recalls/R-1/activate", headers={"If-Match": '"1"'})
    assert (active.json()["status"], active.headers["etag"]) == ("active", '"2"')
    told = await published(site, 2)
    assert (told.status, told.version, told.is_swept, told.remedy) == (
        "active",
        2,
        False,
        "Send it back",
    )
    # once more: nothing changes
    again = await ok(site, "POST", "/recalls/R-1/activate", json={"note": "again"})
    assert (again["version"], again["published"]) == (2, True)
    wider = RECALL | {"selectors": [RANGE, {"kind": "lot", "lots": [" L7 "]}], "note": "and lot 7"}
    amended = await ok(site, "PUT", "/recalls/R-1", json=wider)
    assert (amended["status"], amended["version"]) == ("active", 3)
    assert amended["selectors"][1] == {"kind": "lot", "lots": ["L7"], "count": 1}
    await refused(site, 412, "POST", "/recalls/R-1/close", json={"note": "x"}, headers=if_match(2))
    closed = await ok(site, "POST", "/recalls/R-1/close", json={"note": "all are back"})
    assert (closed["status"], closed["version"]) == ("closed", 4)
    problem = await refused(site, 409, "POST", "/recalls/R-1/activate")
    assert "PUT it with its status" in problem["detail"]
    problem = await refused(site, 400, "PUT", "/recalls/R-1", json=RECALL)
    assert problem["field"] == "status"
    opened = await ok(site, "PUT", "/recalls/R-1", json=RECALL | {"status": "active"})
    assert (opened["status"], opened["version"]) == ("active", 5)
    problem = await refused(site, 400, "PUT", "/recalls/R-1", json=RECALL | {"status": "draft"})
    assert (problem["field"], "close it first" in problem["detail"]) == ("status", True)
    versions = (await ok(site, "GET", "/recalls/R-1/versions"))["versions"]
    assert [(each["version"], each["status"], each["note"]) for each in versions] == [
        (1, "draft", "as the maker says"),
        (2, "active", None),
        (3, "active", "and lot 7"),
        (4, "closed", "all are back"),
        (5, "active", None),
    ]
    assert versions[2]["document"]["selectors"][1] == {"kind": "lot", "count": 1}
    assert site.rows(
        "SELECT old_version, new_version FROM audit WHERE entity = 'recall' ORDER BY number"
    ) == [(number, number + 1) for number in range(5)]


def if_match(version: int) -> dict[str, str]:
    return {"If-Match": f'"{version}"'}


async def test_versions_are_told_page_by_page(site: "Site") -> None:
    await site.start("api")
    await enter(site)
    await ok(site, "PUT", "/recalls/R-1", json=RECALL)
    first = await ok(site, "GET", "/recalls/R-1/versions?limit=1")
    rest = await ok(site, "GET", f"/recalls/R-1/versions?limit=2&cursor={first['next']}")
    assert [each["version"] for each in (*first["versions"], *rest["versions"])] == [1, 2]
    assert rest["next"] is None
    strange = cursor_behind("versions", "x")
    problem = await refused(site, 400, "GET", f"/recalls/R-1/versions?cursor={strange}")
    assert problem["field"] == "cursor"


async def test_a_recall_is_entered_active_and_amended_where_nothing_else_is_said(
    site: "Site",
) -> None:
    await site.start("api")
    assert (await ok(site, "PUT", "/recalls/R-1", json=RECALL))["status"] == "active"
    await enter(site, id="R-2", status="draft")
    assert (await ok(site, "PUT", "/recalls/R-2", json=RECALL))["status"] == "draft"
    drafts = await ok(site, "GET", "/recalls?status=draft")
    assert [each["id"] for each in drafts["recalls"]] == ["R-2"]


async def test_days_of_production_are_entered_and_told_as_notices_word_them(site: "Site") -> None:
    await site.start("api")
    days = {"kind": "date", "from": "2026-01-01", "to": "2026-01-31"}
    await enter(site, selectors=[days, {"kind": "pattern", "pattern": "AB##"}])
    told = await ok(site, "GET", "/recalls/R-1")
    assert told["selectors"] == [days, {"kind": "pattern", "pattern": "AB##"}]
    (selector, _) = (await published(site, 1)).selectors
    assert (str(selector.first_day), str(selector.last_day)) == ("2026-01-01", "2026-01-31")


OF_A_RECALL = [
    ("GET", ""),
    ("GET", "/versions"),
    ("GET", "/serials"),
    ("POST", "/activate"),
    ("POST", "/close"),
    ("PUT", "/serials"),
]


async def test_a_recall_that_is_not_there_is_told_so(
    site: "Site", subtests: pytest.Subtests
) -> None:
    await site.start("api")
    for method, path in OF_A_RECALL:
        with subtests.test(method=method, path=path):
            sent = csv("serial", "1") if method == "PUT" else {"json": {"note": "x"}}
            more = {} if method == "GET" else sent
            told = await refused(site, 404, method, f"/recalls/R-9{path}", **more)
            assert "R-9" in told["detail"]


# ------------------------------------------------------------------------------ listed serials


async def test_serials_come_as_csv_into_a_draft_that_names_nothing_yet(site: "Site") -> None:
    await site.start("api")
    draft = await enter(site, status="draft", selectors=[])
    assert (draft["selectors"], draft["published"]) == ([], False)
    assert (await ok(site, "GET", "/recalls/R-1"))["published"] is False
    problem = await refused(site, 400, "POST", "/recalls/R-1/activate")
    assert problem["field"] == "selectors"
    lines = ("note,Serial,product", 'x,"A1",', f",{IMEI},9506000134352", "", ", A1 ,", ",a1,")
    told = await ok(site, "PUT", "/recalls/R-1/serials?note=their+file", **csv(*lines))
    assert (told["lines"], told["serials"], told["doubles"]) == (4, 3, 1)
    (selector,) = (await published(site, 1)).selectors
    assert selector == Selector(kind="list", serials=("A1", IMEI, "a1", IMEI[:14]))
    told = await ok(site, "GET", "/recalls/R-1")
    assert told["selectors"][0].items() >= {"kind": "list", "count": 4}.items()
    assert told["selectors"][0]["serials"] == ["A1", IMEI, "a1", IMEI[:14]]
    page = await ok(site, "GET", "/recalls/R-1/serials?limit=2")
    rest = await ok(site, "GET", f"/recalls/R-1/serials?limit=2&cursor={page['next']}")
    found = {each["serial"]: each["forms"] for each in (*page["serials"], *rest["serials"])}
    assert found == {"A1": [], "a1": [], IMEI: [IMEI[:14]]}
    assert (await ok(site, "POST", "/recalls/R-1/activate"))["version"] == 3
    (listed_one,) = (await ok(site, "GET", "/recalls"))["recalls"]
    assert listed_one["serials"] == 3
    assert "serials" not in listed_one["selectors"][0]
    (*_, last) = (await ok(site, "GET", "/recalls/R-1/versions"))["versions"]
    assert last["document"]["selectors"][0].keys() == {"kind", "count", "sha256"}


async def test_serials_as_csv_amend_an_active_recall_and_leave_its_other_clauses(
    site: "Site",
) -> None:
    await site.start("api")
    await enter(site, selectors=[{"kind": "list", "serials": ["1", "2"]}, RANGE])
    told = await ok(site, "PUT", "/recalls/R-1/serials", **csv("serial", "3"))
    assert (told["version"], told["status"], told["serials"]) == (2, "active", 1)
    assert [each["kind"] for each in told["selectors"]] == ["range", "list"]
    assert (await published(site, 2)).selectors[1].serials == ("3",)
    await ok(site, "POST", "/recalls/R-1/close", json={"note": "done"})
    problem = await refused(site, 409, "PUT", "/recalls/R-1/serials", **csv("serial", "4"))
    assert problem["title"] == "Closed"


async def test_an_amendment_may_keep_the_serials_that_are_listed(site: "Site") -> None:
    await site.start("api")
    await enter(site, selectors=[{"kind": "list", "serials": [IMEI, "2"]}, RANGE])
    body = RECALL | {"title": "Cells", "selectors": [], "keep_serials": True}
    told = await ok(site, "PUT", "/recalls/R-1", json=body)
    assert (told["version"], told["title"], told["serials"]) == (2, "Cells", 2)
    (selector,) = (await published(site, 2)).selectors
    assert selector == Selector(kind="list", serials=(IMEI, "2", IMEI[:14]))
    rows = (await ok(site, "GET", "/recalls/R-1/serials"))["serials"]
    assert {each["serial"]: each["forms"] for each in rows} == {"2": [], IMEI: [IMEI[:14]]}
    both = body | {"selectors": [{"kind": "list", "serials": ["3"]}]}
    problem = await refused(site, 400, "PUT", "/recalls/R-1", json=both)
    assert problem["field"] == "keep_serials"
    told = await ok(site, "PUT", "/recalls/R-1", json=RECALL)
    assert (told["version"], told["serials"]) == (3, 0)


UNUSABLE: list[tuple[tuple[str, ...], int | None, str, str]] = [
    ((), None, "", "name the columns"),
    (("code", "A1"), None, "", "one of them serial"),
    (("serial,Serial", "A1,A2"), None, "", "twice"),
    (("serial", '"A1'), None, "", "no such CSV"),
    (("serial", "", " "), None, "serial", "no line"),
    (("serial", "A1", "A2,x"), 3, "", "quote commas"),
    (("serial,note", "A1,x", ",x"), 3, "serial", "missing"),
    (("serial", "A1", "A" * 2000), 3, "serial", "long"),
    (("serial", "A\0"), 2, "serial", "U+0000"),
    (("serial,product", "A1,09506000134369"), 2, "product", "not of 09506000134369"),
    (("serial,product", "A1,09506000134353"), 2, "product", "should end in 2"),
    (("serial,note", 'A1,"a\nb"', "A2"), 4, "", "1 fields"),
    (("serial", "4.90154E+14"), 2, "serial", "spreadsheet has cut"),
    (("serial", '"=""0012"""'), 2, "serial", "formula"),
    (("serial", "A1", '"A2, A3"'), 3, "serial", "several"),
    (("serial", "AB##"), 2, "serial", "pattern alone"),
    (("serial", "(01)09506000134369(21)A1"), 2, "serial", "names product 09506000134369"),
]


async def test_a_file_of_serials_that_cannot_be_used_is_refused_by_its_line(
    site: "Site", subtests: pytest.Subtests
) -> None:
    await site.start("api")
    await enter(site, status="draft")
    for lines, line, field, words in UNUSABLE:
        with subtests.test(lines=lines):
            problem = await refused(site, 400, "PUT", "/recalls/R-1/serials", **csv(*lines))
            assert (problem["field"], words in problem["detail"]) == (field, True), problem
            assert [each["line"] for each in problem.get("lines", [])] == ([line] if line else [])
            assert (await ok(site, "GET", "/recalls/R-1"))["version"] == 1


async def test_a_file_for_a_recall_that_was_amended_meanwhile_is_refused(
    site: "Site", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lines were held against other products."""
    await site.start("api")
    await enter(site, status="draft")
    real = routes.read_serials

    def meanwhile(content: bytes, products: list[str]) -> Any:
        for column in ("document", "summary"):
            site.execute(f"UPDATE recall SET {column} = jsonb_set({column}, '{{products}}', '[]')")
        return real(content, products)

    monkeypatch.setattr(routes, "read_serials", meanwhile)
    problem = await refused(site, 409, "PUT", "/recalls/R-1/serials", **csv("serial", "A1"))
    assert problem["title"] == "Amended"
    assert (await ok(site, "GET", "/recalls/R-1"))["version"] == 1


async def test_bounds_of_vins_mean_each_with_its_own_check_digit(site: "Site") -> None:
    await site.start("api")
    vins = {"kind": "range", "low": "1HGCM826*3A004352", "high": "1HGCM826*3A004400"}
    told = await enter(site, selectors=[vins])
    assert [each["low"][8] for each in told["selectors"]] == [*"0123456789X"]
    problem = await refused(
        site, 400, "PUT", "/recalls/R-1", json=RECALL | {"selectors": [vins | {"low": "A*1"}]}
    )
    assert problem["field"] == "selectors[0]"


async def test_a_file_that_is_no_text_is_refused(site: "Site") -> None:
    await site.start("api")
    await enter(site, status="draft")
    sent = {"content": b"serial\n\xff\n", "headers": {"Content-Type": "text/csv"}}
    problem = await refused(site, 400, "PUT", "/recalls/R-1/serials", **sent)
    assert "utf-8" in problem["detail"]


async def test_a_hundred_wrong_lines_are_told_and_no_more(site: "Site") -> None:
    await site.start("api")
    await enter(site, status="draft")
    problem = await refused(
        site, 400, "PUT", "/recalls/R-1/serials", **csv("serial", *["A,B"] * 999)
    )
    assert len(problem["lines"]) == 100


async def test_of_long_lists_the_beginning_is_told_and_pages_tell_all(site: "Site") -> None:
    await site.start("api")
    serials = [f"S{number:04}" for number in range(1500)]
    told = await enter(site, selectors=[{"kind": "list", "serials": serials}])
    assert (told["serials"], told["selectors"][0]["count"]) == (1500, 1500)
    assert told["selectors"][0]["serials"] == serials[:1000]
    assert (await published(site, 1)).selectors == (list_of(listed(serials, "").forms),)
    found, path = [], "/recalls/R-1/serials?limit=1000"
    while True:
        page = await ok(site, "GET", path)
        found += [each["serial"] for each in page["serials"]]
        if page["next"] is None:
            break
        path = f"/recalls/R-1/serials?limit=1000&cursor={page['next']}"
    assert found == serials


async def test_a_recall_of_before_summaries_were_kept_is_told_as_others_are(site: "Site") -> None:
    await site.start("api")
    before = await enter(site, selectors=[{"kind": "list", "serials": ["A1"]}])
    site.execute("UPDATE recall SET summary = NULL")
    assert await ok(site, "GET", "/recalls/R-1") == before
    assert (await ok(site, "POST", "/recalls/R-1/close", json={"note": "x"}))["version"] == 2


async def test_only_who_sees_to_quality_changes_recalls(site: "Site") -> None:
    await site.start("api")
    schema = (await ok(site, "GET", "/schema/openapi.json"))["paths"]
    changed = {
        (path, method): told["description"]
        for path, operations in schema.items()
        for method, told in operations.items()
        if path.startswith("/recalls") and method != "get"
    }
    assert len(changed) >= 5
    assert all("Role: quality." in told for told in changed.values())


async def test_two_who_enter_one_recall_at_once_make_one(site: "Site") -> None:
    await site.start("api")

    async def post() -> httpx.Response:
        return await site.ask("POST", "/recalls", json=RECALL | {"id": "R-1"})

    answers = await asyncio.gather(*(post() for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


# --------------------------------------------------------------------------- a million serials


async def test_serials_of_twenty_characters_reach_all_who_watch(
    site: "Site", long_form: bool
) -> None:
    """A million in the long form, more than fit into any other request in the short one."""
    count = 1_000_000 if long_form else 400_000
    await site.start("api")
    site.http.timeout = httpx.Timeout(300)
    await enter(site, status="draft", selectors=[])
    serials = [f"SN{number:018}" for number in range(count)]
    file = "\n".join(["serial,note", *(f"{serial},x" for serial in serials), "SN" + "0" * 18 + ","])
    sent = {"content": file.encode(), "headers": {"Content-Type": "text/csv"}}
    told = await ok(site, "PUT", "/recalls/R-1/serials", **sent)
    assert (told["lines"], told["serials"], told["doubles"]) == (count + 1, count, 1)
    told = await ok(site, "POST", "/recalls/R-1/activate")
    assert told["selectors"][0]["count"] == count
    assert len((await ok(site, "GET", "/recalls/R-1"))["selectors"][0]["serials"]) == 1000
    matcher, unreadable = RecallMatcher(), Unreadable()
    mirror = Mirror(site.settings, Topic.RECALLS, partial(take_recall, matcher, unreadable))
    await mirror.start()

    async def is_known() -> bool:
        await mirror.catch_up()
        return len(matcher) == 1

    try:
        await site.until(is_known, 60.0)
    finally:
        await mirror.stop()
    for serial in (serials[0], serials[-1]):
        assert matcher.match(Marks("09506000134352", serial)).recalled
    assert not matcher.match(Marks("09506000134352", f"SN{count:018}")).recalled
    assert unreadable.recalls_of([None]) == []
    unseen = await ok(site, "GET", "/recalls/R-1/preview")
    assert unseen["never_seen"]["listed"] == count
    closed = await ok(site, "POST", "/recalls/R-1/close", json={"note": "x"})
    assert closed["version"] == 4


async def test_a_recall_that_kafka_would_not_take_is_refused(
    site: "Site", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recall_store, "RECALL_BYTES_MAX", 2_000)
    await site.start("api")
    body = RECALL | {"id": "R-1", "selectors": [{"kind": "list", "serials": ["A" * 60] * 2}]}
    await ok(site, "POST", "/recalls", json=body)
    body["id"], body["selectors"][0]["serials"] = "R-2", [f"{n:060}" for n in range(40)]
    problem = await refused(site, 413, "POST", "/recalls", json=body)
    assert "make two recalls of it" in problem["detail"]
    await refused(site, 404, "GET", "/recalls/R-2")


async def test_large_records_leave_one_by_one_in_their_order(
    site: "Site", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "BYTES", 1)
    topic = name_of(site.settings, Topic.RECALLS)
    site.execute(
        "INSERT INTO outbox (topic, key, value)"
        " SELECT %s, 'R', CASE WHEN n <> 3 THEN convert_to(n::text, 'UTF8') END"
        " FROM generate_series(1, 5) n",
        topic,
    )
    await site.start("api")
    records = await (await site.log(Topic.RECALLS)).until(5)
    assert [record.value for record in records] == [b"1", b"2", None, b"4", b"5"]


async def test_serials_of_a_product_that_folds_case_stand_in_capitals_too_and_once(
    site: "Site",
) -> None:
    await site.start("api")
    await ok(site, "PUT", "/products/09506000134352", json={"name": "Phone", "fold_case": True})
    await enter(site, status="draft", selectors=[{"kind": "list", "serials": ["ab1", "ab2"]}])
    told = await ok(site, "POST", "/recalls/R-1/activate")
    assert [each["serials"] for each in told["selectors"]] == [["ab1", "ab2"], ["AB1", "AB2"]]
    site.execute(
        "INSERT INTO unit (unit, product, serial, version, phase)"
        " VALUES ('sgtin:09506000134352.AB1', '09506000134352', 'AB1', 1, 'on_site')"
    )
    assert (await ok(site, "GET", "/recalls/R-1/serials"))["serials"][0]["forms"] == ["AB1"]
    unseen = await ok(site, "GET", "/recalls/R-1/never-seen")
    assert [each["serial"] for each in unseen["never_seen"]] == ["ab2"]
    told = await ok(site, "PUT", "/recalls/R-1/serials", **csv("serial", "x1"))
    assert [each["serials"] for each in told["selectors"]] == [["x1"], ["X1"]]
