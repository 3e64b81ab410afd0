"""Joined units: into which key one was joined, and under which key a scan came."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("unit", sa.Column("joined", sa.Text(), nullable=True))
    op.create_index("unit_by_joined", "unit", ["joined"])
    for name in ("same_as", "forwarded_from"):
        op.add_column("movement", sa.Column(name, sa.Text(), nullable=True))
