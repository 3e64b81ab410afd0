"""Alerts that are of no one unit, or of no one place."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("alert", sa.Column("document", sa.Text()))
    for name in ("unit", "station", "site"):
        op.alter_column("alert", name, nullable=True)
