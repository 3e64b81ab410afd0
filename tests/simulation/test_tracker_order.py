"""The order of a batch's steps and its guards, against every crash and pause of a small world."""

import pytest

from simulation.tracker_model import Design, search

GUARDED = Design()
UNGUARDED = Design(
    checks_contiguity=False,
    exits_on_foreign_tail=False,
    restores_highest=False,
    rewrites_at_start=False,
)
RESENT = Design(scans=("a", "b", "b"), pauses=0, crashes=2)


@pytest.mark.parametrize(
    "design",
    [
        pytest.param(RESENT, id="scans sent again, two crashes"),
        pytest.param(RESENT._replace(keeps_disk=False), id="two crashes, disk lost"),
        pytest.param(RESENT._replace(drops_known_ids=False), id="known ids sent again"),
        pytest.param(
            UNGUARDED._replace(pauses=0, crashes=2, compaction="any time"),
            id="without a pause no guard is needed",
        ),
        pytest.param(GUARDED, id="a paused worker, all guards but the fence"),
        pytest.param(GUARDED._replace(exits_on_foreign_tail=False), id="no exit on a foreign tail"),
        pytest.param(
            GUARDED._replace(rewrites_at_start=False, compaction="never"),
            id="not compacted, nothing is rewritten",
        ),
        pytest.param(GUARDED._replace(pauses=2, crashes=0), id="two paused workers"),
        pytest.param(
            UNGUARDED._replace(fence=True, compaction="any time"),
            id="with the fence no other guard is needed",
        ),
        pytest.param(
            GUARDED._replace(fence=True, compaction="any time"),
            id="all guards and the fence, compacted while nobody owns",
        ),
    ],
)
def test_the_invariants_hold_after_every_fault(design: Design) -> None:
    counterexample = search(design)
    assert counterexample is None, str(counterexample)


@pytest.mark.parametrize(
    ("mutant", "broken"),
    [
        pytest.param(
            RESENT._replace(outputs_first=False),
            "I1",
            id="known ids dropped, changelog before outputs",
        ),
        pytest.param(
            RESENT._replace(outputs_first=False, drops_known_ids=False),
            "I1",
            id="changelog before outputs, known ids sent again",
        ),
        pytest.param(Design(scans=("a",), derived=("b",), pauses=0), "I7", id="two source topics"),
        pytest.param(UNGUARDED, "I5", id="restores the last record"),
        pytest.param(
            GUARDED._replace(restores_highest=False), "I2", id="guards, restores the last record"
        ),
        pytest.param(GUARDED._replace(checks_contiguity=False), "I2", id="no contiguity check"),
        pytest.param(GUARDED._replace(rewrites_at_start=False), "I5", id="no rewriting at start"),
        pytest.param(UNGUARDED._replace(checks_contiguity=True), "I5", id="contiguity check alone"),
        pytest.param(
            GUARDED._replace(compaction="after pauses"), "I2", id="compacted while nobody owns"
        ),
        pytest.param(
            GUARDED._replace(compaction="an owner lives"),
            "I2",
            id="compacted before the owner knows of every record",
        ),
    ],
)
def test_the_search_finds_what_breaks(mutant: Design, broken: str) -> None:
    counterexample = search(mutant)
    assert counterexample is not None, "the search found nothing wrong"
    assert counterexample.broken.startswith(broken), str(counterexample)
    assert counterexample.steps
