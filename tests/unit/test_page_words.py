"""The words of the page: what a code is at a station, and what is said of a unit in the hand."""

from typing import Any

import pytest

from scantrail.api.csv_rows import as_told, harmless
from scantrail.api.pages.judging import Tone, judge, unknown
from scantrail.api.pages.shipping import out_word
from scantrail.api.pages.work import context_of, outcome_word
from scantrail.api.problems import Problem
from scantrail.domain.vocabulary import BusinessStep

SSCC = "(00)095060001343520017"
UNIT = "(01)09506000134352(21)A1"
ALERT = {"kind": "duplicate_serial", "text": "seen twice"}
LATE = {"kind": "out_of_sequence", "text": "left out packing"}
HOLD = {"id": "check", "text": "seal broken"}


def shown(**more: Any) -> dict[str, Any]:
    return {"unit": "sn:P.1", "alerts": [], "held": False, "phase": "stored", **more}


@pytest.mark.parametrize(
    ("unit", "recalls", "holds", "word", "tone"),
    [
        (shown(), [], [], "here", Tone.GO),
        (shown(phase="shipped"), [], [], "shipped", Tone.LOOK),
        (shown(phase="gone"), [], [], "decommissioned", Tone.LOOK),
        (shown(alerts=[LATE]), [], [], "out of sequence", Tone.LOOK),
        (shown(alerts=[LATE, ALERT]), [], [], "duplicate", Tone.STOP),
        (shown(held=True), [], [], "held", Tone.STOP),
        (shown(alerts=[ALERT]), [], [HOLD], "held", Tone.STOP),
        (shown(alerts=[ALERT], held=True), ["R-1"], [HOLD], "recalled", Tone.STOP),
    ],
    ids=["here", "shipped", "gone", "late", "duplicate", "failed", "held", "recalled"],
)
def test_the_loudest_word_that_is_true_is_said(
    unit: dict[str, Any], recalls: list[str], holds: list[dict[str, str]], word: str, tone: Tone
) -> None:
    told = judge("x", unit, recalls=recalls, holds=holds, where="In Hall A.")
    assert (told.word, told.tone) == (word, tone)
    assert "In Hall A." in told.text
    assert all(recall in told.text for recall in recalls)
    is_duplicate = ALERT in unit["alerts"]
    flags = (bool(recalls), bool(holds) or unit["held"], is_duplicate)
    assert (told.is_recalled, told.is_held, told.is_duplicate) == flags


def test_what_names_no_unit_is_told_in_the_problems_own_words() -> None:
    problem = Problem(404, "Never scanned", "never here", understood={"key": "sn:P.1"})
    told = unknown("P1", problem)
    assert (told.word, told.text, told.unit) == ("never scanned", "never here", "sn:P.1")
    assert unknown("P1", Problem(404, "Not identified", "no")).unit is None


@pytest.mark.parametrize(
    ("code", "step", "expected"),
    [
        ("L-A4.2", BusinessStep.STORING, ("location", "A4.2")),
        ("O-SO-1", BusinessStep.PICKING, ("order", "SO-1")),
        (SSCC, BusinessStep.PACKING, ("parent", SSCC)),
        (SSCC, BusinessStep.SHIPPING, ("unit", SSCC)),
        (UNIT, BusinessStep.PACKING, ("unit", UNIT)),
        ("no code", BusinessStep.PACKING, ("unit", "no code")),
        ("L-", BusinessStep.STORING, ("unit", "L-")),
    ],
)
def test_what_is_scanned_first_is_told_apart(
    code: str, step: BusinessStep, expected: tuple[str, str]
) -> None:
    assert context_of(code, step) == expected


@pytest.mark.parametrize(
    ("recalls", "outcome", "is_voided", "word"),
    [
        ([], None, False, "sent"),
        ([], "moved", False, "done"),
        ([], "repeat_read", False, "repeat read"),
        (["R-1"], None, False, "recalled"),
        (["R-1"], "moved", False, "recalled"),
        (["R-1"], "moved", True, "voided"),
    ],
)
def test_what_stops_a_unit_is_said_before_what_became_of_its_scan(
    recalls: list[str], outcome: str | None, is_voided: bool, word: str
) -> None:
    told = judge("x", shown(), recalls=recalls, holds=[], where="In Hall A.")
    assert outcome_word(told, outcome, is_voided=is_voided)[1] == word


def test_a_unit_whose_row_is_not_there_yet_is_waited_for_and_not_called_unknown() -> None:
    told = unknown("x", Problem(404, "Never scanned", "never here"))
    assert out_word(told)[1] == "wait"
    shipped = judge("x", shown(phase="shipped"), recalls=[], holds=[], where="Shipped.")
    assert out_word(shipped)[:2] == (Tone.GO, "ok")
    recalled = judge("x", shown(phase="shipped"), recalls=["R"], holds=[], where="Shipped.")
    assert out_word(recalled)[:2] == (Tone.STOP, "recalled")


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_no_spreadsheet_takes_a_barcode_for_a_formula(cell: str) -> None:
    assert harmless(cell) == f"'{cell}"
    assert harmless(f"A{cell}") == f"A{cell}" == as_told(f"A{cell}")
    assert as_told(f"'{cell}") == cell
