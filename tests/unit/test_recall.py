"""Which units a notice means, as it is worded."""

import pytest

from scantrail.domain.recall import (
    Recall,
    RecallMatcher,
    RecallRefused,
    RecallStatus,
    Selector,
    check_recall,
)

PHONE, LAPTOP = "09506000134352", "09506000134369"


def recall(*selectors: Selector, products: tuple[str, ...] = (PHONE,), **more: object) -> Recall:
    told = {"id": "R-1", "title": "t", "reason": "r", "selectors": selectors, **more}
    return Recall(products=products, **told)  # type: ignore[arg-type]


def matches(notice: Recall, product: str | None, serial: str) -> bool:
    matcher = RecallMatcher()
    matcher.put(notice)
    return [found.id for found in matcher.match(product, serial)] == ["R-1"]


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
    assert matcher.match(PHONE, "0012") == []
    assert matcher.match(PHONE, "AB0100") == []
    assert len(matcher.match(PHONE, "X7")) == 1
    matcher.put(recall(PREFIX, status=RecallStatus.CLOSED))
    assert matcher.match(PHONE, "X7") == []
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
        (recall(Selector(kind="colour")), "selectors[0].kind", "list, range, prefix, all"),
    ],
)
def test_a_notice_that_cannot_be_applied_is_refused(notice: Recall, field: str, words: str) -> None:
    with pytest.raises(RecallRefused) as refused:
        check_recall(notice)
    assert refused.value.field == field
    assert words in refused.value.reason
