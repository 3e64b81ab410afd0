"""What is packed moves, and alerts, with its carton: the tracker's and the alerter's decisions over
records, with a topic in between that keeps each unit's in order."""

from dataclasses import replace

from component.one_partition import (
    CARTON,
    GATE,
    MOVEMENTS,
    NOON,
    REJECTED,
    SCANS,
    UNITS,
    Record,
    Topics,
    decide,
    packed,
    scanned,
)
from scantrail.api.days import Days
from scantrail.api.pages.find import sentence
from scantrail.api.pages.frame import Times
from scantrail.contracts.records import (
    decode_link,
    decode_scan,
    encode,
    encode_link,
    encode_state,
    is_link,
)
from scantrail.contracts.topics import Topic
from scantrail.domain.children import CHILDREN_MAX, DEPTH_MAX, Link
from scantrail.domain.custody import Child, UnitState
from scantrail.domain.scan import Origin
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra import tables
from scantrail.projector.rows import Rows, add_records

SHIPPED = scanned(CARTON, "s", 60, **GATE)


def test_a_carton_that_is_shipped_takes_its_units_along_and_the_recalled_one_alerts() -> None:
    topics = Topics().put(*(packed(n) for n in range(3))).track().put(SHIPPED).track()
    for unit in UNITS:
        first, then = topics.of(unit)
        assert (first.version, then.version) == (1, 2)
        assert then.scan.derived_from == Origin(unit=CARTON, event_id="s", depth=1)
        assert then.scan.record_time == SHIPPED.record_time
        assert then.after
        assert (then.after.phase, then.after.order, then.after.parent) == (
            "shipped",
            "SO-1",
            CARTON,
        )
    assert [m.version for m in topics.of(CARTON)] == [1]
    (alert,) = topics.alerts()
    assert (alert.unit, alert.kind, alert.recall) == (UNITS[1], "recalled_at_shipping", "R-1")
    assert topics.rejected == []


def test_the_same_records_in_the_other_order_end_the_same() -> None:
    topics = Topics().put(SHIPPED).track().put(*(packed(n) for n in range(3))).track()
    assert [len(topics.of(unit)) for unit in UNITS] == [2, 2, 2]
    assert [alert.unit for alert in topics.alerts()] == [UNITS[1]]


def test_what_was_taken_out_before_raises_no_alert_until_a_late_packing_says_it_was_inside() -> (
    None
):
    out = scanned(UNITS[1], "u", 30, business_step=BusinessStep.UNPACKING)
    topics = Topics().put(packed(1), out, SHIPPED).track(batch=9)
    assert [m.outcome for m in topics.of(UNITS[1])] == ["moved", "moved", "not_inside"]
    assert topics.alerts() == []
    topics.put(packed(1, "again", 40)).track()
    last = topics.of(UNITS[1])[-1]
    assert last.outcome == "late"
    assert last.after
    assert last.after.phase == "shipped"
    (alert,) = topics.alerts()
    assert (alert.unit, alert.station) == (UNITS[1], "gate")
    assert alert.event_time == SHIPPED.event_time


def test_a_shipping_that_is_corrected_is_corrected_for_what_is_inside() -> None:
    correction = scanned(CARTON, "c", 90, corrects="s")
    topics = Topics().put(packed(0)).track().put(SHIPPED).track().put(correction).track()
    last = topics.of(UNITS[0])[-1]
    assert last.outcome == "corrected"
    assert last.after
    assert (last.after.phase, last.after.parent) == ("on_site", CARTON)


