"""Returns: what may come back by a return authorisation (RMA), and how far each unit is.

A return is accepted of what was shipped to its purchaser, and of nothing else. How far a unit is
follows from its scans and from decisions that people recorded; nobody sets it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from scantrail.domain.vocabulary import LEAVING_STEPS, BusinessStep

#: Lines of one authorisation.
LINES_MAX: Final = 200


class ReturnState(StrEnum):
    """How far a unit that was announced is."""

    ANNOUNCED = "announced"
    RETURNED = "returned"
    INSPECTED = "inspected"
    REPAIRED = "repaired"
    RESTOCKED = "restocked"
    REPLACED = "replaced"
    SCRAPPED = "scrapped"


#: What people decide of a returned unit; the rest is told by scans.
DECISIONS: Final = frozenset(ReturnState) - {ReturnState.ANNOUNCED, ReturnState.RETURNED}

#: With these the unit is the company's again; a repaired one goes back, a replaced one may do
#: either: what becomes of it is decided after.
ENDS: Final = frozenset({ReturnState.RESTOCKED, ReturnState.SCRAPPED})

#: What may follow what. A unit that was replaced is repaired, restocked or scrapped after.
FOLLOWING: Final = {
    ReturnState.ANNOUNCED: frozenset[ReturnState](),
    ReturnState.RETURNED: DECISIONS,
    ReturnState.INSPECTED: DECISIONS - {ReturnState.INSPECTED},
    ReturnState.REPAIRED: frozenset({ReturnState.RESTOCKED, ReturnState.REPLACED}),
    ReturnState.REPLACED: frozenset(
        {ReturnState.REPAIRED, ReturnState.RESTOCKED, ReturnState.SCRAPPED}
    ),
    ReturnState.RESTOCKED: frozenset[ReturnState](),
    ReturnState.SCRAPPED: frozenset[ReturnState](),
}


class ReturnReason(StrEnum):
    """Why a return is not accepted."""

    NEVER_SHIPPED = "never_shipped"
    OTHER_PURCHASER = "other_purchaser"
    NOT_ORDERED = "not_ordered"
    SERIAL_WANTED = "serial_wanted"
    TOO_MANY = "too_many"
    ALREADY_RETURNED = "already_returned"
    ALREADY_ANNOUNCED = "already_announced"


class ReturnRefused(Exception):
    """What is not accepted. `detail` is for people, and has nobody's name."""

    def __init__(self, reason: ReturnReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class StepScan:
    """What a return needs of a scan that counts (one that was voided does not).

    `at` is aware. `purchaser` is that of `order`, where it is known.
    """

    event_id: str
    at: datetime
    step: BusinessStep
    order: str | None = None
    purchaser: str | None = None
    rma: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What somebody recorded. `quantity` is 1 for a unit."""

    state: ReturnState
    at: datetime
    quantity: int = 1


def comes_back(scan: StepScan, rma: str | None) -> bool:
    """Whether a scan tells that the unit is here again: returning, or whatever names the RMA.

    A departure that names it is the way back to the purchaser.
    """
    if scan.step is BusinessStep.RETURNING:
        return True
    return rma is not None and scan.rma == rma and scan.step not in LEAVING_STEPS


def shipping_to(scans: Iterable[StepScan], *, purchaser: str, rma: str | None = None) -> StepScan:
    """The departure of which a return to that purchaser's account is. Raises ReturnRefused.

    That is the newest to anybody, which has to be to this one; `rma` of the return, whose own
    scans, should they be here already, do not make it one that came back before.
    """
    departure: StepScan | None = None
    came_back: StepScan | None = None
    for scan in in_order(scans):
        if scan.step in LEAVING_STEPS:
            departure, came_back = _left(departure, scan, is_back=came_back is not None), None
        elif scan.step is BusinessStep.VOID_SHIPPING:
            departure = None
        elif departure is not None and scan.step is BusinessStep.RETURNING:
            came_back = scan
    if departure is None:
        raise ReturnRefused(ReturnReason.NEVER_SHIPPED, "no shipping of it is known")
    if departure.purchaser != purchaser:
        raise ReturnRefused(
            ReturnReason.OTHER_PURCHASER,
            f"it was shipped to another: order {departure.order}"
            if departure.order
            else "it was shipped for no order that is known",
        )
    if came_back is not None and (came_back.rma is not None and came_back.rma != rma):
        raise ReturnRefused(
            ReturnReason.ALREADY_RETURNED, f"it came back by {came_back.rma}: see that return"
        )
    return departure


def _left(before: StepScan | None, scan: StepScan, *, is_back: bool) -> StepScan:
    """The departure that `scan` begins, or to which it belongs: another step of the same.

    One that no order names goes to whoever had the unit before: the way back after a repair.
    """
    if before is None or scan.order not in (None, before.order):
        return scan
    if not is_back:
        return before
    return replace(before, event_id=scan.event_id, at=scan.at)


def check_quantity(
    *, product: str, ordered: int, announced_before: int, quantity: int, order: str
) -> None:
    """Raise ReturnRefused where more of a product would come back than the order has."""
    if ordered == 0:
        raise ReturnRefused(
            ReturnReason.NOT_ORDERED, f"order {order} has no line of product {product}"
        )
    if announced_before + quantity > ordered:
        raise ReturnRefused(
            ReturnReason.TOO_MANY,
            f"order {order} has {ordered} of product {product}, of which {announced_before} were"
            f" announced before: {quantity} more are too many",
        )


def in_order(scans: Iterable[StepScan]) -> Sequence[StepScan]:
    """As they happened, whatever the order in which they came."""
    return sorted(scans, key=lambda scan: (scan.at, scan.event_id))


def state_of_unit(
    scans: Iterable[StepScan],
    decisions: Sequence[Decision],
    *,
    shipped_at: datetime,
    rma: str,
) -> ReturnState:
    """How far a unit is. Its scans up to the shipping it is returned from do not count.

    The newest decision stands: it was recorded after the unit had come.
    """
    if decisions:
        return decisions[-1].state
    state = ReturnState.ANNOUNCED
    for scan in in_order(scan for scan in scans if scan.at > shipped_at):
        if scan.rma not in (None, rma):
            continue
        if comes_back(scan, rma):
            state = ReturnState.RETURNED if state is ReturnState.ANNOUNCED else state
        if scan.step is BusinessStep.INSPECTING and state is ReturnState.RETURNED:
            state = ReturnState.INSPECTED
    return state


def check_decision(now: ReturnState, to: ReturnState, *, replacement: str | None = None) -> None:
    """Raise ValueError, with the sentence, where a unit that is `now` cannot be decided `to`."""
    if to not in FOLLOWING[now]:
        if now is ReturnState.ANNOUNCED:
            raise ValueError("it has not come yet: scan it at a station whose step is returning")
        following = ", ".join(sorted(FOLLOWING[now]))
        raise ValueError(
            f"it is {now}, " + (f"and can become {following}" if following else "which is the end")
        )
    if (to is ReturnState.REPLACED) != (replacement is not None):
        raise ValueError("give the unit that takes its place with replaced, and only then")


def quantities(quantity: int, decisions: Iterable[Decision]) -> dict[ReturnState, int]:
    """Of a line without serials how many stand where; each decision moves some on.

    `returned` takes of what was announced, `inspected` of what was returned, any other of both.
    """
    counts = dict.fromkeys(ReturnState, 0) | {ReturnState.ANNOUNCED: quantity}
    for decision in decisions:
        left = decision.quantity
        for source in SOURCES[decision.state]:
            moved = min(left, counts[source])
            counts[source] -= moved
            counts[decision.state] += moved
            left -= moved
    return counts


#: Out of which states a line's quantity may come into each.
SOURCES: Final = {
    ReturnState.ANNOUNCED: (),
    ReturnState.RETURNED: (ReturnState.ANNOUNCED,),
    ReturnState.INSPECTED: (ReturnState.RETURNED,),
} | dict.fromkeys(
    (
        ReturnState.REPAIRED,
        ReturnState.RESTOCKED,
        ReturnState.REPLACED,
        ReturnState.SCRAPPED,
    ),
    (ReturnState.INSPECTED, ReturnState.RETURNED),
)


def check_counted(
    quantity: int, decisions: Sequence[Decision], state: ReturnState, moved: int
) -> None:
    """Raise ValueError where a line has not so many that can come into `state`."""
    if state is ReturnState.ANNOUNCED:
        raise ValueError("what is announced is told by the return itself")
    counts = quantities(quantity, decisions)
    there = sum(counts[source] for source in SOURCES[state])
    if not 1 <= moved <= there:
        names = " or ".join(SOURCES[state])
        raise ValueError(f"{there} of it are {names}: give a quantity from 1 to that")
