"""The desk's lists: newest first, by name, by how a claim stands."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    op.create_index("party_by_name", "party", [sa.text("lower(name) text_pattern_ops")])
    op.create_index("sales_order_by_time", "sales_order", ["ordered_at", "ref"])
    op.create_index("warranty_claim_by_purchaser", "warranty_claim", ["purchaser"])
    op.create_index("warranty_claim_by_product", "warranty_claim", ["product", "filed_at"])
    op.create_index("warranty_claim_by_time", "warranty_claim", ["filed_at", "id"])
    op.create_index("warranty_claim_by_state", "warranty_claim", ["state", "filed_at", "id"])
    op.create_index(
        "return_authorisation_by_time", "return_authorisation", ["authorised_at", "rma"]
    )
    op.create_index("advance_notice_by_time", "advance_notice", ["entered_at", "id"])
    op.create_index(
        "advance_notice_open",
        "advance_notice",
        ["entered_at", "id"],
        postgresql_where=sa.text("closed_at IS NULL"),
    )