def test_what_is_packed_while_its_carton_stands_at_the_gate_leaves_with_it() -> None:
    """The next read there is a repeat for the carton, and news for what came inside since."""
    gate = {"station": "gate-1", "business_step": BusinessStep.SHIPPING, "repeat_window_s": 600.0}
    first = scanned(CARTON, "g1", 10, business_location=None, **gate)
    packed = [
        scanned(unit, f"p-{unit}", minutes, parent=CARTON)
        for unit, minutes in zip(UNITS, (5, 12, 30), strict=True)
    ]
    again = scanned(CARTON, "g2", 15, business_location=None, **gate)
    for arrivals in ((first, *packed, again), (again, *reversed(packed), first)):
        topics = Topics().put(*arrivals).track()
        phases = [topics.state(unit).current.phase for unit in UNITS]  # type: ignore[union-attr]
        assert phases == ["shipped", "shipped", "on_site"]
        assert {alert.unit for alert in topics.alerts()} == {UNITS[1]}


def test_a_late_scan_that_goes_right_into_the_base_takes_the_units_along() -> None:
    topics = Topics().put(scanned(UNITS[1], "p", 0, parent=CARTON)).track()
    counts = [
        scanned(CARTON, f"c{n}", 60 * 24 * n, business_step=BusinessStep.CYCLE_COUNTING, sequence=n)
        for n in range(1, 17)
    ]
    topics.put(*counts).track()
    assert topics.state(CARTON).base is None
    out = {"station": "gate-1", "business_step": BusinessStep.SHIPPING, "business_location": None}
    topics.put(scanned(CARTON, "out", 600, **out)).track()
    assert topics.state(CARTON).base is not None
    assert [m.scan.station for m in topics.of(UNITS[1])][-1] == "gate-1"
    told = {(alert.kind, alert.unit) for alert in topics.alerts()}
    assert told == {("recalled_at_shipping", UNITS[1]), ("counted_away", CARTON)}


def test_a_packing_that_goes_right_into_the_base_reveals_what_came_before_it() -> None:
    unit, out = UNITS[1], {"station": "gate-1", "business_location": None}
    origin = Origin(unit=CARTON, event_id="out", depth=1)
    topics = Topics().put(
        scanned(unit, "d", 600, business_step=BusinessStep.SHIPPING, derived_from=origin, **out),
        scanned(unit, "e", 660, business_step=BusinessStep.DEPARTING, derived_from=origin, **out),
    )
    counts = [
        scanned(unit, f"c{n}", 60 * 24 * n, business_step=BusinessStep.CYCLE_COUNTING, sequence=n)
        for n in range(5, 20)
    ]
    topics.put(*counts).track()
    assert topics.alerts() == []
    assert topics.state(unit).base is None
    topics.put(scanned(unit, "p", 540, parent=CARTON)).track()
    assert topics.state(unit).base is not None
    recalled = [alert for alert in topics.alerts() if alert.kind == "recalled_at_shipping"]
    assert {(alert.unit, alert.event_id) for alert in recalled} == {(unit, "d"), (unit, "e")}


def test_links_and_derived_scans_name_their_units_in_key_and_headers() -> None:
    topics = Topics().put(packed(0))
    first = decide(topics.log, {})
    ((key, value, headers),) = first.records[SCANS]
    assert is_link(value)
    link = decode_link(key, value)
    assert (link.child, link.version, link.until) == (UNITS[0], 1, None)
    assert dict(headers)["ce_subject"] == CARTON.encode()
    topics.track().put(SHIPPED)
    second = decide(topics.log[-1:], topics.stored)
    ((key, value, headers),) = second.records[SCANS]
    assert decode_scan(key, value).unit == UNITS[0]
    assert dict(headers)["ce_type"] == b"scantrail.scan.v1"
    assert dict(headers)["ce_id"] == decode_scan(key, value).event_id.encode()


def test_a_scan_without_parents_and_children_sends_nothing_into_scans() -> None:
    topics = Topics().put(SHIPPED, scanned(UNITS[0], "e", 0))
    assert set(decide(topics.log, {}).records) == {MOVEMENTS}


