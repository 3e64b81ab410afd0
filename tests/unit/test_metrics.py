"""How old a scan is told to be, and which counts are there from 0 on."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from scantrail.contracts.ages import read_at
from scantrail.contracts.captured import CAPTURE_READER
from scantrail.contracts.corrections import CORRECTION_READER
from scantrail.contracts.stock import STOCK_READER
from scantrail.contracts.topics import Topic
from scantrail.domain.custody import Outcome
from scantrail.domain.scan import Origin, Scan
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra.database import connect_database
from scantrail.infra.settings import Settings
from scantrail.projector.writing import TOPICS, Writer
from scantrail.tracker.app import REASONS, Tracking
from scantrail.tracker.failures import FailureLimit

TOP = Path(__file__).parents[2]
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SCAN = Scan(
    event_id="e1",
    unit="sgtin:09506000134352.1",
    event_time=NOON,
    record_time=NOON + timedelta(minutes=7),
    reader="dock-reader",
    sequence=1,
    station="dock",
    site="home",
    read_point="dock",
    business_step=BusinessStep.RECEIVING,
)


def test_a_scan_is_as_old_as_the_device_says_unless_its_clock_is_off() -> None:
    assert read_at(SCAN) == NOON
    assert read_at(replace(SCAN, clock_skew_s=-4e6)) == SCAN.record_time


@pytest.mark.parametrize("reader", [CAPTURE_READER, CORRECTION_READER, STOCK_READER, "refold"])
def test_what_no_device_has_just_read_has_no_age(reader: str) -> None:
    assert read_at(replace(SCAN, reader=reader)) is None


def test_what_is_inside_has_no_age_of_its_own() -> None:
    assert read_at(replace(SCAN, derived_from=Origin(unit="sscc:1", event_id="e0"))) is None


def test_every_reason_and_outcome_of_the_tracker_is_counted_from_0_on(tmp_path: Path) -> None:
    Tracking("t", FailureLimit(tmp_path, "1"))
    told = (TOP / "schemas" / "scans.rejected" / "README.md").read_text()
    assert set(REASONS) == set(re.findall(r"^\| `([a-z0-9_]+)` \| ", told, re.MULTILINE))
    for reason in REASONS:
        labels = {"topic": "scans.rejected", "reason": reason}
        assert REGISTRY.get_sample_value("scantrail_rejected_total", labels) is not None
    for outcome in Outcome:
        labels = {"process": "tracker", "result": outcome.value}
        assert REGISTRY.get_sample_value("scantrail_scans_processed_total", labels) is not None


def test_what_the_projector_sets_aside_is_counted_from_0_on_for_each_topic() -> None:
    Writer(connect_database(Settings()), {topic.value: topic for topic in TOPICS})
    assert Topic.ALERTS in TOPICS
    for topic in TOPICS:
        for reason in ("unreadable", "refused_by_database"):
            labels = {"topic": topic.value, "reason": reason}
            assert REGISTRY.get_sample_value("scantrail_rejected_total", labels) is not None
