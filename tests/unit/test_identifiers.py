"""Each spelling and its key; each text that names no unit and its reason."""

from datetime import date

import pytest
from biip.gs1_messages import GS1Message
from hypothesis import example, given
from hypothesis import strategies as st

from scantrail.contracts.identity import identify, readings
from scantrail.domain.identifiers import (
    REASONS,
    NotIdentified,
    expiry_date,
    fast_element_string,
    gs1_check_digit,
    luhn_check_digit,
    parse_key,
    product_and_serial,
    product_id,
)

GS = "\x1d"
CHARACTER_SET_82 = (
    "!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
)

# One line is one spelling and the key of the unit it names.
SPELLINGS = [
    # SGTIN
    ("010950600013435221ABC", "sgtin:09506000134352.ABC"),
    ("010950600013435221abc", "sgtin:09506000134352.abc"),
    ("010950600013435221000123", "sgtin:09506000134352.000123"),
    (f"0109506000134352211234567{GS}17261231", "sgtin:09506000134352.1234567"),
    (f"0109506000134352211234567{GS}10LOT7{GS}17261231", "sgtin:09506000134352.1234567"),
    (f"0109506000134352211234567{GS}17261231{GS}10LOT7", "sgtin:09506000134352.1234567"),
    (f"0109506000134352211234567{GS}1125010117261231", "sgtin:09506000134352.1234567"),
    (f"01095060001343521726123110LOT7{GS}211234567", "sgtin:09506000134352.1234567"),
    (f"{GS}0109506000134352211234567{GS}", "sgtin:09506000134352.1234567"),
    (f"0109506000134352211234567{GS}240PART{GS}99x", "sgtin:09506000134352.1234567"),
    (f"0109506000134352211234567{GS}0512", "sgtin:09506000134352.1234567"),
    (f"211234567{GS}0109506000134352", "sgtin:09506000134352.1234567"),
    ("1726123101095060001343522112345", "sgtin:09506000134352.12345"),
    ("  010950600013435221ABC\r\n", "sgtin:09506000134352.ABC"),
    (f"]d20109506000134352211234567{GS}17261231", "sgtin:09506000134352.1234567"),
    ("]C1010950600013435221ABC", "sgtin:09506000134352.ABC"),
    ("]Q3010950600013435221ABC", "sgtin:09506000134352.ABC"),
    ("]e0010950600013435221ABC", "sgtin:09506000134352.ABC"),
    ("]C0010950600013435221ABC", "sgtin:09506000134352.ABC"),
    ("(01)09506000134352(21)ABC", "sgtin:09506000134352.ABC"),
    ("(01) 09506000134352 (10) L7 (21) ABC", "sgtin:09506000134352.ABC"),
    ("(01)09506000134352(21)A(B)C", "sgtin:09506000134352.A(B)C"),
    ("(01)09506000134352(21)123456717261231", "sgtin:09506000134352.123456717261231"),
    ("https://id.gs1.org/01/09506000134352/21/ABC", "sgtin:09506000134352.ABC"),
    ("https://example.com/a/01/9506000134352/10/L7/21/ABC", "sgtin:09506000134352.ABC"),
    ("HTTP://EXAMPLE.COM/01/09506000134352/21/A%2FB?17=261231", "sgtin:09506000134352.A/B"),
    ("https://example.com/gtin/09506000134352/ser/ABC", "sgtin:09506000134352.ABC"),
    # serials that read like the words of older links
    ("https://example.com/01/09506000134352/21/lot", "sgtin:09506000134352.lot"),
    ("https://example.com/gtin/09506000134352/ser/ser/", "sgtin:09506000134352.ser"),
    ("https://example.com/lot/01/09506000134352/21/gtin", "sgtin:09506000134352.gtin"),
    # FNC1 as readers write it
    ("010950600013435221ABC<gs>10LOT", "sgtin:09506000134352.ABC"),
    ("010950600013435221ABC<FNC1>10LOT", "sgtin:09506000134352.ABC"),
    ("010950600013435221ABC<0x1D>10LOT", "sgtin:09506000134352.ABC"),
    ("urn:epc:id:sgtin:0614141.112345.400", "sgtin:10614141123459.400"),
    ("urn:epc:id:sgtin:0614141.112345.0400", "sgtin:10614141123459.0400"),
    ("urn:epc:id:sgtin:0614141.112345.A%2FB.C", "sgtin:10614141123459.A/B.C"),
    ("urn:epc:id:sgtin:0614141.112345.A%2fB", "sgtin:10614141123459.A/B"),
    ("URN:EPC:ID:SGTIN:0614141.112345.400", "sgtin:10614141123459.400"),
    ("urn:epc:tag:sgtin-96:3.0614141.112345.400", "sgtin:10614141123459.400"),
    ("urn:epc:tag:sgtin-198:3.0614141.112345.A%2FB", "sgtin:10614141123459.A/B"),
    ("urn:epc:raw:96.x3074257BF7194E4000001A85", "sgtin:80614141123458.6789"),
    ("3074257BF7194E4000001A85", "sgtin:80614141123458.6789"),
    ("3074257bf7194e4000001a85", "sgtin:80614141123458.6789"),
    ("epc:3074257BF7194E4000001A85", "sgtin:80614141123458.6789"),
    ("sgtin:09506000134352.ABC", "sgtin:09506000134352.ABC"),
    ("sn:9506000134352.ABC", "sgtin:09506000134352.ABC"),
    # SSCC
    ("00106141412345678908", "sscc:106141412345678908"),
    ("]C100106141412345678908", "sscc:106141412345678908"),
    ("(00)106141412345678908", "sscc:106141412345678908"),
    ("106141412345678908", "sscc:106141412345678908"),
    ("https://id.gs1.org/00/106141412345678908", "sscc:106141412345678908"),
    ("urn:epc:id:sscc:0614141.1234567890", "sscc:106141412345678908"),
    ("urn:epc:tag:sscc-96:0.0614141.1234567890", "sscc:106141412345678908"),
    ("3114257BF4499602D2000000", "sscc:106141412345678908"),
    ("sscc:106141412345678908", "sscc:106141412345678908"),
    # FNC1 as many readers write it
    ("010950600013435221ABC<GS>10LOT7", "sgtin:09506000134352.ABC"),
    ("<GS>010950600013435221ABC", "sgtin:09506000134352.ABC"),
    # GIAI and GRAI
    ("]C180040614141ABC", "giai:0614141ABC"),
    ("(8004)0614141ABC", "giai:0614141ABC"),
    ("urn:epc:id:giai:0614141.12345400", "giai:061414112345400"),
    ("urn:epc:id:giai:0614141.AB:CD", "giai:0614141AB:CD"),
    ("urn:epc:tag:giai-96:0.0614141.12345400", "giai:061414112345400"),
    ("giai:0614141ABC", "giai:0614141ABC"),
    ("(8003)00614141123452400", "grai:0614141123452400"),
    ("800300614141123452400", "grai:0614141123452400"),
    ("urn:epc:id:grai:0614141.12345.400", "grai:0614141123452400"),
    ("urn:epc:tag:grai-96:0.0614141.12345.400", "grai:0614141123452400"),
    ("3314257BF40C0E4000000190", "grai:0614141123452400"),
    ("grai:0614141123452400", "grai:0614141123452400"),
    # IMEI and MEID
    ("490154203237518", "imei:49015420323751"),
    ("49-015420-323751-8", "imei:49015420323751"),
    ("49 015420 323751 8", "imei:49015420323751"),
    ("4901542032375186", "imei:49015420323751"),
    ("49015420-323751-86", "imei:49015420323751"),
    ("imei:49015420323751", "imei:49015420323751"),
    ("AF0123450ABCDE", "meid:AF0123450ABCDE"),
    ("af0123450abcde", "meid:AF0123450ABCDE"),
    ("AF 01 23 45 0A BC DE C", "meid:AF0123450ABCDE"),
    ("293608736500703710", "meid:AF0123450ABCDE"),
    ("29360 87365 0070 3710 0", "meid:AF0123450ABCDE"),
    ("meid:AF0123450ABCDE", "meid:AF0123450ABCDE"),
    # VIN
    ("1M8GDM9AXKP042788", "vin:1M8GDM9AXKP042788"),
    ("1m8gdm9axkp042788", "vin:1M8GDM9AXKP042788"),
    ("WVWZZZ1JZ3W386752", "vin:WVWZZZ1JZ3W386752"),
    ("vin:WVWZZZ1JZ3W386752", "vin:WVWZZZ1JZ3W386752"),
    # tags that decode to nothing known
    ("E28011002000564500000002", "epc:E28011002000564500000002"),
    ("e28011002000564500000002", "epc:E28011002000564500000002"),
    ("000000000000000000001234", "epc:000000000000000000001234"),
    ("307C257BF7194E4000001A85", "epc:307C257BF7194E4000001A85"),
    ("epc:E28011002000564500000002", "epc:E28011002000564500000002"),
    # a maker's serial, by its key
    ("sn:X100.A.B", "sn:X100.A.B"),
]

