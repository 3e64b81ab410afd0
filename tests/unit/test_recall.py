"""Which units a notice means, as it is worded."""

import re
import timeit
from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scantrail.domain.recall import (
    Marks,
    Notice,
    Recall,
    RecallRefused,
    RecallStatus,
    Selector,
    check_recall,
)
from scantrail.domain.recall_match import RecallMatcher

PHONE, LAPTOP = "09506000134352", "09506000134369"


def recall(*selectors: Selector, products: tuple[str, ...] = (PHONE,), **more: object) -> Recall:
    told = {"id": "R-1", "title": "t", "reason": "r", "selectors": selectors, **more}
    return Recall(products=products, **told)  # type: ignore[arg-type]


def matched(matcher: RecallMatcher, product: str | None, serial: str) -> list[Recall]:
    """What raises an alert."""
    found = matcher.match(Marks(product, serial))
    return sorted((*found.recalled, *found.likely), key=lambda recall: recall.id)


def matches(notice: Recall, product: str | None, serial: str) -> bool:
    matcher = RecallMatcher()
    matcher.put(notice)
    return [found.id for found in matched(matcher, product, serial)] == ["R-1"]


LISTED = Selector(kind="list", serials=("0012", "A9"))
RANGE = Selector(kind="range", low="AB0099", high="AB0120")
PREFIX = Selector(kind="prefix", prefix="X7")
ALL = Selector(kind="all")


@pytest.mark.parametrize(
    ("selector", "product", "serial", "is_meant"),
    [
        (LISTED, PHONE, "0012", True),
        (LISTED, PHONE, "12", False),
        (LISTED, PHONE, "a9", False),
        (LISTED, LAPTOP, "0012", False),
        (LISTED, None, "0012", True),  # an IMEI does not tell its product
        (RANGE, PHONE, "AB0099", True),
        (RANGE, PHONE, "AB0120", True),
        (RANGE, PHONE, "AB0121", False),
        (RANGE, PHONE, "AB100", False),
        (RANGE, PHONE, "AC0100", False),
        (RANGE, PHONE, "AB01O0", False),
        (RANGE, None, "AB0100", True),
        (PREFIX, PHONE, "X71", True),
        (PREFIX, PHONE, "x71", False),
        (ALL, PHONE, "anything", True),
        (ALL, LAPTOP, "anything", False),
        (ALL, None, "anything", False),
    ],
)
def test_a_clause(selector: Selector, product: str | None, serial: str, is_meant: bool) -> None:
    assert matches(recall(selector), product, serial) is is_meant


def test_without_products_every_product_is_meant() -> None:
    assert matches(recall(LISTED, products=()), LAPTOP, "0012")
    assert matches(recall(RANGE, products=()), None, "AB0100")


def test_a_newer_version_replaces_and_a_closed_one_ends() -> None:
    matcher = RecallMatcher()
    matcher.put(recall(LISTED, RANGE))
    matcher.put(recall(PREFIX))
    assert matched(matcher, PHONE, "0012") == []
    assert matched(matcher, PHONE, "AB0100") == []
    assert len(matched(matcher, PHONE, "X7")) == 1
    matcher.put(recall(PREFIX, status=RecallStatus.CLOSED))
    assert matched(matcher, PHONE, "X7") == []
    assert len(matcher) == 0


@pytest.mark.parametrize(
    ("notice", "field", "words"),
    [
        (recall(), "selectors", "name the units"),
        (recall(LISTED, id=" "), "id", "number"),
        (recall(Selector(kind="list")), "selectors[0].serials", "empty"),
        (recall(Selector(kind="range", low="1")), "selectors[0]", "low and high"),
        (recall(Selector(kind="range", low="1", high="10")), "selectors[0]", "leading zeros"),
        (recall(Selector(kind="range", low="A9", high="A1")), "selectors[0]", "above"),
        (recall(Selector(kind="range", low="A1", high="B2")), "selectors[0]", "more than a number"),
        (recall(Selector(kind="range", low="1" * 65, high="2" * 65)), "selectors[0]", "at most 64"),
        (recall(Selector(kind="prefix")), "selectors[0].prefix", "first characters"),
        (recall(Selector(kind="pattern")), "selectors[0].pattern", "# for each digit"),
        (recall(Selector(kind="pattern", pattern="AB*")), "selectors[0].pattern", "stand for noth"),
        (recall(Selector(kind="pattern", pattern="#" * 65)), "selectors[0].pattern", "at most 64"),
        (recall(Selector(kind="lot")), "selectors[0].lots", "empty"),
        (recall(Selector(kind="lot_range", low="L9", high="L10")), "selectors[0]", "leading zeros"),
        (recall(Selector(kind="date")), "selectors[0]", "first day of production, the last"),
        (
            recall(Selector(kind="date", first_day=date(2026, 3, 2), last_day=date(2026, 3, 1))),
            "selectors[0]",
            "2026-03-02 is after the last day 2026-03-01",
        ),
        (recall(ALL, products=()), "products", "must name its products"),
        (recall(Selector(kind="colour")), "selectors[0].kind", "lot_range, date, all"),
    ],
)
def test_a_notice_that_cannot_be_applied_is_refused(notice: Recall, field: str, words: str) -> None:
    with pytest.raises(RecallRefused) as refused:
        check_recall(notice)
    assert refused.value.field == field
    assert words in refused.value.reason


