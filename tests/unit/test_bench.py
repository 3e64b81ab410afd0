"""The bench prints what its page documents, and runs what it is asked for."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import __main__ as bench
from bench import inventory
from bench.feed import Feed
from bench.goals import AT_LEAST, AT_MOST
from bench.measure import Measure, Part, Unfinished
from bench.registry import PARTS, names, select
from bench.workload import PATH, scans
from scantrail.contracts.identity import readings
from scantrail.contracts.records import movements
from scantrail.contracts.topics import Topic
from scantrail.infra.settings import Settings
from scantrail.projector.rows import Rows, add_records

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def test_every_name_is_documented_and_every_documented_name_is_measured() -> None:
    meanings = PAGE.read_text().partition("## What each name means")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", meanings, re.MULTILINE) == names()


def test_goals_are_those_of_the_page() -> None:
    row = r"^\| `(\w+)` \|[^|]*Goal: ([\d,.]+)(?: \S+)? at (most|least)\. \|$"
    told = re.findall(row, PAGE.read_text(), re.MULTILINE)
    for goals, word in ((AT_MOST, "most"), (AT_LEAST, "least")):
        assert {n: float(goal.replace(",", "")) for n, goal, at in told if at == word} == goals


def test_goals_that_are_missed_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"verdict_p99_ms": 10.1, "lookup_p99_ms": 10, "projector_scans_per_s": 19_999}
    measures = [Measure(name=name, value=value, unit="x") for name, value in values.items()]
    parts = [Part(names=tuple(values), run=lambda: measures)]
    monkeypatch.setattr(bench, "select", lambda prefix: parts)
    assert bench.main([]) == 0
    told = re.findall("goal missed: (.*)", capsys.readouterr().err)
    assert told == [
        "verdict_p99_ms 10.1 x: 10 at most",
        "projector_scans_per_s 19,999 x: 20,000 at least",
    ]


def test_names_are_given_once() -> None:
    assert len(set(names())) == len(names())


def test_a_prefix_selects_the_parts_that_give_such_a_name() -> None:
    assert [part.names[0] for part in select("gateway")] == [
        "gateway_http_scans_per_s",
        "gateway_tcp_scans_per_s",
        "gateway_ack_p99_ms",
    ]
    assert [part.names[0] for part in select("tracker_vs")] == ["tracker_scans_per_s"]
    assert [part.names[0] for part in select("tracker_rss")] == ["tracker_rss_mb"]
    assert [part.names[0] for part in select("tracker_t")] == ["tracker_restart_s"]
    assert [part.names[0] for part in select("scan_to_alert_p99")] == ["scan_to_movement_p50_ms"]


def test_no_prefix_selects_all_and_an_unknown_one_none() -> None:
    assert select("") == list(PARTS)
    assert select("nothing") == []


def test_a_measure_that_fails_is_named_and_the_others_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> list[Measure]:
        raise Unfinished("1 of 2 scans were done")

    good = Measure(name="good", value=1.0, unit="ms")
    parts = [Part(names=("bad",), run=fail), Part(names=("good",), run=lambda: [good])]
    monkeypatch.setattr(bench, "select", lambda prefix: parts)
    assert bench.main([]) == 1
    told = capsys.readouterr()
    assert "bench: bad: not measured: 1 of 2 scans were done\n" in told.err
    assert told.out == '{"name":"good","value":1.0,"unit":"ms","detail":{}}\n'


def test_a_prefix_of_no_measure_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["nothing"]) == 2
    assert "no measure begins with 'nothing'" in capsys.readouterr().err


def test_chosen_units_are_scanned_in_their_order_and_one_named_twice_twice() -> None:
    made = list(scans([7, 3, 7], PATH[:2]))
    assert [scan.read and scan.read[-8:] for scan in made] == [
        "00000007",
        "00000003",
        "00000007",
    ] * 2
    assert len({scan.event_id for scan in made}) == len(made)
    assert [scan.unit for scan in scans(3, PATH[:1])] == [
        scan.unit for scan in scans(range(3), PATH[:1])
    ]


@pytest.mark.parametrize("number", [0, 6, 8, 1_236, 999_999])
def test_the_rows_of_a_large_site_are_those_that_the_projector_would_write(number: int) -> None:
    last = inventory.versions(number)
    seen = {number: 0}
    rows = Rows()
    for _ in range(last):
        (moved,) = inventory.movements([number], 1, seen)[0]
        add_records(rows, Topic.MOVEMENTS, [SimpleNamespace(value=moved[1])])
    (unit,) = rows.units.values()
    told = [inventory.movement_line(number, version) for version in range(1, last + 1)]
    assert [copied(row) for row in rows.movements.values()] == told
    assert copied(unit) == inventory.unit_line(number)


def copied(row: Sequence[object]) -> str:
    """As COPY reads it."""
    shown = {None: "\\N", False: "f"}
    fields = (shown[each] if each is None or each is False else str(each) for each in row)
    return "\t".join(fields) + "\n"


def test_every_spelling_of_a_unit_of_a_large_site_names_it_or_is_its_serial() -> None:
    for number in range(40):
        for spelling in inventory.spellings(number):
            named = [each.key for each in readings(spelling)]
            second = f"imei:{spelling[:14]}"
            assert named in ([inventory.key(number)], [second], []), spelling
            assert named or spelling == inventory.serial(number)


def test_a_feed_tells_the_next_version_of_units_that_are_there_and_first_ones_of_others() -> None:
    feed = Feed(Settings(partitions=3), 1_000)
    made = [record for some in feed.make(200).values() for record in some]
    told: dict[str, list[int]] = defaultdict(list)
    for _, value, _ in made:
        movement = movements.decode(value)
        told[movement.unit].append(movement.version)
    first = {unit for unit, versions in told.items() if versions[0] == 1}
    assert (len(made), len(first), feed.new) == (200, 40, 40)
    for number, last in feed.seen.items():
        versions = told[inventory.key(number)]
        assert versions == list(range(versions[0], last + 1))
        assert versions[0] in (1, inventory.versions(number) + 1)
