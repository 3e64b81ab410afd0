"""The life of alerts, and webhooks that are told of it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column(
        "alert", sa.Column("withdrawn", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    for name in ("repeats", "events"):
        op.add_column(
            "alert", sa.Column(name, sa.Integer(), nullable=False, server_default=sa.text("0"))
        )
    op.execute("UPDATE alert SET withdrawn = true WHERE status = 'withdrawn'")
    op.create_index("alert_by_status", "alert", ["status", "id"])
    op.create_index("alert_by_recall", "alert", ["recall", "id"])
    op.create_table(
        "alert_event",
        sa.Column("alert", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("cause", sa.Text()),
        sa.Column("who", sa.Text()),
        sa.Column("note", sa.Text()),
        sa.PrimaryKeyConstraint("alert", "number"),
    )
    op.create_index("alert_event_by_cause", "alert_event", ["alert", "cause"], unique=True)
    op.create_table(
        "webhook",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("kinds", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("min_severity", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "webhook_delivery",
        sa.Column("webhook", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("alert", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", _TIME, nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("made_at", _TIME, nullable=False),
        sa.Column("done_at", _TIME),
        sa.PrimaryKeyConstraint("webhook", "id"),
        sa.ForeignKeyConstraint(["webhook"], ["webhook.id"], ondelete="CASCADE"),
    )
    op.create_index(
        "webhook_delivery_by_next",
        "webhook_delivery",
        ["next_at"],
        postgresql_where=sa.text("state = 'waiting'"),
    )
