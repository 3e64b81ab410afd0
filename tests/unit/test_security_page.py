"""docs/security.md, against the rights of the code.

`python tests/unit/test_security_page.py` writes its two tables anew.
"""

import re
from pathlib import Path

from scantrail.infra.rights import (
    ADMIN,
    GRANTS,
    GROUPS,
    PERSONAL,
    PRINCIPALS,
    READS,
    ROLES,
    writers,
)
from scantrail.infra.tables import metadata

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
MEND = "write the tables anew: .venv/bin/python tests/unit/test_security_page.py"


def kafka_table() -> str:
    """Each principal, what it writes and reads, its consumer group."""
    rows = ["| principal | writes | reads | group |", "|---|---|---|---|"]
    for name in PRINCIPALS:
        written, read = (
            ", ".join(f"`{topic}`" for topic in sorted(topics)) or "nothing"
            for topics in (writers()[name], READS[name])
        )
        group = f"`{name}`" if name in GROUPS else ""
        if name == ADMIN:
            read = "all; makes topics and sets what they keep"
            group = "looks at all, takes dead members out"
        rows.append(f"| `{name}` | {written} | {read} | {group} |")
    return "\n".join(rows) + "\n"


def database_table() -> str:
    """Each table, and what each role may do with it."""
    rows = ["| table | " + " | ".join(f"`{name}`" for name in ROLES) + " |"]
    rows.append("|---|" + "---|" * len(ROLES))
    for table in sorted(metadata.tables):
        rows.append(f"| `{table}` | " + " | ".join(_told(name, table) for name in ROLES) + " |")
    return "\n".join(rows) + "\n"


def _told(role: str, table: str) -> str:
    told = []
    for granted in GRANTS[role]:
        if granted.table == table:
            rights = ", ".join(granted.privileges).lower()
            told.append(f"{rights} of {', '.join(granted.columns)}" if granted.columns else rights)
    return "; ".join(told)


def tables() -> list[str]:
    return [kafka_table(), database_table()]


_TABLES = re.compile(r"^\| (?:principal|table) \|.*\n(?:\|.*\n)+", re.MULTILINE)


def test_the_page_tells_the_rights_of_the_code() -> None:
    found = _TABLES.findall(PAGE.read_text())
    assert found == tables(), MEND


def test_every_table_is_somebody_s_and_every_right_is_to_a_table() -> None:
    named = {granted.table for grants in GRANTS.values() for granted in grants}
    assert named == set(metadata.tables), "infra/rights.py: say who may what with the new table"


def test_no_topic_is_read_or_written_by_nobody() -> None:
    for topic in READS[ADMIN]:
        assert any(topic in topics for name, topics in writers().items() if name != ADMIN), topic


def test_names_and_addresses_are_the_api_s_alone() -> None:
    for role in set(ROLES) - {"api"}:
        assert not {granted.table for granted in GRANTS[role]} & set(PERSONAL)


def test_what_is_only_added_to_can_be_changed_by_no_role() -> None:
    for role in ROLES:
        for granted in GRANTS[role]:
            if granted.table in ("audit", "register", "alert_event"):
                assert not {"UPDATE", "DELETE"} & set(granted.privileges), (role, granted)


def write_tables() -> None:
    new = iter(tables())
    PAGE.write_text(_TABLES.sub(lambda _: next(new), PAGE.read_text()))


if __name__ == "__main__":
    write_tables()
