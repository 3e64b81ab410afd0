"""Parties with roles and licences, what orders name beside the purchaser, and the register."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0011"
down_revision = "0010"

_TIME = sa.DateTime(timezone=True)

_APPEND_ONLY = """
CREATE FUNCTION register_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the register is append-only: append a correction';
END $$
"""

_GUARD = """
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON register
FOR EACH STATEMENT EXECUTE FUNCTION register_is_append_only()
"""


def upgrade() -> None:
    op.add_column(
        "party", sa.Column("version", sa.BigInteger(), nullable=False, server_default=sa.text("1"))
    )
    for name in ("roles", "licences"):
        column = sa.Column(name, JSONB(), nullable=False, server_default=sa.text("'[]'"))
        op.add_column("party", column)
    op.add_column("party", sa.Column("erased_at", _TIME))
    for name in ("ship_to", "end_customer", "carrier", "supplier", "owning_party"):
        op.add_column("sales_order", sa.Column(name, sa.Text()))
    op.add_column("sales_order", sa.Column("loan_due", sa.Date()))
    op.add_column("sales_order", sa.Column("deliver_by", sa.Date()))
    op.add_column("sales_order", sa.Column("delivered_at", _TIME))
    op.create_index(
        "sales_order_by_loan",
        "sales_order",
        ["loan_due"],
        postgresql_where=sa.text("loan_due IS NOT NULL"),
    )
    op.create_index(
        "unit_by_order", "unit", ["order_ref"], postgresql_where=sa.text("order_ref IS NOT NULL")
    )
    op.create_table(
        "regulation",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("document", JSONB(), nullable=False),
    )
    op.create_table(
        "register",
        sa.Column("number", sa.BigInteger(), primary_key=True, autoincrement=True),
        sa.Column("line", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("entered_at", _TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("entered_by", sa.Text()),
        sa.Column("reason", sa.Text()),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("product", sa.Text(), nullable=False),
        sa.Column("maker", sa.Text(), nullable=False),
        sa.Column("importer", sa.Text()),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("calibre", sa.Text(), nullable=False),
        sa.Column("serial", sa.Text(), nullable=False),
        sa.Column("opened_event", sa.Text(), nullable=False),
        sa.Column("opened_at", _TIME, nullable=False),
        sa.Column("acquired_at", _TIME),
        sa.Column("acquired_from", sa.Text()),
        sa.Column("acquired_order", sa.Text()),
        sa.Column("disposed_event", sa.Text()),
        sa.Column("disposed_at", _TIME),
        sa.Column("disposed_to", sa.Text()),
        sa.Column("disposed_order", sa.Text()),
        sa.Column("disposal", sa.Text()),
    )
    op.create_index("register_by_unit", "register", ["unit"])
    op.create_index("register_by_line", "register", ["line", "number"])
    for name in ("acquired_from", "disposed_to"):
        op.create_index(f"register_by_{name}", "register", [name])
    op.execute(_APPEND_ONLY)
    op.execute(_GUARD)
    op.create_table(
        "register_unit",
        sa.Column("unit", sa.Text(), primary_key=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("is_stale", sa.Boolean(), nullable=False),
        sa.Column("orders", ARRAY(sa.Text()), nullable=False),
        sa.Column("look_again_on", sa.Date()),
    )
    op.create_index("register_unit_by_orders", "register_unit", ["orders"], postgresql_using="gin")
    op.create_table(
        "desk_finding",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("document", JSONB(), nullable=False),
    )
    op.create_index("desk_finding_by_scope", "desk_finding", ["scope"])
