"""EPCIS documents that were captured, and of which unit a scan is that stands for a voided one."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    op.add_column("scan_void", sa.Column("replaced_unit", sa.Text()))
    op.create_table(
        "epcis_capture",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("error_behaviour", sa.Text(), nullable=False),
        sa.Column("success", sa.Boolean(), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
    )
    op.create_table(
        "epcis_capture_event",
        sa.Column("capture", sa.Text(), sa.ForeignKey("epcis_capture.id"), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text()),
        sa.Column("scans", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("field", sa.Text()),
        sa.Column("detail", sa.Text()),
        sa.Column("left_out", ARRAY(sa.Text()), nullable=False),
        sa.Column("document", sa.Text()),
    )
