"""A recalled unit is loaded, put back, and loaded again: both loadings are told, in whichever order
their scans come."""

from itertools import permutations

import pytest

from component.one_partition import UNITS, Topics, scanned
from scantrail.domain.alert import AlertKind
from scantrail.domain.scan import Scan
from scantrail.domain.vocabulary import BusinessStep

UNIT = UNITS[1]
LOADED = {
    "station": "gate",
    "read_point": "gate",
    "business_step": BusinessStep.LOADING,
    "business_location": None,
    "repeat_window_s": 3600.0,
}
STORED = {"station": "hall", "business_step": BusinessStep.STORING, "business_location": "hall"}

FIRST = scanned(UNIT, "first", 0, **LOADED)
BACK = scanned(UNIT, "back", 10, **STORED)
SECOND = scanned(UNIT, "second", 20, **LOADED)


def standing(topics: Topics) -> dict[str, str]:
    """What was last told of each loading."""
    return {
        alert.event_id: alert.status.value
        for alert in topics.alerts()
        if alert.kind is AlertKind.RECALLED_AT_SHIPPING
    }


@pytest.mark.parametrize(
    "order",
    list(permutations((FIRST, BACK, SECOND))),
    ids=lambda order: "-".join(scan.event_id for scan in order),
)
def test_each_loading_is_told_whatever_comes_first(order: tuple[Scan, ...]) -> None:
    topics = Topics()
    for scan in order:
        topics.put(scan).track()
    assert standing(topics) == {"first": "raised", "second": "raised"}


def test_a_repeat_is_told_once_what_it_repeated_is_void() -> None:
    again = scanned(UNIT, "again", 1, **LOADED)
    void = scanned(UNIT, "void", 0, corrects="first")
    topics = Topics().put(FIRST, again).track()
    assert standing(topics) == {"first": "raised"}
    topics.put(void).track()
    assert topics.state(UNIT).current.visit_id == "again"
    assert standing(topics)["again"] == "raised"


def test_a_repeat_that_stays_one_is_not_told() -> None:
    again = scanned(UNIT, "again", 1, **LOADED)
    topics = Topics()
    for scan in (FIRST, again, BACK):
        topics.put(scan).track()
    assert standing(topics) == {"first": "raised"}
