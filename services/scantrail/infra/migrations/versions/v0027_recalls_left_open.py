"""Units that went out and that a recall leaves open; a lot that only a voided scan told is none."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    names = postgresql.ARRAY(sa.Text())
    op.add_column(
        "recall_unit",
        sa.Column("left_open", names, nullable=False, server_default=sa.text("'{}'")),
    )
    op.create_index(
        "recall_unit_left_open",
        "recall_unit",
        ["unit"],
        postgresql_where=sa.text("left_open <> '{}'"),
    )
    op.execute(
        """
        CREATE TEMP TABLE corrected ON COMMIT DROP AS
        WITH void AS (SELECT DISTINCT unit FROM movement WHERE corrects IS NOT NULL)
        SELECT u.unit, u.joined FROM unit u JOIN void ON void.unit = u.unit
        UNION SELECT u.unit, u.joined FROM unit u JOIN void ON void.unit = u.joined
        """
    )
    standing = """
        (SELECT m.{mark} FROM movement m WHERE m.unit = unit.unit AND m.{mark} IS NOT NULL
            AND m.outcome <> 'voided' AND NOT EXISTS (SELECT 1 FROM movement c
                WHERE c.unit IN (corrected.unit, corrected.joined) AND c.corrects = m.event_id)
            ORDER BY m.version DESC LIMIT 1)
        """
    op.execute(
        f"UPDATE unit SET lot = {standing.format(mark='lot')},"
        f" produced_on = {standing.format(mark='produced_on')}"
        " FROM corrected WHERE unit.unit = corrected.unit"
    )
    # What recalls have to do with them, and with what is left open, is looked at once more.
    op.execute(
        "INSERT INTO recall_unit (unit, is_stale) SELECT unit, true FROM corrected"
        " ON CONFLICT (unit) DO UPDATE SET is_stale = true"
    )
    op.execute("UPDATE recall_unit SET is_stale = true WHERE version IS NOT NULL")
