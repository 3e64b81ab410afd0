"""Custody, told as a station log would tell it: one line is one scan and what it led to.

Left of the bar: event id (`c1~e1` is c1, voiding e1), time, site/station, step, location, party,
order (`.`: silent). Right: where the unit is and who has it, the outcome where it is not `moved`,
then facts added (+) and withdrawn (-), each as rule@event. Each block is one unit's life, in the
order of arrival; read it top to bottom. Repeats within 60 s at one station are one visit.
"""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest

from scantrail.domain.custody import (
    Fact,
    FactKind,
    FactRule,
    Observation,
    Outcome,
    UnitState,
    observe,
)
from scantrail.domain.product import Product, expected_after
from scantrail.domain.scan import Scan, Transaction
from scantrail.domain.vocabulary import BusinessStep

SCENARIOS = {
    "received, stored, assembled, shipped": """
        e1 09:00 n/dock-1 receiving  dock-1 acme .    | dock-1 acme
        e2 10:00 n/hall-a storing    hall-a .    .    | hall-a acme
        e3 11:00 n/line-1 assembling line-1 .    .    | line-1 acme
        e4 12:00 n/gate   shipping   .      haul SO-1 | .      haul
    """,
    "a step that says nothing of place leaves the unit where it was": """
        e1 09:00 n/hall-a storing    hall-a acme .    | hall-a acme
        e2 10:00 n/desk   inspecting .      .    .    | hall-a acme
    """,
    "staging is still here, shipping is away, a return is here again": """
        e1 09:00 n/hall-a storing          hall-a acme . | hall-a acme
        e2 10:00 n/stage  staging_outbound stage  .    . | stage  acme
        e3 11:00 n/gate   shipping         .      haul . | .      haul
        e4 12:00 n/dock-1 returning        dock-1 acme . | dock-1 acme
        e5 13:00 n/gate   shipping         .      haul . | .      haul
    """,
    "delivered to its purchaser it is shipped still, and comes back by a return alone": """
        e1 09:00 n/dock-1 receiving dock-1 acme      .    | dock-1 acme
        e2 10:00 n/gate   shipping  .      carrier   SO-1 | .      carrier
        e3 10:05 p/door   arriving  .      purchaser .    | .      purchaser
        e4 11:00 n/gate   shipping  .      carrier   SO-2 | .      carrier +shipped_twice@e4
        e5 12:00 n/dock-1 returning dock-1 acme      .    | dock-1 acme
    """,
    "a delivery that is known before its shipping ends the same": """
        e3 10:05 p/door   arriving  .      purchaser .    | .      purchaser
        e2 10:00 n/gate   shipping  .      carrier   SO-1 | .      purchaser late
    """,
    "the same event again is harmless": """
        e1 09:00 n/dock-1 receiving dock-1 acme . | dock-1 acme
        e1 09:00 n/dock-1 receiving dock-1 acme . | dock-1 acme redelivered
    """,
    "an event id reused for another story is a conflict": """
        e1 09:00 n/dock-1 receiving dock-1 acme . | dock-1 acme
        e1 09:00 n/dock-9 receiving dock-9 acme . | dock-1 acme conflicting_event
    """,
    "a conflict is judged before lateness": """
        e1 09:00 n/dock-1 receiving dock-1 acme . | dock-1 acme
        e2 10:00 n/hall-a storing   hall-a .    . | hall-a acme
        e1 08:00 n/dock-1 receiving dock-1 acme . | hall-a acme conflicting_event
    """,
    "the same station within the window is one visit": """
        e1 09:00:00 n/dock-1 receiving dock-1 acme . | dock-1 acme
        e2 09:00:50 n/dock-1 receiving dock-1 acme . | dock-1 acme repeat_read
        e3 09:01:40 n/dock-1 receiving dock-1 acme . | dock-1 acme repeat_read
        e4 09:10:00 n/dock-1 receiving dock-1 acme . | dock-1 acme
    """,
    "a tag that is read again and again for its order is one visit": """
        e1 09:00:00 n/stage staging_outbound stage acme SO-1 | stage acme
        e2 09:00:05 n/stage staging_outbound stage .    SO-1 | stage acme repeat_read
        e3 09:00:10 n/stage staging_outbound stage .    SO-2 | stage acme
    """,
    "a read of a visit that arrives late is a repeat all the same": """
        e1 09:00:00 n/gate loading truck acme . | truck acme
        e3 09:00:10 n/gate loading truck .    . | truck acme repeat_read
        e2 09:00:05 n/gate loading truck .    . | truck acme repeat_read
    """,
    "another station in between ends the visit": """
        e1 09:00:00 n/hall-a storing hall-a acme . | hall-a acme
        e2 09:00:10 n/hall-b storing hall-b .    . | hall-b acme
        e3 09:00:20 n/hall-a storing hall-a .    . | hall-a acme
    """,
    "a scan that was buffered at the reader arrives late": """
        e2 10:00 n/hall-a storing   hall-a acme . | hall-a acme
        e1 09:00 n/dock-1 receiving dock-1 acme . | hall-a acme late
    """,
    "a late scan supplies what later ones were silent on": """
        e2 10:00 n/hall-a storing   hall-a .    . | hall-a .
        e1 09:00 n/dock-1 receiving dock-1 acme . | hall-a acme late
    """,
    "a clone is received while the unit is in custody": """
        e1 09:00 n/dock-1 receiving dock-1 acme . | dock-1 acme
        e2 10:00 n/hall-a storing   hall-a .    . | hall-a acme
        e3 11:00 s/dock-9 receiving dock-9 acme . | dock-9 acme +received_in_custody@e3
    """,
    "a station that says nothing of place does not receive it elsewhere": """
        e1 09:00 n/dock-1 receiving dock-1 acme . | dock-1 acme
        e2 11:00 n/desk   receiving .      .    . | dock-1 acme
    """,
    "received twice at the same place is no clone": """
        e1 09:00 n/dock-1 receiving dock-1 acme . | dock-1 acme
        e2 11:00 n/dock-1 receiving dock-1 acme . | dock-1 acme
    """,
    "shipped twice without a return": """
        e1 09:00 n/hall-a storing  hall-a acme . | hall-a acme
        e2 10:00 n/gate   shipping .      haul . | .      haul
        e3 11:00 n/gate   shipping .      haul . | .      haul +shipped_twice@e3
    """,
    "staged and shipped once more, with no return in between": """
        e1 09:00 n/dock-1 receiving        dock-1 acme .    | dock-1 acme
        e2 10:00 n/stage  staging_outbound stage  .    .    | stage  acme
        e3 11:00 n/gate   shipping         .      haul SO-1 | .      haul
        e4 12:00 n/stage  staging_outbound stage  .    .    | stage  .
        e5 13:00 n/gate   shipping         .      haul SO-2 | .      haul +shipped_twice@e5
    """,
    "shipping and departing, then both once more": """
        e1 09:00 n/gate shipping  . haul SO-1 | . haul
        e2 09:10 n/yard departing . haul .    | . haul
        e3 19:00 n/gate shipping  . haul SO-2 | . haul +shipped_twice@e3
        e4 19:10 n/yard departing . haul .    | . haul
    """,
    "one departure under two orders": """
        e1 09:00 n/gate shipping  . haul SO-1 | . haul
        e2 09:10 n/yard departing . haul SO-2 | . haul +shipped_twice@e2
    """,
    "a shipping that was voided is no shipping": """
        e1 09:00 n/gate shipping      .     haul SO-1 | .     haul
        e2 09:10 n/desk void_shipping stage acme .    | stage acme
        e3 10:00 n/gate shipping      .     haul SO-2 | .     haul
    """,
    "sent to another site that does not scan receipts, and shipped from there": """
        e1 09:00 n/gate  shipping .    haul . | .    haul
        e2 19:00 s/shelf storing  hall acme . | hall acme +two_sites@e2
        e3 23:00 s/gate  shipping .    haul . | .    haul
    """,
    "loading, departing, then shipping at the same site is one departure": """
        e1 09:00 n/hall-a storing   hall-a acme . | hall-a acme
        e2 10:00 n/gate   loading   truck  .    . | truck  acme
        e3 10:30 n/gate   departing .      haul . | .      haul
        e4 10:40 n/office shipping  .      haul . | .      haul
    """,
    "seen at two sites": """
        e1 09:00 n/hall-a storing        hall-a acme . | hall-a acme
        e2 09:05 s/count  cycle_counting hall-s .    . | hall-s acme +two_sites@e2
    """,
    "shipped to another site and received there: whether that is too soon is not said here": """
        e1 09:00 n/hall-a storing   hall-a acme . | hall-a acme
        e2 10:00 n/gate   shipping  .      haul . | .      haul
        e3 15:00 s/dock-9 receiving dock-9 acme . | dock-9 acme +two_sites@e3
    """,
    "shipped, then found at another site without having been received there": """
        e1 10:00 n/gate   shipping  .      haul . | .      haul
        e2 10:05 s/hall-s storing   hall-s acme . | hall-s acme +two_sites@e2
    """,
    "a return that came late explains the second shipping": """
        e1 09:00 n/gate   shipping  .      haul . | .      haul
        e3 11:00 n/gate   shipping  .      haul . | .      haul +shipped_twice@e3
        e2 10:00 n/dock-1 returning dock-1 acme . | .      haul late -shipped_twice@e3
    """,
    "a late scan reveals a clone": """
        e1 09:00 n/dock-1 receiving dock-1 acme . | dock-1 acme
        e3 11:00 s/dock-9 receiving dock-9 acme . | dock-9 acme +received_in_custody@e3
        e2 10:00 n/gate shipping . haul . | dock-9 acme late +two_sites@e3 -received_in_custody@e3
    """,
    "the shelf of one site is not at another": """
        e1 09:00 a/hall storing    rack-12 acme . | rack-12 acme
        e2 19:00 b/desk inspecting .       .    . | .       acme +two_sites@e2
    """,
    "what came back to a silent station is with nobody known": """
        e1 09:00 n/gate shipping  transit haul SO-1 | transit haul
        e2 19:00 n/desk returning .       .    .    | .       .
    """,
    "decommissioned": """
        e1 09:00 n/hall-a storing         hall-a acme . | hall-a acme
        e2 10:00 n/scrap  decommissioning scrap  .    . | scrap  acme
        e3 11:00 n/office decommissioning scrap  .    . | scrap  acme
    """,
    "what was decommissioned does not come back, but once it did it is here": """
        e1 09:00 n/scrap  decommissioning scrap  acme . | scrap  acme
        e2 10:00 n/hall-a storing         hall-a acme . | hall-a acme +decommissioned@e2
        e3 11:00 n/hall-b storing         hall-b .    . | hall-b acme
    """,
    "a shipped unit that is counted is not on site for that": """
        e1 09:00 n/hall-a storing       hall-a acme .    | hall-a acme
        e2 10:00 n/gate   shipping      .      haul SO-1 | .      haul
        e3 11:00 n/count  cycle_counting hall-a acme . | . haul +counted_while_shipped@e3
        e4 11:00:50 n/count cycle_counting hall-a acme . | . haul repeat_read
        e5 12:00 n/count  cycle_counting hall-a acme . | . haul +counted_while_shipped@e5
        e6 13:00 n/dock-1 returning     dock-1 acme .    | dock-1 acme
        e7 14:00 n/count  cycle_counting hall-a .   .    | hall-a acme
    """,
    "counted at another site while it is under way there, and received after": """
        e1 09:00 n/gate   shipping  .      haul . | .      haul
        e2 15:00 s/count  cycle_counting hall-s acme . | . haul +counted_while_shipped@e2
        e3 15:10 s/dock-9 receiving dock-9 acme . | dock-9 acme +two_sites@e3
    """,
    "a count does not end the departure that is open": """
        e1 09:00 n/gate   shipping  .      haul SO-1 | . haul
        e2 10:00 n/count  cycle_counting hall-a acme . | . haul +counted_while_shipped@e2
        e3 11:00 n/gate   shipping  .      haul SO-2 | . haul +shipped_twice@e3
    """,
    "a return that came late explains the count": """
        e1 09:00 n/gate   shipping  .      haul . | .      haul
        e3 11:00 n/count  cycle_counting hall-a acme . | . haul +counted_while_shipped@e3
        e2 10:00 n/dock-1 returning dock-1 acme . | hall-a acme late -counted_while_shipped@e3
    """,
    "what was decommissioned is counted": """
        e1 09:00 n/scrap  decommissioning scrap acme . | scrap acme
        e2 10:00 n/count  cycle_counting hall-a acme . | scrap acme +counted_while_gone@e2
    """,
    "opening stock contradicts nothing, before or after": """
        e1 09:00 n/dock-1 receiving    dock-1 acme . | dock-1 acme
        e2 09:05 s/stock  stock_taking hall-s acme . | hall-s acme
        e0 08:55 s/dock-9 storing      dock-9 acme . | hall-s acme late +received_in_custody@e1
    """,
    "opening stock brings nothing back, and tells nothing": """
        e1 09:00 n/stock  stock_taking hall-a acme . | hall-a acme
        e2 10:00 n/gate   shipping     .      haul . | .      haul
        e3 11:00 n/stock  stock_taking hall-a acme . | .      haul
        e4 12:00 n/count  cycle_counting hall-a acme . | . haul +counted_while_shipped@e4
    """,
    "a shipping that was scanned in error is corrected": """
        e1    09:00 n/hall-a storing    hall-a acme .    | hall-a acme
        e2    10:00 n/gate   shipping   .      haul SO-1 | .      haul
        c1~e2 10:30 n/office inspecting .      .    .    | hall-a acme corrected
        e3    11:00 n/gate   shipping   .      haul SO-2 | .      haul
    """,
    "a correction that comes before its scan": """
        e1    09:00 n/hall-a storing    hall-a acme .    | hall-a acme
        c1~e2 10:30 n/office inspecting .      .    .    | hall-a acme corrected
        e2    10:00 n/gate   shipping   .      haul SO-1 | hall-a acme voided
        e2    10:00 n/gate   shipping   .      haul SO-1 | hall-a acme redelivered
        e2    10:01 n/gate   shipping   .      haul SO-1 | hall-a acme conflicting_event
    """,
    "a correction takes back what its scan contradicted": """
        e1    09:00 n/dock-1 receiving  dock-1 acme . | dock-1 acme
        e2    10:00 s/dock-9 receiving dock-9 acme . | dock-9 acme +received_in_custody@e2
        c1~e2 11:00 n/desk inspecting . . . | dock-1 acme corrected -received_in_custody@e2
    """,
    "a correction may reveal what its scan had explained": """
        e1    09:00 n/gate   shipping   .      haul . | .      haul
        e2    10:00 n/dock-1 returning  dock-1 acme . | dock-1 acme
        e3    11:00 n/gate   shipping   .      haul . | .      haul
        c1~e2 12:00 n/office inspecting .      .    . | .      haul corrected +shipped_twice@e3
    """,
    "the only scan of a unit is corrected, and it is seen again": """
        e1    09:00 n/dock-1 receiving  dock-1 acme . | dock-1 acme
        c1~e1 10:00 n/office inspecting .      .    . | .      .    corrected
        e2    08:00 n/hall-a storing    hall-a .    . | hall-a .
    """,
    "a correction that comes twice, and one of a correction": """
        e1    09:00 n/dock-1 receiving  dock-1 acme . | dock-1 acme
        e2    10:00 n/hall-a storing    hall-a .    . | hall-a acme
        c1~e2 11:00 n/office inspecting .      .    . | dock-1 acme corrected
        c1~e2 11:00 n/office inspecting .      .    . | dock-1 acme redelivered
        c2~c1 12:00 n/office inspecting .      .    . | dock-1 acme corrected
        c1~e1 11:00 n/office inspecting .      .    . | dock-1 acme conflicting_event
    """,
}