LOTS = Selector(kind="lot", lots=("L07", "X"))
LOT_RANGE = Selector(kind="lot_range", low="L08", high="L12")
JANUARY = Selector(kind="date", first_day=date(2026, 1, 1), last_day=date(2026, 1, 31))
FROM_MARCH = Selector(kind="date", first_day=date(2026, 3, 1))
UNTIL_MAY = Selector(kind="date", last_day=date(2026, 5, 31))
PATTERN = Selector(kind="pattern", pattern="AB##-1")


@pytest.mark.parametrize(
    ("selectors", "marks", "recalled", "words"),
    [
        ([PATTERN], Marks(PHONE, "AB07-1"), True, "fits AB##-1"),
        ([PATTERN], Marks(PHONE, "AB7-1"), False, "no clause"),
        ([PATTERN], Marks(PHONE, "AB0x-1"), False, "no clause"),
        ([PATTERN], Marks(PHONE, "AB0\u0661-1"), False, "no clause"),  # a digit elsewhere
        ([PATTERN], Marks(PHONE, "ab07-1"), False, "no clause"),
        ([PATTERN], Marks(PHONE, None), None, "serial"),
        ([LOTS], Marks(PHONE, "1", "L07"), True, "lot L07 is listed"),
        ([LOTS], Marks(PHONE, "1", "L7"), False, "no clause"),
        ([LOTS], Marks(PHONE, "1"), None, "goes by the lot, which nobody told"),
        ([LOTS], Marks(LAPTOP, "1"), False, "not of product"),
        ([LOTS], Marks(None, "1", "L07"), None, "product"),
        ([LOTS], Marks(None, "1", "L99"), False, "no clause"),
        ([LOTS], Marks(None, "1"), None, "lot and product"),
        ([LOT_RANGE], Marks(PHONE, "1", "L08"), True, "between L08 and L12"),
        ([LOT_RANGE], Marks(PHONE, "1", "L12"), True, "between L08 and L12"),
        ([LOT_RANGE], Marks(PHONE, "1", "L13"), False, "no clause"),
        ([LOT_RANGE], Marks(PHONE, "1", "L8"), False, "no clause"),
        ([JANUARY], Marks(PHONE, "1", None, date(2026, 1, 1)), True, "produced on 2026-01-01"),
        ([JANUARY], Marks(PHONE, "1", None, date(2026, 1, 31)), True, "produced on 2026-01-31"),
        ([JANUARY], Marks(PHONE, "1", None, date(2026, 2, 1)), False, "no clause"),
        ([JANUARY], Marks(PHONE, "1"), None, "production date"),
        ([FROM_MARCH], Marks(PHONE, "1", None, date(2026, 3, 1)), True, "2026-03-01"),
        ([FROM_MARCH], Marks(PHONE, "1", None, date(2026, 2, 28)), False, "no clause"),
        ([UNTIL_MAY], Marks(PHONE, "1", None, date(2026, 5, 31)), True, "2026-05-31"),
        ([LOTS, LISTED], Marks(PHONE, "A9"), True, "serial A9 is listed"),  # one clause is enough
        ([LISTED, LOTS], Marks(PHONE, "B1"), None, "goes by the lot"),
        ([LOTS, JANUARY], Marks(PHONE, "1"), None, "the lot and production date"),
        ([LOTS, JANUARY], Marks(PHONE, "1", "L99"), None, "the production date"),
        ([LISTED], Marks(None, "A9"), None, "goes by the product"),
        ([LISTED], Marks(None, "B9"), False, "no clause"),
        ([ALL], Marks(PHONE, None), True, "all units"),
        ([ALL], Marks(None, "1"), None, "product"),
    ],
)
def test_a_notice_decides_or_says_what_is_missing(
    selectors: list[Selector], marks: Marks, recalled: bool | None, words: str
) -> None:
    decision = Notice(recall(*selectors)).decide(marks)
    assert decision.recalled is recalled
    assert words in decision.why


