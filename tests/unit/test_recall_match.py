"""`scantrail recall match`: units in, what the notices say of each out."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scantrail.cli.recall_match import CannotMatch, load_notices, match_lines

GTIN = "09506000134352"
NOTICE = {
    "id": "R-1",
    "products": ["9506000134352"],
    "selectors": [
        {"kind": "list", "serials": ["0012", " A9 ", "356938035643809"]},
        {"kind": "range", "low": "AB0100", "high": "AB0199"},
        {"kind": "prefix", "prefix": "X7"},
        {"kind": "pattern", "pattern": "P##-#"},
        {"kind": "lot", "lots": ["L1", "L2"]},
        {"kind": "lot_range", "low": "M08", "high": "M12"},
        {"kind": "date", "from": "2026-03-01", "to": "2026-03-31"},
    ],
}
ALL_OF_ANY = {"id": "R-2", "selectors": [{"kind": "all"}]}
BY_LOT = {"id": "R-3", "selectors": [{"kind": "lot", "lots": ["L1"]}]}
SERIALS = {"id": "R-4", "products": [GTIN], "selectors": [{"kind": "list", "serials": ["A9"]}]}


def file_of(tmp_path: Path, document: Any) -> Path:
    path = tmp_path / "notice.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def answers(tmp_path: Path, document: Any, *units: dict[str, Any]) -> list[dict[str, Any]]:
    out = io.StringIO()
    lines = [json.dumps(unit).encode() for unit in units]
    assert match_lines(load_notices(file_of(tmp_path, document)), lines, out) == 0
    return [json.loads(line) for line in out.getvalue().splitlines()]


#: A unit whose lot and day are known and none of the notice's.
OTHER = {"product": GTIN, "serial": "0", "lot": "L9", "date": "2026-04-01"}


@pytest.mark.parametrize(
    ("unit", "recalled", "words"),
    [
        (OTHER, False, "no clause of R-1"),
        (OTHER | {"serial": "0012"}, True, "serial 0012 is listed"),
        (OTHER | {"serial": "12"}, False, ""),
        (OTHER | {"serial": "a9"}, False, ""),
        (OTHER | {"serial": "A9"}, True, "listed"),
        (OTHER | {"serial": "356938035643809"}, True, "listed"),
        (OTHER | {"serial": "35693803564380"}, True, "listed"),  # as unit keys have it
        (OTHER | {"serial": "AB0150"}, True, "between AB0100 and AB0199"),
        (OTHER | {"serial": "AB150"}, False, ""),
        (OTHER | {"serial": "X7"}, True, "begins with X7"),
        (OTHER | {"serial": "P12-3"}, True, "fits P##-#"),
        (OTHER | {"serial": "P12-X"}, False, ""),
        (OTHER | {"lot": "L2"}, True, "lot L2 is listed"),
        (OTHER | {"lot": "M12"}, True, "between M08 and M12"),
        (OTHER | {"lot": "M13"}, False, ""),
        (OTHER | {"date": "2026-03-31"}, True, "produced on 2026-03-31"),
        (OTHER | {"date": "2026-03-31T23:59:59-05:00"}, True, "produced on 2026-03-31"),
        (OTHER | {"product": "9506000134352", "lot": "L1"}, True, "L1"),
        (OTHER | {"product": "PUMP-7", "lot": "L1"}, False, "not of product PUMP-7"),
        (OTHER | {"lot": None}, None, "lot"),
        (OTHER | {"lot": ""}, None, "lot"),
        (OTHER | {"date": None}, None, "production date"),
        (OTHER | {"lot": None, "date": None, "serial": "A9"}, True, "listed"),
        ({"product": "PUMP-7"}, False, "PUMP-7"),
        ({"serial": "A9"}, None, "product"),
        ({}, None, "product"),
        (OTHER | {"product": None}, False, "no clause"),
        (OTHER | {"serial": f"(01){GTIN}(21)A1(10)L1", "lot": None}, True, "lot L1"),
        ({"serial": f"(01){GTIN}(21)A9"}, True, "serial A9"),
        (OTHER | {"serial": 12}, None, "serial must be text"),
        (OTHER | {"lot": 7}, None, "lot must be text"),
        (OTHER | {"date": "31.3.2026"}, None, "is no day"),
        (OTHER | {"date": "31.3.2026", "lot": "L1"}, True, "lot L1"),
        (OTHER | {"product": "09506000134353", "lot": "L1"}, None, "should end in 2"),
    ],
)
def test_one_notice(
    tmp_path: Path, unit: dict[str, Any], recalled: bool | None, words: str
) -> None:
    (answer,) = answers(tmp_path, NOTICE, unit)
    assert answer["recalled"] is recalled, answer
    assert answer["by"] == (None if recalled is False else "R-1")
    assert words in answer["why"]
    assert {name: answer[name] for name in unit} == unit


LAPTOP = "09506000134369"


def listing(*serials: str) -> dict[str, Any]:
    return {"kind": "list", "serials": list(serials)}


def between(low: str, high: str, kind: str = "range") -> dict[str, Any]:
    return {"kind": kind, "low": low, "high": high}


def like(pattern: str) -> dict[str, Any]:
    return {"kind": "pattern", "pattern": pattern}


@pytest.mark.parametrize(
    ("clause", "serial", "recalled"),
    [
        # as word processors and spreadsheets leave them
        (listing("\ufeffA1"), "A1", True),
        (listing("A\u200b1"), "A1", True),
        (listing("A1"), "\ufeffA1", True),
        (listing("AB\u2011001"), "AB-001", True),
        (listing("AB-001"), "AB\u2013001", True),
        (listing("\uff21\uff22\uff11"), "AB1", True),
        (listing("AB\u00a0001"), "AB 001", True),
        # blanks inside, which no key has
        (listing("AB 001"), "AB001", True),
        (listing("AB001"), "AB 001", True),
        (listing("AB 001"), "AB01", False),
        (between("AB 001", "AB 099"), "AB050", True),
        (between("AB001", "AB099"), "AB 050", True),
        (between("AB 001", "AB 099"), "AB100", False),
        ({"kind": "prefix", "prefix": "AB 0"}, "AB050", True),
        (like("AB ###"), "AB050", True),
        # bounds of IMEIs are round numbers, and devices have their check digit
        (between("490154203237000", "490154203237999"), "490154203237518", True),
        (between("490154203237000", "490154203237999"), "imei:49015420323751", True),
        (between("490154203237518", "490154203237999"), "imei:49015420323751", True),
        (between("490154203237519", "490154203237999"), "imei:49015420323751", False),
        (between("490154203237000", "490154203237518"), "imei:49015420323751", True),
        (between("490154203237000", "490154203237517"), "imei:49015420323751", False),
        (between("000000000000100", "000000000000200"), "00000000000015", False),
        (between("49-015420-323700-0", "49-015420-323799-9"), "imei:49015420323751", True),
        (like("49015420323####"), "imei:49015420323751", True),
        (like("00000000000####"), "00000000000015", False),
        # each VIN has its own check digit
        (between("1HGCM82633A004352", "1HGCM82633A004400"), "1HGCM826X3A004360", True),
        (between("1HGCM82633A004352", "1HGCM82633A004400"), "1hgcm82633a004352", True),
        (between("1HGCM82633A004352", "1HGCM82633A004400"), "1HGCM826X3A004401", False),
        (between("1HGCM82633A004352", "1HGCM82633A004400"), "1HGCM825X3A004360", False),
        (between("1HGCM82633A004352", "1HGCM826X3A004400"), "1HGCM82603A004360", True),
        (between("1hgcm82633a004352", "1hgcm826x3a004400"), "1HGCM82603A004360", True),
        (between("1HGCM826*3A004352", "1HGCM826*3A004400"), "1HGCM826X3A004360", True),
        (between("WDB1240661J000001", "WDB1240661J000100"), "WDB1240661J000050", True),
        (between("WDB1240661J000001", "WDB1240661J000100"), "WDB1240671J000050", False),
        (between("10000000000000001", "10000000000000100"), "10000000000000050", True),
        (between("10000000000000001", "10000000000000100"), "10000000900000050", False),
        (like("1HGCM826#3A00####"), "1HGCM826X3A004353", True),
        (like("1HGCM826#3A00####"), "1HGCM826Y3A004353", False),
        # whole barcodes
        ({"kind": "prefix", "prefix": f"(01){GTIN}(21)AB"}, "AB1", True),
    ],
)
def test_a_notice_means_units_however_it_spells_them(
    tmp_path: Path, clause: dict[str, Any], serial: str, recalled: bool
) -> None:
    unit = {"product": GTIN, "serial": serial}
    if serial.startswith("imei:"):
        notice = {"id": "R-1", "selectors": [clause]}
    else:
        notice = {"id": "R-1", "products": [GTIN], "selectors": [clause]}
    (answer,) = answers(tmp_path, notice, unit)
    assert answer["recalled"] is recalled, answer


@pytest.mark.parametrize(
    ("clause", "lot", "recalled"),
    [
        ({"kind": "lot", "lots": ["L 07"]}, "L07", True),
        ({"kind": "lot", "lots": ["L07"]}, "L 07", True),
        ({"kind": "lot", "lots": ["24\u2013117"]}, "24-117", True),
        (between("L 07", "L 12", "lot_range"), "L09", True),
        (between("L-07", "L-12", "lot_range"), "L-09", True),
        (between("L-07", "L-12", "lot_range"), "L-13", False),
    ],
)
def test_a_notice_means_lots_however_it_spells_them(
    tmp_path: Path, clause: dict[str, Any], lot: str, recalled: bool
) -> None:
    notice = {"id": "R-1", "products": [GTIN], "selectors": [clause]}
    (answer,) = answers(tmp_path, notice, {"product": GTIN, "serial": "1", "lot": lot})
    assert answer["recalled"] is recalled, answer


def test_a_barcode_means_a_unit_of_its_own_product(tmp_path: Path) -> None:
    notice = {"id": "R-1", "selectors": [listing(f"(01){GTIN}(21)A1")]}
    told = answers(
        tmp_path,
        notice,
        {"product": GTIN, "serial": "A1"},
        {"product": LAPTOP, "serial": "A1"},
        {"serial": "A1"},
        {"serial": f"(01){GTIN}(21)A1"},
    )
    assert [each["recalled"] for each in told] == [True, False, None, True]


BY_SERIAL_OR_LOT = {"id": "R-1", "products": [GTIN], "selectors": [
    listing("A9"), {"kind": "lot", "lots": ["L1"]}]}  # fmt: skip


@pytest.mark.parametrize(
    ("unit", "recalled", "words"),
    [
        # what a code tells is told
        ({"serial": f"(01){LAPTOP}(21)B1"}, False, f"not of product {LAPTOP}"),
        ({"serial": f"(01){GTIN}(21)B1(10)L2"}, False, "no clause"),
        ({"serial": f"(01){GTIN}(21)B1(10)L1"}, True, "lot L1"),
        # what contradicts itself is for a person
        ({"product": LAPTOP, "serial": f"(01){GTIN}(21)A9"}, None, f"its code says {GTIN}"),
        ({"product": GTIN, "serial": f"(01){GTIN}(21)B1(10)L1", "lot": "L9"}, None, "says L1"),
        ({"product": GTIN, "serial": "A9, B1", "lot": "L9"}, None, "several"),
        ({"product": GTIN, "serial": "4.90154E+14", "lot": "L9"}, None, "spreadsheet"),
        ({"product": "950-6000-134352", "serial": "A9"}, None, "write 9506000134352"),
        ({"product": f"01{GTIN}", "serial": "A9"}, None, f"write {GTIN}"),
        ({"product": GTIN, "serial": "B1", "lot": "L9", "also": ["x"]}, False, "no clause"),
    ],
)
def test_what_a_line_tells_twice(
    tmp_path: Path, unit: dict[str, Any], recalled: bool | None, words: str
) -> None:
    (answer,) = answers(tmp_path, BY_SERIAL_OR_LOT, unit)
    assert answer["recalled"] is recalled, answer
    assert words in answer["why"]
    assert "also" not in answer


def test_of_many_notices_the_first_is_told_first(tmp_path: Path) -> None:
    many = [SERIALS | {"id": f"R-{n}"} for n in range(11)]
    (told,) = answers(tmp_path, many, {"product": GTIN, "serial": "A9"})
    assert [told["by"], *told["also"]] == [f"R-{n}" for n in range(11)]


def test_several_notices_one_that_means_the_unit_is_enough(tmp_path: Path) -> None:
    several = [BY_LOT, SERIALS]
    told = answers(
        tmp_path,
        several,
        {"product": GTIN, "serial": "A9"},
        {"product": GTIN, "serial": "B1"},
        {"product": GTIN, "serial": "B1", "lot": "L2"},
        {"product": GTIN, "serial": "A9", "lot": "L1"},
        {"serial": "A9", "lot": "L2"},
        {"serial": "B1", "lot": "L2"},
    )
    assert [(each["recalled"], each["by"], each.get("also")) for each in told] == [
        (True, "R-4", None),
        (None, "R-3", None),
        (False, None, None),
        (True, "R-3", ["R-4"]),
        (None, "R-4", None),
        (False, None, None),
    ]


def test_all_of_any_product_means_whatever_comes(tmp_path: Path) -> None:
    told = answers(tmp_path, [BY_LOT, ALL_OF_ANY], {"product": "PUMP-7", "serial": "1"}, {})
    assert [(each["recalled"], each["by"]) for each in told] == [(True, "R-2"), (True, "R-2")]


def test_two_notices_of_one_id_are_both_asked(tmp_path: Path) -> None:
    twice = [SERIALS, SERIALS | {"selectors": [{"kind": "prefix", "prefix": "B"}]}]
    told = answers(tmp_path, twice, *({"product": GTIN, "serial": each} for each in ("A9", "B1")))
    assert [each["recalled"] for each in told] == [True, True]


def test_a_status_does_not_matter(tmp_path: Path) -> None:
    (told,) = answers(tmp_path, SERIALS | {"status": "draft"}, {"product": GTIN, "serial": "A9"})
    assert told["recalled"] is True


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("{", "is not JSON"),
        ([], "holds no notice"),
        ([7], "notice 1: a notice is a JSON object"),
        ([SERIALS, {"id": "R-5", "selectors": []}], "notice 2: selectors: name the units"),
        (
            SERIALS
            | {"selectors": [{"kind": "range", "low": "9999999999", "high": "10000000000"}]},
            "low has 10 characters and high 11",
        ),
        (
            SERIALS | {"selectors": [{"kind": "range", "low": "A9", "high": "A1"}]},
            "low A9 is above high A1",
        ),
        (SERIALS | {"selectors": [{"kind": "lots", "lots": ["L1"]}]}, "give one of list, range"),
        (SERIALS | {"products": ["9506000134353"]}, "should end in 2"),
        ({"selectors": []}, "id"),
        ('{"id": "R-1", "selectors": [], "selectors": []}', "'selectors' stands twice"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_a_file_that_is_no_notice_is_refused(tmp_path: Path, document: Any, words: str) -> None:
    with pytest.raises(CannotMatch, match=r"notice\.json") as refused:
        load_notices(file_of(tmp_path, document))
    assert words in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CannotMatch, match="cannot be read: No such file"):
        load_notices(tmp_path / "none.json")


def test_lines_that_cannot_be_read_are_answered_and_the_others_too(tmp_path: Path) -> None:
    out = io.StringIO()
    lines = [
        b"{",
        b"\n",
        b"[1]",
        b'{"serial": "A9", "serial": "B1"}',
        b'{"serial": "\xff"}',
        b'{"product": "x-1", "serial": "A9"}',
    ]
    assert match_lines(load_notices(file_of(tmp_path, SERIALS)), lines, out) == 1
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [each["recalled"] for each in told] == [None, None, None, None, False]
    assert [each.get("line") for each in told] == [1, 3, 4, 5, None]
    assert "cannot be read" in told[0]["why"]


def run(file: Path, text: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "scantrail.cli", "recall", "match", str(file)]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)


def test_the_command(tmp_path: Path) -> None:
    done = run(file_of(tmp_path, SERIALS), f'{{"product": "{GTIN}", "serial": "A9"}}\n')
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {
        "product": GTIN,
        "serial": "A9",
        "recalled": True,
        "by": "R-4",
        "why": "serial A9 is listed, as R-4 says",
    }


def test_the_command_refuses_broken_bounds_with_the_reason(tmp_path: Path) -> None:
    broken = SERIALS | {"selectors": [{"kind": "range", "low": "1", "high": "10"}]}
    done = run(file_of(tmp_path, broken), "")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "selectors[0]: low has 1 characters and high 2" in done.stderr


def test_ten_thousand_lines_against_ten_thousand_notices_take_seconds(
    tmp_path: Path,
) -> None:
    """Each line is looked up, and not held against each notice."""
    notices = load_notices(
        file_of(
            tmp_path,
            [
                {"id": f"R-{n}", "products": [GTIN], "selectors": [
                    {"kind": "range", "low": f"{n:05}000", "high": f"{n:05}499"}]}
                for n in range(10_000)
            ],
        )
    )  # fmt: skip
    lines = [
        json.dumps({"product": GTIN, "serial": f"{n:08}"}).encode()
        for n in range(0, 10_000_000, 997)
    ]
    out = io.StringIO()
    assert match_lines(notices, lines, out) == 0
    told = [json.loads(line)["recalled"] for line in out.getvalue().splitlines()]
    assert told == [n % 1000 < 500 for n in range(0, 10_000_000, 997)]
