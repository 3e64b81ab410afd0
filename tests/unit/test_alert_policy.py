"""How urgent an alert is here: a table of what is decided and what becomes of an alert."""

from datetime import UTC, datetime

import pytest

from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain.alert import SEVERITY, Alert, AlertKind, AlertStatus
from scantrail.domain.alert_policy import (
    EXCEPTIONS_MAX,
    GUARDED,
    AlertPolicy,
    PolicyException,
    PolicyRefused,
    by_policy,
    check_policy,
)
from scantrail.domain.severity import Severity
from scantrail.infra.notices import Unreadable, take_policy

CLONE, STOLEN, RECALLED = (
    AlertKind.DUPLICATE_SERIAL,
    AlertKind.REAPPEARED,
    AlertKind.RECALLED_AT_SHIPPING,
)
OFF, INFO, WARNING, CRITICAL = Severity
PHONE, PUMP = "09506000134352", "PUMP-7"


def alert(kind: AlertKind = CLONE, *, site: str | None = "north", **more: object) -> Alert:
    values = {
        "id": "a",
        "kind": kind,
        "severity": SEVERITY[kind],
        "status": AlertStatus.RAISED,
        "unit": f"sgtin:{PHONE}.1",
        "event_id": "e",
        "site": site,
        "event_time": datetime(2026, 3, 1, tzinfo=UTC),
        "text": "told",
    }
    return Alert(**(values | more))  # type: ignore[arg-type]


def decided(
    told: Alert, severity: Severity | None, *exceptions: tuple[Severity, str | None, str | None]
) -> str | None:
    """How urgent a unit of PHONE's alert is under a policy of its kind; None: it is not raised."""
    policy = AlertPolicy(
        id=told.kind,
        severity=severity,
        exceptions=tuple(PolicyException(severity=s, product=p, site=w) for s, p, w in exceptions),
    )
    found = by_policy(told, {told.kind: policy}, [PHONE, None])
    return found and found.severity


@pytest.mark.parametrize(
    ("severity", "exceptions", "expected"),
    [
        (None, [], "warning"),
        (INFO, [], "info"),
        (CRITICAL, [], "critical"),
        (OFF, [], None),
        (OFF, [(CRITICAL, PHONE, None)], "critical"),
        (OFF, [(CRITICAL, PUMP, None)], None),
        (None, [(OFF, None, "north")], None),
        (None, [(OFF, None, "south")], "warning"),
        (INFO, [(OFF, PHONE, "south"), (CRITICAL, PHONE, "north")], "critical"),
        (INFO, [(WARNING, PHONE, "north"), (CRITICAL, PHONE, None)], "warning"),
        (INFO, [(OFF, PUMP, "north")], "info"),
    ],
    ids=str,
)
def test_the_first_exception_that_fits_decides(
    severity: Severity | None,
    exceptions: list[tuple[Severity, str | None, str | None]],
    expected: str | None,
) -> None:
    assert decided(alert(), severity, *exceptions) == expected


def test_without_a_policy_it_is_as_it_was_judged() -> None:
    assert by_policy(alert(), {}) == alert()
    other = AlertPolicy(id=STOLEN, severity=OFF)
    assert by_policy(alert(), {STOLEN: other}) == alert()


def test_only_the_severity_is_decided() -> None:
    told = by_policy(alert(), {CLONE: AlertPolicy(id=CLONE, severity=CRITICAL)})
    assert told == alert(severity="critical")


def test_an_alert_of_no_place_is_of_no_site() -> None:
    assert decided(alert(site=None), WARNING, (OFF, None, "north")) == "warning"


def test_what_was_stolen_stays_as_urgent_as_it_was_judged() -> None:
    stolen = alert(STOLEN, severity="critical")
    assert decided(stolen, INFO) == "critical"
    assert decided(alert(STOLEN), INFO) == "info"
    assert decided(stolen, OFF) is None


