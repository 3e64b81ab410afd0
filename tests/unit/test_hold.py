"""What holds a unit, and what lets it go."""

from scantrail.domain.hold import (
    Clearance,
    Hold,
    HoldReason,
    inside_id,
    not_remedied,
    remedied,
)

OF_ITSELF = HoldReason(id="recall:R-1", text="its lot", recall="R-1")
OF_A_PART = HoldReason(id=inside_id("R-1"), text="contains sn:battery.5", recall="R-1")
OF_ANOTHER = HoldReason(id="recall:R-2", text="its lot", recall="R-2")
OF_SOMEBODY = HoldReason(id="inspection", text="seal broken")
HELD = Hold(id="sn:pack.1", reasons=(OF_ITSELF, OF_A_PART, OF_ANOTHER, OF_SOMEBODY))


def test_a_remedied_unit_is_held_by_what_is_inside_it_and_by_all_others() -> None:
    told = remedied(HELD, "R-1")
    assert told.reasons == (OF_A_PART, OF_ANOTHER, OF_SOMEBODY)
    assert told.cleared == (Clearance(recall="R-1"),)
    assert remedied(told, "R-1") == told


def test_taken_back_it_is_cleared_of_nothing_that_it_was_not_before() -> None:
    decided = Clearance(recall="R-1", version=2)
    before = Hold(id="sn:pack.1", reasons=(OF_SOMEBODY,), cleared=(decided,))
    assert not_remedied(remedied(before, "R-1"), "R-1") == before
