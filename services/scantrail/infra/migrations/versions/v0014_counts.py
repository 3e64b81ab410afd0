"""Counts of a location: what should stand there, and what did."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "count_session",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "count_session_unit",
        sa.Column("unit", sa.Text(), primary_key=True),
        sa.Column("session", sa.Text(), primary_key=True),
        sa.Column("expected", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Text()),
        sa.Column("event_id", sa.Text()),
        sa.Column("counted_at", sa.DateTime(timezone=True)),
    )
    op.create_index("count_session_unit_by_session", "count_session_unit", ["session", "unit"])
