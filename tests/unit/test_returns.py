"""Returns: what is accepted of whom, and how far it is by its scans and decisions."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scantrail.domain.returns import (
    FOLLOWING,
    Decision,
    ReturnReason,
    ReturnRefused,
    ReturnState,
    StepScan,
    check_counted,
    check_decision,
    check_quantity,
    quantities,
    shipping_to,
    state_of_unit,
)
from scantrail.domain.vocabulary import BusinessStep

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def scan(step: str, hour: float, **more: str | None) -> StepScan:
    return StepScan(
        event_id=f"{step}-{hour}",
        at=NOON + timedelta(hours=hour),
        step=BusinessStep(step),
        **more,  # type: ignore[arg-type]
    )


def sold(hour: float, order: str = "SO-1", purchaser: str = "ada") -> StepScan:
    return scan("shipping", hour, order=order, purchaser=purchaser)


def refused(*scans: StepScan, purchaser: str = "ada", rma: str = "RMA-1") -> ReturnReason:
    with pytest.raises(ReturnRefused) as caught:
        shipping_to(scans, purchaser=purchaser, rma=rma)
    assert caught.value.detail
    return caught.value.reason


def accepted(*scans: StepScan, purchaser: str = "ada", rma: str = "RMA-1") -> str:
    return shipping_to(scans, purchaser=purchaser, rma=rma).event_id


# ---------------------------------------------------------------------------------- what comes back


def test_what_was_shipped_to_the_purchaser_is_accepted() -> None:
    assert accepted(scan("receiving", 0), sold(1), scan("departing", 2)) == "shipping-1"
    assert accepted(sold(1), scan("departing", 2, order="SO-1", purchaser="ada")) == "shipping-1"


def test_what_was_never_shipped_is_refused() -> None:
    assert refused() is ReturnReason.NEVER_SHIPPED
    assert refused(scan("receiving", 0), scan("staging_outbound", 1)) is ReturnReason.NEVER_SHIPPED
    assert refused(sold(1), scan("void_shipping", 2)) is ReturnReason.NEVER_SHIPPED


def test_what_was_shipped_to_another_is_refused_and_nobody_is_named() -> None:
    assert refused(sold(1, "SO-2", "bo")) is ReturnReason.OTHER_PURCHASER
    assert refused(scan("shipping", 1)) is ReturnReason.OTHER_PURCHASER
    sold_on = (sold(1), scan("returning", 2), sold(3, "SO-2", "bo"))
    assert refused(*sold_on) is ReturnReason.OTHER_PURCHASER
    with pytest.raises(ReturnRefused, match="another: order SO-2") as caught:
        shipping_to([sold(1, "SO-2", "bo")], purchaser="ada")
    assert "bo" not in caught.value.detail


def test_what_came_before_its_authorisation_is_accepted_and_by_another_one_is_not() -> None:
    assert accepted(sold(1), scan("returning", 2)) == "shipping-1"
    assert accepted(sold(1), scan("returning", 2, rma="RMA-1")) == "shipping-1"
    assert refused(sold(1), scan("returning", 2, rma="RMA-0")) is ReturnReason.ALREADY_RETURNED


def test_what_went_back_after_its_repair_can_be_returned_again() -> None:
    repaired = (sold(1), scan("returning", 2, rma="RMA-0"), scan("shipping", 3, rma="RMA-0"))
    assert accepted(*repaired) == "shipping-3"
    assert shipping_to(repaired, purchaser="ada").purchaser == "ada"


def test_of_a_product_without_serials_no_more_comes_back_than_was_ordered() -> None:
    check_quantity(product="P", ordered=5, announced_before=3, quantity=2, order="SO-1")
    for ordered, before, reason in (
        (5, 4, ReturnReason.TOO_MANY),
        (0, 0, ReturnReason.NOT_ORDERED),
    ):
        with pytest.raises(ReturnRefused) as caught:
            check_quantity(
                product="P", ordered=ordered, announced_before=before, quantity=2, order="SO-1"
            )
        assert caught.value.reason is reason


# ---------------------------------------------------------------------------------- how far it is


def far(*scans: StepScan, decisions: tuple[Decision, ...] = ()) -> ReturnState:
    return state_of_unit(scans, decisions, shipped_at=sold(1).at, rma="RMA-1")


def test_scans_tell_that_it_came_and_was_looked_at() -> None:
    before = (scan("returning", 0), scan("inspecting", 0.5), sold(1))
    assert far(*before) is ReturnState.ANNOUNCED
    assert far(*before, scan("returning", 2)) is ReturnState.RETURNED
    assert far(*before, scan("receiving", 2)) is ReturnState.ANNOUNCED
    assert far(*before, scan("receiving", 2, rma="RMA-1")) is ReturnState.RETURNED
    assert far(*before, scan("returning", 2, rma="RMA-2")) is ReturnState.ANNOUNCED
    assert far(*before, scan("returning", 2), scan("inspecting", 3)) is ReturnState.INSPECTED
    assert far(*before, scan("inspecting", 2), scan("returning", 3)) is ReturnState.RETURNED


def test_a_decision_stands_whatever_is_scanned_after() -> None:
    decided = (Decision(state=ReturnState.RESTOCKED, at=NOON),)
    assert far(sold(1), scan("returning", 2), scan("inspecting", 9), decisions=decided) is (
        ReturnState.RESTOCKED
    )


@given(
    st.lists(
        st.builds(
            scan,
            st.sampled_from(["returning", "inspecting", "storing", "receiving", "shipping"]),
            st.floats(-5, 5),
            rma=st.sampled_from([None, "RMA-1", "RMA-2"]),
        ),
        max_size=8,
    ),
    st.randoms(use_true_random=False),
)
def test_the_order_in_which_scans_come_changes_nothing(
    scans: list[StepScan], chance: random.Random
) -> None:
    shuffled = scans.copy()
    chance.shuffle(shuffled)
    assert far(*shuffled) == far(*scans)
    is_back = any(s.step == "returning" and s.at > sold(1).at and s.rma != "RMA-2" for s in scans)
    assert not is_back or far(*scans) is not ReturnState.ANNOUNCED


@pytest.mark.parametrize("to", ReturnState)
@pytest.mark.parametrize("now", ReturnState)
def test_only_what_may_follow_is_decided(now: ReturnState, to: ReturnState) -> None:
    replacement = "V" if to is ReturnState.REPLACED else None
    if to in FOLLOWING[now]:
        check_decision(now, to, replacement=replacement)
        return
    with pytest.raises(ValueError, match="it has not come yet" if now == "announced" else "it is"):
        check_decision(now, to, replacement=replacement)


def test_a_replacement_is_told_with_replaced_and_only_then() -> None:
    for to, replacement in ((ReturnState.REPLACED, None), (ReturnState.REPAIRED, "V")):
        with pytest.raises(ValueError, match="give the unit that takes its place"):
            check_decision(ReturnState.RETURNED, to, replacement=replacement)


_MOVES = st.lists(st.tuples(st.sampled_from(ReturnState), st.integers(0, 6)), max_size=10)


@given(st.integers(1, 10), _MOVES)
def test_of_a_line_none_is_lost_or_counted_twice(
    quantity: int, moves: list[tuple[ReturnState, int]]
) -> None:
    decisions: list[Decision] = []
    for state, moved in moves:
        try:
            check_counted(quantity, decisions, state, moved)
        except ValueError:
            continue
        before = quantities(quantity, decisions)
        decisions.append(Decision(state=state, at=NOON, quantity=moved))
        after = quantities(quantity, decisions)
        assert after[state] == before[state] + moved
    counts = quantities(quantity, decisions)
    assert sum(counts.values()) == quantity
    assert min(counts.values()) >= 0


def test_what_has_not_come_is_not_restocked() -> None:
    with pytest.raises(ValueError, match="0 of it are inspected or returned"):
        check_counted(3, [], ReturnState.RESTOCKED, 1)
    came = [Decision(state=ReturnState.RETURNED, at=NOON, quantity=2)]
    check_counted(3, came, ReturnState.RESTOCKED, 2)
    with pytest.raises(ValueError, match="1 of it are announced"):
        check_counted(3, came, ReturnState.RETURNED, 2)
