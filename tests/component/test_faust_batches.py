"""What surrounds Faust's loop, as far as it needs no broker."""

from scantrail.tracker.faust_batches import Halt
from scantrail.tracker.restoring import follows


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


def test_what_another_worker_wrote_before_or_between_is_seen() -> None:
    assert follows(99, 100, 103, 4)
    assert not follows(98, 100, 103, 4)  # before
    assert not follows(99, 100, 104, 4)  # between two record batches of one send
