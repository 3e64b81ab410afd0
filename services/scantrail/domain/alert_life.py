"""The life of an alert: what the alerter tells of its cause, and what people do with it.

Both only ever append. A cause that is withdrawn takes nothing back that a person did, and a person
who resolves an alert does not make its cause go away: an alert may be resolved and withdrawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum


class AlertStanding(StrEnum):
    """How an alert stands now. One that was resolved stays so when its cause is withdrawn."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    WITHDRAWN = "withdrawn"


class AlertStep(StrEnum):
    """What happened to an alert: the first four are told by the alerter, the others by people."""

    RAISED = "raised"
    REPEATED = "repeated"
    WITHDRAWN = "withdrawn"
    RAISED_AGAIN = "raised_again"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    REOPENED = "reopened"


@dataclass(frozen=True, slots=True)
class AlertLife:
    """`withdrawn`: its cause does not stand at the moment."""

    standing: AlertStanding
    withdrawn: bool = False
    repeats: int = 0


class StepRefused(Exception):
    """A person cannot do this to an alert that stands so: `reason` in one word, and the mend."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


#: How a cause begins that the desk stated, and no scan told.
FINDING = "finding "


def tell(
    life: AlertLife | None, *, is_raised: bool, is_same: bool = False
) -> tuple[AlertLife, AlertStep] | None:
    """What the alerter's word makes of an alert (None: not known yet). None: nothing.

    The caller leaves out what it was told before: a replay is no repeat. A cause that is withdrawn
    without having been told (alerts of its kind are not raised here) is no alert. What the desk and
    the scan itself both tell is no repeat either: `is_same`.
    """
    if life is None:
        return (AlertLife(AlertStanding.OPEN), AlertStep.RAISED) if is_raised else None
    if not is_raised:
        is_resolved = life.standing is AlertStanding.RESOLVED
        standing = AlertStanding.RESOLVED if is_resolved else AlertStanding.WITHDRAWN
        return AlertLife(standing, withdrawn=True, repeats=life.repeats), AlertStep.WITHDRAWN
    if life.withdrawn:
        return AlertLife(AlertStanding.OPEN, repeats=life.repeats), AlertStep.RAISED_AGAIN
    if is_same:
        return None
    return AlertLife(life.standing, repeats=life.repeats + 1), AlertStep.REPEATED


def is_same(cause: str, event_id: str) -> bool:
    """Whether the cause of an alert is the very scan that it is of, or the desk, which found that
    scan before or after its own word came: `raised finding 3/7`."""
    told_by = cause.partition(" ")[2]
    return told_by == event_id or told_by.startswith(FINDING)


def act(life: AlertLife, step: AlertStep) -> AlertLife:
    """What a person's step makes of an alert. Raises StepRefused.

    Reopening gives back what stands without the resolution: open, or withdrawn.
    """
    now = life.standing
    if step is AlertStep.ACKNOWLEDGED:
        if now is not AlertStanding.OPEN:
            raise StepRefused(*_NOT_OPEN[now])
        after = AlertStanding.ACKNOWLEDGED
    elif step is AlertStep.RESOLVED:
        if now is AlertStanding.RESOLVED:
            raise StepRefused("already_resolved", "it is resolved: reopen it to resolve it anew")
        after = AlertStanding.RESOLVED
    elif step is AlertStep.REOPENED:
        if now is not AlertStanding.RESOLVED:
            raise StepRefused("not_resolved", f"it is {now}: only a resolved alert is reopened")
        after = AlertStanding.WITHDRAWN if life.withdrawn else AlertStanding.OPEN
    else:
        raise ValueError(f"{step} is told by the alerter")
    return AlertLife(after, withdrawn=life.withdrawn, repeats=life.repeats)


_NOT_OPEN = {
    AlertStanding.ACKNOWLEDGED: ("already_acknowledged", "it is acknowledged: resolve it"),
    AlertStanding.RESOLVED: ("already_resolved", "it is resolved: reopen it first"),
    AlertStanding.WITHDRAWN: ("withdrawn", "its cause was withdrawn: resolve it, or leave it"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LifeEvent:
    """One step of an alert, as it is kept: `status` is from then on. `cause` is there where the
    alerter told it, `who` where a person did it."""

    number: int
    step: AlertStep
    status: AlertStanding
    at: datetime
    cause: str | None = None
    who: str | None = None
    note: str | None = None


def lived(
    kept: Sequence[LifeEvent], told: Sequence[LifeEvent], *, event_id: str
) -> tuple[list[LifeEvent], AlertLife]:
    """The events of an alert, and how it stands, from what is `told` of it anew and what was `kept`
    of it before; both in their order, and not both empty. `event_id`: the alert's.

    What people did is kept, and so are causes that are told no more. What is told and was not kept
    comes behind what is told before it. Numbers stay where no event has to be put between others.
    """
    known = {event.cause for event in kept if event.cause is not None}
    anew = {event.cause: event for event in told}
    events = [event if event.cause is None else anew.get(event.cause, event) for event in kept]
    numbers = [event.number for event in kept]
    place = 0
    for event in told:
        if event.cause in known:
            place = 1 + next(n for n, each in enumerate(events) if each.cause == event.cause)
            continue
        events.insert(place, event)
        place += 1
    if len(events) != len(numbers) or numbers != sorted(set(numbers)):
        numbers = list(range(1, len(events) + 1))
    life: AlertLife | None = None
    made = []
    for number, event in zip(numbers, events, strict=True):
        if event.cause is not None:
            heard = tell(
                life,
                is_raised=event.step is not AlertStep.WITHDRAWN,
                is_same=is_same(event.cause, event_id),
            )
            if heard is None:  # withdrawn, and never told; or told in two ways
                continue
            life, step = heard
        else:
            life, step = _acted(life, event), event.step
        made.append(replace(event, number=number, step=step, status=life.standing))
    if life is None:
        raise ValueError("an alert of which nothing is told has no life")
    return made, life


def _acted(life: AlertLife | None, event: LifeEvent) -> AlertLife:
    """What a person did stays done, also where the events before it are not those of its time."""
    if life is None:
        return AlertLife(event.status, withdrawn=event.status is AlertStanding.WITHDRAWN)
    try:
        return act(life, event.step)
    except StepRefused:
        return AlertLife(event.status, withdrawn=life.withdrawn, repeats=life.repeats)
