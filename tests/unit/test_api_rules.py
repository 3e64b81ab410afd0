"""The api's rules without HTTP: preconditions, cursors, roles, rates."""

from datetime import date
from typing import Any

import pytest

from scantrail.api.access import Role
from scantrail.api.folding import in_capitals
from scantrail.api.paging import after, cursor_behind, page
from scantrail.api.preconditions import Precondition
from scantrail.api.problems import Problem
from scantrail.domain.recall import Selector
from scantrail.infra import rates
from scantrail.infra.rates import Buckets


@pytest.mark.parametrize(
    ("if_match", "if_none_match", "is_demanded", "version", "status"),
    [
        (None, None, False, 0, None),
        (None, None, False, 3, None),
        ('"3"', None, False, 3, None),
        (' "1" , "3" ', None, False, 3, None),
        ("*", None, False, 3, None),
        ("*", None, False, 0, 412),
        ('"3"', None, False, 4, 412),
        ('"3"', None, False, 0, 412),
        ('W/"3"', None, False, 3, 412),
        ('W/"3", "3"', None, False, 3, None),
        (None, "*", False, 0, None),
        (None, "*", False, 1, 412),
        (None, None, True, 0, None),
        (None, None, True, 1, 428),
        (None, "*", True, 1, 412),
        ('"1"', None, True, 1, None),
    ],
)
def test_what_a_precondition_lets_through(
    if_match: str | None,
    if_none_match: str | None,
    is_demanded: bool,
    version: int,
    status: int | None,
) -> None:
    precondition = Precondition(if_match, if_none_match, is_demanded=is_demanded)
    if status is None:
        precondition.check(version)
        precondition.finish()
        return
    with pytest.raises(Problem) as told:
        precondition.check(version)
    assert told.value.status == status
    assert told.value.headers == ({"ETag": f'"{version}"'} if version else {})


def test_a_cursor_leads_behind_its_row_and_is_of_its_list() -> None:
    for key in ("a", "Ö/1 %", "sgtin:09506000134352.A1", ""):
        assert after(cursor_behind("units", key), "units") == key
    assert after(None, "units") == after("", "units") == ""
    wrong = ["a", "é", "*", "e30", cursor_behind("orders", "a"), cursor_behind("units", "a\0")]
    for cursor in wrong:
        with pytest.raises(Problem) as told:
            after(cursor, "units")
        assert told.value.body["field"] == "cursor"


def test_the_last_page_has_no_next() -> None:
    rows = [{"id": "a"}, {"id": "b"}]
    assert page("units", rows, 3) == {"units": rows, "next": None}
    assert page("units", [], 3)["next"] is None
    assert page("units", rows, 2, more=1) == {
        "units": rows,
        "more": 1,
        "next": cursor_behind("units", "b"),
    }


def test_each_role_may_what_those_before_it_may() -> None:
    order = [Role.PUBLIC, Role.READ, Role.OPERATE, Role.QUALITY, Role.ADMIN]
    for place, role in enumerate(order):
        assert [role.covers(needed) for needed in order] == [n <= place for n in range(5)]


def test_a_bucket_lets_its_burst_through_and_then_its_rate() -> None:
    now = 0.0
    buckets = Buckets(burst_s=2, now=lambda: now)
    for _ in range(20):
        assert buckets.wait_s("a", 10) == 0
        buckets.count("a", 10)
    buckets.count("a", 10)
    assert buckets.wait_s("a", 10) == pytest.approx(0.1)
    assert buckets.wait_s("b", 10) == 0
    now = 0.1
    assert buckets.wait_s("a", 10) == 0


def test_buckets_that_are_full_again_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "BUCKETS_MAX", 10)
    now = 0.0
    buckets = Buckets(burst_s=1, now=lambda: now)
    for number in range(10):
        buckets.count(f"peer {number}", 1)
    now = 5.0
    buckets.count("late", 1)
    assert len(buckets) == 1


@pytest.mark.parametrize(
    ("told", "more"),
    [
        ({"kind": "list", "serials": ("ab1", "CD2", "ef3", "EF3")}, {"serials": ("AB1",)}),
        ({"kind": "list", "serials": ("AB1", "7")}, None),
        ({"kind": "range", "low": "a1", "high": "a9"}, {"low": "A1", "high": "A9"}),
        ({"kind": "range", "low": "1", "high": "9"}, None),
        ({"kind": "prefix", "prefix": "ab"}, {"prefix": "AB"}),
        ({"kind": "pattern", "pattern": "ab##"}, {"pattern": "AB##"}),
        ({"kind": "lot", "lots": ("l7",)}, None),
        ({"kind": "lot_range", "low": "l1", "high": "l9"}, None),
        ({"kind": "date", "first_day": date(2026, 1, 1)}, None),
        ({"kind": "all"}, None),
    ],
)
def test_a_clause_of_serials_is_told_in_capitals_too(
    told: dict[str, Any], more: dict[str, Any] | None
) -> None:
    selector = Selector(**told)
    capitals = [] if more is None else [Selector(kind=selector.kind, **more)]
    assert list(in_capitals(selector)) == capitals
