"""Corrections: what a scan voids, and units of which nothing stands."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("movement", sa.Column("corrects", sa.Text(), nullable=True))
    for name in ("phase", "site", "station", "read_point", "business_step", "event_id"):
        op.alter_column("unit", name, existing_type=sa.Text(), nullable=True)
    for name in ("since", "seen_at"):
        op.alter_column("unit", name, existing_type=sa.DateTime(timezone=True), nullable=True)
