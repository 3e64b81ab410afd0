"""`make audit` says plainly what it could not find out, with stand-ins for its two tools."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]


def make_audit(
    folder: Path, pip_audit: str, cyclonedx: str = "exit 0", advisories: str = ""
) -> tuple[int, str]:
    """Exit status and output, where the tools are these shell scripts."""
    tools = folder / "audit" / "bin"
    tools.mkdir(parents=True)
    for name, script in (("pip-audit", pip_audit), ("cyclonedx-py", cyclonedx)):
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)
    for made in (
        "installed",
        "audit.txt",
        "audit/.installed",
    ):  # in the order in which they are made
        (folder / made).touch()
    done = subprocess.run(
        [
            "make",
            "--no-print-directory",
            "audit",
            f"VENV={sys.prefix}",
            f"AUDIT={folder / 'audit'}",
            f"AUDIT_LOG={folder / 'audit.log'}",
            f"AUDIT_LOCK={folder / 'audit.txt'}",
            f"STAMP={folder / 'installed'}",
            f"ADVISORIES={advisories}",
        ],
        cwd=TOP,
        env={**os.environ, "MAKEFLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


HOLE = 'echo "Found 1 known vulnerability in 1 package"; echo "http 1.0 PYSEC-2099-1"; exit 1'


def test_where_nothing_is_known_it_is_green(tmp_path: Path) -> None:
    status, told = make_audit(tmp_path, "exit 0")
    assert status == 0, told
    assert told.splitlines()[-1] == "no known holes in deploy/locks"


def test_a_known_hole_is_shown_and_fails(tmp_path: Path) -> None:
    status, told = make_audit(tmp_path, HOLE)
    assert status != 0
    assert "http 1.0 PYSEC-2099-1" in told
    assert "deploy/locks/development.txt has packages with known holes" in told


@pytest.mark.parametrize(
    "error",
    [
        "ServiceError: Failed to establish a new connection",
        "ERROR: 503 Server Error from HTTP",
        "ERROR: x: Dependency not found and could not be audited: x (1.0)",
    ],
)
def test_a_database_that_cannot_be_asked_fails_with_the_reason(tmp_path: Path, error: str) -> None:
    status, told = make_audit(tmp_path, f'echo "{error}" >&2; exit 1')
    assert status != 0
    assert "nothing is known of holes in deploy/locks/development.txt" in told
    assert error in told
    assert "no known holes" not in told


def test_what_is_skipped_is_no_success() -> None:
    """A package that the database does not know would else be passed over with a warning."""
    assert "pip-audit --strict " in (TOP / "Makefile").read_text()


def test_advisories_of_a_folder_are_asked_and_told(tmp_path: Path) -> None:
    known = tmp_path / "known ones"
    known.mkdir()
    (known / "one.json").write_text(
        '{"id": "A", "modified": "2024-02-03T04:05:06Z", "affected": []}'
    )
    asked = tmp_path / "asked"
    status, told = make_audit(tmp_path, f'echo "$@" >> "{asked}"', advisories=str(known))
    assert status == 0, told
    assert told.count(f"1 advisories of {known}, the newest of 2024-02-03") == 1
    assert told.splitlines()[-1] == "no known holes in deploy/locks"
    lines = asked.read_text().splitlines()
    assert len(lines) == 3
    assert all("--strict" in line and "--osv-url http://127.0.0.1:" in line for line in lines)
    assert [line.rsplit("/")[-1] for line in lines] == ["development.txt", "bench.txt", "audit.txt"]


def test_advisories_that_are_missing_fail_with_the_reason(tmp_path: Path) -> None:
    status, told = make_audit(tmp_path, "exit 0", advisories=str(tmp_path / "none"))
    assert status != 0
    assert "none is neither a folder nor a zip file" in told
    assert "no known holes" not in told


def test_a_list_of_parts_that_cannot_be_written_fails(tmp_path: Path) -> None:
    status, told = make_audit(tmp_path, "exit 0", "exit 3")
    assert status != 0
    assert "dist/sbom.cdx.json could not be written" in told
