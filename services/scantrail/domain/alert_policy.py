"""How urgent an installation takes its alerts to be, and which it does not want to be told of.

What speaks for a recall, or for a hold at the exit, is told whatever anybody decided: the least
that can be made of it is a warning.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from scantrail.domain.alert import SEVERITY, Alert, AlertKind, AlertStatus
from scantrail.domain.severity import Severity

#: Exceptions that one kind may have: more are a slip of a program.
EXCEPTIONS_MAX = 200

#: Kinds that are never switched off, and never less than a warning.
GUARDED = frozenset(
    {
        AlertKind.HELD_AT_SHIPPING,
        AlertKind.RECALLED_ALREADY_SHIPPED,
        AlertKind.RECALLED_AT_SHIPPING,
        AlertKind.RECALL_UNDECIDED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyException:
    """What is decided for one product, at one site, or for one product at one site."""

    severity: Severity
    product: str | None = None
    site: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertPolicy:
    """What an installation decided about a kind of alerts, which is its `id`.

    The first exception that fits decides, else `severity`; None: as it is where nobody decides.
    """

    id: AlertKind
    severity: Severity | None = None
    exceptions: tuple[PolicyException, ...] = ()
    version: int = 1


class PolicyRefused(Exception):
    """A decision that cannot be made: `field` is where it stands, `reason` names the mend."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field
        self.reason = reason


def check_policy(policy: AlertPolicy) -> None:
    """Raises PolicyRefused."""
    if len(policy.exceptions) > EXCEPTIONS_MAX:
        raise PolicyRefused("exceptions", f"give at most {EXCEPTIONS_MAX}")
    _check_guard("severity", policy.id, policy.severity)
    for place, exception in enumerate(policy.exceptions):
        where = f"exceptions[{place}]"
        if exception.product is None and exception.site is None:
            told = "name a product or a site: `severity` is what is decided for all others"
            raise PolicyRefused(where, told)
        for earlier in policy.exceptions[:place]:
            if _covers(earlier, exception):
                told = "an earlier one fits whatever this one does: put this one before it"
                raise PolicyRefused(where, told)
        _check_guard(f"{where}.severity", policy.id, exception.severity)


def by_policy(
    alert: Alert, policies: Mapping[AlertKind, AlertPolicy], products: Iterable[str | None] = ()
) -> Alert | None:
    """The alert as urgent as the installation takes it; None where it is not to be raised.

    `products` are those of its unit, by each of its keys. Where it was judged otherwise than its
    kind is (what was stolen reappears; a product says itself how urgent a serial is that is
    missing), the more urgent of the two counts. What is withdrawn is told also where its kind
    is switched off by now: it may have been raised before.
    """
    decided = _decided(policies.get(alert.kind), alert.site, frozenset(products))
    if decided is Severity.OFF:
        return alert if alert.status is AlertStatus.WITHDRAWN else None
    if decided is None:
        return alert
    if alert.severity != SEVERITY[alert.kind]:
        decided = max(decided, Severity(alert.severity), key=_rank)
    return replace(alert, severity=decided.value)


def _decided(
    policy: AlertPolicy | None, site: str | None, products: frozenset[str | None]
) -> Severity | None:
    if policy is None:
        return None
    decided = policy.severity
    for exception in policy.exceptions:
        if (exception.product is None or exception.product in products) and (
            exception.site is None or exception.site == site
        ):
            decided = exception.severity
            break
    # Whoever wrote the record: a recall is never kept from people.
    if decided is not None and policy.id in GUARDED:
        return max(decided, Severity.WARNING, key=_rank)
    return decided


def _covers(earlier: PolicyException, later: PolicyException) -> bool:
    return earlier.product in (None, later.product) and earlier.site in (None, later.site)


def _check_guard(field: str, kind: AlertKind, severity: Severity | None) -> None:
    if severity is not None and kind in GUARDED and _rank(severity) < _rank(Severity.WARNING):
        told = f"{kind} tells of a recall or a hold: give warning or critical"
        raise PolicyRefused(field, told)


def _rank(severity: Severity) -> int:
    return list(Severity).index(severity)
