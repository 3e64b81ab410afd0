"""The life of an alert: what the alerter tells of its cause, and what people do with it.

Both only ever append. A cause that is withdrawn takes nothing back that a person did, and a person
who resolves an alert does not make its cause go away: an alert may be resolved and withdrawn.
"""

from dataclasses import dataclass
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


def tell(life: AlertLife | None, *, is_raised: bool) -> tuple[AlertLife, AlertStep] | None:
    """What the alerter's word makes of an alert (None: not known yet). None: nothing.

    The caller leaves out what it was told before: a replay is no repeat. A cause that is withdrawn
    without having been told (alerts of its kind are not raised here) is no alert.
    """
    if life is None:
        return (AlertLife(AlertStanding.OPEN), AlertStep.RAISED) if is_raised else None
    if not is_raised:
        is_resolved = life.standing is AlertStanding.RESOLVED
        standing = AlertStanding.RESOLVED if is_resolved else AlertStanding.WITHDRAWN
        return AlertLife(standing, withdrawn=True, repeats=life.repeats), AlertStep.WITHDRAWN
    if life.withdrawn:
        return AlertLife(AlertStanding.OPEN, repeats=life.repeats), AlertStep.RAISED_AGAIN
    return AlertLife(life.standing, repeats=life.repeats + 1), AlertStep.REPEATED


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
