"""Which units a notice means, as it is worded."""

import timeit
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scantrail.domain.recall import (
    Marks,
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
        (recall(ALL, products=()), "products", "must name its products"),
        (recall(Selector(kind="colour")), "selectors[0].kind", "lot_range, date, all"),
    ],
)
def test_a_notice_that_cannot_be_applied_is_refused(notice: Recall, field: str, words: str) -> None:
    with pytest.raises(RecallRefused) as refused:
        check_recall(notice)
    assert refused.value.field == field
    assert words in refused.value.reason


def meant(clause: Selector, serial: str) -> bool:
    """What a notice says, word by word."""
    if clause.kind == "list":
        return serial in clause.serials
    if clause.kind == "prefix":
        return serial.startswith(clause.prefix or "")
    if clause.kind == "all":
        return True
    low, high = clause.low or "", clause.high or ""
    same = len(serial) == len(low) and serial.isdigit() == low.isdigit()
    return same and serial[:1] == low[:1] and int(low[1:]) <= int(serial[1:]) <= int(high[1:])


NUMBERS = st.integers(0, 99)
CLAUSES = st.one_of(
    st.builds(
        lambda head, ends: Selector(
            kind="range", low=f"{head}{min(ends):02}", high=f"{head}{max(ends):02}"
        ),
        st.sampled_from("AB"),
        st.tuples(NUMBERS, NUMBERS),
    ),
    st.builds(
        lambda text: Selector(kind="prefix", prefix=text), st.sampled_from(["A", "A1", "B0"])
    ),
    st.builds(lambda n: Selector(kind="list", serials=(f"A{n:02}",)), NUMBERS),
    st.just(ALL),
)
NOTICES = st.builds(
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


@given(st.lists(NOTICES, max_size=8), st.sampled_from([PHONE, LAPTOP, None]), NUMBERS)
def test_the_matcher_finds_what_the_notices_say_after_any_changes(
    notices: list[Recall], product: str | None, number: int
) -> None:
    matcher, newest = RecallMatcher(), dict[str, Recall]()
    for notice in notices:
        matcher.put(notice)
        newest[notice.id] = notice
        for head in "AB":
            serial = f"{head}{number:02}"
            expected = [
                known.id
                for known in sorted(newest.values(), key=lambda known: known.id)
                if known.status is RecallStatus.ACTIVE
                and (product is None or not known.products or product in known.products)
                and any(
                    meant(clause, serial)
                    for clause in known.selectors
                    if clause is not ALL or product is not None
                )
            ]
            assert [found.id for found in matched(matcher, product, serial)] == expected


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
