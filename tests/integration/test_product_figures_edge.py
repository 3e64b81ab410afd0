"""What serials bring and cost, against rows that are known one by one."""

from dataclasses import asdict
from typing import Any

import msgspec
import psycopg
from sqlalchemy import text

from integration.conftest import GTIN
from scantrail.api import product_figures
from scantrail.api.product_figures import Figures, count_products
from scantrail.domain.identifiers import product_and_serial
from scantrail.infra.database import connect_database
from scantrail.infra.settings import Settings

#: unit, product, version, phase, order, held, joined
UNITS: list[tuple[Any, ...]] = [
    (f"sgtin:{GTIN}.A1", GTIN, 1, "on_site", None, False, None),
    (f"sgtin:{GTIN}.A2", GTIN, 2, "on_site", None, False, None),
    (f"sgtin:{GTIN}.A3", GTIN, 4, "shipped", "SO-1", False, None),
    (f"sgtin:{GTIN}.A4", GTIN, 3, "gone", None, False, None),
    # whose place nobody can tell
    (f"sgtin:{GTIN}.B1", GTIN, 2, None, None, False, None),
    (f"sgtin:{GTIN}.B2", GTIN, 1, "on_site", None, False, None),  # stolen
    (f"sgtin:{GTIN}.B3", GTIN, 5, "on_site", None, True, None),
    (f"sgtin:{GTIN}.B4", GTIN, 2, "shipped", "SO-9", False, None),  # nobody entered it
    (f"sgtin:{GTIN}.B5", GTIN, 2, "shipped", None, True, None),  # for two reasons: counts once
    # several ids of one unit
    ("imei:35693803564380", None, 7, "on_site", None, False, None),  # by a link
    ("imei:49015420323751", None, 2, "on_site", None, False, None),  # by a key joined into it
    (f"sgtin:{GTIN}.C2", GTIN, 9, "on_site", None, False, "imei:49015420323751"),
    # of others, and of none
    ("sn:PUMP-7.1.2", "PUMP-7", 1, "on_site", None, False, None),
    ("vin:1M8GDM9AXKP042788", None, 3, "on_site", None, False, None),
]

EXPECTED = {
    GTIN: Figures(
        units=11,
        scans=31,
        on_site=6,
        shipped=3,
        gone=1,
        without_scan=1,
        missing=1,
        unfolded=2,
        with_nobody_known=1,
        recalled=2,
        recalls=1,
        duplicates=3,
        serial_missing=2,
        claims=3,
        claims_by_serial=2,
        lines=2,
        pieces=7,
    ),
    "PUMP-7": Figures(units=1, scans=1, on_site=1, recalls=2, lines=1, pieces=1),
    "LAMP": Figures(claims=1),
}