#: Each with the order of steps that the product expects.
IN_ORDER = {
    "step by step, and counted in between": (
        "receiving storing shipping",
        """
        e1 09:00 n/dock-1 receiving      dock-1 acme . | dock-1 acme
        e2 10:00 n/hall-a storing        hall-a .    . | hall-a acme
        e3 11:00 n/hall-b storing        hall-b .    . | hall-b acme
        e4 12:00 n/count  cycle_counting .      .    . | hall-b acme
        e5 13:00 n/gate   shipping       .      haul . | .      haul
        """,
    ),
    "shipped without having been packed": (
        "receiving packing shipping",
        """
        e1 09:00 n/dock-1 receiving  dock-1 acme . | dock-1 acme
        e2 10:00 n/gate   shipping   .      haul . | .      haul +unexpected_step@e2
        """,
    ),
    "the packing station's scan comes late": (
        "receiving packing shipping",
        """
        e1 09:00 n/dock-1 receiving  dock-1 acme . | dock-1 acme
        e3 11:00 n/gate   shipping   .      haul . | .      haul +unexpected_step@e3
        e2 10:00 n/pack-1 packing    pack-1 .    . | .      haul late -unexpected_step@e3
        """,
    ),
    "never received at all": (
        "receiving storing shipping",
        """
        e1 09:00 n/hall-a storing    hall-a acme . | hall-a acme +unexpected_step@e1
        e2 10:00 n/gate   shipping   .      haul . | .      haul
        """,
    ),
    "a product whose units are captured at shipping only": (
        "shipping",
        """
        e1 09:00 n/gate   shipping   .      haul . | .      haul
        """,
    ),
    "the order begins anew after a return": (
        "receiving storing shipping",
        """
        e1 09:00 n/dock-1 receiving  dock-1 acme . | dock-1 acme
        e2 10:00 n/hall-a storing    hall-a .    . | hall-a acme
        e3 11:00 n/gate   shipping   .      haul . | .      haul
        e4 12:00 n/dock-1 returning  dock-1 acme . | dock-1 acme
        e5 13:00 n/dock-1 receiving  dock-1 acme . | dock-1 acme
        e6 14:00 n/gate   shipping   .      haul . | .      haul +unexpected_step@e6
        """,
    ),
    "a clone is told as that, and not as out of sequence too": (
        "receiving storing shipping",
        """
        e1 09:00 n/dock-1 receiving  dock-1 acme . | dock-1 acme
        e2 10:00 n/hall-a storing    hall-a .    . | hall-a acme
        e3 10:10 s/dock-9 storing    dock-9 .    . | dock-9 acme +two_sites@e3
        e4 10:20 s/dock-9 receiving  hall-9 .    . | hall-9 acme +received_in_custody@e4
        """,
    ),
    "at another site it is both, for the journey may have been long enough": (
        "receiving storing shipping arriving",
        """
        e1 09:00 n/dock-1 receiving  dock-1 acme . | dock-1 acme
        e2 19:00 s/dock-9 arriving   dock-9 .    . | dock-9 acme +two_sites@e2 +unexpected_step@e2
        """,
    ),
    "going back is out of sequence, a repeat read is not": (
        "receiving storing picking shipping",
        """
        e1 09:00    n/dock-1 receiving dock-1 acme . | dock-1 acme
        e2 10:00    n/hall-a storing   hall-a .    . | hall-a acme
        e3 11:00    n/hall-a picking   cart   .    . | cart   acme
        e4 12:00    n/hall-a storing   hall-a .    . | hall-a acme +unexpected_step@e4
        e5 12:00:30 n/hall-a storing   hall-a .    . | hall-a acme repeat_read
        """,
    ),
    "a correction takes the step back that explained the next": (
        "receiving packing shipping",
        """
        e1    09:00 n/dock-1 receiving  dock-1 acme . | dock-1 acme
        e2    10:00 n/pack-1 packing    pack-1 .    . | pack-1 acme
        e3    11:00 n/gate   shipping   .      haul . | .      haul
        c1~e2 12:00 n/office inspecting .      .    . | .      haul corrected +unexpected_step@e3
        """,
    ),
}


