"""What serials bring and cost, product by product: counted over all that is known.

One question over all units takes a second of a million, and answers for every product: whoever asks
does not ask it often (pages/seldom.py). All of it is counted at one moment.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

COUNT_S_MAX: Final = 60.0


@dataclass(slots=True, kw_only=True)
class Figures:
    """Of one product. A unit counts once, whatever ids it has, if one of them tells the product."""

    units: int = 0
    #: in the units' histories, those too that came with a carton
    scans: int = 0
    on_site: int = 0
    shipped: int = 0
    gone: int = 0
    #: whose place nobody can tell, each for one of these reasons
    without_scan: int = 0
    missing: int = 0
    unfolded: int = 0
    with_nobody_known: int = 0
    #: with which an active recall has to do
    recalled: int = 0
    #: active recalls that name the product
    recalls: int = 0
    #: alerts whose cause stands
    duplicates: int = 0
    serial_missing: int = 0
    claims: int = 0
    claims_by_serial: int = 0
    #: of orders, and how many pieces they have together
    lines: int = 0
    pieces: int = 0

    @property
    def unknown_place(self) -> int:
        """Units whose place nobody can tell."""
        return self.without_scan + self.missing + self.unfolded + self.with_nobody_known

    @property
    def scans_per_unit(self) -> float | None:
        """On the average; None where there is no unit."""
        return self.scans / self.units if self.units else None


@dataclass(frozen=True, slots=True)
class Counted:
    """All products of which anything is known, as it was then."""

    at: datetime
    products: dict[str, Figures]

    def of(self, product: str) -> Figures:
        """Of one, of which there may be nothing."""
        return self.products.get(product, Figures())


#: A product as a key has it: domain.identifiers.product_and_serial, which a test holds against it.
PRODUCT = """CASE WHEN {key} LIKE 'grai:%' THEN '0' || substr({key}, 6, 13)
    ELSE substring({key} from '^(?\\:sgtin|sn):([^.]*)[.]') END"""

#: Keys that tell the product of a unit whose own does not, the first of each as histories.as_keys.
_TELLING = f"""
    telling AS (
        SELECT unit, (array_agg({PRODUCT.format(key="id")} ORDER BY id))[1] AS product FROM (
            SELECT unit, id FROM identifier
            UNION ALL SELECT joined, unit FROM unit WHERE joined IS NOT NULL
        ) AS other
        WHERE {PRODUCT.format(key="id")} IS NOT NULL AND unit <> id GROUP BY unit
    )
"""

_UNITS = text(
    f"""
    WITH {_TELLING},
    missing AS (
        SELECT id FROM hold
        WHERE jsonb_path_exists(document, '$.reasons[*].kind ? (@ == "lost" || @ == "stolen")')
    ),
    each AS (
        SELECT coalesce(u.product, telling.product) AS product, u.version, u.phase,
            r.unit IS NOT NULL AS is_recalled,
            CASE WHEN u.phase IS NULL THEN 'without_scan'
                WHEN missing.id IS NOT NULL THEN 'missing'
                WHEN u.held THEN 'unfolded'
                WHEN u.phase = 'shipped' AND o.ref IS NULL THEN 'with_nobody_known'
            END AS unknown
        FROM unit u
        LEFT JOIN telling ON u.product IS NULL AND telling.unit = u.unit
        LEFT JOIN missing ON missing.id = u.unit
        LEFT JOIN sales_order o ON o.ref = u.order_ref
        LEFT JOIN recall_unit r ON r.unit = u.unit AND r.recalls <> '{{}}'
        WHERE u.joined IS NULL
    )
    SELECT product, count(*) AS units, sum(version)::bigint AS scans,
        count(*) FILTER (WHERE phase = 'on_site') AS on_site,
        count(*) FILTER (WHERE phase = 'shipped') AS shipped,
        count(*) FILTER (WHERE phase = 'gone') AS gone,
        count(*) FILTER (WHERE unknown = 'without_scan') AS without_scan,
        count(*) FILTER (WHERE unknown = 'missing') AS missing,
        count(*) FILTER (WHERE unknown = 'unfolded') AS unfolded,
        count(*) FILTER (WHERE unknown = 'with_nobody_known') AS with_nobody_known,
        count(*) FILTER (WHERE is_recalled) AS recalled
    FROM each WHERE product IS NOT NULL GROUP BY product
    """
)

_ALERTS = text(
    f"""
    WITH {_TELLING}
    SELECT coalesce(u.product, telling.product) AS product, count(*) AS duplicates
    FROM alert a JOIN unit u ON u.unit = a.unit
    LEFT JOIN telling ON u.product IS NULL AND telling.unit = u.unit
    WHERE a.kind = 'duplicate_serial' AND NOT a.withdrawn
    GROUP BY 1 HAVING coalesce(u.product, telling.product) IS NOT NULL
    """
)

_SERIAL_MISSING = text(
    "SELECT substr(document, length('product ') + 1) AS product, count(*) AS serial_missing"
    " FROM alert WHERE kind = 'serial_missing' AND NOT withdrawn AND document LIKE 'product %'"
    " GROUP BY 1"
)

_CLAIMS = text(
    "SELECT product, count(*) AS claims, count(unit) AS claims_by_serial FROM warranty_claim"
    " WHERE product IS NOT NULL GROUP BY product"
)

_LINES = text(
    "SELECT product, count(*) AS lines, sum(quantity)::bigint AS pieces FROM sales_order_line"
    " GROUP BY product"
)

_RECALLS = text(
    """
    SELECT product, count(*) AS recalls
    FROM recall, jsonb_array_elements_text(
        coalesce(summary -> 'products', document -> 'products')
    ) AS named(product)
    WHERE version > 0 AND coalesce(summary -> 'status', document -> 'status') = '"active"'
    GROUP BY product
    """
)

_QUERIES: Final = (_UNITS, _ALERTS, _SERIAL_MISSING, _CLAIMS, _LINES, _RECALLS)


async def count_products(engine: AsyncEngine) -> Counted:
    """The figures of all products, now. `engine` is one with transactions."""
    async with engine.begin() as connection:
        # One moment for all; nothing is written.
        await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        await connection.execute(text(f"SET LOCAL statement_timeout = {int(COUNT_S_MAX * 1000)}"))
        await connection.execute(text("SET LOCAL jit = off"))  # it costs more than it saves
        await connection.execute(text("SET LOCAL work_mem = '64MB'"))
        await connection.execute(text("SET LOCAL max_parallel_workers_per_gather = 0"))
        return Counted(datetime.now(UTC), await _figures(connection))


async def _figures(connection: AsyncConnection) -> dict[str, Figures]:
    found = defaultdict[str, Figures](Figures)
    for query in _QUERIES:
        for row in (await connection.execute(query)).mappings():
            of = found[row["product"]]
            for name, value in row.items():
                if name != "product":
                    setattr(of, name, value)
    return dict(found)
