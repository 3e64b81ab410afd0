"""The life of an alert, as a table: what is told, what people do, how it stands then."""

import pytest

from scantrail.domain.alert_life import (
    AlertLife,
    AlertStanding,
    AlertStep,
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