# One line is one text that names no unit, and why.
REFUSED = [
    ("", "empty"),
    ("  \r\n", "empty"),
    (GS, "empty"),
    ("x" * 1_000_000, "too_long"),
    ("]d2" + "11250101" * 30, "too_long"),
    ("A\x00B", "bad_characters"),
    ("010950600013435221A\x04", "bad_characters"),
    ("010950600013435221Ä", "bad_characters"),
    ("010950600013435221A#B", "bad_characters"),
    ("(01)09506000134352(21)A B", "bad_characters"),
    ("urn:epc:id:sgtin:0614141.112345.A/B", "bad_characters"),
    ("010950600013435321ABC", "bad_check_digit"),
    ("]d2010950600013435321ABC", "bad_check_digit"),
    ("(01)09506000134353(21)ABC", "bad_check_digit"),
    ("https://id.gs1.org/01/09506000134353/21/ABC", "bad_check_digit"),
    ("sgtin:09506000134353.ABC", "bad_check_digit"),
    ("00106141412345678909", "bad_check_digit"),
    ("106141412345678909", "bad_check_digit"),
    ("9506000134353", "bad_check_digit"),
    ("490154203237519", "bad_check_digit"),
    ("49-015420-323751-9", "bad_check_digit"),
    ("AF 01 23 45 0A BC DE D", "bad_check_digit"),
    ("1M8GDM9A1KP042788", "bad_check_digit"),
    ("(8003)00614141123453400", "bad_check_digit"),
    ("010950600013435221", "incomplete"),
    ("]d2010950600", "incomplete"),
    ("]C101095060001343522", "incomplete"),
    ("(01)09506000134352(21)", "incomplete"),
    ("https://id.gs1.org/01/09506000134352/21", "incomplete"),
    ("https://id.gs1.org/", "incomplete"),
    ("https://[", "incomplete"),
    ("urn:epc:id:sgtin:0614141.112345", "incomplete"),
    ("urn:epc:id:sgtin:0614141.11234.400", "incomplete"),
    ("urn:epc:tag:sgtin-96:3.0614141.112345.0400", "incomplete"),
    ("3674257BF7194E66D2E9A93B", "incomplete"),
    ("sgtin:0950600013435.ABC", "incomplete"),
    ("vin:WVWZZZ1JZ3W38675", "incomplete"),
    ("(8003)10614141123452400", "incomplete"),
    ("010950600013435221123456717261231", "lost_separator"),
    ("01095060001343522112345671726123110LOT", "lost_separator"),
    ("010950600013435221" + "1" * 20 + "10LOT", "lost_separator"),
    ("]d2010950600013435221" + "1" * 21, "lost_separator"),
    ("9506000134352", "not_a_unit"),
    ("09506000134352", "not_a_unit"),
    ("960600013436", "unidentified_serial"),
    ("614141123452", "not_a_unit"),
    ("]E09506000134352", "not_a_unit"),
    ("]I109506000134352", "not_a_unit"),
    ("]E496385074", "not_a_unit"),
    ("0109506000134352", "not_a_unit"),
    ("010950600013435210LOT21SER", "not_a_unit"),
    ("https://id.gs1.org/01/09506000134352", "not_a_unit"),
    ("(414)9506000134352(254)A1", "not_a_unit"),
    ("urn:epc:id:sgln:0614141.12345.0", "not_a_unit"),
    ("urn:epc:class:lgtin:4012345.012345.998877", "not_a_unit"),
    ("3214257BF4607D4000000190", "not_a_unit"),
    ("0" * 24, "not_a_unit"),
    ("(8003)00614141123452", "not_a_unit"),
    ("SN000123", "unidentified_serial"),
    ("12345678", "unidentified_serial"),
    ("(21)ABC", "unidentified_serial"),
    ("]C121ABC", "unidentified_serial"),
    (f"010950600013435221A{GS}21B", "contradiction"),
    ("https://id.gs1.org/01/09506000134352/21/A?21=B", "contradiction"),
    ("0109506000134353", "ambiguous"),
    ("4149506000134352", "not_a_unit"),
    ("4109506000134352", "not_a_unit"),
    ("0209506000134352", "not_a_unit"),
    ("0219506000134359", "not_a_unit"),
    ("8004061414112345", "ambiguous"),
    ("epc:00000000000000000000", "not_a_unit"),
    ("epc:3014257071940400", "incomplete"),
    ("urn:epc:id:gid:1.2.3", "unknown_scheme"),
    ("urn:isbn:9506000134352", "too_long"),
    ("urn:isbn:9506#", "bad_characters"),
    ("]d2SN000123", "unreadable"),
    ("(05)123", "unreadable"),
]


