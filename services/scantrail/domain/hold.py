"""Holds: why a unit must not leave, one reason of each who says so."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

#: Reasons that one unit may have: more are a slip of a program.
REASONS_MAX = 50


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """All that holds one unit; `id` is the unit's key. Without reasons there is no hold."""

    id: str
    reasons: tuple[HoldReason, ...]
    version: int = 1


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
