"""The alerts there are in the end, against those that the plan and the scenarios must leave."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

#: A kind, what it is about (a unit, or a document), and how it stands.
ExpectedAlert = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class AlertScore:
    """How many alerts there are, how many of them are true, and what differs in words."""

    found: int
    expected: int
    true: int
    wrong: tuple[str, ...]

    @property
    def precision(self) -> float:
        """True alerts of all that there are."""
        return self.true / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        """True alerts of all that had to be."""
        return self.true / self.expected if self.expected else 1.0


def score_alerts(told: Iterable[dict[str, Any]], expected: Iterable[ExpectedAlert]) -> AlertScore:
    """Compare alerts, as the API tells them, with what is expected; each counts once."""
    found = Counter(
        (alert["kind"], alert["unit"] or alert["document"], alert["status"]) for alert in told
    )
    wanted = Counter(expected)
    missing, surplus = wanted - found, found - wanted
    return AlertScore(
        found=found.total(),
        expected=wanted.total(),
        true=(found & wanted).total(),
        wrong=(
            *(f"alert {alert} is missing" for alert in missing.elements()),
            *(f"alert {alert} was not expected" for alert in surplus.elements()),
        ),
    )