@pytest.mark.parametrize(("text", "key"), SPELLINGS)
def test_each_spelling_gives_the_one_key(text: str, key: str) -> None:
    found = identify(text)
    assert found.key == key
    assert key.startswith(f"{found.scheme}:")
    assert identify(found.key).key == key


@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_each_text_without_a_unit_says_why(text: str, reason: str) -> None:
    with pytest.raises(NotIdentified) as refused:
        identify(text)
    assert refused.value.reason == reason
    assert 10 < len(refused.value.detail) < 400


def test_detail_of_a_gtin_names_it_and_the_mend() -> None:
    with pytest.raises(NotIdentified) as refused:
        identify("9506000134352")
    assert refused.value.detail == (
        "the text is GTIN 09506000134352: a product, not one unit of it; scan its serial"
    )


def test_what_a_barcode_says_beside_the_key() -> None:
    found = identify(f"010950600013435221A1{GS}1726020010LOT7")
    assert found.gtin == "09506000134352"
    assert (found.serial, found.lot, found.expiry) == ("A1", "LOT7", date(2026, 2, 28))
    assert identify(f"010950600013435221A1{GS}17261331").notes == ("bad_expiry",)


@pytest.mark.parametrize(
    "text",
    [
        f"010950600013435221A1{GS}1126022810LOT7",
        f"010950600013435221A1{GS}10LOT7{GS}11260228",
        "(01)09506000134352(11)260228(10)LOT7(21)A1",
        f"]d2010950600013435211260228{'10LOT7'}{GS}21A1",
    ],
)
def test_the_day_of_production_and_the_lot(text: str) -> None:
    found = identify(text)
    assert found.key == "sgtin:09506000134352.A1"
    assert (found.lot, found.production, found.expiry) == ("LOT7", date(2026, 2, 28), None)


