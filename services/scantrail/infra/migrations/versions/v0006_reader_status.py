"""Each reader as its gateway last told of it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.create_table(
        "reader_status",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("protocol", sa.Text(), nullable=False),
        sa.Column("started_at", time, nullable=False),
        sa.Column("told_at", time, nullable=False),
        sa.Column("is_up", sa.Boolean()),
        sa.Column("since", time),
        sa.Column("heard_at", time),
        sa.Column("clock_ahead_s", sa.Double()),
        sa.Column("counts", JSONB(), nullable=False),
        sa.Column("context", JSONB(), nullable=False),
    )
