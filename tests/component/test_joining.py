"""Two keys of one unit, from the scan that says so to the alert, the rows and the answer."""

from dataclasses import replace
from typing import Any

from component.one_partition import (
    CARTON,
    GATE,
    REJECTED,
    UNITS,
    Record,
    Topics,
    decide,
    scanned,
)
from scantrail.contracts.records import (
    decode_state,
    encode,
    encode_link,
    encode_state,
    movements,
)
from scantrail.contracts.topics import Topic
from scantrail.domain.children import Link
from scantrail.domain.custody import UnitState, hold, rebase
from scantrail.domain.refolding import Told, refold
from scantrail.domain.scan import Scan
from scantrail.domain.vocabulary import BusinessStep, Phase
from scantrail.infra import tables
from scantrail.projector.rows import Rows, add_records

#: The recalled one, and one that was never recalled under this name.
RECALLED, OTHER = UNITS[1], "imei:35693803564380"


def joined(event_id: str, minutes: float, unit: str, into: str) -> Scan:
    desk: dict[str, Any] = {"station": "desk", "business_step": BusinessStep.INSPECTING}
    return scanned(unit, event_id, minutes, same_as=into, **desk)


def test_what_is_recalled_under_another_name_alerts_at_the_gate() -> None:
    topics = Topics().put(
        scanned(RECALLED, "r", 0, business_step=BusinessStep.RECEIVING),
        joined("j", 5, RECALLED, OTHER),
        scanned(OTHER, "s", 60, **GATE),
    )
    (alert,) = topics.track().alerts()
    assert (alert.unit, alert.event_id, alert.recall) == (OTHER, "s", "R-1")


def test_what_left_before_its_other_name_was_known_alerts_when_it_is() -> None:
    gone = Topics().put(scanned(OTHER, "s", 60, **GATE)).track()
    assert gone.alerts() == []
    gone.put(joined("j", 90, RECALLED, OTHER)).track()
    (alert,) = gone.alerts()
    assert (alert.unit, alert.event_id) == (OTHER, "s")


def test_what_left_under_the_recalled_name_alerts_under_the_other_too() -> None:
    topics = Topics().put(scanned(RECALLED, "s", 60, **GATE), joined("j", 90, RECALLED, OTHER))
    alerts = topics.track().alerts()
    assert {(alert.unit, alert.event_id) for alert in alerts} == {(RECALLED, "s"), (OTHER, "s")}
    assert len({alert.id for alert in alerts}) == 2


def test_the_scan_that_joins_is_no_unit_at_the_gate() -> None:
    at_the_gate = replace(scanned(RECALLED, "j", 5, **GATE), same_as=OTHER)
    assert Topics().put(at_the_gate).track().alerts() == []


def test_every_scan_is_in_one_history_and_the_younger_key_says_where_to_look() -> None:
    topics = Topics().put(
        scanned(OTHER, "a", 0), joined("j", 5, OTHER, RECALLED), scanned(OTHER, "b", 9)
    )
    topics.track()
    assert [(m.version, m.scan.event_id, m.outcome) for m in topics.of(OTHER)] == [
        (1, "a", "moved"),
        (2, "j", "joined"),
    ]
    assert [(m.version, m.scan.event_id, m.outcome) for m in topics.of(RECALLED)] == [
        (1, "j", "joined"),
        (2, "a", "moved"),
        (3, "b", "moved"),
    ]
    rows = Rows()
    records = [Record(n, None, encode(told)) for n, told in enumerate(topics.movements)]
    add_records(rows, Topic.MOVEMENTS, records)
    younger = dict(zip(tables.unit.columns.keys(), rows.units[OTHER], strict=True))
    assert (younger["joined"], younger["phase"]) == (RECALLED, None)
    columns = tables.movement.columns.keys()
    told = [dict(zip(columns, row, strict=True)) for row in rows.movements.values()]
    assert [(t["unit"], t["same_as"], t["forwarded_from"]) for t in told] == [
        (OTHER, None, None),
        (OTHER, RECALLED, None),
        (RECALLED, OTHER, OTHER),
        (RECALLED, None, OTHER),
        (RECALLED, None, OTHER),
    ]


