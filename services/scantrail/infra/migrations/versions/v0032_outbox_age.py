"""Since when a record waits to leave for Kafka."""

import sqlalchemy as sa
from alembic import op

from scantrail.infra.database import lock_table

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    lock_table(op.get_bind(), "outbox")
    # By name alone: of the rows that wait now the time of this migration is told.
    now = sa.func.now()
    column = sa.Column("entered_at", sa.DateTime(timezone=True), server_default=now, nullable=False)
    op.add_column("outbox", column)
