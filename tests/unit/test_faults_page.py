"""docs/faults.md against what `make test-faults` runs."""

import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from faults.catalogue import FAULTS
from faults.checker import INVARIANTS
from faults.mutants import MUTANTS
from faults.proofs import BESIDE, PROOFS, TOP, Proof, Proving

PAGE = (TOP / "docs" / "faults.md").read_text()
#: of each row the numbers of its faults, and where they are made
ROWS = [
    (re.findall(r"F\d+", fault), where)
    for fault, _, where in re.findall(
        r"^\| (F\d+[^|]*) \| ([^|]*) \| ([^|]*) \|$", PAGE, re.MULTILINE
    )
]
PLACES = {number: where for numbers, where in ROWS for number in numbers}


def test_what_stands_in_the_table_is_made_there() -> None:
    told = {number for number, where in PLACES.items() if "`faults`" in where}
    assert told == {fault.number for fault in FAULTS} | {"F22", "F23"}  # these are in every load


@pytest.mark.parametrize("number", PLACES)
def test_the_tests_that_a_row_names_are_those_that_are_run(number: str) -> None:
    named = {name for name in re.findall(r"`([^`]*\.py)`", PLACES[number])}
    run = {Path(each.partition("::")[0]).name for each in _tests_of(number)}
    assert named == run


def _tests_of(number: str) -> tuple[str, ...]:
    return next((proof.tests for proof in PROOFS if proof.number == number), ())


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: proof.number or "checker")
def test_each_test_that_is_to_run_is_there(proof: Proof) -> None:
    for each in proof.tests:
        file, _, begin = each.partition("::")
        text = (TOP / file).read_text()
        assert re.search(rf"^(async )?def {begin or 'test_'}", text, re.MULTILINE), each


@pytest.mark.parametrize(
    ("outcomes", "is_proved"),
    [
        ([("call", "passed")], True),
        ([], False),
        ([("call", "skipped")], False),
        ([("call", "passed"), ("call", "failed")], False),
        ([("call", "passed"), ("teardown", "failed")], False),
    ],
    ids=["passed", "none", "skipped", "one failed", "after it"],
)
def test_a_fault_is_proved_where_tests_of_it_ran_and_none_failed(
    outcomes: list[tuple[str, str]], is_proved: bool
) -> None:
    proof = Proof("F0", "a fault", ("tests/unit/test_x.py::test_of_it",))
    proving = Proving([proof])
    for begin, all_outcomes in (("test_of_it", outcomes), ("test_other", [("call", "failed")])):
        for when, outcome in all_outcomes:
            report: Any = SimpleNamespace(
                nodeid=f"tests/unit/test_x.py::{begin}[1]",
                when=when,
                skipped=outcome == "skipped",
                failed=outcome == "failed",
                duration=1.0,
            )
            proving.pytest_runtest_logreport(report)
    assert proving.is_proved(proof) == is_proved
    assert proving.line(proof).endswith("BROKEN") != is_proved


class _Conftest:
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        pass


def test_tests_of_several_folders_are_noted_together() -> None:
    """For a test pytest leaves out the conftest of other folders, and asks which plugin is one."""
    plugins = pytest.PytestPluginManager()
    plugins.register(Proving([]))
    conftest = _Conftest()
    plugins.register(conftest)
    plugins.subset_hook_caller("pytest_runtest_logreport", [conftest])


def test_every_file_with_a_long_form_is_run() -> None:
    run = {each.partition("::")[0] for proof in PROOFS for each in proof.tests} | set(BESIDE)
    is_long = re.compile(r"mark\.long\b|long_form: bool")
    files = (path.relative_to(TOP) for path in (TOP / "tests").glob("*/test_*.py"))
    long = {str(file) for file in files if is_long.search((TOP / file).read_text())}
    assert long - run - {str(Path(__file__).relative_to(TOP))} == set()


def test_page_and_checker_name_every_invariant() -> None:
    rows = re.findall(r"^\| ([IL]\d) \|", PAGE, re.MULTILINE)
    assert rows == list(INVARIANTS)
    checker = (TOP / "tests" / "faults" / "checker.py").read_text()
    named = Counter(re.findall(r'"([IL]\d)"', checker))
    # in the list itself, and where it is found broken
    assert [each for each in INVARIANTS if named[each] < 2] == []


def test_the_page_names_every_mutant_and_what_the_checker_counts() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]* \| ([^|]*) \|$", PAGE, re.MULTILINE))
    assert rows == {name: ", ".join(mutant.breaks) for name, mutant in MUTANTS.items()}


def test_the_page_tells_which_faults_always_last_as_long_as_the_list_says() -> None:
    _, _, table = PAGE.partition("| always in full | how long |")
    told = re.findall(r"^\| (F\d+) ([^|]*) \| [^|]* \|$", table.partition("\n\n")[0], re.MULTILINE)
    assert set(told) == {(fault.number, fault.name) for fault in FAULTS if fault.in_full}


def test_what_was_measured_is_what_is_made() -> None:
    measured = re.findall(r"^\| (F\d+) ([^|(]*?)(?: \([^|]*)? \| [\d,]+ \|", PAGE, re.MULTILINE)
    in_long = ("F33", "the same, and is taken back")
    assert {*measured} - {in_long} == {(fault.number, fault.name) for fault in FAULTS}