@pytest.mark.parametrize(("steps", "story"), IN_ORDER.values(), ids=IN_ORDER.keys())
def test_scenario_of_a_product_that_expects_an_order_of_steps(steps: str, story: str) -> None:
    product = Product(id="p", name="P", steps=tuple(map(BusinessStep, steps.split())))
    known: UnitState | None = None
    for offset, line in enumerate(story.strip().splitlines()):
        told, expected = line.split("|")
        scan = scan_from(told)
        scan = replace(scan, expected_after=expected_after(product, scan.business_step))
        seen = observe(known, scan, offset=offset)
        assert shown(seen) == tuple(expected.split()), line
        known = seen.state


def test_what_came_before_the_product_had_an_order_is_not_judged() -> None:
    known = observe(None, scan_from("e1 09:00 n/dock-1 receiving dock-1 acme ."), offset=0).state
    shipped = replace(
        scan_from("e2 10:00 n/gate shipping . haul ."),
        expected_after=(BusinessStep.PACKING, BusinessStep.SHIPPING),
    )
    assert observe(known, shipped, offset=1).facts_added == ()
    assert observe(None, shipped, offset=1).facts_added == (
        Fact(
            FactKind.OUT_OF_SEQUENCE,
            "e2",
            FactRule.UNEXPECTED_STEP,
            "",
            0.0,
            "gate",
            "n",
            shipped.event_time,
            (BusinessStep.PACKING, BusinessStep.SHIPPING),
        ),
    )


