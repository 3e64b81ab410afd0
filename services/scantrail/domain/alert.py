"""Which movements a person must be told of. The tracker states facts; here they are judged."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from scantrail.domain.custody import Fact, FactRule
from scantrail.domain.finding import Finding, FindingStatus
from scantrail.domain.hold import HoldKind, HoldReason, is_inside
from scantrail.domain.recall import Recall
from scantrail.domain.scan import Scan, made_id, ordered_at
from scantrail.domain.vocabulary import OUTBOUND_STEPS, BusinessStep

_STOCK_TAKING = BusinessStep.STOCK_TAKING


class AlertKind(StrEnum):
    COUNTED_AWAY = "counted_away"
    DUPLICATE_SERIAL = "duplicate_serial"
    HELD_AT_SHIPPING = "held_at_shipping"
    LICENCE_MISSING = "licence_missing"
    LOAN_OVERDUE = "loan_overdue"
    OUT_OF_SEQUENCE = "out_of_sequence"
    RECALLED_ALREADY_SHIPPED = "recalled_already_shipped"
    RECALLED_AT_SHIPPING = "recalled_at_shipping"
    RECALL_UNDECIDED = "recall_undecided"
    REGISTER_OVERDUE = "register_overdue"
    REAPPEARED = "reappeared"
    RECEIVING_DISCREPANCY = "receiving_discrepancy"
    SERIAL_MISSING = "serial_missing"
    SERIAL_NOT_EXPECTED = "serial_not_expected"


class AlertStatus(StrEnum):
    """What the alerter says of an alert; acknowledging and resolving is done by people."""

    RAISED = "raised"
    WITHDRAWN = "withdrawn"


SEVERITY = {
    AlertKind.COUNTED_AWAY: "warning",
    AlertKind.DUPLICATE_SERIAL: "warning",
    AlertKind.HELD_AT_SHIPPING: "critical",
    AlertKind.LICENCE_MISSING: "critical",
    AlertKind.LOAN_OVERDUE: "warning",
    AlertKind.OUT_OF_SEQUENCE: "warning",
    AlertKind.RECALLED_ALREADY_SHIPPED: "critical",
    AlertKind.RECALLED_AT_SHIPPING: "critical",
    AlertKind.RECALL_UNDECIDED: "warning",
    AlertKind.REGISTER_OVERDUE: "warning",
    AlertKind.REAPPEARED: "warning",  # critical where it was stolen
    AlertKind.RECEIVING_DISCREPANCY: "warning",
    AlertKind.SERIAL_MISSING: "warning",  # of both the product says how urgent they are
    AlertKind.SERIAL_NOT_EXPECTED: "warning",
}


#: Of these one is raised for each visit of a unit to a station.
_OF_VISITS = frozenset(
    {AlertKind.HELD_AT_SHIPPING, AlertKind.REAPPEARED, AlertKind.RECALLED_AT_SHIPPING}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert. The same cause always makes the same id, however often it is replayed.

    It is about a unit or, where it is of no one unit, about a `document`: a kind and a reference.
    `event_id` is the scan that carries its cause, or the finding. `station` and `site` are None
    where it is of no one place. `told_by` is the scan that told of it this time, or the
    finding's record: the same for a replay, another for a repeat.
    """

    id: str
    kind: AlertKind
    severity: str
    status: AlertStatus
    unit: str | None = None
    event_id: str
    station: str | None = None
    site: str | None = None
    event_time: datetime
    text: str
    recall: str | None = None
    document: str | None = None
    told_by: str | None = None


class Seen(NamedTuple):
    """Where and when a unit was at a station, by the scan that began its visit."""

    event_id: str
    business_step: BusinessStep
    station: str
    site: str
    at: datetime


def alert_id(kind: AlertKind, unit: str, event_id: str, cause: str = "") -> str:
    """32 hexadecimal characters over what the alert is about: `unit` is its document's where it is
    of no one unit.

    That a recalled unit went out is one alert, whether a scan tells of it or the desk finds it,
    whichever comes first: no unit falls between the two.
    """
    if kind is AlertKind.RECALLED_ALREADY_SHIPPED:
        kind = AlertKind.RECALLED_AT_SHIPPING
    return made_id(kind.value, cause, unit, event_id)


