"""Policies of products with their dates, folded case, serials given here, and what was typed."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.create_table(
        "product_policy",
        sa.Column("product", sa.Text(), primary_key=True),
        sa.Column("version", sa.BigInteger(), primary_key=True),
        sa.Column("valid_from", sa.DateTime(timezone=True)),
        sa.Column("entered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("document", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    )
    op.execute(
        "INSERT INTO product_policy"
        " SELECT id, version, NULL, now(), document - '{id,name,schemes,version}'::text[]"
        " FROM product WHERE document <> '{}'"
    )
    op.add_column(
        "product",
        sa.Column("fold_case", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.create_index(
        "product_by_fold_case", "product", ["id"], postgresql_where=sa.text("fold_case")
    )
    op.create_table(
        "minted_serial",
        sa.Column("product", sa.Text(), primary_key=True),
        sa.Column("number", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("serial", sa.Text(), nullable=False),
        sa.Column("minted_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.add_column(
        "movement", sa.Column("keyed", sa.Boolean(), nullable=False, server_default=sa.false())
    )