def test_a_day_of_production_that_is_none_leaves_the_unit() -> None:
    found = identify(f"010950600013435221A1{GS}11261331")
    assert (found.key, found.production) == ("sgtin:09506000134352.A1", None)
    assert found.notes == ("bad_production",)
    assert identify(f"010950600013435221A1{GS}0512").notes == ("unread_tail",)


def test_notes_of_what_is_odd_but_no_error() -> None:
    assert identify("WVWZZZ1JZ3W386752").notes == ("check_digit",)
    assert identify("1M8GDM9AXKP042788").notes == ()
    assert identify("307C257BF7194E4000001A85").notes == ("undecodable_tag",)


# One line is what a reader that expects plain serials of a product sends, and the key.
EXPECTED_SERIALS = [
    ("X100", "SN000123", "sn:X100.SN000123"),
    ("X100", "000123", "sn:X100.000123"),
    ("X100", "490154203237519", "sn:X100.490154203237519"),
    ("X100", "490154203237518", "sn:X100.490154203237518"),
    ("X100", "4901542032375186", "sn:X100.4901542032375186"),
    ("X100", "(21)ABC", "sn:X100.ABC"),
    ("X100", "]C121ABC", "sn:X100.ABC"),
    ("X100", "]C0ABC", "sn:X100.ABC"),
    ("X100", "010950600013435221ABC", "sgtin:09506000134352.ABC"),
    ("X100", "3074257BF7194E4000001A85", "sgtin:80614141123458.6789"),
    ("09506000134352", "ABC", "sgtin:09506000134352.ABC"),
    ("9506000134352", "ABC", "sgtin:09506000134352.ABC"),
    ("96385074", "ABC", "sgtin:00000096385074.ABC"),
]