def test_without_products_a_notice_needs_none() -> None:
    assert Notice(recall(LOTS, products=())).decide(Marks(None, None, "X")).recalled is True
    assert Notice(recall(ALL, products=())).decide(Marks(None, "1")).recalled is True


def meant(clause: Selector, marks: Marks) -> bool | None:
    """What a notice says, word by word."""
    serial = marks.serial or ""
    match clause.kind:
        case "all":
            return True
        case "list":
            return serial in clause.serials
        case "prefix":
            return serial.startswith(clause.prefix or "")
        case "pattern":
            return re.fullmatch((clause.pattern or "").replace("#", "[0-9]"), serial) is not None
        case "lot":
            return None if marks.lot is None else marks.lot in clause.lots
        case "date":
            first, last = clause.first_day or date.min, clause.last_day or date.max
            return None if marks.produced_on is None else first <= marks.produced_on <= last
    text = marks.lot if clause.kind == "lot_range" else serial
    if text is None:
        return None
    low, high = clause.low or "", clause.high or ""
    same = len(text) == len(low) and text[1:].isdigit()
    return same and text[:1] == low[:1] and int(low[1:]) <= int(text[1:]) <= int(high[1:])


def said(notice: Recall, marks: Marks) -> bool | None:
    """By three-valued logic: some clause, and the product."""
    clauses = [meant(clause, marks) for clause in notice.selectors]
    told = True if True in clauses else None if None in clauses else False
    if not notice.products:
        return told
    if marks.product is None:
        return False if told is False else None
    return told if marks.product in notice.products else False


NUMBERS = st.integers(0, 99)
LETTERS = st.sampled_from("AB")
ENDS = st.tuples(NUMBERS, NUMBERS)
DAYS = st.dates(date(2026, 1, 1), date(2026, 1, 9))
CLAUSES = st.one_of(
    st.builds(
        lambda kind, head, ends: Selector(
            kind=kind, low=f"{head}{min(ends):02}", high=f"{head}{max(ends):02}"
        ),
        st.sampled_from(["range", "lot_range"]),
        LETTERS,
        ENDS,
    ),
    st.sampled_from(["A", "A1", "B0"]).map(lambda text: Selector(kind="prefix", prefix=text)),
    st.sampled_from(["A##", "A1#", "B#7", "###", "A17"]).map(
        lambda text: Selector(kind="pattern", pattern=text)
    ),
    NUMBERS.map(lambda n: Selector(kind="list", serials=(f"A{n:02}",))),
    ENDS.map(lambda ends: Selector(kind="lot", lots=tuple(f"B{n:02}" for n in ends))),
    st.tuples(DAYS, DAYS).map(
        lambda ends: Selector(kind="date", first_day=min(ends), last_day=max(ends))
    ),
    DAYS.map(lambda day: Selector(kind="date", last_day=day)),
    st.just(ALL),
)
RECALLS = st.builds(
    lambda number, products, clauses, status: Recall(
        id=f"R-{number}",
        title="t",
        reason="r",
        products=tuple(sorted(products)),
        selectors=tuple(c for c in clauses if products or c is not ALL) or (LISTED,),
        status=status,
    ),
    st.integers(1, 4),
    st.sets(st.sampled_from([PHONE, LAPTOP])),
    st.lists(CLAUSES, min_size=1, max_size=4),
    st.sampled_from(RecallStatus),
)
TEXTS = st.builds(lambda head, number: f"{head}{number:02}", LETTERS, NUMBERS)
MARKS = st.builds(
    Marks,
    st.sampled_from([PHONE, LAPTOP, None]),
    TEXTS,
    st.none() | TEXTS,
    st.none() | DAYS,
)


@given(RECALLS, MARKS)
def test_a_notice_decides_as_it_is_worded(notice: Recall, marks: Marks) -> None:
    assert Notice(notice).decide(marks).recalled is said(notice, marks)


