"""What suppliers announced, unit by unit."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "advance_notice",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("supplier", sa.Text(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("stations", ARRAY(sa.Text()), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("entered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "advance_notice_unit",
        sa.Column("unit", sa.Text(), primary_key=True),
        sa.Column("notice", sa.Text(), primary_key=True),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("parent", sa.Text()),
        sa.Column("kit", sa.Text()),
    )
    op.create_index("advance_notice_unit_by_notice", "advance_notice_unit", ["notice", "unit"])
    op.create_table(
        "advance_notice_quantity",
        sa.Column("notice", sa.Text(), primary_key=True),
        sa.Column("product", sa.Text(), primary_key=True),
        sa.Column("announced", sa.Integer(), nullable=False),
        sa.Column("received", sa.Integer(), nullable=False, server_default="0"),
    )
    op.create_index("movement_by_record_time", "movement", ["record_time"], postgresql_using="brin")