def judge(
    scan: Scan,
    facts_added: Sequence[Fact],
    facts_withdrawn: Sequence[Fact],
    recalls: Sequence[Recall],
    *,
    visit_id: str,
    site_travel_s: float,
    is_inert: bool = False,
    is_held_where_staged: bool = False,
    is_alone: bool = False,
    revealed: Sequence[Seen] = (),
    holds: Sequence[HoldReason] = (),
    absorbed: Sequence[str] = (),
) -> list[Alert]:
    """The alerts of one movement: `scan` was accepted, `recalls` are those its unit falls under,
    `holds` the reasons why it is held.

    `visit_id` is the scan that began the visit to the station: a tag that stands at a gate is read
    again and again, and is one alert. Two sites within `site_travel_s` seconds are a duplicate;
    later, the unit may have travelled. A correction is no unit at the gate; a recalled unit that
    was seen there is told also where its scan is voided, before or after: a person decides. Nor is
    one that tells of another key of the unit: where the unit went out before is `revealed` then.
    What moves nothing (`is_inert`: a refold, or derived from a parent in which the unit is not) is
    none either, until a later movement says that the unit was inside: then it is among its
    `revealed`. By what is revealed only those holds are broken that were told by then; a recall
    means also what left before it. A unit that is held as lost or stolen reappears wherever it is
    seen after that was told; a conveyor that asks and then holds it (`is_held_where_staged`) has
    seen it once. A late scan may begin the visit of others that were told before, each as the first
    of its own (`absorbed`): their alerts are withdrawn for that of the visit. Where what is inside
    is not moved with it (`is_alone`: the scan is older than those that the unit's trail begins
    with), nothing else tells of a recalled unit in a box that went out: the box is. Opening stock
    contradicts nothing: it says how things stand where nobody has scanned before.
    """
    raised = [
        _contradicted(scan.unit, fact, AlertStatus.RAISED)
        for fact in facts_added
        if _contradicts(fact, site_travel_s) and scan.business_step is not _STOCK_TAKING
    ]
    visits = [(seen, _held_by(holds, seen.at)) for seen in revealed]
    if not _moves_nothing(scan, is_inert):
        at = Seen(visit_id, scan.business_step, scan.station, scan.site, scan.event_time)
        visits.insert(0, (at, list(holds)))
        missed = [reason for reason in _held_by(holds, ordered_at(scan)) if reason.kind is not None]
        if missed and not is_held_where_staged:
            raised.append(_reappeared(scan.unit, missed, at))
    for seen, why in visits:
        if seen.business_step in OUTBOUND_STEPS:
            raised += _recalled_at(scan.unit, recalls, holds, seen, is_alone=is_alone)
            raised += _held_at(scan.unit, why, seen)
    for each in absorbed:
        raised += [
            _of_other_visit(alert, each)
            for alert in raised
            if alert.kind in _OF_VISITS and alert.event_id == visit_id
        ]
    # A re-fold may tell the same contradiction in other words: that withdraws nothing.
    standing = {alert.id for alert in raised}
    withdrawn = [
        _contradicted(scan.unit, fact, AlertStatus.WITHDRAWN)
        for fact in facts_withdrawn
        if _contradicts(fact, site_travel_s)
    ]
    told = [alert for alert in withdrawn if alert.id not in standing] + raised
    return [replace(alert, told_by=scan.event_id) for alert in told]


def judge_finding(finding: Finding) -> Alert:
    """The alert of what the desk found."""
    kind = AlertKind(finding.kind.value)
    event_id = finding.event_id or finding.id
    subject = finding.unit or finding.document or ""
    is_stated = finding.status is FindingStatus.STATED
    return Alert(
        id=alert_id(kind, subject, event_id, finding.recall or ""),
        kind=kind,
        severity=SEVERITY[kind],
        status=AlertStatus.RAISED if is_stated else AlertStatus.WITHDRAWN,
        unit=finding.unit,
        event_id=event_id,
        station=finding.station,
        site=finding.site,
        event_time=finding.at,
        text=finding.text,
        recall=finding.recall,
        document=finding.document,
    )


def _of_other_visit(alert: Alert, visit_id: str) -> Alert:
    """The same alert of a visit that is none, withdrawn."""
    return replace(
        alert,
        id=alert_id(alert.kind, alert.unit or "", visit_id, alert.recall or ""),
        event_id=visit_id,
        status=AlertStatus.WITHDRAWN,
    )