@given(st.lists(RECALLS, max_size=8), st.lists(MARKS, min_size=1, max_size=4))
def test_the_matcher_finds_what_the_notices_say_after_any_changes(
    notices: list[Recall], units: list[Marks]
) -> None:
    matcher, newest = RecallMatcher(), dict[str, Recall]()
    for notice in notices:
        matcher.put(notice)
        newest[notice.id] = notice
        active = [
            newest[id_] for id_ in sorted(newest) if newest[id_].status is RecallStatus.ACTIVE
        ]
        assert sorted(each.id for each in matcher) == [each.id for each in active]
        for marks in units:
            found = matcher.match(marks)
            decided = {each.id: Notice(each).decide(marks).recalled for each in active}
            assert ids(found.recalled) == [id_ for id_, told in decided.items() if told]
            if marks.product is not None:
                assert found.likely == []
                assert ids(found.undecided) == [i for i, told in decided.items() if told is None]
            else:
                assert ids(found.likely) == [
                    each.id
                    for each in active
                    if each.products and any(map(meant_by_serial(marks), each.selectors))
                ]
                assert ids(found.undecided) == [
                    each.id for each in active if not each.products and decided[each.id] is None
                ]


def ids(recalls: list[Recall]) -> list[str]:
    return [each.id for each in recalls]


def meant_by_serial(marks: Marks) -> Callable[[Selector], bool]:
    kinds = ("list", "range", "prefix", "pattern")
    return lambda clause: clause.kind in kinds and meant(clause, marks) is True


def test_ten_thousand_ranges_cost_a_match_hardly_more_than_ten() -> None:
    def seconds(count: int) -> float:
        ranges = [
            Selector(kind="range", low=f"{n * 100:09}", high=f"{n * 100 + 50:09}")
            for n in range(count)
        ]
        matcher = RecallMatcher()
        matcher.put(recall(*ranges))
        assert len(matched(matcher, PHONE, "000000550")) == 1
        assert matched(matcher, PHONE, "000000599") == []
        return min(
            timeit.repeat(lambda: matcher.match(Marks(PHONE, "000000599")), number=200, repeat=5)
        )

    assert seconds(10_000) < 20 * seconds(10)


def test_ranges_of_many_prefixes_cost_no_more() -> None:
    def seconds(count: int) -> float:
        matcher = RecallMatcher()
        matcher.put(
            recall(
                *(Selector(kind="range", low=f"{n:05}X10", high=f"{n:05}X50") for n in range(count))
            )
        )
        assert len(matched(matcher, PHONE, "00005X33")) == 1
        assert matched(matcher, PHONE, "00005X51") == matched(matcher, PHONE, "X33") == []
        return min(
            timeit.repeat(lambda: matcher.match(Marks(PHONE, "00005X51")), number=200, repeat=5)
        )

    assert seconds(10_000) < 20 * seconds(10)


def test_a_version_that_cannot_be_applied_leaves_the_one_before_in_force() -> None:
    matcher = RecallMatcher()
    matcher.put(recall(LISTED))
    with pytest.raises(RecallRefused):
        matcher.put(recall(Selector(kind="unheard of")))
    serial = LISTED.serials[0]
    assert [found.id for found in matched(matcher, PHONE, serial)] == [recall(LISTED).id]


def test_a_wide_range_among_ten_thousand_costs_a_match_hardly_more() -> None:
    """All of them begin below the number, and one of the first reaches beyond it."""

    def seconds(*wide: Selector) -> float:
        ranges = [
            Selector(kind="range", low=f"{n * 100:09}", high=f"{n * 100 + 50:09}")
            for n in range(10_000)
        ]
        matcher = RecallMatcher()
        matcher.put(recall(*ranges, *wide))
        assert len(matched(matcher, PHONE, "000999999")) == len(wide)
        return min(
            timeit.repeat(lambda: matcher.match(Marks(PHONE, "000999999")), number=50, repeat=5)
        )

    assert seconds(Selector(kind="range", low="000000001", high="999999999")) < 20 * seconds()


def test_a_change_touches_no_other_recall() -> None:
    """What a change costs does not grow with the recalls that are there, none of them moved."""

    def seconds(count: int) -> float:
        matcher = RecallMatcher()
        for n in range(count):
            clause = Selector(kind="range", low=f"{n * 100:09}", high=f"{n * 100 + 50:09}")
            matcher.put(replace(recall(clause, products=()), id=f"R-{n}"))
        one = replace(recall(LISTED, Selector(kind="prefix", prefix="Z")), id="R-0")
        assert matched(matcher, None, "000000150")

        def change() -> None:
            matcher.put(one)
            assert matched(matcher, None, "000000150")

        return min(timeit.repeat(change, number=20, repeat=5))

    assert seconds(5_000) < 20 * seconds(50)
