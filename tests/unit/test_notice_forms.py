"""Notices as people word them, and what is refused of them."""

from datetime import date
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scantrail.contracts.identity import readings
from scantrail.contracts.notices import (
    NoticeForm,
    SelectorForm,
    list_of,
    listed,
    notice_of,
)
from scantrail.contracts.printed import may_be_marked
from scantrail.domain.recall import RecallRefused, RecallStatus, Selector
from unit.test_identifiers import SPELLINGS

IMEI = "490154203237518"
OTHER_IMEI = "490154203237526"


def notice(*selectors: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "R-1", "products": ["9506000134352"], "selectors": list(selectors)} | more


def test_a_notice_is_read_with_every_kind_of_clause() -> None:
    recall = notice_of(
        notice(
            {"kind": "list", "serials": [" A1 ", "", "A1", "a1"]},
            {"kind": "range", "low": " AB001", "high": "AB099 "},
            {"kind": "prefix", "prefix": " X"},
            {"kind": "pattern", "pattern": " AB##"},
            {"kind": "lot", "lots": ["L7 ", " L7", "L8", " "]},
            {"kind": "lot_range", "low": "L10", "high": " L20"},
            {"kind": "date", "from": "2026-01-01", "to": "2026-01-31"},
            {"kind": "date", "to": "2025-12-31"},
            {"kind": "all"},
        )
    )
    assert recall.selectors == (
        Selector(kind="list", serials=("A1", "a1")),
        Selector(kind="range", low="AB001", high="AB099"),
        Selector(kind="prefix", prefix="X"),
        Selector(kind="pattern", pattern="AB##"),
        Selector(kind="lot", lots=("L7", "L8")),
        Selector(kind="lot_range", low="L10", high="L20"),
        Selector(kind="date", first_day=date(2026, 1, 1), last_day=date(2026, 1, 31)),
        Selector(kind="date", last_day=date(2025, 12, 31)),
        Selector(kind="all"),
    )
    assert (recall.id, recall.title, recall.reason) == ("R-1", "R-1", "")
    assert (recall.products, recall.status, recall.version) == (
        ("09506000134352",),
        RecallStatus.ACTIVE,
        1,
    )


def test_a_notice_without_products_may_mean_all_of_any() -> None:
    assert notice_of({"id": "R-1", "selectors": [{"kind": "all"}]}).products == ()


def test_a_decoded_notice_is_read_as_its_json() -> None:
    form = NoticeForm(
        id="R-1",
        products=("PUMP-7", "PUMP-7"),
        selectors=(SelectorForm(kind="all"),),
        title="Battery",
        remedy="Send it back",
    )
    recall = notice_of(form)
    assert (recall.products, recall.title, recall.remedy) == (
        ("PUMP-7",),
        "Battery",
        "Send it back",
    )


def test_what_is_left_empty_is_as_if_it_were_not_there() -> None:
    told = {"kind": "prefix", "prefix": "X", "serials": [], "low": None, "from": None, "lots": []}
    assert notice_of(notice(told)).selectors == (Selector(kind="prefix", prefix="X"),)


@pytest.mark.parametrize(
    ("printed", "forms"),
    [
        ("A1", ("A1",)),
        (" A1\t", ("A1",)),
        ("", ()),
        (" ", ()),
        (IMEI, (IMEI, IMEI[:14])),
        ("49-015420-323751-8", ("49-015420-323751-8", IMEI[:14])),
        ("1hgcm82633a004352", ("1hgcm82633a004352", "1HGCM82633A004352")),
        ("(01)09506000134352(21)A1", ("(01)09506000134352(21)A1", "A1")),
        ("010950600013435221A1", ("010950600013435221A1", "A1")),
        # an MEID in decimal, which may be an SSCC
        ("268435456003333335", ("268435456003333335", "A000000032DCD7")),
    ],
    ids=range(10),
)
def test_a_serial_is_entered_as_it_is_printed(printed: str, forms: tuple[str, ...]) -> None:
    assert list_of(listed([printed], "serials").forms).serials == forms


