"""A unit folded anew from its whole history, for what came too late to be folded as it came.

The state keeps the scans of two days, and at least sixteen; one that is older than its base is in
history and moves nothing. What a person sees missing is made good by a new base, folded of every
archived scan in the order in which they happened. Only the tracker writes the state: it takes the
base over where the unit has still the version of which it was made (`custody.rebase`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from scantrail.domain.custody import (
    BASE_PREFIX,
    Fact,
    Outcome,
    Rebase,
    UnitState,
    Visit,
    fold,
    is_voided,
    only_in,
    split,
    visit_of,
)
from scantrail.domain.scan import Scan, made_id


class CannotRefold(Exception):
    """The history is not whole, or not this unit's any more; the text says which, and the mend."""


@dataclass(frozen=True, slots=True)
class Told:
    """One accepted scan, as `movements` tells it."""

    version: int
    outcome: Outcome
    scan: Scan
    facts_added: tuple[Fact, ...]
    facts_withdrawn: tuple[Fact, ...]


def refold(state: UnitState, history: Sequence[Told], others: Sequence[Told] = ()) -> Rebase:
    """The new base of `state`, from its `history` in any order and from the histories of `others`:
    of keys that were joined into it, and of those into which it was, until that was taken back.

    Raises CannotRefold.
    """
    if state.joined is not None:
        raise CannotRefold(f"{state.unit} was joined into {state.joined}: refold that")
    own = _whole(state.unit, history, state.version)
    for key in {told.scan.unit for told in others}:
        of_key = [told for told in others if told.scan.unit == key]
        _whole(key, of_key, max(told.version for told in of_key))
    origins = {_origin(told) for told in own} - {None}
    # A parent that was told of this key sent what happened to it under other ids.
    aliases = [
        told for told in others if told.scan.unit in state.aliases and _origin(told) not in origins
    ]
    # What came for it while it was joined; not what a person has voided there since.
    lent = [
        told
        for told in others
        if told.scan.unit not in state.aliases and state.unit in told.scan.forwarded_from
    ]
    wrong = {told.scan.corrects for told in (*own, *aliases)}
    visits = _visits(state, [*lent, *own, *aliases], wrong)
    known = {visit.event_id for visit in state.kept}
    # Archived ones; of keys that were joined into it; its own, where a join was taken back.
    missing = [visit.order_key for visit in visits if visit.event_id not in known]
    # The bases of other keys, which came as one scan, are made up of their scans now.
    missing += [visit.order_key for visit in state.kept if _is_base(visit.event_id)]
    base_key = max([*missing, *filter(None, [state.base_key])], default=None)
    _, kept = split(state, base_key)
    base, facts = fold(
        None, tuple(visit for visit in visits if base_key and visit.order_key <= base_key)
    )
    behind = {visit.event_id for visit in kept}
    standing = [fact for fact in _standing(own) if fact.event_id not in behind]
    return Rebase(
        state.version,
        base,
        base_key,
        only_in(facts, standing),
        only_in(standing, facts),
    )


def _whole(unit: str, history: Sequence[Told], version: int) -> list[Told]:
    """The history up to `version`, in its order. Raises CannotRefold where something is missing."""
    by_version = {told.version: told for told in history}
    missing = [v for v in range(1, version + 1) if v not in by_version]
    if missing:
        raise CannotRefold(
            f"{len(missing)} of {version} movements of {unit} are not in `movements`, the first of"
            f" them version {missing[0]}: a history that is not whole is not folded"
        )
    return [by_version[v] for v in range(1, version + 1)]


def refold_id(unit: str, version: int) -> str:
    """The event id of a refold: the same for the same version of the unit."""
    return f"refold/{made_id(unit, version)}"


def _origin(told: Told) -> tuple[str, str] | None:
    origin = told.scan.derived_from
    return None if origin is None else (origin.unit, origin.event_id)


def _is_base(event_id: str) -> bool:
    return event_id.startswith(BASE_PREFIX)


def _visits(state: UnitState, told: Sequence[Told], wrong: set[str | None]) -> list[Visit]:
    """The scans that count, sorted; what comes later in `told` is taken where ids are equal: what a
    key handed over is poorer than what it had."""
    visits = {
        each.scan.event_id: visit_of(each.scan)
        for each in told
        if each.outcome is not Outcome.REFOLDED
        and each.scan.corrects is None
        and each.scan.same_as is None
        and each.scan.event_id not in wrong
        and not _is_base(each.scan.event_id)
        and not is_voided(state, each.scan.event_id)
    }
    return sorted(visits.values(), key=lambda visit: visit.order_key)


def _standing(history: Sequence[Told]) -> list[Fact]:
    """The facts that were told and not withdrawn since."""
    facts: list[Fact] = []
    for told in history:
        facts = [fact for fact in facts if fact not in told.facts_withdrawn]
        facts += [fact for fact in told.facts_added if fact not in facts]
    return facts
