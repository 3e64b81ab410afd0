"""Events that were refused are kept no more: what they said may be of people.

Row by row that is a matter of minutes, and each row is locked until its transaction ends: so by
thousands, before the migration's own. Broken off, it goes on with the rows that are left.
"""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"

ROWS = 1_000

#: Empties the next rows behind a place in the primary key, and tells the place of the last of them.
#: They are locked in the key's order, so that few others wait for them in a circle.
_NEXT = sa.text(
    """
    WITH next AS (
        SELECT capture, number FROM epcis_capture_event
        WHERE (capture, number) > (:capture, :number) AND document IS NOT NULL
        ORDER BY capture, number LIMIT :rows FOR UPDATE
    ), emptied AS (
        UPDATE epcis_capture_event told SET document = NULL FROM next
        WHERE told.capture = next.capture AND told.number = next.number
    )
    SELECT capture, number FROM next ORDER BY capture DESC, number DESC LIMIT 1
    """
)


def upgrade() -> None:
    connection = op.get_bind()
    with op.get_context().autocommit_block():
        place = {"capture": "", "number": -1}
        while last := connection.execute(_NEXT, {**place, "rows": ROWS}).one_or_none():
            place = {"capture": last.capture, "number": last.number}