def test_what_a_unit_did_before_its_products_order_changed_is_not_judged() -> None:
    """Received under the old order, it goes on without the step that the new one demands; what it
    does from then on is judged."""
    receiving = replace(
        scan_from("e1 09:00 n/dock-1 receiving dock-1 acme ."),
        expected_after=(),
    )
    storing = replace(
        scan_from("e2 11:00 n/hall-a storing hall-a . ."),
        expected_after=(BusinessStep.INSPECTING, BusinessStep.STORING),
        expected_since=receiving.event_time + timedelta(hours=1),
    )
    shipping = replace(
        scan_from("e3 12:00 n/gate shipping . haul ."),
        expected_after=(BusinessStep.PACKING, BusinessStep.SHIPPING),
        expected_since=storing.expected_since,
    )
    known = observe(None, receiving, offset=0).state
    seen = observe(known, storing, offset=1)
    assert seen.facts_added == ()
    (fact,) = observe(seen.state, shipping, offset=2).facts_added
    assert (fact.event_id, fact.rule) == ("e3", FactRule.UNEXPECTED_STEP)
    later = replace(storing, expected_since=receiving.event_time)
    (fact,) = observe(known, later, offset=1).facts_added
    assert fact.event_id == "e2"


@pytest.mark.parametrize("story", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_scenario(story: str) -> None:
    known: UnitState | None = None
    for offset, line in enumerate(story.strip().splitlines()):
        told, expected = line.split("|")
        seen = observe(known, scan_from(told), offset=offset)
        assert shown(seen) == tuple(expected.split()), line
        known = seen.state


def test_versions_count_accepted_scans_only() -> None:
    story = SCENARIOS["the same event again is harmless"].strip().splitlines()
    story += SCENARIOS["a clone is received while the unit is in custody"].strip().splitlines()[1:]
    known, versions = None, []
    for offset, line in enumerate(story):
        seen = observe(known, scan_from(line.split("|")[0]), offset=offset)
        known = seen.state
        versions.append(known.version)
    assert versions == [1, 1, 2, 3]


def test_the_order_stands_while_the_unit_is_shipped() -> None:
    known, orders = None, []
    for offset, line in enumerate(
        """
        e1 10:00 n/gate   shipping  .      haul SO-1
        e2 11:00 n/dock-1 returning dock-1 acme RMA-1
        e3 12:00 n/gate   shipping  .      haul SO-2
        """.strip().splitlines()
    ):
        known = observe(known, scan_from(line), offset=offset).state
        assert known.current
        orders.append(known.current.order)
    assert orders == ["SO-1", None, "SO-2"]


def test_shipped_again_under_another_order_is_since_then() -> None:
    first = scan_from("e1 09:00 n/gate shipping . haul SO-1")
    second = scan_from("e2 19:00 n/gate shipping . haul SO-2")
    known = observe(observe(None, first, offset=0).state, second, offset=1).state.current
    assert known
    assert (known.order, known.since, known.event_id) == ("SO-2", second.event_time, "e2")


def test_a_visit_is_named_by_the_scan_that_began_it() -> None:
    known, visits = None, []
    for offset, line in enumerate(
        """
        e1 09:00:00 n/gate  loading truck acme .
        e3 09:00:10 n/gate  loading truck .    .
        e4 12:00:00 n/gate  loading truck .    .
        e2 09:00:05 n/gate  loading truck .    .
        e0 08:00:00 n/stage storing stage .    .
        """.strip().splitlines()
    ):
        seen = observe(known, scan_from(line), offset=offset)
        known = seen.state
        visits.append(seen.visit_id)
    assert visits == ["e1", "e1", "e4", "e1", "e0"]


def test_a_count_of_a_shipped_unit_is_a_visit_of_its_own() -> None:
    known, visits = None, []
    for offset, line in enumerate(
        """
        e1 09:00:00 n/gate  shipping       .      haul .
        e2 09:00:05 n/count cycle_counting hall-a acme .
        e3 09:00:10 n/gate  shipping       .      haul .
        e4 09:00:15 n/count cycle_counting hall-a acme .
        """.strip().splitlines()
    ):
        seen = observe(known, scan_from(line), offset=offset)
        known = seen.state
        visits.append(seen.visit_id)
    assert visits == ["e1", "e2", "e1", "e2"]


def test_a_count_contradicts_the_shipping() -> None:
    shipped = observe(None, scan_from("e1 09:00 n/gate shipping . haul SO-1"), offset=0).state
    counted = scan_from("e2 11:00 n/count cycle_counting hall-a acme .")
    (fact,) = observe(shipped, counted, offset=1).facts_added
    assert fact == Fact(
        FactKind.COUNTED_AWAY,
        "e2",
        FactRule.COUNTED_WHILE_SHIPPED,
        "e1",
        7200.0,
        "count",
        "n",
        counted.event_time,
    )


def test_a_condition_is_true_until_contradicted_or_until_it_leaves() -> None:
    known, told = None, []
    for offset, (line, disposition) in enumerate(
        [
            ("e1 09:00 n/hall-a inspecting . . .", "damaged"),
            ("e2 10:00 n/count cycle_counting . . .", None),
            ("e3 11:00 n/desk repairing . . .", "in_progress"),
            ("e4 12:00 n/hall-a storing . . .", None),
            ("e5 13:00 n/gate shipping . . .", "in_transit"),
            ("e6 14:00 n/dock returning . . .", None),
        ]
    ):
        scan = replace(scan_from(line), disposition=disposition)
        known = observe(known, scan, offset=offset).state
        assert known.current
        told.append(known.current.disposition)
    assert told == ["damaged", "damaged", "in_progress", "in_progress", "in_transit", None]


def test_a_station_that_was_changed_makes_no_conflict_of_a_read_that_is_sent_again() -> None:
    first = scan_from("e1 09:00 n/dock-1 receiving dock-1 acme .")
    again = replace(first, business_location="hall", business_step=BusinessStep.STORING)
    known = observe(None, first, offset=0).state
    assert observe(known, again, offset=1).outcome is Outcome.REDELIVERED


def shown(seen: Observation) -> tuple[str, ...]:
    """An observation in the words of the tables."""
    current = seen.state.current
    words = [".", "."]
    if current is not None:
        words = [current.business_location or ".", current.possessing_party or "."]
    if seen.outcome is not Outcome.MOVED:
        words.append(seen.outcome.value)
    words += [f"+{_fact(fact)}" for fact in seen.facts_added]
    words += [f"-{_fact(fact)}" for fact in seen.facts_withdrawn]
    return tuple(words)


def _fact(fact: Fact) -> str:
    return f"{fact.rule}@{fact.event_id}"


def scan_from(told: str) -> Scan:
    ids, clock, place, step, location, party, order = told.split()
    event_id, _, corrects = ids.partition("~")
    site, station = place.split("/")
    day = datetime(2026, 1, 1, tzinfo=UTC)
    at = datetime.combine(day, time.fromisoformat(clock), UTC)
    return Scan(
        event_id=event_id,
        unit="sn:p.1",
        event_time=at,
        record_time=day.replace(hour=23),
        reader=f"{station}-reader",
        sequence=0,
        station=station,
        site=site,
        read_point=station,
        business_step=BusinessStep(step),
        business_location=None if location == "." else location,
        possessing_party=None if party == "." else party,
        transactions=() if order == "." else (Transaction(type="order", id=order),),
        repeat_window_s=60,
        corrects=corrects or None,
    )
