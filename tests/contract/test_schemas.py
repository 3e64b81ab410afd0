"""`schemas/` against the code: what one accepts the other accepts, and what one refuses too.

The folders are what everybody else reads of us, so they are tested as code is.
"""

import copy
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError

from scantrail.contracts import records
from scantrail.contracts.records import (
    REFOLD_BYTES_MAX,
    FactRecord,
    Movement,
    Place,
    RejectedRead,
    Revealed,
    UnreadableRecord,
    cloud_event_headers,
    decode_link,
    decode_refold,
    decode_scan,
    encode,
    encode_link,
    encode_movement,
    encode_refold,
    facts,
    is_link,
    is_refold,
    movements,
)
from scantrail.contracts.topics import Topic, schemas_dir, topic_specs
from scantrail.domain.alert import SEVERITY, Alert, AlertKind, AlertStatus, alert_id, judge
from scantrail.domain.alert_policy import AlertPolicy, PolicyException
from scantrail.domain.custody import (
    Fact,
    FactKind,
    FactRule,
    Outcome,
    Rebase,
    UnitState,
    observe,
)
from scantrail.domain.finding import Finding, FindingKind, FindingStatus
from scantrail.domain.hold import Clearance, Hold, HoldKind, HoldReason
from scantrail.domain.order import LINES_MAX, QUANTITY_MAX, Order, OrderLine
from scantrail.domain.product import Captured, Policy, Product, Serials
from scantrail.domain.reader import ReaderStatus
from scantrail.domain.recall import (
    Recall,
    RecallRefused,
    RecallStatus,
    Selector,
    SelectorKind,
    check_recall,
)
from scantrail.domain.recall_watch import Watched
from scantrail.domain.scan import Origin, Scan, Transaction
from scantrail.domain.severity import Severity
from scantrail.domain.station import Station, claim
from scantrail.domain.unit_ids import Identifier, join_id, told_scan
from scantrail.domain.vocabulary import BusinessStep, Phase
from scantrail.tracker.app import Tracking
from scantrail.tracker.failures import FailureLimit

FOLDER = schemas_dir()

#: Private, and foreign bytes: neither has a schema.
WITHOUT_SCHEMA = {Topic.UNITS, Topic.SCANS_REJECTED}
DESCRIBED = sorted(set(Topic) - WITHOUT_SCHEMA)
COMPACTED = {
    Topic.READER_STATUS,
    Topic.RECALLS,
    Topic.STATIONS,
    Topic.PRODUCTS,
    Topic.ORDERS,
    Topic.IDENTIFIERS,
    Topic.HOLDS,
    Topic.ALERT_POLICIES,
    Topic.UNITS,
}

#: Topic-level settings of Kafka 4: another name would be refused when the topic is created.
KAFKA_TOPIC_CONFIGS = {
    "cleanup.policy",
    "compression.type",
    "delete.retention.ms",
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "index.interval.bytes",
    "max.compaction.lag.ms",
    "max.message.bytes",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "message.timestamp.type",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "min.insync.replicas",
    "preallocate",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.index.bytes",
    "segment.jitter.ms",
    "segment.ms",
    "unclean.leader.election.enable",
}

#: Which object of a schema describes which type of the code.
OBJECTS: dict[tuple[Topic, str], type] = {
    (Topic.SCANS, "$"): Scan,
    (Topic.SCANS, "$.properties.transactions.items"): Transaction,
    (Topic.SCANS, "$.properties.derived_from"): Origin,
    (Topic.MOVEMENTS, "$"): Movement,
    (Topic.MOVEMENTS, "$.properties.revealed.items"): Revealed,
    (Topic.MOVEMENTS, "$.$defs.scan.properties.derived_from"): Origin,
    (Topic.MOVEMENTS, "$.$defs.scan"): Scan,
    (Topic.MOVEMENTS, "$.$defs.scan.properties.transactions.items"): Transaction,
    (Topic.MOVEMENTS, "$.$defs.place"): Place,
    (Topic.MOVEMENTS, "$.$defs.fact"): FactRecord,
    (Topic.READS_REJECTED, "$"): RejectedRead,
    (Topic.ALERTS, "$"): Alert,
    (Topic.FINDINGS, "$"): Finding,
    (Topic.RECALL_WATCH, "$"): Watched,
    (Topic.READER_STATUS, "$"): ReaderStatus,
    (Topic.RECALLS, "$"): Recall,
    (Topic.RECALLS, "$.properties.selectors.items"): Selector,
    (Topic.STATIONS, "$"): Station,
    (Topic.PRODUCTS, "$"): Product,
    (Topic.PRODUCTS, "$.properties.policies.items"): Policy,
    (Topic.ORDERS, "$"): Order,
    (Topic.ORDERS, "$.properties.lines.items"): OrderLine,
    (Topic.IDENTIFIERS, "$"): Identifier,
    (Topic.HOLDS, "$"): Hold,
    (Topic.HOLDS, "$.properties.reasons.items"): HoldReason,
    (Topic.HOLDS, "$.properties.cleared.items"): Clearance,
    (Topic.ALERT_POLICIES, "$"): AlertPolicy,
    (Topic.ALERT_POLICIES, "$.properties.exceptions.items"): PolicyException,
}