@pytest.mark.parametrize(
    ("of_product", "decided_here", "expected"),
    [
        ("info", CRITICAL, "critical"),
        ("critical", INFO, "critical"),
        ("info", WARNING, "warning"),
        ("warning", INFO, "info"),  # it says nothing else than its kind
        ("critical", OFF, None),
    ],
)
def test_where_a_product_has_its_say_too_the_more_urgent_counts(
    of_product: str, decided_here: Severity, expected: str | None
) -> None:
    told = alert(AlertKind.SERIAL_MISSING, site=None, severity=of_product)
    assert decided(told, decided_here) == expected


def test_what_is_withdrawn_is_told_although_its_kind_is_off() -> None:
    withdrawn = alert(status=AlertStatus.WITHDRAWN)
    off = {CLONE: AlertPolicy(id=CLONE, severity=OFF)}
    assert by_policy(withdrawn, off) == withdrawn


@pytest.mark.parametrize("kind", sorted(GUARDED))
@pytest.mark.parametrize("severity", [OFF, INFO])
def test_a_recall_and_a_hold_are_never_kept_from_people(
    kind: AlertKind, severity: Severity
) -> None:
    assert decided(alert(kind), severity) == "warning"
    assert decided(alert(kind), None, (severity, PHONE, None)) == "warning"
    with pytest.raises(PolicyRefused) as refused:
        check_policy(AlertPolicy(id=kind, severity=severity))
    assert refused.value.field == "severity"
    exception = PolicyException(severity=severity, site="north")
    with pytest.raises(PolicyRefused) as refused:
        check_policy(AlertPolicy(id=kind, exceptions=(exception,)))
    assert refused.value.field == "exceptions[0].severity"
    check_policy(AlertPolicy(id=kind, severity=WARNING))


def test_all_that_speaks_of_recalls_and_of_holds_at_the_exit_is_guarded() -> None:
    named = {kind for kind in AlertKind if "recall" in kind or kind.endswith("at_shipping")}
    assert named == GUARDED


@pytest.mark.parametrize(
    ("exceptions", "field"),
    [
        ([(OFF, None, None)], "exceptions[0]"),
        ([(OFF, PHONE, None), (CRITICAL, PHONE, "north")], "exceptions[1]"),
        ([(OFF, None, "north"), (OFF, None, "north")], "exceptions[1]"),
        ([(OFF, None, f"site-{n}") for n in range(EXCEPTIONS_MAX + 1)], "exceptions"),
    ],
    ids=["of-nothing", "behind-a-wider-one", "twice", "too-many"],
)
def test_an_exception_that_decides_nothing_is_refused(
    exceptions: list[tuple[Severity, str | None, str | None]], field: str
) -> None:
    told = tuple(PolicyException(severity=s, product=p, site=w) for s, p, w in exceptions)
    with pytest.raises(PolicyRefused) as refused:
        check_policy(AlertPolicy(id=CLONE, exceptions=told))
    assert refused.value.field == field


def test_a_record_that_cannot_be_read_switches_nothing_off_and_leaves_what_was() -> None:
    left: list[tuple[Topic, int]] = []
    unreadable = Unreadable(lambda topic, count: left.append((topic, count)))
    policies: dict[AlertKind, AlertPolicy] = {}
    off = AlertPolicy(id=CLONE, severity=OFF)
    take_policy(policies, unreadable, CLONE, b'{"id": "duplicate_serial", "severity": "of"}')
    assert (policies, left) == ({}, [(Topic.ALERT_POLICIES, 1)])
    take_policy(policies, unreadable, CLONE, encode(off))
    assert (policies, left[1:]) == ({CLONE: off}, [(Topic.ALERT_POLICIES, 0)])
    take_policy(policies, unreadable, CLONE, b"{")
    assert policies == {CLONE: off}
    take_policy(policies, unreadable, CLONE, None)
    take_policy(policies, unreadable, "a_kind_of_later", None)
    assert (policies, left[2:]) == ({}, [(Topic.ALERT_POLICIES, 1), (Topic.ALERT_POLICIES, 0)])