@pytest.mark.parametrize(("product", "text", "key"), EXPECTED_SERIALS)
def test_serials_of_the_product_that_the_reader_expects(product: str, text: str, key: str) -> None:
    assert identify(text, product=product).key == key


@pytest.mark.parametrize(
    ("product", "text", "reason"),
    [
        ("X100", "9506000134352", "not_a_unit"),
        ("X100", "9506000134353x9506000134353x", "too_long"),
        ("X.100", "ABC", "bad_characters"),
        ("X100", "]E09506000134352", "not_a_unit"),
    ],
)
def test_what_is_no_serial_of_the_product(product: str, text: str, reason: str) -> None:
    with pytest.raises(NotIdentified) as refused:
        identify(text, product=product)
    assert refused.value.reason == reason


def test_a_product_serial_that_could_be_an_imei_is_noted() -> None:
    assert identify("490154203237518", product="X100").notes == ("may_be_imei",)


def test_the_aim_identifier_counts_when_the_gateway_took_it_off() -> None:
    assert identify("0614141ABC", product="X").key == "sn:X.0614141ABC"
    assert identify("80040614141ABC", aim="]C1").key == "giai:0614141ABC"
    with pytest.raises(NotIdentified, match="not_a_unit"):
        identify("9506000134352", aim="]E0", product="X")


def test_a_serial_in_the_tag_of_198_bits_keeps_its_zeros_out() -> None:
    """epcpy skips zero characters inside a serial: such a tag is not read as another unit's."""
    head = f"{0x36:08b}" + "001" + "101" + f"{614141:024b}" + f"{112345:020b}"

    def tag(serial: str) -> str:
        bits = head + "".join(f"{ord(character):07b}" for character in serial)
        return f"{int(bits.ljust(208, '0'), 2):052X}"

    assert identify(tag("A/b.1")).key == "sgtin:10614141123459.A/b.1"
    assert identify(tag("A\0B")).scheme == "epc"


def test_dates_of_expiry() -> None:
    assert expiry_date("261231") == date(2026, 12, 31)
    assert expiry_date("280200") == date(2028, 2, 29)
    assert expiry_date("261200") == date(2026, 12, 31)
    assert expiry_date("260001") is None
    assert expiry_date("260000") is None
    assert expiry_date("261300") is None
    assert expiry_date("260230") is None


def test_check_digits() -> None:
    assert gs1_check_digit("950600013435") == 2
    assert gs1_check_digit("10614141234567890") == 8
    assert luhn_check_digit("49015420323751") == 8


def test_text_that_is_no_key_is_left_alone() -> None:
    assert parse_key("https://id.gs1.org") is None
    assert parse_key("SN1") is None


