"""Versions of sites and warranty terms, the secret of the audit's digests, children by parent."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    for table in ("site", "warranty_term"):
        column = sa.Column("version", sa.BigInteger(), nullable=False, server_default=sa.text("1"))
        op.add_column(table, column)
    made = op.create_table(
        "installation_secret",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
    )
    op.bulk_insert(made, [{"name": "audit", "secret": secrets.token_bytes(32)}])
    op.create_index(
        "movement_by_parent",
        "movement",
        ["parent"],
        postgresql_where=sa.text("parent IS NOT NULL"),
    )