@example(IMEI)
@given(
    st.one_of(
        st.sampled_from([spelling for spelling, _ in SPELLINGS]),
        st.text(),
        st.text("0123456789", min_size=12, max_size=22),
        st.text("0123456789abcdefABCDEF -", min_size=12, max_size=40),
        st.text("ABCDEFGHJKLMNPRSTUVWXYZ0123456789", min_size=16, max_size=18),
    )
)
def test_nothing_that_names_a_unit_is_taken_for_a_plain_serial(text: str) -> None:
    plain = text.strip()
    assert may_be_marked(plain) or readings(plain) == ()


def test_a_range_of_imeis_is_that_of_their_keys_too_behind_all_other_clauses() -> None:
    told = {"kind": "range", "low": IMEI, "high": OTHER_IMEI}
    recall = notice_of(notice(told, {"kind": "prefix", "prefix": "X"}))
    assert recall.selectors == (
        Selector(kind="range", low=IMEI, high=OTHER_IMEI),
        Selector(kind="prefix", prefix="X"),
        Selector(kind="range", low=IMEI[:14], high=OTHER_IMEI[:14]),
    )


def test_a_range_of_whole_barcodes_is_that_of_their_serials_too() -> None:
    low, high = (f"(01)09506000134352(21)A0{end}" for end in (1, 9))
    recall = notice_of(notice({"kind": "range", "low": low, "high": high}))
    assert recall.selectors[1:] == (Selector(kind="range", low="A01", high="A09"),)


def test_bounds_of_two_products_are_no_range_of_serials() -> None:
    low, high = "(01)09506000134352(21)A01", "(01)09506000134369(21)A01"
    with pytest.raises(RecallRefused):
        notice_of(notice({"kind": "range", "low": low, "high": high}))


def test_bounds_that_are_no_range_as_keys_have_them_stay_as_they_were_told() -> None:
    told = {"kind": "range", "low": "268435456003333338", "high": "268435456003333339"}
    assert len(notice_of(notice(told)).selectors) == 1


RANGE = {"kind": "range", "low": "1", "high": "2"}


