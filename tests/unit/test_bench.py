"""The bench prints what its page documents, and runs what it is asked for."""

import re
from pathlib import Path

import pytest

from bench import __main__ as bench
from bench.measure import Measure, Part, Unfinished
from bench.registry import PARTS, names, select
from bench.workload import PATH, scans

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def test_every_name_is_documented_and_every_documented_name_is_measured() -> None:
    meanings = PAGE.read_text().partition("## What each name means")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", meanings, re.MULTILINE) == names()


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
