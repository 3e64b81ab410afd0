"""The obvious folds are wrong: every order of arrival of few scans shows it."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations, product

import pytest

from scantrail.domain.custody import Position, UnitState, fold, observe
from scantrail.domain.scan import Scan
from scantrail.domain.vocabulary import BusinessStep

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
STEPS = (BusinessStep.RECEIVING, BusinessStep.STORING, BusinessStep.SHIPPING)
Fold = Callable[[Sequence[Scan]], Position | None]


def scanned(number: int, step: BusinessStep) -> Scan:
    """The scan `number`, an hour after the one before; storing names no party."""
    return Scan(
        event_id=f"e{number}",
        unit="sgtin:09506000134352.1",
        event_time=NOON + timedelta(hours=number),
        record_time=NOON + timedelta(days=1),
        reader="r",
        sequence=number,
        station=f"dock-{number}",
        site="north",
        read_point=f"dock-{number}",
        business_step=step,
        business_location=f"dock-{number}",
        possessing_party=None if step is BusinessStep.STORING else f"party-{number}",
        repeat_window_s=60,
    )


def as_built(arrivals: Sequence[Scan]) -> Position | None:
    state: UnitState | None = None
    for offset, scan in enumerate(arrivals):
        state = observe(state, scan, offset=offset).state
    return state.current if state else None


def by_arrival(arrivals: Sequence[Scan]) -> Position | None:
    """Each scan moves the unit when it comes."""
    position: Position | None = None
    for scan in arrivals:
        alone = observe(None, scan, offset=0).state.kept
        position, _ = fold(position, alone)
    return position


def newest_wins(arrivals: Sequence[Scan]) -> Position | None:
    """As by_arrival, but what is older than the newest is left out."""
    taken: list[Scan] = []
    for scan in arrivals:
        if not taken or scan.event_time > taken[-1].event_time:
            taken.append(scan)
    return by_arrival(taken)


def wrong_arrival(folded: Fold) -> tuple[Scan, ...] | None:
    """The first arrival of three scans that does not end as they happened."""
    for steps in product(STEPS, repeat=3):
        story = [scanned(number, step) for number, step in enumerate(steps)]
        happened = by_arrival(story)
        for arrivals in permutations(story):
            if folded(arrivals) != happened:
                return arrivals
    return None


def test_the_fold_ends_as_it_happened_whatever_the_arrival() -> None:
    assert wrong_arrival(as_built) is None


@pytest.mark.parametrize("mutant", [by_arrival, newest_wins])
def test_an_obvious_fold_is_shown_wrong(mutant: Fold) -> None:
    arrivals = wrong_arrival(mutant)
    assert arrivals is not None
    assert list(arrivals) != sorted(arrivals, key=lambda scan: scan.event_time)
    assert as_built(arrivals) != mutant(arrivals)