_NOT_PUBLISHED = {
    Outcome.REPLAYED,
    Outcome.REDELIVERED,
    Outcome.CONFLICTING_EVENT,
    Outcome.FORWARDED,
}
_PUBLISHED = [outcome.value for outcome in Outcome if outcome not in _NOT_PUBLISHED]

#: Words of the schemas that are no StrEnum in the code.
PLAIN_WORDS = {
    (Topic.MOVEMENTS, "rule"): {
        "counted_while_gone",
        "counted_while_shipped",
        "received_in_custody",
        "shipped_twice",
        "decommissioned",
        "two_sites",
        "unexpected_step",
    },
}

ENUMS: dict[tuple[Topic, str], type[StrEnum]] = {
    (Topic.SCANS, "business_step"): BusinessStep,
    (Topic.SCANS, "expected_after"): BusinessStep,
    (Topic.MOVEMENTS, "business_step"): BusinessStep,
    (Topic.MOVEMENTS, "expected_after"): BusinessStep,
    (Topic.MOVEMENTS, "phase"): Phase,
    (Topic.MOVEMENTS, "kind"): FactKind,
    (Topic.ALERTS, "kind"): AlertKind,
    (Topic.ALERTS, "status"): AlertStatus,
    (Topic.FINDINGS, "kind"): FindingKind,
    (Topic.FINDINGS, "status"): FindingStatus,
    (Topic.RECALLS, "kind"): SelectorKind,
    (Topic.RECALLS, "status"): RecallStatus,
    (Topic.HOLDS, "kind"): HoldKind,
    (Topic.ALERT_POLICIES, "id"): AlertKind,
    (Topic.ALERT_POLICIES, "severity"): Severity,
    (Topic.STATIONS, "business_step"): BusinessStep,
    (Topic.PRODUCTS, "captured"): Captured,
    (Topic.PRODUCTS, "serial_missing"): Severity,
    (Topic.PRODUCTS, "serial_not_expected"): Severity,
    (Topic.PRODUCTS, "serials"): Serials,
    (Topic.PRODUCTS, "steps"): BusinessStep,
}

#: Places where the code sees what no schema can say: the ends of a range must fit each other, and
#: a movement's unit is its scan's.
DECODER_IS_STRICT: dict[Topic, set[str]] = {
    Topic.MOVEMENTS: {"$.unit", "$.scan.unit"},
    Topic.RECALLS: {"$.selectors[*].low", "$.selectors[*].high"},
}

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:?\d\d)")

formats = FormatChecker(formats=())


@formats.checks("date")
def is_date(value: object) -> bool:
    try:
        return not isinstance(value, str) or str(date.fromisoformat(value)) == value
    except ValueError:
        return False


@formats.checks("date-time")
def is_date_time(value: object) -> bool:
    if not isinstance(value, str):
        return True
    if not _RFC_3339.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(re.sub(r"\.(\d{1,6})\d*", r".\1", value.upper()))
    except ValueError:
        return False
    return True


@cache
def schema_of(topic: Topic) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((FOLDER / topic / "v1.schema.json").read_text())
    return schema


@cache
def validator_of(topic: Topic) -> Draft202012Validator:
    return Draft202012Validator(schema_of(topic), format_checker=formats)


def errors(topic: Topic, value: Any) -> list[ValidationError]:
    """All that is wrong, each where it is: not at the whole for what one of its branches says."""
    found = list[ValidationError]()
    for error in validator_of(topic).iter_errors(value):
        found += [error, *(error.context or ())]
    return found


def decode(topic: Topic, value: bytes, key: bytes | None = None) -> Any:
    """As the process that reads the topic does. UnreadableRecord or RecallRefused."""
    if topic is Topic.SCANS:
        if key is None:
            told = json.loads(value)
            key = str(told.get("unit", "") if isinstance(told, dict) else "").encode()
        return decode_scan(key, value)
    if topic is Topic.RECALLS:
        recall = records.recalls.decode(value)
        check_recall(recall)
        return recall
    codecs: dict[Topic, Callable[[bytes], Any]] = {
        Topic.MOVEMENTS: records.movements.decode,
        Topic.READS_REJECTED: records.rejected_reads.decode,
        Topic.ALERTS: records.alerts.decode,
        Topic.FINDINGS: records.findings.decode,
        Topic.RECALL_WATCH: records.watched.decode,
        Topic.READER_STATUS: records.reader_statuses.decode,
        Topic.STATIONS: records.stations.decode,
        Topic.PRODUCTS: records.products.decode,
        Topic.ORDERS: records.orders.decode,
        Topic.IDENTIFIERS: records.identifiers.decode,
        Topic.HOLDS: records.holds.decode,
        Topic.ALERT_POLICIES: records.alert_policies.decode,
    }
    return codecs[topic](value)


