"""What an owner decides about a product: since when, how its serials look, and which are near."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scantrail.api.bodies import ProductBody
from scantrail.api.problems import Problem
from scantrail.api.products import _decided
from scantrail.contracts.identity import identify
from scantrail.contracts.minting import (
    ALPHABET,
    MINTED_MAX,
    is_minted,
    label,
    minted_serial,
)
from scantrail.domain.near import near_serials
from scantrail.domain.product import (
    POLICIES_MAX,
    Captured,
    Policy,
    Product,
    Serials,
    folded_key,
    policy_at,
    policy_of,
    spellings_of,
    with_policy,
)
from scantrail.domain.scan import Scan
from scantrail.domain.serial_alerts import judge_with_serial, judge_without_serial
from scantrail.domain.serial_format import BadFormat, check_format, fits
from scantrail.domain.severity import Severity
from scantrail.domain.vocabulary import BusinessStep

JUNE = datetime(2026, 6, 1, tzinfo=UTC)
JULY = datetime(2026, 7, 1, tzinfo=UTC)
EVER = Policy(serials=Serials.NOT_USED)
FROM_JUNE = Policy(valid_from=JUNE, captured=Captured.SHIPPING)
FROM_JULY = Policy(valid_from=JULY)
PUMP = Product(id="PUMP-7", name="Pump", policies=(EVER, FROM_JUNE, FROM_JULY))


@pytest.mark.parametrize(
    ("moment", "policy"),
    [
        (datetime(1971, 1, 1, tzinfo=UTC), EVER),
        (JUNE - timedelta(microseconds=1), EVER),
        (JUNE, FROM_JUNE),
        (JULY - timedelta(microseconds=1), FROM_JUNE),
        (JULY, FROM_JULY),
        (datetime(2199, 1, 1, tzinfo=UTC), FROM_JULY),
    ],
)
def test_the_policy_that_is_valid_at_a_moment(moment: datetime, policy: Policy) -> None:
    found = policy_at(PUMP, moment)
    assert policy_of(found) == policy
    assert (found.id, found.name, found.policies) == (PUMP.id, PUMP.name, PUMP.policies)


def test_before_the_oldest_policy_that_is_known_that_one_holds() -> None:
    known = replace(PUMP, policies=(FROM_JUNE, FROM_JULY))
    assert policy_of(policy_at(known, JUNE - timedelta(days=1))) == FROM_JUNE


def test_a_product_whose_policy_never_changed_is_as_it_says_at_any_time() -> None:
    product = Product(id="P", name="P", serials=Serials.OPTIONAL)
    assert policy_at(product, JUNE) is product


@given(st.permutations([EVER, FROM_JUNE, FROM_JULY]))
def test_policies_stand_in_the_order_of_their_dates(entered: list[Policy]) -> None:
    known: tuple[Policy, ...] = ()
    for policy in entered:
        known = with_policy(known, policy)
    assert known == (EVER, FROM_JUNE, FROM_JULY)


def test_a_policy_from_the_same_moment_takes_the_place_of_the_one_before() -> None:
    new = replace(FROM_JUNE, serials=Serials.OPTIONAL)
    assert with_policy(PUMP.policies, new) == (EVER, new, FROM_JULY)


# ---------------------------------------------------------------------------------- formats


@pytest.mark.parametrize(
    ("serial", "serial_format", "is_one"),
    [
        ("AB-1234", "AB-####", True),
        ("AB-12A4", "AB-####", False),
        ("AB-123", "AB-####", False),
        ("AB-12345", "AB-####", False),
        ("ab-1234", "AB-####", False),
        ("Q7", "@#", True),
        ("77", "@#", False),
        ("Q7", "$$", True),
        ("Q-", "$$", False),
        ("*", "*", True),
        ("A", "*", False),
    ],
)
def test_what_a_format_takes(serial: str, serial_format: str, is_one: bool) -> None:
    assert fits(serial, [serial_format]) is is_one
    assert fits(serial, ["X", serial_format]) is is_one


def test_a_letter_or_digit_of_another_script_is_none() -> None:
    assert not fits("é٣", ["@#"])
    assert not fits("é٣", ["$$"])


@pytest.mark.parametrize(
    ("serial_format", "folds", "told"),
    [
        ("", False, "write 1 to 20 characters"),
        ("#" * 21, False, "write 1 to 20 characters"),
        ("A B#", False, "write 1 to 20 characters"),
        ("ab-##", True, "write it in capitals"),
    ],
)
def test_a_format_that_no_serial_has_is_refused(serial_format: str, folds: bool, told: str) -> None:
    with pytest.raises(BadFormat, match=told):
        check_format(serial_format, folds_case=folds)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["sn:PUMP-7.ab1"], ["sn:PUMP-7.ab1", "sn:PUMP-7.AB1"]),
        (["sn:PUMP-7.AB1"], ["sn:PUMP-7.AB1"]),
        (["sn:PUMP-7.ab1", "sn:PUMP-7.AB1"], ["sn:PUMP-7.ab1", "sn:PUMP-7.AB1"]),
        (["imei:1", "sn:PUMP-7.p.b"], ["imei:1", "sn:PUMP-7.p.b", "sn:PUMP-7.P.B"]),
        (["sn:pump-8.ab1", "giai:ab1"], ["sn:pump-8.ab1", "giai:ab1"]),
    ],
)
def test_a_unit_is_meant_in_capitals_too_where_its_product_folds(
    keys: list[str], expected: list[str]
) -> None:
    assert spellings_of(keys, {"PUMP-7"}.__contains__) == expected


def test_small_letters_of_a_format_count_where_case_does() -> None:
    check_format("ab-##@$", folds_case=False)


@pytest.mark.parametrize(
    ("key", "folded"),
    [
        ("sgtin:09506000134352.ab.c", "sgtin:09506000134352.AB.C"),
        ("sn:pump-7.ab", "sn:pump-7.AB"),
        ("sn:ab.ab", "sn:ab.AB"),
        ("sn:PUMP-7.AB", "sn:PUMP-7.AB"),
        ("imei:49015420323751", "imei:49015420323751"),
    ],
)
def test_of_a_key_the_serial_alone_is_folded(key: str, folded: str) -> None:
    assert folded_key(key) == folded


# ---------------------------------------------------------------------------------- near


@pytest.mark.parametrize(
    "other",
    [
        "AB1235",  # one character
        "AB124",  # one is missing
        "AB12334",  # one too many
        "BA1234",  # two changed places
        "AB1243",
        "A81234",  # as like as letter and digit are
        "ABI234",
        "ABI2E4",
        "ab1234",
    ],
)
def test_what_a_person_may_have_meant_is_near(other: str) -> None:
    slips = {"ABI2E4": "AB12E4"}
    assert other in near_serials(slips.get(other, "AB1234"))


@pytest.mark.parametrize("other", ["AB1234", "CD1234", "AB5678", "", "AB12"])
def test_what_is_another_serial_is_not_near(other: str) -> None:
    assert other not in near_serials("AB1234")


def test_any_number_of_characters_that_look_alike_are_near_and_there_are_not_too_many() -> None:
    assert "BOIS5" in near_serials("8015S")
    # of many that look alike two that stand first, or first and last
    assert near_serials("O0O0O0O0O0O0") >= {"00O0O0O0O0OO", "0OO0O0O0O0O0"}
    assert len(near_serials("0OQD1IL2Z5S6G8BUV123")) < 3000


@given(st.text(ALPHABET, min_size=2, max_size=4), st.data())
def test_near_is_said_by_both(serial: str, data: st.DataObject) -> None:
    other = data.draw(st.sampled_from(sorted(near_serials(serial))))
    assert serial in near_serials(other)


def test_a_policy_that_would_not_count_is_refused() -> None:
    full = tuple(Policy(valid_from=JUNE + timedelta(days=n)) for n in range(POLICIES_MAX))
    known = replace(PUMP, policies=full)
    older = ProductBody(name="Pump", valid_from=JUNE - timedelta(days=1))
    with pytest.raises(Problem, match="the first is of 2026-06-01") as refused:
        _decided(PUMP.id, older, known, JULY)
    assert (refused.value.status, refused.value.body["field"]) == (400, "valid_from")
    newer = ProductBody(name="Pump", valid_from=JUNE + timedelta(hours=1))
    since = [each.valid_from for each in _decided(PUMP.id, newer, known, JULY).policies]
    assert (len(since), since[0]) == (POLICIES_MAX, newer.valid_from)


# ---------------------------------------------------------------------------------- minted


def test_minted_serials_are_told_apart_and_check() -> None:
    numbers = [0, 1, 2, 27, 28, 10_000, MINTED_MAX - 1]
    serials = [minted_serial(number) for number in numbers]
    assert len(set(serials)) == len(numbers)
    assert all(len(serial) == 8 and is_minted(serial) for serial in serials)
    with pytest.raises(ValueError, match="no serial has number"):
        minted_serial(MINTED_MAX)
    with pytest.raises(ValueError, match="no serial has number"):
        minted_serial(-1)


@given(st.integers(0, MINTED_MAX - 1), st.integers(0, 7), st.sampled_from(ALPHABET))
def test_one_wrong_character_of_a_minted_serial_is_found(
    number: int, place: int, wrong: str
) -> None:
    serial = minted_serial(number)
    typed = serial[:place] + wrong + serial[place + 1 :]
    assert is_minted(typed) is (typed == serial)


@pytest.mark.parametrize("text", ["", "0000001", "00000010", "0000000B", "00000001C", "é000001C"])
def test_what_is_no_minted_serial(text: str) -> None:
    assert not is_minted(text)


def _coded(zpl: str) -> str:
    (line,) = [each for each in zpl.splitlines() if "^BX" in each]
    return line.split("^FD")[1].removesuffix("^FS")


def test_the_label_of_a_gtin_is_a_gs1_symbol_that_is_read_as_its_unit() -> None:
    serial = minted_serial(7)
    zpl = label("09506000134352", serial, "Ring ^ gold_18")
    assert "^BXN,6,200,,,,_,1" in zpl
    coded = _coded(zpl)
    assert coded == f"_1010950600013435221{serial}"
    read = identify(f"]d2{coded.removeprefix('_1')}")
    assert read.key == f"sgtin:09506000134352.{serial}"
    assert "Ring _5E gold_5F18" in zpl  # no command, and no escape, of the printer's
    assert (zpl.startswith("^XA"), zpl.endswith("^XZ\n")) == (True, True)


def test_the_label_of_a_product_without_a_gtin_holds_the_units_key() -> None:
    serial = minted_serial(7)
    coded = _coded(label("RING_9", serial, "Ring"))
    assert coded == f"sn:RING__9.{serial}"
    assert identify(coded.replace("__", "_")).key == f"sn:RING_9.{serial}"


# ---------------------------------------------------------------------------------- alerts


def _scan(unit: str, at: datetime, event_id: str = "e-1", **more: object) -> Scan:
    told = {"read_point": "gate", "business_step": BusinessStep.SHIPPING, **more}
    return Scan(
        event_id=event_id,
        unit=unit,
        event_time=at,
        record_time=at,
        reader="r",
        sequence=1,
        station="gate",
        site="north",
        **told,  # type: ignore[arg-type]
    )


def test_a_serial_where_none_is_used_is_told_of_once_for_each_unit_as_its_owner_wants() -> None:
    loud = replace(EVER, serial_not_expected=Severity.INFO)
    product = replace(PUMP, policies=(loud, FROM_JUNE))
    unit, may = "sn:PUMP-7.1", JUNE - timedelta(days=1)
    (first,) = judge_with_serial(product, _scan(unit, may))
    (again,) = judge_with_serial(product, _scan(unit, may, "e-2"))
    assert (first.kind, first.severity, first.unit) == ("serial_not_expected", "info", unit)
    assert (again.id, again.told_by) == (first.id, "e-2")
    (other,) = judge_with_serial(product, _scan("sn:PUMP-7.2", may))
    assert other.id != first.id
    assert judge_with_serial(product, _scan(unit, JUNE)) == []
    assert judge_with_serial(None, _scan(unit, may)) == []
    assert judge_with_serial(PUMP, _scan(unit, may)) == []  # off, where nothing is said


def test_a_unit_without_the_serial_it_needs_is_told_of_once_for_each_read() -> None:
    loud = replace(FROM_JUNE, serial_missing=Severity.CRITICAL)
    off = replace(FROM_JULY, serial_missing=Severity.OFF)
    product = replace(PUMP, policies=(EVER, loud, off))

    def judged(event_id: str, at: datetime) -> list[tuple[str, str]]:
        told = judge_without_serial(product, event_id=event_id, station="gate", at=at)
        return [(each.id, each.severity) for each in told]

    ((first, severity),) = judged("e-1", JUNE)
    assert (severity, judged("e-1", JUNE)) == ("critical", [(first, "critical")])
    assert judged("e-2", JUNE)[0][0] != first
    assert judged("e-1", JULY) == []
    assert judge_without_serial(None, event_id="e-1", station=None, at=JUNE) == []
    (told,) = judge_without_serial(
        Product(id="P", name="Pump"), event_id="e-1", station=None, at=JUNE
    )
    assert (told.severity, told.document, told.unit) == ("warning", "product P", None)