def _held_by(holds: Sequence[HoldReason], at: datetime) -> list[HoldReason]:
    return [reason for reason in holds if reason.since is None or reason.since <= at]


def _moves_nothing(scan: Scan, is_inert: bool) -> bool:
    return is_inert or scan.corrects is not None or scan.same_as is not None


def _contradicts(fact: Fact, site_travel_s: float) -> bool:
    return fact.rule is not FactRule.TWO_SITES or fact.elapsed_s <= site_travel_s


def _contradicted(unit: str, fact: Fact, status: AlertStatus) -> Alert:
    kind = AlertKind(fact.kind.value)
    seen = {
        FactRule.COUNTED_WHILE_GONE: f"counted at station {fact.station} although it is gone",
        FactRule.COUNTED_WHILE_SHIPPED: f"counted at station {fact.station} although it was shipped"
        " and did not come back: take it in as returned, or find out what bears its serial",
        FactRule.RECEIVED_IN_CUSTODY: "received although it is in custody elsewhere",
        FactRule.SHIPPED_TWICE: "shipped again without having been returned",
        FactRule.DECOMMISSIONED: "seen again although it was decommissioned",
        FactRule.TWO_SITES: f"seen at two sites within {fact.elapsed_s:.0f} s",
        FactRule.UNEXPECTED_STEP: f"scanned at station {fact.station}, and not after"
        f" {' or '.join(fact.expected_after)}, as its product expects",
    }[fact.rule]
    return Alert(
        id=alert_id(kind, unit, fact.event_id),
        kind=kind,
        severity=SEVERITY[kind],
        status=status,
        unit=unit,
        event_id=fact.event_id,
        station=fact.station,
        site=fact.site,
        event_time=fact.at,
        text=f"{unit} was {seen}",
    )


def _recalled_at(
    unit: str,
    recalls: Sequence[Recall],
    holds: Sequence[HoldReason],
    seen: Seen,
    *,
    is_alone: bool,
) -> list[Alert]:
    """One for each recall, whether the unit falls under it or is held for it by what its scans do
    not show. What is inside it has an alert of its own, unless the unit is moved alone."""
    told = {
        reason.recall: reason.text
        for reason in holds
        if reason.recall is not None and (is_alone or not is_inside(reason))
    }
    told |= {recall.id: recall.title for recall in recalls}
    return [
        _at_shipping(
            AlertKind.RECALLED_AT_SHIPPING, unit, seen, f"recalled ({id_}: {text})", recall=id_
        )
        for id_, text in sorted(told.items())
    ]


def _held_at(unit: str, holds: Sequence[HoldReason], seen: Seen) -> list[Alert]:
    """One for the visit, however many reasons there are: they come and go, the visit stays."""
    told = [f"{reason.id}: {reason.text}" for reason in holds if reason.recall is None]
    if not told:
        return []
    return [_at_shipping(AlertKind.HELD_AT_SHIPPING, unit, seen, f"held ({'; '.join(told)})")]


def _reappeared(unit: str, holds: Sequence[HoldReason], seen: Seen) -> Alert:
    is_stolen = any(reason.kind is HoldKind.STOLEN for reason in holds)
    why = "; ".join(f"{reason.kind} ({reason.id}: {reason.text})" for reason in holds)
    return Alert(
        id=alert_id(AlertKind.REAPPEARED, unit, seen.event_id),
        kind=AlertKind.REAPPEARED,
        severity="critical" if is_stolen else SEVERITY[AlertKind.REAPPEARED],
        status=AlertStatus.RAISED,
        unit=unit,
        event_id=seen.event_id,
        station=seen.station,
        site=seen.site,
        event_time=seen.at,
        text=f"{unit} is held as {why} and was scanned at station {seen.station}",
    )


def _at_shipping(
    kind: AlertKind, unit: str, seen: Seen, why: str, recall: str | None = None
) -> Alert:
    return Alert(
        id=alert_id(kind, unit, seen.event_id, recall or ""),
        kind=kind,
        severity=SEVERITY[kind],
        status=AlertStatus.RAISED,
        unit=unit,
        event_id=seen.event_id,
        station=seen.station,
        site=seen.site,
        event_time=seen.at,
        text=f"{unit} is {why} and was scanned at {seen.business_step}",
        recall=recall,
    )
