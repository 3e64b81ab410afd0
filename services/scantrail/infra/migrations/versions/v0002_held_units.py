"""Units that are held for a scan on which the tracker failed."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column(
        "unit", sa.Column("held", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.add_column("rejected", sa.Column("unit", sa.Text(), nullable=True))
    op.add_column("rejected", sa.Column("unit_version", sa.BigInteger(), nullable=True))
    op.create_index("rejected_by_unit", "rejected", ["unit"], unique=False)