gtins = st.text("0123456789", min_size=13, max_size=13).map(
    lambda payload: payload + str(gs1_check_digit(payload))
)
serials = st.text(CHARACTER_SET_82, min_size=1, max_size=20)
tails = st.sampled_from(["", "{GS}", "{GS}17{date}", "{GS}10{lot}", "{GS}17{date}10{lot}"]) | (
    st.sampled_from(["{GS}10{lot}{GS}17{date}", "{GS}11{date}17{date}", "{GS}17{date}{GS}10{lot}"])
)
dates = st.dates(date(2000, 1, 1), date(2049, 12, 31)).map(lambda day: day.strftime("%y%m%d"))


@given(gtin=gtins, serial=serials, lot=serials, day=dates, tail=tails, head=st.booleans())
def test_the_fast_path_reads_what_biip_reads(
    gtin: str, serial: str, lot: str, day: str, tail: str, head: bool
) -> None:
    """Where the fast path answers, biip reads the same; it answers for all of these forms, but
    for a serial that looks like one that swallowed its expiry, and for a date that stands twice."""
    front = f"17{day}10{lot}{GS}" if head else ""
    text = f"01{gtin}{front}21{serial}" + tail.format(GS=GS, date=day, lot=lot)
    found = fast_element_string(text.rstrip(GS))
    if found is None:
        assert head or "17" in serial
        return
    elements = GS1Message.parse(text).element_strings
    values = {element.ai.ai: element.value for element in elements}
    assert found.key == f"sgtin:{values['01']}.{values['21']}"
    assert found.lot == values.get("10")
    read = [element.date for element in elements if element.ai.ai == "17"]
    assert found.expiry == (read[0] if read else None)


@given(gtin=gtins, serial=serials)
def test_all_spellings_of_one_unit_give_one_key(gtin: str, serial: str) -> None:
    escaped = "".join(
        f"%{ord(character):02X}" if character in '"%&/<>?' else character for character in serial
    )
    quoted = "".join(f"%{ord(character):02X}" for character in serial)
    key = f"sgtin:{gtin}.{serial}"
    assert identify(key).key == key
    assert identify(f"01{gtin}21{serial}{GS}99").key == key
    assert identify(f"https://id.example/x/01/{gtin}/21/{quoted}").key == key
    assert identify(f"urn:epc:id:sgtin:{gtin[1:8]}.{gtin[0]}{gtin[8:13]}.{escaped}").key == key


@given(
    text=st.text(max_size=60)
    | st.text("0123456789ABCDEF", max_size=60)
    | st.text(f"0123456789()]dCQ{GS}ABC.:/-% ", max_size=60)
    | st.builds(
        lambda spelling, start, cut, put: spelling[0][:start] + put + spelling[0][start + cut :],
        st.sampled_from(SPELLINGS),
        st.integers(0, 60),
        st.integers(0, 3),
        st.text(max_size=3) | st.text("0123456789%().:/\x1d", max_size=3),
    ),
    product=st.none() | st.text(max_size=20),
)
@example(text="urn:epc:id:sgtin:٠٦١٤١٤١.112345.400", product=None)
@example(text="\ud800", product=None)
@example(text="https://id.gs1.org/01/%00/21/%ff", product=None)
def test_any_text_names_a_unit_or_says_why_not(text: str, product: str | None) -> None:
    try:
        found = identify(text, product=product)
    except NotIdentified as refused:
        reason = refused.reason
    else:
        reason = None
        assert identify(found.key).key == found.key
    assert reason in REASONS | {None}


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("sgtin:09506000134352.1.2", ("09506000134352", "1.2")),
        ("sn:PUMP-7.A:9", ("PUMP-7", "A:9")),
        ("grai:0614141123452400", ("00614141123452", "400")),
        ("imei:49015420323751", (None, "49015420323751")),
        ("giai:0614141ABC", (None, "0614141ABC")),
    ],
)
def test_recalls_go_by_product_and_serial(unit: str, expected: tuple[str | None, str]) -> None:
    assert product_and_serial(unit) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("9506000134352", "09506000134352"), ("PUMP-7", "PUMP-7"), ("a:b_c", "a:b_c"), ("123", "123")],
)
def test_a_products_id(name: str, expected: str) -> None:
    assert product_id(name) == expected


