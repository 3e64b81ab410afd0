"""Regulated units that changed are told of; indexes for the register's watch and the inbox."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    op.create_table(
        "register_change",
        sa.Column("unit", sa.Text(), primary_key=True),
        sa.Column("version", sa.BigInteger(), primary_key=True),
    )
    op.create_index(
        "register_unit_stale", "register_unit", ["unit"], postgresql_where=sa.text("is_stale")
    )
    op.create_index(
        "register_unit_by_day",
        "register_unit",
        ["look_again_on"],
        postgresql_where=sa.text("look_again_on IS NOT NULL"),
    )
    op.create_index("alert_by_time", "alert", ["status", "event_time", "id"])
