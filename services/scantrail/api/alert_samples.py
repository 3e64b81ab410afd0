"""What is sent to and answered by the routes of alerts and webhooks: for the API's description."""

from datetime import datetime
from typing import Any

import msgspec

from scantrail.api.answers import page_of
from scantrail.api.bodies import AlertPolicyBody, ResolveBody, Severity, StepBody, WebhookBody
from scantrail.api.description import Sample
from scantrail.domain.alert import AlertKind
from scantrail.domain.alert_life import AlertStanding, AlertStep
from scantrail.domain.alert_policy import PolicyException
from scantrail.domain.severity import Severity as PolicySeverity

_AT = "2026-03-02T08:15:00Z"


class AlertTold(msgspec.Struct):
    """`repeats` is how often another scan told the same cause."""

    id: str
    kind: str
    severity: str
    status: AlertStanding
    unit: str | None
    event_id: str
    station: str | None
    site: str | None
    event_time: datetime
    text: str
    recall: str | None
    document: str | None
    withdrawn: bool
    repeats: int


class AlertEventTold(msgspec.Struct):
    """`who` is a token's id; null of what the alerter told."""

    number: int
    step: AlertStep
    status: AlertStanding
    at: datetime
    cause: str | None
    who: str | None
    note: str | None


class AlertInFull(AlertTold):
    history: list[AlertEventTold]
    next: str | None


class WebhookTold(msgspec.Struct):
    """`secret` is told once, where it was made here."""

    id: str
    version: int
    url: str
    kinds: list[AlertKind]
    min_severity: Severity
    secret: str | msgspec.UnsetType = msgspec.UNSET


class PolicyTold(msgspec.Struct):
    """`default` is how urgent such an alert is where nobody decides; `version` is 0 there."""

    id: AlertKind
    severity: PolicySeverity | None
    exceptions: list[PolicyException]
    version: int
    default: Severity
    can_be_off: bool
    published: bool


class DeliveryTold(msgspec.Struct):
    id: str
    alert: str
    state: str
    attempts: int
    next_at: datetime
    reason: str | None
    made_at: datetime
    done_at: datetime | None


_ALERT: dict[str, Any] = {
    "id": "4e188b51dfc7bc19648c460d22db3bfe",
    "kind": "recalled_at_shipping",
    "severity": "critical",
    "status": "open",
    "unit": "sgtin:09506000134352.A1",
    "event_id": "gate-1-reader/1f3a9c20/9",
    "station": "gate-1",
    "site": "north",
    "event_time": _AT,
    "text": "sgtin:09506000134352.A1 is recalled (R-1: Battery) and was scanned at shipping",
    "recall": "R-1",
    "document": None,
    "withdrawn": False,
    "repeats": 0,
}
_RAISED = {
    "number": 1,
    "step": "raised",
    "status": "open",
    "at": _AT,
    "cause": "raised gate-1-reader/1f3a9c20/9",
    "who": None,
    "note": None,
}
_WEBHOOK = {
    "id": "quality",
    "version": 1,
    "url": "https://quality.example/alerts",
    "kinds": ["recalled_at_shipping"],
    "min_severity": "warning",
}
_DELIVERY = {
    "id": "4e188b51dfc7bc19648c460d22db3bfe-open-1",
    "alert": "4e188b51dfc7bc19648c460d22db3bfe",
    "state": "parked",
    "attempts": 12,
    "next_at": _AT,
    "reason": "503 Service Unavailable",
    "made_at": _AT,
    "done_at": None,
}

_DECIDED: dict[str, Any] = {
    "severity": "info",
    "exceptions": [{"severity": "off", "product": "09506000134352", "site": "outlet"}],
}
_POLICY: dict[str, Any] = {
    "id": "duplicate_serial",
    **_DECIDED,
    "version": 2,
    "default": "warning",
    "can_be_off": True,
    "published": True,
}

ALERTS = page_of("alerts", AlertTold, _ALERT)
ALERT = Sample(kind=AlertInFull, example={**_ALERT, "history": [_RAISED], "next": None})
STEP = Sample(kind=StepBody, example={"note": "on my way"})
RESOLUTION_OF_ALERT = Sample(kind=ResolveBody, example={"note": "taken off the belt"})
WEBHOOK = Sample(
    kind=WebhookBody,
    example={"url": "https://quality.example/alerts", "kinds": ["recalled_at_shipping"]},
)
WEBHOOK_TOLD = Sample(kind=WebhookTold, example=_WEBHOOK)
WEBHOOKS = page_of("webhooks", WebhookTold, _WEBHOOK)
DELIVERY = Sample(kind=DeliveryTold, example=_DELIVERY)
DELIVERIES = page_of("deliveries", DeliveryTold, _DELIVERY)
POLICY = Sample(kind=AlertPolicyBody, example=_DECIDED)
POLICY_TOLD = Sample(kind=PolicyTold, example=_POLICY)
POLICIES = page_of("alert_policies", PolicyTold, _POLICY)
