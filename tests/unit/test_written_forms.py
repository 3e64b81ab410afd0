"""What is written by hand for speed says what it said before."""

from datetime import UTC, datetime, timedelta, timezone
from hashlib import blake2b

from hypothesis import given
from hypothesis import strategies as st

from scantrail.contracts.records import cloud_event_headers, holds_nul
from scantrail.domain.scan import Origin, Scan, Transaction, content_digest
from scantrail.domain.vocabulary import BusinessStep

TEXTS = st.text(alphabet=st.characters(), max_size=12)  # quotes, controls and half codes too
ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TIMES = st.datetimes(
    datetime(2, 1, 2),  # noqa: DTZ001  hypothesis adds the zone
    datetime(9998, 12, 30),  # noqa: DTZ001
    timezones=ZONES,
)
TRANSACTIONS = st.lists(st.builds(Transaction, type=TEXTS, id=TEXTS), max_size=3).map(tuple)
SCANS = st.builds(
    Scan,
    event_id=st.just("e-1"),
    unit=TEXTS,
    event_time=TIMES,
    record_time=st.just(datetime(2026, 3, 1, tzinfo=UTC)),
    reader=st.just("reader-1"),
    sequence=st.integers(0, (1 << 63) - 1),
    station=TEXTS,
    site=st.just("north"),
    read_point=st.just("left"),
    business_step=st.just(BusinessStep.STORING),
    transactions=TRANSACTIONS,
    corrects=st.none() | TEXTS,
    parent=st.none() | TEXTS,
    derived_from=st.none() | st.builds(Origin, unit=TEXTS, event_id=TEXTS),
    same_as=st.none() | TEXTS,
)


@given(scan=SCANS)
def test_a_content_digest_is_over_the_repr_of_a_tuple(scan: Scan) -> None:
    content: tuple[object, ...] = (
        scan.unit,
        scan.event_time.timestamp(),
        scan.station,
        scan.sequence,
        tuple((each.type, each.id) for each in scan.transactions),
    )
    if scan.corrects is not None:
        content += (scan.corrects,)
    if scan.parent is not None:
        content += ("parent", scan.parent)
    if scan.derived_from is not None:
        content += ("derived_from", scan.derived_from.unit, scan.derived_from.event_id)
    if scan.same_as is not None:
        content += ("same_as", scan.same_as)
    written = repr(content).encode("utf-8", "surrogatepass")
    assert content_digest(scan) == blake2b(written, digest_size=8).digest()


@given(time=TIMES)
def test_the_time_in_the_headers_is_that_of_isoformat(time: datetime) -> None:
    headers = dict(cloud_event_headers(id="e-1", source="/s", type="t", subject="u", time=time))
    assert headers["ce_time"] == time.isoformat().encode()


def test_the_nul_character_is_found_in_json_and_its_escape_is_not() -> None:
    assert holds_nul(rb'{"unit":"\u0000"}')
    assert holds_nul(rb'{"unit":"\\\u0000"}')
    assert not holds_nul(rb'{"unit":"\\u0000"}')
    assert not holds_nul(rb'{"unit":"\n"}')
    assert not holds_nul(b'{"unit":"u0000"}')
