"""The audit is listed newest first by who changed something, and by kinds of what was changed."""

from alembic import op

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    op.create_index("audit_by_kind", "audit", ["entity", "number"])
    op.create_index("audit_by_who", "audit", ["who", "number"])
