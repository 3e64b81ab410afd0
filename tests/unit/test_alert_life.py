"""The life of an alert, as a table: what is told, what people do, how it stands then."""

from datetime import UTC, datetime, timedelta

import pytest

from scantrail.domain import alert_life
from scantrail.domain.alert_life import (
    AlertLife,
    AlertStanding,
    AlertStep,
    LifeEvent,
    StepRefused,
    act,
    tell,
)

OPEN = AlertStanding.OPEN
ACKNOWLEDGED = AlertStanding.ACKNOWLEDGED
RESOLVED = AlertStanding.RESOLVED
WITHDRAWN = AlertStanding.WITHDRAWN


def lived(story: str) -> tuple[AlertLife, list[str]]:
    """The life after `+` raised, `-` withdrawn, and the words of what people did."""
    life: AlertLife | None = None
    steps: list[str] = []
    for word in story.split():
        if word in "+-":
            told = tell(life, is_raised=word == "+")
            assert told is not None
            life, step = told
            steps.append(step.value)
        else:
            assert life is not None
            life = act(life, AlertStep(word))
    assert life is not None
    return life, steps


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        ("+", AlertLife(OPEN)),
        ("+ + +", AlertLife(OPEN, repeats=2)),
        ("+ -", AlertLife(WITHDRAWN, withdrawn=True)),
        ("+ - -", AlertLife(WITHDRAWN, withdrawn=True)),
        ("+ - +", AlertLife(OPEN)),
        ("+ + - + +", AlertLife(OPEN, repeats=2)),
        ("+ acknowledged", AlertLife(ACKNOWLEDGED)),
        ("+ acknowledged +", AlertLife(ACKNOWLEDGED, repeats=1)),
        ("+ acknowledged -", AlertLife(WITHDRAWN, withdrawn=True)),
        ("+ acknowledged - +", AlertLife(OPEN)),
        ("+ acknowledged resolved", AlertLife(RESOLVED)),
        ("+ resolved", AlertLife(RESOLVED)),
        ("+ resolved +", AlertLife(RESOLVED, repeats=1)),
        ("+ resolved -", AlertLife(RESOLVED, withdrawn=True)),
        ("+ resolved - -", AlertLife(RESOLVED, withdrawn=True)),
        ("+ - resolved", AlertLife(RESOLVED, withdrawn=True)),
        ("+ resolved - +", AlertLife(OPEN)),
        ("+ resolved reopened", AlertLife(OPEN)),
        ("+ resolved - reopened", AlertLife(WITHDRAWN, withdrawn=True)),
        ("+ + resolved reopened acknowledged", AlertLife(ACKNOWLEDGED, repeats=1)),
    ],
)
def test_a_life(story: str, expected: AlertLife) -> None:
    assert lived(story)[0] == expected


def test_what_is_told_is_named() -> None:
    assert lived("+ + - - +")[1] == [
        "raised",
        "repeated",
        "withdrawn",
        "withdrawn",
        "raised_again",
    ]


