"""Warranty, claims, returns, replacements; sites with their time zones; when an order was made."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("movement", sa.Column("rma", sa.Text()))
    op.create_index(
        "movement_by_rma", "movement", ["rma"], postgresql_where=sa.text("rma IS NOT NULL")
    )
    op.add_column(
        "sales_order", sa.Column("ordered_at", _TIME, nullable=False, server_default=sa.func.now())
    )
    op.create_index("sales_order_by_purchaser", "sales_order", ["purchaser"])
    op.create_index("sales_order_line_by_product", "sales_order_line", ["product"])
    op.create_table(
        "site",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("time_zone", sa.Text(), nullable=False),
    )
    _create_warranty()
    _create_returns()


def _create_warranty() -> None:
    op.create_table(
        "warranty_term",
        sa.Column("product", sa.Text(), primary_key=True),
        sa.Column("valid_from", sa.Date(), primary_key=True),
        sa.Column("months", sa.Integer(), nullable=False),
        sa.Column("start", sa.Text(), nullable=False),
    )
    op.create_table(
        "warranty_event",
        sa.Column("unit", sa.Text(), primary_key=True),
        sa.Column("id", sa.BigInteger(), primary_key=True, autoincrement=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("note", sa.Text()),
        sa.Column("order_ref", sa.Text()),
        sa.Column("registrant", sa.Text(), sa.ForeignKey("party.id")),
        sa.Column("recorded_at", _TIME, nullable=False),
    )
    op.create_table(
        "warranty_claim",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("unit", sa.Text()),
        sa.Column("product", sa.Text()),
        sa.Column("serial", sa.Text()),
        sa.Column("order_ref", sa.Text()),
        sa.Column("line", sa.Integer()),
        sa.Column("purchaser", sa.Text()),
        sa.Column("fault", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("filed_at", _TIME, nullable=False),
        sa.Column("remarks", postgresql.JSONB(), nullable=False),
    )
    op.create_index("warranty_claim_by_unit", "warranty_claim", ["unit"])
    op.create_index("warranty_claim_by_order", "warranty_claim", ["order_ref"])
    op.create_table(
        "warranty_claim_event",
        sa.Column("claim", sa.Text(), sa.ForeignKey("warranty_claim.id"), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("note", sa.Text()),
        sa.Column("replacement", sa.Text()),
    )
    op.create_table(
        "replacement",
        sa.Column("unit", sa.Text(), primary_key=True),
        sa.Column("at", _TIME, primary_key=True),
        sa.Column("replaced_by", sa.Text(), nullable=False),
        sa.Column("claim", sa.Text()),
        sa.Column("rma", sa.Text()),
    )
    op.create_index("replacement_by_new", "replacement", ["replaced_by"])


def _create_returns() -> None:
    op.create_table(
        "return_authorisation",
        sa.Column("rma", sa.Text(), primary_key=True),
        sa.Column("order_ref", sa.Text(), sa.ForeignKey("sales_order.ref"), nullable=False),
        sa.Column("purchaser", sa.Text(), sa.ForeignKey("party.id"), nullable=False),
        sa.Column("authorised_at", _TIME, nullable=False),
        sa.Column("note", sa.Text()),
    )
    op.create_index("return_authorisation_by_order", "return_authorisation", ["order_ref"])
    op.create_index("return_authorisation_by_purchaser", "return_authorisation", ["purchaser"])
    op.create_table(
        "return_line",
        sa.Column("rma", sa.Text(), sa.ForeignKey("return_authorisation.rma"), primary_key=True),
        sa.Column("line", sa.Integer(), primary_key=True),
        sa.Column("unit", sa.Text()),
        sa.Column("product", sa.Text()),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("shipped_event_id", sa.Text()),
        sa.Column("shipped_at", _TIME),
    )
    op.create_index("return_line_by_unit", "return_line", ["unit"])
    op.create_table(
        "return_decision",
        sa.Column("rma", sa.Text(), primary_key=True),
        sa.Column("line", sa.Integer(), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("note", sa.Text()),
        sa.Column("replacement", sa.Text()),
        sa.ForeignKeyConstraint(["rma", "line"], ["return_line.rma", "return_line.line"]),
    )
