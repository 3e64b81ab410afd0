"""`make audit ADVISORIES=…`: known holes from files, asked like OSV's own address."""

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.version import Version

SCRIPT = Path(__file__).parents[2] / "deploy" / "advisories.py"


def the_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("advisories", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


advisories = the_script()


def hole(name: str = "left-pad", **affected: Any) -> dict[str, Any]:
    return {
        "id": "PYSEC-2099-1",
        "modified": "2099-03-01T00:00:00Z",
        "affected": [{"package": {"ecosystem": "PyPI", "name": name}, **affected}],
    }


def between(*events: tuple[str, str]) -> dict[str, Any]:
    return {"ranges": [{"type": "ECOSYSTEM", "events": [{what: at} for what, at in events]}]}


@pytest.mark.parametrize(
    ("affected", "inside", "outside"),
    [
        ({"versions": ["1.0", "1.1rc1"]}, ["1.0", "1.0.0", "1.1rc1"], ["1.1", "0.9"]),
        (between(("introduced", "0"), ("fixed", "2.1")), ["0.0.dev1", "2.0", "2.1rc1"], ["2.1"]),
        (between(("introduced", "1"), ("last_affected", "1.5")), ["1", "1.5"], ["0.9", "1.5.1"]),
        (between(("introduced", "1")), ["1", "99"], ["0.9"]),
        (
            between(("fixed", "3.2"), ("introduced", "3"), ("fixed", "1.4"), ("introduced", "1")),
            ["1", "1.3", "3.1"],
            ["0.1", "1.4", "2.0", "3.2"],
        ),
        (between(("introduced", "1"), ("fixed", "1.2"), ("introduced", "1.2")), ["1.2"], ["0.9"]),
        ({"ranges": [{"type": "GIT", "events": [{"introduced": "0"}]}]}, [], ["1.0"]),
        ({"versions": ["2004d"]}, [], ["2004"]),
    ],
)
def test_versions_are_held_against_lists_and_ranges(
    affected: dict[str, Any], inside: list[str], outside: list[str]
) -> None:
    assert [each for each in inside if not advisories.holds(affected, Version(each))] == []
    assert [each for each in outside if advisories.holds(affected, Version(each))] == []


def test_a_package_is_found_under_every_spelling_and_no_other_registry_s() -> None:
    known = advisories.Advisories([hole("Left_Pad", versions=["1.0"])])
    assert [each["id"] for each in known.query("left-pad", "1.0")] == ["PYSEC-2099-1"]
    assert known.query("right-pad", "1.0") == []
    foreign = hole(versions=["1.0"])
    foreign["affected"][0]["package"]["ecosystem"] = "npm"
    assert advisories.Advisories([foreign]).query("left-pad", "1.0") == []


def test_a_folder_of_json_and_yaml_and_a_zip_file_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "vulns" / "left-pad"
    folder.mkdir(parents=True)
    (folder / "one.json").write_text(json.dumps(hole(versions=["1.0"])))
    (folder / "two.yaml").write_text(
        "id: PYSEC-2099-2\nmodified: 2099-03-02T00:00:00Z\naffected:\n"
        "- package: {ecosystem: PyPI, name: left-pad}\n  versions: ['1.0']\n"
    )
    (tmp_path / ".github").mkdir()
    (tmp_path / ".github" / "not.yaml").write_text("[")
    (tmp_path / "README.md").write_text("#")
    (tmp_path / "settings.yaml").write_text("a: 1\n")
    read = advisories.read(tmp_path)
    assert (read.count, read.newest) == (2, datetime(2099, 3, 2, tzinfo=UTC))
    assert len(read.query("left-pad", "1.0")) == 2

    packed = tmp_path / "all.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(folder / "one.json", "one.json")
    assert advisories.read(packed).count == 1


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("one.json", "{", "one.json is no advisory in the OSV format"),
        ("one.yaml", "a: [", "one.yaml is no advisory in the OSV format"),
        ("one.json", '{"id": "A", "affected": [{}]}', "one.json is no advisory"),
        ("one.json", '{"id": "A", "affected": [], "modified": "?"}', "one.json is no advisory"),
        ("one.json", '{"id": "A"}', "has no advisories: give a folder or a zip file of OSV's"),
        ("one.txt", "", "has no advisories"),
    ],
)
def test_what_is_no_advisory_is_named(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=told):
        advisories.read(tmp_path)


def test_old_ones_are_said_to_be_old() -> None:
    known = advisories.Advisories([hole(versions=["1.0"])])
    now = datetime(2099, 3, 31, tzinfo=UTC)
    assert advisories.told(known, "here", now) == "1 advisories of here, the newest of 2099-03-01"
    later = advisories.told(known, "here", datetime(2099, 4, 1, tzinfo=UTC))
    assert "31 days old, without the holes that were found since: bring newer ones" in later


ASKS = """
import json, sys, urllib.request
for version in ("1.0", "2.0"):
    asked = {"package": {"name": "left-pad", "ecosystem": "PyPI"}, "version": version}
    with urllib.request.urlopen(sys.argv[1], json.dumps(asked).encode()) as answer:
        print(version, [each["id"] for each in json.load(answer).get("vulns", [])])
sys.exit(7)
"""


def run(*arguments: str) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, (done.stdout + done.stderr).splitlines()


def test_the_command_asks_and_its_status_is_told(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(json.dumps(hole(versions=["1.0"])))
    status, lines = run(str(tmp_path), sys.executable, "-c", ASKS, "OSV_URL")
    assert (status, lines[1:]) == (7, ["1.0 ['PYSEC-2099-1']", "2.0 []"])


def test_where_they_cannot_be_read_nothing_runs(tmp_path: Path) -> None:
    status, lines = run(str(tmp_path / "none"), "touch", str(tmp_path / "ran"))
    assert status == 2
    assert lines == [
        f"advisories: {tmp_path / 'none'} is neither a folder nor a zip file: "
        "give one with OSV's advisories for PyPI"
    ]
    assert os.listdir(tmp_path) == []
