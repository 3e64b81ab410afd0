"""A unit without its serial where one is mandatory, and a serial where none is used: told as
urgently as the product's owner wants."""

from datetime import datetime

from scantrail.domain.alert import Alert, AlertKind, AlertStatus, alert_id
from scantrail.domain.product import Product, Serials, policy_at
from scantrail.domain.scan import Scan, ordered_at
from scantrail.domain.severity import Severity

#: Why the gateway sets a read aside that named a product, and needed its unit's serial.
SERIAL_MISSING = "serial_missing"


def judge_without_serial(
    known: Product | None, *, event_id: str, station: str | None, at: datetime
) -> list[Alert]:
    """The alert of a read that named a product, and needed its unit's serial; `at` (aware) decides
    which policy counts. One for each read, however often it is told."""
    if known is None:
        return []
    product = policy_at(known, at)
    if product.serial_missing is Severity.OFF:
        return []
    document = f"product {product.id}"
    alert = Alert(
        id=alert_id(AlertKind.SERIAL_MISSING, document, event_id),
        kind=AlertKind.SERIAL_MISSING,
        severity=product.serial_missing.value,
        status=AlertStatus.RAISED,
        event_id=event_id,
        station=station,
        event_time=at,
        text=f"a unit of {product.id} ({product.name}) was read at station {station or 'unknown'}"
        " without its serial, which is mandatory: scan the unit's own code there",
        document=document,
        told_by=event_id,
    )
    return [alert]


def judge_with_serial(known: Product | None, scan: Scan) -> list[Alert]:
    """The alert of a unit that has a serial although its product uses none: one for the unit,
    however often it is scanned. `scan` is one that moved it."""
    if known is None or scan.derived_from is not None:
        return []
    product = policy_at(known, ordered_at(scan))
    if product.serials is not Serials.NOT_USED or product.serial_not_expected is Severity.OFF:
        return []
    alert = Alert(
        id=alert_id(AlertKind.SERIAL_NOT_EXPECTED, scan.unit, "", product.id),
        kind=AlertKind.SERIAL_NOT_EXPECTED,
        severity=product.serial_not_expected.value,
        status=AlertStatus.RAISED,
        unit=scan.unit,
        event_id=scan.event_id,
        station=scan.station,
        site=scan.site,
        event_time=scan.event_time,
        text=f"{scan.unit} has a serial, and of {product.id} ({product.name}) none are used",
        told_by=scan.event_id,
    )
    return [alert]
