"""Recalls: their serials and versions row by row, and how far each unit was reached."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0021"
down_revision = "0020"

_TIME = sa.DateTime(timezone=True)
_JSON = postgresql.JSONB(astext_type=sa.Text())


def upgrade() -> None:
    op.add_column("recall", sa.Column("summary", _JSON))
    op.create_table(
        "recall_serial",
        sa.Column("recall", sa.Text(), nullable=False),
        sa.Column("serial", sa.Text(), nullable=False),
        sa.Column("forms", postgresql.ARRAY(sa.Text())),
        sa.PrimaryKeyConstraint("recall", "serial"),
    )
    op.execute(
        "INSERT INTO recall_serial (recall, serial)"
        " SELECT DISTINCT recall.id, serial FROM recall,"
        " jsonb_array_elements(document->'selectors') clause,"
        " jsonb_array_elements_text(clause->'serials') serial"
    )
    op.create_table(
        "recall_version",
        sa.Column("recall", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("note", sa.Text()),
        sa.Column("document", _JSON, nullable=False),
        sa.PrimaryKeyConstraint("recall", "version"),
    )
    # Who made the versions before, and when, the audit tells; this one is known as it stands.
    op.execute(
        "INSERT INTO recall_version (recall, version, status, at, who, document)"
        " SELECT id, version, coalesce(document->>'status', 'active'), now(), 'migration', document"
        " FROM recall"
    )
    op.create_table(
        "recall_reach",
        sa.Column("recall", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("notified_at", _TIME),
        sa.Column("notified_note", sa.Text()),
        sa.Column("remedied_at", _TIME),
        sa.Column("remedied_note", sa.Text()),
        sa.PrimaryKeyConstraint("recall", "unit"),
    )
