"""Claims: what they are told when they are filed, and in which order they may go on."""

from datetime import UTC, date, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scantrail.domain.claim import (
    FOLLOWING,
    ClaimRefused,
    ClaimState,
    Remark,
    check_claim_step,
    remarks_on,
)
from scantrail.domain.warranty import Cover, WarrantyTerm

TODAY = date(2026, 6, 1)
TERM = WarrantyTerm(product="P", valid_from=date(2020, 1, 1), months=24)


def cover(**more: object) -> Cover:
    fields = {
        "of_unit": "U",
        "sold_at": datetime(2026, 3, 1, tzinfo=UTC),
        "zone": UTC,
        "order": "SO-1",
        "term": TERM,
        "since": date(2026, 3, 1),
        "until": date(2028, 3, 1),
    }
    return Cover(**(fields | more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("known", "told"),
    [
        (cover(), []),
        (None, ["never_shipped"]),
        (cover(replaced_by="V"), ["already_replaced"]),
        (cover(until=date(2026, 5, 31)), ["expired"]),
        (cover(void_since=datetime(2026, 4, 1, tzinfo=UTC), void_reason="opened"), ["void"]),
        (cover(term=None, until=None), ["no_term"]),
        (cover(until=None), ["not_registered"]),
        (cover(taken_back_at=datetime(2026, 4, 1, tzinfo=UTC)), ["taken_back"]),
    ],
)
def test_a_claim_is_told_how_the_warranty_stands(known: Cover | None, told: list[str]) -> None:
    assert list(remarks_on(known, TODAY)) == told


def test_a_claim_on_a_recalled_unit_says_by_which_recall() -> None:
    remarks = remarks_on(cover(), TODAY, recalls=["R-1", "R-2"])
    assert remarks == {Remark.RECALLED: "it is recalled by R-1, R-2: the recall says what to do"}
    assert set(remarks_on(None, TODAY, recalls=["R-1"])) == {
        Remark.NEVER_SHIPPED,
        Remark.RECALLED,
    }


def test_a_replaced_unit_says_which_one_to_claim_for() -> None:
    remarks = remarks_on(cover(replaced_by="V"), TODAY)
    assert remarks[Remark.ALREADY_REPLACED] == "it was replaced by V: claim for that one"


def test_another_order_and_more_than_was_bought_are_said() -> None:
    assert list(remarks_on(cover(), TODAY, order="SO-2")) == [Remark.OTHER_ORDER]
    assert remarks_on(cover(), TODAY, order="SO-1", claimed=2, bought=2) == {}
    assert list(remarks_on(cover(), TODAY, claimed=3, bought=2)) == [Remark.MORE_THAN_BOUGHT]


@pytest.mark.parametrize("to", ClaimState)
@pytest.mark.parametrize("now", ClaimState)
def test_only_what_may_follow_follows(now: ClaimState, to: ClaimState) -> None:
    replacement = "V" if to is ClaimState.REPLACED else None
    if to in FOLLOWING[now]:
        check_claim_step(now, to, note="why", replacement=replacement)
    else:
        with pytest.raises(ClaimRefused, match="state: a claim that is"):
            check_claim_step(now, to, note="why", replacement=replacement)


@given(st.lists(st.sampled_from(ClaimState), max_size=12))
def test_every_way_that_is_allowed_ends_and_decides_once_for_a_mend(
    wanted: list[ClaimState],
) -> None:
    way = [ClaimState.FILED]
    for to in wanted:
        if to in FOLLOWING[way[-1]]:
            way.append(to)
    mends = [each for each in way if each in (ClaimState.REPAIRED, ClaimState.REPLACED)]
    assert len(mends) <= 1
    assert all(now is ClaimState.ACCEPTED for now, to in pairwise(way) if to in mends)
    assert ClaimState.CLOSED not in way[:-1]


def test_what_was_not_promised_is_accepted_only_with_a_note() -> None:
    for remark in (Remark.NEVER_SHIPPED, Remark.ALREADY_REPLACED, Remark.EXPIRED):
        with pytest.raises(ClaimRefused, match=f"note: say why .* told: {remark}"):
            check_claim_step(ClaimState.FILED, ClaimState.ACCEPTED, remarks=[remark])
        check_claim_step(ClaimState.FILED, ClaimState.ACCEPTED, note="goodwill", remarks=[remark])
    check_claim_step(ClaimState.FILED, ClaimState.ACCEPTED, remarks=[Remark.RECALLED])


def test_a_refusal_says_why_and_a_replacement_by_what() -> None:
    with pytest.raises(ClaimRefused, match="note: say why it is refused"):
        check_claim_step(ClaimState.FILED, ClaimState.REFUSED)
    for to, replacement in ((ClaimState.REPLACED, None), (ClaimState.REPAIRED, "V")):
        with pytest.raises(ClaimRefused, match="replacement: give the unit"):
            check_claim_step(ClaimState.ACCEPTED, to, replacement=replacement)