def test_a_component_that_knows_the_younger_key_leaves_with_the_older() -> None:
    component = "sn:ecu.5"
    topics = Topics().put(scanned(component, "p", 0, parent=OTHER), joined("j", 5, OTHER, RECALLED))
    topics.track().put(scanned(RECALLED, "s", 60, **GATE)).track()
    current = topics.state(component).current
    assert current is not None
    assert (current.phase, current.parent) == (Phase.SHIPPED, OTHER)


def test_a_scan_that_came_through_its_own_key_is_set_aside_with_the_keys_and_holds_nobody() -> None:
    state = UnitState(OTHER, 3, 7, None, None, (), None, b"", joined=RECALLED)
    stored = {OTHER.encode(): encode_state(state)}
    scan = replace(scanned(OTHER, "a", 0), forwarded_from=(OTHER, RECALLED))
    outputs = decide([Record(8, OTHER.encode(), encode(scan))], stored)
    ((key, value, headers),) = outputs.records[REJECTED]
    assert (key, value) == (OTHER.encode(), encode(scan))
    told = {name: content.decode() for name, content in headers}
    assert told["__connect.errors.exception.class.name"] == "joined_in_a_circle"
    assert f"{OTHER} into {RECALLED} into {OTHER}" in told["__connect.errors.exception.message"]
    assert outputs.states == []


def test_a_link_for_a_key_that_was_joined_is_passed_on_once() -> None:
    state = UnitState(OTHER, 3, 7, None, None, (), None, b"", joined=CARTON)
    stored = {OTHER.encode(): encode_state(state)}
    at = scanned(OTHER, "a", 0).event_time
    link = Link(parent=OTHER, child="sn:ecu.5", version=4, since=at, until=None, record_time=at)
    record = Record(8, OTHER.encode(), encode_link(link))
    outputs = decide([record], stored)
    ((key, value, _),) = outputs.records["t.scans.v1"]
    assert (key, value) == (
        CARTON.encode(),
        encode_link(replace(link, parent=CARTON, via=OTHER, hops=1)),
    )
    stored |= dict(outputs.states)
    assert decode_state(stored[OTHER.encode()]).offset == 8
    assert decide([record], stored).records == {}


def test_a_scan_may_be_larger_once_it_is_forwarded() -> None:
    scan = scanned(OTHER, "a", 0, read="x" * 7_630)
    topics = Topics().put(joined("j", 1, OTHER, RECALLED), scan).track()
    assert len(topics.log[-1].value or b"") > 8192 > len(encode(scan))
    assert [movement.scan.event_id for movement in topics.of(RECALLED)] == ["j", "a"]
    too_large = replace(scan, event_id="b", read="x" * 8_192)
    assert reasons(too_large) == ["too_large"]


def test_one_key_too_many_is_set_aside() -> None:
    keys = tuple(f"sn:p.{n}" for n in range(65))
    notice = replace(joined("j", 1, OTHER, OTHER), forwarded_from=keys)
    assert reasons(notice) == ["too_many_keys"]


def reasons(scan: Scan) -> list[str]:
    """Why it is set aside."""
    rejected = decide([Record(0, scan.unit.encode(), encode(scan))], {}).records[REJECTED]
    told = [dict(headers)["__connect.errors.exception.class.name"] for _, _, headers in rejected]
    return [reason.decode() for reason in told]


def test_a_join_that_is_corrected_is_taken_back_with_what_is_inside() -> None:
    component = "sn:ecu.5"
    topics = Topics().put(
        scanned(component, "p", 0, parent=OTHER),
        scanned(OTHER, "a", 1),
        joined("j", 5, OTHER, RECALLED),
    )
    topics.track().put(scanned(OTHER, "c", 6, corrects="j")).track()
    assert topics.state(OTHER).joined is None
    assert topics.state(RECALLED).aliases == ()
    assert topics.of(OTHER)[-1].joined is None
    topics.put(scanned(RECALLED, "s", 60, **GATE)).track()
    inside = topics.state(component).current
    assert inside is not None
    assert inside.phase is Phase.ON_SITE, "it is not in the one that left"
    topics.put(scanned(OTHER, "t", 70, **GATE)).track()
    inside, gone = topics.state(component).current, topics.state(OTHER).current
    assert inside is not None
    assert gone is not None
    assert (inside.phase, gone.phase) == (Phase.SHIPPED, Phase.SHIPPED)


