"""The lot and the day of production of units, by which recalls may go."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    for table in ("unit", "movement"):
        op.add_column(table, sa.Column("lot", sa.Text()))
        op.add_column(table, sa.Column("produced_on", sa.Date()))
