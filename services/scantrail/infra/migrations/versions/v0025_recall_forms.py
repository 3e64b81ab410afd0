"""Listed serials are found by the forms in which unit keys have them."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    op.create_index(
        "recall_serial_forms",
        "recall_serial",
        ["forms"],
        postgresql_using="gin",
        postgresql_where=sa.text("forms IS NOT NULL"),
    )
