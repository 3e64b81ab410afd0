"""What the desk found becomes an alert, one for each cause."""

from dataclasses import replace
from datetime import UTC, datetime

from scantrail.domain.alert import judge, judge_finding
from scantrail.domain.finding import Finding, FindingKind, FindingStatus
from scantrail.domain.recall import Recall, Selector
from scantrail.domain.scan import Scan
from scantrail.domain.vocabulary import BusinessStep

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
UNIT = "sgtin:09506000134352.A1"
FOUND = Finding(
    id="f-1",
    kind=FindingKind.RECALLED_ALREADY_SHIPPED,
    at=NOON,
    text=f"{UNIT} is recalled (R-1: Battery) and was shipped before that",
    unit=UNIT,
    event_id="e-1",
    station="gate",
    site="north",
    recall="R-1",
)


def test_an_alert_tells_all_that_was_found() -> None:
    alert = judge_finding(FOUND)

    assert (alert.kind, alert.severity, alert.status) == (
        "recalled_already_shipped",
        "critical",
        "raised",
    )
    assert (alert.unit, alert.document, alert.recall) == (UNIT, None, "R-1")
    assert (alert.event_id, alert.station, alert.site, alert.event_time) == (
        "e-1",
        "gate",
        "north",
        NOON,
    )
    assert alert.text == FOUND.text


def test_a_recalled_unit_at_the_gate_is_one_alert_whether_a_scan_tells_or_the_desk_finds() -> None:
    scan = Scan(
        event_id="e-1",
        unit=UNIT,
        event_time=NOON,
        record_time=NOON,
        reader="r",
        sequence=1,
        station="gate",
        site="north",
        read_point="gate",
        business_step=BusinessStep.SHIPPING,
    )
    selector = Selector(kind="all")
    recall = Recall(id="R-1", title="Battery", reason="may overheat", selectors=(selector,))
    (told,) = judge(scan, (), (), [recall], visit_id="e-1", site_travel_s=0.0)

    assert judge_finding(FOUND).id == told.id
    assert judge_finding(replace(FOUND, recall="R-2")).id != told.id
    assert judge_finding(replace(FOUND, event_id="e-2")).id != told.id


def test_what_is_taken_back_withdraws_the_same_alert() -> None:
    stated, taken_back = (judge_finding(replace(FOUND, status=each)) for each in FindingStatus)

    assert taken_back == replace(stated, status=taken_back.status)
    assert taken_back.status == "withdrawn"


def test_without_a_scan_the_finding_itself_is_the_cause() -> None:
    document = replace(FOUND, unit=None, event_id=None, document="recall R-1")

    assert judge_finding(document).event_id == "f-1"
    assert judge_finding(document).document == "recall R-1"
    assert judge_finding(document).id != judge_finding(replace(document, id="f-2")).id