def test_a_join_that_is_taken_back_leaves_other_names() -> None:
    third = "imei:49015420323751"
    topics = Topics().put(
        joined("j", 5, OTHER, RECALLED),
        joined("k", 6, RECALLED, third),
        scanned(OTHER, "c", 7, corrects="j"),
    )
    assert topics.track().state(third).aliases == (RECALLED,)
    assert topics.state(OTHER).joined is None


def test_a_correction_of_a_join_may_come_first() -> None:
    topics = Topics().put(
        scanned(OTHER, "c", 6, corrects="j"),
        joined("j", 5, OTHER, RECALLED),
        scanned(OTHER, "a", 7),
    )
    assert [m.outcome for m in topics.track().of(OTHER)] == ["corrected", "voided", "moved"]
    assert topics.of(RECALLED) == []


def test_after_a_join_is_taken_back_a_refold_gives_the_key_its_scans_again() -> None:
    scans = [scanned(OTHER, "a", 0), scanned(OTHER, "b", 5, station="s2", business_location="s2")]
    topics = Topics().put(*scans).track()
    before = topics.state(OTHER).current
    topics.put(joined("j", 6, OTHER, RECALLED), scanned(OTHER, "c", 7, corrects="j")).track()
    assert topics.state(OTHER).current is None
    history = [Told(m.version, m.outcome, m.scan, (), ()) for m in topics.of(OTHER)]
    cause = scanned(OTHER, "refold", 8)
    seen = rebase(topics.state(OTHER), refold(topics.state(OTHER), history), cause, offset=99)
    assert seen.state.current == before


def test_a_key_is_released_once_the_scan_it_was_held_for_is_the_others() -> None:
    held = hold(None, scanned(OTHER, "x", 0), offset=0)
    stored = {OTHER.encode(): encode_state(held)}

    def take(scan: Scan, offset: int) -> Any:
        outputs = decide([Record(offset, OTHER.encode(), encode(scan))], stored)
        stored.update(dict(outputs.states))
        return outputs.records

    (told,) = take(joined("j", 5, OTHER, RECALLED), 1)["t.movements.v1"]
    assert movements.decode(told[1]).held
    again = take(scanned(OTHER, "x", 0), 2)
    (told,) = again["t.movements.v1"]
    released = movements.decode(told[1])
    assert (released.outcome, released.held, released.version) == ("released", False, 2)
    ((key, _, _),) = again["t.scans.v1"]
    assert key == RECALLED.encode()
    assert take(scanned(OTHER, "x", 0), 3).get("t.movements.v1") is None


def test_a_link_ends_in_a_circle_of_three() -> None:
    third, component = "imei:49015420323751", "sn:ecu.5"
    topics = Topics().put(
        scanned(component, "p", 0, parent=OTHER),
        joined("j", 5, OTHER, RECALLED),
        joined("k", 5, RECALLED, third),
        joined("l", 5, third, OTHER),
    )
    tracked = 0
    while topics.log[tracked:]:
        records = topics.log[tracked : tracked + 3]
        outputs = decide(records, topics.stored)
        topics.stored |= dict(outputs.states)
        for key, value, _ in outputs.records.get("t.scans.v1", []):
            topics.log.append(Record(len(topics.log), key, value))
        topics.rejected += outputs.records.get(REJECTED, [])
        tracked += outputs.taken
        assert tracked < 1_000, "it does not end"
    reasons = {
        dict(headers)["__connect.errors.exception.class.name"] for *_, headers in topics.rejected
    }
    assert reasons == {b"joined_in_a_circle"}


