"""Holds: why a unit must not leave, one reason of each who says so."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from scantrail.domain.recall import Recall

#: Reasons that one unit may have: more are a slip of a program.
REASONS_MAX = 50

#: Recalls by which one unit may be cleared.
CLEARED_MAX = 500


class HoldKind(StrEnum):
    """What became of a unit that nobody has: whoever scans it has found it."""

    LOST = "lost"
    STOLEN = "stolen"


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldReason:
    """Why a unit is held. `since` is aware; None where nobody told. `kind` is None for a unit that
    is where it should be."""

    id: str
    text: str
    since: datetime | None = None
    kind: HoldKind | None = None
    #: the recall by which it is held, found by what scans do not show or by what is inside
    recall: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Clearance:
    """That a recall does not hold a unit: by what is known of it that scans do not show, decided
    for one `version` of the recall, or, for any version (None), because it was remedied."""

    recall: str
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """All that holds one unit; `id` is the unit's key. Without reasons there is no hold, and what
    `cleared` says may still count."""

    id: str
    reasons: tuple[HoldReason, ...]
    version: int = 1
    cleared: tuple[Clearance, ...] = ()


def decides_against(cleared: Iterable[Clearance], recall: Recall) -> bool:
    """Whether one of these clearances says that a unit is not meant by the recall, where what is
    read of it does not tell."""
    return any(
        each.recall == recall.id and each.version in (None, recall.version) for each in cleared
    )


def is_remedied(cleared: Iterable[Clearance], recall: Recall) -> bool:
    """Whether a unit that the recall means may pass all the same."""
    return any(each.recall == recall.id and each.version is None for each in cleared)


def with_reason(hold: Hold, reason: HoldReason) -> Hold:
    """The hold with `reason`, in the place of the one of that id; the version is left as it is.

    A reason that is told again keeps its `since`: the unit is held from then on.
    """
    known = {each.id: each for each in hold.reasons}
    if reason.id in known:
        reason = replace(reason, since=known[reason.id].since)
    return replace(hold, reasons=tuple((known | {reason.id: reason}).values()))


def without_reason(hold: Hold, reason_id: str) -> Hold:
    """The hold without that reason, which it need not have; the version is left as it is."""
    left = tuple(each for each in hold.reasons if each.id != reason_id)
    return replace(hold, reasons=left)


def with_clearance(hold: Hold, clearance: Clearance) -> Hold:
    """The hold with `clearance`, once; the version is left as it is."""
    others = tuple(each for each in hold.cleared if each != clearance)
    return hold if len(others) < len(hold.cleared) else replace(hold, cleared=(*others, clearance))


def without_clearance(hold: Hold, clearance: Clearance) -> Hold:
    """The hold without that clearance, which it need not have; the version is left as it is."""
    return replace(hold, cleared=tuple(each for each in hold.cleared if each != clearance))