def to_bytes(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()


def refusal(topic: Topic, document: Any) -> tuple[str, str] | None:
    """(reason, text) with which the code refuses `document`, None where it takes it."""
    try:
        decode(topic, to_bytes(document))
    except UnreadableRecord as error:
        return error.reason, error.detail
    except RecallRefused as error:
        return "recall_refused", str(error)
    return None


def conforms(topic: Topic, value: bytes) -> None:
    """Both the schema and the decoder of `topic` take what the code has encoded."""
    document = json.loads(value)
    assert [f"{e.json_path}: {e.message}" for e in errors(topic, document)] == []
    assert json.loads(encode(decode(topic, value))) == document


def documents(kind: str) -> list[Any]:
    paths = sorted(FOLDER.glob(f"*/{kind}/*.json"))
    return [
        pytest.param(Topic(p.parts[-3]), p, id=f"{p.parts[-3]}/{p.stem}")
        for p in paths
        if Topic(p.parts[-3]) not in WITHOUT_SCHEMA
    ]


# ------------------------------------------------------------------------------- the folders


def test_every_topic_has_its_folder_and_every_folder_its_topic() -> None:
    assert {folder.name for folder in FOLDER.iterdir() if folder.is_dir()} == set(Topic)
    assert {path.parent.name for path in FOLDER.glob("*/topic.toml")} == set(Topic)
    assert {path.parent.name for path in FOLDER.glob("*/v1.schema.json")} == set(DESCRIBED)
    assert [path.name for path in (FOLDER / Topic.UNITS).iterdir()] == ["topic.toml"]


def test_the_table_names_every_topic() -> None:
    rows = re.findall(
        r"^\| \[?([a-z.-]+)\]?[ (|]", (FOLDER / "README.md").read_text(), re.MULTILINE
    )
    assert sorted(set(rows) - {"topic"}) == sorted(Topic)


@pytest.mark.parametrize("topic", DESCRIBED)
def test_every_topic_shows_what_it_takes_and_what_it_refuses(topic: Topic) -> None:
    assert len(list((FOLDER / topic / "examples").glob("*.json"))) >= 2
    assert len(list((FOLDER / topic / "counterexamples").glob("*.json"))) >= 3


@pytest.mark.parametrize("topic", sorted(Topic))
def test_kafka_knows_every_setting_of_a_topic(topic: Topic) -> None:
    told = tomllib.loads((FOLDER / topic / "topic.toml").read_text())
    assert set(told) <= {"partitions", "config", "told"}
    assert set(told["config"]) <= KAFKA_TOPIC_CONFIGS
    [spec] = [spec for spec in topic_specs() if spec.topic is topic]
    if topic in COMPACTED:
        assert spec.config["cleanup.policy"] == "compact"
    else:
        assert spec.config["cleanup.policy"] == "delete"
        assert int(spec.config["retention.ms"]) != 0
    if topic is Topic.UNITS:  # fenced by the tracker's own times: any that is to come counts
        assert "message.timestamp.type" not in spec.config
        assert int(spec.config["message.timestamp.after.max.ms"]) == 2**63 - 1
    else:
        assert spec.config["message.timestamp.type"] == "LogAppendTime"


# ------------------------------------------------------------------------------- the schemas


STRICT_METASCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "urn:scantrail:strict",
    "$dynamicAnchor": "meta",
    "$ref": "https://json-schema.org/draft/2020-12/schema",
    "unevaluatedProperties": False,
}


@pytest.mark.parametrize("topic", DESCRIBED)
def test_a_schema_is_one_and_spells_every_keyword_right(topic: Topic) -> None:
    schema = schema_of(topic)
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    strict = Draft202012Validator(STRICT_METASCHEMA)
    assert [f"{e.json_path}: {e.message}" for e in strict.iter_errors(schema)] == []


@pytest.mark.parametrize("place", ["properties", "items", "$defs"])
def test_a_misspelt_keyword_is_noticed(place: str) -> None:
    schema = copy.deepcopy(schema_of(Topic.MOVEMENTS))
    wrong = {"type": "string", "minLenght": 1}
    schema[place] = wrong if place == "items" else {"unit": wrong}
    assert not Draft202012Validator(STRICT_METASCHEMA).is_valid(schema)


