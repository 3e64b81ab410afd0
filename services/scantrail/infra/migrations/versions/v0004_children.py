"""Children: inside which unit one is, and which parent's scan moved it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("unit", sa.Column("parent", sa.Text(), nullable=True))
    op.create_index("unit_by_parent", "unit", ["parent"])
    for name in ("parent", "derived_from", "derived_event_id"):
        op.add_column("movement", sa.Column(name, sa.Text(), nullable=True))
