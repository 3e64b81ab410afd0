"""What the desk found: facts that no scan tells. The api states them, the alerter judges them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class FindingKind(StrEnum):
    """Each is the kind of the alert that it makes."""

    #: whoever receives a regulated unit has no licence for it
    LICENCE_MISSING = "licence_missing"
    #: a unit on loan was not returned by its date
    LOAN_OVERDUE = "loan_overdue"
    #: a line of the register lacks what had to be entered by now
    REGISTER_OVERDUE = "register_overdue"
    #: a recall became active, and the unit had gone out before
    RECALLED_ALREADY_SHIPPED = "recalled_already_shipped"
    #: units went out of which nobody told what a recall goes by: one for the recall
    RECALL_UNDECIDED = "recall_undecided"
    #: an advance notice was closed, and what was received is not what it announced
    RECEIVING_DISCREPANCY = "receiving_discrepancy"


class FindingStatus(StrEnum):
    STATED = "stated"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fact about a unit, a document, or a unit in a document.

    `id` is made from what the finding is about, so that it is the same however often it is stated.
    `document` is a kind and a reference, such as `advance_notice ASN-7`. `event_id` is the scan
    that carries the fact, where one does; `station` and `site` are where, `at` when (aware).
    `text` says it to a person, without anybody's name.
    """

    id: str
    kind: FindingKind
    at: datetime
    text: str
    status: FindingStatus = FindingStatus.STATED
    unit: str | None = None
    document: str | None = None
    event_id: str | None = None
    station: str | None = None
    site: str | None = None
    recall: str | None = None
