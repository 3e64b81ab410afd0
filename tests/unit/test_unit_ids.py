"""Which key becomes that of a unit with several ids: one line is one case."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scantrail.contracts.identity import readings, serial_in
from scantrail.domain.unit_ids import Contradiction, join_id, key_of_all

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
TUESDAY = MONDAY + timedelta(days=1)


def chosen(
    ids: str,
    linked: dict[str, str] | None = None,
    seen: dict[str, datetime] | None = None,
    **more: Any,
) -> str:
    linked = linked or {}
    unit_of = {id_: linked.get(id_, id_) for id_ in ids}
    return key_of_all(list(ids), unit_of, set(linked.values()), seen or {}, **more)


@pytest.mark.parametrize(
    ("told", "key"),
    [
        pytest.param({"ids": "abc"}, "a", id="nothing is known: the first"),
        pytest.param({"ids": "abc", "wanted": "c"}, "c", id="the one that was told"),
        pytest.param({"ids": "abc", "seen": {"b": MONDAY}}, "b", id="the one that was seen"),
        pytest.param(
            {"ids": "abc", "wanted": "a", "seen": {"b": TUESDAY, "c": MONDAY}},
            "c",
            id="the one that was seen first, whatever was told",
        ),
        pytest.param(
            {"ids": "abc", "linked": {"b": "u"}, "seen": {"a": MONDAY, "u": TUESDAY}},
            "u",
            id="a unit with several ids keeps its key",
        ),
        pytest.param({"ids": "abu", "linked": {"x": "u"}}, "u", id="named by its own key too"),
        pytest.param(
            {"ids": "ab", "linked": {"a": "u", "b": "u"}, "wanted": "a"}, "u", id="known already"
        ),
        pytest.param(
            {"ids": "ab", "linked": {"a": "u", "b": "v"}, "merge": True, "seen": {"v": MONDAY}},
            "v",
            id="of two units that are merged the one that was seen",
        ),
        pytest.param(
            {"ids": "ab", "linked": {"a": "u", "b": "v"}, "merge": True, "wanted": "v"},
            "v",
            id="of two units that are merged and were never seen the one that was told",
        ),
        pytest.param(
            {"ids": "ba", "linked": {"a": "u", "b": "v"}, "merge": True},
            "v",
            id="of two units that are merged and were never seen the first",
        ),
    ],
)
def test_the_key_of_all(told: dict[str, Any], key: str) -> None:
    assert chosen(**told) == key


@pytest.mark.parametrize(
    ("ids", "linked", "text"),
    [
        ("ab", {"a": "u", "b": "v"}, "a is of u, and b of v"),
        ("xua", {"a": "v", "b": "u"}, "u is of u, and a of v"),
        ("uv", {"a": "u", "b": "v"}, "u is of u, and v of v"),
    ],
)
def test_ids_of_two_units_are_a_contradiction(ids: str, linked: dict[str, str], text: str) -> None:
    with pytest.raises(Contradiction, match=f"^{text}$"):
        chosen(ids, linked)


def test_the_event_id_of_a_link_is_its_own() -> None:
    told = [("a", "u", 1), ("a", "u", 2), ("a", "v", 1), ("b", "u", 1)]
    assert len({join_id(*each) for each in told}) == 4
    assert join_id("a", "u", 1) == join_id("a", "u", 1)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("268435456000000001", ["meid:A0000000000001", "sscc:268435456000000001"]),
        ("8004123456789012", ["imei:80041234567890", "giai:123456789012"]),
        ("0109506000134353", ["imei:01095060001343"]),
        ("01-0950-6000-1343-53", ["imei:01095060001343"]),
        ("356938035643809", ["imei:35693803564380"]),
        ("AB-77", []),  # a serial
        ("", []),
    ],
)
def test_what_a_text_can_be_that_fits_several_schemes(text: str, keys: list[str]) -> None:
    assert [each.key for each in readings(text)] == keys


@pytest.mark.parametrize(
    ("text", "serial"),
    [
        ("AB-77", "AB-77"),
        ("(21)AB-77", "AB-77"),
        (" 0042 ", "0042"),
        ("4012345678901", None),  # a GTIN
        ("x" * 21, None),
        ("", None),
    ],
)
def test_the_serial_in_a_text_without_a_product(text: str, serial: str | None) -> None:
    assert serial_in(text) == serial