@pytest.mark.parametrize(
    ("story", "step", "reason"),
    [
        ("+ acknowledged", AlertStep.ACKNOWLEDGED, "already_acknowledged"),
        ("+ resolved", AlertStep.ACKNOWLEDGED, "already_resolved"),
        ("+ -", AlertStep.ACKNOWLEDGED, "withdrawn"),
        ("+ resolved", AlertStep.RESOLVED, "already_resolved"),
        ("+ resolved -", AlertStep.RESOLVED, "already_resolved"),
        ("+", AlertStep.REOPENED, "not_resolved"),
        ("+ acknowledged", AlertStep.REOPENED, "not_resolved"),
        ("+ -", AlertStep.REOPENED, "not_resolved"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(story: str, step: AlertStep, reason: str) -> None:
    life, _ = lived(story)
    with pytest.raises(StepRefused) as refused:
        act(life, step)
    assert refused.value.reason == reason
    assert refused.value.detail


def test_what_was_never_raised_is_not_withdrawn() -> None:
    assert tell(None, is_raised=False) is None


def test_nobody_raises_or_withdraws_by_hand() -> None:
    for step in (AlertStep.RAISED, AlertStep.REPEATED, AlertStep.WITHDRAWN, AlertStep.RAISED_AGAIN):
        with pytest.raises(ValueError, match="told by the alerter"):
            act(AlertLife(OPEN), step)


# ------------------------------------------------------------------------------ put together anew


def events(story: str) -> list[LifeEvent]:
    """The events of a story such as `+a ack -b`: what was told has a letter for its cause."""
    life: AlertLife | None = None
    made = []
    words = {"ack": AlertStep.ACKNOWLEDGED, "res": AlertStep.RESOLVED, "reo": AlertStep.REOPENED}
    for number, word in enumerate(story.split(), start=1):
        cause = word[1:] if word[0] in "+-" else None
        if cause is not None:
            heard = tell(life, is_raised=word[0] == "+")
            assert heard is not None
            life, step = heard
        else:
            assert life is not None
            life, step = act(life, words[word]), words[word]
        at = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=number)
        who = None if cause is not None else "ada"
        made.append(
            LifeEvent(number=number, step=step, status=life.standing, at=at, cause=cause, who=who)
        )
    return made


@pytest.mark.parametrize("first", ["raised e-1", "raised finding 3/7"])
def test_what_the_desk_and_the_scan_itself_both_tell_is_no_repeat(first: str) -> None:
    life, _ = tell(None, is_raised=True) or (None, None)
    for cause in ("raised e-1", "raised finding 3/7"):
        is_same = alert_life.is_same(cause, "e-1")
        assert is_same
        assert cause == first or tell(life, is_raised=True, is_same=is_same) is None
    assert not alert_life.is_same("raised e-2", "e-1")
    assert life is not None
    withdrawn, _ = tell(life, is_raised=False, is_same=True) or (None, None)
    assert withdrawn is not None
    assert tell(withdrawn, is_raised=True, is_same=True) == (
        AlertLife(OPEN),
        AlertStep.RAISED_AGAIN,
    )


def told(story: str) -> list[LifeEvent]:
    return events(" ".join(word for word in story.split() if word[0] in "+-"))


WHOLE = "+a ack -b +c res +d reo"


@pytest.mark.parametrize(
    "lost", [[n] for n in (1, 3, 4, 6)] + [[1, 3], [4, 6], [1, 3, 4, 6]], ids=str
)
def test_told_events_that_were_lost_come_back_among_what_people_did(lost: list[int]) -> None:
    kept = [event for event in events(WHOLE) if event.number not in lost]
    made, life = alert_life.lived(kept, told(WHOLE), event_id="-")
    assert [event.who for event in made].count("ada") == 3
    assert [event.cause for event in made if event.cause] == ["a", "b", "c", "d"]
    assert [event.number for event in made] == list(range(1, 8))
    assert made[-1].status is life.standing


@pytest.mark.parametrize("story", [WHOLE, "+a", "+a -b", "+a +b ack", "+a res -b reo"])
def test_a_life_of_which_nothing_was_lost_stays_as_it_is(story: str) -> None:
    made, _ = alert_life.lived(events(story), told(story), event_id="-")
    times = {event.cause: event.at for event in told(story)}
    assert [event for event in made if event.cause is None] == [
        event for event in events(story) if event.cause is None
    ]
    assert [(event.number, event.step, event.status, event.cause) for event in made] == [
        (event.number, event.step, event.status, event.cause) for event in events(story)
    ]
    assert all(event.at == times[event.cause] for event in made if event.cause is not None)


def test_numbers_have_gaps_where_events_of_people_are_gone() -> None:
    kept = [event for event in events("+a ack -b") if event.who is None]
    assert [event.number for event in alert_life.lived(kept, told("+a -b"), event_id="-")[0]] == [
        1,
        3,
    ]


def test_a_cause_that_is_told_no_more_is_kept() -> None:
    made, life = alert_life.lived(events("+a -b"), told("+a"), event_id="-")
    assert [event.cause for event in made] == ["a", "b"]
    assert life == AlertLife(WITHDRAWN, withdrawn=True)


def test_what_a_person_did_stays_done_where_it_would_be_refused_now() -> None:
    """The withdrawal was written after the person had come, and its row was lost."""
    acknowledged = events("+a ack")[1]
    made, life = alert_life.lived([acknowledged], told("+a -b"), event_id="-")
    assert life.standing is ACKNOWLEDGED
    assert [event.cause for event in made] == ["a", "b", None]
    only, life = alert_life.lived([acknowledged], [], event_id="-")
    assert only == [acknowledged]
    assert life == AlertLife(ACKNOWLEDGED)


def test_of_nothing_there_is_no_life() -> None:
    with pytest.raises(ValueError, match="nothing is told"):
        alert_life.lived([], [], event_id="-")
