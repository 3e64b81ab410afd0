"""What surrounds Faust's loop, as far as it needs no broker."""

from scantrail.tracker.faust_batches import Halt


def test_what_stands_still_for_too_long_is_told() -> None:
    halt = Halt(10.0)
    assert not halt.lasts({"a": 1}, 0.0)
    assert not halt.lasts({"a": 1}, 10.0)
    assert halt.lasts({"a": 1}, 10.1)


def test_what_goes_on_or_has_nothing_to_do_is_no_halt() -> None:
    halt = Halt(10.0)
    for second in range(100):
        assert not halt.lasts({"a": second // 5}, float(second))
    for second in range(100, 200):
        assert not halt.lasts(None, float(second))
    assert not halt.lasts({"a": 1}, 200.0)
    assert not halt.lasts({"a": 1}, 209.0)
