"""A box with a recalled unit inside went out, and its scan comes so late that what is inside does
not follow: the box itself is told."""

from component.one_partition import CARTON, GATE, UNITS, Topics, packed, scanned
from scantrail.domain.hold import Hold, HoldReason, inside_id
from scantrail.domain.vocabulary import BusinessStep

HELD = Hold(
    id=CARTON,
    reasons=(HoldReason(id=inside_id("R-1"), text=f"contains {UNITS[1]}", recall="R-1"),),
)
HALL = {"business_step": BusinessStep.STORING, "station": "hall", "business_location": None}


def shipped(days_since: int) -> list[tuple[str, str | None, str]]:
    """Kind, unit and event of what is told of a box that was shipped on the second day, in a scan
    that comes after those of so many days."""
    topics = Topics().put(packed(1)).track()
    for day in range(2, 2 + days_since):
        topics.put(scanned(CARTON, f"day-{day}", 60 * 24 * day, sequence=day, **HALL)).track()
    topics.put(scanned(CARTON, "left", 60 * 30, **GATE)).track()
    outcome = topics.of(CARTON)[-1].outcome.value
    assert (outcome == "older_than_base") is (days_since > 15), outcome
    return [(alert.kind.value, alert.unit, alert.event_id) for alert in topics.alerts(HELD)]


def test_where_its_scan_is_older_than_what_its_trail_begins_with_the_box_is_told() -> None:
    assert ("recalled_at_shipping", CARTON, "left") in shipped(19)


def test_where_what_is_inside_follows_only_that_is_told() -> None:
    told = shipped(1)
    assert [unit for kind, unit, _ in told if kind == "recalled_at_shipping"] == [UNITS[1]]