def objects_of(schema: Any, path: str = "$") -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object that a schema describes: those that have a title."""
    if isinstance(schema, dict):
        if schema.get("type") in ("object", ["object", "null"]) and "title" in schema:
            yield path, schema
        for name, part in schema.items():
            yield from objects_of(part, f"{path}.{name}")


@dataclass(frozen=True)
class Field:
    required: bool
    default: Any


def fields_of(kind: type) -> dict[str, Field]:
    if is_dataclass(kind):
        return {f.name: Field(f.default is MISSING, f.default) for f in fields(kind)}
    return {f.name: Field(f.required, f.default) for f in msgspec.structs.fields(kind)}


@pytest.mark.parametrize("topic", DESCRIBED)
def test_schema_and_code_have_the_same_fields(topic: Topic) -> None:
    described = dict(objects_of(schema_of(topic)))
    assert set(described) == {path for of, path in OBJECTS if of is topic}
    for path, schema in described.items():
        known = fields_of(OBJECTS[topic, path])
        assert list(schema["properties"]) == list(known), path
        assert schema["required"] == [name for name, f in known.items() if f.required], path
        assert "additionalProperties" not in schema, "readers must take fields that are added"
        for name, part in schema["properties"].items():
            assert part.get("description"), f"{path}.{name}"


def test_a_scan_in_a_movement_is_a_scan() -> None:
    scan, inside = schema_of(Topic.SCANS), schema_of(Topic.MOVEMENTS)["$defs"]["scan"]
    assert inside == {name: part for name, part in scan.items() if name not in ("$schema", "$id")}


def words_of(schema: Any, field: str = "") -> Iterator[tuple[str, list[str]]]:
    """(field, its words) for each enumeration of a schema."""
    if isinstance(schema, dict):
        if "enum" in schema:
            yield field, [word for word in schema["enum"] if word is not None]
        for name, part in schema.items():
            yield from words_of(part, field if name == "items" else name)
    elif isinstance(schema, list):
        for part in schema:
            yield from words_of(part, field)


@pytest.mark.parametrize("topic", DESCRIBED)
def test_schema_and_code_have_the_same_words(topic: Topic) -> None:
    found = set[str]()
    for field, words in words_of(schema_of(topic)):
        found.add(field)
        if (topic, field) == (Topic.MOVEMENTS, "outcome"):
            known = set(_PUBLISHED)
        elif (topic, field) in PLAIN_WORDS:
            known = PLAIN_WORDS[topic, field]
        else:
            known = {word.value for word in ENUMS[topic, field]}
        assert (set(words), len(words)) == (known, len(known)), field
    assert {field for of, field in ENUMS if of is topic} <= found


# ------------------------------------------------------------------------------ the examples


@pytest.mark.parametrize(("topic", "path"), documents("examples"))
def test_an_example_is_taken_and_comes_back_the_same(topic: Topic, path: Path) -> None:
    document = json.loads(path.read_text())
    assert [f"{e.json_path}: {e.message}" for e in errors(topic, document)] == []
    assert json.loads(encode(decode(topic, to_bytes(document)))) == document


@pytest.mark.parametrize(("topic", "path"), documents("examples"))
def test_an_example_of_a_later_version_and_a_bare_one_are_taken(topic: Topic, path: Path) -> None:
    document = json.loads(path.read_text())
    later = {**document, "added_later": {"any": ["thing"]}}
    assert errors(topic, later) == []
    assert refusal(topic, later) is None
    optional = set(document) - set(schema_of(topic)["required"])
    bare = {name: document[name] for name in document if name not in optional}
    if topic is Topic.SCANS and document["clock_skew_s"] is not None:
        bare["clock_skew_s"] = document["clock_skew_s"]
    if topic is Topic.RECALLS:
        bare["products"] = document["products"]
    if topic is Topic.HOLDS:
        bare["cleared"] = document["cleared"]
    assert errors(topic, bare) == []
    assert refusal(topic, bare) is None


@pytest.mark.parametrize(("topic", "path"), documents("counterexamples"))
def test_a_counterexample_fails_for_its_stated_reason(topic: Topic, path: Path) -> None:
    told = json.loads(path.read_text())
    assert list(told) == ["why", "reason", "at", "value"]
    assert {error.json_path for error in errors(topic, told["value"])} == {told["at"]}
    refused = refusal(topic, told["value"])
    assert refused is not None, "the code takes it"
    reason, text = refused
    assert reason == told["reason"]
    assert told["why"] in text


@pytest.mark.parametrize("path", sorted((FOLDER / Topic.ALERTS / "examples").glob("*.json")))
def test_an_example_of_an_alert_has_the_id_that_its_cause_makes(path: Path) -> None:
    alert = records.alerts.decode(path.read_bytes())
    subject = alert.unit or alert.document or ""
    assert alert.id == alert_id(alert.kind, subject, alert.event_id, alert.recall or "")
    assert alert.severity == SEVERITY[alert.kind]


@pytest.mark.parametrize("path", sorted((FOLDER / Topic.SCANS_REJECTED).glob("examples/*.json")))
def test_an_example_of_a_rejected_scan_is_what_the_tracker_makes(
    path: Path, tmp_path: Path
) -> None:
    example = json.loads(path.read_text())
    headers = [(name, text.encode()) for name, text in example["headers"]]
    told = dict(headers)
    record = _Record(
        key=example["key"].encode(),
        value=example["value"].encode(),
        headers=tuple(h for h in headers if not h[0].startswith("__connect.")),
        topic=told["__connect.errors.topic"].decode(),
        partition=int(told["__connect.errors.partition"]),
        offset=int(told["__connect.errors.offset"]),
    )
    limit = FailureLimit(tmp_path, "1")
    outputs = Tracking("scantrail", limit).decide([record], lambda _: None)
    assert outputs.records == {
        "scantrail.scans.rejected.v1": [(record.key, record.value, headers)],
    }
    page = (FOLDER / Topic.SCANS_REJECTED / "README.md").read_text()
    assert [
        name for name in told if name.startswith("__connect.") and f"`{name}`" not in page
    ] == []


@dataclass(frozen=True)
class _Record:
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    topic: str
    partition: int
    offset: int


# ------------------------------------------------- what one refuses, the other refuses as well

_REMOVED = object()

#: Instead of a value: what is of another kind, out of range, or nothing.
_WRONG: list[Any] = [_REMOVED, None, "", "x", 1.5, -1, 1 << 63, True, [], {}, "2026-03-04T07:12:09"]


def variations(document: Any) -> Iterator[tuple[str, Any]]:
    """(JSON path, `document` with something else there), each place by itself."""
    for path in _places(document):
        for wrong in _WRONG:
            changed = copy.deepcopy(document)
            parent = changed
            for step in path[:-1]:
                parent = parent[step]
            if wrong is not _REMOVED:
                parent[path[-1]] = wrong
            elif isinstance(parent, dict):
                del parent[path[-1]]
            else:
                continue
            shown = "".join(f".{step}" if isinstance(step, str) else "[*]" for step in path)
            yield f"${shown}", changed


def _places(document: Any) -> Iterator[tuple[Any, ...]]:
    items: Sequence[tuple[Any, Any]] = ()
    if isinstance(document, dict):
        items = list(document.items())
    elif isinstance(document, list):
        items = list(enumerate(document))
    for step, part in items:
        yield (step,)
        yield from ((step, *rest) for rest in _places(part))


@pytest.mark.parametrize("topic", DESCRIBED)
def test_schema_and_decoder_refuse_the_same(topic: Topic) -> None:
    only_schema, only_decoder = set[str](), set[str]()
    for path in sorted((FOLDER / topic / "examples").glob("*.json")):
        for place, changed in variations(json.loads(path.read_text())):
            refused = refusal(topic, changed)
            is_valid = validator_of(topic).is_valid(changed)
            if refused is None and not is_valid:
                only_schema.add(place)
            elif refused is not None and is_valid:
                only_decoder.add(place)
    assert only_decoder == DECODER_IS_STRICT.get(topic, set())
    assert only_schema == set()


def test_a_scan_under_another_key_is_refused() -> None:
    value = (FOLDER / Topic.SCANS / "examples" / "received.json").read_bytes()
    for key in (None, b"", b"sgtin:09506000134352.9"):
        with pytest.raises(UnreadableRecord) as refused:
            decode_scan(key, value)
        assert refused.value.reason == "wrong_key"


# --------------------------------------------------------- what the code writes, the schema takes

TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]),
    min_size=1,
    max_size=20,
)
MAYBE_TEXTS = st.none() | TEXTS
TIMES = st.datetimes(
    datetime(1971, 1, 2),  # noqa: DTZ001 the strategy adds the zone
    datetime(2199, 12, 30),  # noqa: DTZ001
    timezones=st.just(UTC),
)
SERIALS = st.text("ABC0123456789-", min_size=1, max_size=20)
UNITS = st.sampled_from(["sgtin:09506000134352.", "sn:cable.", "giai:", "epc:3034"]).flatmap(
    lambda scheme: SERIALS.map(lambda serial: scheme + serial)
)
STATIONS = st.builds(
    Station,
    id=TEXTS,
    site=st.sampled_from(["north", "south"]),
    business_step=st.sampled_from(BusinessStep),
    read_point=TEXTS,
    name=MAYBE_TEXTS,
    business_location=MAYBE_TEXTS,
    disposition=MAYBE_TEXTS,
    possessing_party=MAYBE_TEXTS,
    repeat_window_s=st.floats(0, 86_400),
    version=st.integers(1, 1 << 31),
)
RECALLS = st.builds(
    Recall,
    id=TEXTS.filter(lambda text: bool(text.strip())),
    title=TEXTS,
    reason=TEXTS,
    selectors=st.lists(
        st.one_of(
            st.builds(
                Selector,
                kind=st.just("list"),
                serials=st.lists(SERIALS, min_size=1, max_size=3).map(tuple),
            ),
            st.integers(0, 400).map(
                lambda low: Selector(kind="range", low=f"A{low:03}", high=f"A{low + 99:03}")
            ),
            st.builds(Selector, kind=st.just("prefix"), prefix=TEXTS),
            st.just(Selector(kind="all")),
            st.builds(Selector, kind=st.just("pattern"), pattern=st.text("AB1#", min_size=1)),
            st.builds(
                Selector,
                kind=st.just("lot"),
                lots=st.lists(TEXTS, min_size=1, max_size=3).map(tuple),
            ),
            st.just(Selector(kind="lot_range", low="L08", high="L11")),
            st.dates().map(lambda day: Selector(kind="date", first_day=day)),
            st.dates().map(lambda day: Selector(kind="date", first_day=day, last_day=day)),
        ),
        min_size=1,
        max_size=3,
    ).map(tuple),
    products=st.lists(TEXTS, min_size=1, max_size=2).map(tuple),
    status=st.sampled_from(RecallStatus),
    version=st.integers(1, 1 << 31),
    remedy=st.none() | TEXTS,
    is_swept=st.booleans(),
)


@st.composite
def scans(draw: st.DrawFn, unit: str | None = None, around: datetime | None = None) -> Scan:
    record_time = draw(TIMES) if around is None else around
    late_s = draw(st.sampled_from([0.0, 0.25, 3600.0, 86_400.0 * 40, -86_400.0 * 40]))
    return claim(
        draw(STATIONS),
        unit or draw(UNITS),
        event_id=draw(TEXTS),
        reader=draw(TEXTS),
        sequence=draw(st.integers(0, (1 << 63) - 1)),
        event_time=record_time - timedelta(seconds=late_s),
        record_time=record_time,
        order=draw(MAYBE_TEXTS),
        rma=draw(MAYBE_TEXTS),
        read=draw(TEXTS),
        lot=draw(st.none() | TEXTS),
        produced_on=draw(st.none() | st.dates()),
    )


few = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


@few
@given(scans())
def test_a_claimed_scan_conforms(scan: Scan) -> None:
    conforms(Topic.SCANS, encode(scan))
    headers = dict(
        cloud_event_headers(
            id=scan.event_id, source="/t", type="t", subject=scan.unit, time=scan.event_time
        )
    )
    assert is_date_time(headers["ce_time"].decode())


@few
@given(st.data(), RECALLS)
def test_movements_and_alerts_of_observed_scans_conform(
    data: st.DataObject, recall: Recall
) -> None:
    unit, start = "sgtin:09506000134352.1234567", datetime(2026, 3, 4, 7, tzinfo=UTC)
    state: UnitState | None = None
    for offset in range(data.draw(st.integers(1, 6))):
        at = start + timedelta(minutes=data.draw(st.integers(0, 500)))
        scan = data.draw(scans(unit=unit, around=at))
        before = state.current if state else None
        seen = observe(state, scan, offset=offset)
        state = seen.state
        if not seen.accepted:
            continue
        conforms(Topic.MOVEMENTS, encode_movement(scan, before, seen))
        told = judge(
            scan,
            seen.facts_added,
            seen.facts_withdrawn,
            [recall],
            visit_id=scan.event_id,
            site_travel_s=1800.0,
            holds=[HoldReason(id="QA-1", text="Scratched")],
        )
        for alert in told:
            conforms(Topic.ALERTS, encode(alert))


def test_a_movement_without_its_visit_is_taken() -> None:
    """The first movements said nothing of visits."""
    document = json.loads((FOLDER / "movements" / "examples" / "first-scan.json").read_text())
    del document["visit_id"]
    assert errors(Topic.MOVEMENTS, document) == []
    assert movements.decode(to_bytes(document)).visit_id == ""


def test_a_fact_without_its_place_is_told_at_the_scan_of_its_movement() -> None:
    path = FOLDER / "movements" / "examples" / "duplicate-serial.json"
    document = json.loads(path.read_text())
    for field in ("station", "site", "at"):
        del document["facts_added"][0][field]
    movement = movements.decode(to_bytes(document))
    (fact,) = facts(movement.facts_added, movement.scan)
    scan = movement.scan
    assert (fact.station, fact.site, fact.at) == (scan.station, scan.site, scan.event_time)


@few
@given(
    st.builds(
        RejectedRead,
        event_id=TEXTS,
        reader=TEXTS,
        station=MAYBE_TEXTS,
        reason=TEXTS,
        detail=TEXTS,
        read=TEXTS,
        event_time=TIMES,
        record_time=TIMES,
        sequence=st.integers(0, (1 << 63) - 1),
        aim=MAYBE_TEXTS,
        order=MAYBE_TEXTS,
        location=MAYBE_TEXTS,
        product=MAYBE_TEXTS,
        antenna=st.none() | st.integers(0, 65_535),
        rssi_dbm=st.none() | st.floats(-200, 200),
        direction=MAYBE_TEXTS,
        unit=st.none() | UNITS,
        rma=MAYBE_TEXTS,
        keyed=st.booleans(),
        confirmed=st.booleans(),
        of_product=MAYBE_TEXTS,
    )
)
def test_a_rejected_read_conforms(read: RejectedRead) -> None:
    conforms(Topic.READS_REJECTED, encode(read))


@few
@given(RECALLS)
def test_a_recall_that_is_not_refused_conforms(recall: Recall) -> None:
    check_recall(recall)
    conforms(Topic.RECALLS, encode(recall))


@few
@given(STATIONS)
def test_a_station_conforms(station: Station) -> None:
    conforms(Topic.STATIONS, encode(station))


@few
@given(
    st.builds(
        Product,
        id=TEXTS,
        name=TEXTS,
        serials=st.sampled_from(Serials),
        steps=st.lists(st.sampled_from(BusinessStep), unique=True, max_size=5).map(tuple),
        serial_formats=st.lists(TEXTS, max_size=3).map(tuple),
        fold_case=st.booleans(),
        policies=st.lists(
            st.builds(
                Policy,
                valid_from=st.none() | TIMES,
                serial_missing=st.sampled_from(Severity),
                serial_not_expected=st.sampled_from(Severity),
            ),
            max_size=3,
        ).map(tuple),
        version=st.integers(1, 1 << 31),
    )
)
def test_a_product_conforms(product: Product) -> None:
    conforms(Topic.PRODUCTS, encode(product))


@few
@given(
    st.builds(
        ReaderStatus,
        id=TEXTS,
        station=TEXTS,
        protocol=TEXTS,
        started_at=TIMES,
        told_at=TIMES,
        is_up=st.none() | st.booleans(),
        since=st.none() | TIMES,
        heard_at=st.none() | TIMES,
        clock_ahead_s=st.none() | st.floats(-1e9, 1e9),
        counts=st.dictionaries(TEXTS, st.integers(0, 1 << 40)),
        context=st.dictionaries(TEXTS, TEXTS),
    )
)
def test_a_readers_status_conforms(status: ReaderStatus) -> None:
    conforms(Topic.READER_STATUS, encode(status))


@few
@given(
    st.builds(
        Identifier,
        id=UNITS,
        unit=UNITS,
        linked_at=TIMES,
        version=st.integers(1, 1 << 31),
        takes_back=MAYBE_TEXTS,
    ),
    TIMES,
)
def test_an_identifier_conforms_and_so_does_the_scan_that_tells_of_it(
    link: Identifier, record_time: datetime
) -> None:
    conforms(Topic.IDENTIFIERS, encode(link))
    scan = told_scan(link, record_time)
    if scan is not None:
        conforms(Topic.SCANS, encode(scan))


def test_an_example_of_a_link_taken_back_names_the_scan_of_the_link() -> None:
    folder = FOLDER / Topic.IDENTIFIERS / "examples"
    link = records.identifiers.decode((folder / "second-imei.json").read_bytes())
    back = records.identifiers.decode((folder / "taken-back.json").read_bytes())
    assert (back.id, back.unit) == (link.id, link.id)
    assert back.takes_back == join_id(link.id, link.unit, link.version)


@few
@given(
    st.builds(
        Hold,
        id=TEXTS,
        reasons=st.lists(
            st.builds(
                HoldReason,
                id=TEXTS,
                text=TEXTS,
                since=st.none() | TIMES,
                kind=st.none() | st.sampled_from(HoldKind),
                recall=MAYBE_TEXTS,
            ),
            min_size=1,
        ).map(tuple),
        cleared=st.lists(
            st.builds(Clearance, recall=TEXTS, version=st.none() | st.integers(1, 9)), max_size=3
        ).map(tuple),
        version=st.integers(1, 1 << 31),
    )
)
def test_a_hold_conforms(hold: Hold) -> None:
    conforms(Topic.HOLDS, encode(hold))


@few
@given(
    st.builds(
        AlertPolicy,
        id=st.sampled_from(AlertKind),
        severity=st.none() | st.sampled_from(Severity),
        exceptions=st.lists(
            st.builds(
                PolicyException,
                severity=st.sampled_from(Severity),
                product=MAYBE_TEXTS,
                site=MAYBE_TEXTS,
            ),
            max_size=3,
        ).map(tuple),
        version=st.integers(1, 1 << 31),
    )
)
def test_an_alert_policy_conforms(policy: AlertPolicy) -> None:
    conforms(Topic.ALERT_POLICIES, encode(policy))


ORDER_LINES = st.builds(OrderLine, product=TEXTS, quantity=st.integers(1, QUANTITY_MAX))


@few
@given(
    st.builds(
        Order,
        id=TEXTS,
        lines=st.lists(ORDER_LINES, max_size=5).map(tuple),
        version=st.integers(1, 1 << 31),
    )
)
def test_an_order_conforms(order: Order) -> None:
    conforms(Topic.ORDERS, encode(order))


def test_the_longest_order_fits_into_a_record_and_one_line_more_is_refused() -> None:
    """Kafka takes 1 MiB where a topic does not say otherwise."""
    line = OrderLine(product="P" * 64, quantity=QUANTITY_MAX)
    longest = encode(Order(id="S" * 128, lines=(line,) * LINES_MAX))
    assert len(longest) < 1_000_000
    conforms(Topic.ORDERS, longest)
    document = json.loads(encode(Order(id="S", lines=(line,) * (LINES_MAX + 1))))
    assert {error.json_path for error in errors(Topic.ORDERS, document)} == {"$.lines"}
    assert refusal(Topic.ORDERS, document) == (
        "not_a_sales_order",
        f"lines must be at most {LINES_MAX}",
    )


@pytest.mark.parametrize("path", sorted((FOLDER / Topic.ORDERS / "examples").glob("*.json")))
def test_an_order_tells_nothing_of_who_bought(path: Path) -> None:
    """Of a purchaser there is no field, neither in the schema nor in the code."""
    order = json.loads(path.read_text())
    assert set(order) == set(schema_of(Topic.ORDERS)["properties"]) == {"id", "lines", "version"}
    assert {name for line in order["lines"] for name in line} <= {"product", "quantity"}


# ------------------------------------------------------------------------ links, beside the scans


def beside_validator(name: str) -> Draft202012Validator:
    schema = json.loads((FOLDER / Topic.SCANS / f"{name}.v1.schema.json").read_text())
    assert [e.message for e in Draft202012Validator(STRICT_METASCHEMA).iter_errors(schema)] == []
    return Draft202012Validator(schema, format_checker=formats)


def link_refusal(document: Any) -> str | None:
    """Why the code refuses `document`, None where it takes it."""
    parent = document.get("parent")
    key = parent if isinstance(parent, str) else ""
    try:
        decode_link(key.encode(), to_bytes(document))
    except UnreadableRecord as error:
        return error.reason
    return None


@pytest.mark.parametrize(
    "path", sorted((FOLDER / Topic.SCANS / "links").glob("*.json")), ids=lambda path: path.stem
)
def test_schema_and_decoder_take_and_refuse_the_same_links(path: Path) -> None:
    document = json.loads(path.read_text())
    validator = beside_validator("link")
    assert validator.is_valid(document)
    link = decode_link(document["parent"].encode(), to_bytes(document))
    assert json.loads(encode_link(link)) == document
    assert is_link(encode_link(link))
    with pytest.raises(UnreadableRecord, match="wrong_key"):
        decode_link(b"another", to_bytes(document))
    for place, changed in variations(document):
        if place == "$.type":
            continue
        refused = link_refusal(changed)
        assert (refused is None) == validator.is_valid(changed), (place, changed, refused)


# ---------------------------------------------------------------------- refolds, beside the scans


def refold_of(scan: Scan) -> bytes:
    state = observe(None, scan, offset=0).state
    fact = Fact(
        FactKind.DUPLICATE_SERIAL,
        "e",
        FactRule.TWO_SITES,
        "f",
        1.5,
        "dock-1",
        "north",
        scan.event_time,
    )
    anew = Rebase(1, state.current, (scan.event_time, scan.station, 1, "e"), (fact,), ())
    made = encode_refold(scan, anew)
    assert decode_refold(scan.unit.encode(), made) == (scan, anew)
    return made


def test_a_refold_is_described_and_told_from_a_scan() -> None:
    scan = decode_scan_of("received")
    made = refold_of(scan)
    document = json.loads(made)
    assert next(iter(document)) == "type"
    assert beside_validator("refold").is_valid(document)
    assert is_refold(made)
    for wrong in ({**document, "rebase": 7}, {**document, "type": "fold"}, {"type": "refold"}):
        assert not beside_validator("refold").is_valid(wrong)
        with pytest.raises(UnreadableRecord, match="not_a_refold"):
            decode_refold(scan.unit.encode(), to_bytes(wrong))
    with pytest.raises(UnreadableRecord, match="wrong_key"):
        decode_refold(b"another", to_bytes(document))
    with pytest.raises(UnreadableRecord, match=r"not_a_refold: rebase: .*refold it again"):
        decode_refold(scan.unit.encode(), to_bytes({**document, "rebase": "AAAA"}))
    with pytest.raises(UnreadableRecord, match="too_large"):
        decode_refold(scan.unit.encode(), to_bytes(document) + b" " * REFOLD_BYTES_MAX)


def decode_scan_of(example: str) -> Scan:
    value = (FOLDER / Topic.SCANS / "examples" / f"{example}.json").read_bytes()
    return decode_scan(json.loads(value)["unit"].encode(), value)
