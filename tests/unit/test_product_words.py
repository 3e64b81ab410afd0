"""What is said of serials: the policy in words, and what another one would change."""

from datetime import UTC, datetime

import pytest

from scantrail.api.pages.notices import lines_of, others_of
from scantrail.api.pages.product_words import (
    Choice,
    brings,
    changes,
    choice_of,
    costs,
    why_serials,
)
from scantrail.api.pages.returns import choices
from scantrail.api.product_figures import Figures
from scantrail.domain.product import Captured, Policy, Serials
from scantrail.domain.receiving import Announced, Received, UnitStatus, compare
from scantrail.domain.returns import ReturnState

NOW = datetime(2026, 3, 1, tzinfo=UTC)

SOME = Figures(
    units=1_200,
    scans=3_000,
    on_site=200,
    shipped=990,
    gone=5,
    without_scan=5,
    with_nobody_known=1,
    recalled=40,
    recalls=1,
    duplicates=3,
    serial_missing=7,
    claims=10,
    claims_by_serial=9,
    lines=60,
    pieces=1_000,
)


@pytest.mark.parametrize(
    ("serials", "captured", "choice"),
    [
        (Serials.MANDATORY, Captured.RECEIVING, Choice.RECEIVING),
        (Serials.MANDATORY, Captured.SHIPPING, Choice.SHIPPING),
        (Serials.MANDATORY, Captured.WARRANTY, Choice.WARRANTY),
        (Serials.OPTIONAL, Captured.SHIPPING, Choice.OPTIONAL),
        (Serials.NOT_USED, Captured.RECEIVING, Choice.NONE),
    ],
)
def test_a_policy_is_a_choice(serials: Serials, captured: Captured, choice: Choice) -> None:
    assert choice_of(Policy(serials=serials, captured=captured)) is choice


def test_a_law_mandates_an_owner_chooses_and_nobody_decided() -> None:
    assert why_serials(is_regulated=True, is_entered=True).startswith("Mandated")
    assert why_serials(is_regulated=False, is_entered=True).startswith("Chosen")
    assert why_serials(is_regulated=False, is_entered=False).startswith("Nobody decided")


def test_each_figure_says_where_it_comes_from() -> None:
    told = {each.name: (each.value, each.source) for each in (*costs(SOME), *brings(SOME))}
    assert told["Scans per unit"][0] == "2.5"
    assert told["Scans per unit"][1].startswith("3,000 scans in the histories of 1,200 units")
    assert told["Units with unknown place"] == (
        "6 of 1,200",
        "5 with every scan voided, 1 shipped for no order that was entered.",
    )
    assert told["Claims matched by serial"][0] == "9 of 10"
    assert told["Recalls matched by serial"][0] == "40 of 1,200"
    assert "1 active recall names" in told["Recalls matched by serial"][1]
    assert told["Duplicates caught"][0] == "3"
    assert told["Codes without the serial that is wanted"][0] == "7"
    assert {each.name: each.value for each in costs(Figures())}["Scans per unit"] == "no unit yet"
    assert all(source.endswith(".") for _, source in told.values())


def test_every_other_policy_is_told_with_the_numbers_of_this_installation() -> None:
    told = {each.choice: " ".join(each.effects) for each in changes(Choice.RECEIVING, SOME)}
    assert list(told) == [Choice.OPTIONAL, Choice.SHIPPING, Choice.NONE]
    assert "the 7 alerts of a serial that is missing" in told[Choice.OPTIONAL]
    assert "60 lines with 1,000 pieces were entered" in told[Choice.OPTIONAL]
    assert "990 for those that are shipped now, where 3,000 scans are kept" in told[Choice.SHIPPING]
    assert "200 units are on site now" in told[Choice.SHIPPING]
    assert "3,000 scans are kept: 2.5 for each unit" in told[Choice.NONE]
    assert "of 1,200 units that is known for 1,194 now" in told[Choice.NONE]
    assert "of 1,200 units 40 are meant by active recalls now" in told[Choice.NONE]
    assert "9 of 10 claims were matched by serial" in told[Choice.NONE]
    assert "3 duplicates were caught so far" in told[Choice.NONE]
    back = {each.choice: " ".join(each.effects) for each in changes(Choice.NONE, Figures())}
    assert "proves no purchase any more" in back[Choice.RECEIVING]
    assert "At present 0 units are known by serial" in back[Choice.RECEIVING]
    warned = changes(Choice.RECEIVING, SOME, is_regulated=True)
    assert all("The register would lack" in each.effects[0] for each in warned)
    assert len(changes(Choice.WARRANTY, SOME)) == 4


def test_a_notice_is_counted_line_by_line() -> None:
    announced = [
        Announced("sn:P.1", 1),
        Announced("sn:P.2", 1),
        Announced("sn:P.3", 1, "sscc:1"),
        Announced("sn:Q.1", 2),
        Announced("sn:R.1", 2),
        Announced("sscc:1", 1),
    ]
    scans = [
        Received(unit, unit, NOW, "dock", None, False) for unit in ("sn:P.2", "sscc:1", "sn:P.9")
    ]
    compared = compare(announced, [*scans, Received("sn:Z.77", "z", NOW, "dock")])
    first, second = lines_of(compared)
    assert (first.announced, first.product, first.first, first.last) == (3, "P", "1", "3")
    assert {status: count for status, count in first.counts.items() if count} == {
        UnitStatus.EXPECTED: 1,
        UnitStatus.RECEIVED: 1,
        UnitStatus.BY_CARTON: 1,
    }
    assert (second.announced, second.product, first.is_complete) == (2, None, False)
    assert others_of(compared) == {UnitStatus.OVER: 1, UnitStatus.UNKNOWN: 1}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ({"unit": "u", "state": "announced"}, []),
        ({"unit": "u", "state": "repaired"}, [ReturnState.RESTOCKED, ReturnState.REPLACED]),
        ({"unit": "u", "state": "scrapped"}, []),
        ({"unit": None, "counts": {"announced": 2}}, [ReturnState.RETURNED]),
        (
            {"unit": None, "counts": {"inspected": 1, "restocked": 1}},
            [
                ReturnState.RESTOCKED,
                ReturnState.REPAIRED,
                ReturnState.REPLACED,
                ReturnState.SCRAPPED,
            ],
        ),
    ],
)
def test_what_may_be_decided_of_a_line(line: dict[str, object], expected: list[object]) -> None:
    assert choices(line) == expected
