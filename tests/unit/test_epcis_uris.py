"""Units, places and documents as URIs, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scantrail.contracts.epcis_uris import Uris, canonical, is_uri
from scantrail.domain.identifiers import CHARACTER_SET_82, NotIdentified

BASE = "https://wms.example.com/epcis/"
URIS = Uris(BASE)
LINK = "https://id.gs1.org/"


@pytest.mark.parametrize(
    ("key", "uri"),
    [
        ("sgtin:09506000134352.A1", f"{LINK}01/09506000134352/21/A1"),
        ("sgtin:09506000134352.A/1(b)%", f"{LINK}01/09506000134352/21/A%2F1%28b%29%25"),
        ("sgtin:09506000134352.0;='-._", f"{LINK}01/09506000134352/21/0;='-._"),
        ("sscc:095060001343520017", f"{LINK}00/095060001343520017"),
        ("giai:950600055(a)", f"{LINK}8004/950600055%28a%29"),
        ("grai:95060001343145", f"{LINK}8003/095060001343145"),
        ("imei:49015420323751", "urn:gsma:imei:49015420-323751-0"),
        ("meid:A0000000002329", f"{BASE}unit/meid%3AA0000000002329"),
        ("vin:1M8GDM9AXKP042788", f"{BASE}unit/vin%3A1M8GDM9AXKP042788"),
        ("sn:PUMP-7.00/1?", f"{BASE}unit/sn%3APUMP-7.00%2F1%3F"),
        ("epc:0F0F0F0F0F0F0F0F0F0F0F0F", "urn:epc:raw:96.x0F0F0F0F0F0F0F0F0F0F0F0F"),
        ("epc:0F0F", f"{BASE}unit/epc%3A0F0F"),
    ],
)
def test_a_unit_has_one_uri_that_leads_back_to_it(key: str, uri: str) -> None:
    assert URIS.of_unit(key) == uri
    assert is_uri(uri)
    assert URIS.unit(uri).key == key


@given(st.from_regex(f"[{CHARACTER_SET_82}]{{1,16}}", fullmatch=True))
def test_whatever_serial_a_unit_has(serial: str) -> None:
    for begin in ("sgtin:09506000134352.", "sn:PUMP-7.", "giai:9506000", "grai:9506000134314"):
        uri = URIS.of_unit(begin + serial)
        assert is_uri(uri)
        assert URIS.unit(uri).key == begin + serial


@pytest.mark.parametrize(
    ("uri", "key"),
    [
        ("urn:epc:id:sgtin:9506000.013435.A%2F1", "sgtin:09506000134352.A/1"),
        ("urn:epc:id:sscc:9506000.0134352001", "sscc:095060001343520017"),
        ("https://example.com/some/01/09506000134352/10/L1/21/A1?x=1", "sgtin:09506000134352.A1"),
        ("urn:gsma:imei:49015420-323751-0;svn=01", "imei:49015420323751"),
        ("https://other.example/unit/vin%3A1M8GDM9AXKP042788", "vin:1M8GDM9AXKP042788"),
    ],
)
def test_other_spellings_of_a_unit_are_understood(uri: str, key: str) -> None:
    assert URIS.unit(uri).key == key


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("https://other.example/unit/sn%3APUMP-7.1", "incomplete"),
        (f"{BASE}unit/nothing", "unknown_scheme"),
        (f"{LINK}01/09506000134352", "not_a_unit"),
        ("urn:epc:class:lgtin:9506000.013435.L1", "not_a_unit"),
        ("urn:epc:idpat:sgtin:9506000.013435.*", "not_a_unit"),
    ],
)
def test_what_names_no_unit_is_refused(uri: str, reason: str) -> None:
    with pytest.raises(NotIdentified) as told:
        URIS.unit(uri)
    assert told.value.reason == reason


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        ("dock-1", f"{BASE}location/dock-1"),
        ("Hall A/7 ü", f"{BASE}location/Hall%20A%2F7%20%C3%BC"),
        ("north:dock-1", f"{BASE}location/north%3Adock-1"),
        ("9506000134307", f"{LINK}414/9506000134307"),
        ("9506000134308", f"{BASE}location/9506000134308"),
        (f"{LINK}414/9506000134307/254/gate-1", f"{LINK}414/9506000134307/254/gate-1"),
        ("https://maps.example/hall", "https://maps.example/hall"),
    ],
)
def test_a_place_has_one_uri_that_leads_back_to_it(name: str, uri: str) -> None:
    assert URIS.of_place("location", name) == uri
    assert URIS.place("location", uri) == name


def test_an_sgln_is_the_same_place_however_it_is_told() -> None:
    told = [
        "urn:epc:id:sgln:9506000.13430.gate-1",
        "https://loc.example.com/414/9506000134307/254/gate-1?a=b",
        f"{LINK}414/9506000134307/254/gate-1/",
    ]
    assert {canonical(each) for each in told} == {f"{LINK}414/9506000134307/254/gate-1"}
    assert URIS.place("location", "urn:epc:id:sgln:9506000.13430.0") == "9506000134307"


@pytest.mark.parametrize(
    "uri",
    [
        "urn:epc:id:sgln:950600.13430.0",
        "urn:epc:id:sgtin:9506000.1.A",
        "urn:gsma:imei:49015420-323751-0",
        "https://example.com/a/b",
        "https://example.com/01/12/21/A",
    ],
)
def test_what_has_no_gs1_key_stays_as_it_is(uri: str) -> None:
    assert canonical(uri) == uri


def test_a_link_keeps_the_finest_of_what_it_tells() -> None:
    assert canonical("http://a.example/01/9506000134352/10/L1/21/S1?17=270101") == (
        f"{LINK}01/09506000134352/21/S1"
    )
    assert canonical("https://a.example/x/01/09506000134352/22/V/10/L(1)") == (
        f"{LINK}01/09506000134352/10/L%281%29"
    )


@pytest.mark.parametrize(
    ("uri", "reference"),
    [
        (f"{BASE}order/4711%2FA", "4711/A"),
        ("urn:epcglobal:cbv:bt:9506000134307:4711%2FA", "4711/A"),
        ("https://erp.example/po/4711", "https://erp.example/po/4711"),
    ],
)
def test_a_documents_reference_is_taken_out_of_its_uri(uri: str, reference: str) -> None:
    assert URIS.document("order", uri) == reference


def test_a_document_has_one_uri_that_leads_back_to_it() -> None:
    for reference in ("4711", "4711/A b", "https://erp.example/po/4711"):
        assert URIS.document("rma", URIS.of_document("rma", reference)) == reference
    assert URIS.disposition(URIS.of_disposition("odd one")) == "odd one"
