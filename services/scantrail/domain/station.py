"""A station: a configured place of reading, and what a read there claims."""

from dataclasses import dataclass
from datetime import date, datetime

from scantrail.domain.scan import Scan, Transaction, clock_skew_s
from scantrail.domain.vocabulary import BusinessStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """What is stamped into each scan of the station, so that a fold is a function of one log."""

    id: str
    site: str
    business_step: BusinessStep
    read_point: str
    name: str | None = None
    business_location: str | None = None
    disposition: str | None = None
    possessing_party: str | None = None
    repeat_window_s: float = 0.0
    version: int = 1


def claim(
    station: Station,
    unit: str,
    *,
    event_id: str,
    reader: str,
    sequence: int,
    event_time: datetime,
    record_time: datetime,
    order: str | None,
    read: str,
    location: str | None = None,
    corrects: str | None = None,
    parent: str | None = None,
    same_as: str | None = None,
    expected_after: tuple[BusinessStep, ...] | None = None,
    expected_since: datetime | None = None,
    keyed: bool = False,
    rma: str | None = None,
    lot: str | None = None,
    produced_on: date | None = None,
) -> Scan:
    """The scan that a read of `unit` at `station` makes; it is at `location`, where one is told."""
    documents = (("order", order), ("rma", rma))
    return Scan(
        event_id=event_id,
        unit=unit,
        event_time=event_time,
        record_time=record_time,
        reader=reader,
        sequence=sequence,
        station=station.id,
        site=station.site,
        read_point=station.read_point,
        business_step=station.business_step,
        business_location=location or station.business_location,
        disposition=station.disposition,
        possessing_party=station.possessing_party,
        transactions=tuple(Transaction(type=type_, id=ref) for type_, ref in documents if ref),
        repeat_window_s=station.repeat_window_s,
        clock_skew_s=clock_skew_s(event_time, record_time),
        read=read,
        corrects=corrects,
        parent=parent,
        same_as=same_as,
        expected_after=expected_after,
        lot=lot,
        produced_on=produced_on,
        expected_since=expected_since,
        keyed=keyed,
    )
