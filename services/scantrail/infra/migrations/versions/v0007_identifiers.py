"""Identifiers: the keys of units that have several; and set-aside reads by their reason."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "identifier",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("linked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("joined_by", sa.Text(), nullable=True),
    )
    op.create_index("identifier_by_unit", "identifier", ["unit"])
    op.create_index("rejected_by_reason", "rejected", ["reason", "id"])
