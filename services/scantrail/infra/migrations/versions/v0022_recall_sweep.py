"""The sweep of a recall: from where on movements are judged by it, and at which units it looks."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0022"
down_revision = "0021"


def _names(name: str) -> "sa.Column[list[str]]":
    kind = postgresql.ARRAY(sa.Text())
    return sa.Column(name, kind, nullable=False, server_default=sa.text("'{}'"))


def upgrade() -> None:
    op.create_table(
        "recall_position",
        sa.Column("recall", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("partitions", sa.Integer(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("recall", "partition"),
    )
    op.create_table(
        "recall_sweep",
        sa.Column("recall", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("swept_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("recall"),
    )
    op.create_table(
        "recall_unit",
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("is_stale", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("partition", sa.Integer()),
        sa.Column("position", sa.BigInteger()),
        sa.Column("version", sa.BigInteger()),
        _names("recalls"),
        _names("held_by"),
        sa.PrimaryKeyConstraint("unit"),
    )
    op.create_index(
        "recall_unit_stale", "recall_unit", ["unit"], postgresql_where=sa.text("is_stale")
    )
    op.create_table(
        "recall_parent",
        sa.Column("parent", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("parent", "unit"),
    )
    op.create_index("recall_parent_by_unit", "recall_parent", ["unit"])
    op.create_table(
        "recall_cleared",
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("recall", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("unit", "recall", "version"),
    )
