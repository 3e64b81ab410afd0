"""Changes: tokens of people, answers kept for retries, and the audit chain."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.create_table(
        "api_token",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("token_sha256", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("sites", postgresql.JSONB(), nullable=False),
        sa.Column("made_at", time, nullable=False),
        sa.Column("revoked_at", time),
        sa.UniqueConstraint("token_sha256"),
    )
    op.create_table(
        "idempotency",
        sa.Column("who", sa.Text(), primary_key=True),
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("request_sha256", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("headers", postgresql.JSONB(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("outbox_id", sa.BigInteger()),
        sa.Column("at", time, nullable=False),
    )
    op.create_index("idempotency_by_time", "idempotency", ["at"])
    op.create_table(
        "audit",
        sa.Column("number", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("at", time, nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("old_version", sa.BigInteger()),
        sa.Column("new_version", sa.BigInteger()),
        sa.Column("request_sha256", sa.Text(), nullable=False),
        sa.Column("previous_hash", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
    )
    op.create_index("audit_by_entity", "audit", ["entity", "reference", "number"])
    op.execute(
        "CREATE FUNCTION audit_is_only_added_to() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'rows of audit are never changed or removed'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_is_only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON audit"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit_is_only_added_to()"
    )
