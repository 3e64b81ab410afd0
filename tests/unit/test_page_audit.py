"""The audit as people read it, and the check of its chain in words."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scantrail.api.pages.audit import Checked, screen_of, versions
from scantrail.api.pages.frame import template_config
from scantrail.api.pages.holdings import how_long
from scantrail.domain.audit import Broken

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [(None, None, ""), (0, 1, "new, version 1"), (4, 5, "version 4 to 5"), (4, None, "")],
)
def test_what_became_of_a_version_is_told(old: int | None, new: int | None, words: str) -> None:
    assert versions(old, new) == words


def test_what_has_a_screen_is_led_to_whatever_its_id() -> None:
    assert screen_of("recall", "R-1") == "/page/recalls/R-1"
    assert screen_of("hold", "sgtin:1.A/1&b") == "/?q=sgtin%3A1.A%2F1%26b"
    assert screen_of("party", "p-1") is None


@dataclass(frozen=True)
class Chain:
    last: Checked | None = None
    rows_until_now: int | None = None
    has_failed: bool = False


def checked(broken: Broken | None = None) -> Checked:
    return Checked(NOW - timedelta(minutes=3), 1234, "c4" * 32, broken)


@pytest.mark.parametrize(
    ("chain", "told", "untold"),
    [
        (Chain(rows_until_now=500), ["Checking: 500 rows"], ["It holds", "Check now"]),
        (Chain(last=checked()), ["It holds", "1,234 rows", "3 minutes ago", "c4c4"], ["Broken"]),
        (Chain(last=checked(), rows_until_now=0), ["It holds", "every 1s"], ["Check now"]),
        (
            Chain(last=checked(Broken(number=1235, why="it is missing"))),
            ["Broken at row 1235", "it is missing", "The 1,234 rows before it hold"],
            ["It holds"],
        ),
        (Chain(has_failed=True), ["It could not be checked", "Check now"], ["It holds"]),
    ],
    ids=["checking", "holds", "checked anew", "broken", "failed"],
)
def test_how_the_chain_stands_is_told(chain: Any, told: list[str], untold: list[str]) -> None:
    template = template_config().engine_instance.engine.get_template("audit_chain.html")
    shown = template.render(chain=chain, now=NOW, how_long=how_long)
    assert [words for words in told if words not in shown] == []
    assert [words for words in untold if words in shown] == []
