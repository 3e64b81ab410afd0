"""When open pages are told of news."""

from scantrail.api.pages.live import APART_S, SELDOM_APART_S, Listener


def told(listener: Listener) -> list[str | None]:
    return [listener.queue.get_nowait() for _ in range(listener.queue.qsize())]


def test_news_is_told_at_once_and_then_at_each_events_pace() -> None:
    listener = Listener()
    listener.tell({"moved"}, 0.0)
    assert told(listener) == ["moved", "moved-seldom"]
    listener.tell({"moved"}, APART_S / 2)
    assert told(listener) == []
    listener.tell((), APART_S)
    assert told(listener) == ["moved"]
    listener.tell((), SELDOM_APART_S)
    assert told(listener) == ["moved-seldom"]
    listener.tell((), 10 * SELDOM_APART_S)
    assert told(listener) == []


def test_one_events_pace_is_not_anothers() -> None:
    listener = Listener()
    listener.tell({"moved"}, 0.0)
    listener.tell({"alerts"}, APART_S / 3)
    assert told(listener) == ["moved", "moved-seldom", "alerts", "alerts-seldom"]


def test_who_does_not_keep_up_is_told_later_and_of_each_event_once() -> None:
    listener = Listener()
    for at in range(100):
        listener.tell({"moved", "alerts"}, float(at))
    assert 0 < listener.queue.qsize() <= 9
    told(listener)
    listener.tell((), 100.0)
    assert sorted(filter(None, told(listener))) == [
        "alerts",
        "alerts-seldom",
        "moved",
        "moved-seldom",
    ]