def fill(database_url: str) -> None:
    """The rows of which EXPECTED tells."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        _fill(connection)


def _fill(connection: psycopg.Connection[Any]) -> None:
    def put(table: str, **values: Any) -> None:
        names, marks = ", ".join(values), ", ".join(["%s"] * len(values))
        statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"
        connection.execute(statement.encode(), [*values.values()])

    names = ("unit", "product", "version", "phase", "order_ref", "held", "joined")
    for row in UNITS:
        told = dict(zip(names, row, strict=True))
        put("unit", serial=product_and_serial(row[0])[1], **told)
    put("identifier", id=f"sgtin:{GTIN}.C1", unit=UNITS[9][0], version=1, linked_at="2026-01-01Z")
    put("identifier", id="sn:ZZZ.9", unit=UNITS[9][0], version=1, linked_at="2026-01-01Z")
    put("party", id="p-1", name="Ada", address="1 Dock Road")
    put("sales_order", ref="SO-1", version=1, purchaser="p-1")
    for line, (product, quantity) in enumerate(((GTIN, 2), (GTIN, 5), ("PUMP-7", 1)), start=1):
        put("sales_order_line", ref="SO-1", line=line, product=product, quantity=quantity)
    for unit, kind in ((UNITS[5][0], "stolen"), (UNITS[0][0], None)):
        reason = {"id": "x", "text": "x"} | ({"kind": kind} if kind else {})
        document = msgspec.json.encode({"id": unit, "reasons": [reason]}).decode()
        put("hold", id=unit, version=1, document=document)
    for place, recalls in ((0, ["R-1"]), (9, ["R-1", "R-2"]), (2, [])):
        put("recall_unit", unit=UNITS[place][0], recalls=recalls)
    for name, status, products in (
        ("R-1", "active", [GTIN, "PUMP-7"]),
        ("R-2", "draft", [GTIN]),
        ("R-3", "active", ["PUMP-7"]),
        ("R-4", "active", []),
    ):
        told = msgspec.json.encode({"status": status, "products": products}).decode()
        summary = {} if name == "R-3" else {"summary": told}  # of a time when none was kept
        put("recall", id=name, version=1, document=told, **summary)
    alerts = (
        ("1", "duplicate_serial", UNITS[0][0], None, False),
        ("2", "duplicate_serial", UNITS[9][0], None, False),
        ("3", "duplicate_serial", UNITS[11][0], None, False),  # of the key that was joined
        ("4", "duplicate_serial", UNITS[1][0], None, True),  # withdrawn
        ("5", "out_of_sequence", UNITS[1][0], None, False),
        ("6", "serial_missing", None, f"product {GTIN}", False),
        ("7", "serial_missing", None, f"product {GTIN}", False),
        ("8", "serial_missing", None, f"product {GTIN}", True),
        ("9", "duplicate_serial", UNITS[13][0], None, False),  # of a unit without a product
    )
    for number, kind, unit, document, withdrawn in alerts:
        put(
            "alert",
            id=number,
            kind=kind,
            severity="warning",
            status="open",
            unit=unit,
            event_id="e",
            event_time="2026-01-01Z",
            text="x",
            document=document,
            withdrawn=withdrawn,
        )
    claims = (("1", UNITS[2][0], GTIN), ("2", UNITS[9][0], GTIN), ("3", None, GTIN))
    for number, unit, product in (*claims, ("4", None, "LAMP"), ("5", UNITS[13][0], None)):
        put(
            "warranty_claim",
            id=number,
            unit=unit,
            product=product,
            fault="x",
            state="filed",
            filed_at="2026-01-01Z",
            remarks="[]",
        )


async def test_each_figure_is_that_of_the_rows(database_url: str) -> None:
    fill(database_url)
    engine = connect_database(Settings(database_url=database_url))
    try:
        counted = await count_products(engine)
    finally:
        await engine.dispose()
    assert {name: asdict(of) for name, of in counted.products.items()} == {
        name: asdict(of) for name, of in EXPECTED.items()
    }
    of = counted.of(GTIN)
    assert (of.unknown_place, of.scans_per_unit) == (5, 31 / 11)
    assert counted.of("NEVER").scans_per_unit is None


async def test_postgresql_reads_a_product_out_of_a_key_as_the_domain_does(
    database_url: str,
) -> None:
    keys = [
        f"sgtin:{GTIN}.A.1",
        "sn:PUMP-7.1.2",
        "sn:A:B.1",
        "sn:no-serial",
        "sgtin:09506000134352",
        "grai:950600013435212",
        "imei:35693803564380",
        "giai:9506000.1",
        "epc:30ABC.1",
    ]
    engine = connect_database(Settings(database_url=database_url))
    query = text("SELECT " + product_figures.PRODUCT.format(key="CAST(:key AS text)"))
    try:
        async with engine.connect() as connection:
            found = [(await connection.execute(query, {"key": key})).scalar() for key in keys]
    finally:
        await engine.dispose()
    assert found == [product_and_serial(key)[0] for key in keys]