def test_what_left_inside_another_before_its_name_was_known_alerts_when_it_is() -> None:
    tote = "grai:95060001343580001"
    story = [scanned(OTHER, "p", 0, parent=tote), scanned(tote, "s", 60, **GATE)]
    later = [
        scanned(tote, f"t{n}", 4_000 + n * 600, station=f"q{n % 2}")  # counted, not come back
        for n in range(20)
    ]
    topics = Topics().put(*story).track().put(*later).track()
    assert topics.alerts() == []
    topics.put(joined("j", 20_000, OTHER, RECALLED)).track()
    assert {(alert.unit, alert.recall) for alert in topics.alerts()} == {(OTHER, "R-1")}


def test_a_correction_of_the_last_archived_scan_leaves_the_base_that_was_handed_over() -> None:
    counted = [
        scanned(
            OTHER,
            f"h{n}",
            300 * n,
            station=f"st{n % 2}",
            business_step=BusinessStep.CYCLE_COUNTING,
            business_location=None,
        )
        for n in range(1, 40)
    ]
    topics = Topics().put(scanned(OTHER, "p", 0, parent=CARTON), *counted).track()
    topics.put(scanned(OTHER, "c0", 12_000, corrects="h38")).track()
    base_key = topics.state(OTHER).base_key
    assert base_key is not None
    topics.put(joined("j", 12_010, OTHER, RECALLED)).track()
    topics.put(scanned(OTHER, "c", 12_020, corrects=base_key[3])).track()
    topics.put(scanned(CARTON, "s", 12_100, **GATE)).track()
    current = topics.state(RECALLED).current
    assert current is not None
    assert (current.phase, current.parent) == (Phase.SHIPPED, CARTON)
    assert [alert.unit for alert in topics.alerts()] == [RECALLED]


def test_one_key_too_many_told_the_other_way_round_still_leaves_one_that_stays() -> None:
    many = [joined(f"j{n}", n, f"sn:k.{n}", RECALLED) for n in range(64)]
    topics = Topics().put(*many).track(batch=1)
    topics.put(joined("x", 70, OTHER, RECALLED))
    topics.put(joined("y", 71, RECALLED, OTHER))
    first, second = sorted((OTHER, RECALLED))
    stored = topics.stored
    done = len(topics.log) - 2
    while topics.log[done:]:
        outputs = decide(topics.log[done : done + 1], stored)
        stored |= dict(outputs.states)
        for key, value, _ in outputs.records.get("t.scans.v1", []):
            topics.log.append(Record(len(topics.log), key, value))
        done += 1
        assert done < 1_000, "it does not end"
    assert topics.state(first).joined is None
    assert topics.state(second).joined == first


def test_what_came_while_it_was_joined_is_its_own_after_a_refold() -> None:
    topics = Topics().put(
        scanned(OTHER, "a", 0),
        joined("j", 5, OTHER, RECALLED),
        scanned(OTHER, "s", 60, **GATE),
        scanned(OTHER, "c", 70, corrects="j"),
    )
    topics.track()
    state = topics.state(OTHER)
    assert state.held_for == ("j",), "until it is refolded"
    histories = {
        unit: [Told(m.version, m.outcome, m.scan, (), ()) for m in topics.of(unit)]
        for unit in (OTHER, RECALLED)
    }
    anew = refold(state, histories[OTHER], histories[RECALLED])
    seen = rebase(state, anew, scanned(OTHER, "refold", 80), offset=99)
    assert seen.state.current is not None
    assert (seen.state.current.phase, seen.state.current.event_id) == (Phase.SHIPPED, "s")
    assert seen.state.held_for == ()


def test_full_parents_that_are_folded_anew_are_worked_on_in_parts() -> None:
    at = scanned(OTHER, "a", 0).event_time
    links = [
        Link(parent=OTHER, child=f"sn:c.{n:04}", version=1, since=at, until=at, record_time=at)
        for n in range(2_000)
    ]
    topics = Topics()
    for link in links:
        topics.log.append(Record(len(topics.log), OTHER.encode(), encode_link(link)))
    late = [scanned(OTHER, f"l{n}", 500 - n, station=f"s{n}") for n in range(100)]
    topics.put(*late)
    outputs = decide(topics.log, {})
    assert 2_000 < outputs.taken < len(topics.log)
