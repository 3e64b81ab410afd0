"""Warranty claims: what a claim has to be told when it is filed, and how it may go on."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from enum import StrEnum
from typing import Final

from scantrail.domain.warranty import Cover, WarrantyState, state_on


class ClaimState(StrEnum):
    """How far a claim is."""

    FILED = "filed"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    REPAIRED = "repaired"
    REPLACED = "replaced"
    CLOSED = "closed"


#: What may follow each. Whoever withdraws a claim has it closed; a refused one may be taken up.
FOLLOWING: Final[Mapping[ClaimState, frozenset[ClaimState]]] = {
    ClaimState.FILED: frozenset({ClaimState.ACCEPTED, ClaimState.REFUSED, ClaimState.CLOSED}),
    ClaimState.ACCEPTED: frozenset({ClaimState.REPAIRED, ClaimState.REPLACED, ClaimState.CLOSED}),
    ClaimState.REFUSED: frozenset({ClaimState.ACCEPTED, ClaimState.CLOSED}),
    ClaimState.REPAIRED: frozenset({ClaimState.CLOSED}),
    ClaimState.REPLACED: frozenset({ClaimState.CLOSED}),
    ClaimState.CLOSED: frozenset(),
}


class ClaimRefused(Exception):
    """A claim cannot go on so. `field` is what mends it."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.field = field
        self.detail = detail


class Remark(StrEnum):
    """What a claim has to be told when it is filed."""

    NEVER_SHIPPED = "never_shipped"
    RECALLED = "recalled"
    ALREADY_REPLACED = "already_replaced"
    TAKEN_BACK = "taken_back"
    VOID = "void"
    NO_TERM = "no_term"
    NOT_REGISTERED = "not_registered"
    EXPIRED = "expired"
    OTHER_ORDER = "other_order"
    MORE_THAN_BOUGHT = "more_than_bought"


#: With these a claim is accepted only with a note that says why: nothing was promised, or not now.
WEIGHTY: Final = frozenset(Remark) - {Remark.RECALLED}

_REMARK_OF_STATE: Final = {
    WarrantyState.NOT_SHIPPED: Remark.NEVER_SHIPPED,
    WarrantyState.NO_TERM: Remark.NO_TERM,
    WarrantyState.NOT_REGISTERED: Remark.NOT_REGISTERED,
    WarrantyState.EXPIRED: Remark.EXPIRED,
    WarrantyState.VOID: Remark.VOID,
    WarrantyState.REPLACED: Remark.ALREADY_REPLACED,
    WarrantyState.TAKEN_BACK: Remark.TAKEN_BACK,
}


def remarks_on(
    cover: Cover | None,
    day: date,
    *,
    order: str | None = None,
    recalls: Sequence[str] = (),
    claimed: int = 1,
    bought: int | None = None,
) -> dict[Remark, str]:
    """What there is to say of a claim that names `order`, each with its sentence; {}: nothing.

    `recalls` are the ids of active recalls that have the unit. `claimed` counts the serials that
    were claimed of a line with `bought` units, this one included, where a line is the proof.
    """
    told: dict[Remark, str] = {}
    state = state_on(cover, day)
    if state in _REMARK_OF_STATE:
        told[_REMARK_OF_STATE[state]] = _sentence(cover, state)
    if recalls:
        told[Remark.RECALLED] = (
            f"it is recalled by {', '.join(recalls)}: the recall says what to do"
        )
    if cover is not None and order is not None and cover.order not in (None, order):
        told[Remark.OTHER_ORDER] = f"it was sold by order {cover.order}, not {order}"
    if bought is not None and claimed > bought:
        told[Remark.MORE_THAN_BOUGHT] = (
            f"{claimed} units are claimed of a line that has {bought}: one of them is not of it"
        )
    return told


def _sentence(cover: Cover | None, state: WarrantyState) -> str:
    if cover is None:
        return "no shipping of it is known, and no order line stands for it"
    return {
        WarrantyState.NO_TERM: "no warranty was promised with its product on the day of the sale",
        WarrantyState.NOT_REGISTERED: "its months begin with a registration, and none has come",
        WarrantyState.EXPIRED: f"its warranty ended with {cover.until}",
        WarrantyState.VOID: f"its warranty is void: {cover.void_reason}",
        WarrantyState.REPLACED: f"it was replaced by {cover.replaced_by}: claim for that one",
        WarrantyState.TAKEN_BACK: "it was taken back, and not sold since",
    }[state]


def check_claim_step(
    now: ClaimState,
    to: ClaimState,
    *,
    note: str | None = None,
    replacement: str | None = None,
    has_serial: bool = True,
    remarks: Iterable[Remark] = (),
) -> None:
    """Raise ClaimRefused where a claim that is `now` cannot become `to` by what is told.

    Of a claim without a serial no unit takes its place.
    """
    if to not in FOLLOWING[now]:
        following = ", ".join(sorted(FOLLOWING[now]))
        told = f"can become {following}" if following else "is at its end: file another"
        raise ClaimRefused("state", f"a claim that is {now} {told}")
    if (to is ClaimState.REPLACED and has_serial) != (replacement is not None):
        raise ClaimRefused(
            "replacement", "give the unit that takes its place with state replaced, and only then"
        )
    weighty = sorted(WEIGHTY.intersection(remarks))
    if to is ClaimState.ACCEPTED and weighty and not note:
        raise ClaimRefused(
            "note", f"say why it is accepted although it was told: {', '.join(weighty)}"
        )
    if to is ClaimState.REFUSED and not note:
        raise ClaimRefused("note", "say why it is refused")
