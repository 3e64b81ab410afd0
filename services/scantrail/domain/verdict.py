"""May this unit leave? Release, hold or unknown, with the reason.

The first that is true decides:

| what is so | verdict | reason |
|---|---|---|
| the read names no unit | unknown | why it names none, such as `bad_check_digit` |
| an active recall means the unit | hold | `recalled` |
| the unit is held | hold | `held` |
| recalls and holds were not read yet | hold | `not_ready` |
| nobody confirmed for too long that none is missing | hold | `stale` |
| none of these | release | `clear` |

What is known against a unit is told before what may be missing: both keep it here, and only the
first tells a person what to do. A conveyor takes unknown for a hold, and so it takes an answer
that does not come: only release opens the gate. The shell turns a release into a hold where the
question could not be recorded (`not_recorded`), not in time (`late`), or comes from a place that
nobody configured (`unknown_station`, `unknown_reader`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from scantrail.domain.hold import Hold
from scantrail.domain.recall import Recall
from scantrail.domain.station import Station
from scantrail.domain.vocabulary import BusinessStep


class Verdict(StrEnum):
    """What a conveyor is told."""

    RELEASE = "release"
    HOLD = "hold"
    UNKNOWN = "unknown"


class Why(StrEnum):
    """Reasons of release and hold; those of unknown are of the read."""

    CLEAR = "clear"
    RECALLED = "recalled"
    HELD = "held"
    NOT_READY = "not_ready"
    STALE = "stale"
    NOT_RECORDED = "not_recorded"
    LATE = "late"
    UNKNOWN_STATION = "unknown_station"
    UNKNOWN_READER = "unknown_reader"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, its reason in one fixed word, and a sentence for the person at the gate."""

    verdict: Verdict
    reason: str
    detail: str


def judge_unit(
    unit: str,
    recalls: Sequence[Recall],
    hold: Hold | None,
    *,
    confirmed_s: float | None,
    stale_s: float,
) -> Judgement:
    """Whether `unit` may leave, by the active recalls that mean it and by what holds it.

    `confirmed_s` seconds ago nothing was missing from what is known of recalls and holds; None
    where they were never read to their end. Beyond `stale_s` nothing is released.
    """
    if recalls:
        told = "; ".join(f"{recall.id}: {recall.title}" for recall in recalls)
        return Judgement(Verdict.HOLD, Why.RECALLED, f"{unit} is recalled ({told})")
    if hold is not None and hold.reasons:
        told = "; ".join(f"{reason.id}: {reason.text}" for reason in hold.reasons)
        return Judgement(Verdict.HOLD, Why.HELD, f"{unit} is held ({told})")
    if confirmed_s is None:
        return Judgement(
            Verdict.HOLD, Why.NOT_READY, "not all that is known of the unit has been read yet"
        )
    if confirmed_s > stale_s:
        return Judgement(
            Verdict.HOLD,
            Why.STALE,
            f"recalls and holds were last confirmed {confirmed_s:.0f} s ago, at most {stale_s:g} s"
            " are allowed: look whether Kafka is away",
        )
    return Judgement(Verdict.RELEASE, Why.CLEAR, f"nothing is known against {unit}")


def asked_at(station: Station) -> Station:
    """The station as the scan of a question claims it: a unit that waits to leave.

    A station that is configured for another step, such as shipping, says only where it is: a
    question hands nothing over, and what the step would claim happens later or never.
    """
    if station.business_step is BusinessStep.STAGING_OUTBOUND:
        return station
    return _standing_at(station, BusinessStep.STAGING_OUTBOUND)


def held_at(station: Station) -> Station:
    """The station as the scan of a hold claims it: the unit was taken out of the flow there."""
    return _standing_at(station, BusinessStep.HOLDING)


def _standing_at(station: Station, step: BusinessStep) -> Station:
    return replace(
        station,
        business_step=step,
        business_location=None,
        disposition=None,
        possessing_party=None,
    )
