"""Events that were refused are kept no more: what they said may be of people."""

from alembic import op

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    op.execute("UPDATE epcis_capture_event SET document = NULL WHERE document IS NOT NULL")
