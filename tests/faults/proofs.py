"""The faults that are made by tests: runs these in their long form, and prints a table.

`python -m faults.proofs [F2 F31 …]`; what else pytest is told comes behind `--`.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Proof:
    """`number`: of the fault, as docs/faults.md has it; `tests`: files of tests that make it, or
    how the ids of some of their tests begin."""

    number: str
    name: str
    tests: tuple[str, ...]


_TRACKER = "tests/integration/test_tracker_edge.py"
_PROJECTOR = "tests/integration/test_projector_edge.py"
_OUTAGE = "tests/integration/test_gateway_outage.py"
_REBUILD = "tests/integration/test_rebuild_edge.py"
_VERDICT = "tests/integration/test_verdict_edge.py"

PROOFS = (
    Proof(
        "",
        "the checker, by processes that err",
        (
            "tests/component/test_checker.py",
            "tests/component/test_fault_load.py",
            "tests/system/test_mix.py",
        ),
    ),
    Proof("F1", "processes die", ("tests/system/test_faults.py", _TRACKER)),
    Proof(
        "F2",
        "they die between two steps",
        (
            f"{_TRACKER}::test_killed_between_any_two_steps",
            f"{_TRACKER}::test_killed_after_states_were_written",
            "tests/integration/test_outbox_edge.py",
            f"{_REBUILD}::test_killed_at_any_step",
            f"{_REBUILD}::test_scans_that_come_meanwhile",
        ),
    ),
    Proof(
        "F3",
        "a paused tracker returns",
        (
            f"{_TRACKER}::test_paused_beyond_its_session",
            f"{_TRACKER}::test_what_an_overtaken_tracker_writes",
            "tests/simulation/test_tracker_order.py",
        ),
    ),
    Proof(
        "F4",
        "trackers come and go",
        (
            f"{_TRACKER}::test_a_second_tracker_joins",
            f"{_TRACKER}::test_two_trackers_join",
            f"{_TRACKER}::test_a_batch_in_parts",
        ),
    ),
    Proof(
        "F5",
        "a store is lost, or its bytes flipped",
        (f"{_TRACKER}::test_on_an_empty_disk", f"{_TRACKER}::test_on_a_disk_whose_bytes"),
    ),
    Proof(
        "F7", "of three brokers one dies, and all", ("tests/integration/test_kafka_watch_edge.py",)
    ),
    Proof("F11", "Kafka is away for minutes", (f"{_OUTAGE}::test_what_is_accepted_while",)),
    Proof(
        "F14",
        "no room for spool, questions, rows",
        (
            f"{_OUTAGE}::test_a_full_disk",
            f"{_VERDICT}::test_a_full_disk",
            f"{_REBUILD}::test_a_full_disk",
        ),
    ),
    Proof(
        "F17",
        "PostgreSQL dies, connections end",
        (f"{_PROJECTOR}::test_postgresql_is_killed", f"{_PROJECTOR}::test_a_connection_lost"),
    ),
    Proof(
        "F18",
        "PostgreSQL is restored to an older state",
        (
            f"{_PROJECTOR}::test_a_database_restored",
            "tests/system/test_backup.py",
            "tests/integration/test_taking_over_edge.py",
        ),
    ),
    Proof(
        "F20",
        "two projectors on one partition",
        (
            f"{_PROJECTOR}::test_a_projector_whose_offset",
            f"{_PROJECTOR}::test_of_two_writers",
            f"{_PROJECTOR}::test_two_writers_at_once",
        ),
    ),
    Proof(
        "F22",
        "late, in any order",
        ("tests/simulation/test_folds.py", "tests/unit/test_custody_properties.py"),
    ),
    Proof(
        "F23",
        "clocks that are off",
        ("tests/component/test_intake.py", "tests/unit/test_custody_properties.py"),
    ),
    Proof(
        "F24",
        "malformed bytes, bodies and records",
        (
            "tests/contract/test_schemas.py",
            "tests/unit/test_generic_decoder.py",
            "tests/unit/test_impinj_decoder.py",
            "tests/unit/test_zebra_decoder.py",
            "tests/unit/test_osip_decoder.py",
            "tests/unit/test_text_decoder.py",
            "tests/unit/test_written_forms.py",
            "tests/integration/test_gateway_hostile.py",
            f"{_TRACKER}::test_what_is_no_scan",
        ),
    ),
    Proof("F25", "the code fails on a scan", ("tests/component/test_tracking.py",)),
    Proof("F27", "memory while Kafka stands still", (f"{_OUTAGE}::test_memory_is_bounded",)),
    Proof(
        "F29",
        "a recall races with shipping",
        (
            "tests/simulation/test_recall_race.py",
            "tests/integration/test_recall_looks_edge.py",
            "tests/integration/test_recalls_edge.py::test_serials_of_twenty_characters",
        ),
    ),
    Proof(
        "F30",
        "what is stopped, and a conveyor's link",
        ("tests/integration/test_monitoring_edge.py", _VERDICT, "tests/component/test_verdicts.py"),
    ),
    Proof(
        "F31",
        "passwords and certificates",
        (
            "tests/integration/test_secure_edge.py",
            "tests/integration/test_secure_cluster_edge.py",
        ),
    ),
    Proof(
        "F32",
        "a station floods, or has another's name",
        (
            "tests/unit/test_guards.py",
            "tests/component/test_ingest_http.py",
            "tests/component/test_tcp.py",
            "tests/component/test_certified_readers.py",
        ),
    ),
    Proof(
        "F33", "a migration while all is used", ("tests/integration/test_online_migration_edge.py",)
    ),
)

#: Beside the faults: what is erased is looked for in every file.
BESIDE = ("tests/system/test_personal_data.py",)

HEAD = f"{'':4} {'fault made by tests':40} {'tests':>6} {'failed':>7} {'took':>9}"


@dataclass(slots=True)
class _Row:
    tests: int = 0
    failed: int = 0
    took_s: float = 0.0


@dataclass(slots=True, eq=False)  # each is itself: pytest keeps plugins by their hashes
class Proving:
    """A plugin of pytest: of the files that it reads only the tests of these proofs are run, and
    what became of them is noted."""

    proofs: Sequence[Proof]
    beside: tuple[str, ...] = ()
    rows: dict[str, _Row] = field(default_factory=dict)

    def files(self) -> list[str]:
        """What pytest is to read."""
        begins = [each for proof in self.proofs for each in proof.tests] + list(self.beside)
        return list(dict.fromkeys(str(TOP / each.partition("::")[0]) for each in begins))

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        begins = tuple(each for proof in self.proofs for each in proof.tests) + self.beside
        left_out = [item for item in items if not item.nodeid.startswith(begins)]
        items[:] = [item for item in items if item.nodeid.startswith(begins)]
        config.hook.pytest_deselected(items=left_out)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for proof in self.proofs:
            if report.nodeid.startswith(proof.tests):
                row = self.rows.setdefault(proof.number, _Row())
                row.tests += report.when == "call" and not report.skipped
                row.failed += report.failed
                row.took_s += report.duration

    def is_proved(self, proof: Proof) -> bool:
        """Whether tests of it ran, and none failed."""
        row = self.rows.get(proof.number, _Row())
        return row.tests > 0 and not row.failed

    def line(self, proof: Proof) -> str:
        """For the table."""
        row = self.rows.get(proof.number, _Row())
        word = "" if self.is_proved(proof) else "  <- BROKEN"
        return (
            f"{proof.number:4} {proof.name:40} {row.tests:6} {row.failed:7}"
            f" {row.took_s:7.0f} s{word}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where no test failed, and each fault had one."""
    told = list(sys.argv[1:] if arguments is None else arguments)
    place = told.index("--") if "--" in told else len(told)
    only, more = told[:place], told[place + 1 :]
    if unknown := set(only) - {proof.number for proof in PROOFS}:
        print(f"no test makes {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    begin = time.monotonic()
    proofs = [proof for proof in PROOFS if not only or proof.number in only]
    proving = Proving(proofs, () if only else BESIDE)
    status = pytest.main(["--long", "-q", *more, *proving.files()], plugins=[proving])
    print("\n".join([HEAD, *map(proving.line, proofs)]))
    broken = sum(not proving.is_proved(proof) for proof in proofs)
    minutes = (time.monotonic() - begin) / 60
    print(f"{len(proofs)} faults by tests, {broken} broken, {minutes:.0f} minutes")
    return 1 if broken or status != pytest.ExitCode.OK else 0


if __name__ == "__main__":
    sys.exit(main())
