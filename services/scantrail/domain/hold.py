"""Holds: why a unit must not leave, one reason of each who says so."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from scantrail.domain.recall import Recall
from scantrail.domain.recall_match import Matched

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


def itself_id(recall_id: str) -> str:
    """The id of the reason by which a unit is held for what it is itself."""
    return f"recall:{recall_id}"


def inside_id(recall_id: str) -> str:
    """The id of the reason by which a unit is held for what is inside it."""
    return f"inside:{recall_id}"


#: With these begin the ids of reasons that recalls put.
OF_RECALLS = (itself_id(""), inside_id(""))


def is_inside(reason: HoldReason) -> bool:
    """Whether a reason is of what is inside the unit."""
    return reason.recall is not None and reason.id == inside_id(reason.recall)


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


def standing(matched: Iterable[Matched], cleared: Collection[Clearance]) -> Matched:
    """What speaks against a unit by all its keys, without what it is cleared of.

    What was decided by what a scan does not show counts only where the scan leaves it open: a unit
    that shows a recalled lot is recalled, whatever another scan has told before.
    """
    recalled, likely, undecided = dict[str, Recall](), dict[str, Recall](), dict[str, Recall]()
    for each in matched:
        recalled |= {recall.id: recall for recall in each.recalled}
        likely |= {recall.id: recall for recall in each.likely}
        undecided |= {recall.id: recall for recall in each.undecided}
    return Matched(
        [each for each in _by_id(recalled) if not is_remedied(cleared, each)],
        [each for each in _by_id(likely, recalled) if not is_remedied(cleared, each)],
        [
            each
            for each in _by_id(undecided, recalled, likely)
            if not decides_against(cleared, each)
        ],
    )


def _by_id(found: dict[str, Recall], *others: dict[str, Recall]) -> list[Recall]:
    """Those that are among none of the others."""
    return [found[id_] for id_ in sorted(found) if not any(id_ in other for other in others)]


def by_recalls(hold: Hold, reasons: Iterable[HoldReason], cleared: Iterable[Clearance]) -> Hold:
    """The hold with exactly these reasons of recalls, and cleared of these versions; what others
    say, and of what it was remedied, stays. The version is left as it is.

    Of more than a hold can have some are left out: one reason holds as many do, and who is not
    cleared is held.
    """
    since = {each.id: each.since for each in hold.reasons}
    others = [each for each in hold.reasons if each.recall is None]
    told = [replace(each, since=since.get(each.id, each.since)) for each in reasons]
    remedied = [each for each in hold.cleared if each.version is None]
    room = max(REASONS_MAX - len(others), 0)
    return replace(
        hold,
        reasons=(*others, *told[:room]),
        cleared=(*remedied, *cleared)[:CLEARED_MAX],
    )


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


def remedied(hold: Hold, recall_id: str) -> Hold:
    """The hold of a unit that was remedied: the recall does not hold it any more, whatever its
    version, but for what is inside it. The version is left as it is."""
    clearance = Clearance(recall=recall_id)
    left = tuple(each for each in hold.reasons if each.recall != recall_id or is_inside(each))
    cleared = hold.cleared if clearance in hold.cleared else (*hold.cleared, clearance)
    return replace(hold, reasons=left, cleared=cleared)


def not_remedied(hold: Hold, recall_id: str) -> Hold:
    """The hold as if that had never been said; the version is left as it is."""
    clearance = Clearance(recall=recall_id)
    return replace(hold, cleared=tuple(each for each in hold.cleared if each != clearance))