def test_a_carton_that_is_full_sets_the_next_unit_aside_and_says_so() -> None:
    children = tuple(Child(f"sn:p.{n:05}", 1, NOON, None) for n in range(CHILDREN_MAX))
    full = UnitState(CARTON, 0, 0, None, None, (), None, b"", children=children)
    link = Link(parent=CARTON, child=UNITS[0], version=1, since=NOON, until=None, record_time=NOON)
    record = Record(9, CARTON.encode(), encode_link(link))
    outputs = decide([record], {CARTON.encode(): encode_state(full)})
    ((key, value, headers),) = outputs.records[REJECTED]
    assert (key, value) == (record.key, record.value)
    told = dict(headers)
    assert told["__connect.errors.exception.class.name"] == b"too_many_children"
    assert UNITS[0].encode() in told["__connect.errors.exception.message"]
    assert outputs.states == []


def test_what_is_no_link_and_a_state_that_cannot_be_read_hold_up_nothing() -> None:
    bad = Record(0, CARTON.encode(), b'{"type":"link"}')
    outputs = decide([bad], {})
    assert dict(outputs.records[REJECTED][0][2])["__connect.errors.exception.class.name"] == (
        b"not_a_link"
    )
    topics = Topics().put(packed(0)).track()
    outputs = decide([topics.log[1]], {CARTON.encode(): b"\xc1"})
    assert dict(outputs.records[REJECTED][0][2])["__connect.errors.exception.class.name"] == (
        b"code_failed"
    )
    assert outputs.states == []


def test_a_run_of_full_cartons_is_decided_in_parts() -> None:
    children = tuple(Child(f"sn:p.{n:05}", 1, NOON, None) for n in range(CHILDREN_MAX))
    full = UnitState(CARTON, 0, -1, None, None, (), None, b"", children=children)
    scans = [replace(SHIPPED, event_id=f"s{n}", station=f"gate-{n}") for n in range(9)]
    records = [Record(n, CARTON.encode(), encode(scan)) for n, scan in enumerate(scans)]
    outputs = decide(records, {CARTON.encode(): encode_state(full)})
    assert outputs.taken == 3
    assert len(outputs.records[SCANS]) == 3 * CHILDREN_MAX
    assert len(outputs.records[MOVEMENTS]) == 3
    rest = decide(records[3:], dict(outputs.states))
    assert (rest.taken, len(rest.records[MOVEMENTS])) == (3, 3)


def test_the_rows_and_the_sentence_say_inside_what_it_is() -> None:
    topics = Topics().put(packed(0)).track().put(SHIPPED).track()
    rows = Rows()
    records = [Record(n, None, encode(told)) for n, told in enumerate(topics.movements)]
    add_records(rows, Topic.MOVEMENTS, records)
    told = {
        name: dict(zip(table.columns.keys(), row, strict=True))
        for name, table, row in [
            ("unit", tables.unit, rows.units[UNITS[0]]),
            *(
                (row[1], tables.movement, row)
                for row in rows.movements.values()
                if row[0] == UNITS[0]
            ),
        ]
    }
    unit, packing = told.pop("unit"), told.pop("p0")
    (shipping,) = told.values()
    assert (packing["parent"], packing["derived_from"]) == (CARTON, None)
    assert (shipping["derived_from"], shipping["derived_event_id"]) == (CARTON, "s")
    assert unit["parent"] == CARTON
    shown = {
        **unit,
        "custody": unit["possessing_party"],
        "order": unit["order_ref"],
        "purchaser": None,
    }
    assert sentence(shown, Times(Days({}))) == (
        "Shipped on Thursday 1 January 2026, 13:00 UTC, order SO-1, inside"
        f" {CARTON}; in custody of haul."
    )


def test_below_the_last_level_nothing_follows() -> None:
    deep = replace(SHIPPED, derived_from=Origin(unit="sscc:9", event_id="x", depth=DEPTH_MAX))
    into = scanned(CARTON, "q", 30, parent="sscc:9")
    topics = Topics().put(packed(0), into).track().put(deep).track()
    assert topics.of(CARTON)[-1].outcome == "moved"
    assert len(topics.of(UNITS[0])) == 2, "packed, and taken along to where the carton was packed"
