"""PostgreSQL means the same units as the matcher: rows and notices of every kind, odd letters."""

from datetime import date
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, delete, insert, select, text

from scantrail.api.recall_queries import means, meant_units
from scantrail.domain.recall import Marks, Recall, RecallRefused, Selector, check_recall
from scantrail.domain.recall_match import RecallMatcher
from scantrail.infra.database import sqlalchemy_url
from scantrail.infra.tables import product, unit

EXAMPLES = 400

#: Letters that mean something to LIKE, to regular expressions or to quoting, digits of other
#: scripts, and letters that some collations take for the same.
LETTERS = st.sampled_from("01 9AaBé%_\\.'\"^$*+?()[]{}|-#\n\t٣二ß\u0301")
TEXTS = st.text(LETTERS, max_size=4)
#: few, so that what is asked for is there
COMMON = st.sampled_from(
    [
        "A0",
        "A1",
        "A9",
        "A10",
        "a1",
        "A%",
        "A_",
        "A\\",
        "A.1",
        "01",
        "1",
        "é",
        "e\u0301",
        "A٣",
        "L-1",
    ]
)
SERIALS = st.one_of(COMMON, TEXTS)
FOLDING = "F"
PRODUCTS = st.sampled_from(["P", "Q", "p", FOLDING])
DAYS = st.dates(date(2026, 1, 1), date(2026, 1, 5))


@st.composite
def ranges(draw: Any, kind: str) -> Selector:
    head, digits = draw(st.one_of(st.sampled_from(["", "A", "L-"]), TEXTS)), draw(st.integers(1, 2))
    first, last = sorted(draw(st.tuples(*[st.integers(0, 10**digits - 1)] * 2)))
    return Selector(kind=kind, low=f"{head}{first:0{digits}}", high=f"{head}{last:0{digits}}")


def patterns(serial: str, places: list[int]) -> str:
    return "".join("#" if n in places else each for n, each in enumerate(serial))


CLAUSES = st.one_of(
    st.builds(
        lambda serials: Selector(kind="list", serials=tuple(serials)), st.lists(SERIALS, min_size=1)
    ),
    ranges("range"),
    ranges("lot_range"),
    st.builds(lambda text: Selector(kind="prefix", prefix=text), SERIALS),
    st.builds(
        lambda text, places: Selector(kind="pattern", pattern=patterns(text, places)),
        SERIALS,
        st.lists(st.integers(0, 3), max_size=2),
    ),
    st.builds(lambda lots: Selector(kind="lot", lots=tuple(lots)), st.lists(SERIALS, min_size=1)),
    st.builds(
        lambda first, last: Selector(kind="date", first_day=first, last_day=last),
        st.none() | DAYS,
        st.none() | DAYS,
    ),
    st.just(Selector(kind="all")),
)


def is_taken(recall: Recall) -> bool:
    try:
        check_recall(recall)
    except RecallRefused:
        return False
    return True


RECALLS = st.builds(
    lambda clauses, products: Recall(
        id="R", title="", reason="", selectors=tuple(clauses), products=tuple(products)
    ),
    st.lists(CLAUSES, min_size=1, max_size=3),
    st.lists(PRODUCTS, max_size=2),
).filter(is_taken)
MARKS = st.builds(
    Marks, product=st.none() | PRODUCTS, serial=SERIALS, lot=st.none() | SERIALS,
    produced_on=st.none() | DAYS,
)  # fmt: skip

HUNDRED = [
    Marks(product, f"{head}{number:02}{tail}", lot, None)
    for product in (None, "P", FOLDING)
    for lot in (None, "A5")
    for head in ("A", "a", "A%", "")
    for number in (0, 9, 10, 99)
    for tail in ("", "x")
]


def as_the_matcher_says(recall: Recall, marks: Marks) -> bool | None:
    matcher = RecallMatcher()
    matcher.put(recall)
    asked = [marks]
    if marks.product == FOLDING and marks.serial is not None:
        letters = (each.upper() if each.isascii() else each for each in marks.serial)
        asked.append(marks._replace(serial="".join(letters)))
    found = [matcher.match(each) for each in asked]
    if any(each.recalled or each.likely for each in found):
        return True
    return None if any(each.undecided for each in found) else False


def told(*selectors: Selector, products: tuple[str, ...] = ()) -> Recall:
    return Recall(id="R", title="", reason="", selectors=selectors, products=products)


def test_the_database_means_the_units_that_the_matcher_means(database_url: str) -> None:
    engine = create_engine(sqlalchemy_url(database_url))
    answers = set[bool | None]()
    with engine.begin() as connection:
        folding = [{"id": name, "fold_case": name == FOLDING} for name in ("P", FOLDING)]
        connection.execute(insert(product).values(version=1, document={}), folding)

    @settings(max_examples=EXAMPLES)
    @example(told(Selector(kind="range", low="A09", high="A10"), products=("P",)), HUNDRED)
    @example(told(Selector(kind="pattern", pattern="A##")), HUNDRED)
    @example(told(Selector(kind="lot_range", low="A0", high="A9"), products=("P",)), HUNDRED)
    @example(told(Selector(kind="prefix", prefix="A%")), HUNDRED)
    @example(told(Selector(kind="list", serials=("A09", "A10X")), products=(FOLDING,)), HUNDRED)
    @given(RECALLS, st.lists(MARKS, min_size=1, max_size=12))
    def check(recall: Recall, units: list[Marks]) -> None:
        rows = [
            {"unit": f"unit:{number}", "version": 1, **marks._asdict()}
            for number, marks in enumerate(units)
        ]
        with engine.begin() as connection:
            connection.execute(delete(unit))
            connection.execute(insert(unit), rows)
            asked = select(unit.c.unit, means(recall))
            found = {row[0]: row[1] for row in connection.execute(asked)}
            parts = {
                key for part in meant_units(recall) for key in connection.execute(part).scalars()
            }
        assert parts == {key for key, is_meant in found.items() if is_meant}, recall
        for row, marks in zip(rows, units, strict=True):
            expected = as_the_matcher_says(recall, marks)
            assert found[row["unit"]] is expected, (recall, marks)
            answers.add(expected)

    check()
    engine.dispose()
    assert answers == {True, False, None}


def test_to_find_what_a_list_means_no_table_is_read_through(database_url: str) -> None:
    engine = create_engine(sqlalchemy_url(database_url))
    many = """
        INSERT INTO unit (unit, product, serial, version, site)
        SELECT product || n, product, concat('AB', n, CASE WHEN n % 1000 = 0 THEN 'x' END),
            1, repeat('north', 20)
        FROM generate_series(1, 10000) n, unnest(ARRAY['P', 'F', 'G']) product
    """
    listed = tuple(f"AB{number}X" for number in range(0, 10_001, 500))
    with engine.begin() as connection:
        folding = [{"id": name, "fold_case": name != "P"} for name in ("P", "F", "G")]
        connection.execute(insert(product).values(version=1, document={}), folding)
        connection.execute(text(many))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE unit, product"))
        for products, expected in ((("P",), 0), (("F",), 10), (("P", "F"), 10), ((), 20)):
            recall = told(Selector(kind="list", serials=listed), products=products)
            found = 0
            for part in meant_units(recall):
                found += len(connection.execute(part).all())
                asked = part.compile(engine, compile_kwargs={"literal_binds": True})
                lines = "\n".join(connection.exec_driver_sql(f"EXPLAIN {asked}").scalars())
                assert "Seq Scan on unit" not in lines, lines
            assert found == expected
    engine.dispose()