@pytest.mark.parametrize("name", ["", "a.b", "a/b", "-a", "a b", "é", "a" * 65, "9506000134353"])
def test_what_is_no_products_id(name: str) -> None:
    with pytest.raises(NotIdentified):
        product_id(name)


IMEI_15, IMEISV, IMEISV_LIKE_GTIN = "356938035643809", "3569380356438012", "0135693803564381"
VIN_17, BOTH_18 = "1M8GDM9AXKP042788", "293608736500703710"


@pytest.mark.parametrize(
    ("text", "schemes", "product", "key"),
    [
        (IMEI_15, "imei", None, "imei:35693803564380"),
        ("35-693803-564380-9", "imei vin", None, "imei:35693803564380"),
        (IMEISV, "imei", None, "imei:35693803564380"),
        (IMEISV_LIKE_GTIN, "imei", None, "imei:01356938035643"),
        (IMEI_15, "imei", "PHONE-1", "imei:35693803564380"),
        ("SN-7", "imei", "PHONE-1", "sn:PHONE-1.SN-7"),
        ("356938035643800", "imei", "PHONE-1", "sn:PHONE-1.356938035643800"),
        (IMEI_15, "vin", "PHONE-1", "sn:PHONE-1.356938035643809"),
        (VIN_17, "vin", None, f"vin:{VIN_17}"),
        (BOTH_18, "meid", None, "meid:AF0123450ABCDE"),
        ("AF0123450ABCDE", "meid", None, "meid:AF0123450ABCDE"),
        ("095060000000000015", "sscc", None, "sscc:095060000000000015"),
        ("00095060000000000015", "sscc", None, "sscc:095060000000000015"),
        ("3034257BF7194E4000001A85", "epc", None, "sgtin:80614141123458.6789"),
        # What says its scheme is not asked for it.
        ("010950600013435221A1", "imei", None, "sgtin:09506000134352.A1"),
        ("https://id.example/01/09506000134352/21/A1", "vin", None, "sgtin:09506000134352.A1"),
    ],
)
def test_text_without_a_mark_is_what_its_reader_expects(
    text: str, schemes: str, product: str | None, key: str
) -> None:
    assert identify(text, product=product, schemes=frozenset(schemes.split())).key == key


@pytest.mark.parametrize(
    ("text", "schemes", "reason", "detail"),
    [
        (VIN_17, "imei", "unexpected_scheme", "none of what is expected here (imei)"),
        ("SN-7", "imei vin", "unexpected_scheme", "mend the `schemes`"),
        ("356938035643800", "imei", "bad_check_digit", ""),
        ("095060000000000016", "sscc", "bad_check_digit", ""),
        ("AF0123450ABCDE9", "meid", "bad_check_digit", ""),
        ("123456789012345678", "meid", "bad_check_digit", ""),
        ("3034257BF7194E4000001A85", "imei", "unexpected_scheme", ""),
        # A GTIN with a right check digit is none of these, though it may look like an IMEISV.
        ("0109506000134352", "imei", "not_a_unit", ""),
    ],
)
def test_text_that_its_reader_does_not_expect_is_refused(
    text: str, schemes: str, reason: str, detail: str
) -> None:
    with pytest.raises(NotIdentified) as refused:
        identify(text, schemes=frozenset(schemes.split()))
    assert refused.value.reason == reason
    assert detail in refused.value.detail


def test_text_that_fits_two_expected_schemes_is_not_guessed() -> None:
    both = next(text for n in range(10) if len(readings(text := f"29360873650070371{n}")) == 2)
    with pytest.raises(NotIdentified, match="ambiguous"):
        identify(both, schemes=frozenset({"meid", "sscc"}))
    for scheme in ("meid", "sscc"):
        assert identify(both, schemes=frozenset({scheme})).scheme == scheme