@pytest.mark.parametrize(
    ("document", "field", "words"),
    [
        (["R-1"], "", "object"),
        (notice(RANGE) | {"id": 7}, "id", "str"),
        (notice(RANGE) | {"id": " "}, "id", "number"),
        ({"id": "R-1"}, "selectors", "required"),
        (notice(), "selectors", "name the units"),
        (notice(RANGE, product="P"), "product", "unknown"),
        (notice({"low": "1"}), "selectors[0].kind", "required"),
        (notice({"kind": "colour"}), "selectors[0].kind", "lot_range, date, all"),
        (notice({"kind": "list"}), "selectors[0].serials", "empty"),
        (notice({"kind": "list", "serials": [" "]}), "selectors[0].serials", "empty"),
        (notice({"kind": "list", "serials": [1]}), "selectors[0].serials[0]", "str"),
        (notice({"kind": "list", "serials": ["1", "1" * 1025]}), "selectors[0].serials[1]", "long"),
        (notice(RANGE, RANGE | {"high": 2}), "selectors[1].high", "str"),
        (notice(RANGE, RANGE | {"high": "10"}), "selectors[1]", "leading zeros"),
        (notice(RANGE | {"serials": ["1"]}), "selectors[0].serials", "clause of its own"),
        (notice(RANGE | {"to": "2026-01-01"}), "selectors[0].to", "clause of its own"),
        (notice({"kind": "lot", "serials": ["1"]}), "selectors[0].serials", "clause of its own"),
        (notice({"kind": "date"}), "selectors[0]", "first day"),
        (notice({"kind": "date", "from": "1.1.2026"}), "selectors[0].from", "date"),
        (
            notice({"kind": "date", "from": "2026-02-01", "to": "2026-01-01"}),
            "selectors[0]",
            "after the last day",
        ),
        (notice({"kind": "date", "first_day": "2026-02-01"}), "selectors[0].first_day", "unknown"),
        (notice({"kind": "pattern", "pattern": "A*"}), "selectors[0].pattern", "#"),
        (notice(RANGE, products=["P", "09506000134353"]), "products[1]", "should end in 2"),
        (notice(RANGE, products=[""]), "products[0]", "1 to 64"),
        (notice(RANGE, status="open"), "status", "open"),
        (notice({"kind": "list", "serials": ["A1, A2"]}), "selectors[0].serials[0]", "several"),
        (notice({"kind": "list", "serials": ["A1\tx"]}), "selectors[0].serials[0]", "several"),
        (notice({"kind": "list", "serials": ["A1 - A9"]}), "selectors[0].serials[0]", "a range"),
        (notice({"kind": "list", "serials": ["A1 \u2013 A9"]}), "selectors[0].serials[0]", "range"),
        (notice({"kind": "list", "serials": ["4.90154E+14"]}), "selectors[0].serials[0]", "cut"),
        (notice({"kind": "list", "serials": ["1,234"]}), "selectors[0].serials[0]", "in groups"),
        (notice({"kind": "list", "serials": ["AB##"]}), "selectors[0].serials[0]", "pattern alone"),
        (
            notice({"kind": "range", "low": "1,000,001", "high": "1,000,999"}),
            "selectors[0].low",
            "in groups",
        ),
        (notice({"kind": "range", "low": "A*001", "high": "A*999"}), "selectors[0]", "open"),
        (notice({"kind": "range", "low": "A1C", "high": "A1C"}), "selectors[0]", "list it"),
        (notice({"kind": "prefix", "prefix": "AB*"}), "selectors[0].prefix", "leaves"),
        (notice({"kind": "prefix", "prefix": "AB##"}), "selectors[0].prefix", "leaves"),
        (notice({"kind": "prefix", "prefix": "1HGCM826*3A"}), "selectors[0].prefix", "pattern"),
        (notice(RANGE, products=["0109506000134352"]), "products[0]", "write 09506000134352"),
        (notice(RANGE, products=["(01)09506000134352"]), "products[0]", "write 09506000134352"),
        (notice({"kind": "lot", "lots": ["L1", "L2, L3"]}), "selectors[0].lots[1]", "several"),
        (notice(RANGE, products=["9506000-134352"]), "products[0]", "write 9506000134352"),
    ],
    ids=range(42),
)
def test_a_notice_that_cannot_be_read_is_refused(document: Any, field: str, words: str) -> None:
    with pytest.raises(RecallRefused) as refused:
        notice_of(document)
    assert refused.value.field == field
    assert words in refused.value.reason


def test_a_code_of_another_product_is_refused() -> None:
    listing = {"kind": "list", "serials": ["A1", "(01)09506000134369(21)A1"]}
    for products, words in (
        (["09506000134352"], "which the notice does not"),
        (["09506000134352", "09506000134369"], "one of several"),
        ([], "not all do"),
    ):
        with pytest.raises(RecallRefused) as refused:
            notice_of(notice(listing, products=products))
        assert refused.value.field == "selectors[0].serials[1]"
        assert words in refused.value.reason
    assert notice_of(notice(listing, products=["09506000134369"])).selectors


def test_a_range_of_codes_of_another_product_is_refused() -> None:
    low, high = (f"(01)09506000134369(21)A0{end}" for end in (1, 9))
    with pytest.raises(RecallRefused, match="which the notice does not"):
        notice_of(notice({"kind": "range", "low": low, "high": high}))


def test_a_notice_of_nothing_but_codes_names_their_product() -> None:
    codes = [f"(01)09506000134352(21)A{n}" for n in range(3)]
    told = notice({"kind": "list", "serials": codes}, products=[])
    assert notice_of(told).products == ("09506000134352",)
    with_range = notice(RANGE, {"kind": "list", "serials": codes}, products=[])
    with pytest.raises(RecallRefused, match="not all do"):
        notice_of(with_range)
